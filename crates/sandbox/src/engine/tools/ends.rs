//! The ends of a round that only executions with tools have.

use super::divergence::Divergence;
use super::replay::Replay;
use crate::engine::Completion;
use crate::engine::host::Host;
use crate::engine::realm::Scene;
use crate::engine::rejections::Rejections;
use crate::engine::reports;
use rquickjs::{Persistent, Value};
use sandpiper_domain::tools::Refusal;
use sandpiper_domain::{Limit, Outcome, ScriptError};
use sandpiper_sandbox_protocol::BUILD_ID;

/// Ends the execution because the script does something else than its log says.
pub(super) fn diverge(host: &Host, replay: &Replay, divergence: &Divergence) -> ! {
    let error = error_of(replay, divergence);
    host.finish_failed(Outcome::Diverged, error)
}

/// Ends the execution because its timers came due too often.
pub(super) fn fail_of_wakes(host: &Host, replay: &Replay) -> ! {
    let most = replay.limits().wakes;
    let message =
        format!("the timers of the script came due more than {most} times, one after the other");
    let error = ScriptError::of_service(ScriptError::TOO_MANY_WAKES, message)
        .with_hint(Limit::Wakes.hint());
    host.finish_failed(Outcome::TimedOut, error)
}

/// Ends the execution because it goes on to call tools that it has no room for.
pub(super) fn fail_of_calls(host: &Host) -> ! {
    let most = Refusal::WITHOUT_ROOM_MAX;
    let message =
        format!("the script called tools {most} times more than `callsMax` and `logBytes` allow");
    let error = ScriptError::of_service(ScriptError::TOO_MANY_CALLS, message)
        .with_hint(Limit::CallsMax.hint());
    host.finish_failed(Outcome::TimedOut, error)
}

fn error_of(replay: &Replay, divergence: &Divergence) -> ScriptError {
    let log = replay.log();
    let cause = if log.fingerprint() == BUILD_ID {
        "The script depends on something that is not in its log".to_owned()
    } else {
        format!(
            "Build {} of the sandbox made the log, and this is build {BUILD_ID}",
            log.fingerprint()
        )
    };
    let message = format!("{}. {cause}. Nothing was called", divergence.0);
    ScriptError::of_service(ScriptError::DIVERGED, message)
}

/// Ends the execution if a promise was rejected that nothing handles. The promise of a call that is nobody's is only noted.
pub(in crate::engine) fn judge_rejections(
    scene: &Scene<'_>,
    replay: &Replay,
    rejections: &Rejections,
) {
    let rejected = replay.rejected.borrow().clone();
    let seq_of = |promise: &Persistent<Value<'static>>| {
        let mut calls = rejected.iter();
        calls.find_map(|(seq, its_promise)| (its_promise == promise).then_some(*seq))
    };
    while reports::next_rejection_of(scene, rejections, |promise| match seq_of(promise) {
        Some(seq) => {
            replay.unobserved.borrow_mut().push(seq);
            true
        }
        None => false,
    }) {}
}

impl Replay {
    /// Returns how an execution really ends that has ended as `completion` says. A script that ends before its log does has
    /// diverged, unless it had ended there before.
    pub(in crate::engine) fn end_of(&self, completion: Completion) -> Completion {
        let is_of_service = matches!(
            completion.outcome,
            Outcome::TimedOut
                | Outcome::MemoryExceeded
                | Outcome::StackExceeded
                | Outcome::Diverged
        );
        if self.is_behind_log() || is_of_service {
            return completion;
        }
        let divergence = if self.log().has_ended() {
            match self.check_end_of_log() {
                Ok(()) => return completion,
                Err(divergence) => divergence,
            }
        } else {
            let outcome = completion.outcome.as_str();
            let error = completion.error.as_ref();
            let message = error.map_or("", |error| error.message.as_str());
            let parted = if message.is_empty() { "" } else { ": " };
            Divergence(format!(
                "the script ends here ({outcome}{parted}{message}), and its log goes on"
            ))
        };
        Completion {
            outcome: Outcome::Diverged,
            result: None,
            result_type: None,
            error: Some(error_of(self, &divergence)),
            hint: None,
            peak_memory_bytes: completion.peak_memory_bytes,
        }
    }
}

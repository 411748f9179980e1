//! The loop of records and timers, and the delivery of answers.
//!
//! Timers that are due at or before the time of a record fire first, by due time and then by the order in which they were
//! set, while the clock stands at each due time. Then the clock is set to the time of the record, and its one answer is
//! delivered.

use super::ends;
use super::records::Next;
use super::replay::{Delivery, Replay};
use crate::engine::failure;
use crate::engine::realm::Scene;
use crate::engine::timers::Timers;
use rquickjs::object::Property;
use rquickjs::{Object, Value};
use sandpiper_domain::tools::{CallResult, ToolFailure};
use sandpiper_sandbox_protocol::ReportedEnd;
use std::thread;
use std::time::Instant;

/// Does what comes next when no microtask is left: fires one timer, or takes one record. Suspends the execution if there is
/// nothing to do now, and returns false if there never will be.
pub(in crate::engine) fn step(scene: &Scene<'_>, replay: &Replay, timers: &Timers) -> bool {
    let host = &scene.host;
    loop {
        let clock_ms = replay.unix_ms_at(host.clock.elapsed());
        let due_ms = timers.next_due_time().map(|due| replay.unix_ms_at(due));
        let target = replay.state.borrow().target.clone();
        let until_ms = target.as_ref().map_or(clock_ms, |target| target.at_ms);
        if due_ms.is_some_and(|due| due <= until_ms) {
            return timers.run_next(scene);
        }
        if let Some(target) = target {
            replay.state.borrow_mut().target = None;
            host.clock.advance_to(replay.elapsed_at(target.at_ms));
            let Some(delivery) = target.answer else {
                continue;
            };
            if let Err(error) = deliver(scene, replay, &delivery) {
                failure::fail_pending(scene, &error);
            }
            return true;
        }
        let reach_end = || {
            replay.check_end_of_log()?;
            host.reach_end_of_log();
            Ok(())
        };
        match replay.next(clock_ms, due_ms, reach_end) {
            Ok(Next::Record(target)) => replay.state.borrow_mut().target = Some(target),
            Ok(Next::Wait(wait)) => {
                let begun = Instant::now();
                thread::sleep(wait);
                // A busy machine lets the process sleep longer, and that is no time of the script's.
                let waited = begun.elapsed();
                replay.note_wait(waited);
                host.put_off_deadline(waited);
            }
            Ok(Next::Suspend(resume_at_ms)) => {
                if let Err(divergence) = replay.check_end_of_log() {
                    ends::diverge(host, replay, &divergence);
                }
                host.suspend(ReportedEnd::Suspended { resume_at_ms })
            }
            Ok(Next::TooManyWakes) => ends::fail_of_wakes(host, replay),
            Ok(Next::Nothing) => return false,
            Err(divergence) => ends::diverge(host, replay, &divergence),
        }
    }
}

/// Settles the promise of a call.
fn deliver<'js>(scene: &Scene<'js>, replay: &Replay, delivery: &Delivery) -> rquickjs::Result<()> {
    let ctx = &scene.ctx;
    let Some(pending) = replay.pending.borrow_mut().remove(&delivery.seq) else {
        return Ok(());
    };
    scene.host.memory.discharge(pending.bytes());
    match replay.result_of(delivery.result) {
        CallResult::Value(json) => {
            let value: Value<'js> = ctx.json_parse(json.as_str())?;
            pending.resolve.restore(ctx)?.call((value,))
        }
        CallResult::Failed(failed) => {
            let rejected = (delivery.seq, pending.promise.clone());
            replay.rejected.borrow_mut().push(rejected);
            let error = error_of(scene, &failed, &pending.stack)?;
            pending.reject.restore(ctx)?.call((error,))
        }
    }
}

/// Returns the error that a script gets for a call that failed. Its stack is that of the call.
pub(super) fn error_of<'js>(
    scene: &Scene<'js>,
    failed: &ToolFailure,
    stack: &str,
) -> rquickjs::Result<Value<'js>> {
    let ctx = &scene.ctx;
    let Some(helpers) = scene.host.replay().and_then(|replay| replay.helpers.get()) else {
        return Err(rquickjs::Error::Unknown);
    };
    let make = helpers.tool_error.clone().restore(ctx)?;
    let name = failed
        .name
        .as_deref()
        .filter(|name| *name != ToolFailure::NAME);
    let error: Object<'js> = make.call((
        failed.message.as_str(),
        name,
        failed.code.as_deref(),
        failed.retryable,
    ))?;
    let stack = Property::from(stack).writable().configurable();
    error.prop("stack", stack)?;
    Ok(error.into_value())
}

/// Throws a TypeError. The engine's own function for it would cut the message short.
pub(super) fn refuse<'js, T>(scene: &Scene<'js>, message: &str) -> rquickjs::Result<T> {
    let Some(helpers) = scene.host.replay().and_then(|replay| replay.helpers.get()) else {
        return Err(rquickjs::Error::Unknown);
    };
    let make = helpers.type_error.clone().restore(&scene.ctx)?;
    let error: Value<'js> = make.call((message,))?;
    Err(scene.ctx.throw(error))
}

//! Executions with the caller's tools: a request runs one round, and its response has the calls that wait for answers.
//!
//! The service keeps nothing between rounds. [`ToolRun`] is an execution within one request: new, or opened from the
//! `replay` of an earlier response.

mod answers;
mod ending;

use super::Api;
use super::calls_view::{Pending, Report, ReportedCall};
use super::problem::Problem;
use super::request::Answer;
use crate::actors::RoundTask;
use crate::actors::types::DispatchError;
use crate::replay::{Opened, Pause, RequestParts, Totals};
use ending::UnawaitedCalls;
use sandpiper_domain::tools::{
    Call, ReplayLog, Round, RoundEnd, Seed, Suspension, ToolLimits, Unawaited,
};
use sandpiper_domain::{Execution, Job, Outcome, RequestedLimits, Timestamp};
use sandpiper_sandbox_client::FINGERPRINT;
use std::sync::Arc;
use std::time::Duration;

/// An execution with tools within one request.
#[derive(Debug)]
pub(super) struct ToolRun {
    job: Arc<Job>,
    unawaited: Unawaited,
    pause: Pause,
    log: ReplayLog,
    /// The `replay` of the request, which waits on if nothing can go on.
    given: Option<Given>,
}

#[derive(Debug)]
struct Given {
    replay: String,
    expires_at: Timestamp,
}

/// The parts of a request that concern tools.
#[derive(Debug)]
pub(super) struct ToolRequest {
    pub(super) requested_limits: RequestedLimits,
    pub(super) unawaited: Unawaited,
    pub(super) replay: Option<String>,
    pub(super) answers: Vec<Answer>,
}

/// The response to a request.
#[derive(Debug)]
pub(super) enum ToolResponse {
    Waiting(Box<Pending>, Report),
    Ended(Arc<Execution>, Report),
}

impl ToolRun {
    /// Begins an execution, or opens the one that the request continues and takes the answers. `job` has tools.
    pub(super) fn read(api: &Api, mut job: Job, request: ToolRequest) -> Result<Self, Problem> {
        let ToolRequest {
            requested_limits,
            unawaited,
            replay,
            answers,
        } = request;
        let parts = RequestParts::of(&job.script, unawaited);
        let ttl_s = api.replays.ttl_s();
        let tool_limits = ToolLimits::of_execute(&requested_limits, &job.limits, ttl_s)?;
        let Some(replay) = replay else {
            if !answers.is_empty() {
                let detail = "`answers` are for an execution that waits; give its `replay` too";
                return Err(Problem::invalid_field("answers", detail));
            }
            let log = new_log(job.script.seed());
            let pause = Pause {
                request: parts,
                requested_limits,
                limits: job.limits,
                tool_limits,
                tenant: job.owner.tenant.as_str().to_owned(),
                call_secret: rand::random(),
                paused_at: log.start_ms(),
                resume_at: None,
                offered: Vec::new(),
                arrived: Vec::new(),
                end_calls: Vec::new(),
                totals: Totals::default(),
            };
            return Ok(Self {
                job: Arc::new(job),
                unawaited,
                pause,
                log,
                given: None,
            });
        };
        let now = Timestamp::now();
        let opened = api.replays.open(&replay, &job.owner.tenant, now);
        let opened = opened.map_err(|error| api.tools.refused(error))?;
        let Opened {
            mut pause,
            log,
            expires_at,
        } = opened;
        let granted = (&job.limits, &tool_limits);
        let limits = pause.check_request(&parts, &requested_limits, granted);
        job.limits = limits.map_err(|error| api.tools.refused(error))?;
        answers::time_out(&mut pause, &log, now);
        answers::take(answers, &mut pause, &log, now)?;
        let waited = now.as_unix_millis().saturating_sub(pause.paused_at);
        pause.totals.waited_millis = pause.totals.waited_millis.saturating_add(waited);
        Ok(Self {
            job: Arc::new(job),
            unawaited,
            pause,
            log,
            given: Some(Given { replay, expires_at }),
        })
    }

    pub(super) fn job(&self) -> &Job {
        &self.job
    }

    /// Returns whether this request begins the execution.
    pub(super) fn is_first(&self) -> bool {
        self.given.is_none()
    }

    /// Runs a round, if there is something to run.
    pub(super) async fn run(mut self, api: &Api) -> Result<ToolResponse, Problem> {
        let log_from = self.log.log_entries();
        if let Some(waiting) = self.wait_on(api) {
            return Ok(waiting);
        }
        if self.log.replay_micros() > u64::from(self.pause.tool_limits.replay_ms) * 1_000 {
            let execution = ending::replayed_too_long(&self.job, &self.pause.tool_limits);
            return Ok(self.end_without_round(api, execution, log_from));
        }
        let mut round = self.run_round(api).await?;
        api.tools.count_round(&round);
        let had_ended = self.log.has_ended();
        let unoffered: Vec<Call> = self.log.unoffered_after(&round).cloned().collect();
        self.log.commit(&round);
        self.drop_recorded();
        let waited = round.usage.waited_micros / 1_000;
        self.pause.totals.waited_millis += waited;
        match std::mem::replace(&mut round.end, RoundEnd::ReplayFailed(String::new())) {
            RoundEnd::Suspended(suspension) => {
                self.pause.totals.add(&suspension.usage);
                self.pause.resume_at = suspension.resume_at_ms;
                if let Some(due) = self.timer_that_never_comes() {
                    let limits = &self.pause.tool_limits;
                    let execution = ending::waits_too_long(*suspension, due, limits);
                    return Ok(self.end_without_round(api, execution, log_from));
                }
                Ok(self.pause(api, *suspension, log_from))
            }
            RoundEnd::Finished(mut execution) => {
                self.pause.totals.add(&execution.usage);
                if execution.outcome == Outcome::Succeeded && !had_ended {
                    match ending::of_unawaited(self.unawaited, &unoffered) {
                        UnawaitedCalls::Ignored => {}
                        UnawaitedCalls::Offered => {
                            self.pause.end_calls = unoffered.iter().map(|call| call.seq).collect();
                            self.pause.resume_at = None;
                            return Ok(self.pause(api, ending::withheld(*execution), log_from));
                        }
                        UnawaitedCalls::Failed(error) => ending::fail(&mut execution, error),
                    }
                }
                Ok(self.end(api, *execution, &round.unobserved, log_from))
            }
            // The handle tries the round again, and returns its own error when it gives up.
            RoundEnd::ReplayFailed(_) => Err(DispatchError::ReplayFailed.into()),
        }
    }

    async fn run_round(&mut self, api: &Api) -> Result<Round, Problem> {
        let task = RoundTask {
            job: Arc::clone(&self.job),
            tool_limits: self.pause.tool_limits,
            log: self.log.clone(),
            arrived: self.pause.arrived.clone(),
            unawaited: self.unawaited,
        };
        Ok(api.dispatcher.run_round(task).await?)
    }

    /// Returns the response to a request that lets nothing go on; `None` if a round is to be run.
    fn wait_on(&mut self, api: &Api) -> Option<ToolResponse> {
        let given = self.given.take()?;
        let has_answers = !self.pause.arrived.is_empty();
        if self.log.has_ended() {
            let answers = std::mem::take(&mut self.pause.arrived);
            self.log.take_end_answers(answers);
            self.pause.offer(&mut self.log);
            self.pause.open_calls(&self.log).next()?;
        } else if has_answers || self.is_due() {
            return None;
        }
        let log_from = self.log.log_entries();
        let suspension = ending::nothing_new(&self.job);
        if has_answers {
            return Some(self.pause(api, suspension, log_from));
        }
        let pending = self.pending(suspension, given.replay, given.expires_at);
        Some(ToolResponse::Waiting(
            Box::new(pending),
            self.report(false, &[], log_from),
        ))
    }

    /// Returns whether the time has come at which the execution goes on without an answer.
    fn is_due(&self) -> bool {
        let now = Timestamp::now().as_unix_millis();
        self.pause.resume_at.is_some_and(|at| at <= now)
    }

    /// Seals the state of the execution, and returns the response of a round that was suspended.
    fn pause(&mut self, api: &Api, suspension: Suspension, log_from: u64) -> ToolResponse {
        let now = Timestamp::now().as_unix_millis();
        self.pause.offer(&mut self.log);
        let offered: Vec<(u32, u64)> = (self.pause.open_calls(&self.log))
            .map(|call| (call.seq, self.pause.offered_at(call.seq).unwrap_or(now)))
            .collect();
        self.pause.offered = offered;
        self.pause.paused_at = now;
        api.tools.suspended.count();
        let (replay, expires_at) = api.replays.seal(self.pause.clone(), &self.log);
        let pending = self.pending(suspension, replay, expires_at);
        ToolResponse::Waiting(Box::new(pending), self.report(false, &[], log_from))
    }

    fn pending(&self, suspension: Suspension, replay: String, expires_at: Timestamp) -> Pending {
        // The answer to a call makes a new `replay`, which may last until a timer that this one does not reach.
        let is_in_time = |at: &u64| *at < expires_at.as_unix_millis();
        let timer = self.pause.resume_at.filter(is_in_time);
        let timeouts =
            (self.pause.requested_limits.call_timeout_ms).and(self.pause.first_timeout());
        Pending {
            suspension,
            waits_for_calls: self.pause.open_calls(&self.log).next().is_some(),
            waits_for_timer: timer.is_some(),
            resume_at: timer
                .into_iter()
                .chain(timeouts)
                .min()
                .map(Timestamp::from_unix_millis),
            replay,
            expires_at,
        }
    }

    /// Returns the time of the timer that the execution waits for, if it waits for that timer alone, and can no longer be
    /// continued by then.
    fn timer_that_never_comes(&self) -> Option<Timestamp> {
        let wait = Duration::from_secs(self.pause.tool_limits.wait_timeout_s.into());
        let due = self.pause.resume_at.map(Timestamp::from_unix_millis)?;
        let is_in_time = due < Timestamp::now().plus(wait);
        let waits_for_calls = self.log.pending().next().is_some();
        (!is_in_time && !waits_for_calls).then_some(due)
    }

    /// Returns the response of an execution that the service ends, and counts it.
    fn end_without_round(
        &mut self,
        api: &Api,
        execution: Execution,
        log_from: u64,
    ) -> ToolResponse {
        api.dispatcher.count_ended(&execution);
        api.usage.count_outcome(&self.job, &execution);
        self.end(api, execution, &[], log_from)
    }

    /// Returns the response of an execution that has ended, and keeps the execution readable. An answer that came too late
    /// for the script is in the receipt all the same: the call was made.
    fn end(
        &mut self,
        api: &Api,
        mut execution: Execution,
        unobserved: &[u32],
        log_from: u64,
    ) -> ToolResponse {
        let answers = std::mem::take(&mut self.pause.arrived);
        self.log.take_end_answers(answers);
        execution.usage = self.pause.totals.usage();
        let execution = Arc::new(execution);
        api.dispatcher.remember(self.job.owner.clone(), &execution);
        ToolResponse::Ended(execution, self.report(true, unobserved, log_from))
    }

    fn report(&self, is_final: bool, unobserved: &[u32], log_from: u64) -> Report {
        let calls = match is_final {
            true => ReportedCall::all(&self.log, &self.pause, unobserved),
            false => ReportedCall::open(&self.log, &self.pause),
        };
        Report {
            calls,
            log_from,
            rounds: self.log.rounds(),
            own_micros: self.log.own_micros(),
            replay_micros: self.log.replay_micros(),
            waited_millis: self.pause.totals.waited_millis,
            usage: self.pause.totals.usage(),
            tool_limits: self.pause.tool_limits,
        }
    }

    /// Drops the answers that the log has by now.
    fn drop_recorded(&mut self) {
        let log = &self.log;
        self.pause
            .arrived
            .retain(|arrived| log.answer(arrived.seq).is_none());
    }
}

/// Begins the log of an execution, with random bytes of the system or with the client's own number.
fn new_log(seed: Option<u64>) -> ReplayLog {
    let start_ms = Timestamp::now().as_unix_millis();
    match seed {
        Some(number) => ReplayLog::begin_seeded(FINGERPRINT, start_ms, number),
        None => {
            let mut bytes = [0; Seed::BYTES];
            rand::fill(&mut bytes);
            ReplayLog::begin(FINGERPRINT, start_ms, Seed::new(bytes))
        }
    }
}

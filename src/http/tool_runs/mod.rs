//! Executions with the caller's tools: a request runs one round, and its response has the calls that wait for answers.
//!
//! The service keeps nothing between rounds. [`ExecuteRun`] is an execution within one request: new, or opened from the
//! `replay` of an earlier response.

mod answers;
mod job_answers;

pub(super) use job_answers::give as give_answers;

use super::Api;
use super::calls_view::{Attested, Pending, Report, ReportedCall};
use super::problem::Problem;
use super::request::Answer;
use crate::actors::RoundTask;
use crate::actors::types::DispatchError;
use crate::replay::{Opened, Pause, RequestParts};
use crate::tool_runs::{self, AfterRound, NextStep, ToolRun};
use sandpiper_domain::tools::{Round, Suspension, ToolLimits, Unawaited};
use sandpiper_domain::{Execution, Job, RequestedLimits, Timestamp};
use std::sync::Arc;

/// An execution with tools within one request.
#[derive(Debug)]
pub(super) struct ExecuteRun {
    job: Arc<Job>,
    request: RequestParts,
    requested_limits: RequestedLimits,
    run: ToolRun,
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
    /// The first field that the request gives and that only `POST /api/execute` has.
    pub(super) of_execute: Option<&'static str>,
}

/// The response to a request.
#[derive(Debug)]
pub(super) enum ToolResponse {
    Waiting(Box<Pending>, Report),
    Ended(Arc<Execution>, Report),
}

impl ExecuteRun {
    /// Begins an execution, or opens the one that the request continues and takes the answers. `job` has tools.
    pub(super) fn read(api: &Api, mut job: Job, request: ToolRequest) -> Result<Self, Problem> {
        let ToolRequest {
            requested_limits,
            unawaited,
            replay,
            answers,
            of_execute: _,
        } = request;
        let request = RequestParts::of(&job.script, unawaited);
        let ttl_s = api.replays.ttl_s();
        let tool_limits = ToolLimits::of_execute(&requested_limits, &job.limits, ttl_s)?;
        let Some(replay) = replay else {
            if !answers.is_empty() {
                let detail = "`answers` are for an execution that waits; give its `replay` too";
                return Err(Problem::invalid_field("answers", detail));
            }
            return Ok(Self {
                run: ToolRun::begin(job.script.seed(), tool_limits, unawaited),
                job: Arc::new(job),
                request,
                requested_limits,
                given: None,
            });
        };
        let now = Timestamp::now();
        let opened = api.replays.open(&replay, &job.owner.tenant, now);
        let opened = opened.map_err(|error| api.tools.refused(error))?;
        let Opened {
            pause,
            log,
            expires_at,
        } = opened;
        let granted = (&job.limits, &tool_limits);
        let limits = pause.check_request(&request, &requested_limits, granted);
        job.limits = limits.map_err(|error| api.tools.refused(error))?;
        let mut run = ToolRun {
            state: pause.state,
            log,
        };
        run.time_out(now);
        answers::take(answers, &mut run, now)?;
        run.resume(now);
        Ok(Self {
            job: Arc::new(job),
            request: pause.request,
            requested_limits: pause.requested_limits,
            run,
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
        let log_from = self.run.log.log_entries();
        match self.run.next_step(&self.job, Timestamp::now()) {
            NextStep::Round => {}
            NextStep::Wait { is_changed } => return Ok(self.wait_on(api, is_changed, log_from)),
            NextStep::End(execution) => {
                return Ok(self.end_without_round(api, execution, log_from));
            }
        }
        let round = self.run_round(api).await?;
        match self.run.take_round(round) {
            AfterRound::Suspended(suspension) => Ok(self.pause(api, suspension, log_from)),
            AfterRound::WaitsTooLong(execution) => {
                Ok(self.end_without_round(api, execution, log_from))
            }
            AfterRound::Ended(execution, unobserved) => {
                Ok(self.end(api, execution, &unobserved, log_from))
            }
            // The handle tries the round again, and returns its own error when it gives up.
            AfterRound::ReplayFailed => Err(DispatchError::ReplayFailed.into()),
        }
    }

    async fn run_round(&mut self, api: &Api) -> Result<Round, Problem> {
        let task = RoundTask::new(Arc::clone(&self.job), &self.run);
        Ok(api.dispatcher.run_round(task).await?)
    }

    /// Returns the response to a request that lets nothing go on. If it changed nothing, its `replay` is still good.
    fn wait_on(&mut self, api: &Api, is_changed: bool, log_from: u64) -> ToolResponse {
        let suspension = tool_runs::nothing_new(&self.job);
        match self.given.take() {
            Some(given) if !is_changed => {
                let pending = self.pending(suspension, given.replay, given.expires_at);
                ToolResponse::Waiting(Box::new(pending), self.report(false, &[], log_from))
            }
            _ => self.pause(api, suspension, log_from),
        }
    }

    /// Seals the state of the execution, and returns the response of a round that was suspended.
    fn pause(&mut self, api: &Api, suspension: Suspension, log_from: u64) -> ToolResponse {
        self.run.pause(Timestamp::now());
        api.dispatcher.tool_counters().suspensions.count();
        let pause = Pause {
            request: self.request.clone(),
            requested_limits: self.requested_limits,
            limits: self.job.limits,
            tenant: self.job.owner.tenant.as_str().to_owned(),
            state: self.run.state.clone(),
        };
        let (replay, expires_at) = api.replays.seal(pause, &self.run.log);
        let pending = self.pending(suspension, replay, expires_at);
        ToolResponse::Waiting(Box::new(pending), self.report(false, &[], log_from))
    }

    fn pending(&self, suspension: Suspension, replay: String, expires_at: Timestamp) -> Pending {
        let state = &self.run.state;
        // The answer to a call makes a new `replay`, which may last until a timer that this one does not reach.
        let is_in_time = |at: &u64| *at < expires_at.as_unix_millis();
        let timer = state.resume_at.filter(is_in_time);
        let timeouts = (self.requested_limits.call_timeout_ms).and(state.first_timeout());
        Pending {
            suspension,
            waits_for_calls: self.run.open_calls().next().is_some(),
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

    /// Returns the response of an execution that has ended, and keeps the execution readable.
    fn end(
        &mut self,
        api: &Api,
        mut execution: Execution,
        unobserved: &[u32],
        log_from: u64,
    ) -> ToolResponse {
        self.run.keep_late_answers();
        execution.usage = self.run.state.totals.usage();
        let execution = Arc::new(execution);
        api.dispatcher.remember(self.job.owner.clone(), &execution);
        ToolResponse::Ended(execution, self.report(true, unobserved, log_from))
    }

    fn report(&self, is_final: bool, unobserved: &[u32], log_from: u64) -> Report {
        let calls = match is_final {
            true => ReportedCall::all(&self.run, unobserved),
            false => ReportedCall::open(&self.run),
        };
        Report {
            calls,
            log_from: Some(log_from),
            attested_by: Some(Attested::Caller),
            ..Report::of(&self.run)
        }
    }
}

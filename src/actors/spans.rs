//! The meters and the spans of one execution: time in the queue, time of the run, and outcome. Called on the Executor's
//! thread.

use super::executor::Execute;
use super::runner::Ran;
use super::stats::Stats;
use crate::telemetry::{Attribute, Span, SpanKind};
use sandpiper_domain::{Execution, Outcome, TraceContext, TraceText};
use std::time::{Duration, SystemTime};

/// An execution that has begun.
pub(super) struct ExecutionSpan {
    /// The span of the request.
    parent: Option<TraceContext>,
    /// The span of the execution.
    context: TraceContext,
    waited: Duration,
}

impl ExecutionSpan {
    pub(super) fn begin(stats: &Stats, message: &Execute) -> Self {
        let waited = message.since.elapsed();
        stats.meters.queue_wait.of(message.lane).observe(waited);
        let parent = message.task.trace();
        Self {
            parent: parent.cloned(),
            context: stats.telemetry().below(parent),
            waited,
        }
    }

    pub(super) fn trace_text(&self) -> TraceText {
        self.context.trace_text()
    }

    /// Records the end of an execution. Called before the result is sent, so that a client with a result finds it in
    /// the metrics.
    pub(super) fn ran(self, stats: &Stats, message: &Execute, ran: &Ran, executor: Option<usize>) {
        let usage = ran.usage();
        stats.meters.ran(&usage);
        let telemetry = stats.telemetry();
        if !telemetry.records(&self.context) {
            return;
        }
        let duration = Duration::from_micros(usage.wall_micros);
        let now = SystemTime::now();
        let started_at = now.checked_sub(duration).unwrap_or(now);
        let job = || {
            (
                "sandpiper.job.id",
                Attribute::Text(message.id().to_string()),
            )
        };
        let lane = ("sandpiper.lane", Attribute::Word(message.lane.as_str()));
        telemetry.record(Span {
            context: telemetry.below(Some(&self.context)),
            parent: self.parent.clone(),
            name: "queue".to_owned(),
            kind: SpanKind::Internal,
            started_at: started_at.checked_sub(self.waited).unwrap_or(started_at),
            duration: self.waited,
            attributes: vec![job(), lane],
            is_failure: false,
        });
        let outcome = ran.outcome();
        let mut attributes = vec![
            job(),
            ("sandpiper.outcome", Attribute::Word(ran.outcome_name())),
            ("sandpiper.cpu_us", number(usage.cpu_micros)),
            (
                "sandpiper.peak_memory_bytes",
                number(usage.peak_memory_bytes),
            ),
        ];
        attributes.extend(executor.map(|index| ("sandpiper.executor", number(index))));
        let execution = ran.execution();
        attributes.extend(
            execution
                .and_then(Execution::limit_hit)
                .map(|limit| ("sandpiper.limit", Attribute::Word(limit.as_str()))),
        );
        telemetry.record(Span {
            context: self.context,
            parent: self.parent,
            name: "execute".to_owned(),
            kind: SpanKind::Internal,
            started_at,
            duration,
            attributes,
            // A failure of the script is data, not a failure of the service.
            is_failure: outcome == Some(Outcome::Crashed),
        });
    }
}

fn number(number: impl TryInto<i64>) -> Attribute {
    Attribute::Number(number.try_into().unwrap_or(i64::MAX))
}

//! What meters and a collector are told of one execution: how long it waited, how long it ran, and how it ended. Called on
//! the Executor's thread.

use super::board::Board;
use super::executor::{Execute, Origin};
use crate::telemetry::{Fact, Span, SpanKind};
use sandpiper_domain::{Execution, TraceContext, TraceText};
use std::time::{Duration, SystemTime};

/// An execution that has begun.
pub(super) struct Seen {
    /// What it is a part of.
    parent: Option<TraceContext>,
    /// Its own span.
    context: TraceContext,
    waited: Duration,
}

impl Seen {
    pub(super) fn begin(board: &Board, origin: &Origin) -> Self {
        let waited = origin.since.elapsed();
        board.meters.queue_wait.of(origin.lane).observe(waited);
        Self {
            parent: origin.trace.clone(),
            context: board.telemetry().below(origin.trace.as_ref()),
            waited,
        }
    }

    pub(super) fn trace_text(&self) -> TraceText {
        self.context.trace_text()
    }

    /// To be told before whoever waits has its answer, so that nobody who has it misses what it was.
    pub(super) fn ran(
        self,
        board: &Board,
        message: &Execute,
        execution: &Execution,
        executor: Option<usize>,
    ) {
        board.meters.ran(execution);
        let telemetry = board.telemetry();
        if !telemetry.records(&self.context) {
            return;
        }
        let ran = Duration::from_micros(execution.usage.wall_micros);
        let now = SystemTime::now();
        let began = now.checked_sub(ran).unwrap_or(now);
        let job = || ("sandpiper.job.id", Fact::Text(message.id.to_string()));
        let lane = ("sandpiper.lane", Fact::Word(message.origin.lane.as_str()));
        telemetry.record(Span {
            context: telemetry.below(Some(&self.context)),
            parent: self.parent.clone(),
            name: "queue".to_owned(),
            kind: SpanKind::Internal,
            began: began.checked_sub(self.waited).unwrap_or(began),
            took: self.waited,
            facts: vec![job(), lane],
            is_failure: false,
        });
        let outcome = execution.outcome;
        let mut facts = vec![
            job(),
            ("sandpiper.outcome", Fact::Word(outcome.as_str())),
            ("sandpiper.cpu_us", number(execution.usage.cpu_micros)),
            (
                "sandpiper.peak_memory_bytes",
                number(execution.usage.peak_memory_bytes),
            ),
        ];
        facts.extend(executor.map(|place| ("sandpiper.executor", number(place))));
        facts.extend(
            outcome
                .limit()
                .map(|limit| ("sandpiper.limit", Fact::Word(limit.as_str()))),
        );
        telemetry.record(Span {
            context: self.context,
            parent: self.parent,
            name: "execute".to_owned(),
            kind: SpanKind::Internal,
            began,
            took: ran,
            facts,
            // A script's failure is data.
            is_failure: outcome == sandpiper_domain::Outcome::Crashed,
        });
    }
}

fn number(number: impl TryInto<i64>) -> Fact {
    Fact::Number(number.try_into().unwrap_or(i64::MAX))
}

//! Spans: what was done for one request, when, and how it ended, told to a collector that speaks OTLP.
//!
//! Off unless `--otlp-endpoint` says where. Whoever has a span puts it into a bounded queue and goes on; a thread of its own
//! sends them. Where the queue is full or the collector is away, spans are dropped and counted: nothing waits for them.

mod export;

pub use export::TelemetryError;

use export::Exporter;
use sandpiper_domain::TraceContext;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use uuid::Uuid;

/// Where spans go, and how many.
#[derive(Debug, Clone)]
pub struct TelemetryOptions {
    /// The collector, as `http://127.0.0.1:4318`; none: no spans.
    pub endpoint: Option<String>,
    /// The share of those traces that begin here, 0 to 1.
    pub ratio: f64,
    /// Most spans that wait to be sent.
    pub queue_max: usize,
    /// Longest that the collector may take for a batch.
    pub timeout: Duration,
}

/// What became of spans.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpanCounts {
    /// The collector has taken them.
    pub exported: u64,
    /// There was no room for them in the queue.
    pub dropped: u64,
    /// The collector did not take them.
    pub failed: u64,
}

/// What a span is to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// It answers somebody's request.
    Server,
    /// It is a step of this service's own.
    Internal,
}

/// What is said of a span.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// A word of a fixed list.
    Word(&'static str),
    /// Any text.
    Text(String),
    /// A number.
    Number(i64),
}

/// Something that was done.
#[derive(Debug)]
pub struct Span {
    /// Its place in its trace.
    pub context: TraceContext,
    /// What it was done for.
    pub parent: Option<TraceContext>,
    /// What it is.
    pub name: String,
    /// To whom.
    pub kind: SpanKind,
    /// When it began.
    pub began: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// What is said of it.
    pub facts: Vec<(&'static str, Fact)>,
    /// The service failed at it.
    pub is_failure: bool,
}

/// The way to the collector. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Telemetry {
    exporter: Option<Arc<Exporter>>,
    ratio: f64,
}

impl Telemetry {
    /// No spans go anywhere.
    #[must_use]
    pub fn off() -> Self {
        Self::default()
    }

    /// Spans go where the options say, from a thread that is started here. Whether there is a collector is found out later,
    /// and stops nobody.
    pub fn start(options: &TelemetryOptions) -> Result<Self, TelemetryError> {
        let exporter = match &options.endpoint {
            Some(endpoint) => Some(Arc::new(Exporter::start(endpoint, options)?)),
            None => None,
        };
        Ok(Self {
            exporter,
            ratio: options.ratio,
        })
    }

    /// Whether spans go anywhere.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.exporter.is_some()
    }

    /// A span of its own below `parent`, or the first of a new trace.
    #[must_use]
    pub fn below(&self, parent: Option<&TraceContext>) -> TraceContext {
        match parent {
            Some(parent) => parent.child(fastrand::u64(1..)),
            None => self.begin(),
        }
    }

    /// The first span of a new trace.
    fn begin(&self) -> TraceContext {
        // Its last 62 bits are from the kernel, so no two nodes choose the same.
        let trace_id = Uuid::now_v7().as_u128();
        let is_sampled = self.is_on() && fastrand::f64() < self.ratio;
        TraceContext::new(trace_id, fastrand::u64(1..), is_sampled)
    }

    /// Whether a span in this place is to be recorded; whoever asks first saves itself making one.
    #[must_use]
    pub fn records(&self, context: &TraceContext) -> bool {
        self.is_on() && context.is_sampled()
    }

    /// Takes a span. Does not wait.
    pub fn record(&self, span: Span) {
        if let Some(exporter) = &self.exporter {
            exporter.take(span);
        }
    }

    /// What became of those that were taken; `None` where spans go nowhere.
    #[must_use]
    pub fn counts(&self) -> Option<SpanCounts> {
        self.exporter.as_ref().map(|exporter| exporter.counts())
    }

    /// Sends what is left, for at most so long. Blocks.
    pub fn close(&self, within: Duration) {
        if let Some(exporter) = &self.exporter {
            exporter.close(within);
        }
    }
}

//! Spans: the steps of one request, with their times and results, exported to an OTLP collector.
//!
//! Off unless `--otlp-endpoint` is given. A span goes into a bounded queue, which a thread of its own sends. While the
//! queue is full or the collector is away, spans are dropped and counted: nothing waits for them.

mod export;

pub use export::TelemetryError;

use export::Exporter;
use sandpiper_domain::TraceContext;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use uuid::Uuid;

/// The options of the export of spans.
#[derive(Debug, Clone)]
pub struct TelemetryOptions {
    /// The address of the collector, as `http://127.0.0.1:4318`; `None` for no spans.
    pub endpoint: Option<String>,
    /// The share of new traces that are sampled, 0 to 1.
    pub ratio: f64,
    /// Most spans that wait to be sent.
    pub queue_max: usize,
    /// Longest time that the collector may take for a batch.
    pub timeout: Duration,
}

/// The number of spans by their fate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpanCounts {
    /// Spans that the collector has taken.
    pub exported: u64,
    /// Spans for which the queue had no room.
    pub dropped: u64,
    /// Spans that the collector did not take.
    pub failed: u64,
}

/// The role of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// The span is a response to a client's request.
    Server,
    /// The span is a step inside this service.
    Internal,
}

/// The value of an attribute of a span.
#[derive(Debug, Clone, PartialEq)]
pub enum Attribute {
    /// A word of a fixed list.
    Word(&'static str),
    /// Any text.
    Text(String),
    /// A number.
    Number(i64),
}

/// A step of a request.
#[derive(Debug)]
pub struct Span {
    /// The id of the span and of its trace.
    pub context: TraceContext,
    /// The parent span.
    pub parent: Option<TraceContext>,
    /// The name of the span.
    pub name: String,
    /// The role of the span.
    pub kind: SpanKind,
    /// The time of the start.
    pub started_at: SystemTime,
    /// The time from start to end.
    pub duration: Duration,
    /// The attributes of the span.
    pub attributes: Vec<(&'static str, Attribute)>,
    /// True if the service failed at this step.
    pub is_failure: bool,
}

/// The exporter of spans. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Telemetry {
    exporter: Option<Arc<Exporter>>,
    ratio: f64,
}

impl Telemetry {
    /// Creates an exporter that drops every span.
    #[must_use]
    pub fn off() -> Self {
        Self::default()
    }

    /// Starts the export that the options describe, on a new thread. A collector that is away is found out later, and
    /// is no error here.
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

    /// Returns true if spans are exported.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.exporter.is_some()
    }

    /// Returns a new span below `parent`, or the first span of a new trace.
    #[must_use]
    pub fn below(&self, parent: Option<&TraceContext>) -> TraceContext {
        match parent {
            Some(parent) => parent.child(fastrand::u64(1..)),
            None => self.begin(),
        }
    }

    /// Returns the first span of a new trace.
    fn begin(&self) -> TraceContext {
        // The last 62 bits are from the kernel, so no two nodes choose the same.
        let trace_id = Uuid::now_v7().as_u128();
        let is_sampled = self.is_on() && fastrand::f64() < self.ratio;
        TraceContext::new(trace_id, fastrand::u64(1..), is_sampled)
    }

    /// Returns true if a span with this context is exported. Callers ask first, to save the cost of an unused span.
    #[must_use]
    pub fn records(&self, context: &TraceContext) -> bool {
        self.is_on() && context.is_sampled()
    }

    /// Queues a span. Does not wait.
    pub fn record(&self, span: Span) {
        if let Some(exporter) = &self.exporter {
            exporter.take(span);
        }
    }

    /// Returns the counts of spans; `None` if spans are not exported.
    #[must_use]
    pub fn counts(&self) -> Option<SpanCounts> {
        self.exporter.as_ref().map(|exporter| exporter.counts())
    }

    /// Sends the remaining spans, for at most `within`. Blocks.
    pub fn close(&self, within: Duration) {
        if let Some(exporter) = &self.exporter {
            exporter.close(within);
        }
    }
}

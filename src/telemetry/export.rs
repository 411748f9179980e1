//! A bounded queue of spans and the thread that sends them. The only part that knows OpenTelemetry.

use super::{Attribute, Span, SpanCounts, SpanKind, TelemetryOptions};
use async_trait::async_trait;
use futures_util::FutureExt as _;
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind as OtelKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use sandpiper_domain::TraceContext;
use sandpiper_http_kit::counters::Counter;
use std::io;
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// Most spans of one message to the collector.
const BATCH_MAX: usize = 512;
/// Longest time that a span waits for others of its batch.
const GATHER_FOR: Duration = Duration::from_millis(500);
/// Most bytes of a collector's response.
const RESPONSE_BYTES_MAX: u64 = 64 * 1024;
/// The path of the collector, if the endpoint has none.
const PATH: &str = "/v1/traces";

/// The reason why the export of spans cannot start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The endpoint is not valid.
    #[error("--otlp-endpoint: {0}")]
    Endpoint(#[from] ExporterBuildError),
    /// The thread could not be started.
    #[error("the thread that sends spans did not start: {0}")]
    Thread(#[from] io::Error),
}

/// The number of spans by their fate.
#[derive(Debug, Default)]
struct Counts {
    exported: Counter,
    dropped: Counter,
    failed: Counter,
}

/// An item of the queue.
#[derive(Debug)]
enum Item {
    Span(Box<Span>),
    /// A request for a message once everything before it is sent.
    Flush(SyncSender<()>),
}

/// The sending end of the queue.
#[derive(Debug)]
pub(super) struct Exporter {
    queue: SyncSender<Item>,
    counts: Arc<Counts>,
}

impl Exporter {
    pub(super) fn start(
        endpoint: &str,
        options: &TelemetryOptions,
    ) -> Result<Self, TelemetryError> {
        let client = Client::new(options.timeout);
        let mut sender = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(with_path(endpoint))
            .with_timeout(options.timeout)
            .build()?;
        let resource = Resource::builder_empty()
            .with_service_name(env!("CARGO_PKG_NAME"))
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        sender.set_resource(&resource);
        let (queue, waiting) = sync_channel(options.queue_max);
        let counts = Arc::<Counts>::default();
        let thread_counts = Arc::clone(&counts);
        thread::Builder::new()
            .name("spans".to_owned())
            .spawn(move || send(&sender, &waiting, &thread_counts))?;
        Ok(Self { queue, counts })
    }

    pub(super) fn take(&self, span: Span) {
        if self.queue.try_send(Item::Span(Box::new(span))).is_err() {
            self.counts.dropped.count();
        }
    }

    pub(super) fn counts(&self) -> SpanCounts {
        SpanCounts {
            exported: self.counts.exported.get(),
            dropped: self.counts.dropped.get(),
            failed: self.counts.failed.get(),
        }
    }

    pub(super) fn close(&self, within: Duration) {
        const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(5);
        let deadline = Instant::now() + within;
        let (done, is_done) = sync_channel(1);
        // The queue may be full.
        while let Err(TrySendError::Full(_)) = self.queue.try_send(Item::Flush(done.clone())) {
            if Instant::now() >= deadline {
                return;
            }
            thread::sleep(LOOK_AGAIN_AFTER);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        // The process ends, whether or not the message came in time.
        let _ = is_done.recv_timeout(left);
    }
}

/// Sends batches until every [`Exporter`] is dropped.
fn send(sender: &opentelemetry_otlp::SpanExporter, waiting: &Receiver<Item>, counts: &Counts) {
    let scope = InstrumentationScope::builder(env!("CARGO_PKG_NAME"))
        .with_version(env!("CARGO_PKG_VERSION"))
        .build();
    let mut is_reached = true;
    while let Ok(first) = waiting.recv() {
        let (batch, flush) = gather(first, waiting);
        let spans = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        if spans > 0 {
            let batch = batch.into_iter().map(|span| data_of(span, &scope));
            // The client blocks, so the future is never pending.
            let sent = sender.export(batch.collect()).now_or_never();
            let failure = match sent {
                Some(Ok(())) => None,
                Some(Err(cause)) => Some(cause.to_string()),
                None => Some("no response in time".to_owned()),
            };
            match &failure {
                None => counts.exported.add(spans),
                Some(_) => counts.failed.add(spans),
            }
            // Only changes are logged: a collector that is away would fill the log.
            match failure {
                Some(cause) if is_reached => {
                    warn!(%cause, "the collector does not take spans: spans are dropped and counted until it does");
                    is_reached = false;
                }
                None if !is_reached => {
                    info!("the collector takes spans again");
                    is_reached = true;
                }
                _ => {}
            }
        }
        if let Some(done) = flush {
            // The receiver may have stopped waiting.
            let _ = done.try_send(());
        }
    }
}

/// Returns `first` and the items that follow within [`GATHER_FOR`].
fn gather(first: Item, waiting: &Receiver<Item>) -> (Vec<Span>, Option<SyncSender<()>>) {
    let until = Instant::now() + GATHER_FOR;
    let mut batch = Vec::new();
    let mut next = Ok(first);
    loop {
        match next {
            Ok(Item::Span(span)) => batch.push(*span),
            Ok(Item::Flush(done)) => return (batch, Some(done)),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                return (batch, None);
            }
        }
        if batch.len() >= BATCH_MAX {
            return (batch, None);
        }
        next = waiting.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

fn data_of(span: Span, scope: &InstrumentationScope) -> SpanData {
    let parent = span.parent.as_ref().map(TraceContext::span_id);
    let attributes = span.attributes.into_iter();
    SpanData {
        span_context: context_of(&span.context),
        parent_span_id: SpanId::from(parent.unwrap_or_default()),
        parent_span_is_remote: span.kind == SpanKind::Server && parent.is_some(),
        span_kind: match span.kind {
            SpanKind::Server => OtelKind::Server,
            SpanKind::Internal => OtelKind::Internal,
        },
        name: span.name.into(),
        start_time: span.started_at,
        end_time: span.started_at + span.duration,
        attributes: attributes
            .map(|(name, attribute)| KeyValue::new(name, value_of(attribute)))
            .collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: if span.is_failure {
            Status::error("")
        } else {
            Status::Unset
        },
        instrumentation_scope: scope.clone(),
    }
}

fn context_of(context: &TraceContext) -> SpanContext {
    let state = context.state().map(TraceState::from_str);
    SpanContext::new(
        TraceId::from(context.trace_id()),
        SpanId::from(context.span_id()),
        TraceFlags::SAMPLED,
        false,
        state.and_then(Result::ok).unwrap_or_default(),
    )
}

fn value_of(attribute: Attribute) -> Value {
    match attribute {
        Attribute::Word(word) => word.into(),
        Attribute::Text(text) => text.into(),
        Attribute::Number(number) => number.into(),
    }
}

/// Returns the endpoint with the path of OTLP, if it has no path.
fn with_path(endpoint: &str) -> String {
    let host = endpoint.trim_end_matches('/');
    match host.split_once("://") {
        Some((_, rest)) if !rest.contains('/') => format!("{host}{PATH}"),
        _ => endpoint.to_owned(),
    }
}

/// An HTTP client that sends one message and waits for its response.
#[derive(Debug)]
struct Client(ureq::Agent);

impl Client {
    fn new(timeout: Duration) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(timeout))
            .proxy(None)
            .build();
        Self(agent.new_agent())
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let response = self.0.run(Request::from_parts(head, body.to_vec()))?;
        let (head, body) = response.into_parts();
        let body = body
            .into_with_config()
            .limit(RESPONSE_BYTES_MAX)
            .read_to_vec()?;
        Ok(Response::from_parts(head, body.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_named_by_its_host_or_by_its_whole_path() {
        for (given, meant) in [
            ("http://c:4318", "http://c:4318/v1/traces"),
            ("http://c:4318/", "http://c:4318/v1/traces"),
            ("https://c/otlp/v1/traces", "https://c/otlp/v1/traces"),
        ] {
            assert_eq!(with_path(given), meant);
        }
    }
}

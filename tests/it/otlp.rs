//! Traces: the spans that a collector receives, and the independence of requests from the collector.

use crate::support::{Service, eventually};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValue;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::json;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SOON: Duration = crate::support::SOON;

/// A collector that accepts every batch with this status.
pub(crate) struct Collector {
    port: u16,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    pub(crate) fn start() -> Self {
        Self::that_answers("200 OK", Duration::ZERO)
    }

    fn that_answers(status: &'static str, after: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let spans = Arc::<Mutex<Vec<Span>>>::default();
        let taken = Arc::clone(&spans);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let taken = Arc::clone(&taken);
                thread::spawn(move || serve(stream, status, after, &taken));
            }
        });
        Self { port, spans }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap().clone()
    }

    /// Waits for this many spans of one trace, and returns them.
    pub(crate) fn of_trace(&self, trace: &str, count: usize) -> Vec<Span> {
        let of_trace = || {
            let mut spans = self.spans();
            spans.retain(|span| hex(&span.trace_id) == trace);
            spans
        };
        eventually(SOON, "so many spans came", || of_trace().len() >= count);
        of_trace()
    }
}

fn serve(stream: TcpStream, status: &str, after: Duration, taken: &Mutex<Vec<Span>>) {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut length, mut head) = (0, String::new());
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line.trim().is_empty() {
                break;
            }
            head.push_str(&line.to_ascii_lowercase());
        }
        for line in head.lines() {
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        assert!(head.starts_with("post /v1/traces "), "{head}");
        assert!(
            head.contains("content-type: application/x-protobuf"),
            "{head}"
        );
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
        let scopes = request.resource_spans.into_iter().flat_map(|resource| {
            let named = resource.resource.unwrap().attributes;
            assert!(named.iter().any(|pair| pair.key == "service.name"));
            resource.scope_spans
        });
        let spans = scopes.flat_map(|scope| scope.spans);
        taken.lock().unwrap().extend(spans);
        thread::sleep(after);
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        if reader.get_mut().write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn fact(span: &Span, name: &str) -> String {
    let found = span.attributes.iter().find(|pair| pair.key == name);
    let found = found.unwrap_or_else(|| panic!("{} has no {name}", span.name));
    match found.value.as_ref().unwrap().value.as_ref().unwrap() {
        AnyValue::StringValue(text) => text.clone(),
        AnyValue::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found = spans.iter().find(|span| span.name == name);
    found.unwrap_or_else(|| panic!("no span is called {name} in {spans:?}"))
}

fn execute_with(service: &Service, parent: &str, code: &str) {
    let body = json!({ "code": code });
    let answer = service.post_with("/api/execute", &[("traceparent", parent)], &body);
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[test]
fn a_request_its_wait_and_its_execution_are_spans_of_the_clients_trace() {
    let collector = Collector::start();
    let service = Service::start_with(&["--otlp-endpoint", &collector.endpoint()]);
    execute_with(&service, PARENT, "for (;;);");
    let spans = collector.of_trace(TRACE, 3);
    assert_eq!(spans.len(), 3);
    let request = named(&spans, "POST /api/execute");
    assert_eq!(hex(&request.parent_span_id), "00f067aa0ba902b7");
    assert_eq!(fact(request, "http.response.status_code"), "200");
    assert_eq!(fact(request, "http.route"), "/api/execute");
    let execution = named(&spans, "execute");
    assert_eq!(execution.parent_span_id, request.span_id);
    assert_eq!(fact(execution, "sandpiper.outcome"), "timed_out");
    assert_eq!(fact(execution, "sandpiper.limit"), "timeoutMs");
    assert!(fact(execution, "sandpiper.executor").parse::<u8>().unwrap() < 2);
    let queue = named(&spans, "queue");
    assert_eq!(queue.parent_span_id, request.span_id);
    assert_eq!(fact(queue, "sandpiper.lane"), "interactive");
    // One after the other, all within the request.
    let took = execution.end_time_unix_nano - execution.start_time_unix_nano;
    assert!(took >= 1_900_000_000, "{took}");
    assert!(queue.end_time_unix_nano <= execution.start_time_unix_nano);
    assert!(request.start_time_unix_nano <= queue.start_time_unix_nano);
    assert!(execution.end_time_unix_nano <= request.end_time_unix_nano);
}

#[test]
fn what_its_origin_does_not_want_recorded_is_not_recorded() {
    let collector = Collector::start();
    let service = Service::start_with(&["--otlp-endpoint", &collector.endpoint()]);
    let unsampled = PARENT.replace("-01", "-00");
    execute_with(&service, &unsampled, "1");
    execute_with(
        &service,
        "00-11111111111111111111111111111111-2222222222222222-01",
        "1",
    );
    assert_eq!(collector.of_trace(&"1".repeat(32), 3).len(), 3);
    assert!(
        collector
            .spans()
            .iter()
            .all(|span| hex(&span.trace_id) != TRACE)
    );
}

#[test]
fn a_ratio_of_nothing_records_nothing_that_begins_here() {
    let collector = Collector::start();
    let endpoint = collector.endpoint();
    let service = Service::start_with(&["--otlp-endpoint", &endpoint, "--trace-ratio", "0"]);
    service.result("1");
    execute_with(&service, PARENT, "1");
    assert_eq!(collector.of_trace(TRACE, 3).len(), 3);
    assert_eq!(collector.spans().len(), 3);
}

#[test]
fn a_collector_that_is_not_there_costs_spans_and_no_request() {
    let options = ["--otlp-endpoint", "http://127.0.0.1:1"];
    let service = Service::start_with(&options);
    for _ in 0..5 {
        assert_eq!(service.result("1 + 2"), 3);
    }
    eventually(SOON, "the loss is counted", || {
        service.metric("spans_total{fate=\"failed\"}") >= Some(15.0)
    });
    let reports = || {
        service
            .log()
            .matches("the collector does not take spans")
            .count()
    };
    eventually(SOON, "the log says so", || reports() > 0);
    assert_eq!(reports(), 1, "{}", service.log());
}

#[test]
fn a_collector_that_refuses_costs_spans_and_no_request() {
    let collector = Collector::that_answers("500 Internal Server Error", Duration::ZERO);
    let service = Service::start_with(&["--otlp-endpoint", &collector.endpoint()]);
    assert_eq!(service.result("1 + 2"), 3);
    eventually(SOON, "the loss is counted", || {
        service.metric("spans_total{fate=\"failed\"}") >= Some(3.0)
    });
}

#[test]
fn spans_beyond_the_queue_are_dropped_and_counted_and_a_slow_collector_delays_no_request() {
    let collector = Collector::that_answers("200 OK", Duration::from_secs(5));
    let endpoint = collector.endpoint();
    let service = Service::start_with(&["--otlp-endpoint", &endpoint, "--otlp-queue", "1"]);
    let start = Instant::now();
    for _ in 0..40 {
        assert_eq!(service.result("1"), 1);
    }
    // The collector alone would take 200 seconds for them.
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    let dropped = service.metric("spans_total{fate=\"dropped\"}").unwrap();
    assert!(dropped > 0.0, "{dropped}");
}

#[test]
fn remaining_spans_are_sent_before_the_service_ends() {
    let collector = Collector::start();
    let mut service = Service::start_with(&["--otlp-endpoint", &collector.endpoint()]);
    execute_with(&service, PARENT, "1");
    service.signal(libc::SIGTERM);
    assert!(service.exit_within(SOON).success());
    let spans = collector.spans();
    assert_eq!(spans.len(), 3, "{spans:?}");
}

#[test]
fn an_endpoint_that_is_no_url_is_refused_at_start_by_its_name() {
    for (option, value) in [
        ("--otlp-endpoint", "collector:4318"),
        ("--otlp-endpoint", "ftp://collector"),
        ("--trace-ratio", "2"),
        ("--trace-ratio", "half"),
        ("--otlp-queue", "0"),
    ] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_sandpiper"))
            .args(["serve", option, value])
            .output()
            .unwrap();
        assert!(!output.status.success());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(option), "{said}");
    }
}

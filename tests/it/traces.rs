//! Traces: a job is found by the trace of its request in the log and among the spans, with every kind of store.

use crate::otlp::{Collector, hex, named};
use crate::stores::{Store, over_every_store};
use crate::support::{Service, eventually};
use serde_json::{Value, json};
use std::time::Duration;

const SOON: Duration = crate::support::SOON;
const VERBOSE: &str = "info,sandpiper=debug";

over_every_store!(
    a_job_belongs_to_the_trace_of_its_request,
    a_state_that_came_with_the_trace_goes_on_with_the_job,
);

/// Returns a trace id for each test.
fn parent(trace: &str) -> String {
    format!("00-{trace}-00f067aa0ba902b7-01")
}

/// Returns the lines of the log that belong to this trace.
fn lines_of(service: &Service, trace: &str) -> Vec<Value> {
    let log = service.log();
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines
        .filter(|line| line["fields"]["trace_id"] == *trace || line["span"]["trace_id"] == *trace)
        .collect()
}

fn a_job_belongs_to_the_trace_of_its_request(store: &Store) {
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let collector = Collector::start();
    let endpoint = collector.endpoint();
    let options = [
        "--otlp-endpoint",
        &endpoint,
        "--log-format",
        "json",
        "--log",
        VERBOSE,
    ];
    let service = store.serve(&options);
    let headers = [
        ("traceparent", parent(trace)),
        ("x-request-id", "mine".to_owned()),
    ];
    let headers = headers
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let answer = service.post_with("/api/jobs", &headers, &json!({ "code": "1" }));
    assert_eq!(answer.status, 202, "{}", answer.text);
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    service.finished(&id);
    let spans = collector.of_trace(trace, 3);
    let request = named(&spans, "POST /api/jobs");
    for name in ["queue", "execute"] {
        assert_eq!(
            named(&spans, name).parent_span_id,
            request.span_id,
            "{name}"
        );
    }
    eventually(SOON, "the log has the job and the request", || {
        let lines = lines_of(&service, trace);
        let has_job = lines.iter().any(|line| line["fields"]["job"] == *id);
        has_job && lines.iter().any(|line| line["span"]["id"] == "mine")
    });
}

fn a_state_that_came_with_the_trace_goes_on_with_the_job(store: &Store) {
    let trace = "1af7651916cd43dd8448eb211c80319c";
    let collector = Collector::start();
    let service = store.serve(&["--otlp-endpoint", &collector.endpoint()]);
    let parent = parent(trace);
    let headers = [
        ("traceparent", parent.as_str()),
        ("tracestate", "rojo=00f067aa0ba902b7"),
    ];
    let answer = service.post_with("/api/jobs", &headers, &json!({ "code": "1" }));
    assert_eq!(answer.status, 202, "{}", answer.text);
    let spans = collector.of_trace(trace, 3);
    assert_eq!(
        named(&spans, "execute").trace_state,
        "rojo=00f067aa0ba902b7"
    );
}

#[test]
fn a_malformed_parent_begins_a_trace_and_is_no_error() {
    let collector = Collector::start();
    let endpoint = collector.endpoint();
    let options = [
        "--otlp-endpoint",
        &endpoint,
        "--log-format",
        "json",
        "--log",
        VERBOSE,
    ];
    let service = Service::start_with(&options);
    let long = "0".repeat(4_000);
    for (number, malformed) in ["", "nonsense", "00-00-00-00", &long]
        .into_iter()
        .enumerate()
    {
        let name = format!("request-{number}");
        let headers = [("traceparent", malformed), ("x-request-id", &name)];
        let answer = service.post_with("/api/execute", &headers, &json!({ "code": "1" }));
        assert_eq!(answer.status, 200, "{malformed}: {}", answer.text);
        let of_request = || {
            let log = service.log();
            let lines = log
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap());
            let mut lines = lines.filter(|line| line["span"]["id"] == *name);
            lines.find_map(|line| Some(line["span"]["trace_id"].as_str()?.to_owned()))
        };
        eventually(SOON, "the request is in the log", || of_request().is_some());
        let trace = of_request().unwrap();
        assert_eq!(trace.len(), 32);
        let spans = collector.of_trace(&trace, 3);
        assert_eq!(hex(&named(&spans, "POST /api/execute").parent_span_id), "");
    }
}

#[test]
fn two_requests_without_a_parent_are_two_traces() {
    let options = ["--log-format", "json", "--log", VERBOSE];
    let service = Service::start_with(&options);
    for _ in 0..2 {
        service.result("1");
    }
    let traces = || {
        let log = service.log();
        let lines = log
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let executed = lines.filter(|line| line["fields"]["message"] == "executed");
        let of_line = |line: Value| line["fields"]["trace_id"].as_str().unwrap().to_owned();
        executed.map(of_line).collect::<Vec<_>>()
    };
    eventually(SOON, "both are in the log", || traces().len() == 2);
    let traces = traces();
    assert_ne!(traces[0], traces[1]);
}

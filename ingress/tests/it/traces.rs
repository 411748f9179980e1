//! A trace goes from the client through the ingress to the service and to the job.

use super::support::{Running, eventually, free_port, ingress, service_with_log};
use serde_json::Value;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const JSON: &str = "content-type: application/json";
const VERBOSE: [&str; 4] = ["--log-format", "json", "--log", "info,sandpiper=debug"];

fn submit(ingress: &Running, headers: &[&str]) -> String {
    let headers = [&[JSON], headers].concat();
    let answer = ingress.send("POST", "/api/jobs", &headers, r#"{"code":"1"}"#);
    assert_eq!(answer.status, 202);
    answer.json()["id"].as_str().unwrap().to_owned()
}

/// Returns the trace of a job in the service's log.
fn trace_of_job(log: &str, id: &str) -> Option<String> {
    let mut lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.find_map(|line| {
        let fields = &line["fields"];
        (fields["job"] == *id).then(|| fields["trace_id"].as_str().unwrap().to_owned())
    })
}

#[test]
fn a_job_has_its_clients_trace_behind_the_ingress_with_every_store() {
    let folder = std::env::temp_dir().join(format!("sandpiper-traces-{}", free_port()));
    std::fs::create_dir_all(&folder).unwrap();
    let sqlite = format!("sqlite:{}", folder.join("jobs.db").display());
    for store in ["memory", &sqlite] {
        let options = [&VERBOSE[..], &["--port", "0", "--store", store]].concat();
        let (service, log) = service_with_log(&options);
        let ingress = ingress(service.port, &[]);
        let id = submit(&ingress, &[PARENT]);
        eventually("the job is in the log", || {
            trace_of_job(&log.lock().unwrap(), &id).is_some()
        });
        assert_eq!(
            trace_of_job(&log.lock().unwrap(), &id).as_deref(),
            Some(TRACE)
        );
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn an_invalid_traceparent_starts_a_new_trace() {
    let options = [&VERBOSE[..], &["--port", "0"]].concat();
    let (service, log) = service_with_log(&options);
    let ingress = ingress(service.port, &[]);
    let mut traces = Vec::new();
    for malformed in [
        &["traceparent: 00-no-thing-01", "tracestate: a=1"][..],
        &[PARENT, PARENT],
        &["traceparent:"],
        &[],
    ] {
        let id = submit(&ingress, malformed);
        eventually("the job is in the log", || {
            trace_of_job(&log.lock().unwrap(), &id).is_some()
        });
        traces.extend(trace_of_job(&log.lock().unwrap(), &id));
    }
    assert!(
        traces
            .iter()
            .all(|trace| trace.len() == 32 && trace != TRACE)
    );
    traces.sort();
    traces.dedup();
    assert_eq!(traces.len(), 4);
}

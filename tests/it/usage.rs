//! Usage: what each tenant and key used, as soon as it is used, over every kind of store.

use crate::stores::{Store, over_every_store};
use crate::support::{Answer, SOON, Service, assert_refused, eventually};
use serde_json::{Value, json};

over_every_store!(
    what_a_key_uses_is_reported_at_once_to_its_tenant_and_to_no_other,
    a_key_that_may_not_read_sees_its_own_usage,
    hours_and_days_have_the_same_sums_and_so_has_csv,
    a_request_that_ran_nothing_is_not_counted,
    a_job_is_charged_once_however_it_ends,
);

/// The headers that an ingress sends for a key.
#[derive(Clone, Copy)]
pub(crate) struct Key {
    pub(crate) tenant: &'static str,
    pub(crate) id: &'static str,
    pub(crate) scopes: &'static str,
}

pub(crate) const A: Key = Key {
    tenant: "a",
    id: "00000000000000aa",
    scopes: "execute,jobs,read",
};
pub(crate) const B: Key = Key {
    tenant: "b",
    id: "00000000000000bb",
    ..A
};
const SECOND_OF_A: Key = Key {
    id: "0000000000000a2a",
    scopes: "execute,jobs",
    ..A
};
const ADMIN: Key = Key {
    tenant: "operators",
    id: "00000000000000ad",
    scopes: "admin",
};

impl Key {
    pub(crate) fn headers(self) -> Vec<(&'static str, &'static str)> {
        vec![
            ("sandpiper-tenant", self.tenant),
            ("sandpiper-key", self.id),
            ("sandpiper-scopes", self.scopes),
        ]
    }

    pub(crate) fn post(self, service: &Service, path: &str, body: &Value) -> Answer {
        service.post_with(path, &self.headers(), body)
    }

    pub(crate) fn execute(self, service: &Service, code: &str) -> Value {
        let answer = self.post(service, "/api/execute", &json!({ "code": code }));
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }

    /// Submits a job and waits for its end.
    pub(crate) fn finish(self, service: &Service, body: &Value) -> Value {
        let mut headers = self.headers();
        headers.push(("prefer", "wait=30"));
        let answer = service.post_with("/api/jobs", &headers, body);
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }

    pub(crate) fn get(self, service: &Service, path: &str) -> Answer {
        service.get_with(path, &self.headers())
    }

    pub(crate) fn usage(self, service: &Service, query: &str) -> Value {
        let answer = self.get(service, &format!("/api/usage{query}"));
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }
}

pub(crate) fn serve(store: &Store, options: &[&str]) -> Service {
    store.serve(&[&["--client-header", "sandpiper-client"], options].concat())
}

/// Returns the owners in a report, each as tenant and key.
fn owners(report: &Value) -> Vec<String> {
    let periods = report["periods"].as_array().unwrap().iter();
    let mut owners: Vec<String> = periods
        .map(|period| {
            let key = period["key"].as_str().unwrap_or("none");
            format!("{} {key}", period["tenant"].as_str().unwrap())
        })
        .collect();
    owners.sort();
    owners.dedup();
    owners
}

fn what_a_key_uses_is_reported_at_once_to_its_tenant_and_to_no_other(store: &Store) {
    let service = serve(store, &[]);
    let empty = A.usage(&service, "");
    assert_eq!(empty["periods"], json!([]));
    assert_eq!(empty["totals"]["executions"]["succeeded"], 0);
    let mut wall_ms = 0.0;
    for code in ["1 + 2", "throw 1"] {
        let execution = A.execute(&service, code);
        wall_ms += execution["usage"]["wallMs"].as_f64().unwrap();
    }
    let job = A.finish(&service, &json!({ "code": "input", "input": "é" }));
    wall_ms += job["execution"]["usage"]["wallMs"].as_f64().unwrap();
    B.execute(&service, "'of b'");
    let report = A.usage(&service, "");
    assert_eq!(report["tenant"], "a");
    assert_eq!(report["by"], "day");
    let totals = &report["totals"];
    assert_eq!(totals["executions"]["succeeded"], 2, "{report}");
    assert_eq!(totals["executions"]["threw"], 1);
    assert_eq!(totals["executionsCharged"], 3);
    assert_eq!(totals["jobsQueued"], 1);
    // `1 + 2`, `throw 1`, `input` and "é" with its quotes.
    assert_eq!(totals["bytesIn"], 5 + 7 + 5 + 4);
    assert_eq!(totals["queuedBytes"], 5 + 4);
    let counted = totals["wallMs"].as_f64().unwrap();
    assert!((counted - wall_ms).abs() < 0.01, "{counted} {wall_ms}");
    for sum in ["cpuMs", "memoryByteSeconds", "bytesOut"] {
        assert!(totals[sum].as_f64().unwrap() > 0.0, "{sum}: {report}");
    }
    assert_eq!(owners(&report), [format!("a {}", A.id)]);
    assert_eq!(report["budgets"], json!([]));
    let of_b = B.usage(&service, "");
    assert_eq!(of_b["totals"]["executionsCharged"], 1);
    assert_eq!(owners(&of_b), [format!("b {}", B.id)]);
    let refused = A.get(&service, "/api/usage?tenant=b");
    assert_refused(&refused, 403, "forbidden", "another tenant");
    assert_eq!(A.usage(&service, "?tenant=a")["totals"], report["totals"]);
    let of_all = ADMIN.usage(&service, "");
    assert_eq!(of_all["tenant"], Value::Null);
    assert_eq!(of_all["totals"]["executionsCharged"], 4);
    assert_eq!(owners(&of_all).len(), 2);
    let narrowed = ADMIN.usage(&service, "?tenant=b");
    assert_eq!(narrowed["totals"], of_b["totals"]);
    let refused = ADMIN.get(&service, "/api/usage?tenant=nobody");
    assert_refused(&refused, 404, "unknown_tenant", "a tenant that nobody is");
}

fn a_key_that_may_not_read_sees_its_own_usage(store: &Store) {
    let service = serve(store, &[]);
    A.execute(&service, "1");
    for _ in 0..2 {
        SECOND_OF_A.execute(&service, "2");
    }
    let own = SECOND_OF_A.usage(&service, "");
    assert_eq!(own["totals"]["executionsCharged"], 2);
    assert_eq!(owners(&own), [format!("a {}", SECOND_OF_A.id)]);
    let of_tenant = A.usage(&service, "");
    assert_eq!(of_tenant["totals"]["executionsCharged"], 3);
    assert_eq!(owners(&of_tenant).len(), 2);
    // Without keys there is one tenant, whose usage has no key.
    service.result("3");
    let report = service.get("/api/usage").json();
    assert_eq!(report["tenant"], "default");
    assert_eq!(owners(&report), ["default none"]);
}

fn hours_and_days_have_the_same_sums_and_so_has_csv(store: &Store) {
    let service = serve(store, &[]);
    for _ in 0..3 {
        A.execute(&service, "console.log('out')");
    }
    A.finish(&service, &json!({ "code": "7" }));
    let days = A.usage(&service, "?by=day");
    let hours = A.usage(&service, "?by=hour");
    assert_eq!(days["totals"], hours["totals"]);
    assert_eq!(days["totals"]["executions"]["succeeded"], 4);
    let start = days["periods"][0]["start"].as_str().unwrap();
    assert!(start.ends_with("T00:00:00.000Z"), "{start}");
    let start = hours["periods"][0]["start"].as_str().unwrap();
    assert!(start.ends_with(":00:00.000Z"), "{start}");
    // Any time has the sums of all of its periods.
    let around = A.usage(&service, &format!("?by=hour&from={start}"));
    assert_eq!(around["totals"], hours["totals"]);
    let before = A.usage(
        &service,
        "?from=2020-01-01T00:00:00Z&to=2020-12-31T00:00:00Z",
    );
    assert_eq!(before["periods"], json!([]));
    let mut headers = A.headers();
    headers.push(("accept", "text/csv"));
    let csv = service.get_with("/api/usage", &headers);
    assert_eq!(csv.header("content-type"), "text/csv; charset=utf-8");
    assert_eq!(A.get(&service, "/api/usage?format=csv").text, csv.text);
    let mut lines = csv.text.split_terminator("\r\n");
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    let sum = |name: &str| {
        let column = names.iter().position(|known| *known == name).unwrap();
        let fields = csv.text.split_terminator("\r\n").skip(1);
        let fields = fields.map(|line| line.split(',').nth(column).unwrap().parse::<f64>());
        fields.map(Result::unwrap).sum::<f64>()
    };
    assert_eq!(sum("succeeded"), 4.0);
    for name in [
        "executionsCharged",
        "jobsQueued",
        "bytesIn",
        "bytesOut",
        "queuedBytes",
        "calls",
    ] {
        assert_eq!(sum(name), days["totals"][name].as_f64().unwrap(), "{name}");
    }
}

fn a_request_that_ran_nothing_is_not_counted(store: &Store) {
    let service = serve(store, &[]);
    for body in [
        json!({}),
        json!({ "code": "1", "limits": { "timeoutMs": 0 } }),
    ] {
        for path in ["/api/execute", "/api/jobs"] {
            assert_eq!(A.post(&service, path, &body).status, 400, "{path} {body}");
        }
    }
    let mut headers = A.headers();
    headers.push(("idempotency-key", "once"));
    for _ in 0..3 {
        let answer = service.post_with("/api/jobs", &headers, &json!({ "code": "1" }));
        assert!(answer.status < 300, "{}", answer.text);
    }
    let report = A.usage(&service, "");
    assert_eq!(report["totals"]["executionsCharged"], 1, "{report}");
    assert_eq!(report["totals"]["jobsQueued"], 1);
}

fn a_job_is_charged_once_however_it_ends(store: &Store) {
    let service = serve(store, &["--executors", "1"]);
    let endless = json!({ "code": "for (;;);", "limits": { "timeoutMs": 30_000 } });
    let submit = |body: &Value| {
        let answer = A.post(&service, "/api/jobs", body);
        assert_eq!(answer.status, 202, "{}", answer.text);
        format!("/api/jobs/{}", answer.json()["id"].as_str().unwrap())
    };
    let running = submit(&endless);
    eventually(SOON, "it runs", || {
        A.get(&service, &running).json()["state"] == "running"
    });
    let queued = submit(&endless);
    for path in [&queued, &running] {
        let cancelled = service.delete_with(path, &A.headers());
        assert_eq!(cancelled.status, 200, "{}", cancelled.text);
    }
    A.finish(&service, &json!({ "code": "1" }));
    let report = A.usage(&service, "");
    let totals = &report["totals"];
    assert_eq!(totals["executionsCharged"], 3, "{report}");
    // The job that was cancelled before it ran has no execution.
    assert_eq!(totals["executions"]["cancelled"], 1, "{report}");
    assert_eq!(totals["executions"]["succeeded"], 1, "{report}");
}

#[test]
fn a_query_that_cannot_be_answered_names_its_parameter() {
    let service = Service::start();
    for (query, field) in [
        ("?from=now", "from"),
        ("?to=2026", "to"),
        ("?from=2026-02-01T00:00:00Z&to=2026-01-01T00:00:00Z", "from"),
        ("?from=2024-01-01T00:00:00Z&to=2026-01-01T00:00:00Z", "from"),
        ("?by=minute", "by"),
        ("?format=xml", "format"),
        ("?tenant=a%20b", "tenant"),
        ("?since=2026", "query"),
    ] {
        let answer = service.get(&format!("/api/usage{query}"));
        assert_refused(&answer, 400, "invalid_field", query);
        assert_eq!(answer.json()["field"], field, "{query}");
    }
    let answer = service.get("/api/usage?tenant=other");
    assert_refused(&answer, 403, "forbidden", "another tenant");
}

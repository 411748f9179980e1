//! The load of the service, which all tenants cause together, is shown to a key with the scope `admin` and to no other.

use super::support::{Folder, Running, eventually, ingress, new_key, service};
use serde_json::{Value, json};

const HEALTH: &str = "/api/health";
const READY: &str = "/api/health/ready";

fn shown(ingress: &Running, path: &str, key: Option<&str>) -> Value {
    let header = key.map(|key| format!("x-api-key: {key}"));
    let headers: Vec<&str> = header.as_deref().into_iter().collect();
    let answer = ingress.send("GET", path, &headers, "");
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.json()
}

fn members(shown: &Value) -> Vec<&str> {
    let members = shown.as_object().unwrap().keys();
    members.map(String::as_str).collect()
}

/// Returns every number of a response, at any depth.
fn numbers(shown: &Value) -> Vec<String> {
    match shown {
        Value::Number(number) => vec![number.to_string()],
        Value::Array(items) => items.iter().flat_map(numbers).collect(),
        Value::Object(members) => members.values().flat_map(numbers).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn without_the_scope_admin_readiness_has_no_number() {
    let folder = Folder::new();
    let [tenant, admin] =
        ["execute,jobs,read", "admin"].map(|scopes| new_key(&folder, &["--scopes", scopes]));
    let service = service(&[]);
    let keyed = ingress(service.port, &["--keys-file", &folder.text_of("keys.json")]);
    let forged = ["sandpiper-scopes: admin", "sandpiper-tenant: acme"];
    let of_nobody = keyed.send("GET", READY, &forged, "").json();
    for ready in [
        shown(&keyed, READY, None),
        shown(&keyed, READY, Some(&tenant)),
        of_nobody,
    ] {
        assert_eq!(members(&ready), ["isolation", "reasons", "status", "walls"]);
        assert_eq!(ready["status"], "UP");
        assert_eq!(ready["reasons"], json!([]));
        assert!(numbers(&ready).is_empty(), "{ready}");
    }
    for key in [None, Some(tenant.as_str())] {
        let health = shown(&keyed, HEALTH, key);
        assert_eq!(members(&health), ["status", "timestamp"]);
    }
    let counts = ["executions", "executors", "queue", "reserveExecutors"];
    let of_admin = shown(&keyed, READY, Some(&admin));
    let open = ingress(service.port, &[]);
    for ready in [of_admin, shown(&open, READY, None)] {
        assert!(
            counts.iter().all(|count| ready[count].is_object()),
            "{ready}"
        );
    }
    for health in [
        shown(&keyed, HEALTH, Some(&admin)),
        shown(&open, HEALTH, None),
    ] {
        assert!(health["processes"].is_u64(), "{health}");
        assert!(health["memory"].is_object(), "{health}");
    }
}

#[test]
fn nothing_that_a_tenant_may_read_changes_while_another_has_work() {
    let folder = Folder::new();
    let [watching, busy] =
        ["watching", "busy"].map(|tenant| new_key(&folder, &["--tenant", tenant]));
    let service = service(&["--executors", "1", "--reserve-executors", "0"]);
    let keyed = ingress(service.port, &["--keys-file", &folder.text_of("keys.json")]);
    let body = r#"{"code":"for (;;);","limits":{"timeoutMs":20000}}"#;
    let submit = |key: &str| {
        let key = format!("x-api-key: {key}");
        let headers = [key.as_str(), "content-type: application/json"];
        let answer = keyed.send("POST", "/api/jobs", &headers, body);
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.json()["id"].as_str().unwrap().to_owned()
    };
    let look = || {
        let paths = [
            READY,
            HEALTH,
            "/api",
            "/api/nodes",
            "/api/jobs",
            "/api/usage",
        ];
        let mut all = paths.map(|path| shown(&keyed, path, Some(&watching)));
        for shown in &mut all {
            // The time of the response, and the heartbeat of the node.
            shown.as_object_mut().unwrap().remove("timestamp");
            if let Some(node) = shown.pointer_mut("/nodes/0") {
                node.as_object_mut().unwrap().remove("seenAt");
            }
        }
        all
    };
    let before = look();
    let ids: Vec<String> = (0..5).map(|_| submit(&busy)).collect();
    let key = format!("x-api-key: {busy}");
    eventually("one job of the other tenant runs", || {
        let jobs = keyed.send("GET", "/api/jobs?state=running", &[&key], "");
        jobs.json()["jobs"].as_array().unwrap().len() == 1
    });
    assert_eq!(look(), before);
    // The own job is the first of its tenant, whatever waits before it.
    let own = submit(&watching);
    let job = shown(&keyed, &format!("/api/jobs/{own}"), Some(&watching));
    assert_eq!(job["queuePosition"], 1, "{job}");
    for id in &ids {
        keyed.send("DELETE", &format!("/api/jobs/{id}"), &[&key], "");
    }
}

//! The identity of a key that the service is told: tenant, id, scopes and budgets.

use super::support::{
    Folder, Message, OK, Running, Scripted, eventually, id_of, ingress, key, new_key, service,
};

const HEADERS: [&str; 5] = [
    "sandpiper-client",
    "sandpiper-tenant",
    "sandpiper-key",
    "sandpiper-scopes",
    "sandpiper-budget",
];

fn told(request: &Message) -> [&str; 5] {
    HEADERS.map(|name| request.header(name))
}

/// Sends a request with a key, and returns the request that the service received.
fn forwarded(ingress: &Running, service: &Scripted, key: &str, headers: &[&str]) -> Message {
    let key = format!("x-api-key: {key}");
    let headers = [&[key.as_str()], headers].concat();
    assert_eq!(ingress.send("GET", "/api/usage", &headers, "").status, 200);
    service.request()
}

#[test]
fn the_service_is_told_to_whom_a_key_belongs_and_what_it_may_do() {
    let folder = Folder::new();
    let alone = new_key(&folder, &["--scopes", "read,execute"]);
    let budgets = ["--budget", "month:executions=20000,day:queuedBytes=5"];
    let acme = ["--tenant", "acme", "--scopes", "admin,jobs"];
    let shared = new_key(&folder, &[&acme[..], &budgets].concat());
    let second = new_key(&folder, &acme[..2]);
    let of_tenant = ["--set", "day:executions=1000", "--set", "day:cpuSeconds=60"];
    key(&folder, "budget", &[&acme[..2], &of_tenant].concat());
    let service = Scripted::answering(OK);
    let ingress = ingress(service.port, &["--keys-file", &folder.text_of("keys.json")]);
    let own = format!("key:{}", id_of(&alone));
    let request = forwarded(&ingress, &service, &alone, &[]);
    assert_eq!(
        told(&request),
        [&own, &own, id_of(&alone), "execute,read", ""]
    );
    assert!(!request.has("sandpiper-budget"), "{request:?}");
    let of_tenant = "tenant-day;executions=1000;cpuSeconds=60";
    let of_key = "key-day;queuedBytes=5, key-month;executions=20000";
    assert_eq!(
        told(&forwarded(&ingress, &service, &shared, &[])),
        [
            "tenant:acme",
            "acme",
            id_of(&shared),
            "jobs,admin",
            &format!("{of_tenant}, {of_key}")
        ]
    );
    let all = "execute,jobs,read";
    assert_eq!(
        told(&forwarded(&ingress, &service, &second, &[])),
        ["tenant:acme", "acme", id_of(&second), all, of_tenant]
    );
}

#[test]
fn a_client_cannot_say_itself_who_it_is() {
    let folder = Folder::new();
    let one = new_key(&folder, &[]);
    let service = Scripted::answering(OK);
    let keyed = ingress(service.port, &["--keys-file", &folder.text_of("keys.json")]);
    let open = ingress(service.port, &[]);
    let forged = [
        "sandpiper-client: tenant:other",
        "sandpiper-tenant: other",
        "Sandpiper-Key: 00000000000000aa",
        "SANDPIPER-SCOPES: admin",
        "sandpiper-budget: key-day;executions=9",
    ];
    let request = forwarded(&keyed, &service, &one, &forged);
    let own = format!("key:{}", id_of(&one));
    assert_eq!(
        told(&request),
        [&own, &own, id_of(&one), "execute,jobs,read", ""]
    );
    for name in HEADERS {
        let count = request.headers.iter().filter(|(known, _)| known == name);
        assert!(count.count() <= 1, "{name}: {request:?}");
    }
    // A public route without a key, and an ingress without keys.
    for (ingress, target, has_scopes) in [(&keyed, "/api", true), (&open, "/api/jobs", false)] {
        assert_eq!(ingress.send("GET", target, &forged, "").status, 200);
        let request = service.request();
        // An empty list says that the request lacks the key that others have.
        assert_eq!(request.has("sandpiper-scopes"), has_scopes, "{request:?}");
        assert_eq!(told(&request), ["127.0.0.1", "", "", "", ""]);
        assert!(!request.has("sandpiper-tenant"), "{request:?}");
    }
}

#[test]
fn the_service_is_told_of_a_tenant_that_only_the_keys_name_if_an_admin_asks_for_it() {
    let folder = Folder::new();
    let admin = new_key(&folder, &["--scopes", "admin"]);
    let reader = new_key(&folder, &["--tenant", "acme", "--scopes", "read"]);
    let alone = format!("key:{}", id_of(&admin));
    let service = Scripted::answering(OK);
    let ingress = ingress(service.port, &["--keys-file", &folder.text_of("keys.json")]);
    let told = |key: &str, method: &str, target: &str| {
        let key = format!("x-api-key: {key}");
        let forged = "sandpiper-known-tenant: other";
        let answer = ingress.send(method, target, &[&key, forged], "");
        assert_eq!(answer.status, 200, "{target}");
        service
            .request()
            .header("sandpiper-known-tenant")
            .to_owned()
    };
    for (method, target, known) in [
        ("GET", "/api/jobs?limit=1&tenant=acme", "acme"),
        ("GET", "/api/usage?tenant=acme", "acme"),
        ("DELETE", "/api/tenants/acme", "acme"),
        ("POST", "/api/tenants/acme/restore", "acme"),
        ("GET", &format!("/api/usage?tenant={alone}"), &alone),
        ("GET", "/api/usage?tenant=other", ""),
        ("GET", "/api/usage", ""),
    ] {
        assert_eq!(told(&admin, method, target), known, "{target}");
    }
    assert_eq!(told(&reader, "GET", "/api/usage?tenant=acme"), "");
}

#[test]
fn a_key_that_is_assigned_to_a_tenant_belongs_to_it_within_a_second() {
    let folder = Folder::new();
    let one = new_key(&folder, &[]);
    let service = Scripted::answering(OK);
    let ingress = ingress(service.port, &["--keys-file", &folder.text_of("keys.json")]);
    let tenant = || {
        let request = forwarded(&ingress, &service, &one, &[]);
        request.header("sandpiper-tenant").to_owned()
    };
    assert_eq!(tenant(), format!("key:{}", id_of(&one)));
    let port = service.port.to_string();
    let options = [id_of(&one), "--tenant", "acme", "--api-port", &port];
    key(&folder, "assign", &options);
    eventually("the key has the tenant", || {
        // A request during the reload may be answered with 401.
        let header = format!("x-api-key: {one}");
        let answer = ingress.send("GET", "/api/usage", &[&header], "");
        let mut last = String::new();
        while service.requests() > 0 {
            last = service.request().header("sandpiper-tenant").to_owned();
        }
        answer.status == 200 && last == "acme"
    });
    assert_eq!(tenant(), "acme");
}

#[test]
fn quotas_and_open_requests_stay_those_of_the_key() {
    let folder = Folder::new();
    let options = ["--tenant", "acme", "--read-quota", "1/h:2"];
    let keys = [new_key(&folder, &options), new_key(&folder, &options)];
    let service = Scripted::answering(OK);
    let ingress = ingress(service.port, &["--keys-file", &folder.text_of("keys.json")]);
    for key in keys {
        let header = format!("x-api-key: {key}");
        let statuses = [(); 3].map(|()| ingress.send("GET", "/api/jobs", &[&header], "").status);
        assert_eq!(statuses, [200, 200, 429]);
    }
}

#[test]
fn budgets_of_the_service_stay_in_the_rate_limit_headers() {
    let service = Scripted::answering(
        "HTTP/1.1 429 Too Many Requests\r\ncontent-length: 2\r\nretry-after: 3600\r\nratelimit-policy: \"tenant-day\";q=1000;w=86400\r\n\
         ratelimit: \"tenant-day\";r=0;t=3600\r\n\r\nok",
    );
    let ingress = ingress(service.port, &["--run-quota", "60/m:10"]);
    let answer = ingress.execute("1");
    assert_eq!((answer.status, answer.header("retry-after")), (429, "3600"));
    assert_eq!(
        answer.header("ratelimit-policy"),
        "\"tenant-day\";q=1000;w=86400, \"client-run\";q=10;w=10"
    );
    assert_eq!(
        answer.header("ratelimit"),
        "\"tenant-day\";r=0;t=3600, \"client-run\";r=9;t=1"
    );
    assert_eq!(answer.header("x-ratelimit-limit"), "10");
}

#[test]
fn the_service_holds_a_key_to_its_budget_and_shows_it_its_usage() {
    let folder = Folder::new();
    let budget = ["--budget", "month:executions=2,month:queuedBytes=100"];
    let acme = ["--tenant", "acme", "--scopes", "execute"];
    let bounded = new_key(&folder, &[&acme[..], &budget].concat());
    let other = new_key(&folder, &acme);
    let service = service(&["--port", "0"]);
    let ingress = ingress(service.port, &["--keys-file", &folder.text_of("keys.json")]);
    let send = |key: &str, method: &str, path: &str| {
        let key = format!("x-api-key: {key}");
        let headers = [key.as_str(), "content-type: application/json"];
        ingress.send(method, path, &headers, r#"{"code":"1 + 2"}"#)
    };
    for remaining in [1, 0] {
        let answer = send(&bounded, "POST", "/api/execute");
        assert_eq!(answer.status, 200);
        let expected = format!("\"key-month\";r={remaining};t=");
        let status = answer.header("ratelimit");
        assert!(status.starts_with(&expected), "{status}");
        assert!(status.contains("\"key-month-bytes\";r=100;t="), "{status}");
        assert!(status.contains("\"key-run\";r="), "{status}");
    }
    let refused = send(&bounded, "POST", "/api/execute");
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (429, "quota_exceeded")
    );
    // Budgets of one key are not those of another key of its tenant.
    assert_eq!(send(&other, "POST", "/api/execute").status, 200);
    let usage = ingress.send("GET", "/api/usage", &[&format!("x-api-key: {bounded}")], "");
    let usage = usage.json();
    assert_eq!(usage["tenant"], "acme");
    assert_eq!(usage["totals"]["executions"]["succeeded"], 2);
    assert_eq!(usage["periods"][0]["key"], id_of(&bounded));
    let budget = &usage["budgets"][0];
    assert_eq!(
        [&budget["policy"], &budget["unit"]],
        ["key-month", "executions"]
    );
    assert_eq!([&budget["used"], &budget["remaining"]], [2, 0]);
}

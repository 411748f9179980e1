//! Scripts over HTTPS, from slow, faulty and hostile hosts.

use super::Pair;
use super::hosts::{Host, NameServer, content, hold, status};
use crate::support::{WITHIN, eventually, service};
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// SHA-256 of `1 + 2`, by `printf '1 + 2' | sha256sum`.
const SHA256_OF_SUM: &str = "6212702c7a0d68f00b8b23b5aecfca631a96c20d2cad78cd874611ac87cdbce1";
const NAME: &str = "scripts.example";

#[test]
fn a_script_is_fetched_and_run_and_its_hash_is_reported() {
    let host = Host::answering(|_| content("1 + 2", &[]));
    let pair = Pair::before(&host, &[]);
    let answer = pair.execute(host.url(NAME, "/sum.js"));
    assert_eq!((answer.status, &answer.json()["result"]), (200, &json!(3)));
    assert_eq!(answer.header("sandpiper-source"), SHA256_OF_SUM);
    assert_eq!(host.asked()[0].path, "/sum.js");
    let file = pair.folder.path("sources").join(SHA256_OF_SUM);
    assert_eq!(std::fs::read_to_string(file).unwrap(), "1 + 2");
}

#[test]
fn a_job_has_its_script_even_when_the_host_is_gone() {
    let host = Host::answering(|_| content("input * 2", &[]));
    let pair = Pair::before(&host, &["--sources-bytes", "40"]);
    let job = json!({ "source": host.url(NAME, "/double.js"), "input": 21 });
    let submitted = pair.post("/api/jobs", &job);
    assert_eq!(submitted.status, 202, "{submitted:?}");
    for file in pair.shared() {
        std::fs::remove_file(file).unwrap();
    }
    let path = submitted.header("location").to_owned();
    let job = pair.ingress.send("GET", &path, &["prefer: wait=10"], "");
    assert_eq!(job.json()["execution"]["result"], 42);
}

#[test]
fn a_remote_script_may_be_a_function_or_a_module() {
    let host = Host::answering(|asked| {
        let text = match asked.path.as_str() {
            "/body.js" => "return input",
            "/main.mjs" => {
                "import { twice } from './util.js';\nexport default (input) => twice(input) + base"
            }
            _ => "\nimport './none.js'",
        };
        content(text, &[])
    });
    let pair = Pair::before(&host, &[]);
    let run = |path: &str, kind: &str| {
        let request = json!({
            "source": host.url(NAME, path),
            "kind": kind,
            "modules": { "./util.js": "export const twice = (number) => 2 * number" },
            "prelude": "var base = 1",
            "input": 20,
        });
        pair.post("/api/execute", &request).json()
    };
    assert_eq!(run("/body.js", "function")["result"], 20);
    assert_eq!(run("/main.mjs", "module")["result"], 41);
    let error = run("/broken.mjs", "module")["error"].clone();
    assert_eq!(error["fileName"], "source", "{error}");
    assert_eq!(error["lineNumber"], 2, "{error}");
}

#[test]
fn the_request_says_the_language_of_a_remote_script_and_not_its_location() {
    let host = Host::answering(|_| {
        content(
            "import { type N, one } from './n.ts';\nexport default (input: N): N => input + one",
            &[],
        )
    });
    let pair = Pair::before(&host, &[]);
    let request = json!({
        "source": host.url(NAME, "/main.ts"),
        "kind": "module",
        "language": "typescript",
        "modules": { "./n.ts": "export type N = number; export const one: N = 1" },
        "input": 20,
    });
    for path in ["/api/execute", "/api/jobs"] {
        let ended = pair.post_with(path, &["prefer: wait=30"], &request).json();
        let execution = ended.get("execution").unwrap_or(&ended);
        assert_eq!(execution["result"], 21, "{path}: {ended}");
    }
    let mut untold = request;
    untold["language"] = json!(null);
    let answer = pair.post("/api/execute", &untold).json();
    let error = &answer["error"];
    assert_eq!(error["name"], "SyntaxError", "{error}");
    let hint = error["hint"].as_str().unwrap_or_default();
    assert!(hint.contains("\"language\": \"typescript\""), "{error}");
}

#[test]
fn an_error_in_a_remote_script_has_its_line() {
    let host = Host::answering(|_| content("1;\n2;\nthrow new Error('x')", &[]));
    let pair = Pair::before(&host, &[]);
    let answer = pair.execute(host.url(NAME, "/x.js")).json();
    assert_eq!(answer["outcome"], "threw");
    assert!(
        answer["error"]["stack"]
            .as_str()
            .unwrap()
            .contains("source:3"),
        "{answer}"
    );
}

#[test]
fn a_pinned_script_must_have_its_hash_and_is_fetched_once() {
    let host = Host::answering(|asked| match asked.path.as_str() {
        "/sum.js" => content("1 + 2", &["etag: \"a\""]),
        _ => content("1 + 3", &[]),
    });
    let pair = Pair::before(&host, &[]);
    for _ in 0..3 {
        let pinned = json!({ "url": host.url(NAME, "/sum.js"), "sha256": SHA256_OF_SUM });
        assert_eq!(pair.result(pinned), 3);
    }
    assert_eq!(host.connections(), 1);
    let other = json!({ "url": host.url(NAME, "/other.js"), "sha256": SHA256_OF_SUM });
    let detail = pair.refused(other, 422, "source_unfit");
    assert!(detail.contains(SHA256_OF_SUM), "{detail}");
    // A hash gives no access to the content of another location.
    assert_eq!(host.connections(), 2);
    let answer = pair.execute(json!({ "url": host.url(NAME, "/sum.js"), "sha256": "12" }));
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["field"], "source.sha256");
}

#[test]
fn an_unchanged_script_is_revalidated_and_not_sent_again() {
    let is_new = Arc::new(AtomicBool::new(false));
    let changed = Arc::clone(&is_new);
    let host = Host::answering(move |asked| {
        let (tag, text) = match changed.load(Ordering::SeqCst) {
            false => ("\"old\"", "'old'"),
            true => ("\"new\"", "'new'"),
        };
        if asked.head.contains(&format!("if-none-match: {tag}")) {
            return status("304 Not Modified", &[]);
        }
        content(text, &[&format!("etag: {tag}")])
    });
    let pair = Pair::before(&host, &[]);
    let url = host.url(NAME, "/a.js");
    assert_eq!(pair.result(url.clone()), "old");
    assert_eq!(pair.result(url.clone()), "old");
    assert!(host.asked()[1].head.contains("if-none-match: \"old\""));
    is_new.store(true, Ordering::SeqCst);
    assert_eq!(pair.result(url), "new");
    assert_eq!(host.connections(), 3);
}

#[test]
fn a_date_is_a_validator_too() {
    const DATE: &str = "Wed, 01 Jul 2026 00:00:00 GMT";
    let host =
        Host::answering(
            |asked| match asked.head.contains(&format!("if-modified-since: {DATE}")) {
                true => status("304 Not Modified", &[]),
                false => content("7", &[&format!("last-modified: {DATE}")]),
            },
        );
    let pair = Pair::before(&host, &[]);
    for _ in 0..2 {
        assert_eq!(pair.result(host.url(NAME, "/a.js")), 7);
    }
    assert!(host.asked()[1].head.contains("if-modified-since"));
}

#[test]
fn a_redirect_is_followed_within_the_allow_list() {
    let host = Host::answering(|asked| {
        let to = match asked.path.as_str() {
            "/near.js" => "/sum.js",
            "/far.js" => "https://other.example/sum.js",
            "/plain.js" => "http://scripts.example/sum.js",
            "/inside.js" => "https://169.254.169.254/latest/meta-data",
            "/bucket.js" => "s3://bucket/key",
            "/nowhere.js" => "https://",
            "/round.js" => "/round.js",
            _ => return content("1 + 2", &[]),
        };
        status("302 Found", &[&format!("location: {to}")])
    });
    let pair = Pair::before(&host, &[]);
    let url = |path| host.url(NAME, path);
    assert_eq!(pair.result(url("/near.js")), 3);
    pair.refused(url("/far.js"), 403, "source_not_allowed");
    pair.refused(url("/inside.js"), 403, "source_not_allowed");
    for path in ["/plain.js", "/bucket.js", "/nowhere.js"] {
        pair.refused(url(path), 424, "source_unavailable");
    }
    let before = host.connections();
    pair.refused(url("/round.js"), 424, "source_unavailable");
    assert_eq!(host.connections() - before, 6);
}

#[test]
fn a_host_that_is_not_allowed_is_not_resolved() {
    let host = Host::answering(|_| content("1", &[]));
    let names = NameServer::start(|_, _| vec![Ipv4Addr::new(127, 0, 0, 2)]);
    let nameserver = names.address.to_string();
    let options = [
        "--source-nameserver",
        &nameserver,
        "--source-networks",
        "127.0.0.0/8",
    ];
    let pair = Pair::allowing(&[host.url(NAME, "/team/")], &options);
    for url in [
        host.url("other.example", "/team/a.js"),
        host.url(NAME, "/other/a.js"),
        host.url(NAME, "/team/../a.js"),
        host.url(NAME, "/team/%2e%2e/a.js"),
        "https://scripts.example/team/a.js".to_owned(),
        host.url("127.0.0.2", "/team/a.js"),
        "s3://bucket/key".to_owned(),
    ] {
        pair.refused(url, 403, "source_not_allowed");
    }
    assert_eq!((host.connections(), names.asked()), (0, 0));
    assert_eq!(pair.result(host.url(NAME, "/team/a.js")), 1);
    for text in [
        "http://scripts.example/a",
        "file:///etc/passwd",
        "a.js",
        "https://u:p@h/",
    ] {
        pair.refused(text, 400, "invalid_field");
    }
    pair.refused(7, 400, "invalid_field");
}

#[test]
fn a_name_of_a_private_address_is_rejected() {
    let inside = Host::answering(|_| content("'secret'", &[]));
    for address in [
        inside.address.ip().to_string().parse().unwrap(),
        Ipv4Addr::LOCALHOST,
        Ipv4Addr::new(169, 254, 169, 254),
        Ipv4Addr::new(10, 0, 0, 1),
        Ipv4Addr::UNSPECIFIED,
    ] {
        let names = NameServer::start(move |_, _| vec![address]);
        let nameserver = names.address.to_string();
        let options = ["--source-nameserver", &nameserver];
        let pair = Pair::allowing(&[inside.url(NAME, "")], &options);
        pair.refused(inside.url(NAME, "/a.js"), 403, "source_not_allowed");
        assert_eq!(names.asked(), 1, "{address}");
    }
    assert_eq!(inside.connections(), 0);
    // An address in `--source-allow` is rejected too, unless `--source-networks` has it.
    let literal = inside.url("127.0.0.2", "");
    let pair = Pair::allowing(&[literal], &[]);
    pair.refused(inside.url("127.0.0.2", "/a.js"), 403, "source_not_allowed");
    assert_eq!(inside.connections(), 0);
}

/// DNS rebinding: the name resolves to a public address first, and to a private one later.
#[test]
fn a_rebound_name_reaches_only_the_checked_address() {
    // The connections of other tests use ports of 127.0.0.1, so a port that is free there is free everywhere.
    let inside = Host::at((Ipv4Addr::LOCALHOST, 0).into(), |_, stream| {
        let _ = stream.write_all(content("'inside'", &[]).as_bytes());
    });
    let port = inside.address.port();
    let outside = Host::at((Ipv4Addr::new(127, 0, 0, 2), port).into(), |_, stream| {
        let _ = stream.write_all(content("'outside'", &[]).as_bytes());
    });
    let names = NameServer::start(|_, before| match before % 2 {
        0 => vec![Ipv4Addr::new(127, 0, 0, 2)],
        _ => vec![Ipv4Addr::LOCALHOST],
    });
    let nameserver = names.address.to_string();
    let options = [
        "--source-nameserver",
        &nameserver,
        "--source-networks",
        "127.0.0.2/32",
    ];
    let pair = Pair::allowing(&[outside.url(NAME, "")], &options);
    let mut served = 0;
    for _ in 0..10 {
        let answer = pair.execute(outside.url(NAME, "/a.js"));
        match answer.status {
            200 => {
                assert_eq!(answer.json()["result"], "outside");
                served += 1;
            }
            _ => assert_eq!(answer.code(), "source_not_allowed"),
        }
    }
    assert_eq!((served, inside.connections()), (5, 0));
    // The name has both addresses: only the allowed one is reached.
    let names = NameServer::start(|_, _| vec![Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2)]);
    let nameserver = names.address.to_string();
    let options = ["--source-nameserver", &nameserver, options[2], options[3]];
    let pair = Pair::allowing(&[outside.url(NAME, "")], &options);
    assert_eq!(pair.result(outside.url(NAME, "/a.js")), "outside");
    assert_eq!(inside.connections(), 0);
}

#[test]
fn a_host_without_a_certificate_for_its_name_is_rejected() {
    let host = Host::answering(|_| content("1", &[]));
    let address = Ipv4Addr::new(127, 0, 0, 2);
    let names = NameServer::start(move |_, _| vec![address]);
    let nameserver = names.address.to_string();
    let options = [
        "--source-nameserver",
        &nameserver,
        "--source-networks",
        "127.0.0.0/8",
    ];
    let pair = Pair::allowing(&[host.url("third.example", "")], &options);
    pair.refused(
        host.url("third.example", "/a.js"),
        424,
        "source_unavailable",
    );
    assert!(host.connections() > 0 && host.asked().is_empty());
}

#[test]
fn a_slow_host_times_out() {
    let host = Host::acting(|asked, stream| {
        if asked.path == "/drip.js" {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n");
            while stream.write_all(b"1").and_then(|()| stream.flush()).is_ok() {
                thread::sleep(Duration::from_millis(50));
            }
        }
        hold(stream);
    });
    let pair = Pair::before(&host, &["--source-timeout-ms", "500"]);
    for path in ["/silent.js", "/drip.js"] {
        let start = Instant::now();
        pair.refused(host.url(NAME, path), 504, "source_timeout");
        let waited = start.elapsed();
        assert!(waited >= Duration::from_millis(500), "{waited:?}");
        // The default is 10 seconds.
        assert!(waited < Duration::from_secs(9), "{waited:?}");
    }
}

#[test]
fn a_script_that_is_too_long_is_aborted() {
    let host = Host::acting(|asked, stream| {
        let head = match asked.path.as_str() {
            "/said.js" => "content-length: 1000000000\r\n\r\n",
            _ => "transfer-encoding: chunked\r\n\r\n",
        };
        let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}").as_bytes());
        let chunk = format!("1000\r\n{}\r\n", "1".repeat(4096));
        while asked.path != "/said.js" && stream.write_all(chunk.as_bytes()).is_ok() {}
        hold(stream);
    });
    let pair = Pair::before(&host, &["--source-bytes", "100KB"]);
    for path in ["/said.js", "/endless.js"] {
        let detail = pair.refused(host.url(NAME, path), 422, "source_unfit");
        assert!(detail.contains("100000 bytes"), "{detail}");
    }
    assert!(pair.shared().is_empty());
}

#[test]
fn invalid_content_is_rejected_and_not_cached() {
    let host = Host::acting(|asked, stream| {
        let answer = match asked.path.as_str() {
            "/bytes.js" => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n\xff\xfe".to_vec(),
            "/gzip.js" => content("x", &["content-encoding: gzip"]).into_bytes(),
            "/cut.js" => b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n1+2".to_vec(),
            "/none.js" => status("404 Not Found", &[]).into_bytes(),
            "/mine.js" => status("403 Forbidden", &[]).into_bytes(),
            "/part.js" => status("206 Partial Content", &[]).into_bytes(),
            "/same.js" => status("304 Not Modified", &[]).into_bytes(),
            _ => status("500 Internal Server Error", &[]).into_bytes(),
        };
        let _ = stream.write_all(&answer);
    });
    let pair = Pair::before(&host, &[]);
    for path in ["/bytes.js", "/gzip.js"] {
        pair.refused(host.url(NAME, path), 422, "source_unfit");
    }
    for path in [
        "/cut.js",
        "/none.js",
        "/mine.js",
        "/part.js",
        "/same.js",
        "/broken.js",
    ] {
        pair.refused(host.url(NAME, path), 424, "source_unavailable");
    }
    assert!(pair.shared().is_empty());
    let gone = "https://scripts.example:1/a.js";
    let pair = Pair::allowing(
        &["https://scripts.example:1".to_owned()],
        &["--source-nameserver", "127.0.0.1:1"],
    );
    let answer = pair.execute(gone);
    assert!(matches!(answer.status, 424 | 504), "{answer:?}");
}

#[test]
fn a_kept_connection_that_its_host_closes_costs_no_request() {
    // Each connection is kept after its first response, and ends without a response to its second request.
    let host = Host::acting(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n1 + 2");
        let _ = stream.read(&mut [0]);
    });
    let pair = Pair::before(&host, &[]);
    for path in ["/first.js", "/second.js", "/third.js"] {
        assert_eq!(pair.result(host.url(NAME, path)), 3);
    }
    assert_eq!(host.connections(), 3);
}

#[test]
fn a_client_cannot_reference_a_cached_file_itself() {
    let host = Host::answering(|_| content("1 + 2", &[]));
    let pair = Pair::before(&host, &[]);
    assert_eq!(pair.result(host.url(NAME, "/sum.js")), 3);
    let forged = format!("sandpiper-source: {SHA256_OF_SUM}");
    let elsewhere = json!({ "source": "https://elsewhere.example/a.js" });
    for headers in [
        vec![forged.as_str()],
        vec![&forged, "connection: sandpiper-source"],
    ] {
        let answer = pair.post_with("/api/execute", &headers, &elsewhere);
        assert_eq!(answer.code(), "source_not_allowed");
        // The source is hidden from the ingress, or in a form that the ingress does not parse.
        let hidden = format!(r#"{{"s\u006furce": "{}"}}"#, host.url(NAME, "/sum.js"));
        let mut all = vec!["content-type: application/json"];
        all.extend(&headers);
        let answer = pair.ingress.send("POST", "/api/execute", &all, &hidden);
        assert!(
            answer.status == 422 || answer.json()["result"] == 3,
            "{answer:?}"
        );
        let mut all = vec!["content-type: multipart/form-data; boundary=b"];
        all.extend(&headers);
        let form = "--b\r\ncontent-disposition: form-data; name=\"source\"\r\n\r\nx\r\n--b--\r\n";
        let answer = pair.ingress.send("POST", "/api/execute", &all, form);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (422, "unsupported")
        );
    }
    let both = json!({ "code": "1", "source": host.url(NAME, "/sum.js") });
    let answer = pair.post("/api/execute", &both);
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (400, "invalid_field")
    );
}

#[test]
fn the_service_runs_only_content_with_the_given_hash() {
    let host = Host::answering(|_| content("1 + 2", &["etag: \"a\""]));
    let pair = Pair::before(&host, &[]);
    assert_eq!(pair.result(host.url(NAME, "/sum.js")), 3);
    std::fs::write(&pair.shared()[0], "1 + 4").unwrap();
    let pinned = json!({ "url": host.url(NAME, "/sum.js"), "sha256": SHA256_OF_SUM });
    let answer = pair.execute(pinned);
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (500, "source_missing")
    );
    let direct = |name: &str| {
        let name = format!("sandpiper-source: {name}");
        let headers = ["content-type: application/json", &name];
        pair.service
            .send("POST", "/api/execute", &headers, r#"{"source":"x"}"#)
    };
    for name in ["../../../etc/passwd", "", &"A".repeat(64), &"a".repeat(65)] {
        assert_eq!(direct(name).code(), "invalid_field", "{name}");
    }
    assert_eq!(direct(&"a".repeat(64)).code(), "source_missing");
    let alone = service(&["--port", "0"]);
    let headers = ["content-type: application/json"];
    let answer = alone.send("POST", "/api/execute", &headers, r#"{"source":"x"}"#);
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (422, "unsupported")
    );
}

#[test]
fn a_client_that_disconnects_ends_the_fetch() {
    let is_over = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&is_over);
    let host = Host::acting(move |_, stream| {
        hold(stream);
        over.store(true, Ordering::SeqCst);
    });
    let pair = Pair::before(&host, &["--source-timeout-ms", "60000"]);
    let mut connection = pair.ingress.connect();
    let body = json!({ "source": host.url(NAME, "/a.js") }).to_string();
    let headers = ["content-type: application/json"];
    connection.request("POST", "/api/execute", &headers, &body);
    eventually("the host is asked", || !host.asked().is_empty());
    drop(connection);
    eventually("the fetch is over", || is_over.load(Ordering::SeqCst));
}

#[test]
fn concurrent_fetches_have_a_maximum() {
    let host = Host::acting(|_, stream| {
        thread::sleep(Duration::from_millis(300));
        let _ = stream.write_all(content("1", &[]).as_bytes());
    });
    let pair = Pair::before(&host, &["--source-fetches-max", "1"]);
    let start = Instant::now();
    thread::scope(|scope| {
        for number in 0..3 {
            let (host, pair) = (&host, &pair);
            scope.spawn(move || {
                assert_eq!(pair.result(host.url(NAME, &format!("/{number}.js"))), 1);
            });
        }
    });
    assert!(start.elapsed() >= Duration::from_millis(900));
    assert!(start.elapsed() < WITHIN);
}

#[test]
fn the_cache_is_bounded_and_evicts_the_script_unused_longest() {
    let host = Host::answering(|asked| content(&format!("'{}'", asked.path), &[]));
    let pair = Pair::before(&host, &["--sources-bytes", "25"]);
    for path in ["/1.js", "/2.js", "/3.js", "/4.js"] {
        assert_eq!(pair.result(host.url(NAME, path)), path);
        assert!(pair.shared().len() <= 3);
    }
    assert_eq!(pair.shared().len(), 3);
    let long = host.url(NAME, "/a-name-that-makes-it-too-long.js");
    pair.refused(long, 503, "sources_full");
}

#[test]
fn invalid_source_options_fail_the_start_with_a_message() {
    let start = |options: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_sandpiper-ingress"))
            .args(options)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(start(&["--source-allow", "https://a.example"]).contains("--sources-dir"));
    assert!(start(&["--source-allow", "http://a.example"]).contains("--source-allow"));
    assert!(start(&["--source-allow", "https://a.example/?q"]).contains("--source-allow"));
    let denied = [
        "--source-allow",
        "s3://bucket",
        "--sources-dir",
        "/proc/sources",
    ];
    assert!(start(&denied).contains("/proc/sources"));
    let missing = [
        "--source-allow",
        "s3://bucket",
        "--sources-dir",
        "/tmp",
        "--source-ca-file",
        "/no/such",
    ];
    assert!(start(&missing).contains("--source-ca-file"));
}

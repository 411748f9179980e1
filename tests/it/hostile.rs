//! Hostile scripts. Most are in the corpus that `sandpiper selftest` ships (`src/selftest`, run as a whole by
//! `tests/corpus`). Those that need more than a line are tests here.

use crate::support::Service;
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Output};
use std::thread;

/// Runs one class of the corpus against a live service.
fn selftest(class: &str, url: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sandpiper"))
        .args(["selftest", "--class", class, "--url", url])
        .output()
        .unwrap()
}

#[test]
fn hostile_scripts_end_as_they_must_against_a_live_service() {
    let service = Service::start();
    for class in ["endless", "spinning", "tampering", "leaks", "modules"] {
        let done = selftest(class, service.url());
        let account = String::from_utf8(done.stdout).unwrap();
        assert_eq!(done.status.code(), Some(0), "{account}");
        assert!(account.ends_with("as expected, 0 not\n"), "{account}");
    }
}

#[test]
fn the_selftest_says_what_did_not_end_as_it_must() {
    // A deployment that returns 3 for every script.
    let liar = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", liar.local_addr().unwrap());
    thread::spawn(move || {
        for caller in liar.incoming() {
            let mut caller = caller.unwrap();
            let _ = caller.read(&mut [0; 65_536]).unwrap();
            let body = r#"{"outcome":"succeeded","result":3,"usage":{"wallMs":1}}"#;
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
            );
            caller.write_all(answer.as_bytes()).unwrap();
        }
    });
    let done = selftest("endless", &url);
    let account = String::from_utf8(done.stdout).unwrap();
    assert_eq!(done.status.code(), Some(1), "{account}");
    assert!(
        account.contains("FAILED (endless): expected timed_out, got \"succeeded\" 3"),
        "{account}"
    );
    assert!(account.ends_with("0 as expected, 27 not\n"), "{account}");
}

#[test]
fn the_selftest_says_when_a_deployment_cannot_be_tried() {
    let service = Service::start_with(&["--timeout-ms-ceiling", "2000"]);
    let done = selftest("memory", service.url());
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(2), "{said}");
    assert!(said.contains("limit_above_ceiling"), "{said}");
}

/// Setters and getters for the keys that the host could trip over, on the prototypes of every object of the script.
const TRAPS: &str = "const caught = []; for (const prototype of [Object.prototype, Array.prototype, Function.prototype])
    for (const key of ['0', '1', '2', 'value', 'done', 'next', 'data', 'type', 'result', 'name', 'message', 'letter',
        'isSet', 'get', 'set', 'open', 'prototypes', 'timeOrigin', 'now', 'then', 'cause', 'errors', 'enumerable'])
        if (!Object.hasOwn(prototype, key)) Object.defineProperty(prototype, key,
            {__proto__: null, configurable: true, set(v) { caught.push(key) }, get() { caught.push(key) }});";

#[test]
fn accessors_on_every_prototype_catch_nothing_of_the_host() {
    let service = Service::start();
    let values = "new Map([[1, 2]]), new Set([3]), /x/gi, Symbol('s'), function f() {}, new Date(0), [4], {a: 5}, 6n,
        new Uint8Array([7]), new DataView(new ArrayBuffer(1)), new Number(8), new WeakRef({})";
    let code = format!(
        "{TRAPS} console.log({values}); console.time(); console.count(); setTimeout(() => {{}}, 1);\n caught"
    );
    let execution = service.run(&code.replace('\n', " "));
    assert_eq!(execution["result"], json!([]), "{execution}");
    let shown = json!([
        [[1, 2]], [3], "/x/gi", "Symbol(s)", "[Function: f]", "1970-01-01T00:00:00.000Z", [4], {"a": 5}, "6", [7], [0],
        8, "[WeakRef]"
    ]);
    assert_eq!(execution["log"][0]["data"], shown);
    let seeded = service
        .execute(&json!({"code": format!("{TRAPS} new Date(); Date.now(); caught"), "seed": 1}));
    assert_eq!(seeded["result"], json!([]), "{seeded}");
}

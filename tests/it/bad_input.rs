//! Invalid bodies: each gets its status and its stable `code`, and the service continues.

use crate::support::{Service, assert_refused, assert_serves};
use serde_json::json;

/// The paths that accept code.
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];
const PATHS: [&str; 2] = ["/api/execute", "/api/jobs"];

/// Sends each body to each path.
fn assert_each_refused(rows: &[(&[u8], u16, &str)]) {
    let service = Service::start();
    let json = [("content-type", "application/json")];
    for (body, status, code) in rows {
        let what = String::from_utf8_lossy(&body[..body.len().min(100)]);
        for path in PATHS {
            let answer = service.post_raw(path, &json, body);
            assert_refused(&answer, *status, code, &what);
        }
    }
    assert_serves(&service);
}

#[test]
fn a_body_other_than_a_json_object_is_invalid_json() {
    let rows: [&[u8]; 16] = [
        b"",
        b" ",
        b"{",
        b"}",
        b"{}}",
        b"{} {}",
        b"[]",
        b"null",
        b"1",
        b"\"code\"",
        b"{code: 1}",
        b"{'code': '1'}",
        b"{\"code\": \"1\",}",
        b"\xef\xbb\xbf{\"code\":\"1\"}",
        b"{\"code\": \"tab\there\"}",
        b"code=1&file=simple.js",
    ];
    assert_each_refused(&rows.map(|body| (body, 400, "invalid_json")));
}

#[test]
fn bytes_that_are_no_utf_8_are_invalid_json() {
    assert_each_refused(&[
        (b"{\"code\":\"\xff\"}", 400, "invalid_json"),
        (b"{\"code\":\"'\xc3\x28'\"}", 400, "invalid_json"),
        // A surrogate, and a NUL, in an overlong encoding.
        (b"{\"code\":\"\xed\xa0\x80\"}", 400, "invalid_json"),
        (b"{\"code\":\"\xc0\x80\"}", 400, "invalid_json"),
        (b"\xff\xfe{\x00}\x00", 400, "invalid_json"),
    ]);
}

#[test]
fn nothing_to_run_is_missing_code() {
    assert_each_refused(&[
        (b"{}", 400, "missing_code"),
        (b"{\"code\": null}", 400, "missing_code"),
        (b"{\"code\": null, \"file\": null}", 400, "missing_code"),
        (b"{\"input\": 1}", 400, "missing_code"),
    ]);
}

#[test]
fn a_field_of_the_wrong_type_or_value_is_named() {
    let service = Service::start();
    let rows = [
        (json!({ "code": 1 }), "code"),
        (json!({ "code": ["1"] }), "code"),
        (json!({ "code": "1", "file": 7 }), "file"),
        (json!({ "code": "1", "file": {} }), "file"),
        (json!({ "code": "1", "globals": [] }), "globals"),
        (json!({ "code": "1", "globals": "x" }), "globals"),
        (
            json!({ "code": "1", "globals": { "not a name": 1 } }),
            "globals",
        ),
        (
            json!({ "code": "1", "globals": { "__proto__": 1 } }),
            "globals.__proto__",
        ),
        (
            json!({ "code": "1", "globals": { "globalThis": 1 } }),
            "globals.globalThis",
        ),
        (
            json!({ "code": "1", "globals": { "input": 1 } }),
            "globals.input",
        ),
        (json!({ "code": "1", "limits": 5 }), "limits"),
        (json!({ "code": "1", "limits": [1] }), "limits"),
        (
            json!({ "code": "1", "limits": { "timeoutMs": "5" } }),
            "limits.timeoutMs",
        ),
        (
            json!({ "code": "1", "limits": { "memoryBytes": true } }),
            "limits.memoryBytes",
        ),
        (json!({ "code": "1", "seed": 1.5 }), "seed"),
        (json!({ "code": "1", "seed": "1" }), "seed"),
        (json!({ "code": "1", "seed": 1e20 }), "seed"),
        (json!({ "code": "1", "language": 1 }), "language"),
        (json!({ "code": "1", "language": "cobol" }), "language"),
        (json!({ "code": "1", "kind": "worker" }), "kind"),
    ];
    for (body, field) in rows {
        for path in PATHS {
            let answer = service.post(path, &body);
            assert_refused(&answer, 400, "invalid_field", &body.to_string());
            assert_eq!(answer.json()["field"], field, "{body}");
        }
    }
    let twice = service.post_raw(PATHS[0], &JSON, br#"{"code": "1", "code": "2"}"#);
    assert_refused(&twice, 400, "invalid_field", "given twice");
    assert_serves(&service);
}

#[test]
fn an_unknown_field_is_named() {
    let service = Service::start();
    let long = "f".repeat(5000);
    let rows = [
        (json!({ "code": "1", "timeout": 5 }), "timeout"),
        (json!({ "Code": "1" }), "Code"),
        (json!({ "code": "1", "": 5 }), ""),
        (
            json!({ "code": "1", "limits": { "stackBytes": 5 } }),
            "limits.stackBytes",
        ),
        (json!({ "code": "1", &long: 5 }), &long[..100]),
    ];
    for (body, field) in rows {
        for path in PATHS {
            let answer = service.post(path, &body);
            assert_refused(&answer, 400, "unknown_field", field);
            assert_eq!(answer.json()["field"], field);
            assert!(answer.text.len() < 1000);
        }
    }
    assert_serves(&service);
}

#[test]
fn an_example_script_is_found_by_its_name_and_by_no_path() {
    let service = Service::start();
    let names = [
        "missing.js",
        "",
        ".",
        "..",
        "simple",
        "SIMPLE.JS",
        "simple.js ",
        "./simple.js",
        "../Cargo.toml",
        "../example-scripts/simple.js",
        "..\\Cargo.toml",
        "/etc/passwd",
        "file:///etc/passwd",
        "%2e%2e%2fCargo.toml",
        "simple.js\0",
        "simple.js\0.txt",
        "simple.js/",
        "simple.js?x",
        &"../".repeat(1000),
    ];
    for name in names {
        for path in PATHS {
            let answer = service.post(path, &json!({ "code": "x=", "file": name }));
            assert_refused(&answer, 404, "script_not_found", name);
            assert!(answer.text.len() < 1000);
        }
    }
    // The same by the query, and by the path of the script's own page, which are decoded once.
    for name in [
        "missing.js",
        "..%2FCargo.toml",
        "%2Fetc%2Fpasswd",
        "simple.js%00",
        "%252e%252e%252fCargo.toml",
    ] {
        let by_query = service.post(&format!("/api/execute?file={name}"), &json!({}));
        assert_refused(&by_query, 404, "script_not_found", name);
        let by_path = service.get(&format!("/api/scripts/{name}"));
        // A path with a second reading is rejected as such.
        match by_path.status {
            400 => assert_refused(&by_path, 400, "invalid_path", name),
            _ => assert_refused(&by_path, 404, "script_not_found", name),
        }
    }
    assert_serves(&service);
}

#[test]
fn a_limit_below_what_can_run_is_an_invalid_field() {
    let service = Service::start();
    for field in ["timeoutMs", "memoryBytes", "outputBytes"] {
        for value in [
            json!(0),
            json!(-1),
            json!(-0.5),
            json!(1.5),
            json!("1"),
            json!([]),
            json!(false),
        ] {
            let answer = service.post(
                PATHS[0],
                &json!({ "code": "1", "limits": { field: value } }),
            );
            assert_refused(&answer, 400, "invalid_field", &format!("{field} {value}"));
            assert_eq!(answer.json()["field"], format!("limits.{field}"));
        }
    }
    for (field, value) in [("memoryBytes", (1 << 20) - 1), ("outputBytes", 255)] {
        let answer = service.post(
            PATHS[1],
            &json!({ "code": "1", "limits": { field: value } }),
        );
        assert_refused(&answer, 400, "invalid_field", field);
        assert!(
            answer.text.contains(&(value + 1).to_string()),
            "{}",
            answer.text
        );
    }
    assert_serves(&service);
}

#[test]
fn a_limit_above_the_ceiling_is_rejected_with_the_ceiling() {
    let service = Service::start_with(&["--timeout-ms-ceiling", "40000"]);
    for (field, ceiling) in [
        ("timeoutMs", 40_000_u64),
        ("memoryBytes", 256 << 20),
        ("outputBytes", 8 << 20),
    ] {
        let beyond = [
            json!(ceiling + 1),
            json!(u64::MAX),
            json!(1e300),
            json!(9e15),
        ];
        for value in beyond {
            for path in PATHS {
                let answer =
                    service.post(path, &json!({ "code": "1", "limits": { field: value } }));
                assert_refused(
                    &answer,
                    422,
                    "limit_above_ceiling",
                    &format!("{field} {value}"),
                );
                assert_eq!(answer.json()["ceiling"], ceiling);
                assert_eq!(answer.json()["field"], format!("limits.{field}"));
            }
        }
    }
    assert_serves(&service);
}

#[test]
fn a_lone_surrogate_is_itself_in_source_and_in_values() {
    let service = Service::start();
    for (body, result) in [
        (
            r#"{"code": "['\ud800'.length, '\ud800'.charCodeAt(0)]"}"#,
            json!([1, 0xd800]),
        ),
        (
            r#"{"code": "['\\\udc00\ud83d'].map((s) => [...s].length)[0]"}"#,
            json!(2),
        ),
        (r#"{"code": "'\ud83d\ude00'"}"#, json!("😀")),
        (r#"{"code": "1 // \udfff\ud800"}"#, json!(1)),
        (
            r#"{"code": "[input.length, input.charCodeAt(0)]", "input": "\ud800"}"#,
            json!([1, 0xd800]),
        ),
    ] {
        let answer = service.post_raw(PATHS[0], &JSON, body.as_bytes());
        assert_eq!(answer.json()["result"], result, "{body}: {}", answer.json());
    }
    let answer = service.post_raw(PATHS[0], &JSON, br#"{"code": "let a\ud800"}"#);
    assert_eq!(answer.json()["error"]["name"], "SyntaxError");
    let answer = service.post_raw(PATHS[0], &JSON, br#"{"code": "1", "file": "\ud800"}"#);
    assert_ne!(answer.status, 200);
}

#[test]
fn a_nul_is_itself_in_source_and_in_values() {
    let service = Service::start();
    for code in [
        "'a\u{0}b'",
        "`a\u{0}b`",
        "'a\\\u{0}b'",
        "/* \u{0} */ /a\u{0}b/.exec('a\\0b')[0] // \u{0}",
    ] {
        let answer = service.execute(&json!({ "code": code }));
        assert_eq!(answer["result"], "a\u{0}b", "{answer}");
    }
    let answer = service.execute(&json!({ "code": "1\u{0}2" }));
    assert_eq!(answer["error"]["name"], "SyntaxError");
    let answer = service.execute(&json!({ "code": "[input, '\\0']", "input": "a\u{0}b" }));
    assert_eq!(answer["result"], json!(["a\u{0}b", "\u{0}"]));
}

/// Returns `depth` nested arrays as text: a tree of them would be too deep for this side as well.
fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

#[test]
fn json_may_nest_to_the_bound_and_no_deeper() {
    let service = Service::start();
    let code = "let d = 0; for (let v = input ?? deep; v; v = v[0]) d++; d";
    let request = |field: &str, depth: usize| {
        let value = nested(depth);
        let body = match field {
            "input" => format!(r#"{{"code": "{code}", "input": {value}}}"#),
            _ => format!(r#"{{"code": "{code}", "input": null, "globals": {{"deep": {value}}}}}"#),
        };
        service.post_raw(PATHS[0], &JSON, body.as_bytes())
    };
    for field in ["input", "globals.deep"] {
        assert_eq!(request(field, 100).json()["result"], 100, "{field}");
        for depth in [101, 10_000, 900_000] {
            let answer = request(field, depth);
            assert_refused(&answer, 400, "invalid_field", field);
            assert_eq!(answer.json()["field"], field);
        }
    }
    // Where `source` is not even a field.
    let answer = service.post_raw(PATHS[0], &JSON, nested(900_000).as_bytes());
    assert_refused(&answer, 400, "invalid_json", "nested body");
    let unclosed = format!(r#"{{"input": {}"#, "[".repeat(1_000_000));
    let answer = service.post_raw(PATHS[0], &JSON, unclosed.as_bytes());
    assert_refused(&answer, 400, "invalid_json", "unclosed");
    assert_serves(&service);
}

#[test]
fn there_may_be_so_many_globals_and_no_more() {
    let service = Service::start();
    let request = |count: usize| {
        let globals: serde_json::Map<_, _> = (0..count)
            .map(|index| (format!("g{index}"), json!(index)))
            .collect();
        json!({ "code": "g0 + g255", "globals": globals })
    };
    assert_eq!(service.execute(&request(256))["result"], 255);
    for count in [257, 50_000] {
        let answer = service.post(PATHS[0], &request(count));
        assert_refused(&answer, 400, "invalid_field", "globals");
        assert!(answer.text.contains(&count.to_string()), "{}", answer.text);
    }
    assert_serves(&service);
}

//! Two executions share nothing.

use crate::support::{Service, eventually, looping_process};
use serde_json::json;
use std::collections::HashSet;
use std::time::Duration;

const SOON: Duration = crate::support::SOON;

#[test]
fn input_is_there_exactly_when_it_was_given() {
    let service = Service::start();
    for (input, result) in [
        (json!(null), json!(["object", null])),
        (json!(0), json!(["number", 0])),
        (
            json!({ "a": [1, "two", { "b": false }] }),
            json!(["object", { "a": [1, "two", { "b": false }] }]),
        ),
    ] {
        let answer = service.execute(&json!({ "code": "[typeof input, input]", "input": input }));
        assert_eq!(answer["result"], result);
        // The next execution finds nothing of this one.
        assert_eq!(service.result("typeof input"), "undefined");
    }
}

#[test]
fn globals_are_there_for_their_execution_alone() {
    let service = Service::start();
    let answer = service.execute(&json!({
        "code": "[rate * base.value, typeof globalThis.rate]",
        "globals": { "rate": 2, "base": { "value": 21 } }
    }));
    assert_eq!(answer["result"], json!([42, "number"]));
    assert_eq!(
        service.result("[typeof rate, typeof base]"),
        json!(["undefined", "undefined"])
    );
}

#[test]
fn two_executions_are_two_processes_and_the_first_is_gone_when_the_second_runs() {
    let service = Service::start_with(&["--executors", "1"]);
    let endless = json!({ "code": "for (;;);", "limits": { "timeoutMs": 30_000 } });
    let mut processes = HashSet::new();
    for _ in 0..3 {
        let id = service.submit(&endless);
        let process = looping_process(&service);
        assert!(processes.insert(process), "{process} ran two executions");
        assert_eq!(service.delete(&format!("/api/jobs/{id}")).status, 200);
        eventually(SOON, "its process is gone", || {
            !service.descendants().contains(&process)
        });
    }
}

#[test]
fn no_two_executions_draw_the_same_randomness() {
    let service = Service::start();
    let drawn: HashSet<String> = (0..50)
        .map(|_| service.result("[Math.random(), Math.random()]").to_string())
        .collect();
    assert_eq!(drawn.len(), 50);
}

#[test]
fn a_seed_makes_randomness_and_clock_repeatable() {
    let service = Service::start();
    let seeded = |seed: i64| {
        let code = "[Math.random(), Math.random(), Date.now()]";
        service.execute(&json!({ "code": code, "seed": seed }))["result"].clone()
    };
    assert_eq!(seeded(7), seeded(7));
    assert_ne!(seeded(7), seeded(8));
    assert_eq!(seeded(-1), seeded(-1));
}

#[test]
fn what_an_execution_does_to_its_world_no_other_sees() {
    let service = Service::start_with(&["--executors", "1"]);
    for (spoil, look) in [
        (
            "globalThis.leak = 1; var leaked = 2; function left() {}",
            "[typeof leak, typeof leaked, typeof left]",
        ),
        (
            "Array.prototype.spoilt = 1; Object.prototype.spoilt = 1",
            "[typeof [].spoilt, typeof ({}).spoilt, 'undefined']",
        ),
        (
            "JSON.stringify = console.log = Math.random = undefined",
            "[JSON.stringify, console.log, Math.random].map(f => typeof f === 'function' ? 'undefined' : 'spoilt')",
        ),
    ] {
        service.run(spoil);
        assert_eq!(
            service.result(look),
            json!(["undefined", "undefined", "undefined"]),
            "{spoil}"
        );
    }
}

#[test]
fn no_answer_is_given_to_another_request() {
    let service = Service::start();
    std::thread::scope(|scope| {
        for client in 0..8 {
            let service = &service;
            scope.spawn(move || {
                for round in 0..25 {
                    let own = json!([client, round]);
                    let answer = service
                        .execute(&json!({ "code": "console.log(input); input", "input": own }));
                    assert_eq!(answer["result"], own);
                    assert_eq!(answer["log"][0]["data"], json!([own]));
                }
            });
        }
    });
}

//! Random values, bodies and scripts, 256 of each; `make fuzz` tries many more.

use crate::support::{LATE_MS, Service};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Number, Value, json};
use std::cell::Cell;

/// Returns the configuration: PROPTEST_CASES cases, and no files next to the sources.
fn runner() -> TestRunner {
    TestRunner::new(Config {
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..Config::default()
    })
}

fn number() -> impl Strategy<Value = Value> {
    const EXACT: i64 = 1 << 53;
    prop_oneof![
        (-EXACT..=EXACT).prop_map(Value::from),
        (-100_i64..100).prop_map(Value::from),
        // JSON.stringify writes whole numbers without a point, so values are compared as text.
        any::<f64>()
            .prop_filter("finite, and not whole", |number| number.is_finite()
                && number.fract() != 0.0)
            .prop_map(|number| Number::from_f64(number).map_or(Value::Null, Value::Number)),
    ]
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-z]{1,8}",
        "[0-9]{1,10}",
        prop::sample::select(vec![
            "__proto__",
            "constructor",
            "toJSON",
            "length",
            "then",
            "",
            "toString",
            "valueOf"
        ])
        .prop_map(str::to_owned),
    ]
}

/// Returns any JSON that JavaScript can represent exactly.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number(),
        any::<String>().prop_map(Value::from),
        "[\\u0000-\\u00ff\\u2028\\u2029\\ufeff\\u{1f600}\"\\\\]{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::vec((key(), inner), 0..8)
                .prop_map(|members| Value::Object(Map::from_iter(members))),
        ]
    })
}

#[test]
fn any_json_that_goes_in_as_input_comes_out_as_the_result() {
    let service = Service::start();
    let checked = runner().run(&value(), |value| {
        let execution = service.execute(&json!({"code": "input", "input": value}));
        prop_assert_eq!(&execution["outcome"], "succeeded", "{}", execution);
        prop_assert_eq!(&execution["result"], &value);
        let logged = service.execute(&json!({"code": "console.log(input); given", "globals": {"given": value}, "input": value}));
        prop_assert_eq!(&logged["result"], &value);
        prop_assert_eq!(&logged["log"][0]["data"][0], &value);
        Ok(())
    });
    checked.unwrap();
}

/// A body with valid names and arbitrary values.
fn body() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        prop::sample::select(vec![
            "code",
            "file",
            "input",
            "globals",
            "limits",
            "seed",
            "timeoutMs",
            "memoryBytes",
            "outputBytes",
        ])
        .prop_map(str::to_owned),
        key(),
    ];
    let limits = prop::collection::vec(
        (
            prop::sample::select(vec![
                "timeoutMs",
                "memoryBytes",
                "outputBytes",
                "stackBytes",
            ])
            .prop_map(str::to_owned),
            value(),
        ),
        0..4,
    )
    .prop_map(|members| Value::Object(Map::from_iter(members)));
    let member = prop_oneof![4 => value(), 1 => limits, 1 => Just(json!("1 + 2"))];
    prop_oneof![
        8 => prop::collection::vec((name, member), 0..6).prop_map(|members| Value::Object(Map::from_iter(members))),
        1 => value(),
    ]
}

#[test]
fn any_body_gets_an_execution_or_a_problem_that_says_why_not() {
    let service = Service::start();
    let whole = runner().run(
        &(body(), any::<prop::sample::Index>(), any::<bool>()),
        |(body, cut, is_cut)| {
            let mut bytes = serde_json::to_vec(&body).unwrap();
            if is_cut {
                bytes.truncate(cut.index(bytes.len() + 1));
            }
            for path in ["/api/execute", "/api/jobs"] {
                let answer =
                    service.post_raw(path, &[("Content-Type", "application/json")], &bytes);
                prop_assert!(
                    matches!(answer.status, 200 | 202 | 400 | 404 | 413),
                    "{}: {}",
                    answer.status,
                    answer.text
                );
                if answer.status >= 400 {
                    prop_assert!(!answer.code().is_empty());
                }
            }
            Ok(())
        },
    );
    whole.unwrap();
    assert_eq!(service.result("1 + 2"), 3);
}

/// Returns JavaScript from a small grammar: most of it parses, and does what no person would write.
fn script() -> impl Strategy<Value = String> {
    let atom = prop::sample::select(vec![
        "1",
        "-0",
        "NaN",
        "2n ** 70n",
        "'s'",
        "`t`",
        "null",
        "undefined",
        "[]",
        "{}",
        "({})",
        "a",
        "b",
        "f",
        "this",
        "globalThis",
        "/x(?=y)/g",
        "Symbol.iterator",
        "new Map()",
        "new Uint8Array(8)",
        "new ArrayBuffer(8, {maxByteLength: 16})",
        "new Proxy({}, {})",
        "new Proxy([], {get(t, k) { return a }})",
        "Object.prototype",
        "Array.prototype",
        "console",
        "Promise.resolve(1)",
        "new Date(0)",
        "Math.random()",
        "new WeakRef({})",
        "(function* () { yield a })()",
        "(async () => a)()",
        "new Error('e')",
        "JSON",
        "Reflect",
        "Infinity",
        "2 ** 31",
        "'x'.repeat(1e4)",
        "Function",
    ])
    .prop_map(str::to_owned);
    let expression = atom.prop_recursive(5, 40, 4, |inner| {
        let method = prop::sample::select(vec![
            "map", "toString", "valueOf", "slice", "splice", "sort", "concat", "fill", "resize", "transfer", "next", "return",
            "then", "call", "apply", "bind", "replace", "match", "split", "at", "with", "set", "get", "add", "keys", "log",
            "defineProperty", "ownKeys", "setPrototypeOf", "freeze", "parse", "stringify", "constructor", "toJSON", "flat",
        ]);
        let operator = prop::sample::select(vec!["+", "-", "*", "%", "**", "<<", ">>>", "&&", "??", ",", "===", "<", "in", "instanceof"]);
        prop_oneof![
            (inner.clone(), method, inner.clone(), inner.clone()).prop_map(|(on, name, x, y)| format!("({on})?.{name}?.({x}, {y})")),
            (inner.clone(), operator, inner.clone()).prop_map(|(x, operator, y)| format!("(({x}) {operator} ({y}))")),
            (inner.clone(), inner.clone()).prop_map(|(x, y)| format!("(({x})?.[{y}])")),
            (inner.clone(), inner.clone()).prop_map(|(x, y)| format!("[{x}, ...[{y}]]")),
            inner.clone().prop_map(|x| format!("({{get a() {{ return {x} }}, valueOf() {{ return {x} }}, toJSON() {{ return {x} }}}})")),
            inner.clone().prop_map(|x| format!("((a) => {x})")),
            inner.clone().prop_map(|x| format!("(function () {{ return {x} }})")),
            inner.clone().prop_map(|x| format!("new Proxy({{}}, {{get() {{ return {x} }}, ownKeys() {{ return [{x}] }}}})")),
            inner.clone().prop_map(|x| format!("(await ({x}))")),
            inner.prop_map(|x| format!("(class {{ static s = {x}; #p = {x}; m() {{ return this.#p }} }})")),
        ]
    });
    let statement =
        (0..9_u8, expression.clone(), expression).prop_map(|(shape, x, y)| match shape {
            0 => format!("try {{ a = {x} }} catch (e) {{ b = e }} finally {{ f = {y} }}"),
            1 => {
                format!("for (let i = 0; i < 20; i++) {{ try {{ a = {x}; b = {y} }} catch {{}} }}")
            }
            2 => format!("try {{ for (const x of ({x})) {{ a = {y} }} }} catch (e) {{ a = e }}"),
            3 => format!("try {{ for (const x in ({x})) {{ a = {y} }} }} catch (e) {{ a = e }}"),
            4 => format!("try {{ console.log({x}, {y}) }} catch (e) {{ f = e }}"),
            5 => format!(
                "setTimeout(() => {{ a = {}; b = {} }}, 0)",
                x.replace("await", ""),
                y.replace("await", "")
            ),
            6 => format!(
                "try {{ Object.prototype.then = {x} }} catch {{}}; try {{ b = {y} }} catch {{}}"
            ),
            7 => format!("while (Math.random() > 0.1) try {{ ({x}); ({y}) }} catch {{}}"),
            _ => format!("try {{ Array.prototype[Symbol.iterator] = {x}; a = {y} }} catch {{}}"),
        });
    prop::collection::vec(statement, 1..8)
        .prop_map(|statements| format!("let a, b, f = () => a; {}; [a, b]", statements.join("; ")))
}

#[test]
fn any_script_ends_within_its_limits_by_an_outcome_of_its_own() {
    let service = Service::start();
    let limits = json!({"timeoutMs": 100, "memoryBytes": 4 << 20, "outputBytes": 20_000});
    let checked = runner().run(&script(), |script| {
        let execution = service.execute(&json!({"code": script, "limits": limits}));
        prop_assert_ne!(
            &execution["outcome"],
            "crashed",
            "{}\n{}",
            execution,
            script
        );
        prop_assert!(
            execution["usage"]["wallMs"].as_f64() < Some(100.0 + LATE_MS),
            "{}\n{}",
            execution,
            script
        );
        prop_assert_eq!(service.result("1 + 2"), 3);
        Ok(())
    });
    checked.unwrap();
}

/// Returns code that fills the heap, block by block.
fn filler() -> impl Strategy<Value = String> {
    let block = prop_oneof![
        (1_usize..5_000).prop_map(|bytes| format!("new Uint8Array({bytes})")),
        (1_usize..600).prop_map(|length| format!("'y'.repeat({length}) + i")),
        (1_usize..40).prop_map(|length| format!("Array.from({{length: {length}}}, () => i)")),
        Just("Symbol()".to_owned()),
        Just("{i, a: [i]}".to_owned()),
        Just("() => i".to_owned()),
        Just("new Map([[i, i]])".to_owned()),
        Just("new Promise(() => {})".to_owned()),
        Just("new Error('e' + i)".to_owned()),
        Just("BigInt(i) << 200n".to_owned()),
        Just("/(a|b)+/.exec('ab' + i)".to_owned()),
    ];
    let freed = 0_usize..120;
    (block, freed).prop_map(|(block, freed)| {
        format!(
            "{{ const h = hold(); let i = 0; try {{ for (;; i++) h[i] = {block} }} catch {{}} for (let k = 0; k < {freed} && i; k++) h[--i] = 0 }}"
        )
    })
}

/// Returns code that catches the refusal of one large block.
fn large_refusal() -> impl Strategy<Value = String> {
    let bytes = prop_oneof![(1_usize << 20)..(8 << 20), Just(1 << 30)];
    (0_u8..4, bytes).prop_map(|(shape, bytes)| match shape {
        0 => format!("try {{ hold()[0] = new ArrayBuffer({bytes}) }} catch {{}}"),
        1 => format!("try {{ hold()[0] = 'x'.repeat({bytes}) }} catch {{}}"),
        2 => format!("try {{ hold()[0] = 1n << {bytes}n }} catch {{}}"),
        _ => format!(
            "try {{ eval('[' + '1.5,'.repeat({}) + ']') }} catch {{}}",
            bytes / 16
        ),
    })
}

/// Returns code whose allocations fail at a point that depends on the filler.
fn work() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "for (;;) {};",
        "while (0) { continue };",
        "switch (0) { case 1: case 2: break; default: };",
        "{ let a = 1; { const b = () => a } };",
        "try { throw 1 } catch (e) {} finally {};",
        "class C { #p = 1; static s = 2; constructor() {} get g() { return this.#p } };",
        "function f(a, {b, ...c} = {}, ...d) { return `${a}${b}` };",
        "async function* g() { for await (const x of []) yield x };",
        "label: for (const x of []) { continue label };",
        "({a: 1, get b() { return 2 }, ['c']: 3});",
        "a => b => c => [a, b, c];",
        "with ({}) { x };",
        "/(?<n>x+)|[a-z]{2,3}/g;",
    ]);
    let source = prop::collection::vec((piece, 1_usize..60), 1..4).prop_map(|pieces| {
        let text = pieces.iter().map(|(piece, times)| piece.repeat(*times));
        json!(text.collect::<String>()).to_string()
    });
    let compile = (source, any::<bool>()).prop_map(|(source, as_function)| {
        if as_function {
            format!("new Function({source})")
        } else {
            format!("eval('if (0) {{' + {source} + '}}')")
        }
    });
    let run = prop::sample::select(vec![
        "f = f.bind(1, 2)",
        "f = [[f]]",
        "f = {...{a: 1, b: 2}, f}",
        "f = JSON.parse('[{\"a\": [1, 2, {}]}]')",
        "f = JSON.stringify([1, {a: 'x'.repeat(99)}])",
        "f = 'a,b,c'.split(',').map((x) => x + x)",
        "f = new Proxy({}, {get: () => 1}).x",
        "f = [3, 1, 2].toSorted()",
        "f = new Set([1, 2]).union(new Set([3]))",
        "f = structure({a: new Date(0)})",
        "f = 'x'.repeat(50).replace(/x/g, (x) => x + x)",
        "f = [...(function* () { yield* [1, 2, 3] })()]",
        "f = Promise.all([1, Promise.reject(2)]).catch(() => {})",
        "f = new (class extends Array {})(1, 2, 3).concat([4])",
        "console.log({a: [1, 2]}, 'said')",
        "setTimeout(() => { f = [f] }, 0)",
    ])
    .prop_map(str::to_owned);
    (prop_oneof![compile, run], 1_usize..30).prop_map(|(act, times)| {
        format!("for (let n = 0; n < {times}; n++) try {{ {act} }} catch {{}}")
    })
}

/// A script that runs out of memory at a random point, catches what it can, and continues.
fn out_of_memory() -> impl Strategy<Value = String> {
    let step = prop_oneof![3 => filler(), 1 => large_refusal(), 3 => work()];
    prop::collection::vec(step, 2..7).prop_map(|steps| {
        // The arrays that hold the blocks are allocated before memory runs out.
        format!(
            "const holders = Array.from({{length: 8}}, () => new Array(4000).fill(0)); let held = 0, f = () => 1;
             const hold = () => holders[held++ % 8], structure = (x) => ({{x, y: [x]}});
             {}\n1",
            steps.join("\n")
        )
    })
}

#[test]
fn a_script_that_runs_out_of_memory_never_crashes() {
    let service = Service::start();
    let (cases, ran_out) = (Cell::new(0), Cell::new(0));
    let scripts = (out_of_memory(), 1_000_000_u64..3_000_000);
    let checked = runner().run(&scripts, |(script, memory)| {
        let limits = json!({"timeoutMs": 1_000, "memoryBytes": memory.max(1 << 20)});
        let execution = service.execute(&json!({"code": script, "limits": limits}));
        let outcome = execution["outcome"].as_str().unwrap_or_default();
        prop_assert!(
            ["succeeded", "memory_exceeded", "timed_out"].contains(&outcome),
            "{}\n{}",
            execution,
            script
        );
        cases.set(cases.get() + 1);
        ran_out.set(ran_out.get() + i32::from(outcome == "memory_exceeded"));
        Ok(())
    });
    checked.unwrap();
    // Scripts that never run out of memory would test nothing.
    let (cases, ran_out) = (cases.get(), ran_out.get());
    println!("{ran_out} of {cases} scripts ran out of memory, none crashed");
    assert!(
        ran_out > cases / 2,
        "only {ran_out} of {cases} ran out of memory"
    );
}

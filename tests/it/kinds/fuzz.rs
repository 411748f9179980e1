//! Random graphs of modules: circles, top-level awaits, errors and failed loads in every combination.

use crate::support::Service;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

const MODULES_MAX: usize = 6;

/// A line of a module. `K` is the number of another module, `N` the number of the line.
fn line() -> impl Strategy<Value = String> {
    let other = 0..MODULES_MAX;
    let lines = prop_oneof![
        6 => Just("import './mK.js';"),
        4 => Just("import { x as xN } from './mK.js'; try { console.log(xN) } catch (e) { console.log(e.name) }"),
        3 => Just("import * as nN from './mK.js'; try { console.log(Object.values(nN).length) } catch (e) { console.log(e.name) }"),
        2 => Just("export * from './mK.js';"),
        2 => Just("export { x as yN } from './mK.js';"),
        2 => Just("import dN from './mK.js'; try { console.log(dN()) } catch (e) { console.log(e.name) }"),
        3 => Just("await null;"),
        2 => Just("await new Promise((done) => setTimeout(done, N));"),
        2 => Just("import('./mK.js').then(() => console.log('loaded'), () => console.log('failed'));"),
        1 => Just("await import('./mK.js');"),
        1 => Just("throw new Error('of a module');"),
        1 => Just("import './none.js';"),
        1 => Just("import { none as oN } from './mK.js';"),
        1 => Just("let 1N;"),
        1 => Just("export { x as 'a b N' };"),
    ];
    (lines, other).prop_map(|(line, other)| line.replace('K', &other.to_string()))
}

fn module() -> impl Strategy<Value = String> {
    prop::collection::vec(line(), 0..5).prop_map(|lines| {
        let lines = lines.iter().enumerate();
        let lines: Vec<String> = lines
            .map(|(number, line)| line.replace('N', &number.to_string()))
            .collect();
        format!(
            "{}\nexport let x = 1; export default function f() {{ return x }}",
            lines.join("\n")
        )
    })
}

/// A request that imports the modules of a graph in some order, each a few times.
fn graph() -> impl Strategy<Value = Value> {
    let modules = prop::collection::vec(module(), MODULES_MAX);
    let imports = prop::collection::vec(0..MODULES_MAX, 1..10);
    (modules, imports, any::<bool>(), 0..MODULES_MAX).prop_map(
        |(modules, imports, is_module, first)| {
            // What was freed is used anew between two imports.
            let imports = imports.iter().map(|number| {
                format!(
                    "try {{ console.log(Object.keys(await import('./m{number}.js')).length) }} catch (e) {{ console.log(e.name) }}\n\
                     for (let i = 0; i < 200; i++) garbage.push({{ i, s: 'x'.repeat(i) }});"
                )
            });
            let imports: Vec<String> = imports.collect();
            let code = format!("const garbage = [];\n{}", imports.join("\n"));
            let names = modules.into_iter().enumerate();
            let modules: serde_json::Map<String, Value> = names
                .map(|(number, text)| (format!("./m{number}.js"), Value::from(text)))
                .collect();
            if is_module {
                let code = format!("import './m{first}.js';\n{code}\nexport default 1");
                json!({ "code": code, "kind": "module", "modules": modules })
            } else {
                json!({ "code": code, "modules": modules })
            }
        },
    )
}

#[test]
fn any_graph_of_modules_ends_by_an_outcome_of_its_own() {
    let service = Service::start();
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..Config::default()
    });
    let checked = runner.run(&graph(), |request| {
        let execution = service.execute(&request);
        let outcome = execution["outcome"].as_str().unwrap_or_default();
        prop_assert!(["succeeded", "threw"].contains(&outcome), "{}", execution);
        if outcome == "threw" {
            // A wait for nothing has no place. Every other error names a text of the request.
            let error = &execution["error"];
            let has_place = error["fileName"].is_string() && error["lineNumber"].is_u64();
            prop_assert!(
                has_place || error["name"] == "UnsettledPromise",
                "{}",
                execution
            );
        }
        Ok(())
    });
    checked.unwrap();
    assert_eq!(service.result("1 + 2"), 3);
}

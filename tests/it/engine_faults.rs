//! Faults of QuickJS that only a change of its C code can fix. docs/engine.md describes each, with a text for the
//! authors.
//!
//! Each test expects today's wrong result. A test that fails here means that the bundled QuickJS is fixed. Then remove
//! the test and the section in docs/engine.md, and add the script with its right result to
//! `src/selftest/corpus/engine.table`.

use crate::support::Service;
use serde_json::json;

#[test]
fn an_async_generator_entered_again_rejects_with_a_value_of_the_engines_own() {
    const RIGHT: &str = r#"["string", true]"#;
    let code = "let generator, entered = false, reason = 'nothing yet';
        async function* counting() { try { yield 'a'; yield 'b'; await 0 } finally { yield 'c' } }
        Object.defineProperty(Object.prototype, 'then', {configurable: true, get() {
            if (!generator || entered) return;
            entered = true;
            generator.throw('thrown').then(() => { reason = 'fulfilled' }, (e) => { reason = [typeof e, e === e] });
        }});
        generator = counting();
        try { await generator.next() } catch {}
        try { await generator.next() } catch {}
        delete Object.prototype.then;
        reason";
    let service = Service::start();
    let seen = service.result(code);
    assert_eq!(
        seen,
        json!(["unknown", false]),
        "QuickJS answers otherwise than it did; {RIGHT} is right. See the head of this file for what to do"
    );
    // The fault is contained: the value can be returned and logged, and is null then.
    let shown = service.run(&code.replace("[typeof e, e === e]", "[e]; console.log(e)"));
    assert_eq!(shown["outcome"], "succeeded", "{shown}");
    assert_eq!(shown["result"], json!([null]), "{shown}");
    assert_eq!(shown["log"][0]["data"], json!([null]), "{shown}");
    assert_eq!(service.result("1 + 2"), 3);
}

//! The global object as a target of events: what a script can do about exceptions and rejections that nothing handles.

use crate::support::Service;
use crate::table::check;
use serde_json::{Value, json};

#[test]
fn a_listener_may_handle_the_exceptions_of_callbacks() {
    check(
        r#"const got = []; addEventListener('error', (e) => { e.preventDefault(); got.push(e.error) }); setTimeout(() => { throw 1 }); queueMicrotask(() => { throw 2 }); reportError(3); const t = new EventTarget(); t.addEventListener('x', () => { throw 4 }); t.dispatchEvent(new Event('x')); await new Promise((f) => setTimeout(f, 5)); got ==> [3,4,2,1] : array
        let got; onerror = (...all) => { got = all; return true }; setTimeout(() => { throw new RangeError('m') }); await new Promise((f) => setTimeout(f, 5)); [got[0], got[1], got[2], got[3] > 0, got[4] instanceof RangeError] ==> ["Uncaught RangeError: m","code",1,true,true] : array
        let got; addEventListener('error', (e) => { got = [e.message, e.filename, e.lineno, e instanceof ErrorEvent, e.target === globalThis, e.isTrusted]; e.preventDefault() }); reportError('text'); got ==> ["Uncaught text","code",1,true,true,true] : array
        let n = 0; self.onerror = () => { n++; return true }; const id = setInterval(() => { if (n === 3) clearInterval(id); throw n }, 1); await new Promise((f) => setTimeout(f, 20)); n ==> 4 : number
        addEventListener('error', {handleEvent(e) { e.preventDefault() }}); const f = () => f(); setTimeout(f); await new Promise((f) => setTimeout(f, 5)); 'went on' ==> "went on" : string"#,
    );
}

#[test]
fn a_listener_may_handle_rejections() {
    check(
        r#"let got; addEventListener('unhandledrejection', (e) => { e.preventDefault(); got = [e.reason, e.promise === p, e.type, e.cancelable, e instanceof PromiseRejectionEvent] }); const p = Promise.reject(7); await null; got ==> null : undefined
        let got; addEventListener('unhandledrejection', (e) => { e.preventDefault(); got = [e.reason, e.promise === p, e.type, e.cancelable, e instanceof PromiseRejectionEvent] }); const p = Promise.reject(7); await new Promise((f) => setTimeout(f)); got ==> [7,true,"unhandledrejection",true,true] : array
        const got = []; onunhandledrejection = (e) => { got.push(e.reason); return false }; onrejectionhandled = (e) => { got.push(['late', e.reason]) }; const p = Promise.reject(1); await new Promise((f) => setTimeout(f)); p.catch(() => 0); await new Promise((f) => setTimeout(f)); got ==> [1,["late",1]] : array
        const got = []; onunhandledrejection = (e) => { e.preventDefault(); got.push(e.reason); later.catch(() => 0) }; Promise.reject(1); const later = Promise.reject(2); await new Promise((f) => setTimeout(f)); got ==> [1] : array
        const got = []; onrejectionhandled = (e) => got.push(e.reason); const p = Promise.reject(1); p.catch(() => 0); await new Promise((f) => setTimeout(f)); got ==> [] : array"#,
    );
}

#[test]
fn what_no_listener_handles_ends_the_execution() {
    let service = Service::start();
    for (code, message) in [
        (
            "addEventListener('error', () => console.log('seen')); setTimeout(() => { throw new Error('m') })",
            "m",
        ),
        (
            "onerror = () => { console.log('seen') }; reportError(new Error('m')); 1",
            "m",
        ),
        (
            "addEventListener('unhandledrejection', () => console.log('seen')); Promise.reject(new Error('m')); 1",
            "m",
        ),
        (
            "addEventListener('error', () => { console.log('seen'); throw new Error('of the listener') }); reportError(1)",
            "of the listener",
        ),
        (
            "addEventListener('unhandledrejection', (e) => { console.log('seen'); e.preventDefault() }); Promise.reject(1); await new Promise((f) => setTimeout(f)); throw new Error('m')",
            "m",
        ),
    ] {
        let execution = service.run(code);
        assert_eq!(execution["outcome"], "threw", "{code}: {execution}");
        assert_eq!(
            execution["error"]["message"], message,
            "{code}: {execution}"
        );
        assert_eq!(
            execution["log"][0]["data"],
            json!(["seen"]),
            "{code}: {execution}"
        );
        assert_eq!(
            execution["log"].as_array().unwrap().len(),
            1,
            "{code}: {execution}"
        );
    }
}

#[test]
fn listeners_get_neither_the_scripts_own_failure_nor_the_end_of_a_limit() {
    let service = Service::start();
    let all = "addEventListener('error', (e) => { console.log('error'); e.preventDefault() });
        addEventListener('unhandledrejection', (e) => { console.log('rejection'); e.preventDefault() });";
    let limits = json!({"timeoutMs": 300, "memoryBytes": 8 << 20});
    for (code, outcome) in [
        ("throw new Error('m')", "threw"),
        ("await null; throw new Error('m')", "threw"),
        (
            "(async () => { await null; throw new Error('m') })()",
            "threw",
        ),
        ("setTimeout(() => { for (;;); })", "timed_out"),
        ("queueMicrotask(() => { for (;;); })", "timed_out"),
        ("Promise.resolve().then(() => { for (;;); })", "timed_out"),
        (
            "setTimeout(() => { for (let a = [];;) a.push({}) })",
            "memory_exceeded",
        ),
        (
            "addEventListener('error', () => { for (;;); }); reportError(1)",
            "timed_out",
        ),
    ] {
        let body = json!({"code": format!("{all} {code}"), "limits": limits});
        let execution = service.execute(&body);
        assert_eq!(execution["outcome"], outcome, "{code}: {execution}");
        let logged = execution["log"].as_array().map_or(0, Vec::len);
        let is_last = code.contains("reportError");
        assert_eq!(logged, usize::from(is_last), "{code}: {execution}");
    }
}

#[test]
fn the_global_object_and_performance_are_targets_of_events() {
    check(
        r#"let n = 0; addEventListener('x', function (e) { n += this === globalThis && e.target === self }); dispatchEvent(new Event('x')); self.dispatchEvent(new Event('x')); n ==> 2 : number
        let n = 0; const f = () => n++; addEventListener('x', f); removeEventListener('x', f); dispatchEvent(new Event('x')); n ==> 0 : number
        [globalThis instanceof EventTarget, performance instanceof EventTarget, performance instanceof Performance, Object.getPrototypeOf(Performance) === EventTarget] ==> [true,true,true,true] : array
        let n = 0; performance.addEventListener('x', (e) => { n += e.target === performance }); performance.dispatchEvent(new Event('x')); n ==> 1 : number
        typeof addEventListener + typeof performance.dispatchEvent + ('removeEventListener' in self) ==> "functionfunctiontrue" : string
        [Object.hasOwn(globalThis, 'addEventListener'), globalThis.constructor === Object, onerror, onrejectionhandled] ==> [false,true,null,null] : array
        onerror = 5; onerror ==> null : null
        const f = () => 1; onerror = f; onerror === f ==> true : boolean
        var addEventListener = 5; addEventListener ==> 5 : number
        function onerror() { return 6 } onerror() ==> 6 : number
        let dispatchEvent = 7; dispatchEvent ==> 7 : number
        addEventListener = 8; addEventListener ==> 8 : number
        try { new PromiseRejectionEvent('x', {}) } catch (e) { e.name } ==> "TypeError" : string
        const c = new AbortController(); addEventListener('x', () => { throw 1 }, {signal: c.signal}); c.abort(); dispatchEvent(new Event('x')) ==> true : boolean"#,
    );
}

#[test]
fn under_a_seed_listeners_get_the_same_in_each_execution() {
    let service = Service::start();
    let code = "const got = []; addEventListener('error', (e) => { e.preventDefault(); got.push(e.timeStamp, e.message) });
        addEventListener('unhandledrejection', (e) => { e.preventDefault(); got.push(e.timeStamp, e.reason) });
        setTimeout(() => { Promise.reject(Math.random()); throw Math.random() }, 1000);
        await new Promise((f) => setTimeout(f, 2000)); got";
    let run = |seed: u64| -> Value {
        service.execute(&json!({"code": code, "seed": seed}))["result"].clone()
    };
    let first = run(1);
    assert_eq!(first.as_array().map(Vec::len), Some(4), "{first}");
    assert_eq!(run(1), first);
    assert_ne!(run(2), first);
}

//! Scripts that mean harm: each ends in time, by an honest outcome, and the service goes on as if nothing had been.
//!
//! A table has one script a line: `code ==> outcome`, or several outcomes with `|` where the machine's speed decides.

use crate::support::Service;
use crate::table::check;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Short, because most of these scripts use all of it.
const TIMEOUT_MS: u64 = 150;
/// Long enough for the slowest machine to reach another limit first.
const PATIENT_TIMEOUT_MS: u64 = 5000;
/// The promise: an execution ends by its time limit and this, milliseconds. Past the limit and 250 it is killed.
const GRACE_MS: u64 = 500;
/// What the way there and back may take beside, on a machine that runs other tests as well.
const ROUND_TRIP_MS: u64 = 3000;

/// Runs every script of a table.
fn each(timeout_ms: u64, table: &str) {
    let service = Service::start();
    let rows = table.lines().filter(|line| !line.trim().is_empty());
    for row in rows {
        let (code, outcomes) = row.rsplit_once("==>").expect(row);
        ends(&service, timeout_ms, code.trim(), outcomes.trim());
    }
}

/// Runs one script and shows that the next one is served.
fn ends(service: &Service, timeout_ms: u64, code: &str, outcomes: &str) -> Value {
    let request = json!({"code": code, "limits": {"timeoutMs": timeout_ms}});
    let sent = Instant::now();
    let execution = service.execute(&request);
    let round_trip = sent.elapsed();
    let head: String = code.chars().take(200).collect();
    let outcome = execution["outcome"].as_str().unwrap();
    assert!(
        outcomes.split('|').any(|honest| honest.trim() == outcome),
        "{outcome}: {head}"
    );
    let wall = execution["usage"]["wallMs"].as_f64().unwrap();
    assert!(
        Duration::from_secs_f64(wall / 1000.0) <= Duration::from_millis(timeout_ms + GRACE_MS),
        "{wall}: {head}"
    );
    let most = Duration::from_millis(timeout_ms + GRACE_MS + ROUND_TRIP_MS);
    assert!(round_trip <= most, "{round_trip:?}: {head}");
    assert_eq!(service.result("1 + 2"), 3, "after {head}");
    execution
}

#[test]
fn loops_that_swallow_every_exception_end_at_the_time_limit() {
    each(
        TIMEOUT_MS,
        r#"
        while (true); ==> timed_out
        for (;;) { try { while (true); } catch {} } ==> timed_out
        for (;;) { try { while (true); } finally { continue } } ==> timed_out
        function* g() { for (;;) { try { while (true); yield 1 } finally { continue } } } for (const x of g()); ==> timed_out
        ({get a() { for (;;); }}).a ==> timed_out
        [3, 2, 1].sort(() => { for (;;); }) ==> timed_out
        /^(a+)+$/.test('a'.repeat(40) + 'b') ==> timed_out
        for (const x of {[Symbol.iterator]: () => ({next: () => ({done: false})})}); ==> timed_out
        with (new Proxy({}, {has: () => { for (;;); }})) { x } ==> timed_out
        class A { static { for (;;); } } ==> timed_out
        `${{toString() { for (;;); }}}` ==> timed_out
        for (;;) Atomics.pause() ==> timed_out
        "#,
    );
}

#[test]
fn queues_that_never_run_empty_end_at_the_time_limit() {
    each(
        TIMEOUT_MS,
        r#"
        (function f() { Promise.resolve().then(f) })() ==> timed_out
        (function f() { queueMicrotask(f) })() ==> timed_out
        (async function f() { for (;;) await 1 })() ==> timed_out
        const s = {[Symbol.asyncIterator]: () => ({next: () => Promise.resolve({done: false})})}; for await (const x of s); ==> timed_out
        async function* g() { for (;;) yield 1 } for await (const x of g()); ==> timed_out
        const t = {then(resolve) { resolve(t) }}; await t ==> timed_out
        const t = {then(resolve) { resolve(t) }}; Promise.resolve(t) ==> timed_out
        function f() { Promise.resolve().then(f); Promise.resolve().then(f) } f() ==> timed_out | memory_exceeded
        setInterval(() => {}, 0) ==> timed_out
        setInterval(() => {}, 1e9) ==> timed_out
        setTimeout(function f() { setTimeout(f) }) ==> timed_out
        setTimeout(function f() { setTimeout(f); setTimeout(f) }) ==> timed_out | memory_exceeded
        await new Promise((done) => setTimeout(done, 1e6)) ==> timed_out
        for (;;) Promise.reject(1) ==> timed_out | memory_exceeded
        const r = new FinalizationRegistry(() => { for (;;); }); for (;;) r.register({}, 1) ==> timed_out | memory_exceeded
        const r = new FinalizationRegistry(f); function f() { for (let i = 0; i < 99; i++) r.register({}, 1) } f(); setInterval(f) ==> timed_out | memory_exceeded
        "#,
    );
}

#[test]
fn builtins_that_never_ask_for_the_time_are_killed() {
    each(
        TIMEOUT_MS,
        r#"
        new Array(1e9) + '' ==> timed_out
        const a = []; a[4e9] = 1; a.sort() ==> timed_out
        'a'.repeat(8e6).indexOf('a'.repeat(4e6) + 'b') ==> timed_out
        Array.prototype.reverse.call({length: 2 ** 53 - 1}) ==> timed_out
        Array.prototype.copyWithin.call({length: 2 ** 53 - 1}, 0, 1) ==> timed_out
        Array.prototype.unshift.call({length: 2 ** 53 - 2}, 1) ==> timed_out
        Array.prototype.splice.call({length: 2 ** 53 - 2}, 0, 1) ==> timed_out
        Array.prototype.concat.call([], {length: 2 ** 53 - 1, [Symbol.isConcatSpreadable]: true}) ==> timed_out
        Array.prototype.indexOf.call({length: 2 ** 53 - 1}, 1) ==> timed_out
        String.raw({raw: {length: 2 ** 53 - 1}}) ==> timed_out | memory_exceeded
        const d = 'x'.repeat(1e6); for (;;) Date.parse(d) ==> timed_out
        let o = {a: 1}; for (let i = 0; i < 40; i++) o = {a: o, b: o}; JSON.stringify(o) ==> timed_out
        for (;;) (1n << 100000n).toString() ==> timed_out
        const t = new Float64Array(1e6).map(() => Math.random()); for (;;) t.slice().sort() ==> timed_out
        const t = new Uint8Array(2e7); for (;;) t.fill(1) ==> timed_out
        for (;;) 'x'.repeat(1e6).normalize('NFD') ==> timed_out
        "#,
    );
}

#[test]
fn a_parser_that_never_asks_for_the_time_is_killed() {
    let service = Service::start();
    let lets: Vec<String> = (0..70_000).map(|index| format!("let v{index}")).collect();
    ends(&service, TIMEOUT_MS, &lets.join(";"), "timed_out");
}

#[test]
fn memory_ends_at_its_limit_whatever_holds_it() {
    each(
        PATIENT_TIMEOUT_MS,
        r#"
        const a = []; for (;;) a.push('x'.repeat(1e5) + a.length) ==> memory_exceeded
        const a = []; for (;;) a.push([a.length]) ==> memory_exceeded
        const a = []; for (;;) a.push(new ArrayBuffer(1e6)) ==> memory_exceeded
        const a = []; for (;;) a.push(new Uint8Array(1e6).fill(1)) ==> memory_exceeded
        const o = {}; for (let i = 0; ; i++) o['k' + i] = i ==> memory_exceeded
        const m = new Map(); for (let i = 0; ; i++) m.set(i, {}) ==> memory_exceeded
        const a = []; for (;;) a.push(new RegExp('x'.repeat(1e4) + a.length)) ==> memory_exceeded
        const a = []; for (;;) a.push(Symbol('x'.repeat(1e4) + a.length)) ==> memory_exceeded
        const a = []; for (;;) a.push(1n << 100000n) ==> memory_exceeded
        const a = []; for (;;) a.push(new Function('return "' + 'x'.repeat(1e4) + a.length + '"')) ==> memory_exceeded
        const a = []; for (;;) a.push((function* () {})()) ==> memory_exceeded
        const a = []; for (;;) a.push(new Promise(() => {})) ==> memory_exceeded
        let f = () => 1; for (;;) f = f.bind() ==> memory_exceeded
        let d = []; for (;;) d = [d] ==> memory_exceeded
        new Array(2 ** 32 - 1).fill(0) ==> memory_exceeded
        Array.prototype.fill.call({length: 2 ** 53 - 1}, 1) ==> memory_exceeded
        eval('"' + 'x'.repeat(3e7) + '"') ==> memory_exceeded
        eval('1+'.repeat(5e6) + '1') ==> memory_exceeded
        /(a|b)*c/.test('ab'.repeat(1e7)) ==> memory_exceeded
        'x'.repeat(1e6).replace(/x/g, 'y'.repeat(40)) ==> memory_exceeded
        for (;;) 'x'.repeat(1e6).split('') ==> memory_exceeded
        for (;;) setTimeout(() => {}, 1e6) ==> memory_exceeded
        async function f() { await f() } setInterval(() => { for (let i = 0; i < 99; i++) new Promise(() => {}).then(f) }); for (;;) Promise.resolve().then(f) ==> memory_exceeded
        new ArrayBuffer(1e12) ==> threw
        'x'.repeat(2 ** 30) ==> threw
        let s = 'x'; for (;;) s += s ==> threw
        let b = 2n; for (;;) b *= b ==> threw
        2n ** (2n ** 40n) ==> threw
        "#,
    );
}

#[test]
fn recursion_of_every_kind_ends_at_the_stack_limit() {
    each(
        PATIENT_TIMEOUT_MS,
        r#"
        (function f() { f() })() ==> stack_exceeded
        const o = {toString() { return '' + o }}; '' + o ==> stack_exceeded
        const o = {get a() { return this.a }}; o.a ==> stack_exceeded
        const o = {toJSON() { return JSON.stringify(o) }}; JSON.stringify(o) ==> stack_exceeded
        class A { constructor() { new A() } } new A() ==> stack_exceeded
        const p = new Proxy({}, {get: (t, key, receiver) => receiver[key]}); p.x ==> stack_exceeded
        let p = {}; for (let i = 0; i < 1e5; i++) p = new Proxy(p, {}); p.x ==> stack_exceeded
        let d = []; for (let i = 0; i < 1e5; i++) d = [d]; JSON.stringify(d) ==> stack_exceeded
        let d = []; for (let i = 0; i < 1e5; i++) d = [d]; d.toString() ==> stack_exceeded
        let d = []; for (let i = 0; i < 1e5; i++) d = [d]; d.flat(Infinity) ==> stack_exceeded
        JSON.parse('['.repeat(1e6)) ==> stack_exceeded
        eval('['.repeat(1e6)) ==> stack_exceeded
        eval('({a:'.repeat(2e5) + '1' + '})'.repeat(2e5)) ==> stack_exceeded
        eval('-'.repeat(1e6) + '1') ==> stack_exceeded | threw
        eval('(' .repeat(1e5) + ')'.repeat(1e5)) ==> stack_exceeded
        new RegExp('(?:'.repeat(1e5) + ')'.repeat(1e5)) ==> stack_exceeded | threw
        [1].map(function f() { [1].map(f) }) ==> stack_exceeded
        'x'.replace('x', function f() { return 'x'.replace('x', f) }) ==> stack_exceeded
        Reflect.apply(function f() { Reflect.apply(f, null, []) }, null, []) ==> stack_exceeded
        function* g() { yield* g() } [...g()] ==> stack_exceeded | memory_exceeded
        "#,
    );
}

#[test]
fn floods_of_output_end_at_the_output_limit() {
    each(
        PATIENT_TIMEOUT_MS,
        r#"
        for (;;) console.log('x'.repeat(1000)) ==> output_exceeded
        for (;;) console.log() ==> output_exceeded
        for (let i = 0; ; i++) console.count('l' + i) ==> output_exceeded
        for (;;) console.group() ==> output_exceeded
        for (;;) console.trace() ==> output_exceeded
        console.log('x'.repeat(2e7)) ==> output_exceeded
        'x'.repeat(2e6) ==> output_exceeded
        Array(1e6) ==> output_exceeded
        new Array(2 ** 31) ==> output_exceeded
        new Array(2 ** 32 - 1) ==> output_exceeded
        console.log(new Array(2 ** 32 - 1)) ==> output_exceeded
        new Uint8Array(2e7) ==> output_exceeded
        new Set(Array(2e5).keys()) ==> output_exceeded
        let o = {a: 1}; for (let i = 0; i < 40; i++) o = {a: o, b: o}; o ==> output_exceeded
        let o = [1]; for (let i = 0; i < 40; i++) o = new Map([[o, o]]); o ==> output_exceeded
        new Proxy([], {get: (t, key) => key === 'length' ? 1e15 : key === 'toJSON' ? undefined : 1}) ==> output_exceeded
        ({toJSON() { return 'x'.repeat(2e6) }}) ==> output_exceeded
        throw new Error('x'.repeat(2e7)) ==> threw
        throw 'x'.repeat(2e7) ==> threw
        throw new Array(2 ** 32 - 1) ==> threw
        const e = new Error('m'); e.name = e.stack = 'n'.repeat(5e6); throw e ==> threw
        throw new Error('m', {cause: 'x'.repeat(2e7)}) ==> threw
        "#,
    );
}

#[test]
fn a_value_that_fights_being_read_is_read_within_the_limits() {
    each(
        TIMEOUT_MS,
        r#"
        ({get a() { for (;;); }}) ==> timed_out
        ({toJSON() { for (;;); }}) ==> timed_out
        new Proxy({}, {ownKeys() { for (;;); }}) ==> timed_out
        new Proxy({}, {get() { for (;;); }}) ==> timed_out
        Object.setPrototypeOf({}, new Proxy({}, {get() { for (;;); }, getPrototypeOf() { for (;;); }})) ==> timed_out
        console.log({get a() { for (;;); }}) ==> timed_out
        console.count({toString() { for (;;); }}) ==> timed_out
        console.log({get a() { try { for (;;); } catch {} }}); 1 ==> timed_out
        setTimeout(() => {}, {valueOf() { for (;;); }}) ==> timed_out
        const h = {ownKeys: () => ['a', 'b'], getOwnPropertyDescriptor: () => ({enumerable: true, configurable: true}), get: (t, key) => key === 'toJSON' ? undefined : new Proxy({}, h)}; new Proxy({}, h) ==> timed_out
        const e = new Error(); Object.defineProperty(e, 'message', {get() { for (;;); }}); throw e ==> timed_out | threw
        throw new Error('m', {cause: {get a() { for (;;); }}}) ==> timed_out | threw
        throw {toJSON() { for (;;); }} ==> timed_out | threw
        Error.prepareStackTrace = () => { for (;;); }; throw new Error('m') ==> timed_out | threw
        Error.prepareStackTrace = () => { for (;;); }; console.trace() ==> timed_out
        Object.prototype.toJSON = function () { for (;;); }; ({}) ==> timed_out
        Object.defineProperty(Object.prototype, 'then', {get() { for (;;); }}); await 1; ({}) ==> timed_out
        "#,
    );
    each(
        PATIENT_TIMEOUT_MS,
        r#"
        ({get a() { throw null }}) ==> threw
        ({get a() { return this.a }}) ==> stack_exceeded
        ({get a() { const a = []; for (;;) a.push(new Uint8Array(1e6)) }}) ==> memory_exceeded
        ({get a() { for (;;) console.log('x'.repeat(1e5)) }}) ==> output_exceeded
        "#,
    );
}

/// Setters and getters for the keys the host could stumble over, on the prototypes every object of the guest has.
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

#[test]
fn tampered_builtins_change_neither_the_result_nor_its_form() {
    check(
        r#"
        Array.prototype.push = Array.prototype.map = Array.prototype[Symbol.iterator] = () => { for (;;); }; [1, 2] ==> [1,2] : array
        Map.prototype.entries = Set.prototype.values = () => { for (;;); }; [new Map([[1, 2]]), new Set([3])] ==> [[[1,2]],[3]] : array
        Date.prototype.toISOString = RegExp.prototype.toString = () => { for (;;); }; [new Date(0), /x/] ==> ["1970-01-01T00:00:00.000Z","/x/"] : array
        Object.getPrototypeOf(new Map().entries()).next = () => { for (;;); }; new Map([[1, 2]]) ==> [[1,2]] : map
        Object.defineProperty(RegExp.prototype, 'source', {get() { for (;;); }}); /x/ ==> "/x/" : regexp
        Function.prototype.call = Function.prototype.apply = Function.prototype.toString = Function.prototype.bind = () => { for (;;); }; () => 1 ==> "[Function (anonymous)]" : function
        Reflect.construct = Reflect.apply = Object.keys = Object.create = () => { for (;;); }; ({a: new Uint8Array(1)}) ==> {"a":[0]} : object
        JSON.stringify = JSON.parse = () => { for (;;); }; ({a: 1}) ==> {"a":1} : object
        BigInt.prototype.toString = Symbol.prototype.toString = () => { for (;;); }; [1n, Symbol('s')] ==> ["1","Symbol(s)"] : array
        Promise.prototype.then = () => { for (;;); }; Promise.resolve(1) ==> 1 : number
        Promise.prototype.then = () => { for (;;); }; await 1; 2 ==> 2 : number
        Promise = Object = Array = Error = undefined; await 1; ({a: [1]}) ==> {"a":[1]} : object
        Object.defineProperty(Array, Symbol.species, {get() { for (;;); }}); [1, 2] ==> [1,2] : array
        Object.defineProperty(Promise, Symbol.species, {get() { for (;;); }}); Promise.resolve(4) ==> 4 : number
        Object.prototype.toJSON = () => 7; ({a: 1}) ==> 7 : object
        Object.prototype.toJSON = () => 7; 1 ==> 1 : number
        console.log = () => { for (;;); }; 3 ==> 3 : number
        Object.setPrototypeOf(Object.prototype.__lookupGetter__, null); Object.setPrototypeOf(globalThis, null); [1] ==> [1] : array
        Object.freeze(globalThis); Object.freeze(Object.prototype); Object.freeze(Array.prototype); new Map([[1, [2]]]) ==> [[1,[2]]] : map
        Object.setPrototypeOf(Map.prototype, new Proxy({}, {get() { return undefined }})); new Map([[1, 2]]) ==> [[1,2]] : map
        "#,
    );
}

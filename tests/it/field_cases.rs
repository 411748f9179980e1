//! Scripts of the field that gave a wrong or a useless answer once, each a promise now. Those that only a change of the
//! engine could mend are in `engine_faults`.

use crate::support::Service;
use crate::table::check;
use serde_json::json;

#[test]
fn dates_that_do_not_exist_are_invalid_in_every_spelling() {
    check(
        "['0000-00-00', '0000-00-00 00:00:00', '2013-03-00', '2024-00-01'].map((s) => Number.isNaN(Date.parse(s))) ==> [true,true,true,true] : array
        ['2024-12-45', '00/10/2024', '32/01/2024', 'Jan 32 2024', '2024-1-0', '2013-00'].map((s) => String(new Date(s))) ==> [\"Invalid Date\",\"Invalid Date\",\"Invalid Date\",\"Invalid Date\",\"Invalid Date\",\"Invalid Date\"] : array
        new Date('2024-02-29') ==> \"2024-02-29T00:00:00.000Z\" : date
        new Date('Dec 25, 2024 10:00') ==> \"2024-12-25T10:00:00.000Z\" : date
        new Date('25 Dec 1999') ==> \"1999-12-25T00:00:00.000Z\" : date
        Date.parse('x'.repeat(1000)) ==> \"NaN\" : number",
    );
}

#[test]
fn an_offset_behind_a_time_is_an_offset_however_it_is_written() {
    check(
        "new Date('2024-01-31 10:00:00-05:00') ==> \"2024-01-31T15:00:00.000Z\" : date
        new Date('2024-01-31 10:00:00.250-0500') ==> \"2024-01-31T15:00:00.250Z\" : date
        new Date('2024-01-31 10:00+05:30') ==> \"2024-01-31T04:30:00.000Z\" : date
        new Date(Date.parse('2024-01-31 10:00Z')) ==> \"2024-01-31T10:00:00.000Z\" : date
        new Date('1/31/2024 10:00PM') ==> \"2024-01-31T22:00:00.000Z\" : date",
    );
}

#[test]
fn the_mended_date_is_the_date_of_the_language() {
    check(
        "[Date.name, Date.length, Date.parse.length, Date.parse.name, typeof Date()] ==> [\"Date\",7,1,\"parse\",\"string\"] : array
        String(Date).includes('[native code]') && String(Date.parse).includes('[native code]') ==> true : boolean
        new Date().constructor === Date && new Date() instanceof Date && Date.prototype.constructor === Date ==> true : boolean
        Reflect.ownKeys(Date).sort() ==> [\"UTC\",\"length\",\"name\",\"now\",\"parse\",\"prototype\"] : array
        const d = Object.getOwnPropertyDescriptor(Date, 'prototype'); [d.writable, d.enumerable, d.configurable] ==> [false,false,false] : array
        class Day extends Date { week() { return 1 } }; const d = new Day('2024-01-31'); [d instanceof Day, d.week(), d.getTime()] ==> [true,1,1706659200000] : array
        new Date(2024, 0, 31, 1, 2, 3, 4) ==> \"2024-01-31T01:02:03.004Z\" : date
        new Date(new Date(5)).getTime() ==> 5 : number
        Number.isNaN(new Date(undefined).getTime()) && Number.isNaN(new Date(NaN).getTime()) ==> true : boolean
        Object.prototype.toString.call(Reflect.construct(Date, [0], Array)) ==> \"[object Date]\" : string
        Reflect.construct(Date, [0], Array) instanceof Array ==> true : boolean
        try { Date.parse(Symbol()) } catch (e) { e.name } ==> \"TypeError\" : string
        new Date({ [Symbol.toPrimitive]: () => 7 }).getTime() ==> 7 : number
        [new Date(new String('2013-03-00')), new Date({ toString: () => '2024-01-31', valueOf: null }), new Date([2024])] ==> [\"Invalid Date\",\"2024-01-31T00:00:00.000Z\",\"2024-01-01T00:00:00.000Z\"] : array
        try { new Date({ toString: null, valueOf: null }) } catch (e) { e.name } ==> \"TypeError\" : string
        try { new Date({ valueOf() { throw new Error('stack') } }) } catch (e) { e.stack.includes('sandpiper') } ==> false : boolean",
    );
}

#[test]
fn roots_and_lengths_are_exact_where_they_can_be() {
    check(
        "[27, 216, 729, 1728].map(Math.cbrt) ==> [3,6,9,12] : array
        [-8, 0, -0, 1e-300, Infinity, NaN, 1e300].map(Math.cbrt) ==> [-2,0,-0,1e-100,\"Infinity\",\"NaN\",1e100] : array
        [Math.hypot(3, 4), Math.hypot(2, 3, 6), Math.hypot(), Math.hypot(-7), Math.hypot(1e200, 1e200) > 1e200] ==> [5,7,0,7,true] : array
        [Math.hypot(NaN, Infinity), Math.hypot(1, NaN), Math.hypot('3', [4])] ==> [\"Infinity\",\"NaN\",5] : array
        [Math.cbrt.name, Math.cbrt.length, Math.hypot.name, Math.hypot.length, Math.cbrt()] ==> [\"cbrt\",1,\"hypot\",2,\"NaN\"] : array
        String(Math.cbrt).includes('[native code]') && String(Math.hypot).includes('[native code]') ==> true : boolean
        try { Math.hypot(1, 2n) } catch (e) { e.name } ==> \"TypeError\" : string",
    );
}

#[test]
fn a_locale_or_an_option_that_is_not_honoured_throws() {
    let service = Service::start();
    for code in [
        "new Date(0).toLocaleString('en-US', { timeZone: 'America/New_York' })",
        "new Date(0).toLocaleDateString('en', { weekday: 'long' })",
        "new Date(0).toLocaleTimeString(undefined, { hour: '2-digit' })",
        "new Date(0).toLocaleString(['de-DE'])",
        "(1234.5).toLocaleString('en-US', { style: 'currency', currency: 'USD' })",
        "(1234.5).toLocaleString('de-DE')",
        "(1234.5).toLocaleString(undefined, { minimumFractionDigits: 2 })",
        "10n.toLocaleString('en')",
        "[1234.5].toLocaleString('de-DE')",
        "new Float64Array([1234.5]).toLocaleString('de-DE')",
        "'a'.localeCompare('b', 'de')",
        "['item10', 'item9'].sort((x, y) => x.localeCompare(y, undefined, { numeric: true }))",
        "'i'.toLocaleUpperCase('tr')",
        "'I'.toLocaleLowerCase(['lt-LT'])",
        "'a'.toLocaleUpperCase('not a locale')",
    ] {
        let execution = service.run(code);
        assert_eq!(
            execution["error"]["name"], "RangeError",
            "{code}: {execution}"
        );
    }
    let message = &service.run("(1).toLocaleString('de-DE')")["error"]["message"];
    let message = message.as_str().unwrap();
    assert!(
        message.contains("\"de-DE\"") && message.contains("Intl"),
        "{message}"
    );
    for code in [
        "(1).toLocaleString(null)",
        "(1).toLocaleString(undefined, null)",
    ] {
        assert_eq!(service.run(code)["error"]["name"], "TypeError", "{code}");
    }
}

#[test]
fn what_is_right_without_a_locale_works_without_one() {
    check(
        "(1234.5).toLocaleString() ==> \"1234.5\" : string
        new Date(0).toLocaleDateString() ==> \"01/01/1970\" : string
        new Date(0).toLocaleTimeString(undefined, { timeZone: 'UTC' }) === new Date(0).toLocaleTimeString([], {}) ==> true : boolean
        ['b', 'a'].sort((x, y) => x.localeCompare(y)) ==> [\"a\",\"b\"] : array
        'a'.localeCompare('a', undefined, {}) ==> 0 : number
        ['ß'.toLocaleUpperCase('de-DE'), 'É'.toLocaleLowerCase('fr'), 'x'.toLocaleUpperCase()] ==> [\"SS\",\"é\",\"X\"] : array
        [1, [2, 3]].toLocaleString() ==> \"1,2,3\" : string
        [Number.prototype.toLocaleString.length, ''.localeCompare.length, ''.localeCompare.name] ==> [0,1,\"localeCompare\"] : array
        try { ''.localeCompare.call(null) } catch (e) { e.name } ==> \"TypeError\" : string",
    );
}

#[test]
fn a_thrown_error_brings_its_properties() {
    let service = Service::start();
    let code = "class ApiError extends Error { constructor(m, status) { super(m); this.status = status; } }\nthrow new ApiError('bad gateway', 502);";
    let error = &service.run(code)["error"];
    assert_eq!(error["name"], "Error");
    assert_eq!(error["message"], "bad gateway");
    assert_eq!(error["properties"], json!({"status": 502}));
}

#[test]
fn what_the_engine_bounds_fails_with_the_number() {
    let service = Service::start();
    let code =
        "const page = new Array(100000).fill(0); const all = []; all.push(...page); all.length";
    let error = &service.run(code)["error"];
    assert_eq!(error["name"], "RangeError");
    assert!(
        error["message"].as_str().unwrap().contains("65535"),
        "{error}"
    );
    let code = "const a = ['(?<a>X)']; for (let i = 0; i < 255; i++) a.push('z'); a.push('(?<a>Y)');\nnew RegExp(a.join('|')).exec('Y').groups.a";
    assert_eq!(
        service.run(code)["error"]["message"],
        "too many named groups"
    );
}

#[test]
fn a_shared_buffer_grows_within_the_memory_limit() {
    check(
        "const b = new SharedArrayBuffer(1, { maxByteLength: 8 }); const v = new Uint8Array(b); b.grow(4); v[3] = 7; [b.growable, b.byteLength, b.maxByteLength, v] ==> [true,4,8,[0,0,0,7]] : array
        const b = new SharedArrayBuffer(2, { maxByteLength: 4 }); try { b.grow(5) } catch (e) { e.name } ==> \"RangeError\" : string
        let last; for (let i = 0; i < 500; i++) last = new SharedArrayBuffer(1, { maxByteLength: 1e6 }); last.maxByteLength ==> 1000000 : number
        try { new SharedArrayBuffer(1, { maxByteLength: 1e9 }) } catch (e) { e.message } ==> \"out of memory\" : string",
    );
    let service = Service::start();
    let code =
        "const all = []; for (;;) all.push(new SharedArrayBuffer(1, { maxByteLength: 100_000 }))";
    assert_eq!(service.run(code)["outcome"], "memory_exceeded");
}

#[test]
fn atomics_do_not_write_to_an_immutable_buffer() {
    check(
        "const v = new Int32Array(new ArrayBuffer(8).transferToImmutable()); ['add', 'and', 'compareExchange', 'exchange', 'or', 'store', 'sub', 'xor'].map((f) => { try { Atomics[f](v, 0, 1, 1) } catch (e) { return e.name } }) ==> [\"TypeError\",\"TypeError\",\"TypeError\",\"TypeError\",\"TypeError\",\"TypeError\",\"TypeError\",\"TypeError\"] : array
        const v = new Int32Array(new ArrayBuffer(8).transferToImmutable()); Atomics.load(v, 0) ==> 0 : number
        const v = new Int32Array(2); [Atomics.add(v, 0, 5), Atomics.exchange(v, 1, 2), Atomics.load(v, 0), v] ==> [0,0,5,[5,2]] : array
        const s = new BigInt64Array(new SharedArrayBuffer(8)); [Atomics.store(s, 0, 3n), Atomics.sub(s, 0, 1n), s] ==> [\"3\",\"3\",[\"2\"]] : array
        [Atomics.add.name, Atomics.add.length, Atomics.compareExchange.length, Reflect.ownKeys(Atomics).length] ==> [\"add\",3,4,14] : array
        try { Atomics.add(1, 0, 0) } catch (e) { e.name } ==> \"TypeError\" : string",
    );
}

#[test]
fn atomics_that_wait_look_at_the_length_before_the_conversion_of_the_index() {
    check(
        "const b = new ArrayBuffer(4, { maxByteLength: 4 }), v = new Int32Array(b); [Atomics.notify(v, { valueOf() { b.resize(0); return 0 } }), b.byteLength] ==> [0,0] : array
        const b = new ArrayBuffer(4), v = new Int32Array(b); [Atomics.notify(v, { valueOf() { b.transfer(); return 0 } }), b.detached] ==> [0,true] : array
        const b = new ArrayBuffer(0, { maxByteLength: 4 }), v = new Int32Array(b); try { Atomics.notify(v, { valueOf() { b.resize(4); return 0 } }, { valueOf() { throw 1 } }) } catch (e) { [e.name, b.byteLength] } ==> [\"RangeError\",4] : array
        const b = new SharedArrayBuffer(0, { maxByteLength: 4 }), v = new Int32Array(b); try { Atomics.wait(v, { valueOf() { b.grow(4); return 0 } }, { valueOf() { throw 1 } }) } catch (e) { [e.name, b.byteLength] } ==> [\"RangeError\",4] : array
        const v = new Int32Array(new SharedArrayBuffer(8)); [Atomics.notify(v, 1), Atomics.notify(v, 0, 1), Atomics.notify(v, -0, Infinity), Atomics.notify(new BigInt64Array(1), 0)] ==> [0,0,0,0] : array
        const v = new Int32Array(2), errors = []; for (const [index, count] of [[2], [-1], [1n], [0, 1n], [0, Symbol()]]) try { Atomics.notify(v, index, count) } catch (e) { errors.push(e.name) } errors ==> [\"RangeError\",\"RangeError\",\"TypeError\",\"TypeError\",\"TypeError\"] : array
        const b = new ArrayBuffer(4), v = new Int32Array(b), log = []; b.transfer(); for (const array of [v, new Uint32Array(1), [], 1]) try { Atomics.notify(array, { valueOf() { log.push(1); return 0 } }) } catch (e) { log.push(e.name) } log ==> [\"TypeError\",\"TypeError\",\"TypeError\",\"TypeError\"] : array
        const log = []; try { Atomics.wait(new Int32Array(4), { valueOf() { log.push(1); return 0 } }, 0) } catch (e) { log.push(e.name) } log ==> [\"TypeError\"] : array
        const log = []; const part = (n, v) => ({ valueOf() { log.push(n); return v } }); try { Atomics.wait(new Int32Array(new SharedArrayBuffer(8)), part('index', 1), part('value', 5), part('timeout', 1)) } catch (e) { log.push(e.message) } log ==> [\"index\",\"value\",\"timeout\",\"cannot block in this thread\"] : array
        [Atomics.notify.name, Atomics.notify.length, Atomics.wait.name, Atomics.wait.length, String(Atomics.wait).includes('[native code]')] ==> [\"notify\",3,\"wait\",4,true] : array",
    );
}

#[test]
fn a_synchronous_iterator_is_closed_when_a_promise_that_it_yields_is_rejected() {
    check(
        "const log = []; function* numbers() { try { yield 1; yield Promise.reject('no') } finally { log.push('closed') } } async function* all() { yield* numbers() } try { for await (const n of all()) log.push(n) } catch (e) { log.push(e) } log ==> [1,\"closed\",\"no\"] : array
        const log = []; function* numbers() { try { yield 1; yield Promise.reject('no') } finally { log.push('closed') } } try { for await (const n of numbers()) log.push(n) } catch (e) { log.push(e) } log ==> [1,\"closed\",\"no\"] : array
        let closed = 0; const steps = { [Symbol.iterator]: () => ({ next() { throw 'no' }, return() { closed++; return {} } }) }; try { for await (const n of steps); } catch (e) { [e, closed] } ==> [\"no\",0] : array
        let closed = 0; const steps = { [Symbol.iterator]: () => ({ next: () => ({ value: Promise.reject('no'), done: true }), return() { closed++; return {} } }) }; try { for await (const n of steps); } catch (e) { [e, closed] } ==> [\"no\",0] : array
        let closed = 0; const steps = { [Symbol.iterator]: () => ({ next: () => ({ value: Promise.reject('no'), done: false }), get return() { closed++; throw 'also' } }) }; try { for await (const n of steps); } catch (e) { [e, closed] } ==> [\"no\",1] : array
        let closed = 0; const page = Promise.resolve(1); Object.defineProperty(page, 'constructor', { get() { throw 'no' } }); const steps = { [Symbol.iterator]: () => ({ next: () => ({ value: page, done: false }), return() { closed++; return {} } }) }; try { for await (const n of steps); } catch (e) { [e, closed] } ==> [\"no\",1] : array
        let closed = 0; const page = Promise.resolve(1); Object.defineProperty(page, 'constructor', { get() { throw 'no' } }); async function* all() { yield* { [Symbol.iterator]: () => ({ next: () => ({ value: 1, done: false }), throw: () => ({ value: page, done: false }), return() { closed++; return {} } }) } } const g = all(); await g.next(); try { await g.throw('other') } catch (e) { [e, closed] } ==> [\"no\",1] : array
        let reads = 0; const page = Promise.resolve(1); Object.defineProperty(page, 'constructor', { get() { reads++; return Promise } }); for await (const n of [page]); reads ==> 1 : number
        Promise.prototype.then = Promise.resolve = Reflect.apply = null; const seen = []; for await (const n of [1, 2]) seen.push(n); seen ==> [1,2] : array
        const out = []; for await (const x of [1, Promise.resolve(2), Promise.resolve().then(() => 3)]) out.push(x); out ==> [1,2,3] : array
        const log = []; function* two() { try { yield 1; yield 2 } finally { log.push('closed') } } for await (const n of two()) { log.push(n); break } log ==> [1,\"closed\"] : array
        async function* all() { const got = yield* { [Symbol.iterator]: () => ({ next: (v) => ({ value: v, done: v === 3 }) }) }; yield ['got', got] } const g = all(); const seen = [(await g.next(1)).value, (await g.next(2)).value, (await g.next(3)).value, (await g.next()).done]; seen ==> [null,2,[\"got\",3],true] : array
        async function* all() { yield* [1, 2] } const g = all(); await g.next(); [await g.return(Promise.resolve(7)), await g.next()] ==> [{\"value\":7,\"done\":true},{\"value\":null,\"done\":true}] : array
        let closed = 0; async function* all() { yield* { [Symbol.iterator]: () => ({ next: () => ({ value: 1, done: false }), return() { closed++; return {} } }) } } const g = all(); await g.next(); try { await g.throw('no') } catch (e) { [e.name, closed] } ==> [\"TypeError\",1] : array
        try { for await (const x of { [Symbol.iterator]: () => ({ next: () => 1 }) }); } catch (e) { e.name } ==> \"TypeError\" : string
        const order = []; const p = (async () => { for await (const x of [1, 2]) order.push(x) })(); let chain = Promise.resolve(); for (let i = 0; i < 6; i++) chain = chain.then(() => order.push('t' + i)); await p; await chain; order ==> [\"t0\",1,\"t1\",\"t2\",2,\"t3\",\"t4\",\"t5\"] : array",
    );
}

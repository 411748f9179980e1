//! Timers, `console`, `performance` and `DOMException` as their standards have them.

use crate::support::Service;
use crate::table::check;
use serde_json::json;

#[test]
fn a_delay_wraps_around_at_32_bits() {
    check(
        "const o = []; for (const d of [2 ** 32, Infinity, 2 ** 31, -Infinity, 2 ** 32 + 1, NaN]) setTimeout(() => o.push(d), d); o ==> [4294967296,\"Infinity\",2147483648,\"-Infinity\",\"NaN\",4294967297] : array
        const o = []; const t = setTimeout(() => o.push('no')); clearTimeout(String(t)); const u = setTimeout(() => o.push('no')); clearInterval({ valueOf: () => u + 2 ** 32 }); clearTimeout(); clearTimeout(null); clearTimeout({}); o ==> [] : array
        try { clearTimeout(Symbol()) } catch (e) { e.name } ==> \"TypeError\" : string",
    );
}

#[test]
fn a_timer_calls_its_function_with_the_global_object() {
    check(
        "'use strict'; let seen; setTimeout(function () { seen = this === globalThis }); new Promise((done) => setTimeout(() => done(seen), 1)) ==> true : boolean
        [setTimeout, setInterval, clearTimeout, clearInterval, queueMicrotask].map((f) => f.length) ==> [1,1,0,0,1] : array
        ['setTimeout', 'setInterval', 'clearTimeout', 'clearInterval', 'queueMicrotask', 'atob', 'btoa'].every((n) => globalThis.propertyIsEnumerable(n)) ==> true : boolean
        String(setTimeout).includes('[native code]') ==> true : boolean",
    );
}

#[test]
fn console_is_a_namespace_of_the_standard() {
    check(
        "String(console) ==> \"[object console]\" : string
        const p = Object.getPrototypeOf(console); [Reflect.ownKeys(p), Object.getPrototypeOf(p) === Object.prototype] ==> [[],true] : array
        globalThis.propertyIsEnumerable('console') ==> false : boolean
        JSON.stringify(Object.getOwnPropertyDescriptor(console, Symbol.toStringTag)) ==> \"{\\\"value\\\":\\\"console\\\",\\\"writable\\\":false,\\\"enumerable\\\":false,\\\"configurable\\\":true}\" : string
        ['assert', 'clear', 'count', 'countReset', 'debug', 'dir', 'dirxml', 'error', 'group', 'groupCollapsed', 'groupEnd', 'info', 'log', 'table', 'time', 'timeEnd', 'timeLog', 'trace', 'warn'].filter((n) => typeof console[n] !== 'function' || console[n].length !== 0) ==> [] : array",
    );
}

#[test]
fn a_format_string_takes_the_arguments_that_it_names() {
    let service = Service::start();
    for (call, data) in [
        (
            "log('%s is %d and %o', 1, 2, {a: 3})",
            json!(["1 is 2 and {\"a\":3}"]),
        ),
        (
            "info('%i %f %d', '3.9x', '3.9x', 'x')",
            json!(["3 3.9 NaN"]),
        ),
        (
            "warn('%s %d', Symbol('s'), Symbol('s'))",
            json!(["Symbol(s) NaN"]),
        ),
        ("error('%c%s%c!', 'color: red', 'a', '')", json!(["a!"])),
        ("log('100%', 5, '%s')", json!(["100%", 5, "%s"])),
        ("log('%s')", json!(["%s"])),
        ("log('%s %s', 1)", json!(["1 %s"])),
        ("log('%% %x %s', 1, 2)", json!(["% %x 1", 2])),
        ("log('a', '%s', 1)", json!(["a", "%s", 1])),
        ("log({}, '%s')", json!([{}, "%s"])),
        (
            "debug('%s', {toString() { throw new Error('no') }})",
            json!(["[Thrown: no]"]),
        ),
        ("dirxml('%s', 'x')", json!(["x"])),
        ("assert(false, '%s!', 'bad')", json!(["bad!"])),
        ("group('%s', 'g')", json!(["g"])),
        ("table('%s', 1)", json!(["%s", 1])),
    ] {
        let execution = service.run(&format!("console.{call}"));
        assert_eq!(execution["log"][0]["data"], data, "{call}: {execution}");
    }
    let code = "console.log('%s', 'x'.repeat(2e6)); console.log('%s', 'y'); 1";
    let execution = service.execute(&json!({ "code": code, "limits": {"outputBytes": 1000} }));
    assert_eq!(
        execution["log"],
        json!([{"type": "log", "timestamp": execution["log"][0]["timestamp"], "data": ["y"]}])
    );
    assert_eq!(execution["logDropped"], 1);
}

#[test]
fn clear_closes_all_groups() {
    let service = Service::start();
    let execution =
        service.run("console.group(); console.group(); console.clear(); console.log(1)");
    assert_eq!(execution["log"][2].get("depth"), None, "{execution}");
}

#[test]
fn performance_is_of_its_class() {
    check(
        "performance instanceof Performance && String(performance) === '[object Performance]' ==> true : boolean
        Object.keys(performance.toJSON()) ==> [\"timeOrigin\"] : array
        try { new Performance() } catch (e) { [e.name, e.message] } ==> [\"TypeError\",\"Illegal constructor\"] : array
        [Reflect.ownKeys(performance), Object.keys(Performance.prototype)] ==> [[],[\"now\",\"timeOrigin\",\"toJSON\"]] : array
        const { now } = performance; typeof now() ==> \"number\" : string
        globalThis.propertyIsEnumerable('performance') && !globalThis.propertyIsEnumerable('Performance') ==> true : boolean",
    );
}

#[test]
fn a_dom_exception_is_an_error() {
    check(
        "[Error.isError(new DOMException()), Error.isError(new TypeError()), Error.isError({}), Error.isError()] ==> [true,true,false,false] : array
        try { atob('*') } catch (e) { Error.isError(e) } ==> true : boolean
        [Error.isError.name, Error.isError.length] ==> [\"isError\",1] : array
        Error.isError(Object.create(DOMException.prototype)) ==> false : boolean",
    );
}

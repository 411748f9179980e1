//! The JSON form and the `resultType` of every kind of value. docs/values.md has the same table in words.

use crate::support::Service;
use crate::table::{Shown, check};
use serde_json::{Value, json};

#[test]
fn what_json_can_say_is_itself() {
    check(
        r##"
        null ==> null : null
        0 ==> 0 : number
        false ==> false : boolean
        true ==> true : boolean
        '' ==> "" : string
        'a "quoted" \\ line\n' ==> "a \"quoted\" \\ line\n" : string
        -1.5 ==> -1.5 : number
        0.1 + 0.2 ==> 0.30000000000000004 : number
        2 ** 53 ==> 9007199254740992 : number
        1e20 ==> 100000000000000000000 : number
        1e21 ==> 1e21 : number
        1e-6 ==> 0.000001 : number
        1e-7 ==> 1e-7 : number
        5e-324 ==> 5e-324 : number
        Number.MAX_VALUE ==> 1.7976931348623157e308 : number
        [] ==> [] : array
        ({}) ==> {} : object
        [1,'a',null,[true]] ==> [1,"a",null,[true]] : array
        ({a:{b:[{}]}}) ==> {"a":{"b":[{}]}} : object
        "##,
    );
}

#[test]
fn values_without_a_json_form_have_a_form_of_their_own() {
    check(
        r##"
        undefined ==> null : undefined
         ==> null : undefined
        var a = 1 ==> null : undefined
        [undefined] ==> [null] : array
        ({a: undefined}) ==> {"a":null} : object
        NaN ==> "NaN" : number
        Infinity ==> "Infinity" : number
        -Infinity ==> "-Infinity" : number
        -0 ==> -0 : number
        [NaN, Infinity, -Infinity, -0, 0] ==> ["NaN","Infinity","-Infinity",-0,0] : array
        10n ==> "10" : bigint
        -(2n ** 70n) ==> "-1180591620717411303424" : bigint
        [0n] ==> ["0"] : array
        Symbol('s') ==> "Symbol(s)" : symbol
        Symbol() ==> "Symbol()" : symbol
        Symbol.iterator ==> "Symbol(Symbol.iterator)" : symbol
        ({[Symbol('k')]: 1, a: Symbol('v')}) ==> {"a":"Symbol(v)"} : object
        "##,
    );
}

#[test]
fn functions_and_classes_are_named() {
    check(
        r##"
        (function named() {}) ==> "[Function: named]" : function
        () => 1 ==> "[Function (anonymous)]" : function
        const arrow = () => 1; arrow ==> "[Function: arrow]" : function
        (async function a() {}) ==> "[Function: a]" : function
        (function* g() {}) ==> "[Function: g]" : function
        ({ m() {} }).m ==> "[Function: m]" : function
        Math.max ==> "[Function: max]" : function
        (class K {}) ==> "[class K]" : function
        (class {}) ==> "[class (anonymous)]" : function
        Object.assign(() => 1, {a: 1}) ==> "[Function (anonymous)]" : function
        new Proxy(function f() {}, {}) ==> "[Function (anonymous)]" : function
        function f() {}; Object.defineProperty(f, 'name', {get() { for (;;); }}); f ==> "[Function (anonymous)]" : function
        "##,
    );
}

#[test]
fn dates_regular_expressions_and_collections_keep_what_they_hold() {
    check(
        r##"
        new Date(0) ==> "1970-01-01T00:00:00.000Z" : date
        new Date(-1) ==> "1969-12-31T23:59:59.999Z" : date
        new Date(8.64e15) ==> "+275760-09-13T00:00:00.000Z" : date
        new Date(NaN) ==> "Invalid Date" : date
        [new Date(0)] ==> ["1970-01-01T00:00:00.000Z"] : array
        /a\/b/gimsuy ==> "/a\\/b/gimsuy" : regexp
        new RegExp('') ==> "/(?:)/" : regexp
        [/x/d, /x/v] ==> ["/x/d","/x/v"] : array
        new Map([[1, {a: 2}], ['k', [3]]]) ==> [[1,{"a":2}],["k",[3]]] : map
        new Map() ==> [] : map
        const m = new Map(); m.set('me', m); m ==> [["me","[Circular]"]] : map
        new Set([1, 'b', [2], new Set()]) ==> [1,"b",[2],[]] : set
        new (class Mine extends Map { extra = 1 })([[1, 2]]) ==> [[1,2]] : map
        Object.create(Map.prototype) ==> {} : object
        Object.setPrototypeOf({a: 1}, Date.prototype) ==> {"a":1} : object
        new WeakMap() ==> "[WeakMap]" : object
        new WeakSet() ==> "[WeakSet]" : object
        new WeakRef({}) ==> "[WeakRef]" : object
        new FinalizationRegistry(() => {}) ==> {} : object
        [1, 2][Symbol.iterator]() ==> {} : object
        (function* g() { yield 1 })() ==> {} : object
        "##,
    );
}

#[test]
fn a_long_collection_is_whole_and_in_order() {
    let service = Service::start();
    let numbers: Vec<u32> = (0..1000).collect();
    let pairs: Vec<[u32; 2]> = numbers.iter().map(|number| [*number, number * 2]).collect();
    assert_eq!(
        service.result("new Set(Array(1000).keys())"),
        json!(numbers)
    );
    let code = "new Map(Array.from(Array(1000).keys(), (key) => [key, key * 2]))";
    assert_eq!(service.result(code), json!(pairs));
}

#[test]
fn bytes_are_arrays_of_numbers() {
    check(
        r##"
        new Uint8Array([1, 2]) ==> [1,2] : typed_array
        new Uint8ClampedArray([300]) ==> [255] : typed_array
        new Float64Array([NaN, -0, 1.5, Infinity]) ==> ["NaN",-0,1.5,"Infinity"] : typed_array
        new Float16Array([1.5]) ==> [1.5] : typed_array
        new BigInt64Array([1n, -2n]) ==> ["1","-2"] : typed_array
        new ArrayBuffer(3) ==> [0,0,0] : array_buffer
        new SharedArrayBuffer(2) ==> [0,0] : array_buffer
        new DataView(new Uint8Array([1, 2, 3, 4]).buffer, 1, 2) ==> [2,3] : array_buffer
        const b = new ArrayBuffer(4); b.transfer(); b ==> [] : array_buffer
        const b = new ArrayBuffer(4), v = new DataView(b); b.transfer(); v ==> [] : array_buffer
        const b = new ArrayBuffer(4), u = new Uint8Array(b); b.transfer(); u ==> [] : typed_array
        "##,
    );
}

#[test]
fn errors_keep_name_message_stack_their_own_properties_and_cause() {
    check(
        r##"
        new Error('m') ==> {"name":"Error","message":"m","stack":"    at <eval> (code:1:5)"} : error
        new TypeError('m', {cause: {a: 1}}) ==> {"name":"TypeError","message":"m","stack":"    at <eval> (code:1:5)","cause":{"a":1}} : error
        Object.assign(new RangeError('m'), {code: 7}) ==> {"name":"RangeError","message":"m","stack":"    at <eval> (code:1:19)","code":7} : error
        new AggregateError([1, 'two'], 'm') ==> {"name":"AggregateError","message":"m","stack":"    at <eval> (code:1:5)","errors":[1,"two"]} : error
        new DOMException('m', 'AbortError') ==> {"name":"AbortError","message":"m","stack":"    at <eval> (code:1:5)"} : error
        const e = new Error('m'); e.stack = ''; e.cause = e; e ==> {"name":"Error","message":"m","stack":"","cause":"[Circular]"} : error
        class Mine extends Error {} Mine.prototype.name = 'Mine'; const e = new Mine('m'); e.stack = ''; [e] ==> [{"name":"Mine","message":"m","stack":""}] : array
        "##,
    );
}

#[test]
fn boxed_primitives_are_what_they_box() {
    check(
        r##"
        new Number(5) ==> 5 : object
        new Number(-0) ==> -0 : object
        new Number(NaN) ==> "NaN" : object
        new String('s') ==> "s" : object
        new Boolean(false) ==> false : object
        Object(Symbol('w')) ==> "Symbol(w)" : object
        Object(7n) ==> "7" : object
        "##,
    );
}

#[test]
fn objects_show_their_own_enumerable_properties_in_the_engines_order() {
    check(
        r##"
        ({b: 1, a: 2, 2: 3, 1: 4}) ==> {"1":4,"2":3,"b":1,"a":2} : object
        Object.create({inherited: 1}, {own: {value: 2, enumerable: true}}) ==> {"own":2} : object
        Object.defineProperty({a: 1}, 'hidden', {value: 2}) ==> {"a":1} : object
        const o = Object.create(null); o.a = 1; o ==> {"a":1} : object
        new (class Point { x = 1; #y = 2; get z() { return 3 } })() ==> {"x":1} : object
        ({get a() { return 5 }}) ==> {"a":5} : object
        JSON.parse('{"__proto__": 1}') ==> {"__proto__":1} : object
        (function () { return arguments })(1, 2) ==> {"0":1,"1":2} : object
        ({then(resolve) { resolve(9) }}) ==> {"then":"[Function: then]"} : object
        [1, , 3] ==> [1,null,3] : array
        new Array(3) ==> [null,null,null] : array
        const a = [1]; a.extra = 2; a ==> [1] : array
        new (class Mine extends Array {})(1, 2) ==> [1,2] : array
        new Proxy({a: 1}, {}) ==> {"a":1} : object
        new Proxy([1, 2], {}) ==> [1,2] : array
        new Proxy(new Map([[1, 2]]), {}) ==> {} : object
        new Proxy({a: 1}, {get: (t, key) => key === 'a' ? 'trapped' : undefined}) ==> {"a":"trapped"} : object
        Math ==> {} : object
        "##,
    );
}

#[test]
fn promises_inside_a_value_are_not_awaited() {
    check(
        r##"
        [Promise.resolve(1)] ==> ["[Promise]"] : array
        ({p: new Promise(() => {})}) ==> {"p":"[Promise]"} : object
        Promise.resolve([Promise.resolve(5)]) ==> ["[Promise]"] : array
        await 0; [Promise.resolve(1)] ==> ["[Promise]"] : array
        "##,
    );
}

#[test]
fn to_json_is_asked_once_and_not_of_what_it_gave() {
    check(
        r##"
        ({toJSON() { return {x: 1} }}) ==> {"x":1} : object
        ({toJSON() { return undefined }}) ==> null : object
        ({toJSON(key) { return [key] }}) ==> [""] : object
        ({a: {toJSON() { return 7 }}}) ==> {"a":7} : object
        ({toJSON() { return this }, b: 2}) ==> {"toJSON":"[Function: toJSON]","b":2} : object
        ({toJSON() { return {toJSON: () => 1, b: 2} }}) ==> {"toJSON":"[Function: toJSON]","b":2} : object
        ({toJSON: 5}) ==> {"toJSON":5} : object
        const d = new Date(0); d.toJSON = () => 'mine'; d ==> "mine" : date
        Date.prototype.toISOString = () => 'changed'; new Date(0) ==> "1970-01-01T00:00:00.000Z" : date
        BigInt.prototype.toJSON = () => 'never asked'; 1n ==> "1" : bigint
        JSON.rawJSON('12345678901234567890') ==> {"rawJSON":"12345678901234567890"} : object
        "##,
    );
}

#[test]
fn a_cycle_is_cut_and_a_shared_object_is_written_each_time() {
    check(
        r##"
        const o = {}; o.self = o; o ==> {"self":"[Circular]"} : object
        const a = []; a.push(a); a ==> ["[Circular]"] : array
        const a = {}; const b = {a}; a.b = b; a ==> {"b":{"a":"[Circular]"}} : object
        const s = {x: 1}; [s, s] ==> [{"x":1},{"x":1}] : array
        "##,
    );
}

#[test]
fn as_many_levels_are_followed_as_an_input_may_have_and_no_more() {
    let service = Service::start();
    let nested =
        |levels: usize| format!("let d = 1; for (let i = 0; i < {levels}; i++) d = [d]; d");
    for (levels, inmost) in [
        (100, "1"),
        (101, "[\"[Too deep]\"]"),
        (5000, "[\"[Too deep]\"]"),
    ] {
        let result = service.result(&nested(levels));
        let brackets = if levels == 100 { 100 } else { 99 };
        let expected = "[".repeat(brackets) + inmost + &"]".repeat(brackets);
        assert_eq!(result.to_string(), expected, "{levels}");
    }
}

#[test]
fn a_lone_surrogate_becomes_the_replacement_character() {
    check(
        r##"
        '\ud800' ==> "�" : string
        ['a\udc00b', '\ud83d\ude00'] ==> ["a�b","😀"] : array
        ({'\ud800': 1}) ==> {"�":1} : object
        '\0\x01\x1f' ==> "\u0000\u0001\u001f" : string
        'é𝒳'.length ==> 3 : number
        "##,
    );
}

#[test]
fn a_string_of_half_a_megabyte_comes_back_whole() {
    let service = Service::start();
    let text = service.result("'é'.repeat(250_000)");
    assert_eq!(text.as_str().unwrap(), "é".repeat(250_000));
}

#[test]
fn an_input_of_any_json_comes_back_as_the_same_json() {
    let service = Service::start();
    for text in [
        "null",
        "true",
        "false",
        "0",
        "-0",
        "1.5",
        "-2e-7",
        "\"\"",
        "[]",
        "{}",
        "\"a\\\"\\\\\\n\\u0001é😀\"",
        "[null,0,\"\",[],{}]",
        "{\"z\":1,\"a\":{\"b\":[1,2,{\"c\":null}]}}",
        "{\"\":{\"\":\"\"}}",
        "{\"__proto__\":{\"x\":1}}",
        "{\"toString\":1,\"constructor\":null}",
        "9007199254740991",
        "\"2020-01-01T00:00:00.000Z\"",
        "[[[[[[[[[[1]]]]]]]]]]",
        "\"\\u0000\"",
    ] {
        let body = format!(r#"{{"code":"input","input":{text}}}"#);
        let json = [("content-type", "application/json")];
        let answer = service.post_raw("/api/execute", &json, body.as_bytes());
        let shown = Shown::parse(&answer.text);
        assert_eq!(shown.result.get(), text);
    }
}

#[test]
fn a_number_of_the_input_is_a_javascript_number() {
    let service = Service::start();
    for (text, result) in [
        ("1.0", "1"),
        ("1E5", "100000"),
        ("1e400", "\"Infinity\""),
        ("12345678901234567890", "12345678901234567000"),
        ("{\"a\":1,\"a\":2}", "{\"a\":2}"),
    ] {
        let body = format!(r#"{{"code":"input","input":{text}}}"#);
        let json = [("content-type", "application/json")];
        let answer = service.post_raw("/api/execute", &json, body.as_bytes());
        let shown = Shown::parse(&answer.text);
        assert_eq!(shown.result.get(), result, "{text}");
    }
}

#[test]
fn a_value_that_changes_while_it_is_read_is_written_as_it_is_found() {
    check(
        r##"
        const a = [1, 2, 3]; Object.defineProperty(a, 1, {get() { a.length = 0; return 9 }}); a ==> [1,9,null] : array
        const a = [{get x() { a.length = 1e6; return 1 }}]; a ==> [{"x":1}] : array
        const u = new Uint8Array(4); Object.defineProperty(u, 'toJSON', {get() { u.buffer.transfer() }}); [u] ==> [[]] : array
        const b = new ArrayBuffer(8, {maxByteLength: 64}), u = new Uint8Array(b); [{get a() { b.resize(2); return 1 }}, u] ==> [{"a":1},[0,0]] : array
        const u = new Uint8Array(3); Object.defineProperty(u, 'length', {value: 1e9}); u ==> [0,0,0] : typed_array
        const s = new Set([{get x() { s.delete(this); return 1 }}, 2]); s ==> [{"x":1},2] : set
        const o = {get a() { delete o.b; o.c = 3; return 1 }, b: 2}; o ==> {"a":1,"b":null} : object
        "##,
    );
}

#[test]
fn a_result_that_throws_while_it_is_read_is_a_failure_of_the_script() {
    let service = Service::start();
    for code in [
        "({get a() { throw new Error('why') }})",
        "({toJSON() { throw new Error('why') }})",
        "new Proxy({}, {ownKeys() { throw new Error('why') }})",
        "[[new Map([[1, {get a() { throw new Error('why') }}]])]]",
    ] {
        let execution = service.run(code);
        assert_eq!(execution["outcome"], "threw", "{code}");
        assert_eq!(execution["result"], Value::Null, "{code}");
        assert_eq!(execution["resultType"], Value::Null, "{code}");
        assert_eq!(execution["error"]["message"], "why", "{code}");
    }
}

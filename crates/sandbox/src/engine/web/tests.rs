//! The web APIs as a script sees them, without a process and without limits.

use crate::engine::WarmEngine;

/// Returns what `code` is as text, in a new engine.
fn text_of(code: &str) -> String {
    WarmEngine::warm().unwrap().evaluate_for_test(code)
}

#[track_caller]
fn assert_text(code: &str, expected: &str) {
    assert_eq!(text_of(code), expected, "{code}");
}

#[test]
fn a_url_has_its_parts() {
    assert_text(
        "const u = new URL('../b?x=1#h', 'https://a.example:8080/c/d'); u.searchParams.append('y', 'é');
         `${u} ${u.port} ${u.origin} ${typeof URL}`",
        "https://a.example:8080/b?x=1&y=%C3%A9#h 8080 https://a.example:8080 function",
    );
}

#[test]
fn text_is_encoded_and_decoded() {
    assert_text(
        "new TextDecoder('shift_jis').decode(new Uint8Array([0x82, 0xa0])) + new TextEncoder().encode('é')",
        "あ195,169",
    );
}

#[test]
fn values_are_cloned() {
    assert_text(
        "const s = {
           a: [1,, new Date(0)], m: new Map([[{k: 1}, new Set([1])]]), r: /x/gi,
           e: new TypeError('t', {cause: 1}), v: new Uint16Array([1, 2]),
         };
         s.self = s;
         const c = structuredClone(s);
         [c.self === c, c.a.length, 1 in c.a, +c.a[2], [...c.m.keys()][0].k, String(c.r), c.e instanceof TypeError,
          c.e.cause, String(c.v), c.v.buffer !== s.v.buffer].join()",
        "true,3,false,0,1,/x/gi,true,1,1,2,true",
    );
}

#[test]
fn a_clone_may_be_as_deep_as_memory_allows() {
    assert_text(
        "let d = []; for (let i = 0; i < 100000; i++) d = [d];
         let n = 0; d = structuredClone(d); while (d.length) { d = d[0]; n++ } n",
        "100000",
    );
}

#[test]
fn a_length_tracking_view_still_tracks_after_it_was_cloned() {
    let views = "const b = new ArrayBuffer(8, {maxByteLength: MAX}); new Uint8Array(b).set([1, 2, 3, 4, 5, 6, 7, 8]);
         const [t, f, d, e] = structuredClone([new Uint16Array(b, 2), new Uint16Array(b, 2, 3), new DataView(b, 4),
           new DataView(b, 4, 4)]);
         t.buffer.resize(6);
         let lost = 0; try { e.byteLength } catch { lost = 1 }
         [t.length, f.length, d.byteLength, lost, new Uint8Array(b).join('')].join()";
    for most in ["8", "16"] {
        assert_text(&views.replace("MAX", most), "2,0,2,1,12345678");
    }
}

#[test]
fn objects_of_the_platform_are_not_cloned() {
    for object in [
        "new URL('a:b')",
        "new EventTarget",
        "new AbortController().signal",
        "crypto",
        "Symbol()",
        "() => 1",
        "new WeakMap",
        "Promise.resolve()",
        "new Proxy({}, {})",
        "function* () {}()",
        "new SharedArrayBuffer(1)",
    ] {
        let code = format!("try {{ structuredClone({{a: {object}}}) }} catch (e) {{ e.name }}");
        assert_text(&code, "DataCloneError");
    }
}

#[test]
fn names_are_taken_up_at_their_first_use() {
    assert_text(
        "const of = (name) => Object.getOwnPropertyDescriptor(globalThis, name);
         const before = typeof of('Event').get + of('Event').enumerable;
         const kind = typeof Event;
         const {value, writable, enumerable, configurable, get} = of('Event');
         [before, kind, value === Event, writable, enumerable, configurable, get, typeof of('EventTarget').get].join()",
        "functionfalse,function,true,true,false,true,,function",
    );
}

#[test]
fn names_that_many_scripts_use_are_taken_up_in_the_zygote() {
    assert_text(
        "['URL', 'URLSearchParams', 'TextEncoder', 'TextDecoder', 'structuredClone', 'crypto', 'Crypto'].map((name) => {
           const {value, writable, enumerable, configurable} = Object.getOwnPropertyDescriptor(globalThis, name);
           return [value === globalThis[name], writable, enumerable, configurable].join();
         }).filter((text) => text !== 'true,true,false,true').join()",
        "",
    );
}

#[test]
fn a_script_may_declare_the_names_itself() {
    for declaration in [
        "var URL = 1; URL",
        "var URL; URL = 1; URL",
        "function URL() { return 1 } URL()",
        "class URL { static one = 1 } URL.one",
        "let URL = 1; URL",
        "const URL = 1; URL",
        "URL = 1; URL",
        "'use strict'; URL = 1; URL",
        "globalThis.URL = 1; globalThis.URL",
        "delete globalThis.URL; globalThis.URL ?? 1",
        "const inherits = Object.create(globalThis); inherits.URL = 1; typeof URL === 'function' && inherits.URL",
        "Object.defineProperty(globalThis, 'URL', {value: 1}); URL",
        "const {get} = Object.getOwnPropertyDescriptor(globalThis, 'URL'); URL = 1; get?.call(globalThis); URL",
        "Object.freeze(globalThis); URL === URL ? 1 : 0",
    ] {
        assert_text(declaration, "1");
        // A name that is not taken up before its first use.
        assert_text(&declaration.replace("URL", "Event"), "1");
    }
}

/// Changes every function and accessor of the built-in prototypes and constructors.
const TAMPERING: &str = "
    const bad = function () { throw new Error('tampered') };
    const names = ['Object', 'Function', 'Array', 'String', 'Number', 'Boolean', 'Symbol', 'BigInt', 'Date', 'RegExp',
      'Map', 'Set', 'WeakMap', 'WeakSet', 'Promise', 'ArrayBuffer', 'SharedArrayBuffer', 'DataView', 'Uint8Array',
      'Error', 'TypeError', 'RangeError', 'DOMException', 'Iterator'];
    const objects = names.map((name) => globalThis[name]).concat(Reflect, [Object.getPrototypeOf(Uint8Array)]);
    const own = Reflect.ownKeys, define = Reflect.defineProperty, of = Reflect.getOwnPropertyDescriptor;
    const all = [];
    for (const object of objects) all.push(object, object.prototype);
    all.push(Object.getPrototypeOf([][Symbol.iterator]()), Object.getPrototypeOf(new Map().entries()));
    for (let i = 0; i < all.length; i++) {
      if (!all[i]) continue;
      const keys = own(all[i]);
      for (let k = 0; k < keys.length; k++) {
        const d = of(all[i], keys[k]);
        if (!d.configurable || keys[k] === 'constructor') continue;
        if (d.get) define(all[i], keys[k], {__proto__: null, get: bad, set: bad});
        else if (typeof d.value === 'function') define(all[i], keys[k], {__proto__: null, value: bad});
      }
    }
    for (let k = 0; k < 8; k++) define(Array.prototype, k, {__proto__: null, get: bad, set: bad});
    for (const k in {value: 1, get: 1, set: 1, writable: 1, enumerable: 1, configurable: 1, made: 1, kind: 1}) {
      define(Object.prototype, k, {__proto__: null, get: bad, set: bad});
    }
";

#[test]
fn what_a_script_did_to_the_built_in_objects_before_does_not_matter() {
    for (code, expected) in [
        ("new URL('?b=2&a=1', 'http://a.b/').searchParams.get('a')", "1"),
        (
            "const p = new URLSearchParams('b=2&a=1'); p.sort(); p.append('c', 3); p.set('a', 4); p.delete('b');
             p.toString()",
            "a=4&c=3",
        ),
        ("new TextDecoder('utf-16le').decode(new TextEncoder().encode('a\\0'))", "a"),
        ("const v = new Uint8Array(2); v[1] = 2; structuredClone({a: [new Map(), new Date(5), /x/g, v]}).a[3][1]", "2"),
        (
            "const t = new EventTarget(), c = new AbortController(); let n = 0;
             t.addEventListener('x', {handleEvent() { n++ }}, {signal: c.signal});
             t.dispatchEvent(new CustomEvent('x', {detail: 1})); c.abort(); t.dispatchEvent(new Event('x')); n",
            "1",
        ),
        ("crypto.randomUUID()[14]", "4"),
        ("crypto.getRandomValues(new Uint8Array(4)) && 1", "1"),
        ("crypto.subtle.digest('SHA-256', new Uint8Array(3)) && 1", "1"),
        // What a key may do is read by the iterator of the argument. So these have one of their own.
        (
            "const may = (usage) => ({*[Symbol.iterator]() { yield usage }}), s = crypto.subtle;
             let ONES = 'w'; for (let i = 0; i < 341; i++) ONES = '_' + ONES;
             s.generateKey({name: 'ECDSA', namedCurve: 'P-256'}, true, may('sign'));
             s.generateKey('X25519', true, may('deriveBits')); s.generateKey('Ed25519', true, may('sign'));
             s.importKey('jwk', {kty: 'oct', k: 'AAAAAAAAAAAAAAAAAAAAAA', key_ops: may('wrapKey')}, 'AES-KW', true, may('wrapKey'));
             s.importKey('jwk', {kty: 'RSA', e: 'AQAB', n: ONES}, {name: 'RSA-PSS', hash: 'SHA-1'}, true, may('verify'));
             1",
            "1",
        ),
        ("navigator.userAgent[0]", "S"),
        (
            "const s = new ReadableStream({start(c) { c.enqueue(1) }}), r = s.getReader(); r.read(); r.releaseLock();
             s.pipeThrough(new TransformStream()).locked",
            "false",
        ),
        ("new Blob().size + new Response('ab').status", "200"),
        ("const h = new Headers(); h.append('a', 'b'); h.append('A', 'c'); h.get('a')", "b, c"),
    ] {
        // The listeners of the tampering must not be the cause of a success.
        assert_text(code, expected);
        assert_text(&format!("{TAMPERING}\n{code}"), expected);
    }
}

#[test]
fn a_listener_that_throws_does_not_keep_others_from_being_called() {
    assert_text(
        "const t = new EventTarget(); let n = 0;
         t.addEventListener('x', () => { throw 1 }); t.addEventListener('x', () => n++);
         t.dispatchEvent(new Event('x')); n",
        "1",
    );
}

#[test]
fn the_glue_has_no_template_literals() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine/web");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // The primordials are evaluated before any guest code.
        if path.extension().is_none_or(|extension| extension != "js")
            || path.ends_with("primordials.js")
        {
            continue;
        }
        files += 1;
        let source = std::fs::read_to_string(&path).unwrap();
        let code = |line: &&str| !line.trim_start().starts_with("//");
        let found = source.lines().filter(code).find(|line| line.contains("${"));
        assert_eq!(
            found,
            None,
            "{}: the engine calls String.prototype.concat for it",
            path.display()
        );
    }
    assert!(files > 20);
}

#[test]
fn a_pattern_matches_by_the_regular_expressions_of_the_engine() {
    assert_text(
        "RegExp.prototype.exec = () => null;
         const p = new URLPattern('https://*.example/:a([\\\\p{Ll}&&[a-f]]+)/:b?');
         JSON.stringify(p.exec('https://x.example/abc/z')?.pathname.groups) + p.test('https://x.example/xyz') + p.pathname",
        "{\"a\":\"abc\",\"b\":\"z\"}false/:a([\\p{Ll}&&[a-f]]+)/:b?",
    );
}

#[test]
fn the_global_object_inherits_from_event_target_once_that_is_used() {
    assert_text(
        "const link = Object.getPrototypeOf(globalThis);
         const before = Object.getPrototypeOf(link) === Object.prototype;
         [before, typeof addEventListener, Object.getPrototypeOf(link) === EventTarget.prototype,
          Object.getPrototypeOf(globalThis) === link, Reflect.ownKeys(link).join()].join()",
        "true,function,true,true,constructor",
    );
}

//! The web APIs inside a script: each does what its standard says, follows a seed, and ends within the limits.

use crate::support::Service;
use crate::table::{check, check_with};
use serde_json::{Value, json};

const MIB: u64 = 1024 * 1024;

#[test]
fn urls_are_taken_apart_and_put_together() {
    check(
        r#"new URL('../b?x=1#h', 'https://a.example:8080/c/d').href ==> "https://a.example:8080/b?x=1#h" : string
        new URL('HTTP://EXAMPLE.com:80/%7Efoo/../ä') ==> "http://example.com/%C3%A4" : object
        new URL('https://user:pa%20ss@bücher.example/').host ==> "xn--bcher-kva.example" : string
        URL.canParse('//x') ==> false : boolean
        URL.parse('//x') ==> null : null
        const u = new URL('http://a/?q=1'); u.searchParams.set('q', 'ü ?'); u.search ==> "?q=%C3%BC+%3F" : string
        const u = new URL('http://a/?q=1'); const p = u.searchParams; u.search = '?z=2'; [...p] ==> [["z","2"]] : array
        [...new URLSearchParams({b: 1, a: 2}).keys()] ==> ["b","a"] : array
        const p = new URLSearchParams('b=1&a=2&b=3'); p.sort(); p + '' ==> "a=2&b=1&b=3" : string
        const u = new URL('http://a:1/'); u.port = 'x'; u.port = 65536; u.port ==> "1" : string
        JSON.stringify({u: new URL('a:b')}) ==> "{\"u\":\"a:b\"}" : string
        Object.prototype.toString.call(new URLSearchParams()) ==> "[object URLSearchParams]" : string"#,
    );
}

#[test]
fn an_error_of_a_web_api_has_its_place_in_the_script() {
    let service = Service::start();
    for code in [
        "\nnew URL('not a url')",
        "\nnew URLSearchParams([1])",
        "\nstructuredClone(() => 1)",
        "\nnew TextDecoder('x')",
        "\nnew EventTarget().dispatchEvent(1)",
        "\ncrypto.getRandomValues(1)",
        "\nAbortSignal.abort(new Error('m')).throwIfAborted()",
        "\nawait crypto.subtle.digest('MD5', new Uint8Array())",
    ] {
        let error = service.run(code)["error"].clone();
        assert_eq!(error["lineNumber"], 2, "{code}: {error}");
        assert_eq!(error["fileName"], "code", "{code}: {error}");
        let stack = error["stack"].as_str().unwrap();
        assert!(!stack.contains("sandpiper"), "{code}: {error}");
    }
    let error = service.run("new URL('not a url')")["error"].clone();
    assert_eq!(error["name"], "TypeError");
    assert_eq!(error["message"], "Invalid URL: 'not a url'");
}

#[test]
fn a_url_keeps_what_the_standard_keeps() {
    check(
        r#"new URL('x', 'file://host/C:/a/b').href ==> "file://host/C:/a/x" : string
        new URL('file://localhost//a//../b').href ==> "file:////a/b" : string
        new URL('foo:opaque  ?q').href ==> "foo:opaque %20?q" : string
        const u = new URL('data:x  #f'); u.hash = ''; u.href ==> "data:x %20" : string
        new URL('http://xn--a.example/').host ==> "xn--a.example" : string
        URL.canParse('http://xn--\u00ad/') ==> false : boolean
        const u = new URL('web+x:/a'); u.pathname = '//b'; [u.href, u.pathname] ==> ["web+x:/.//b","//b"] : array
        const u = new URL('http://a/'); u.hostname = ''; u.hostname = 'b:1'; u.host = 'c:2/x'; u.href ==> "http://c:2/" : string
        new URL('blob:https://a.example:8080/x').origin ==> "https://a.example:8080" : string
        new URL('http://[::ffff:1.2.3.4]/').hostname ==> "[::ffff:102:304]" : string
        new URL('http://0x7F.1/').hostname ==> "127.0.0.1" : string"#,
    );
}

#[test]
fn a_pattern_matches_the_parts_of_a_url() {
    check(
        r#"new URLPattern({pathname: '/books/:id'}).exec('https://a.example/books/12').pathname.groups ==> {"id":"12"} : object
        new URLPattern('https://*.example.com/:kind(a|b)/*').exec('https://x.example.com/a/b/c').pathname ==> {"groups":{"0":"b/c","kind":"a"},"input":"/a/b/c"} : object
        const p = new URLPattern('/a/:b?', 'https://x.example'); [p.protocol, p.hostname, p.port, p.pathname, p.search, p.hasRegExpGroups] ==> ["https","x.example","","/a/:b?","*",false] : array
        const p = new URLPattern({pathname: '/a/:b?'}); ['/a', '/a/1', '/a/1/2'].map((pathname) => p.test({pathname})) ==> [true,true,false] : array
        new URLPattern({pathname: '/foo'}, {ignoreCase: true}).test({pathname: '/FOO'}) ==> true : boolean
        new URLPattern({hostname: 'xn--caf-dma.com'}).test({hostname: 'café.com'}) ==> true : boolean
        new URLPattern({pathname: '/:a+'}).exec({pathname: '/b/c'}).pathname.groups.a ==> "b/c" : string
        new URLPattern({pathname: '/([0-9]+)'}).hasRegExpGroups ==> true : boolean
        new URLPattern({protocol: 'http{s}?', port: '8080'}).test('https://a:8080/') ==> true : boolean
        new URLPattern({search: 'a=:a&*'}).exec({search: '?a=1&b=2'}).search.groups ==> {"0":"b=2","a":"1"} : object
        new URLPattern().test('https://a/b?c#d') ==> true : boolean
        ['/(', '/:a/:a', '/{a', '/(?<x>y)', '/([a)'].map((pathname) => { try { new URLPattern({pathname}) } catch (e) { return e.name } }) ==> ["TypeError","TypeError","TypeError","TypeError","TypeError"] : array
        try { new URLPattern('/a') } catch (e) { e.message } ==> "the pattern has no protocol, and there is no base URL" : string
        new URLPattern({pathname: '/:a'}).exec({pathname: '/'}) ==> null : null"#,
    );
}

#[test]
fn texts_become_bytes_and_bytes_become_texts() {
    check(
        r#"new TextEncoder().encode('aé\u{1f600}\ud800') ==> [97,195,169,240,159,152,128,239,191,189] : typed_array
        new TextEncoder().encodeInto('aé€', new Uint8Array(4)) ==> {"read":2,"written":3} : object
        new TextDecoder().decode(new Uint8Array([0xef, 0xbb, 0xbf, 0x61])) ==> "a" : string
        new TextDecoder().decode(new Uint8Array([0xff])) === '\ufffd' ==> true : boolean
        new TextDecoder('utf-8', {ignoreBOM: true}).decode(new Uint8Array([0xef, 0xbb, 0xbf])).length ==> 1 : number
        new TextDecoder('latin1').encoding ==> "windows-1252" : string
        new TextDecoder('gbk').decode(new Uint8Array([0xc4, 0xe3])) ==> "你" : string
        new TextDecoder('euc-kr').decode(new Uint8Array([0xb0, 0xa1]).buffer) ==> "가" : string
        const d = new TextDecoder(); d.decode(new Uint8Array([0xe2, 0x82]), {stream: true}) + d.decode(new Uint8Array([0xac])) ==> "€" : string
        try { new TextDecoder('utf-8', {fatal: true}).decode(new Uint8Array([0xff])) } catch (e) { e.name } ==> "TypeError" : string
        try { new TextDecoder('nonsense') } catch (e) { e.name } ==> "RangeError" : string"#,
    );
}

#[test]
fn values_are_cloned_with_their_cycles_and_classes() {
    check(
        r#"structuredClone({a: [1, , new Date(0)], m: new Map([[1, new Set([2])]])}) ==> {"a":[1,null,"1970-01-01T00:00:00.000Z"],"m":[[1,[2]]]} : object
        const o = {}; o.self = o; const c = structuredClone(o); [c !== o, c.self === c] ==> [true,true] : array
        const e = structuredClone(new RangeError('m', {cause: 1})); [e instanceof RangeError, e.message, e.cause] ==> [true,"m",1] : array
        const b = new ArrayBuffer(4); const c = structuredClone(b, {transfer: [b]}); [b.detached, c.byteLength] ==> [true,4] : array
        class A { #x = 1; y = 2 } const c = structuredClone(new A()); [c instanceof A, c.y] ==> [false,2] : array
        try { structuredClone(() => 1) } catch (e) { [e instanceof DOMException, e.name, e.code] } ==> [true,"DataCloneError",25] : array
        try { structuredClone(new URL('a:b')) } catch (e) { e.message } ==> "an object of the class URL cannot be cloned" : string"#,
    );
}

#[test]
fn events_reach_their_listeners() {
    check(
        r#"const t = new EventTarget(), got = []; t.addEventListener('x', (e) => got.push(e.detail), {once: true}); t.dispatchEvent(new CustomEvent('x', {detail: 1})); t.dispatchEvent(new CustomEvent('x', {detail: 2})); got ==> [1] : array
        const t = new EventTarget(); t.addEventListener('x', (e) => e.preventDefault()); t.dispatchEvent(new Event('x', {cancelable: true})) ==> false : boolean
        const c = new AbortController(); let n = 0; c.signal.onabort = () => n++; c.abort('why'); c.abort(); [n, c.signal.reason] ==> [1,"why"] : array
        try { AbortSignal.abort().throwIfAborted() } catch (e) { [e.name, e.code] } ==> ["AbortError",20] : array
        const c = new AbortController(); const s = AbortSignal.any([new AbortController().signal, c.signal]); c.abort(1); s.reason ==> 1 : number
        const s = AbortSignal.timeout(1); await new Promise((f) => { s.onabort = f }); s.reason.name ==> "TimeoutError" : string"#,
    );
    let service = Service::start();
    let listener = "const t = new EventTarget();
        t.addEventListener('x', () => { throw new Error('first') });
        t.addEventListener('x', () => console.log('second'));
        t.dispatchEvent(new Event('x')); setTimeout(() => console.log('never'))";
    let execution = service.run(listener);
    assert_eq!(execution["outcome"], "threw", "{execution}");
    assert_eq!(execution["error"]["message"], "first");
    assert_eq!(execution["error"]["lineNumber"], 2);
    assert_eq!(execution["log"][0]["data"], json!(["second"]));
    assert_eq!(execution["log"].as_array().unwrap().len(), 1);
}

#[test]
fn streams_carry_their_chunks() {
    check(
        r#"const got = []; for await (const x of ReadableStream.from([1, 2, 3])) got.push(x); got ==> [1,2,3] : array
        const t = new TransformStream({transform(x, c) { c.enqueue(x * 2) }}); const got = []; await ReadableStream.from([1, 2]).pipeThrough(t).pipeTo(new WritableStream({write(x) { got.push(x) }})); got ==> [2,4] : array
        const [a, b] = ReadableStream.from('ab').tee(); [await a.getReader().read(), await b.getReader().read()] ==> [{"value":"a","done":false},{"value":"a","done":false}] : array
        const s = new ReadableStream({type: 'bytes', pull(c) { c.byobRequest.view[0] = 7; c.byobRequest.respond(1) }}); (await s.getReader({mode: 'byob'}).read(new Uint8Array(4))).value ==> [7] : typed_array
        const c = new AbortController(); c.abort('why'); await new ReadableStream().pipeTo(new WritableStream(), {signal: c.signal}).catch((e) => e) ==> "why" : string
        let text = ''; for await (const x of ReadableStream.from([new Uint8Array([0xe2, 0x82]), new Uint8Array([0xac])]).pipeThrough(new TextDecoderStream())) text += x; text ==> "€" : string"#,
    );
}

#[test]
fn data_is_compressed_and_decompressed() {
    check(
        r#"const pass = async (bytes, t) => { const w = t.writable.getWriter(); w.write(bytes); w.close(); return new Blob(await Array.fromAsync(t.readable)).bytes() }; const small = await pass(new Uint8Array(100000), new CompressionStream('gzip')); [small.length < 1000, (await pass(small, new DecompressionStream('gzip'))).length] ==> [true,100000] : array
        const text = new Blob([Uint8Array.fromBase64('S0xKTgEA')]).stream().pipeThrough(new DecompressionStream('deflate-raw')).pipeThrough(new TextDecoderStream()); (await Array.fromAsync(text)).join('') ==> "abcd" : string
        try { new CompressionStream('brotli') } catch (e) { e.name } ==> "TypeError" : string"#,
    );
}

#[test]
fn what_a_compressor_holds_counts_until_nothing_refers_to_it() {
    let service = Service::start();
    let peak = |keep: &str| {
        let code = format!(
            "const kept = []; for (let i = 0; i < 40; i++) {{ const s = new CompressionStream('gzip'); {keep}; await new Promise((f) => setTimeout(f)) }} 1"
        );
        let execution = service.run(&code);
        assert_eq!(execution["outcome"], "succeeded", "{execution}");
        execution["usage"]["peakMemoryBytes"].as_u64().unwrap()
    };
    let (kept, dropped) = (peak("kept.push(s)"), peak("0"));
    assert!(kept > 12 * MIB, "{kept}");
    assert!(dropped < kept - 4 * MIB, "{dropped} of {kept}");
}

#[test]
fn requests_and_responses_are_made_and_never_sent() {
    check(
        r#"const r = new Response('{"a":1}', {status: 201, headers: {b: 'c'}}); [r.status, r.ok, r.headers.get('content-type'), (await r.json()).a, r.bodyUsed] ==> [201,true,"text/plain;charset=UTF-8",1,true] : array
        await new Response(new Blob(['ab']).stream()).text() ==> "ab" : string
        const r = new Response('x'); const c = r.clone(); [await r.text(), await c.text()] ==> ["x","x"] : array
        const f = new FormData(); f.append('a', 'b'); f.append('c', new Blob(['d'], {type: 'e/f'}), 'g.txt'); const got = await new Response(f).formData(); [got.get('a'), await got.get('c').text(), got.get('c').name, got.get('c').type] ==> ["b","d","g.txt","e/f"] : array
        const r = new Request('https://a.example/', {method: 'post', body: new URLSearchParams({a: 1})}); [r.method, r.url, await r.text()] ==> ["POST","https://a.example/","a=1"] : array
        Response.json({a: 1}).headers.get('content-type') ==> "application/json" : string
        await fetch('https://a.example/').catch((e) => [e.name, e.message]) ==> ["TypeError","fetch is not available: scripts have no network. Fetch the data before, and pass it as `input`"] : array"#,
    );
}

#[test]
fn a_message_reaches_the_other_port() {
    check(
        r#"const {port1, port2} = new MessageChannel(); const got = new Promise((f) => { port2.onmessage = (e) => f(e.data) }); port1.postMessage({a: new Map([[1, 2]])}); await got ==> {"a":[[1,2]]} : object
        const {port1, port2} = new MessageChannel(); port1.postMessage(1); port2.start(); 2 ==> 2 : number
        const {port1, port2} = new MessageChannel(); let n = 0; port2.onmessage = () => n++; port1.postMessage(1); for (let i = 0; i < 9; i++) clearTimeout(i); await new Promise((f) => setTimeout(f, 5)); n ==> 1 : number
        const {port1, port2} = new MessageChannel(); const other = new MessageChannel(); const got = new Promise((f) => { port2.onmessage = (e) => f(e.ports.length + e.data) }); port1.postMessage(1, [other.port1]); await got ==> 2 : number"#,
    );
}

#[test]
fn blobs_forms_and_headers_hold_what_was_put_in() {
    check(
        r#"const b = new Blob(['a\r\n', new Uint8Array([98]), new Blob(['c'])], {type: 'Text/Plain', endings: 'native'}); [b.size, b.type, await b.text()] ==> [4,"text/plain","a\nbc"] : array
        await new Blob(['abcdef']).slice(1, -1).text() ==> "bcde" : string
        const f = new File(['x'], 'a.txt', {lastModified: 5}); [f.name, f.lastModified, f instanceof Blob] ==> ["a.txt",5,true] : array
        const f = new FormData(); f.append('a', 1); f.append('a', 2); f.set('b', new Blob(['c']), 'd.txt'); [f.getAll('a'), f.get('b').name] ==> [["1","2"],"d.txt"] : array
        [...new Headers({b: ' 1 ', A: '2', a: '3'})] ==> [["a","2, 3"],["b","1"]] : array
        const h = new Headers([['set-cookie', 'a'], ['Set-Cookie', 'b']]); h.getSetCookie() ==> ["a","b"] : array
        try { new Headers({'a b': 'c'}) } catch (e) { e.name } ==> "TypeError" : string"#,
    );
    check_with(
        &Service::start(),
        &json!({"seed": 1}),
        r#"new File([], 'a').lastModified ==> 1577836800000 : number"#,
    );
}

#[test]
fn a_timeout_of_a_signal_does_not_keep_a_script_running() {
    let service = Service::start();
    let execution = service.run("AbortSignal.timeout(60000); setTimeout(() => {}, 5); 1");
    assert_eq!(execution["outcome"], "succeeded", "{execution}");
    assert_eq!(execution["result"], 1);
}

#[test]
fn digests_and_signatures_are_the_standards() {
    let hex = "const hex = (b) => new Uint8Array(b).toHex(); const bytes = (t) => new TextEncoder().encode(t);";
    let service = Service::start();
    for (code, expected) in [
        (
            "hex(await crypto.subtle.digest('SHA-1', bytes('abc')))",
            "a9993e364706816aba3e25717850c26c9cd0d89d",
        ),
        (
            "hex(await crypto.subtle.digest({name: 'sha-256'}, bytes('abc').buffer))",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ),
        // RFC 4231, test case 2.
        (
            "const k = await crypto.subtle.importKey('raw', bytes('Jefe'), {name: 'HMAC', hash: 'SHA-256'}, false, ['sign']);
             hex(await crypto.subtle.sign('HMAC', k, bytes('what do ya want for nothing?')))",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        // RFC 6070, the second vector.
        (
            "const k = await crypto.subtle.importKey('raw', bytes('password'), 'PBKDF2', false, ['deriveBits']);
             hex(await crypto.subtle.deriveBits({name: 'PBKDF2', hash: 'SHA-1', salt: bytes('salt'), iterations: 2}, k, 160))",
            "ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957",
        ),
        // RFC 5869, test case 1.
        (
            "const k = await crypto.subtle.importKey('raw', new Uint8Array(22).fill(11), 'HKDF', false, ['deriveBits']);
             hex(await crypto.subtle.deriveBits({name: 'HKDF', hash: 'SHA-256', salt: Uint8Array.from({length: 13}, (x, i) => i),
               info: Uint8Array.from({length: 10}, (x, i) => 240 + i)}, k, 336))",
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
    ] {
        assert_eq!(service.result(&format!("{hex}{code}")), expected, "{code}");
    }
    check(
        r#"const k = await crypto.subtle.generateKey({name: 'HMAC', hash: 'SHA-256'}, true, ['sign', 'verify']); const s = await crypto.subtle.sign('HMAC', k, new Uint8Array(1)); [await crypto.subtle.verify('HMAC', k, s, new Uint8Array(1)), await crypto.subtle.verify('HMAC', k, s, new Uint8Array(2)), (await crypto.subtle.exportKey('jwk', k)).alg] ==> [true,false,"HS256"] : array
        await crypto.subtle.digest('MD5', new Uint8Array(1)).catch((e) => e.name) ==> "NotSupportedError" : string
        /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(crypto.randomUUID()) ==> true : boolean"#,
    );
}

/// Everything of the web APIs that tells time or chance.
const CHANCE: &str = "const t = new EventTarget(); let stamp;
    t.addEventListener('x', (e) => { stamp = e.timeStamp }); t.dispatchEvent(new Event('x'));
    [crypto.randomUUID(), [...crypto.getRandomValues(new Uint32Array(9))], Math.random(), crypto.randomUUID(), stamp]";

#[test]
fn a_seed_governs_what_is_random_in_the_web_apis() {
    let service = Service::start();
    let run =
        |seed: Value| service.execute(&json!({"code": CHANCE, "seed": seed}))["result"].clone();
    let first = run(json!(1));
    assert_eq!(run(json!(1)), first);
    assert_ne!(run(json!(2)), first);
    let without = || service.result(CHANCE);
    assert_ne!(without(), without());
    check_with(
        &service,
        &json!({"seed": 1}),
        r#"await crypto.subtle.generateKey({name: 'HMAC', hash: 'SHA-1'}, true, ['sign']).catch((e) => [e.name, e.message]) ==> ["OperationError","no key is generated under a seed: it could be guessed"] : array"#,
    );
}

#[test]
fn long_inputs_end_by_a_limit_and_never_as_a_crash() {
    let service = Service::start();
    for code in [
        "new URL('http://a/' + 'ä'.repeat(3e7))",
        "new TextEncoder().encode('é'.repeat(1e8))",
        "new TextDecoder('utf-16le').decode(new Uint8Array(1e8).fill(216))",
        "new URLSearchParams('a=b&'.repeat(2e7))",
        "structuredClone(new Array(1e6).fill({}).map(() => ({a: 'x'.repeat(50)})))",
        "structuredClone('x'.repeat(1e8))",
        "crypto.subtle.digest('SHA-512', new Uint8Array(1e8))",
        "new Event('x'.repeat(1e8)); 1",
    ] {
        for memory in [MIB, 32 * MIB, 256 * MIB] {
            let limits = json!({"memoryBytes": memory, "timeoutMs": 5000});
            let execution = service.execute(&json!({"code": code, "limits": limits}));
            let outcome = execution["outcome"].as_str().unwrap();
            let expected = [
                "succeeded",
                "memory_exceeded",
                "timed_out",
                "output_exceeded",
            ];
            assert!(
                expected.contains(&outcome),
                "{code} with {memory}: {execution}"
            );
        }
    }
    assert_eq!(service.result("1 + 2"), 3);
}

#[test]
fn the_names_are_the_scripts_own_to_replace() {
    check_with(
        &Service::start(),
        &json!({"globals": {"Event": 7}}),
        r#"Event ==> 7 : number
        class URL { static a = 1 } URL.a ==> 1 : number
        let crypto = 5; crypto ==> 5 : number
        var structuredClone = 6; structuredClone ==> 6 : number
        function TextEncoder() { return 8 } TextEncoder() ==> 8 : number
        self === globalThis ==> true : boolean
        delete globalThis.AbortSignal; [typeof AbortSignal, typeof AbortController] ==> ["undefined","function"] : array
        navigator.userAgent.split('/')[0] ==> "Sandpiper" : string"#,
    );
}

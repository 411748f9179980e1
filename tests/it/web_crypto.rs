//! The keys of `crypto.subtle` that others know too: a script reads the keys of Node.js, and understands what Node.js signed
//! and encrypted with them.

use crate::support::Service;
use crate::table::{check, check_with};
use serde_json::{Value, json};

const MIB: u64 = 1024 * 1024;

/// Keys, signatures, shared secrets and encrypted texts that Node.js 20 made. `key` is an index into `keys`.
fn numbers_of_node() -> Value {
    serde_json::from_str(include_str!("web_crypto.json")).unwrap()
}

/// Script text before each of the scripts below: the keys of a vector, imported from each format.
const PRELUDE: &str = "
    const s = crypto.subtle, { keys, data: text, signed, agreed, sealed, wrapped } = input;
    const bytes = (text) => Uint8Array.fromBase64(text), base64 = (b) => new Uint8Array(b).toBase64();
    const data = bytes(text);
    const publicOf = ({ d, p, q, dp, dq, qi, ...jwk }) => jwk;
    async function imported({ key, imports }, forPublic, forPrivate) {
      const { spki, pkcs8, jwk } = keys[key];
      return {
        publics: [await s.importKey('spki', bytes(spki), imports, true, forPublic),
          await s.importKey('jwk', publicOf(jwk), imports, true, forPublic)],
        privates: [await s.importKey('pkcs8', bytes(pkcs8), imports, true, forPrivate),
          await s.importKey('jwk', jwk, imports, true, forPrivate)],
      };
    }
    const failures = [];
    const is = (a, b, ...what) => { if (JSON.stringify(a) !== JSON.stringify(b)) failures.push([a, b, ...what]) };
    const sorted = (o) => Object.fromEntries(Object.entries(o).sort());
    async function sameAfterExport(vector, publics, privates) {
      const { spki, pkcs8, jwk } = keys[vector.key];
      const plain = ({ key_ops, ext, alg, ...jwk }) => sorted(jwk);
      for (const k of publics) {
        is(base64(await s.exportKey('spki', k)), spki, 'spki');
        is(plain(await s.exportKey('jwk', k)), sorted(publicOf(jwk)), 'jwk');
      }
      for (const k of privates) {
        is(base64(await s.exportKey('pkcs8', k)), pkcs8, 'pkcs8');
        is(plain(await s.exportKey('jwk', k)), sorted(jwk), 'jwk');
      }
    }
";

/// Runs a script with the numbers of Node.js. It returns a list of what is wrong.
#[track_caller]
fn assert_no_failures(code: &str) {
    let execution = Service::start().execute(&json!({
        "code": format!("{PRELUDE}{code}\nfailures"),
        "input": numbers_of_node(),
        "limits": {"timeoutMs": 30_000},
    }));
    assert_eq!(execution["result"], json!([]), "{execution}");
}

#[test]
fn signatures_of_node_are_verified_and_signed_again() {
    assert_no_failures(
        "for (const v of signed) {
           const { publics, privates } = await imported(v, ['verify'], ['sign']);
           await sameAfterExport(v, publics, privates);
           for (const k of publics) {
             is(await s.verify(v.params, k, bytes(v.signature), data), true, v);
             is(await s.verify(v.params, k, bytes(v.signature), data.slice(1)), false, v);
             is(await s.verify(v.params, k, bytes(v.signature).slice(1), data), false, v);
             is(await s.verify(v.params, k, bytes(v.signature).fill(0), data), false, v);
             const changed = bytes(v.signature); changed[9] ^= 1;
             is(await s.verify(v.params, k, changed, data), false, v);
           }
           for (const k of privates) {
             const made = await s.sign(v.params, k, data);
             is(await s.verify(v.params, publics[0], made, data), true, v);
             if (v.isFixed) is(base64(made), v.signature, v);
           }
         }",
    );
}

#[test]
fn secrets_are_shared_with_node() {
    assert_no_failures(
        "for (const v of agreed) {
           const { publics, privates } = await imported(v, [], ['deriveBits', 'deriveKey']);
           await sameAfterExport(v, publics, privates);
           const other = await s.importKey('spki', bytes(v.other), v.imports, false, []);
           const params = { name: v.imports.name, public: other };
           for (const k of privates) {
             is(base64(await s.deriveBits(params, k, null)), v.secret, v);
             const first = new Uint8Array(await s.deriveBits(params, k, 27)), whole = bytes(v.secret);
             is([...first], [whole[0], whole[1], whole[2], whole[3] & 0xe0], v);
             const key = await s.deriveKey(params, k, { name: 'AES-GCM', length: 256 }, true, ['encrypt']);
             is(base64(await s.exportKey('raw', key)), base64(whole.slice(0, 32)), v);
             is(await s.deriveBits(params, k, 8 * whole.length + 8).catch((e) => e.name), 'OperationError', v);
           }
           is(await s.deriveBits({ name: v.imports.name, public: privates[0] }, privates[0], 8).catch((e) => e.name),
             'InvalidAccessError', v);
         }",
    );
}

#[test]
fn what_node_encrypted_is_decrypted() {
    assert_no_failures(
        "for (const v of sealed) {
           const { publics, privates } = await imported(v, ['encrypt', 'wrapKey'], ['decrypt', 'unwrapKey']);
           await sameAfterExport(v, publics, privates);
           const params = { name: 'RSA-OAEP', label: bytes(v.label) };
           for (const k of privates) {
             is(base64(await s.decrypt(params, k, bytes(v.sealed))), text, v);
             is(base64(await s.decrypt(params, k, await s.encrypt(params, publics[1], data))), text, v);
             const other = { name: 'RSA-OAEP', label: new Uint8Array(9) };
             is(await s.decrypt(other, k, bytes(v.sealed)).catch((e) => e.name), 'OperationError', v);
           }
           is(await s.encrypt(params, publics[0], new Uint8Array(300)).catch((e) => e.name), 'OperationError', v);
         }
         for (const v of wrapped) {
           const kek = await s.importKey('raw', bytes(v.kek), 'AES-KW', false, ['wrapKey', 'unwrapKey']);
           const key = await s.unwrapKey('raw', bytes(v.wrapped), kek, 'AES-KW', 'AES-GCM', true, ['encrypt']);
           is(base64(await s.exportKey('raw', key)), v.key, v);
           is(base64(await s.wrapKey('raw', key, kek, 'AES-KW')), v.wrapped, v);
           const wrong = bytes(v.wrapped); wrong[0] ^= 1;
           is(await s.unwrapKey('raw', wrong, kek, 'AES-KW', 'AES-GCM', true, ['encrypt']).catch((e) => e.name),
             'OperationError', v);
         }",
    );
}

#[test]
fn keys_are_generated_for_each_algorithm() {
    check(
        r#"const s = crypto.subtle; const out = []; for (const namedCurve of ['P-256', 'P-384', 'P-521']) { const k = await s.generateKey({name: 'ECDSA', namedCurve}, false, ['sign', 'verify']); const g = await s.sign({name: 'ECDSA', hash: 'SHA-256'}, k.privateKey, new Uint8Array(9)); out.push(g.byteLength, await s.verify({name: 'ECDSA', hash: 'SHA-256'}, k.publicKey, g, new Uint8Array(9)), k.publicKey.extractable, k.privateKey.extractable) } out ==> [64,true,true,false,96,true,true,false,132,true,true,false] : array
        const s = crypto.subtle; const a = await s.generateKey('X25519', false, ['deriveBits']), b = await s.generateKey('X25519', false, ['deriveBits']); const bits = async (mine, its) => new Uint8Array(await s.deriveBits({name: 'X25519', public: its.publicKey}, mine.privateKey, 256)).toHex(); (await bits(a, b)) === (await bits(b, a)) ==> true : boolean
        const {publicKey, privateKey} = await crypto.subtle.generateKey('Ed25519', true, ['sign', 'verify']); [publicKey.type, privateKey.type, publicKey.usages, privateKey.usages, publicKey.algorithm, (await crypto.subtle.exportKey('raw', publicKey)).byteLength] ==> ["public","private",["verify"],["sign"],{"name":"Ed25519"},32] : array
        const s = crypto.subtle; const k = await s.generateKey({name: 'AES-KW', length: 128}, false, ['wrapKey', 'unwrapKey']), e = await s.generateKey({name: 'ECDH', namedCurve: 'P-256'}, true, ['deriveBits']); const w = await s.wrapKey('raw', await s.generateKey({name: 'HMAC', hash: 'SHA-1'}, true, ['sign']), k, 'AES-KW'); w.byteLength ==> 72 : number
        const s = crypto.subtle; const {privateKey: k} = await s.generateKey({name: 'ECDSA', namedCurve: 'P-384'}, true, ['sign']), g = await s.generateKey({name: 'AES-GCM', length: 256}, false, ['wrapKey', 'unwrapKey']), p = {name: 'AES-GCM', iv: new Uint8Array(12)}; const w = await s.wrapKey('jwk', k, g, p); const u = await s.unwrapKey('jwk', w, g, p, {name: 'ECDSA', namedCurve: 'P-384'}, true, ['sign']); JSON.stringify(await s.exportKey('jwk', u)) === JSON.stringify(await s.exportKey('jwk', k)) ==> true : boolean"#,
    );
    check_with(
        &Service::start(),
        &json!({"limits": {"timeoutMs": 30_000, "memoryBytes": 32 * MIB}}),
        r#"const {publicKey: {algorithm}, privateKey} = await crypto.subtle.generateKey({name: 'RSA-PSS', modulusLength: 1024, publicExponent: new Uint8Array([1, 0, 1]), hash: 'SHA-256'}, false, ['sign']); [algorithm.modulusLength, [...algorithm.publicExponent], algorithm.hash.name, algorithm !== privateKey.algorithm, (await crypto.subtle.sign({name: 'RSA-PSS', saltLength: 32}, privateKey, new Uint8Array(1))).byteLength] ==> [1024,[1,0,1],"SHA-256",true,128] : array"#,
    );
}

#[test]
fn wrong_keys_and_uses_are_told_by_the_errors_of_the_standard() {
    let attempt = |code: &str| {
        format!(
            "const s = crypto.subtle; try {{ await {code}; 'no error' }} catch (e) {{ e.name }}"
        )
    };
    let service = Service::start();
    for (code, expected) in [
        (
            "s.generateKey({name: 'ECDSA', namedCurve: 'P-255'}, true, ['sign'])",
            "NotSupportedError",
        ),
        (
            "s.generateKey({name: 'ECDSA'}, true, ['sign'])",
            "TypeError",
        ),
        (
            "s.generateKey({name: 'ECDSA', namedCurve: 'P-256'}, true, ['verify'])",
            "SyntaxError",
        ),
        (
            "s.generateKey({name: 'ECDSA', namedCurve: 'P-256'}, true, ['deriveBits'])",
            "SyntaxError",
        ),
        (
            "s.generateKey({name: 'RSA-PSS', modulusLength: 1000, publicExponent: new Uint8Array([1, 0, 1]), hash: 'SHA-1'}, true, ['sign'])",
            "OperationError",
        ),
        (
            "s.generateKey({name: 'RSA-PSS', modulusLength: 8200, publicExponent: new Uint8Array([1, 0, 1]), hash: 'SHA-1'}, true, ['sign'])",
            "OperationError",
        ),
        (
            "s.generateKey({name: 'RSA-PSS', modulusLength: 2048, publicExponent: new Uint8Array([2]), hash: 'SHA-1'}, true, ['sign'])",
            "OperationError",
        ),
        (
            "s.generateKey({name: 'RSA-PSS', modulusLength: 2048, publicExponent: new Uint8Array([1]), hash: 'SHA-1'}, true, ['sign'])",
            "OperationError",
        ),
        (
            "s.generateKey({name: 'RSA-PSS', modulusLength: 2048, publicExponent: new Uint8Array(), hash: 'SHA-1'}, true, ['sign'])",
            "OperationError",
        ),
        (
            "s.generateKey({name: 'RSA-PSS', modulusLength: 2048, publicExponent: [1, 0, 1], hash: 'SHA-1'}, true, ['sign'])",
            "TypeError",
        ),
        (
            "s.generateKey({name: 'RSA-PSS', modulusLength: 4096, publicExponent: new Uint8Array([1, 0, 1]), hash: 'SHA-1'}, true, ['verify'])",
            "SyntaxError",
        ),
        (
            "s.importKey('raw', new Uint8Array(65).fill(4), {name: 'ECDSA', namedCurve: 'P-256'}, true, ['verify'])",
            "DataError",
        ),
        (
            "s.importKey('raw', new Uint8Array(1), {name: 'ECDSA', namedCurve: 'P-256'}, true, ['verify'])",
            "DataError",
        ),
        (
            "s.importKey('raw', new Uint8Array(65), {name: 'ECDSA', namedCurve: 'P-256'}, true, ['sign'])",
            "SyntaxError",
        ),
        (
            "s.importKey('raw', new Uint8Array(65), {name: 'RSA-PSS', hash: 'SHA-1'}, true, ['verify'])",
            "NotSupportedError",
        ),
        (
            "s.importKey('raw', new Uint8Array(31), 'Ed25519', true, ['verify'])",
            "DataError",
        ),
        (
            "s.importKey('pkcs8', new Uint8Array(48), 'Ed25519', true, ['sign'])",
            "DataError",
        ),
        (
            "s.importKey('jwk', {kty: 'OKP', crv: 'X25519', x: 'AAAA'}, 'Ed25519', true, ['verify'])",
            "DataError",
        ),
        (
            "s.importKey('jwk', {kty: 'EC', crv: 'P-256', x: 'AAAA', y: 'AAAA'}, {name: 'ECDH', namedCurve: 'P-256'}, true, [])",
            "DataError",
        ),
        (
            "s.importKey('jwk', {kty: 'RSA', n: 'AQAB', e: 'AQAB'}, {name: 'RSA-OAEP', hash: 'SHA-1'}, true, ['encrypt'])",
            "DataError",
        ),
        (
            "s.importKey('jwk', {kty: 'oct', k: 'AAAAAAAAAAAAAAAAAAAAAA', key_ops: ['sign', 'sign']}, {name: 'HMAC', hash: 'SHA-1'}, true, ['sign'])",
            "DataError",
        ),
        (
            "s.importKey('jwk', {kty: 'oct', k: 'AAAA='}, {name: 'HMAC', hash: 'SHA-1'}, true, ['sign'])",
            "DataError",
        ),
        (
            "s.sign('Ed25519', (await s.generateKey('Ed25519', true, ['sign', 'verify'])).publicKey, new Uint8Array(1))",
            "InvalidAccessError",
        ),
        (
            "s.exportKey('pkcs8', (await s.generateKey('Ed25519', true, ['sign'])).publicKey)",
            "InvalidAccessError",
        ),
        (
            "s.exportKey('raw', (await s.generateKey('Ed25519', true, ['sign'])).privateKey)",
            "InvalidAccessError",
        ),
        (
            "s.exportKey('jwk', (await s.generateKey('Ed25519', false, ['sign'])).privateKey)",
            "InvalidAccessError",
        ),
        (
            "s.deriveBits({name: 'X25519', public: 1}, (await s.generateKey('X25519', true, ['deriveBits'])).privateKey, 8)",
            "TypeError",
        ),
        (
            "s.deriveBits({name: 'X25519', public: await s.importKey('raw', new Uint8Array(32), 'X25519', true, [])}, (await s.generateKey('X25519', true, ['deriveBits'])).privateKey, 8)",
            "OperationError",
        ),
        (
            "s.wrapKey('raw', await s.importKey('raw', new Uint8Array(9), {name: 'HMAC', hash: 'SHA-1'}, true, ['sign']), await s.generateKey({name: 'AES-KW', length: 128}, true, ['wrapKey']), 'AES-KW')",
            "OperationError",
        ),
        (
            "s.encrypt('AES-KW', await s.generateKey({name: 'AES-KW', length: 128}, true, ['wrapKey']), new Uint8Array(16))",
            "NotSupportedError",
        ),
    ] {
        assert_eq!(service.result(&attempt(code)), expected, "{code}");
    }
}

#[test]
fn a_seed_forbids_new_keys_and_governs_salts() {
    let service = Service::start();
    let sign = "const {keys} = input, k = await crypto.subtle.importKey('jwk', keys[4].jwk, {name: 'RSA-PSS', hash: 'SHA-256'}, false, ['sign']);
        new Uint8Array(await crypto.subtle.sign({name: 'RSA-PSS', saltLength: 20}, k, new Uint8Array(1))).toHex()";
    let run = |seed: u64| {
        service.execute(&json!({"code": sign, "seed": seed, "input": numbers_of_node(), "limits": {"timeoutMs": 30_000}}))
            ["result"]
            .clone()
    };
    let first = run(1);
    assert!(first.is_string(), "{first}");
    assert_eq!(run(1), first);
    assert_ne!(run(2), first);
    let names = "const out = []; for (const a of ['Ed25519', 'X25519', {name: 'ECDSA', namedCurve: 'P-256'}, {name: 'ECDH', namedCurve: 'P-256'}, {name: 'AES-KW', length: 128},
        {name: 'RSA-OAEP', modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]), hash: 'SHA-1'}]) {
        const usages = {X25519: ['deriveBits'], ECDH: ['deriveBits'], 'AES-KW': ['wrapKey'], 'RSA-OAEP': ['decrypt']}[a.name ?? a] ?? ['sign'];
        out.push(await crypto.subtle.generateKey(a, true, usages).catch((e) => e.name)) } out";
    let execution = service.execute(&json!({"code": names, "seed": 1}));
    assert_eq!(
        execution["result"],
        json!(vec!["OperationError"; 6]),
        "{execution}"
    );
}

#[test]
fn the_search_for_a_long_key_ends_with_the_time() {
    let service = Service::start();
    let code = "for (;;) await crypto.subtle.generateKey({name: 'RSA-PSS', modulusLength: 8192,
        publicExponent: new Uint8Array([1, 0, 1]), hash: 'SHA-256'}, true, ['sign'])";
    let execution = service.execute(&json!({"code": code, "limits": {"timeoutMs": 100}}));
    assert_eq!(execution["outcome"], "timed_out", "{execution}");
    assert_eq!(service.result("1 + 2"), 3);
}

//! Benign scripts that need memory. The sweep and `make test-asan` run them with too little of it.

use sandpiper_domain::ScriptKind;

/// Scripts and their results. Each script needs some hundred kilobytes.
pub(super) const SCRIPTS: &[(&str, u64)] = &[
    (
        "let a = []; for (let i = 0; i < 1000; i++) a.push({i, s: 'x' + i}); a.length",
        1000,
    ),
    (
        "JSON.stringify(JSON.parse('[' + '{\"a\":[1,2]},'.repeat(500) + '1]')).length",
        6003,
    ),
    ("'x'.repeat(500).replace(/x/g, 'yz').split('z').length", 501),
    (
        "const s = []; for (let i = 0; i < 100; i++) s.push(new SharedArrayBuffer(1, {maxByteLength: 2000})); s.reduce((n, b) => (b.grow(2), n + b.byteLength), 0)",
        200,
    ),
    (
        "const d = []; for (let i = 0; i < 300; i++) d.push(new Date('2024-01-31 10:00:00-05:00'), Date.parse('Jan 1 2024' + ' '.repeat(i % 50))); d.length",
        600,
    ),
    (
        "for (let i = 0; i < 200; i++) console.log('%s %d %o', 'x'.repeat(100), i, {i}); Math.hypot(...Array.from({length: 400}, () => 1))",
        20,
    ),
    (
        "const m = new Map(); for (let i = 0; i < 800; i++) m.set('k' + i, [i]); m.size",
        800,
    ),
    (
        "let s = 0; async function f(n) { await null; s += n; if (n) await f(n - 1) } await f(100); s",
        5050,
    ),
    (
        "class A { #p = [1, 2]; get p() { return this.#p } } Array.from({length: 500}, () => new A()).map((a) => a.p.length).reduce((x, y) => x + y)",
        1000,
    ),
    (
        "function* g() { for (let i = 0; i < 300; i++) yield new Error('e' + i) } [...g()].length",
        300,
    ),
    (
        "let s = ''; for (let i = 0; i < 100; i++) s += `function f${i}(a, {b}) { return a + b + ${i} };`; eval(s); f99(1, {b: 1})",
        101,
    ),
    (
        "const d = []; for (let i = 0; i < 200; i++) d.push(new DataView(new ArrayBuffer(1000), 8)); d.length",
        200,
    ),
    (
        "const r = []; for (let i = 0; i < 200; i++) r.push(/(?<a>x+)(y|z)*/.exec('xx' + 'y'.repeat(i))); r.length",
        200,
    ),
    (
        "const c = []; for (let i = 0; i < 300; i++) try { null.x } catch (e) { c.push(e.message + i) } c.length",
        300,
    ),
    (
        "console.log(Array.from({length: 500}, (x, i) => ({i}))); console.table([[1, 2]]); new Uint8Array(1e5).length",
        100_000,
    ),
    (
        "const w = []; for (let i = 0; i < 100; i++) setTimeout(() => w.push('t'.repeat(i)), 0); await new Promise((done) => setTimeout(done, 5)); w.length",
        100,
    ),
    (
        "let b = 1n; for (let i = 0; i < 60; i++) b = b * 3n ** 100n; b.toString().length",
        2863,
    ),
    (
        "const p = new Proxy({}, {ownKeys: () => Array.from({length: 200}, (x, i) => 'k' + i), getOwnPropertyDescriptor: () => ({enumerable: true, configurable: true, value: 1})}); Object.keys(p).length",
        200,
    ),
    (
        "const u = []; for (let i = 0; i < 100; i++) u.push(new URL('../b?x=' + i, 'http://a.example/c/d')); u[99].searchParams.append('y', 1); u[99].href.length",
        27,
    ),
    (
        "const t = []; for (let i = 0; i < 100; i++) t.push(new TextDecoder('shift_jis').decode(new TextEncoder().encode('x'.repeat(i)))); t.join('').length",
        4950,
    ),
    (
        "const c = structuredClone(Array.from({length: 120}, (x, i) => ({i, m: new Map([[i, new Set([i])]]), d: new Date(i)}))); c.length",
        120,
    ),
    (
        "const e = new EventTarget(), c = new AbortController(); let n = 0; for (let i = 0; i < 100; i++) e.addEventListener('x', () => n++, {signal: c.signal}); e.dispatchEvent(new Event('x')); c.abort(); e.dispatchEvent(new CustomEvent('x')); n",
        100,
    ),
    (
        "const k = await crypto.subtle.importKey('raw', new Uint8Array(9), {name: 'HMAC', hash: 'SHA-512'}, true, ['sign']); const s = []; for (let i = 0; i < 50; i++) s.push(await crypto.subtle.sign('HMAC', k, new Uint8Array(i)), crypto.randomUUID()); s.length",
        100,
    ),
    (
        "const s = crypto.subtle, a = {name: 'ECDSA', namedCurve: 'P-256'}, h = {name: 'ECDSA', hash: 'SHA-256'}; const {privateKey, publicKey} = await s.generateKey(a, true, ['sign', 'verify']); const k = await s.importKey('pkcs8', await s.exportKey('pkcs8', privateKey), a, true, ['sign']), p = await s.importKey('jwk', await s.exportKey('jwk', publicKey), a, true, ['verify']); const g = await s.sign(h, k, new Uint8Array(9)); g.byteLength + await s.verify(h, p, g, new Uint8Array(9))",
        65,
    ),
    (
        "const s = crypto.subtle, a = {name: 'RSA-OAEP', hash: 'SHA-1'}; const k = await s.importKey('jwk', {kty: 'RSA', n: '_'.repeat(341) + 'w', e: 'AQAB'}, a, true, ['encrypt', 'wrapKey']); const x = await s.generateKey({name: 'AES-KW', length: 128}, true, ['wrapKey', 'unwrapKey']); (await s.encrypt(a, k, new Uint8Array(9))).byteLength + (await s.wrapKey('raw', x, k, a)).byteLength + (await s.wrapKey('raw', x, x, 'AES-KW')).byteLength",
        536,
    ),
    (
        "const t = new TransformStream({transform(x, c) { c.enqueue(x + 1) }}); const w = t.writable.getWriter(); for (let i = 0; i < 50; i++) w.write(i); w.close(); let n = 0; for await (const x of t.readable) n += x; n",
        1275,
    ),
    (
        "const h = new Headers(), f = new FormData(); for (let i = 0; i < 50; i++) { h.append('a' + i, 'b'); f.append('c', new Blob(['d'.repeat(i)])) } let n = 0; for (const x of f.getAll('c')) n += (await x.text()).length; n + [...h].length",
        1275,
    ),
    (
        "const p = new URLPattern('https://:a.example/:b/*'); let n = 0; for (let i = 0; i < 30; i++) n += p.exec('https://x.example/y/z').pathname.groups.b.length; n",
        30,
    ),
    (
        "let n = 0; addEventListener('error', (e) => { n++; e.preventDefault() }); addEventListener('unhandledrejection', (e) => { n++; e.preventDefault() }); for (let i = 0; i < 50; i++) { Promise.reject(i); queueMicrotask(() => { throw i }) } await new Promise((f) => setTimeout(f)); n",
        100,
    ),
];

/// A script of another kind, or with modules: kind, code, modules by name, result.
type OfKind = (
    ScriptKind,
    &'static str,
    &'static [(&'static str, &'static str)],
    u64,
);

/// Scripts of other kinds, and their results. Each script needs some hundred kilobytes.
pub(super) const KINDS: &[OfKind] = &[
    (
        ScriptKind::Function,
        "const a = []; for (let i = 0; i < 1000; i++) a.push({ i, s: 'x' + i }); await null; return a.length",
        &[],
        1000,
    ),
    (
        ScriptKind::Module,
        "import { twice } from './a.js'; import * as b from './b/b.js'; let s = 0; for (let i = 0; i < 1000; i++) s += twice([i]).length + b.one; export default s",
        &[
            (
                "./a.js",
                "import { one } from './b/b.js'; export const twice = (list) => [...list, ...list].slice(one - 1)",
            ),
            (
                "./b/b.js",
                "import '../a.js'; export const one = 1; export const more = Array.from({ length: 500 }, (_, i) => 'x' + i)",
            ),
        ],
        3000,
    ),
    (
        ScriptKind::Script,
        "let n = 0; for (let i = 0; i < 100; i++) { const m = await import('./m.js'); n += m.default.length; await import('./none.js').catch((e) => n += e.message.length > 0) } n",
        &[("./m.js", "export default 'x'.repeat(99)")],
        10_000,
    ),
];

/// Scripts in TypeScript and their results.
pub(super) const TYPESCRIPT: &[(&str, u64)] = &[(
    "interface Row<T> { id: number; value?: T }\ntype Rows<T> = readonly Row<T>[];\nabstract class Table<T> { protected abstract readonly name: string; private rows: Row<T>[] = [];\n  add(id: number, value?: T): this { this.rows.push({ id, value } as Row<T>); return this }\n  all(): Rows<T> { return this.rows } }\nclass Named extends Table<string> { protected readonly name = 'named' satisfies string }\nconst table = new Named(); for (let i: number = 0; i < 500; i++) table.add(i, `row ${i as number}`);\nconst sum = <T,>(rows: Rows<T>, of: (row: Row<T>) => number): number => rows.reduce((n, row) => n + of(row), 0);\nsum<string>(table.all(), (row) => row.value!.length > 5 ? 1 : 0)",
    490,
)];

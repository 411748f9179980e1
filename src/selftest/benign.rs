//! Benign scripts that need memory. The sweep and `make test-asan` run them with too little of it.

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
];

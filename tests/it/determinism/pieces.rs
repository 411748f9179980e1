//! The pieces of the random scripts. Each may use `say`, `hex`, `sleep`, `bytesOf` and `input`, which has keys.

/// Pieces of the body of an async function.
pub(super) const PIECES: &[&str] = &[
    // Randomness.
    "say(Math.random(), Math.random() < 0.5, Math.floor(Math.random() * $B));",
    "for (let i = 0; i < $N; i++) Math.random(); say(Math.random());",
    "say(crypto.randomUUID(), crypto.randomUUID());",
    "say(hex(crypto.getRandomValues(new Uint8Array($B))));",
    "for (const Type of [Int8Array, Uint8ClampedArray, Uint16Array, Int32Array, BigInt64Array]) say(String(crypto.getRandomValues(new Type($N))));",
    "const buffer = new ArrayBuffer(64, { maxByteLength: 128 }); const view = new Uint8Array(buffer, 8); buffer.resize($N + 20); crypto.getRandomValues(view); say(hex(buffer));",
    // Keys: none is generated under a seed, and what is random in their use comes from it.
    "for (const [algorithm, usages] of [
        [{ name: 'HMAC', hash: 'SHA-256' }, ['sign']], [{ name: 'AES-GCM', length: 256 }, ['encrypt']],
        [{ name: 'AES-CBC', length: 128 }, ['encrypt']], [{ name: 'AES-CTR', length: 192 }, ['encrypt']],
        [{ name: 'AES-KW', length: 128 }, ['wrapKey']], ['Ed25519', ['sign']], ['X25519', ['deriveBits']],
        [{ name: 'ECDSA', namedCurve: 'P-384' }, ['sign']], [{ name: 'ECDH', namedCurve: 'P-521' }, ['deriveBits']],
        [{ name: 'RSA-PSS', modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]), hash: 'SHA-1' }, ['sign']],
        [{ name: 'RSASSA-PKCS1-v1_5', modulusLength: 1024, publicExponent: new Uint8Array([3]), hash: 'SHA-1' }, ['sign']],
        [{ name: 'RSA-OAEP', modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]), hash: 'SHA-1' }, ['decrypt']],
      ]) await crypto.subtle.generateKey(algorithm, true, usages).then(() => say('generated'), failed);",
    "for (const [number, curve] of ['P-256', 'P-384', 'P-521'].entries()) {
        const key = await crypto.subtle.importKey('pkcs8', bytesOf(input[number].pkcs8), { name: 'ECDSA', namedCurve: curve }, true, ['sign']);
        say(hex(await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, key, crypto.getRandomValues(new Uint8Array($N)))));
        say(await crypto.subtle.exportKey('jwk', key));
      }",
    "const key = await crypto.subtle.importKey('jwk', input[3].jwk, 'Ed25519', true, ['sign']);
      say(hex(await crypto.subtle.sign('Ed25519', key, new TextEncoder().encode($S))), hex(await crypto.subtle.exportKey('pkcs8', key)));",
    "const key = await crypto.subtle.importKey('pkcs8', bytesOf(input[4].pkcs8), { name: 'RSA-PSS', hash: 'SHA-256' }, true, ['sign']);
      say(hex(await crypto.subtle.sign({ name: 'RSA-PSS', saltLength: $N }, key, new Uint8Array($N))), Math.random());",
    "const key = await crypto.subtle.importKey('spki', bytesOf(input[4].spki), { name: 'RSA-OAEP', hash: 'SHA-256' }, true, ['encrypt']);
      say(hex(await crypto.subtle.encrypt({ name: 'RSA-OAEP', label: new Uint8Array($N) }, key, new Uint8Array($N))), Math.random());",
    "const key = await crypto.subtle.importKey('raw', crypto.getRandomValues(new Uint8Array(16)), 'AES-GCM', true, ['encrypt', 'wrapKey']);
      const iv = crypto.getRandomValues(new Uint8Array(12));
      say(hex(await crypto.subtle.encrypt({ name: 'AES-GCM', iv }, key, new Uint8Array($B))));
      say(hex(await crypto.subtle.wrapKey('jwk', key, key, { name: 'AES-GCM', iv })));",
    "const key = await crypto.subtle.importKey('raw', crypto.getRandomValues(new Uint8Array(9)), { name: 'HMAC', hash: 'SHA-512' }, true, ['sign']);
      say(hex(await crypto.subtle.sign('HMAC', key, new TextEncoder().encode($S))), await crypto.subtle.exportKey('jwk', key));",
    "const key = await crypto.subtle.importKey('raw', new TextEncoder().encode($S), 'PBKDF2', false, ['deriveBits']);
      say(hex(await crypto.subtle.deriveBits({ name: 'PBKDF2', hash: 'SHA-256', salt: crypto.getRandomValues(new Uint8Array(8)), iterations: $N }, key, 256)));",
    "const order = []; crypto.subtle.digest('SHA-256', new Uint8Array($N)).then((d) => order.push(hex(d))); crypto.subtle.digest('SHA-1', new Uint8Array(1)).then(() => order.push('second'));
      Promise.resolve().then(() => order.push('job')); queueMicrotask(() => order.push('microtask')); setTimeout(() => order.push('timer'), 0); await sleep(1); say(order);",
    // Clocks and timers.
    "say(Date.now(), new Date(), Date(), performance.now(), performance.timeOrigin, performance.toJSON());",
    "await sleep($B); say(Date.now(), new Date().getTime(), performance.now());",
    "await sleep($N.75); say(performance.now(), new Date().getMilliseconds());",
    "const order = []; for (let i = 0; i < 6; i++) { const delay = Math.floor(Math.random() * $N); setTimeout((n) => order.push([n, delay, performance.now()]), delay, i); } await sleep(40); say(order);",
    "let n = 0; const order = []; const id = setInterval(() => { order.push(performance.now()); if (++n === 4) clearInterval(id); else setTimeout(() => order.push(-n), 0); }, $N); await sleep(200); say(order, typeof id);",
    "const start = Date.now(); let turns = 0; while (turns < $B) turns++; say(Date.now() - start);",
    "class Later extends Date { tomorrow() { return new Later(+this + 864e5) } } say(new Later().tomorrow(), Reflect.construct(Date, [], Later), structuredClone(new Date()));",
    "const signal = AbortSignal.timeout($N); signal.addEventListener('abort', (event) => say(event.type, event.timeStamp, performance.now())); await sleep($N); say(signal.aborted); await sleep(60); say(signal.reason?.message);",
    "const all = AbortSignal.any([AbortSignal.timeout($N), AbortSignal.timeout($N), AbortSignal.abort($S)]); say(all.aborted, all.reason);",
    "const c = new AbortController(); setTimeout(() => c.abort(performance.now()), $N); await new Promise((done) => { c.signal.onabort = done }); say(c.signal.reason);",
    "say(new Event('a').timeStamp); await sleep($N); say(new CustomEvent('b', { detail: 1 }).timeStamp, new MessageEvent('c').timeStamp, new ErrorEvent('d').timeStamp);",
    "const t = new EventTarget(); for (const n of [1, 2, 3]) t.addEventListener('x', (e) => say(n, e.timeStamp), { once: n === 2 }); t.dispatchEvent(new Event('x')); await sleep($N); t.dispatchEvent(new Event('x'));",
    "const { port1, port2 } = new MessageChannel(); const got = new Promise((done) => { port2.onmessage = (e) => { say(e.data, e.timeStamp); if (e.data === 3) done() } }); for (const n of [1, 2, 3]) { port1.postMessage(n); setTimeout(() => say('timer'), 0); } await got;",
    "console.time('t'); await sleep($N); console.timeLog('t', $S); console.timeEnd('t'); console.count(); console.count($S); console.group('g'); console.log('%s %d %o', $S, $F, { a: [$N] }); console.groupEnd(); console.table([[1], [2]]); console.trace('here');",
    // Dates without `Intl`.
    "const d = new Date($F); say(d, String(d), d.toString(), d.toLocaleString(), d.toLocaleDateString(), d.toLocaleTimeString(), d.getTimezoneOffset());",
    "const d = new Date(2000 + $N, $N % 12, $N, $N % 24, $N); say(d.toUTCString(), d.toDateString(), d.toTimeString(), d.getDay(), d.getHours(), d.valueOf());",
    "for (const text of ['2024-02-30', '2024-03-10T02:30', '1 Jan 2020', 'Thu, 01 Jan 1970 00:00:00 GMT+0200', '2020-01-01T00:00:00.1234Z', $S]) say(Date.parse(text));",
    // Files, forms, bodies.
    "say(new File([$S], 'n').lastModified); await sleep($N); const f = new File([$S], $S, { type: 'a/b' }); say(f.lastModified, f.name, f.size, structuredClone(f).lastModified);",
    "const form = new FormData(); form.append($S, $S); form.append('blob', new Blob([$S])); say(form.get('blob').lastModified, form.get('blob').name); const r = new Response(form); say(r.headers.get('content-type')); say(await r.text());",
    "const form = new FormData(); form.set('f', new File(['x'.repeat($B)], $S)); const q = new Request('http://a/', { method: 'POST', body: form }); const c = q.clone(); say([...q.headers], (await c.text()).slice(0, 200)); say([...(await q.formData())].map(([k, v]) => [k, v.name, v.size, v.lastModified]));",
    "const blob = new Blob([$S, new Uint8Array($N), new Blob(['b'])], { type: 'T/x' }); say(blob.type, blob.size, await blob.slice(1, $N).text(), hex(await blob.bytes())); for await (const chunk of blob.stream()) say(chunk.length);",
    "const h = new Headers({ b: '1', A: '2' }); h.append('b', '3'); h.append('set-cookie', 'x'); h.append('set-cookie', 'y'); say([...h], h.getSetCookie()); say(await new Response('{\"a\":1}').json(), Response.json({ n: $F }).status);",
    // Values.
    "say(structuredClone({ m: new Map([[{ a: 1 }, new Set([1, 'b'])]]), d: new Date($N), e: new RangeError('x'), r: /a/gi, b: new Uint8Array($N), n: -0, big: 10n ** 20n }));",
    "const e = structuredClone(new Error($S, { cause: new TypeError('c') })); say(e, e.cause.stack);",
    "const u = new URL('http://user@exämple.org:80/a/../' + encodeURIComponent($S) + '?b=2&a=1#' + $S); u.searchParams.append($S, $S); u.searchParams.sort(); say(u.href, [...u.searchParams], u.searchParams.toString());",
    "try { say(new URL($S, 'http://h/p/q').href) } catch (error) { say(error.name, error.message, error.stack) }",
    "const p = new URLPattern({ pathname: '/:a/*', search: '*' }); say(p.exec('http://h/' + encodeURIComponent($S) + '/c?d')); say(p.pathname, p.hasRegExpGroups);",
    "say(hex(new TextEncoder().encode($S)), new TextEncoder().encodeInto($S, new Uint8Array($N)));",
    "for (const label of ['utf-8', 'utf-16le', 'shift_jis', 'gb18030', 'windows-1252', 'koi8-r']) say(new TextDecoder(label).decode(crypto.getRandomValues(new Uint8Array($N))));",
    "const d = new TextDecoder(); let out = ''; for (const byte of new TextEncoder().encode($S)) out += d.decode(new Uint8Array([byte]), { stream: true }); say(out + d.decode());",
    "say(btoa('a'.repeat($N)), atob('YWJj'), escape($S), encodeURI($S));",
    // Streams.
    "const s = ReadableStream.from([1, 2, $N]); const [a, b] = s.tee(); const read = async (s, n) => { for await (const c of s) say(n, c) }; await Promise.all([read(a, 'a'), read(b, 'b')]);",
    "let n = 0; const s = new ReadableStream({ async pull(c) { await sleep($N); c.enqueue([n, performance.now()]); if (++n === 3) c.close(); } }, { highWaterMark: $N % 4 }); for await (const c of s) say(c);",
    "const s = new ReadableStream({ type: 'bytes', autoAllocateChunkSize: 16, pull(c) { crypto.getRandomValues(c.byobRequest.view); c.byobRequest.respond(8); c.close(); } }); const { value } = await s.getReader({ mode: 'byob' }).read(new Uint8Array(32)); say(hex(value));",
    "const parts = []; await ReadableStream.from(['a', $S, 'b']).pipeThrough(new TextEncoderStream()).pipeThrough(new TextDecoderStream()).pipeTo(new WritableStream({ async write(c) { await sleep(Math.random() * $N); parts.push(c, Date.now()) } })); say(parts);",
    "for (const format of ['gzip', 'deflate', 'deflate-raw']) { const s = new Blob([crypto.getRandomValues(new Uint8Array($N)), 'a'.repeat($B)]).stream().pipeThrough(new CompressionStream(format)); const small = await new Response(s).bytes(); say(hex(small)); say((await new Response(new Blob([small]).stream().pipeThrough(new DecompressionStream(format))).bytes()).length); }",
    "const t = new TransformStream({ transform(c, o) { o.enqueue(c * Math.random()) } }); const w = t.writable.getWriter(); w.write($N); w.write($F); w.close(); for await (const c of t.readable) say(c);",
    // The language.
    "const a = Array.from({ length: $N }, () => Math.floor(Math.random() * 10)); say(a.toSorted(), a.toSorted((x, y) => y - x), a.map((n, i) => [n, i]).sort((x, y) => x[0] - y[0]));",
    "const a = Array.from({ length: $N }, (_, i) => i); say(a.sort(() => Math.random() - 0.5), a.sort(() => 1), a.sort((x, y) => x > y));",
    "const m = new Map(); for (let i = 0; i < $N; i++) { m.set(Math.floor(Math.random() * 20), i); if (i % 3 === 0) m.delete(i) } say(m, [...m.keys()], new Set(m.values()), Object.groupBy(m.keys(), (k) => k % 3));",
    "const o = {}; for (let i = 0; i < $N; i++) o[Math.random() < 0.5 ? Math.floor(Math.random() * 30) : 'k' + i] = i; delete o[3]; say(o, Object.keys(o), JSON.stringify(o));",
    "const w = new WeakMap(), refs = []; for (let i = 0; i < $B; i++) { const k = { i }; k.self = k; w.set(k, i); if (i % 100 === 0) refs.push(new WeakRef(k)) } await sleep(1); say(refs.map((r) => r.deref()?.i ?? null));",
    "const freed = []; const f = new FinalizationRegistry((n) => freed.push(n)); for (let i = 0; i < $B; i++) { const o = { i }; o.o = o; if (i % 50 === 0) f.register(o, i) } await sleep(1); say(freed);",
    "say([$F, $F].map((x) => [Math.sin(x), Math.cos(x), Math.tan(x), Math.exp(x % 700), Math.log(Math.abs(x)), Math.atan(x), Math.sqrt(Math.abs(x)), Math.cbrt(x), Math.hypot(x, 3), Math.fround(x), Math.f16round?.(x)]));",
    "say(Array.from({ length: 20 }, () => { const x = Math.random() * 20 - 10; return [Math.sinh(x), Math.cosh(x), Math.tanh(x), Math.asinh(x), Math.expm1(x), Math.log1p(Math.abs(x)), Math.log2(Math.abs(x)), Math.log10(Math.abs(x)), Math.pow(Math.abs(x), x), Math.atan2(x, 2)] }));",
    "say($F.toFixed(3), $F.toString(36), $F.toPrecision(9), $F.toExponential(), ($F).toLocaleString(), parseFloat('$F'), 0.1 + $F);",
    "const f = () => { throw new TypeError($S) }; try { [3].map(() => f()) } catch (error) { say(error.stack, error.lineNumber, String(error)) }",
    "await Promise.reject(new Error($S)).catch(failed); await Promise.any([Promise.reject(1), Promise.reject(2)]).catch((e) => say(e.name, e.errors)); say(await Promise.allSettled([sleep($N), Promise.reject($N)]));",
    "say(await Promise.race([sleep($N).then(() => 'a'), sleep($N).then(() => 'b'), new Promise((done) => queueMicrotask(() => sleep($N).then(() => done('c'))))]));",
    "const order = []; for (const n of [1, 2, 3]) (async () => { for (let i = 0; i < n; i++) { await null; order.push(n) } })(); await sleep(0); say(order);",
    "say(await Array.fromAsync((async function* () { yield Math.random(); await sleep($N); yield Date.now() })()), [1, 2, 3].values().map((n) => n * $N).toArray());",
    "say($S.normalize('NFD'), $S.split(''), $S.localeCompare($S), $S.toUpperCase(), [$S, $S, $S].sort(), $S.replace(/[a-z]/gi, (c) => c + Math.random()));",
    "say([...$S.matchAll(/(?<first>.)./gu)].map((m) => m.groups.first), /\\p{L}+/u.exec($S)?.[0]);",
    "say(2n ** BigInt($B) % 1000003n, BigInt.asUintN(64, -BigInt($B)), new BigInt64Array([BigInt($N)]));",
    "const shared = new SharedArrayBuffer(8); const view = new Int32Array(shared); Atomics.add(view, 0, $N); say(view, Atomics.exchange(view, 1, 7), shared.byteLength);",
    "say(navigator.userAgent, typeof fetch, Object.keys(globalThis), Object.getOwnPropertyNames(crypto.subtle.constructor.prototype)); await fetch('http://a/').catch(failed);",
    "say(await import('./a.js').then((m) => ({ ...m })), await import('./lib/b.js').then((m) => Object.keys(m)));",
    "const all = await Promise.allSettled(['./a.js', './c.ts', 'pkg', './none.js'].map((name) => import(name))); say(all.map((r) => r.status === 'fulfilled' ? r.value.default : [r.reason.name, r.reason.message, r.reason.stack]));",
    "addEventListener('error', (e) => { e.preventDefault(); say(e.message, e.lineno, e.timeStamp) }); setTimeout(() => { throw new Error($S) }, $N); await sleep(40);",
    "addEventListener('unhandledrejection', (e) => { e.preventDefault(); say(String(e.reason), e.timeStamp) }); Promise.reject($S); Promise.reject($N); await sleep(1);",
    "new Function('say', 'say(Math.random(), Date.now())')(say); (0, eval)('globalThis.evaluated = [Math.random(), performance.now()]'); say(globalThis.evaluated);",
    "say(Symbol('s').toString(), Symbol.for($S).description, (() => 1).toString(), class A { #x = 1 }, function named() {}, /a/v, new Proxy([1], {}));",
];

/// Pieces in TypeScript.
pub(super) const TYPED: &[&str] = &[
    "const n: number = Math.random(); const pair = [n, Date.now()] as const; say(...pair);",
    "interface Row { id: string; at: Date } const row: Row = { id: crypto.randomUUID(), at: new Date() } satisfies Row; say(row!.id, row.at as unknown);",
    "class Box<T extends object = {}> { private readonly value!: T; static made: number = 0; constructor(value: T) { this.value = value; Box.made++ } get(): T { return this.value } } say(new Box<{ a: number }>({ a: $F }).get(), Box.made);",
    "function pick(a: string): string; function pick(a: number): number; function pick(this: void, a: any) { return a } say(pick($N), pick($S));",
    "abstract class Shape { abstract area(): number; toString(): string { return `${this.area()}` } } class Square extends Shape { constructor(readonly_: number) { super(); this.side = readonly_ } side: number; override area(): number { return this.side ** 2 } } say(`${new Square($F)}`);",
    "type Json = null | number | Json[]; const id = <T,>(value: T): T => value; const values: Json[] = [1, [$N]]; say(id<Json>(values));",
    "const f = async <T>(given: Promise<T>): Promise<T> => { const value: T = await given; return value }; say(await f<number>(sleep($N).then((): number => performance.now())));",
    "try { (null as any).x } catch (error: unknown) { say((error as Error).stack) }",
    "let maybe: string | undefined = Math.random() < 0.5 ? $S : undefined; say(maybe?.length ?? -1, maybe! as any);",
    "declare const nothing: number; label: for (const x of [1, 2, 3] as number[]) { if (x > $N) continue label; say(x) } say(typeof nothing);",
];

/// Modules in JavaScript that TypeScript reads too.
pub(super) const MODULES: &[&str] = &[
    "export const random = Math.random(); export default random",
    "await new Promise((done) => setTimeout(done, $N)); export const at = performance.now(); export default at",
    "export const id = crypto.randomUUID(); await null; console.log(import.meta.url, id); export default [id, Date.now()]",
    "export default function f() { return $N } throw new RangeError($S)",
    "import { created } from './lib/b.js'; export { created }; export default Math.random()",
    "export const created = new Date(); export let x = await crypto.subtle.digest('SHA-1', new Uint8Array($N)); export default new Uint8Array(x)",
    "import './a.js'; import './lib/b.js'; export const created = performance.now(); console.log('loaded'); export default $F",
    "export * from 'pkg'; export const own = $S; await import('./c.ts'); export default own",
    "let 1a",
];

pub(super) const PRELUDES: &[&str] = &[
    "var before = [Math.random(), Date.now()]; console.log(before);",
    "globalThis.tools = { id: crypto.randomUUID() }; await new Promise((done) => setTimeout(done, $N)); console.log(performance.now(), tools.id);",
    "await import('./a.js').then((m) => console.log(Object.keys(m)), (e) => console.log(e.message));",
];

/// Statements that may end the execution.
pub(super) const ENDS: &[&str] = &[
    "throw Object.assign(new TypeError($S), { at: Date.now() });",
    "setTimeout(() => { throw new Error(String(performance.now())) }, $N); await new Promise(() => {});",
    "await new Promise(() => {});",
    "await import('./' + $S + '.js');",
    "reportError(new RangeError(String(Math.random()))); await sleep(1);",
    "null.x;",
    "const deep = () => 1 + deep(); try { deep() } catch (error) { say(error.name) }",
    "say('x'.repeat(2e6));",
    "let big; try { big = new Uint8Array(1e9) } catch (error) { say(error.name, error.message) }",
];

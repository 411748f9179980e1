//! Random scripts with tools: pieces in any order, one after the other or at the same time.

use fastrand::Rng;
use sandpiper_domain::tools::{Tool, ToolName, Tools};
use sandpiper_domain::{Script, ScriptDraft, ScriptKind};

const PIECES_MAX: usize = 7;
const NAMES: [&str; 4] = ["f", "g", "ns.h", "ns.i"];

const HEAD: &str = "const said = []; const say = (...values) => { said.push(values) };
const sleep = (millis) => new Promise((done) => setTimeout(done, millis));
const failed = (error) => { say(String(error?.name), String(error?.message), error?.code, error?.retryable); return 0 };
";

/// Pieces of the body of an async function.
const PIECES: &[&str] = &[
    "say(await tools.f($N));",
    "say(await tools.g({ n: $N, s: $S, at: Date.now() }).catch(failed));",
    "say(await tools.ns.h([$S, Math.random()]).catch(failed), performance.now());",
    "say(await tools.ns.i().catch(failed));",
    "for (let i = 0; i < $N; i++) say(await tools.f(i).catch(failed), Date.now());",
    "say(await Promise.all([...Array($N).keys()].map((i) => tools.g(i).catch(failed))));",
    "say(await Promise.allSettled([tools.f($N), tools.ns.h($S), sleep($B)]).then((all) => all.map((one) => one.status)));",
    "say(await Promise.race([tools.f($N).catch(failed), sleep($B).then(() => 'late')]), performance.now());",
    "say(await Promise.any([tools.f(1), tools.g(2)]).catch((e) => e.errors.map((one) => one.message)));",
    "await sleep($N); say(performance.now());",
    "await sleep($B); say(new Date().toISOString());",
    "let n = 0; const id = setInterval(() => { say('turn', performance.now()); if (++n === 3) clearInterval(id) }, $B + 1); await sleep($B);",
    "setTimeout((x) => say('timer', x, Date.now()), $B, $N);",
    "setTimeout(() => tools.f($S).then((r) => say('later', r), failed), $N);",
    "tools.g($N).then((r) => say('then', r), failed);",
    "tools.ns.i($S).catch(() => {});",
    "say(crypto.randomUUID(), Math.random());",
    "console.log($S, Math.random(), Date.now());",
    "console.group($N); console.warn({ at: performance.now(), s: $S }); await tools.f(0).catch(failed); console.groupEnd();",
    "console.time('t'); await tools.g($N).catch(failed); console.timeEnd('t');",
    "say(Math.sin($N), Math.exp($N / 7), $N ** 0.3, [$N, $B].map(Math.cbrt));",
    "const f = new FinalizationRegistry(() => say('freed')); for (let i = 0; i < $B; i++) { const o = { i }; o.o = o; f.register(o, i) }",
    "const ref = new WeakRef({ n: $N }); await tools.f(1).catch(failed); say(ref.deref()?.n);",
    "const order = []; queueMicrotask(() => order.push('m')); Promise.resolve().then(() => order.push('p')); await tools.f($S).catch(failed); say(order);",
    "const c = new AbortController(); setTimeout(() => c.abort(), $B); c.signal.addEventListener('abort', () => say('aborted', Date.now())); await tools.ns.h(1).catch(failed);",
    "say(await crypto.subtle.digest('SHA-256', new Uint8Array($N)).then((d) => new Uint8Array(d).toHex().slice(0, 8)));",
    "const hex = crypto.getRandomValues(new Uint8Array($N)).toHex(); say(hex, await tools.f(hex).catch(failed));",
    "const { promise, resolve } = Promise.withResolvers(); tools.g($N).then(resolve, resolve); say(String(await promise));",
    "try { await tools.f({ bad: [$N, NaN] }) } catch (error) { failed(error) }",
    "try { tools.nothing($N) } catch (error) { failed(error) }",
    "const rejected = Promise.reject(new Error($S)); await tools.f(2).catch(failed); await rejected.catch(failed);",
    "say(await (await import('./m.js')).later($N).catch(failed));",
    "for await (const x of (async function* () { yield tools.f(1).catch(failed); await sleep($N); yield tools.g(2).catch(failed) })()) say(x);",
];

/// Statements that may end the execution.
const ENDS: &[&str] = &[
    "throw Object.assign(new TypeError($S), { at: Date.now() });",
    "await tools.f('no').then(() => { throw new Error('after') });",
    "Promise.reject(new Error($S));",
    "setTimeout(() => { throw new Error(String(performance.now())) }, $N); await sleep(1e6);",
    "await new Promise(() => {});",
    "null.x;",
    "console.log(await Promise.reject(await tools.g($N)));",
];

/// Returns the script of this number, which is always the same.
pub(crate) fn script(number: u64) -> Script {
    let rng = &mut Rng::with_seed(number);
    let kind = *pick(
        rng,
        &[ScriptKind::Script, ScriptKind::Function, ScriptKind::Module],
    );
    let count = rng.usize(1..=PIECES_MAX);
    let mut body = HEAD.to_owned();
    for _ in 0..count {
        body.push_str(&step(rng));
    }
    if rng.u8(..) < 60 {
        body.push_str(&filled(rng, ENDS));
        body.push('\n');
    }
    let code = match kind {
        ScriptKind::Script => body + "said",
        ScriptKind::Function => body + "return said",
        ScriptKind::Module => body + "export default said",
    };
    let named = |name: &str| Tool::named(ToolName::parse(name).unwrap());
    Script::new(ScriptDraft {
        code: Some(code),
        kind,
        modules: vec![sandpiper_domain::Source {
            file_name: "./m.js".to_owned(),
            text: "export const later = (n) => tools.ns.i({ n, r: Math.random() });".to_owned(),
        }],
        tools: Some(Tools::new(NAMES.map(named).to_vec()).unwrap()),
        ..ScriptDraft::default()
    })
    .unwrap()
}

/// Returns a statement that runs some pieces: one, or a few at the same time.
fn step(rng: &mut Rng) -> String {
    let count = if rng.u8(..) < 80 { rng.usize(2..5) } else { 1 };
    let pieces: Vec<String> = (0..count)
        .map(|_| {
            let piece = filled(rng, PIECES);
            format!("(async () => {{ {piece} }})().catch(failed)")
        })
        .collect();
    match pieces.as_slice() {
        [piece] => format!("await {piece};\n"),
        pieces => format!("await Promise.all([{}]);\n", pieces.join(",\n")),
    }
}

/// Returns one of the pieces, with random values in the places of `$N` (up to 8), `$B` (up to 3,000) and `$S` (a string).
fn filled(rng: &mut Rng, pieces: &[&str]) -> String {
    let piece = pick(rng, pieces);
    let mut parts = piece.split('$');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.chars().next() {
            Some('N') => text.push_str(&rng.u8(..8).to_string()),
            Some('B') => text.push_str(&rng.u32(..3_000).to_string()),
            _ => text.push_str(&string(rng)),
        }
        text.push_str(&part[1..]);
    }
    text
}

fn string(rng: &mut Rng) -> String {
    let characters = [
        "a", "Z", "0", " ", "\\u2028", "é", "𝒳", "\\\\", "\\n", "\\ud800",
    ];
    let text: String = (0..rng.usize(..6))
        .map(|_| *pick(rng, &characters))
        .collect();
    format!("\"{text}\"")
}

fn pick<'t, T>(rng: &mut Rng, among: &'t [T]) -> &'t T {
    &among[rng.usize(..among.len())]
}

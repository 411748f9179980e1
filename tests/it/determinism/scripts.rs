//! Random requests: pieces of scripts in any order, of every kind and language, one after the other or at the same time.

use super::pieces::{ENDS, MODULES, PIECES, PRELUDES, TYPED};
use fastrand::Rng;
use serde_json::{Value, json};

const PIECES_MAX: usize = 7;

/// Script text before all pieces. `say` notes what goes into the result.
const HEAD: &str = "const said = []; const say = (...values) => { said.push(values) };
const hex = (bytes) => new Uint8Array(bytes.buffer ?? bytes, bytes.byteOffset ?? 0, bytes.byteLength).toHex();
const sleep = (millis) => new Promise((done) => setTimeout(done, millis));
const failed = (error) => say(String(error?.name), String(error?.message), String(error?.stack));
const bytesOf = (text) => Uint8Array.fromBase64(text);
";

/// Returns the request of this number, which is always the same.
pub(super) fn request(number: u64) -> Value {
    let rng = &mut Rng::with_seed(number);
    let is_typed = rng.bool();
    let kind = pick(rng, &["script", "function", "module"]);
    let keys: Value = serde_json::from_str(include_str!("../web_crypto.json")).unwrap();
    let mut request = json!({
        "kind": kind,
        "language": if is_typed { "typescript" } else { "javascript" },
        "code": code(rng, kind, is_typed),
        "input": keys["keys"],
        "seed": seed(rng),
    });
    if rng.u8(..) < 200 {
        request["modules"] = modules(rng);
    }
    if rng.bool() {
        request["prelude"] = json!(filled_of(rng, PRELUDES));
    }
    request
}

fn seed(rng: &mut Rng) -> Value {
    match rng.u8(..4) {
        0 => json!(rng.u8(..)),
        1 => json!(rng.i64(..)),
        _ => json!(rng.u64(..)),
    }
}

fn code(rng: &mut Rng, kind: &str, is_typed: bool) -> String {
    let count = rng.usize(1..=PIECES_MAX);
    let mut body = HEAD.to_owned();
    for _ in 0..count {
        body.push_str(&step(rng, is_typed));
    }
    if rng.u8(..) < 60 {
        body.push_str(&filled_of(rng, ENDS));
        body.push('\n');
    }
    match kind {
        "script" => body + "said",
        "function" => body + "return said",
        _ if rng.bool() => body + "export default said",
        _ => format!("export default async () => {{ {body} return said }}"),
    }
}

/// Returns a statement that runs some pieces: one, or a few at the same time.
fn step(rng: &mut Rng, is_typed: bool) -> String {
    let count = if rng.u8(..) < 80 { rng.usize(2..5) } else { 1 };
    let pieces: Vec<String> = (0..count)
        .map(|_| {
            let piece = if is_typed && rng.u8(..) < 80 {
                pick(rng, TYPED)
            } else {
                pick(rng, PIECES)
            };
            format!("(async () => {{ {} }})().catch(failed)", filled(rng, piece))
        })
        .collect();
    match pieces.as_slice() {
        [piece] => format!("await {piece};\n"),
        pieces => format!("await Promise.all([{}]);\n", pieces.join(",\n")),
    }
}

fn modules(rng: &mut Rng) -> Value {
    let mut modules = serde_json::Map::new();
    for name in ["./a.js", "./lib/b.js", "./c.ts", "pkg"] {
        let text = filled_of(rng, MODULES);
        modules.insert(name.to_owned(), Value::from(text));
    }
    Value::from(modules)
}

/// Returns one of the pieces, with random values in it.
fn filled_of(rng: &mut Rng, pieces: &[&str]) -> String {
    let piece = pick(rng, pieces);
    filled(rng, piece)
}

/// Writes random values in the places of `$N` (up to 40), `$B` (up to 3,000), `$F` (a float) and `$S` (a string).
fn filled(rng: &mut Rng, piece: &str) -> String {
    let mut parts = piece.split('$');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.chars().next() {
            Some('N') => text.push_str(&rng.u8(..40).to_string()),
            Some('B') => text.push_str(&rng.u32(..3_000).to_string()),
            Some('F') => text.push_str(&format!(
                "{:e}",
                (rng.f64() - 0.5) * 10_f64.powi(rng.i32(-3..12))
            )),
            Some('S') => text.push_str(&string(rng)),
            _ => {
                text.push('$');
                text.push_str(part);
                continue;
            }
        }
        text.push_str(&part[1..]);
    }
    text
}

fn string(rng: &mut Rng) -> String {
    let characters = [
        'a', 'Z', '0', ' ', '/', '%', '?', '#', '.', 'é', '日', '𝒳', '\u{ad}', ':', '@',
    ];
    let text: String = (0..rng.usize(..12))
        .map(|_| pick(rng, &characters))
        .collect();
    json!(text).to_string()
}

fn pick<T: Copy>(rng: &mut Rng, among: &[T]) -> T {
    among[rng.usize(..among.len())]
}

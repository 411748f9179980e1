//! The natives of `crypto`: random bytes, digests, HMAC, HKDF and PBKDF2, by the crates of RustCrypto.

use super::text::{Held, Text, to_js};
use super::{Tools, aes, bytes, native};
use crate::engine::realm::Scene;
use hkdf::Hkdf;
use hmac::digest::OutputSizeUser;
use hmac::digest::typenum::Unsigned;
use hmac::{Hmac, KeyInit, Mac};
use rquickjs::{Exception, Object, String as JsString, Value};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};
use std::fmt::Write as _;

type Expand = fn(&[u8], &[u8], &[u8], &mut [u8]) -> bool;
type Stretch = fn(&[u8], &[u8], u32, &mut [u8], &dyn Fn() -> bool) -> bool;

/// The algorithms with one hash, in the order of `hashes` in keys.js.
struct Algorithms {
    /// Bytes of a digest.
    size: usize,
    digest: fn(&[u8]) -> Vec<u8>,
    hmac: fn(&[u8], &[u8]) -> Vec<u8>,
    hmac_is_right: fn(&[u8], &[u8], &[u8]) -> bool,
    /// Fills the last argument. Returns false if it is longer than the algorithm gives.
    hkdf: Expand,
    /// Returns false if `is_late` did.
    pbkdf2: Stretch,
}

macro_rules! algorithms {
    ($hash:ty) => {
        Algorithms {
            size: <<$hash as OutputSizeUser>::OutputSize as Unsigned>::USIZE,
            digest: |data| <$hash>::digest(data).to_vec(),
            hmac: |key, data| {
                let mac = Hmac::<$hash>::new_from_slice(key);
                mac.map_or_else(
                    |_| Vec::new(),
                    |mac| mac.chain_update(data).finalize().into_bytes().to_vec(),
                )
            },
            hmac_is_right: |key, signature, data| {
                let mac = Hmac::<$hash>::new_from_slice(key);
                mac.is_ok_and(|mac| mac.chain_update(data).verify_slice(signature).is_ok())
            },
            hkdf: |key, salt, info, output| {
                Hkdf::<$hash>::new(Some(salt), key)
                    .expand(info, output)
                    .is_ok()
            },
            pbkdf2: |key, salt, iterations, output, is_late| {
                let Ok(mac) = Hmac::<$hash>::new_from_slice(key) else {
                    return false;
                };
                let of = |parts: &[&[u8]]| {
                    let mut mac = mac.clone();
                    parts.iter().for_each(|part| mac.update(part));
                    mac.finalize().into_bytes()
                };
                let blocks = output.chunks_mut(<$hash as Digest>::output_size());
                for (number, block) in (1_u32..).zip(blocks) {
                    let mut last = of(&[salt, &number.to_be_bytes()]);
                    let mut sum = last.clone();
                    for iteration in 1..iterations {
                        if iteration % ITERATIONS_BETWEEN_LOOKS == 0 && is_late() {
                            return false;
                        }
                        last = of(&[&last[..]]);
                        sum.iter_mut()
                            .zip(&last)
                            .for_each(|(sum, byte)| *sum ^= byte);
                    }
                    block.copy_from_slice(&sum[..block.len()]);
                }
                true
            },
        }
    };
}

const HASHES: [Algorithms; 4] = [
    algorithms!(Sha1),
    algorithms!(Sha256),
    algorithms!(Sha384),
    algorithms!(Sha512),
];

/// Blocks that HKDF gives.
const HKDF_BLOCKS_MAX: usize = 255;
/// Bytes of U+FFFD, which may stand for each byte of malformed text.
const REPLACEMENT_BYTES: usize = 3;
/// Iterations of PBKDF2 between two looks at the deadline: some milliseconds.
const ITERATIONS_BETWEEN_LOOKS: u32 = 4096;

pub(super) fn natives<'js>(tools: &Tools<'js>, natives: &Object<'js>) -> rquickjs::Result<()> {
    fill_of(tools, natives)?;
    let of_calls = tools.scene.clone();
    native(tools, natives, "uuid", move || uuid(&of_calls))
}

fn fill_of<'js>(tools: &Tools<'js>, natives: &Object<'js>) -> rquickjs::Result<()> {
    let of_calls = tools.scene.clone();
    native(tools, natives, "fill", move |view: Value<'js>| {
        bytes::write(&of_calls, &view, |bytes| of_calls.host.fill_random(bytes))
    })
}

/// Returns a random UUID of version 4.
fn uuid<'js>(scene: &Scene<'js>) -> rquickjs::Result<JsString<'js>> {
    let mut bytes = [0; 16];
    scene.host.fill_random(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let _ = write!(text, "{byte:02x}");
    }
    to_js(&scene.ctx, &text)
}

/// Gives the glue the names of algorithms in lower case, random bytes, and whether a seed governs them.
pub(super) fn natives_of_keys<'js>(
    tools: &Tools<'js>,
    natives: &Object<'js>,
) -> rquickjs::Result<()> {
    fill_of(tools, natives)?;
    let host = tools.scene.host.clone();
    native(tools, natives, "isSeeded", move || host.is_seeded())?;
    let scene = tools.scene.clone();
    // The names have ASCII letters alone.
    native(tools, natives, "lower", move |name: Value<'js>| {
        let name = Text::of(&scene, &name)?;
        to_js(&scene.ctx, &name.as_str().to_ascii_lowercase())
    })
}

pub(super) fn natives_of_subtle<'js>(
    tools: &Tools<'js>,
    natives: &Object<'js>,
) -> rquickjs::Result<()> {
    let scene = tools.scene.clone();
    let digest = move |hash: usize, data: Value<'js>| {
        bytes::new_buffer(&scene.ctx, &digest_of(&scene, hash, &data)?)
    };
    native(tools, natives, "digest", digest)?;
    let scene = tools.scene.clone();
    let encode = move |text: Value<'js>| {
        let text = Text::of(&scene, &text)?;
        bytes::new_view(&scene.ctx, text.as_str().as_bytes())
    };
    native(tools, natives, "encode", encode)?;
    let scene = tools.scene.clone();
    let decode = move |data: Value<'js>| {
        let (text, _held) = bytes::read(&scene, &data, |data| {
            let held = Held::new(&scene.host.memory, data.len() * REPLACEMENT_BYTES);
            (String::from_utf8_lossy(data).into_owned(), held)
        })?;
        to_js(&scene.ctx, &text)
    };
    native(tools, natives, "decode", decode)
}

/// Returns the digest of a view's bytes.
pub(super) fn digest_of<'js>(
    scene: &Scene<'js>,
    hash: usize,
    data: &Value<'js>,
) -> rquickjs::Result<Vec<u8>> {
    let digest = of_hash(scene, hash)?.digest;
    bytes::read(scene, data, digest)
}

pub(super) fn natives_of_symmetric<'js>(
    tools: &Tools<'js>,
    natives: &Object<'js>,
) -> rquickjs::Result<()> {
    aes::natives(tools, natives)?;
    natives_of_hashes(tools, natives)
}

fn natives_of_hashes<'js>(tools: &Tools<'js>, natives: &Object<'js>) -> rquickjs::Result<()> {
    let scene = tools.scene.clone();
    let hmac = move |hash: usize, key: Value<'js>, data: Value<'js>| {
        let hmac = of_hash(&scene, hash)?.hmac;
        let signature = bytes::read_two(&scene, [&key, &data], hmac)?;
        bytes::new_buffer(&scene.ctx, &signature)
    };
    native(tools, natives, "hmac", hmac)?;
    let scene = tools.scene.clone();
    let is_right = move |hash: usize, key: Value<'js>, signature: Value<'js>, data: Value<'js>| {
        let is_right = of_hash(&scene, hash)?.hmac_is_right;
        bytes::read_three(&scene, [&key, &signature, &data], is_right)
    };
    native(tools, natives, "hmacIsRight", is_right)?;
    let scene = tools.scene.clone();
    let hkdf =
        move |hash: usize, key: Value<'js>, salt: Value<'js>, info: Value<'js>, length: usize| {
            let Algorithms { hkdf, size, .. } = of_hash(&scene, hash)?;
            if length > size * HKDF_BLOCKS_MAX {
                return Ok(Value::new_undefined(scene.ctx.clone()));
            }
            let _held = Held::new(&scene.host.memory, length);
            let mut output = vec![0; length];
            let is_done = bytes::read_three(&scene, [&key, &salt, &info], |key, salt, info| {
                hkdf(key, salt, info, &mut output)
            })?;
            if !is_done {
                return Ok(Value::new_undefined(scene.ctx.clone()));
            }
            bytes::new_buffer(&scene.ctx, &output)
        };
    native(tools, natives, "hkdf", hkdf)?;
    let scene = tools.scene.clone();
    let pbkdf2 =
        move |hash: usize, key: Value<'js>, salt: Value<'js>, iterations: u32, length: usize| {
            let pbkdf2 = of_hash(&scene, hash)?.pbkdf2;
            let _held = Held::new(&scene.host.memory, length);
            let mut output = vec![0; length];
            let is_late = || scene.host.time_left().is_none();
            let is_done = bytes::read_two(&scene, [&key, &salt], |key, salt| {
                pbkdf2(key, salt, iterations, &mut output, &is_late)
            })?;
            if !is_done {
                scene.host.finish_timed_out("");
            }
            bytes::new_buffer(&scene.ctx, &output)
        };
    native(tools, natives, "pbkdf2", pbkdf2)
}

fn of_hash(scene: &Scene<'_>, hash: usize) -> rquickjs::Result<&'static Algorithms> {
    HASHES
        .get(hash)
        .ok_or_else(|| Exception::throw_range(&scene.ctx, "there is no such hash"))
}

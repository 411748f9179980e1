//! The natives of RSA for `crypto.subtle`: RSASSA-PKCS1-v1_5, RSA-PSS and RSA-OAEP, by the crate of RustCrypto.
//!
//! Keys are those of `rsakeys.rs`, in the structures of PKCS#1. Private operations are blinded with random bytes.
//! docs/platform.md says who could profit from their timing (RUSTSEC-2023-0071).

use super::text::Held;
use super::{Tools, bytes, crypto, native, rsakeys};
use crate::engine::host::Host;
use crate::engine::realm::Scene;
use rquickjs::{Object, Value};
use rsa::rand_core::{TryCryptoRng, TryRng};
use rsa::{Oaep, Pkcs1v15Sign, PrivateKey, Pss, PublicKey};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};
use std::convert::Infallible;

/// Bytes that an operation needs for each byte of the modulus, at most: tables of powers, and the numbers of the key.
const WORKING_BYTES_PER_BYTE: usize = 64;

/// The scheme RSASSA-PKCS1-v1_5 in the calls of the glue. A smaller number is the length of a salt, of RSA-PSS.
const PKCS1: i64 = -1;

/// The random bytes of an execution. Ends the execution when its time is over: long calculations draw numbers again and
/// again.
pub(super) struct Random<'a>(pub(super) &'a Host);

impl TryRng for Random<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        if self.0.time_left().is_none() {
            self.0.finish_timed_out("");
        }
        self.0.fill_random(bytes);
        Ok(())
    }
}

impl TryCryptoRng for Random<'_> {}

/// Evaluates an expression in which `$hash` is the hash with this index, of those in crypto.rs.
macro_rules! with_hash {
    ($index:expr, $hash:ident => $value:expr) => {
        match $index {
            0 => {
                type $hash = Sha1;
                $value
            }
            1 => {
                type $hash = Sha256;
                $value
            }
            2 => {
                type $hash = Sha384;
                $value
            }
            _ => {
                type $hash = Sha512;
                $value
            }
        }
    };
}

pub(super) fn natives<'js>(tools: &Tools<'js>, natives: &Object<'js>) -> rquickjs::Result<()> {
    super::der::natives(tools, natives)?;
    rsakeys::natives(tools, natives)?;
    let scene = tools.scene.clone();
    let sign = move |hash: usize, salt: i64, key: Value<'js>, data: Value<'js>| {
        let digest = crypto::digest_of(&scene, hash, &data)?;
        let signature = bytes::read(&scene, &key, |key| {
            let _held = held_for(&scene, key);
            sign(&scene.host, hash, salt, &rsakeys::private(key)?, &digest)
        })?;
        bytes::new_buffer_of(&scene.ctx, signature)
    };
    native(tools, natives, "rsaSign", sign)?;
    let scene = tools.scene.clone();
    let verify =
        move |hash: usize, salt: i64, key: Value<'js>, signature: Value<'js>, data: Value<'js>| {
            let digest = crypto::digest_of(&scene, hash, &data)?;
            bytes::read_two(&scene, [&key, &signature], |key, signature| {
                let _held = held_for(&scene, key);
                let key = rsakeys::public(key);
                key.is_some_and(|key| verify(hash, salt, &key, &digest, signature))
            })
        };
    native(tools, natives, "rsaVerify", verify)?;
    let scene = tools.scene.clone();
    let crypt = move |is_encrypting: bool,
                      hash: usize,
                      key: Value<'js>,
                      label: Value<'js>,
                      data: Value<'js>| {
        let made = bytes::read_three(&scene, [&key, &label, &data], |key, label, data| {
            let _held = held_for(&scene, key);
            let _label = Held::new(&scene.host.memory, label.len());
            let apply = if is_encrypting { encrypt } else { decrypt };
            apply(&scene.host, hash, key, label, data)
        })?;
        bytes::new_buffer_of(&scene.ctx, made)
    };
    native(tools, natives, "rsaCrypt", crypt)
}

/// Charges what an operation with this key needs.
pub(super) fn held_for<'a>(scene: &'a Scene<'_>, key: &[u8]) -> Held<'a> {
    Held::new(&scene.host.memory, key.len() * WORKING_BYTES_PER_BYTE)
}

/// Returns the length of a salt; `None` if it is longer than any signature of the key.
fn salt_bytes(salt: i64, most: usize) -> Option<usize> {
    let salt = usize::try_from(salt).ok()?;
    (salt <= most).then_some(salt)
}

fn sign(host: &Host, hash: usize, salt: i64, key: &PrivateKey, digest: &[u8]) -> Option<Vec<u8>> {
    let mut random = Random(host);
    let signature = if salt == PKCS1 {
        let scheme = with_hash!(hash, Hash => Pkcs1v15Sign::new::<Hash>());
        key.sign_with_rng(&mut random, scheme, digest)
    } else {
        let salt = salt_bytes(salt, rsakeys::modulus_bytes(key))?;
        with_hash!(hash, Hash => key.sign_with_rng(&mut random, Pss::<Hash>::new_with_salt(salt), digest))
    };
    signature.ok()
}

fn verify(hash: usize, salt: i64, key: &PublicKey, digest: &[u8], signature: &[u8]) -> bool {
    if salt == PKCS1 {
        let scheme = with_hash!(hash, Hash => Pkcs1v15Sign::new::<Hash>());
        return key.verify(scheme, digest, signature).is_ok();
    }
    let Some(salt) = salt_bytes(salt, rsakeys::modulus_bytes(key)) else {
        return false;
    };
    with_hash!(hash, Hash => key.verify(Pss::<Hash>::new_with_salt(salt), digest, signature))
        .is_ok()
}

fn encrypt(host: &Host, hash: usize, key: &[u8], label: &[u8], data: &[u8]) -> Option<Vec<u8>> {
    let key = rsakeys::public(key)?;
    let mut random = Random(host);
    let made = with_hash!(hash, Hash => key.encrypt(&mut random, Oaep::<Hash>::new_with_label(label), data));
    made.ok()
}

fn decrypt(host: &Host, hash: usize, key: &[u8], label: &[u8], data: &[u8]) -> Option<Vec<u8>> {
    let key = rsakeys::private(key)?;
    let mut random = Random(host);
    let made = with_hash!(hash, Hash => {
        key.decrypt_blinded(&mut random, Oaep::<Hash>::new_with_label(label), data)
    });
    made.ok()
}

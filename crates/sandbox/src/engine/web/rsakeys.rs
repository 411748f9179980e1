//! The keys of RSA for `crypto.subtle`, in the structures of PKCS#1.
//!
//! Every key that leaves this file has an odd modulus of a bounded length and an odd exponent of a bounded size. A private
//! key has two different odd factors that belong to its modulus and its exponents. So the operations in `rsa.rs` cannot
//! fail in another way than by an error.

use super::rsa::{Random, held_for};
use super::text::{Held, new_list};
use super::{Tools, bytes, native};
use crate::engine::realm::Scene;
use pkcs1::{RsaPrivateKey, RsaPublicKey, UintRef};
use pkcs8::der::{Decode, Encode};
use rquickjs::{Array, Object, Value};
use rsa::traits::{PrivateKeyParts, PublicKeyParts};
use rsa::{BoxedUint, PrivateKey, PublicKey};

/// Bits that a modulus may have.
const MODULUS_BITS_MIN: usize = PublicKey::MIN_SIZE;
const MODULUS_BITS_MAX: usize = PublicKey::MAX_SIZE;
/// Bytes of the largest number of a key.
const NUMBER_BYTES_MAX: usize = MODULUS_BITS_MAX / 8;
/// Smallest exponent of a new key: 2 is even, and 1 is none.
const EXPONENT_MIN: u64 = 3;
/// Bytes that making a key needs at most.
const GENERATION_BYTES: usize = 128 * 1024;

/// Numbers of a public key: modulus and exponent. A private key has six more: its exponent, the factors, their exponents,
/// and the coefficient.
const PUBLIC_NUMBERS: usize = 2;
const PRIVATE_NUMBERS: usize = 8;

pub(super) fn natives<'js>(tools: &Tools<'js>, natives: &Object<'js>) -> rquickjs::Result<()> {
    let scene = tools.scene.clone();
    let may_have = move |bits: usize, exponent: Value<'js>| {
        let exponent = bytes::read(&scene, &exponent, number_of)?;
        Ok::<_, rquickjs::Error>(exponent.is_some_and(|exponent| may_generate(bits, &exponent)))
    };
    native(tools, natives, "rsaMayGenerate", may_have)?;
    let scene = tools.scene.clone();
    let generate = move |bits: usize, exponent: Value<'js>| {
        let exponent = bytes::read(&scene, &exponent, number_of)?;
        let _held = Held::new(&scene.host.memory, GENERATION_BYTES);
        let made = exponent.and_then(|exponent| generate(Random(&scene.host), bits, exponent));
        bytes::new_view_of(&scene.ctx, made.and_then(|key| pack_private(&key)))
    };
    native(tools, natives, "rsaGenerate", generate)?;
    let scene = tools.scene.clone();
    let public = move |key: Value<'js>| {
        let packed = bytes::read(&scene, &key, |key| {
            let _held = held_for(&scene, key);
            pack_public(private(key)?.as_public_key())
        })?;
        bytes::new_view_of(&scene.ctx, packed)
    };
    native(tools, natives, "rsaPublic", public)?;
    natives_of_numbers(tools, natives)
}

fn natives_of_numbers<'js>(tools: &Tools<'js>, natives: &Object<'js>) -> rquickjs::Result<()> {
    let scene = tools.scene.clone();
    let unpack = move |is_private: bool, key: Value<'js>| {
        let numbers = bytes::read(&scene, &key, |key| {
            let _held = held_for(&scene, key);
            let unpack = if is_private {
                unpack_private
            } else {
                unpack_public
            };
            unpack(key)
        })?;
        shown(&scene, numbers)
    };
    // Returns the numbers of a key; `undefined` if it is not valid.
    native(tools, natives, "rsaNumbers", unpack)?;
    let scene = tools.scene.clone();
    let pack = move |list: Array<'js>| {
        let numbers = given(&scene, &list)?;
        bytes::new_view_of(&scene.ctx, numbers.and_then(|numbers| pack(&numbers)))
    };
    // Returns a key of its numbers, which need not be valid ones.
    native(tools, natives, "rsaPack", pack)
}

/// Returns the numbers as a list of the glue; `undefined` if there are none.
fn shown<'js>(scene: &Scene<'js>, numbers: Option<Vec<Box<[u8]>>>) -> rquickjs::Result<Value<'js>> {
    let Some(numbers) = numbers else {
        return Ok(Value::new_undefined(scene.ctx.clone()));
    };
    let list = new_list(scene)?;
    for (index, number) in numbers.iter().enumerate() {
        list.set(index, bytes::new_view(&scene.ctx, number)?)?;
    }
    Ok(list.into_value())
}

/// Returns the numbers of a list of the glue, without leading zeros; `None` if one of them is too long.
fn given<'js>(scene: &Scene<'js>, list: &Array<'js>) -> rquickjs::Result<Option<Vec<Box<[u8]>>>> {
    let mut numbers = Vec::with_capacity(PRIVATE_NUMBERS);
    for index in 0..list.len().min(PRIVATE_NUMBERS) {
        let number = bytes::read(scene, &list.get(index)?, |number| {
            Some(number_of(number)?.to_be_bytes_trimmed_vartime())
        })?;
        let Some(number) = number else {
            return Ok(None);
        };
        numbers.push(number);
    }
    Ok(Some(numbers))
}

/// Returns the bytes of a key's modulus.
pub(super) fn modulus_bytes(key: &impl PublicKeyParts) -> usize {
    key.size()
}

/// Returns a public key if it is valid.
pub(super) fn public(der: &[u8]) -> Option<PublicKey> {
    let RsaPublicKey {
        modulus,
        public_exponent,
    } = RsaPublicKey::<UintRef<'_>>::from_der(der).ok()?;
    PublicKey::new(number(modulus)?, number(public_exponent)?).ok()
}

/// Returns a private key if it is valid.
pub(super) fn private(der: &[u8]) -> Option<PrivateKey> {
    let given = RsaPrivateKey::<UintRef<'_>>::from_der(der).ok()?;
    let (modulus, exponent) = (number(given.modulus)?, number(given.public_exponent)?);
    PublicKey::new(modulus.clone(), exponent.clone()).ok()?;
    let factors = vec![number(given.prime1)?, number(given.prime2)?];
    PrivateKey::from_components(modulus, exponent, number(given.private_exponent)?, factors).ok()
}

fn number(given: UintRef<'_>) -> Option<BoxedUint> {
    number_of(given.as_bytes())
}

/// Returns a number of its bytes, the highest first; `None` if it has too many.
fn number_of(bytes: &[u8]) -> Option<BoxedUint> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let bytes = bytes.get(zeros..)?;
    if bytes.len() > NUMBER_BYTES_MAX {
        return None;
    }
    let bits = u32::try_from(bytes.len() * 8).ok()?;
    BoxedUint::from_be_slice(bytes, bits.max(1)).ok()
}

/// Returns the numbers of a public key if it is valid.
fn unpack_public(der: &[u8]) -> Option<Vec<Box<[u8]>>> {
    let key = public(der)?;
    Some(vec![key.n_bytes(), key.e_bytes()])
}

/// Returns the numbers of a private key if it is valid, and the exponents of its factors and the coefficient are right.
fn unpack_private(der: &[u8]) -> Option<Vec<Box<[u8]>>> {
    let key = private(der)?;
    (pack_private(&key)? == der).then(|| numbers_of(&key))?
}

fn numbers_of(key: &PrivateKey) -> Option<Vec<Box<[u8]>>> {
    let [first, second] = key.primes() else {
        return None;
    };
    let trimmed = |number: &BoxedUint| number.to_be_bytes_trimmed_vartime();
    Some(vec![
        key.n_bytes(),
        key.e_bytes(),
        trimmed(key.d()),
        trimmed(first),
        trimmed(second),
        trimmed(key.dp()?),
        trimmed(key.dq()?),
        trimmed(&key.crt_coefficient()?),
    ])
}

fn pack_private(key: &PrivateKey) -> Option<Vec<u8>> {
    pack(&numbers_of(key)?)
}

fn pack_public(key: &PublicKey) -> Option<Vec<u8>> {
    pack(&[key.n_bytes(), key.e_bytes()])
}

/// Returns the structure of a public key's two numbers, or of a private key's eight.
fn pack(numbers: &[impl AsRef<[u8]>]) -> Option<Vec<u8>> {
    let number = |index: usize| UintRef::new(numbers.get(index)?.as_ref()).ok();
    match numbers.len() {
        PUBLIC_NUMBERS => {
            let key = RsaPublicKey {
                modulus: number(0)?,
                public_exponent: number(1)?,
            };
            key.to_der().ok()
        }
        PRIVATE_NUMBERS => {
            let key = RsaPrivateKey {
                modulus: number(0)?,
                public_exponent: number(1)?,
                private_exponent: number(2)?,
                prime1: number(3)?,
                prime2: number(4)?,
                exponent1: number(5)?,
                exponent2: number(6)?,
                coefficient: number(7)?,
                other_prime_infos: None,
            };
            key.to_der().ok()
        }
        _ => None,
    }
}

/// Returns whether a new key may have this length and this exponent. With an even exponent the search for factors would
/// not end.
fn may_generate(bits: usize, exponent: &BoxedUint) -> bool {
    let exponents = BoxedUint::from(EXPONENT_MIN)..=BoxedUint::from(PublicKey::MAX_PUB_EXPONENT);
    let is_odd = exponent
        .to_be_bytes()
        .last()
        .is_some_and(|last| last % 2 == 1);
    is_odd && exponents.contains(exponent) && (MODULUS_BITS_MIN..=MODULUS_BITS_MAX).contains(&bits)
}

fn generate(mut random: Random<'_>, bits: usize, exponent: BoxedUint) -> Option<PrivateKey> {
    if !may_generate(bits, &exponent) {
        return None;
    }
    PrivateKey::new_with_exp(&mut random, bits, exponent).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> PrivateKey {
        // Two primes of 512 bits: the largest ones below 2^512 that 65537 suits.
        let prime = |below: u64| {
            let mut bytes = vec![0xff; 64];
            let end = u64::MAX - below + 1;
            bytes[56..].copy_from_slice(&end.to_be_bytes());
            BoxedUint::from_be_slice(&bytes, 512).unwrap()
        };
        PrivateKey::from_p_q(prime(569), prime(629), BoxedUint::from(65_537_u64)).unwrap()
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        let key = key();
        let packed = pack_private(&key).unwrap();
        assert_eq!(private(&packed).unwrap(), key);
        let numbers = unpack_private(&packed).unwrap();
        assert_eq!(pack(&numbers).unwrap(), packed);
        let packed = pack_public(key.as_public_key()).unwrap();
        assert_eq!(public(&packed).unwrap(), key.to_public_key());
        assert_eq!(pack(&unpack_public(&packed).unwrap()).unwrap(), packed);
    }

    #[test]
    fn a_new_key_has_an_odd_exponent_and_a_bounded_length() {
        let may = |bits, exponent: u64| may_generate(bits, &BoxedUint::from(exponent));
        assert!(may(1024, 3) && may(8192, 65_537) && may(2049, (1 << 33) - 1));
        assert!(!may(1023, 3) && !may(8193, 3) && !may(0, 3) && !may(usize::MAX, 3));
        assert!(!may(2048, 0) && !may(2048, 1) && !may(2048, 2) && !may(2048, 65_536));
        assert!(!may(2048, (1 << 33) + 1));
    }

    #[test]
    fn a_wrong_number_makes_a_key_invalid() {
        let numbers = numbers_of(&key()).unwrap();
        for place in 0..PRIVATE_NUMBERS {
            for number in [
                vec![],
                vec![1],
                vec![2],
                vec![3],
                vec![0xff; 128],
                vec![0xff; 64],
            ] {
                let mut changed: Vec<Vec<u8>> =
                    numbers.iter().map(|number| number.to_vec()).collect();
                changed[place] = number;
                let packed = pack(&changed).unwrap();
                assert!(unpack_private(&packed).is_none(), "{place}");
            }
        }
        for (modulus, exponent) in [
            (vec![0xff; 127], vec![1, 0, 1]),
            (vec![0xff; 1025], vec![1, 0, 1]),
            (vec![0xfe; 128], vec![1, 0, 1]),
            (vec![0xff; 128], vec![1, 0, 0]),
            (vec![0xff; 128], vec![1]),
            (vec![0xff; 128], vec![2, 0, 0, 0, 1]),
            (vec![0xff; 128], vec![0xff; 128]),
        ] {
            let packed = pack(&[modulus, exponent]).unwrap();
            assert!(unpack_public(&packed).is_none());
        }
    }
}

//! The natives of ECDSA and ECDH for `crypto.subtle`: the curves P-256, P-384 and P-521, by the crates of RustCrypto.
//!
//! A private key is its scalar and a public key its uncompressed point. The nonces of signatures come from the key and the
//! message (RFC 6979), so a signature needs no random bytes.

use super::{Tools, bytes, crypto, native};
use crate::engine::realm::Scene;
use p256::ecdsa::signature::hazmat::{PrehashSigner as _, PrehashVerifier as _};
use p256::elliptic_curve::sec1::ToSec1Point as _;
use rquickjs::{Exception, Object, Value};

/// The first bytes of a point: compressed with one or the other sign, or uncompressed.
const POINT_TAGS: [u8; 3] = [2, 3, 4];

/// A function of a public key, a digest and a signature.
type Verify = fn(&[u8], &[u8], &[u8]) -> Option<()>;

/// The functions of a curve. Each returns `None` for an argument that is no key of the curve.
struct Curve {
    /// Bytes of a scalar.
    size: usize,
    /// The bits that the first byte of a scalar may have.
    first_byte: u8,
    /// Returns a valid point in its uncompressed form.
    point: fn(&[u8]) -> Option<Vec<u8>>,
    /// Returns the public key of a private key.
    public: fn(&[u8]) -> Option<Vec<u8>>,
    /// Returns the signature of a digest.
    sign: fn(&[u8], &[u8]) -> Option<Vec<u8>>,
    /// Checks the signature of a digest.
    verify: Verify,
    /// Returns the secret that a private and a public key share.
    agree: fn(&[u8], &[u8]) -> Option<Vec<u8>>,
}

macro_rules! curve {
    ($curve:ident, $size:literal, $first_byte:literal) => {
        Curve {
            size: $size,
            first_byte: $first_byte,
            point: |bytes| {
                let key = $curve::PublicKey::from_sec1_bytes(bytes).ok()?;
                Some(key.to_sec1_point(false).as_bytes().to_vec())
            },
            public: |scalar| {
                let key = $curve::SecretKey::from_slice(scalar).ok()?;
                Some(key.public_key().to_sec1_point(false).as_bytes().to_vec())
            },
            sign: |scalar, digest| {
                let key = $curve::ecdsa::SigningKey::from_slice(scalar).ok()?;
                let signature: $curve::ecdsa::Signature = key.sign_prehash(digest).ok()?;
                Some(signature.to_bytes().to_vec())
            },
            verify: |point, digest, signature| {
                let key = $curve::ecdsa::VerifyingKey::from_sec1_bytes(point).ok()?;
                let signature = $curve::ecdsa::Signature::from_slice(signature).ok()?;
                key.verify_prehash(digest, &signature).ok()
            },
            agree: |scalar, point| {
                let key = $curve::SecretKey::from_slice(scalar).ok()?;
                let other = $curve::PublicKey::from_sec1_bytes(point).ok()?;
                Some(key.diffie_hellman(&other).raw_secret_bytes().to_vec())
            },
        }
    };
}

/// In the order of `curves` in elliptic.js.
const CURVES: [Curve; 3] = [
    curve!(p256, 32, 0xff),
    curve!(p384, 48, 0xff),
    curve!(p521, 66, 0x01),
];

impl Curve {
    /// Returns a valid point of any form in its uncompressed form.
    fn point_of(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let first = bytes.first()?;
        POINT_TAGS.contains(first).then(|| (self.point)(bytes))?
    }

    /// Returns the public key of a private key. A scalar has its full length.
    fn public_of(&self, scalar: &[u8]) -> Option<Vec<u8>> {
        (scalar.len() == self.size).then(|| (self.public)(scalar))?
    }

    /// Returns a random scalar of the order's range, each with the same probability.
    fn random_scalar(&self, fill: impl Fn(&mut [u8])) -> Vec<u8> {
        let mut scalar = vec![0; self.size];
        loop {
            fill(&mut scalar);
            if let Some(first) = scalar.first_mut() {
                *first &= self.first_byte;
            }
            if self.public_of(&scalar).is_some() {
                return scalar;
            }
        }
    }
}

pub(super) fn natives<'js>(tools: &Tools<'js>, natives: &Object<'js>) -> rquickjs::Result<()> {
    super::der::natives(tools, natives)?;
    natives_of_keys(tools, natives)?;
    let scene = tools.scene.clone();
    let sign = move |curve: usize, hash: usize, key: Value<'js>, data: Value<'js>| {
        let curve = of_index(&scene, curve)?;
        let digest = crypto::digest_of(&scene, hash, &data)?;
        let signature = bytes::read(&scene, &key, |key| (curve.sign)(key, &digest))?;
        bytes::new_buffer_of(&scene.ctx, signature)
    };
    native(tools, natives, "ecdsaSign", sign)?;
    let scene = tools.scene.clone();
    let verify = move |curve: usize,
                       hash: usize,
                       key: Value<'js>,
                       signature: Value<'js>,
                       data: Value<'js>| {
        let curve = of_index(&scene, curve)?;
        let digest = crypto::digest_of(&scene, hash, &data)?;
        bytes::read_two(&scene, [&key, &signature], |key, signature| {
            (curve.verify)(key, &digest, signature).is_some()
        })
    };
    native(tools, natives, "ecdsaVerify", verify)?;
    let scene = tools.scene.clone();
    let agree = move |curve: usize, key: Value<'js>, other: Value<'js>| {
        let curve = of_index(&scene, curve)?;
        let secret = bytes::read_two(&scene, [&key, &other], curve.agree)?;
        bytes::new_view_of(&scene.ctx, secret)
    };
    native(tools, natives, "ecdh", agree)
}

fn natives_of_keys<'js>(tools: &Tools<'js>, natives: &Object<'js>) -> rquickjs::Result<()> {
    let scene = tools.scene.clone();
    let point = move |curve: usize, data: Value<'js>| {
        let curve = of_index(&scene, curve)?;
        let point = bytes::read(&scene, &data, |data| curve.point_of(data))?;
        bytes::new_view_of(&scene.ctx, point)
    };
    native(tools, natives, "ecPoint", point)?;
    let scene = tools.scene.clone();
    let public = move |curve: usize, key: Value<'js>| {
        let curve = of_index(&scene, curve)?;
        let point = bytes::read(&scene, &key, |key| curve.public_of(key))?;
        bytes::new_view_of(&scene.ctx, point)
    };
    native(tools, natives, "ecPublic", public)?;
    let scene = tools.scene.clone();
    let random = move |curve: usize| {
        let curve = of_index(&scene, curve)?;
        let scalar = curve.random_scalar(|bytes| scene.host.fill_random(bytes));
        bytes::new_view(&scene.ctx, &scalar)
    };
    native(tools, natives, "ecRandom", random)
}

fn of_index(scene: &Scene<'_>, curve: usize) -> rquickjs::Result<&'static Curve> {
    CURVES
        .get(curve)
        .ok_or_else(|| Exception::throw_range(&scene.ctx, "there is no such curve"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Fills with the numbers that follow each other.
    fn counter() -> impl Fn(&mut [u8]) {
        let last = Cell::new(0_u8);
        move |bytes| {
            for byte in bytes {
                last.set(last.get().wrapping_add(1));
                *byte = last.get();
            }
        }
    }

    #[test]
    fn two_keys_agree_and_sign() {
        for curve in &CURVES {
            let fill = counter();
            let (one, other) = (curve.random_scalar(&fill), curve.random_scalar(&fill));
            let of = |scalar: &[u8]| curve.public_of(scalar).unwrap();
            assert_eq!(
                (curve.agree)(&one, &of(&other)).unwrap(),
                (curve.agree)(&other, &of(&one)).unwrap()
            );
            // Digests that are shorter and longer than the order.
            for digest in [[7; 20].as_slice(), &[7; 64]] {
                let signature = (curve.sign)(&one, digest).unwrap();
                assert_eq!(signature.len(), 2 * curve.size);
                let verify = |key: &[u8], digest: &[u8], signature: &[u8]| {
                    (curve.verify)(&of(key), digest, signature).is_some()
                };
                assert!(verify(&one, digest, &signature));
                assert!(!verify(&other, digest, &signature));
                assert!(!verify(&one, &[8; 20], &signature));
                assert!(!verify(&one, digest, &signature[1..]));
                assert!(!verify(&one, digest, &vec![0; 2 * curve.size]));
            }
        }
    }

    #[test]
    fn only_points_of_the_curve_and_scalars_of_its_order_are_keys() {
        for curve in &CURVES {
            let scalar = curve.random_scalar(counter());
            let point = curve.public_of(&scalar).unwrap();
            assert_eq!(curve.point_of(&point).unwrap(), point);
            let mut compressed = point[..=curve.size].to_vec();
            compressed[0] = 2 + point[2 * curve.size] % 2;
            assert_eq!(curve.point_of(&compressed).unwrap(), point);
            // The compact form, and the hybrid one.
            compressed[0] = 5;
            assert!(curve.point_of(&compressed).is_none());
            let mut hybrid = point.clone();
            hybrid[0] = 6 + point[2 * curve.size] % 2;
            assert!(curve.point_of(&hybrid).is_none());
            let mut off = point.clone();
            off[2 * curve.size] ^= 1;
            assert!(curve.point_of(&off).is_none());
            assert!(curve.point_of(&[0]).is_none());
            assert!(curve.point_of(&[]).is_none());
            assert!(curve.public_of(&vec![0; curve.size]).is_none());
            assert!(curve.public_of(&vec![0xff; curve.size]).is_none());
            assert!(curve.public_of(&scalar[1..]).is_none());
        }
    }
}

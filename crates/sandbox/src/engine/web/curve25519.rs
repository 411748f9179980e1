//! The natives of Ed25519 and X25519 for `crypto.subtle`, by the crates of curve25519-dalek.

use super::{Tools, bytes, native};
use curve25519_dalek::MontgomeryPoint;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use rquickjs::{Object, Value};

/// Bytes of each key.
const KEY_BYTES: usize = 32;

type Key = [u8; KEY_BYTES];

pub(super) fn natives<'js>(tools: &Tools<'js>, natives: &Object<'js>) -> rquickjs::Result<()> {
    super::der::natives(tools, natives)?;
    for (name, public) in [
        ("edPublic", ed_public as fn(&Key) -> Key),
        ("xPublic", x_public),
    ] {
        let scene = tools.scene.clone();
        let of_private = move |key: Value<'js>| {
            let public = bytes::read(&scene, &key, |key| Some(public(key.try_into().ok()?)))?;
            bytes::new_view_of(&scene.ctx, public)
        };
        native(tools, natives, name, of_private)?;
    }
    let scene = tools.scene.clone();
    let sign = move |key: Value<'js>, data: Value<'js>| {
        let signature = bytes::read_two(&scene, [&key, &data], sign)?;
        bytes::new_buffer_of(&scene.ctx, signature)
    };
    native(tools, natives, "edSign", sign)?;
    let scene = tools.scene.clone();
    let verify = move |key: Value<'js>, signature: Value<'js>, data: Value<'js>| {
        bytes::read_three(&scene, [&key, &signature, &data], |key, signature, data| {
            verify(key, signature, data).is_some()
        })
    };
    native(tools, natives, "edVerify", verify)?;
    let scene = tools.scene.clone();
    let agree = move |key: Value<'js>, other: Value<'js>| {
        let secret = bytes::read_two(&scene, [&key, &other], agree)?;
        bytes::new_view_of(&scene.ctx, secret)
    };
    native(tools, natives, "x25519", agree)
}

fn ed_public(key: &Key) -> Key {
    SigningKey::from_bytes(key).verifying_key().to_bytes()
}

fn x_public(key: &Key) -> Key {
    MontgomeryPoint::mul_base_clamped(*key).0
}

fn sign(key: &[u8], data: &[u8]) -> Option<[u8; 64]> {
    let key = SigningKey::from_bytes(key.try_into().ok()?);
    Some(key.sign(data).to_bytes())
}

/// Checks a signature as the standard says: points of a small order are refused, and the equation has no cofactor.
fn verify(key: &[u8], signature: &[u8], data: &[u8]) -> Option<()> {
    let key = VerifyingKey::from_bytes(key.try_into().ok()?).ok()?;
    let signature = Signature::from_slice(signature).ok()?;
    key.verify_strict(data, &signature).ok()
}

/// Returns the shared secret; `None` if it is zero, which a public key of a small order makes it.
fn agree(key: &[u8], other: &[u8]) -> Option<Key> {
    let other = MontgomeryPoint(other.try_into().ok()?);
    let secret = other.mul_clamped(key.try_into().ok()?).0;
    (secret != [0; KEY_BYTES]).then_some(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len())
            .step_by(2)
            .map(|start| u8::from_str_radix(&hex[start..start + 2], 16).unwrap())
            .collect()
    }

    /// RFC 8032, section 7.1, test 2.
    #[test]
    fn ed25519_is_that_of_its_rfc() {
        let key = bytes("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
        let public = ed_public(key[..].try_into().unwrap());
        assert_eq!(
            public[..],
            bytes("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
        );
        let signature = sign(&key, &[0x72]).unwrap();
        assert_eq!(
            signature[..],
            bytes(
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
            )
        );
        assert!(verify(&public, &signature, &[0x72]).is_some());
        assert!(verify(&public, &signature, &[0x73]).is_none());
        assert!(verify(&public, &signature[1..], &[0x72]).is_none());
    }

    /// Numbers of Node.js.
    #[test]
    fn two_keys_of_x25519_agree() {
        let key_from = |first: u8| -> Key {
            std::array::from_fn(|place| first + u8::try_from(place).unwrap())
        };
        let (one, other) = (key_from(1), key_from(101));
        assert_eq!(
            x_public(&one)[..],
            bytes("07a37cbc142093c8b755dc1b10e86cb426374ad16aa853ed0bdfc0b2b86d1c7c")
        );
        let secret = bytes("c9ea6a3f79a000b60b076d4afc990b272f3f0b5aaa3f0b8713c209273e363863");
        assert_eq!(agree(&one, &x_public(&other)).unwrap()[..], secret);
        assert_eq!(agree(&other, &x_public(&one)).unwrap()[..], secret);
    }

    #[test]
    fn points_of_a_small_order_are_refused() {
        let key = [7; KEY_BYTES];
        let mut neutral = [0; KEY_BYTES];
        neutral[0] = 1;
        for small in [[0; KEY_BYTES], neutral] {
            assert!(agree(&key, &small).is_none());
        }
        // As a key and as the first half of a signature, with zero as the second half: without the check this is a
        // signature of every message.
        let mut signature = [0; 64];
        signature[0] = 1;
        assert!(verify(&neutral, &signature, b"any").is_none());
    }
}

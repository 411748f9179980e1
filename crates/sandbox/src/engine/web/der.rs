//! The formats `spki` and `pkcs8` of keys for `crypto.subtle`: DER, read and written by the crates of RustCrypto.
//!
//! In scope: the structure round the key, which says its kind. Out of scope: whether the key is a valid one. `ec.rs`,
//! `curve25519.rs` and `rsa.rs` judge that.

use super::{Tools, bytes, native};
use crate::engine::realm::Scene;
use pkcs8::der::asn1::{AnyRef, BitStringRef, OctetStringRef};
use pkcs8::der::{Decode, Encode};
use pkcs8::spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};
use pkcs8::{ObjectIdentifier, PrivateKeyInfoRef};
use rquickjs::{Object, Value};
use sec1::{EcParameters, EcPrivateKey};

const ID_EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// The kinds of keys by the names that the glue gives them.
const KINDS: [(&str, Kind); 6] = [
    ("P-256", Kind::curve("1.2.840.10045.3.1.7")),
    ("P-384", Kind::curve("1.3.132.0.34")),
    ("P-521", Kind::curve("1.3.132.0.35")),
    ("Ed25519", Kind::octets("1.3.101.112")),
    ("X25519", Kind::octets("1.3.101.110")),
    ("RSA", Kind::Rsa),
];

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// A key on the curve with this object identifier. A private key is an `ECPrivateKey` of SEC 1.
    Curve(ObjectIdentifier),
    /// A key that is a string of octets, for the algorithm with this object identifier.
    Octets(ObjectIdentifier),
    /// A key in the format of PKCS#1.
    Rsa,
}

impl Kind {
    const fn curve(identifier: &str) -> Self {
        Self::Curve(ObjectIdentifier::new_unwrap(identifier))
    }

    const fn octets(identifier: &str) -> Self {
        Self::Octets(ObjectIdentifier::new_unwrap(identifier))
    }

    fn named(name: &str) -> Option<Self> {
        let mut kinds = KINDS.iter();
        kinds.find_map(|(known, kind)| (*known == name).then_some(*kind))
    }

    fn name(self) -> Option<&'static str> {
        let mut kinds = KINDS.iter();
        kinds.find_map(|(name, kind)| (*kind == self).then_some(*name))
    }

    /// Returns the kind that an algorithm identifier says, if its parameters are those of the kind.
    fn of(algorithm: &AlgorithmIdentifierRef<'_>) -> Option<Self> {
        let kind = if algorithm.oid == ID_EC_PUBLIC_KEY {
            Self::Curve(algorithm.parameters_oid().ok()?)
        } else if algorithm.oid == RSA_ENCRYPTION {
            let is_null = |parameters: AnyRef<'_>| parameters.is_null();
            algorithm
                .parameters
                .is_none_or(is_null)
                .then_some(Self::Rsa)?
        } else {
            algorithm
                .parameters
                .is_none()
                .then_some(Self::Octets(algorithm.oid))?
        };
        kind.name().map(|_| kind)
    }

    /// Calls `act` with the algorithm identifier of the kind.
    fn with_algorithm<T>(
        self,
        act: impl FnOnce(AlgorithmIdentifierRef<'_>) -> Option<T>,
    ) -> Option<T> {
        let (oid, parameters) = match &self {
            Self::Curve(curve) => (ID_EC_PUBLIC_KEY, Some(AnyRef::from(curve))),
            Self::Octets(identifier) => (*identifier, None),
            Self::Rsa => (RSA_ENCRYPTION, Some(AnyRef::NULL)),
        };
        act(AlgorithmIdentifierRef { oid, parameters })
    }
}

/// A key out of its format.
struct Unpacked {
    kind: &'static str,
    /// The bytes of the key: for a curve a point or a scalar, for RSA the structure of PKCS#1.
    key: Vec<u8>,
    /// The public key that a private key may carry.
    public: Option<Vec<u8>>,
}

pub(super) fn natives<'js>(tools: &Tools<'js>, natives: &Object<'js>) -> rquickjs::Result<()> {
    let scene = tools.scene.clone();
    let read = move |is_private: bool, data: Value<'js>| {
        let unpack = if is_private {
            unpack_private
        } else {
            unpack_public
        };
        match bytes::read(&scene, &data, unpack)? {
            Some(unpacked) => shown(&scene, &unpacked),
            None => Ok(Value::new_undefined(scene.ctx.clone())),
        }
    };
    native(tools, natives, "unpack", read)?;
    let scene = tools.scene.clone();
    let write_public = move |kind: String, key: Value<'js>| {
        let packed = bytes::read(&scene, &key, |key| pack_public(Kind::named(&kind)?, key))?;
        bytes::new_buffer_of(&scene.ctx, packed)
    };
    native(tools, natives, "packPublic", write_public)?;
    let scene = tools.scene.clone();
    let write_private = move |kind: String, key: Value<'js>, public: Value<'js>| {
        let packed = bytes::read_two(&scene, [&key, &public], |key, public| {
            pack_private(Kind::named(&kind)?, key, public)
        })?;
        bytes::new_buffer_of(&scene.ctx, packed)
    };
    native(tools, natives, "packPrivate", write_private)
}

/// Returns a key as the glue takes it: `kind`, `key`, and `public` if there is one.
fn shown<'js>(scene: &Scene<'js>, unpacked: &Unpacked) -> rquickjs::Result<Value<'js>> {
    let object = Object::new_proto(scene.ctx.clone(), None)?;
    object.set("kind", unpacked.kind)?;
    object.set("key", bytes::new_view(&scene.ctx, &unpacked.key)?)?;
    if let Some(public) = &unpacked.public {
        object.set("public", bytes::new_view(&scene.ctx, public)?)?;
    }
    Ok(object.into_value())
}

fn unpack_public(der: &[u8]) -> Option<Unpacked> {
    let info = SubjectPublicKeyInfoRef::from_der(der).ok()?;
    Some(Unpacked {
        kind: Kind::of(&info.algorithm)?.name()?,
        key: info.subject_public_key.as_bytes()?.to_vec(),
        public: None,
    })
}

fn unpack_private(der: &[u8]) -> Option<Unpacked> {
    let info = PrivateKeyInfoRef::from_der(der).ok()?;
    let kind = Kind::of(&info.algorithm)?;
    let outer = match &info.public_key {
        Some(public) => Some(public.as_bytes()?),
        None => None,
    };
    let packed = info.private_key.as_bytes();
    let (key, public) = match kind {
        Kind::Curve(curve) => {
            let inner = EcPrivateKey::from_der(packed).ok()?;
            let is_other = |parameters| parameters != EcParameters::NamedCurve(curve);
            if inner.parameters.is_some_and(is_other) {
                return None;
            }
            (inner.private_key, inner.public_key.or(outer))
        }
        Kind::Octets(_) => (<&OctetStringRef>::from_der(packed).ok()?.as_bytes(), outer),
        Kind::Rsa => (packed, None),
    };
    Some(Unpacked {
        kind: kind.name()?,
        key: key.to_vec(),
        public: public.map(<[u8]>::to_vec),
    })
}

fn pack_public(kind: Kind, key: &[u8]) -> Option<Vec<u8>> {
    let subject_public_key = BitStringRef::from_bytes(key).ok()?;
    kind.with_algorithm(|algorithm| {
        let info = SubjectPublicKeyInfoRef {
            algorithm,
            subject_public_key,
        };
        info.to_der().ok()
    })
}

/// Packs a private key. Only a key on a curve carries its public key.
fn pack_private(kind: Kind, key: &[u8], public: &[u8]) -> Option<Vec<u8>> {
    let packed = match kind {
        Kind::Curve(_) => {
            let inner = EcPrivateKey {
                private_key: key,
                parameters: None,
                public_key: Some(public),
            };
            inner.to_der().ok()?
        }
        Kind::Octets(_) => OctetStringRef::new(key).ok()?.to_der().ok()?,
        Kind::Rsa => key.to_vec(),
    };
    let private_key = OctetStringRef::new(&packed).ok()?;
    kind.with_algorithm(|algorithm| PrivateKeyInfoRef::new(algorithm, private_key).to_der().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked() {
        for (name, kind) in KINDS {
            let packed = pack_public(kind, &[4, 1, 2]).unwrap();
            let unpacked = unpack_public(&packed).unwrap();
            assert_eq!((unpacked.kind, unpacked.key), (name, vec![4, 1, 2]));
            let packed = pack_private(kind, &[1, 2, 3], &[4, 5]).unwrap();
            let unpacked = unpack_private(&packed).unwrap();
            assert_eq!((unpacked.kind, unpacked.key), (name, vec![1, 2, 3]));
            let public = matches!(kind, Kind::Curve(_)).then(|| vec![4, 5]);
            assert_eq!(unpacked.public, public, "{name}");
        }
    }

    #[test]
    fn no_prefix_of_a_key_and_nothing_after_a_key_is_read() {
        for (name, kind) in KINDS {
            let mut packed = pack_private(kind, &[1; 32], &[4; 65]).unwrap();
            for length in 0..packed.len() {
                assert!(
                    unpack_private(&packed[..length]).is_none(),
                    "{name} {length}"
                );
            }
            packed.push(0);
            assert!(unpack_private(&packed).is_none(), "{name}");
            let mut packed = pack_public(kind, &[1; 32]).unwrap();
            for length in 0..packed.len() {
                assert!(
                    unpack_public(&packed[..length]).is_none(),
                    "{name} {length}"
                );
            }
            packed.push(0);
            assert!(unpack_public(&packed).is_none(), "{name}");
        }
    }

    #[test]
    fn a_changed_byte_is_an_error_or_another_key_and_never_a_panic() {
        for (_, kind) in KINDS {
            let packed = pack_private(kind, &[1; 32], &[4; 65]).unwrap();
            for place in 0..packed.len() {
                for change in [1, 0x7f, 0x80, 0xff] {
                    let mut changed = packed.clone();
                    changed[place] ^= change;
                    let _ = unpack_private(&changed);
                    let _ = unpack_public(&changed);
                }
            }
        }
    }
}

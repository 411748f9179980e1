//! The natives of AES for `crypto.subtle`: the modes GCM, CBC and CTR and the key wrap, over the crates of RustCrypto.
//!
//! GCM is put together here from counter mode and GHASH: the crate of the mode fixes the lengths of nonce and tag when it
//! is compiled, and the standard leaves them to the script.

use super::text::Held;
use super::{Tools, bytes, native};
use crate::engine::realm::Scene;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{
    Array, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, InnerIvInit, KeyInit, KeyIvInit,
    StreamCipher, StreamCipherCoreWrapper,
};
use aes::{Aes128, Aes192, Aes256};
use aes_kw::AesKw;
use ghash::GHash;
use ghash::universal_hash::UniversalHash;
use rquickjs::{Object, Value};
use subtle::ConstantTimeEq as _;

const BLOCK_BYTES: usize = 16;
/// Length of a nonce that is its own start of the counter.
const NONCE_BYTES: usize = 12;

/// Fewest bytes that a key is wrapped of.
const WRAPPED_BYTES_MIN: usize = 2 * aes_kw::IV_LEN;

type Block = [u8; BLOCK_BYTES];

/// The block of GHASH, and the stream of counter mode behind the block that hides the tag.
type Start = (GHash, Box<dyn FnMut(&mut [u8]) -> Option<()>>, Block);

/// A function of key, first block and data.
type Cbc = fn(&[u8], &[u8], &[u8]) -> Option<Vec<u8>>;

/// A function of key, data and a place for the result. Returns the bytes of the result.
type Wrap = fn(&[u8], &[u8], &mut [u8]) -> Option<usize>;

/// AES with a key of one length. Each function returns `None` for arguments of a wrong length.
struct Cipher {
    start_of_gcm: fn(&[u8], &[u8]) -> Option<Start>,
    /// Applies counter mode to the last argument, with a counter of 128 bits.
    ctr: fn(&[u8], &Block, &mut [u8]) -> Option<()>,
    encrypt_cbc: Cbc,
    decrypt_cbc: Cbc,
    wrap: Wrap,
    unwrap: Wrap,
}

macro_rules! cipher {
    ($aes:ty) => {
        Cipher {
            start_of_gcm: |key, nonce| {
                let aes = <$aes>::new_from_slice(key).ok()?;
                let mut hash_key = Array::from([0; BLOCK_BYTES]);
                aes.encrypt_block(&mut hash_key);
                let ghash = GHash::new(&hash_key);
                let first = first_counter(&ghash, nonce);
                let core =
                    ctr::CtrCore::<$aes, ctr::flavors::Ctr32BE>::inner_iv_init(aes, &first.into());
                let mut stream = StreamCipherCoreWrapper::from_core(core);
                let mut mask = [0; BLOCK_BYTES];
                stream.try_apply_keystream(&mut mask).ok()?;
                let apply = move |data: &mut [u8]| stream.try_apply_keystream(data).ok();
                Some((ghash, Box::new(apply), mask))
            },
            ctr: |key, counter, data| {
                let stream = ctr::Ctr128BE::<$aes>::new_from_slices(key, counter);
                stream.ok()?.try_apply_keystream(data).ok()
            },
            encrypt_cbc: |key, iv, data| {
                let cipher = cbc::Encryptor::<$aes>::new_from_slices(key, iv).ok()?;
                Some(cipher.encrypt_padded_vec::<Pkcs7>(data))
            },
            decrypt_cbc: |key, iv, data| {
                let cipher = cbc::Decryptor::<$aes>::new_from_slices(key, iv).ok()?;
                cipher.decrypt_padded_vec::<Pkcs7>(data).ok()
            },
            wrap: |key, data, output| {
                let cipher = AesKw::<$aes>::new_from_slice(key).ok()?;
                Some(cipher.wrap_key(data, output).ok()?.len())
            },
            unwrap: |key, data, output| {
                let cipher = AesKw::<$aes>::new_from_slice(key).ok()?;
                Some(cipher.unwrap_key(data, output).ok()?.len())
            },
        }
    };
}

impl Cipher {
    fn for_key(key: &[u8]) -> Option<Self> {
        match key.len() {
            16 => Some(cipher!(Aes128)),
            24 => Some(cipher!(Aes192)),
            32 => Some(cipher!(Aes256)),
            _ => None,
        }
    }
}

pub(super) fn natives<'js>(tools: &Tools<'js>, natives: &Object<'js>) -> rquickjs::Result<()> {
    let scene = tools.scene.clone();
    let cbc = move |is_encrypting: bool, key: Value<'js>, iv: Value<'js>, data: Value<'js>| {
        with_three(&scene, [&key, &iv, &data], |key, iv, data| {
            let cipher = Cipher::for_key(key)?;
            if is_encrypting {
                (cipher.encrypt_cbc)(key, iv, data)
            } else {
                (cipher.decrypt_cbc)(key, iv, data)
            }
        })
    };
    native(tools, natives, "cbc", cbc)?;
    let scene = tools.scene.clone();
    let ctr = move |key: Value<'js>, counter: Value<'js>, bits: u32, data: Value<'js>| {
        with_three(&scene, [&key, &counter, &data], |key, counter, data| {
            apply_ctr(key, counter.try_into().ok()?, bits, data)
        })
    };
    native(tools, natives, "ctr", ctr)?;
    let scene = tools.scene.clone();
    let gcm = move |is_encrypting: bool,
                    key: Value<'js>,
                    nonce: Value<'js>,
                    extra: Value<'js>,
                    tag_bytes: usize,
                    data: Value<'js>| {
        let apply = if is_encrypting { seal } else { open };
        let extra = bytes::read(&scene, &extra, <[u8]>::to_vec)?;
        let _held = Held::new(&scene.host.memory, extra.len());
        with_three(&scene, [&key, &nonce, &data], |key, nonce, data| {
            apply(key, nonce, &extra, tag_bytes, data)
        })
    };
    native(tools, natives, "gcm", gcm)?;
    let scene = tools.scene.clone();
    let wrap = move |is_wrapping: bool, key: Value<'js>, data: Value<'js>| {
        let (made, _held) = bytes::read_two(&scene, [&key, &data], |key, data| {
            let held = Held::new(&scene.host.memory, data.len() + BLOCK_BYTES);
            (apply_wrap(is_wrapping, key, data), held)
        })?;
        bytes::new_buffer_of(&scene.ctx, made)
    };
    native(tools, natives, "kw", wrap)
}

/// Returns the bytes that `act` makes of three views as an `ArrayBuffer`; `undefined` if it makes none.
fn with_three<'js>(
    scene: &Scene<'js>,
    [first, second, third]: [&Value<'js>; 3],
    act: impl FnOnce(&[u8], &[u8], &[u8]) -> Option<Vec<u8>>,
) -> rquickjs::Result<Value<'js>> {
    let (made, _held) =
        bytes::read_three(scene, [first, second, third], |first, second, third| {
            let held = Held::new(&scene.host.memory, third.len() + 2 * BLOCK_BYTES);
            (act(first, second, third), held)
        })?;
    bytes::new_buffer_of(&scene.ctx, made)
}

/// Applies counter mode with a counter of `bits` bits: the counter's other bits stay, and it starts again at 0 after its
/// largest value. Returns `None` if a value of the counter would be used twice.
fn apply_ctr(key: &[u8], counter: &Block, bits: u32, data: &[u8]) -> Option<Vec<u8>> {
    let cipher = Cipher::for_key(key)?;
    let counter = u128::from_be_bytes(*counter);
    let mask = match bits {
        1..128 => (1_u128 << bits) - 1,
        128 => u128::MAX,
        _ => return None,
    };
    let blocks = u128::try_from(data.len().div_ceil(BLOCK_BYTES)).ok()?;
    if blocks > 0 && blocks - 1 > mask {
        return None;
    }
    // Values of the counter before it starts again, less one.
    let before = mask - (counter & mask);
    let mut output = data.to_vec();
    let split = match usize::try_from(before) {
        Ok(before) => before.saturating_add(1).saturating_mul(BLOCK_BYTES),
        Err(_) => usize::MAX,
    };
    let (until, after) = output.split_at_mut(split.min(data.len()));
    (cipher.ctr)(key, &counter.to_be_bytes(), until)?;
    (cipher.ctr)(key, &(counter & !mask).to_be_bytes(), after)?;
    Some(output)
}

/// Wraps or unwraps a key by RFC 3394. Returns `None` for data of a wrong length, or which nothing was wrapped to.
fn apply_wrap(is_wrapping: bool, key: &[u8], data: &[u8]) -> Option<Vec<u8>> {
    let cipher = Cipher::for_key(key)?;
    let (act, fewest) = if is_wrapping {
        (cipher.wrap, WRAPPED_BYTES_MIN)
    } else {
        (cipher.unwrap, WRAPPED_BYTES_MIN + aes_kw::IV_LEN)
    };
    if data.len() < fewest {
        return None;
    }
    let mut output = vec![0; data.len() + aes_kw::IV_LEN];
    let length = act(key, data, &mut output)?;
    output.truncate(length);
    Some(output)
}

/// Returns the first value of GCM's counter.
fn first_counter(ghash: &GHash, nonce: &[u8]) -> Block {
    if nonce.len() == NONCE_BYTES {
        let mut first = [0; BLOCK_BYTES];
        first[..NONCE_BYTES].copy_from_slice(nonce);
        first[BLOCK_BYTES - 1] = 1;
        return first;
    }
    let mut ghash = ghash.clone();
    ghash.update_padded(nonce);
    ghash.update(&[lengths(0, nonce.len()).into()]);
    ghash.finalize().into()
}

/// Returns the block of two lengths, in bits.
fn lengths(first: usize, second: usize) -> Block {
    let mut block = [0; BLOCK_BYTES];
    for (half, length) in block.chunks_mut(BLOCK_BYTES / 2).zip([first, second]) {
        let bits = u64::try_from(length).unwrap_or(u64::MAX).saturating_mul(8);
        half.copy_from_slice(&bits.to_be_bytes());
    }
    block
}

fn tag(mut ghash: GHash, extra: &[u8], sealed: &[u8], mask: &Block) -> Block {
    ghash.update_padded(extra);
    ghash.update_padded(sealed);
    ghash.update(&[lengths(extra.len(), sealed.len()).into()]);
    let mut tag: Block = ghash.finalize().into();
    tag.iter_mut()
        .zip(mask)
        .for_each(|(byte, mask)| *byte ^= mask);
    tag
}

/// Encrypts `data`. The first `tag_bytes` bytes of the tag follow it.
fn seal(key: &[u8], nonce: &[u8], extra: &[u8], tag_bytes: usize, data: &[u8]) -> Option<Vec<u8>> {
    let (ghash, mut apply, mask) = (Cipher::for_key(key)?.start_of_gcm)(key, nonce)?;
    let mut sealed = Vec::with_capacity(data.len() + BLOCK_BYTES);
    sealed.extend_from_slice(data);
    apply(&mut sealed)?;
    let tag = tag(ghash, extra, &sealed, &mask);
    sealed.extend_from_slice(tag.get(..tag_bytes)?);
    Some(sealed)
}

/// Decrypts what [`seal`] returned. Returns `None` if the tag is wrong.
fn open(key: &[u8], nonce: &[u8], extra: &[u8], tag_bytes: usize, data: &[u8]) -> Option<Vec<u8>> {
    let (ghash, mut apply, mask) = (Cipher::for_key(key)?.start_of_gcm)(key, nonce)?;
    let (sealed, given) = data.split_at_checked(data.len().checked_sub(tag_bytes)?)?;
    let tag = tag(ghash, extra, sealed, &mask);
    if !bool::from(tag.get(..tag_bytes)?.ct_eq(given)) {
        return None;
    }
    let mut opened = sealed.to_vec();
    apply(&mut opened)?;
    Some(opened)
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

    /// Test cases 4 and 6 of the paper that introduced GCM: a nonce of 96 bits, and one of 480.
    #[test]
    fn gcm_is_that_of_its_paper() {
        let key = bytes("feffe9928665731c6d6a8f9467308308");
        let data = bytes(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
        );
        let extra = bytes("feedfacedeadbeeffeedfacedeadbeefabaddad2");
        for (nonce, expected) in [
            (
                "cafebabefacedbaddecaf888",
                "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e0915bc94fbc3221a5db94fae95ae7121a47",
            ),
            (
                "9313225df88406e555909c5aff5269aa6a7a9538534f7da1e4c303d2a318a728c3c0c95156809539fcf0e2429a6b525416aedbf5a0de6a57a637b39b",
                "8ce24998625615b603a033aca13fb894be9112a5c3a211a8ba262a3cca7e2ca701e4a9a4fba43c90ccdcb281d48c7c6fd62875d2aca417034c34aee5619cc5aefffe0bfa462af43c1699d050",
            ),
        ] {
            let nonce = bytes(nonce);
            let sealed = seal(&key, &nonce, &extra, 16, &data).unwrap();
            assert_eq!(sealed, bytes(expected));
            assert_eq!(open(&key, &nonce, &extra, 16, &sealed).unwrap(), data);
            for place in [0, sealed.len() - 1] {
                let mut forged = sealed.clone();
                forged[place] ^= 1;
                assert_eq!(open(&key, &nonce, &extra, 16, &forged), None);
            }
        }
    }

    /// RFC 3394, section 4.1.
    #[test]
    fn the_key_wrap_is_that_of_its_rfc() {
        let key = bytes("000102030405060708090a0b0c0d0e0f");
        let data = bytes("00112233445566778899aabbccddeeff");
        let wrapped = apply_wrap(true, &key, &data).unwrap();
        assert_eq!(
            wrapped,
            bytes("1fa68b0a8112b447aef34bd8fb5a7b829d3e862371d2cfe5")
        );
        assert_eq!(apply_wrap(false, &key, &wrapped).unwrap(), data);
        for place in [0, wrapped.len() - 1] {
            let mut forged = wrapped.clone();
            forged[place] ^= 1;
            assert_eq!(apply_wrap(false, &key, &forged), None);
        }
        for length in [0, 7, 8, 15, 17] {
            assert_eq!(apply_wrap(true, &key, &vec![0; length]), None, "{length}");
            assert_eq!(apply_wrap(false, &key, &vec![0; length]), None, "{length}");
        }
        assert_eq!(apply_wrap(false, &key, &[0; 16]), None);
    }

    #[test]
    fn a_counter_starts_again_and_is_never_used_twice() {
        let key = [7; 16];
        let counter = *b"0123456789abcde\xff";
        let whole = apply_ctr(&key, &counter, 8, &[0; 48]).unwrap();
        let mut next = counter;
        next[15] = 0;
        let after = apply_ctr(&key, &next, 128, &[0; 32]).unwrap();
        assert_eq!(whole[16..], after);
        assert!(apply_ctr(&key, &counter, 2, &[0; 64]).is_some());
        assert!(apply_ctr(&key, &counter, 2, &[0; 65]).is_none());
        assert!(apply_ctr(&key, &counter, 0, &[0; 1]).is_none());
        assert!(apply_ctr(&key, &counter, 129, &[0; 1]).is_none());
    }

    #[test]
    fn arguments_of_a_wrong_length_are_refused() {
        assert!(seal(&[0; 15], &[0; 12], &[], 16, &[]).is_none());
        assert!(seal(&[0; 16], &[0; 12], &[], 17, &[]).is_none());
        assert!(open(&[0; 16], &[0; 12], &[], 16, &[0; 15]).is_none());
        let cipher = Cipher::for_key(&[0; 32]).unwrap();
        assert!((cipher.encrypt_cbc)(&[0; 32], &[0; 15], &[]).is_none());
        assert!((cipher.decrypt_cbc)(&[0; 32], &[0; 16], &[0; 15]).is_none());
    }
}

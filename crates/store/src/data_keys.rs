//! The operator's keys that encrypt the contents of jobs in a database: XChaCha20-Poly1305.
//!
//! A sealed text is `sealed1.`, the id of its key, `.`, and the base64 of nonce and ciphertext. Other texts are JSON or
//! empty, and never begin so. The place of a text, its row and its column, is authenticated: a text that is moved to
//! another place cannot be opened.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;

const PREFIX: &str = "sealed1.";
const ID_BYTES_MAX: usize = 32;
const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
/// Prefix of the input of [`DataKey::blinding`], so that no other use of a key has the same input.
const BLINDING: &[u8] = b"sandpiper fingerprint";

/// The keys, the one that seals first. All of them open.
pub struct DataKeys(Vec<DataKey>);

struct DataKey {
    id: String,
    cipher: XChaCha20Poly1305,
    /// Secret that is hashed together with fingerprints.
    blinding: [u8; 32],
}

/// Writes ids only.
impl fmt::Debug for DataKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self.0.iter().map(|key| &key.id);
        formatter.debug_list().entries(ids).finish()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DataKeysError {
    #[error(
        "line {0} is no key: write an id of letters, digits, `-` and `_`, a colon, and 64 hexadecimal digits"
    )]
    Malformed(usize),
    #[error("the id {0} occurs twice")]
    DuplicateId(String),
    #[error("there is no key")]
    Empty,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unopened {
    #[error("the data key {0} is not known here")]
    UnknownKey(String),
    #[error("a sealed text was changed, or was sealed with another key of the same id")]
    Forged,
}

/// The place of a text in the database.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) row: &'a str,
    pub(crate) column: &'static str,
}

impl Place<'_> {
    fn bytes(self) -> Vec<u8> {
        // No column contains the separator.
        format!("{}/{}", self.column, self.row).into_bytes()
    }
}

/// One key a line, as `ID:KEY`. Empty lines, and lines that begin with `#`, are skipped.
impl FromStr for DataKeys {
    type Err = DataKeysError;

    fn from_str(text: &str) -> Result<Self, DataKeysError> {
        let mut keys: Vec<DataKey> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = DataKey::parse(line).ok_or(DataKeysError::Malformed(number))?;
            if keys.iter().any(|other| other.id == key.id) {
                return Err(DataKeysError::DuplicateId(key.id));
            }
            keys.push(key);
        }
        if keys.is_empty() {
            return Err(DataKeysError::Empty);
        }
        Ok(Self(keys))
    }
}

impl DataKey {
    fn parse(line: &str) -> Option<Self> {
        let (id, key) = line.split_once(':')?;
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if id.is_empty() || id.len() > ID_BYTES_MAX || !id.bytes().all(is_allowed) {
            return None;
        }
        let key = from_hex(key.trim())?;
        Some(Self {
            id: id.to_owned(),
            cipher: XChaCha20Poly1305::new(&key.into()),
            blinding: Sha256::new()
                .chain_update(BLINDING)
                .chain_update(key)
                .finalize()
                .into(),
        })
    }
}

impl DataKeys {
    /// Returns a new key, as a line for the file of keys.
    pub fn generate() -> Result<String, getrandom::Error> {
        let mut random = [0; 4 + KEY_BYTES];
        getrandom::fill(&mut random)?;
        let (id, key) = random.split_at(4);
        Ok(format!("{}:{}", to_hex(id), to_hex(key)))
    }

    /// Returns the ids, that of the key that seals first.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|key| key.id.as_str())
    }

    pub(crate) fn seal(&self, place: Place<'_>, text: &str) -> String {
        let (id, sealed) = self.seal_bytes(&place.bytes(), text.as_bytes());
        format!("{PREFIX}{id}.{}", BASE64.encode(sealed))
    }

    pub(crate) fn open(&self, place: Place<'_>, sealed: &str) -> Result<String, Unopened> {
        let (id, text) = parts(sealed).ok_or(Unopened::Forged)?;
        self.key(id)?;
        let bytes = BASE64.decode(text).map_err(|_| Unopened::Forged)?;
        let opened = self.open_bytes(id, &place.bytes(), &bytes)?;
        String::from_utf8(opened).map_err(|_| Unopened::Forged)
    }

    /// Encrypts `bytes` with the first key, and authenticates them together with `context`. Returns the id of the key, and
    /// nonce and ciphertext.
    pub(crate) fn seal_bytes(&self, context: &[u8], bytes: &[u8]) -> (&str, Vec<u8>) {
        let [key, ..] = self.0.as_slice() else {
            unreachable!("there is at least one key")
        };
        let mut nonce = [0; NONCE_BYTES];
        // The operating system fails to give random bytes only before it has started.
        getrandom::fill(&mut nonce).unwrap_or_else(|error| unreachable!("{error}"));
        let payload = Payload {
            msg: bytes,
            aad: context,
        };
        // Only texts of 256 GiB are too long.
        let sealed = key.cipher.encrypt(&XNonce::from(nonce), payload);
        let sealed = sealed.unwrap_or_else(|_| unreachable!("the text is short enough"));
        (&key.id, [&nonce, &*sealed].concat())
    }

    /// Decrypts what [`DataKeys::seal_bytes`] returned for the same context.
    pub(crate) fn open_bytes(
        &self,
        id: &str,
        context: &[u8],
        sealed: &[u8],
    ) -> Result<Vec<u8>, Unopened> {
        let key = self.key(id)?;
        let (nonce, msg) = sealed
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or(Unopened::Forged)?;
        let payload = Payload { msg, aad: context };
        let opened = key.cipher.decrypt(&XNonce::from(*nonce), payload);
        opened.map_err(|_| Unopened::Forged)
    }

    /// Returns a digest that tells nothing to a reader without the key: the digest of a short request could be guessed.
    pub(crate) fn blind(&self, id: &str, digest: &str) -> Option<String> {
        let key = self.key(id).ok()?;
        let blinded = Sha256::new()
            .chain_update(key.blinding)
            .chain_update(digest);
        Some(to_hex(&blinded.finalize()))
    }

    fn key(&self, id: &str) -> Result<&DataKey, Unopened> {
        let key = self.0.iter().find(|key| key.id == id);
        key.ok_or_else(|| Unopened::UnknownKey(id.to_owned()))
    }
}

/// Returns the id of the key of a sealed text, and the rest; `None` if the text is not sealed.
fn parts(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix(PREFIX)?.split_once('.')
}

/// Returns the id of the key of a sealed text; `None` if the text is not sealed.
pub(crate) fn key_of(text: &str) -> Option<&str> {
    parts(text).map(|(id, _)| id)
}

/// Returns the beginning of the texts that a key has sealed.
pub(crate) fn prefix_of(id: &str) -> String {
    format!("{PREFIX}{id}.")
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<[u8; KEY_BYTES]> {
    let mut bytes = [0; KEY_BYTES];
    if text.len() != 2 * KEY_BYTES || !text.is_ascii() {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).ok()?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "first:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const SECOND: &str = "second:ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff";
    const HERE: Place<'_> = Place {
        row: "1",
        column: "request",
    };

    fn keys(text: &str) -> DataKeys {
        text.parse().unwrap()
    }

    #[test]
    fn a_sealed_text_is_opened_by_its_key_at_its_place_alone() {
        let first = keys(FIRST);
        let sealed = first.seal(HERE, "{\"secret\": \"é\"}");
        assert!(!sealed.contains("secret"));
        assert_ne!(
            sealed,
            first.seal(HERE, "{\"secret\": \"é\"}"),
            "each has its own nonce"
        );
        assert_eq!(first.open(HERE, &sealed).unwrap(), "{\"secret\": \"é\"}");
        for place in [
            Place { row: "2", ..HERE },
            Place {
                column: "execution",
                ..HERE
            },
        ] {
            assert_eq!(first.open(place, &sealed), Err(Unopened::Forged));
        }
        let unknown = keys(SECOND).open(HERE, &sealed);
        assert_eq!(unknown, Err(Unopened::UnknownKey("first".to_owned())));
        let other = keys(&SECOND.replace("second", "first"));
        assert_eq!(other.open(HERE, &sealed), Err(Unopened::Forged));
        for end in [0, 10, 20, 40, sealed.len() - 1] {
            assert!(first.open(HERE, &sealed[..end]).is_err());
        }
        let rotated = keys(&format!("{SECOND}\n{FIRST}"));
        assert_eq!(rotated.open(HERE, &sealed).unwrap(), "{\"secret\": \"é\"}");
        assert_eq!(key_of(&rotated.seal(HERE, "")), Some("second"));
        assert_eq!(key_of("{}"), None);
    }

    #[test]
    fn every_change_of_a_sealed_text_is_found() {
        let keys = keys(FIRST);
        let sealed = keys.seal(HERE, "text");
        for (index, character) in sealed.char_indices() {
            let changed = if character == 'A' { 'B' } else { 'A' };
            let mut forged = sealed.clone();
            forged.replace_range(index..=index, &changed.to_string());
            assert!(keys.open(HERE, &forged).is_err(), "{index}");
        }
    }

    #[test]
    fn a_blinded_digest_depends_on_the_digest_and_the_key() {
        let keys = keys(&format!("{FIRST}\n{SECOND}"));
        let blind = |id, digest| keys.blind(id, digest);
        assert_eq!(blind("first", "a"), blind("first", "a"));
        assert_ne!(blind("first", "a"), blind("first", "b"));
        assert_ne!(blind("first", "a"), blind("second", "a"));
        assert_eq!(blind("third", "a"), None);
    }

    #[test]
    fn a_file_of_keys_is_one_key_a_line() {
        let generated = DataKeys::generate().unwrap();
        let text = format!("# new\n{generated}\n\n  {FIRST}  \n");
        assert_eq!(keys(&text).ids().count(), 2);
        for (text, error) in [
            ("", DataKeysError::Empty),
            ("# none", DataKeysError::Empty),
            ("x", DataKeysError::Malformed(1)),
            ("\na:00", DataKeysError::Malformed(2)),
            (&FIRST.replace("first", ""), DataKeysError::Malformed(1)),
            (&FIRST.replace("first", "a b"), DataKeysError::Malformed(1)),
            (&FIRST.replace("00", "é"), DataKeysError::Malformed(1)),
            (
                &format!("{FIRST}\n{FIRST}"),
                DataKeysError::DuplicateId("first".to_owned()),
            ),
        ] {
            assert_eq!(text.parse::<DataKeys>().unwrap_err(), error, "{text}");
        }
        assert_eq!(format!("{:?}", keys(FIRST)), "[\"first\"]");
    }
}

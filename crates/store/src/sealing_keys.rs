//! Keys that seal bytes which a client keeps for the service and sends back: encrypted, and protected against changes.
//!
//! A file of these keys has the form of a file of data keys. A sealed text is the id of its key, `.`, and the base64 (for
//! URLs, without padding) of nonce and ciphertext.

use super::data_keys::{DataKeys, DataKeysError, Unopened};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use std::str::FromStr;

/// Separates the id of a key from what it sealed. No id contains it.
const SEPARATOR: char = '.';
/// Prefix of every context, so that one file can have data keys and sealing keys.
const PURPOSE: &[u8] = b"sandpiper sealed for a client/";

/// The keys, the one that seals first. All of them open.
#[derive(Debug)]
pub struct SealingKeys(DataKeys);

/// The reason why a sealed text cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsealed {
    /// The key of the text is not among the given ones.
    #[error("no key of this service has sealed it, or the key is no longer in use")]
    UnknownKey,
    /// The text is not whole, or not what was sealed.
    #[error("it is not whole, or it was changed")]
    Changed,
}

/// One key a line, as `ID:KEY`, like data keys.
impl FromStr for SealingKeys {
    type Err = DataKeysError;

    fn from_str(text: &str) -> Result<Self, DataKeysError> {
        text.parse().map(Self)
    }
}

impl SealingKeys {
    /// Seals bytes. Only [`SealingKeys::open`] with the same context returns them.
    #[must_use]
    pub fn seal(&self, context: &[u8], bytes: &[u8]) -> String {
        let (id, sealed) = self.0.seal_bytes(&with_purpose(context), bytes);
        let mut text = format!("{id}{SEPARATOR}");
        BASE64.encode_string(sealed, &mut text);
        text
    }

    /// Opens a sealed text.
    pub fn open(&self, context: &[u8], sealed: &str) -> Result<Vec<u8>, Unsealed> {
        let (id, text) = sealed.split_once(SEPARATOR).ok_or(Unsealed::Changed)?;
        let bytes = BASE64.decode(text).map_err(|_| Unsealed::Changed)?;
        let opened = self.0.open_bytes(id, &with_purpose(context), &bytes);
        opened.map_err(|cause| match cause {
            Unopened::UnknownKey(_) => Unsealed::UnknownKey,
            Unopened::Forged => Unsealed::Changed,
        })
    }
}

fn with_purpose(context: &[u8]) -> Vec<u8> {
    [PURPOSE, context].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(lines: &[&str]) -> SealingKeys {
        lines.join("\n").parse().unwrap()
    }

    fn new_line() -> String {
        DataKeys::generate().unwrap()
    }

    #[test]
    fn sealed_bytes_are_opened_in_their_context_alone() {
        let line = new_line();
        let keys = keys(&[&line]);
        let sealed = keys.seal(b"one", b"secret");
        assert!(!sealed.contains("secret"));
        assert_ne!(sealed, keys.seal(b"one", b"secret"));
        assert_eq!(keys.open(b"one", &sealed).unwrap(), b"secret");
        assert_eq!(keys.open(b"two", &sealed), Err(Unsealed::Changed));
    }

    #[test]
    fn every_cut_and_every_changed_character_is_found() {
        let keys = keys(&[&new_line()]);
        let sealed = keys.seal(b"", &[7; 100]);
        for end in 0..sealed.len() {
            assert!(keys.open(b"", &sealed[..end]).is_err(), "{end}");
        }
        for (index, character) in sealed.char_indices() {
            let other = if character == 'A' { "B" } else { "A" };
            let mut changed = sealed.clone();
            changed.replace_range(index..=index, other);
            assert!(keys.open(b"", &changed).is_err(), "{index}");
        }
        for text in [
            "",
            ".",
            "a.",
            "é.é",
            "a.é",
            &format!("{sealed}A"),
            &format!("{sealed}="),
        ] {
            assert!(keys.open(b"", text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_former_key_opens_and_the_first_one_seals() {
        let [former, current] = [new_line(), new_line()];
        let sealed = keys(&[&former]).seal(b"", b"x");
        assert_eq!(
            keys(&[&current]).open(b"", &sealed),
            Err(Unsealed::UnknownKey)
        );
        let both = keys(&[&current, &former]);
        assert_eq!(both.open(b"", &sealed).unwrap(), b"x");
        let current = keys(&[&current]);
        assert_eq!(current.open(b"", &both.seal(b"", b"y")).unwrap(), b"y");
    }

    #[test]
    fn a_text_that_a_data_key_sealed_is_no_sealed_text() {
        let line = new_line();
        let data_keys: DataKeys = line.parse().unwrap();
        let (id, sealed) = data_keys.seal_bytes(b"request/1", b"x");
        let text = format!("{id}.{}", BASE64.encode(sealed));
        assert_eq!(
            keys(&[&line]).open(b"request/1", &text),
            Err(Unsealed::Changed)
        );
    }
}

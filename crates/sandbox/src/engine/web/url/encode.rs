//! Percent-encoding, with the sets of <https://url.spec.whatwg.org/#percent-encoded-bytes>.

/// The ASCII characters that a part encodes, in addition to control characters and to everything that is no ASCII.
#[derive(Debug, Clone, Copy)]
pub(super) struct EncodeSet(u128);

pub(super) const CONTROLS: EncodeSet = EncodeSet(0);
pub(super) const FRAGMENT: EncodeSet = CONTROLS.with(b" \"<>`");
pub(super) const QUERY: EncodeSet = CONTROLS.with(b" \"#<>");
pub(super) const SPECIAL_QUERY: EncodeSet = QUERY.with(b"'");
pub(super) const PATH: EncodeSet = QUERY.with(b"?^`{}");
pub(super) const USERINFO: EncodeSet = PATH.with(b"/:;=@[\\]|");

impl EncodeSet {
    const fn with(self, characters: &[u8]) -> Self {
        let (mut bits, mut index) = (self.0, 0);
        while index < characters.len() {
            bits |= 1_u128 << characters[index];
            index += 1;
        }
        Self(bits)
    }

    fn has(self, byte: u8) -> bool {
        !(b' '..=b'~').contains(&byte) || self.0 & (1_u128 << byte) != 0
    }
}

/// Appends bytes of UTF-8. Those in the set are percent-encoded.
pub(super) fn push(text: &mut String, mut bytes: &[u8], set: EncodeSet) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |value: u8| char::from(DIGITS[usize::from(value & 0xf)]);
    loop {
        let plain = bytes.iter().position(|byte| set.has(*byte));
        let (plain, rest) = bytes.split_at(plain.unwrap_or(bytes.len()));
        // All of it is ASCII.
        text.push_str(std::str::from_utf8(plain).unwrap_or_default());
        let Some((byte, rest)) = rest.split_first() else {
            return;
        };
        text.extend(['%', digit(byte >> 4), digit(*byte)]);
        bytes = rest;
    }
}

pub(super) fn encoded(text: &str, set: EncodeSet) -> String {
    let mut encoded = String::with_capacity(text.len());
    push(&mut encoded, text.as_bytes(), set);
    encoded
}

/// Returns the bytes of a text whose percent-encoded bytes are decoded.
pub(super) fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    while let [first, rest @ ..] = bytes {
        let value = match (first, rest) {
            (b'%', [high, low, ..]) => hex_value(*high).zip(hex_value(*low)),
            _ => None,
        };
        match value {
            Some((high, low)) => {
                decoded.push(high << 4 | low);
                bytes = &rest[2..];
            }
            None => {
                decoded.push(*first);
                bytes = rest;
            }
        }
    }
    decoded
}

fn hex_value(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

//! The meaning of JSON text as bytes: two texts get the same bytes if a script reads the same values from them.
//!
//! White space, the order of an object's members, and the spelling of numbers and strings make no difference. The order of
//! members is the only ignored difference that a script could see.

use sha2::{Digest as _, Sha256};
use std::ops::Range;

/// Longest encoding that is written as it is, bytes. A longer one is replaced by its digest, so that each byte of a text is
/// copied a bounded number of times, however deep it is nested.
const PLAIN_BYTES_MAX: usize = 64;
const DIGEST: u8 = b'h';

/// Appends the meaning of `text`, which must be one JSON value that does not nest deeper than a stack has room for.
pub(super) fn write(text: &str, to: &mut Vec<u8>) {
    write_with(text, false, to);
}

/// Appends the meaning of `text` as [`write`] does, but with the order of members, which a script can see.
pub fn write_ordered_json(text: &str, to: &mut Vec<u8>) {
    write_with(text, true, to);
}

fn write_with(text: &str, keeps_order: bool, to: &mut Vec<u8>) {
    let mut reader = Reader {
        bytes: text.as_bytes(),
        at: 0,
        keeps_order,
    };
    reader.value(to);
}

/// A reader of JSON text that is known to be valid.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    keeps_order: bool,
}

impl Reader<'_> {
    fn value(&mut self, to: &mut Vec<u8>) {
        let start = to.len();
        match self.next_token() {
            b'{' => self.object(to),
            b'[' => self.array(to),
            b'"' => self.string(to),
            word @ (b't' | b'f' | b'n') => {
                self.at += if word == b'f' { 5 } else { 4 };
                to.push(word);
            }
            _ => self.number(to),
        }
        shorten(to, start);
    }

    fn object(&mut self, to: &mut Vec<u8>) {
        self.at += 1;
        to.push(b'{');
        let first = to.len();
        let mut members: Vec<(Range<usize>, Range<usize>)> = Vec::new();
        while self.next_token() != b'}' {
            if self.next_token() == b',' {
                self.at += 1;
            }
            self.next_token();
            let key = to.len();
            self.string(to);
            shorten(to, key);
            self.next_token();
            self.at += 1; // the colon
            let value = to.len();
            self.value(to);
            members.push((key..value, value..to.len()));
        }
        self.at += 1;
        let is_sorted = members.is_sorted_by(|one, next| to[one.0.clone()] < to[next.0.clone()]);
        if !is_sorted && !self.keeps_order {
            sort(&mut members, first, to);
        }
        to.push(b'}');
    }

    fn array(&mut self, to: &mut Vec<u8>) {
        self.at += 1;
        to.push(b'[');
        while self.next_token() != b']' {
            if self.next_token() == b',' {
                self.at += 1;
            }
            self.value(to);
        }
        self.at += 1;
        to.push(b']');
    }

    /// Writes the bits of the double that a script reads: -0 is not 0, and numbers with the same nearest double are the same.
    fn number(&mut self, to: &mut Vec<u8>) {
        let rest = &self.bytes[self.at..];
        let length = rest
            .iter()
            .take_while(|byte| matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E' | b'0'..=b'9'))
            .count();
        // At least one byte, so that the reader always advances.
        let digits = &rest[..length.max(1).min(rest.len())];
        self.at += length.max(1);
        let number = std::str::from_utf8(digits)
            .ok()
            .and_then(|it| it.parse().ok());
        let number: f64 = number.unwrap_or(f64::NAN);
        to.push(b'd');
        to.extend(number.to_bits().to_be_bytes());
    }

    /// Writes the text of a string with its length. A lone surrogate is written as if it were a character.
    fn string(&mut self, to: &mut Vec<u8>) {
        self.at += 1;
        let start = to.len();
        to.push(b's');
        to.extend([0; 8]);
        loop {
            match self.take() {
                b'"' => break,
                b'\\' => self.escape(to),
                byte => to.push(byte),
            }
        }
        let text = start + 1 + 8;
        let length = (to.len() - text) as u64;
        to[start + 1..text].copy_from_slice(&length.to_be_bytes());
    }

    fn escape(&mut self, to: &mut Vec<u8>) {
        match self.take() {
            b'b' => to.push(0x08),
            b'f' => to.push(0x0c),
            b'n' => to.push(b'\n'),
            b'r' => to.push(b'\r'),
            b't' => to.push(b'\t'),
            b'u' => {
                let unit = self.code_unit();
                let low = self
                    .low_surrogate()
                    .filter(|_| (0xd800..0xdc00).contains(&unit));
                let point = match low {
                    Some(low) => {
                        self.at += 6;
                        0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00)
                    }
                    None => unit,
                };
                push_code_point(point, to);
            }
            byte => to.push(byte),
        }
    }

    /// Returns the low surrogate whose escape is next, without reading on.
    fn low_surrogate(&self) -> Option<u32> {
        let next = self.bytes.get(self.at..self.at + 6)?;
        let unit = next.strip_prefix(b"\\u").and_then(hex)?;
        (0xdc00..0xe000).contains(&unit).then_some(unit)
    }

    fn code_unit(&mut self) -> u32 {
        let digits = self.bytes.get(self.at..self.at + 4);
        self.at += 4;
        digits.and_then(hex).unwrap_or_default()
    }

    /// Reads the next byte; after the end a quotation mark, which ends every string.
    fn take(&mut self) -> u8 {
        let byte = self.bytes.get(self.at).copied();
        self.at += 1;
        byte.unwrap_or(b'"')
    }

    /// Skips white space, and returns the first byte of the next token without reading on; after the end a closing brace.
    fn next_token(&mut self) -> u8 {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        self.at += rest
            .iter()
            .take_while(|byte| byte.is_ascii_whitespace())
            .count();
        self.bytes.get(self.at).copied().unwrap_or(b'}')
    }
}

/// Sorts the members from `first` on by their keys. Of several members with one key only the last stays: a script sees only
/// that one.
fn sort(members: &mut [(Range<usize>, Range<usize>)], first: usize, to: &mut Vec<u8>) {
    members.sort_by(|one, other| to[one.0.clone()].cmp(&to[other.0.clone()]));
    let mut sorted = Vec::with_capacity(to.len() - first);
    for (place, (key, value)) in members.iter().enumerate() {
        let next = members.get(place + 1);
        if next.is_some_and(|(next, _)| to[next.clone()] == to[key.clone()]) {
            continue;
        }
        sorted.extend_from_slice(&to[key.clone()]);
        sorted.extend_from_slice(&to[value.clone()]);
    }
    to.truncate(first);
    to.append(&mut sorted);
}

/// Replaces a long encoding, from `start` on, by its digest.
fn shorten(to: &mut Vec<u8>, start: usize) {
    if to.len() - start <= PLAIN_BYTES_MAX {
        return;
    }
    let digest = Sha256::digest(&to[start..]);
    to.truncate(start);
    to.push(DIGEST);
    to.extend_from_slice(&digest);
}

fn hex(digits: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(digits).ok()?;
    u32::from_str_radix(digits, 16).ok()
}

/// Writes a code point as UTF-8, and a surrogate, which UTF-8 does not have, by the same rule.
fn push_code_point(point: u32, to: &mut Vec<u8>) {
    match char::from_u32(point) {
        Some(character) => {
            let mut buffer = [0; 4];
            to.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
        }
        None => {
            let [.., high, low] = point.to_be_bytes();
            to.extend([
                0xe0 | (high >> 4),
                0x80 | ((high & 0x0f) << 2) | (low >> 6),
                0x80 | (low & 0x3f),
            ]);
        }
    }
}

#[cfg(test)]
mod tests;

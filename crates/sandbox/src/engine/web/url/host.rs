//! Hosts of URLs: domains, IPv4 and IPv6 addresses and opaque hosts, as <https://url.spec.whatwg.org/#host-parsing> reads
//! them. A domain that is no ASCII becomes so by the crate `idna`.

use super::encode::{self, CONTROLS};
use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};
use std::fmt::Write;

const PIECES: usize = 8;

/// Returns a host in its written form; `None` if `text` is none. `is_opaque` holds for the schemes without rules of their
/// own.
pub(super) fn parse(text: &str, is_opaque: bool) -> Option<String> {
    if let Some(address) = text.strip_prefix('[') {
        let pieces = parse_ipv6(address.strip_suffix(']')?.as_bytes())?;
        return Some(written_ipv6(pieces));
    }
    if is_opaque {
        let is_wrong = text.bytes().any(is_forbidden_in_host);
        return (!is_wrong).then(|| encode::encoded(text, CONTROLS));
    }
    let decoded = encode::decoded(text);
    let domain = to_ascii(&String::from_utf8_lossy(&decoded))?;
    if ends_in_number(&domain) {
        return parse_ipv4(&domain);
    }
    Some(domain)
}

/// Returns a domain as ASCII. A domain of ASCII is kept even if it has labels that are no valid Punycode, as browsers do.
fn to_ascii(domain: &str) -> Option<String> {
    let ascii = if domain.is_ascii() {
        domain.to_ascii_lowercase()
    } else {
        let (allowed, hyphens) = (AsciiDenyList::EMPTY, Hyphens::Allow);
        let ascii = Uts46::new().to_ascii(domain.as_bytes(), allowed, hyphens, DnsLength::Ignore);
        ascii.ok()?.into_owned()
    };
    let is_wrong = ascii.is_empty() || ascii.bytes().any(is_forbidden_in_domain);
    (!is_wrong).then_some(ascii)
}

fn is_forbidden_in_host(byte: u8) -> bool {
    b"\0\t\n\r #/:<>?@[\\]^|".contains(&byte)
}

fn is_forbidden_in_domain(byte: u8) -> bool {
    is_forbidden_in_host(byte) || byte <= 0x1f || byte == b'%' || byte == 0x7f
}

fn ends_in_number(domain: &str) -> bool {
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    let last = domain.rsplit('.').next().unwrap_or_default();
    let is_decimal = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
    is_decimal || ipv4_number(last).is_some()
}

/// Returns the number that a part of an IPv4 address stands for, at most `u64::MAX`.
fn ipv4_number(part: &str) -> Option<u64> {
    let (digits, radix) = match part.as_bytes() {
        [] => return None,
        [b'0', b'x' | b'X', ..] => (&part[2..], 16),
        [b'0', _, ..] => (&part[1..], 8),
        _ => (part, 10),
    };
    let mut number: u64 = 0;
    for digit in digits.chars() {
        let value = u64::from(digit.to_digit(radix)?);
        number = number
            .saturating_mul(u64::from(radix))
            .saturating_add(value);
    }
    Some(number)
}

fn parse_ipv4(domain: &str) -> Option<String> {
    const PARTS_MAX: usize = 4;
    let parts: Vec<&str> = domain
        .strip_suffix('.')
        .unwrap_or(domain)
        .split('.')
        .take(PARTS_MAX + 1)
        .collect();
    if parts.len() > PARTS_MAX {
        return None;
    }
    let mut address: u64 = 0;
    for (index, part) in parts.iter().enumerate() {
        let number = ipv4_number(part)?;
        let is_last = index + 1 == parts.len();
        let places = if is_last { PARTS_MAX - index } else { 1 };
        if number >= 1 << (8 * places) {
            return None;
        }
        address += number << (8 * (PARTS_MAX - index - places));
    }
    let [.., a, b, c, d] = address.to_be_bytes();
    Some(format!("{a}.{b}.{c}.{d}"))
}

fn parse_ipv6(text: &[u8]) -> Option<[u16; PIECES]> {
    let mut pieces = [0; PIECES];
    let (mut index, mut compress, mut at) = (0, None, 0);
    if text.first() == Some(&b':') {
        if text.get(1) != Some(&b':') {
            return None;
        }
        (index, compress, at) = (1, Some(1), 2);
    }
    while let Some(byte) = text.get(at) {
        if index == PIECES {
            return None;
        }
        if *byte == b':' {
            if compress.is_some() {
                return None;
            }
            at += 1;
            index += 1;
            compress = Some(index);
            continue;
        }
        let (value, length) = hex_piece(&text[at..]);
        match text.get(at + length) {
            Some(b'.') if length > 0 => {
                if index > PIECES - 2 {
                    return None;
                }
                let [high, low] = ipv4_pieces(&text[at..])?;
                (pieces[index], pieces[index + 1]) = (high, low);
                index += 2;
                break;
            }
            Some(b':') => {
                at += length + 1;
                text.get(at)?;
            }
            Some(_) => return None,
            None => at += length,
        }
        pieces[index] = value;
        index += 1;
    }
    match compress {
        Some(start) => pieces[start..].rotate_right(PIECES - index),
        None if index != PIECES => return None,
        None => {}
    }
    Some(pieces)
}

/// Returns the number of up to four hexadecimal digits, and how many these are.
fn hex_piece(text: &[u8]) -> (u16, usize) {
    let digits = text.iter().take(4);
    let digits = digits.map_while(|byte| char::from(*byte).to_digit(16));
    digits.fold((0, 0), |(value, length), digit| {
        (value << 4 | u16::try_from(digit).unwrap_or(0), length + 1)
    })
}

/// Returns the pieces of an IPv4 address at the end of an IPv6 address.
fn ipv4_pieces(text: &[u8]) -> Option<[u16; 2]> {
    let text = std::str::from_utf8(text).ok()?;
    let mut bytes = [0; 4];
    let mut parts = text.split('.');
    for byte in &mut bytes {
        let part = parts.next()?;
        let is_number = part.bytes().all(|digit| digit.is_ascii_digit());
        if !is_number || (part.len() > 1 && part.starts_with('0')) {
            return None;
        }
        *byte = part.parse::<u8>().ok()?;
    }
    let [a, b, c, d] = bytes.map(u16::from);
    parts.next().is_none().then_some([a << 8 | b, c << 8 | d])
}

fn written_ipv6(pieces: [u16; PIECES]) -> String {
    let compressed = longest_zeros(&pieces);
    let mut text = "[".to_owned();
    let mut index = 0;
    while index < PIECES {
        if let Some((start, length)) = compressed
            && start == index
        {
            text.push_str(if start == 0 { "::" } else { ":" });
            index += length;
            continue;
        }
        // Writing to a string cannot fail.
        let _ = write!(text, "{:x}", pieces[index]);
        index += 1;
        if index < PIECES {
            text.push(':');
        }
    }
    text.push(']');
    text
}

/// Returns start and length of the first of the longest runs of zeros; `None` if no run has two.
fn longest_zeros(pieces: &[u16; PIECES]) -> Option<(usize, usize)> {
    let mut longest = None;
    let mut start = 0;
    for end in 1..=PIECES {
        let is_within = end < PIECES && pieces[end] == 0 && pieces[end - 1] == 0;
        if is_within {
            continue;
        }
        let length = end - start;
        if pieces[start] == 0 && length > longest.map_or(1, |(_, length)| length) {
            longest = Some((start, length));
        }
        start = end;
    }
    longest
}

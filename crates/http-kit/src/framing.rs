//! The position of a client in its bytes: in a head, in a body, or beyond the current request.
//!
//! The parser does not report how many bytes of its buffer a request took. The connection must know whether the next
//! head has begun when a response ends, so this module counts bytes. A wrong count shortens the time that an idle
//! connection stays open, and never changes which request is served.

use memchr::memchr;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Position {
    /// In a head, or before the next one.
    Head(HeadEnd),
    /// Past a head that the parser has not reported yet, by this many bytes.
    Behind(u64),
    /// In the body of the current request, of which this many bytes are missing.
    Body(u64),
    /// Unknown: bytes beyond the current request have arrived, or the body has no declared length.
    Ahead,
}

impl Default for Position {
    fn default() -> Self {
        Self::Head(HeadEnd::default())
    }
}

impl Position {
    pub(crate) fn after(self, bytes: &[u8]) -> Self {
        let count = |bytes: &[u8]| u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        match self {
            Self::Head(mut head_end) => match head_end.find(bytes) {
                Some(end) => Self::Behind(count(&bytes[end..])),
                None => Self::Head(head_end),
            },
            Self::Behind(surplus) => Self::Behind(surplus.saturating_add(count(bytes))),
            Self::Body(left) => left
                .checked_sub(count(bytes))
                .map_or(Self::Ahead, Self::Body),
            Self::Ahead => Self::Ahead,
        }
    }

    /// Returns the position once the parser has reported a request whose body has this declared length.
    pub(crate) fn at_request(self, length: Option<u64>) -> Self {
        match (self, length) {
            (Self::Behind(surplus), Some(length)) => {
                length.checked_sub(surplus).map_or(Self::Ahead, Self::Body)
            }
            _ => Self::Ahead,
        }
    }

    /// Returns true if the current request is complete and no later byte has arrived.
    pub(crate) fn is_at_end_of_request(self) -> bool {
        self == Self::Body(0)
    }
}

/// A search for the end of a head that arrives in pieces: the first empty line after a line that is not empty.
///
/// As in the parser, a line ends with LF, and empty lines before the request line are skipped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct HeadEnd {
    has_line: bool,
    line_has_text: bool,
}

impl HeadEnd {
    /// Returns the offset after the head, if the head ends in these bytes.
    fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        let is_text = |line: &[u8]| !matches!(line, [] | [b'\r']);
        let mut at = 0;
        while let Some(length) = memchr(b'\n', &bytes[at..]) {
            let line = &bytes[at..at + length];
            at += length + 1;
            let is_empty = !self.line_has_text && !is_text(line);
            self.line_has_text = false;
            if !is_empty {
                self.has_line = true;
            } else if self.has_line {
                return Some(at);
            }
        }
        self.line_has_text |= is_text(&bytes[at..]);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\n";

    fn after(pieces: &[&[u8]]) -> Position {
        let start = Position::default();
        pieces
            .iter()
            .fold(start, |position, piece| position.after(piece))
    }

    #[test]
    fn a_head_ends_at_its_empty_line_with_every_split() {
        for cut in 0..=HEAD.len() {
            let (first, rest) = HEAD.split_at(cut);
            assert_eq!(after(&[first, rest]), Position::Behind(0), "cut at {cut}");
            assert_eq!(
                after(&[first, rest, b"abc"]),
                Position::Behind(3),
                "cut at {cut}"
            );
        }
        for end in 0..HEAD.len() {
            assert!(matches!(after(&[&HEAD[..end]]), Position::Head(_)), "{end}");
        }
        assert_eq!(
            after(&[b"GET / HTTP/1.1\nhost: x\n\nrest"]),
            Position::Behind(4)
        );
        assert_eq!(
            after(&[b"\r\n\n\r\nGET / HTTP/1.1\r\n\r\n"]),
            Position::Behind(0)
        );
        assert!(matches!(after(&[b"\r\n\r\n\r\n"]), Position::Head(_)));
    }

    #[test]
    fn only_a_complete_request_without_later_bytes_is_at_its_end() {
        let reported = |pieces: &[&[u8]], length| after(pieces).at_request(length);
        assert!(reported(&[HEAD, b"abc"], Some(3)).is_at_end_of_request());
        assert!(
            reported(&[HEAD], Some(3))
                .after(b"ab")
                .after(b"c")
                .is_at_end_of_request()
        );
        assert_eq!(reported(&[HEAD, b"a"], Some(3)), Position::Body(2));
        assert_eq!(reported(&[HEAD, b"abcG"], Some(3)), Position::Ahead);
        assert_eq!(
            reported(&[HEAD, b"abc"], Some(3)).after(b"G"),
            Position::Ahead
        );
        assert_eq!(reported(&[HEAD, b"\r\n"], Some(0)), Position::Ahead);
        assert_eq!(reported(&[HEAD], None), Position::Ahead);
        assert_eq!(reported(&[b"GET"], Some(0)), Position::Ahead);
    }
}

//! The basic URL parser of <https://url.spec.whatwg.org/#concept-basic-url-parser>: a state machine over the bytes of the
//! input, which also sets parts of a URL.
//!
//! The crate `url` keeps the serialisation alone, and so differs from the standard for files with a host, for empty
//! segments of paths and for opaque paths.

use super::paths::starts_with_drive_letter;
use super::record::{Record, default_port, is_special_scheme};
use std::borrow::Cow;

/// The states of the parser, and the parts that it can set alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    SchemeStart,
    Scheme,
    NoScheme,
    SpecialRelativeOrAuthority,
    PathOrAuthority,
    Relative,
    RelativeSlash,
    SpecialAuthoritySlashes,
    SpecialAuthorityIgnoreSlashes,
    Authority,
    Host,
    Hostname,
    Port,
    File,
    FileSlash,
    FileHost,
    PathStart,
    Path,
    OpaquePath,
    Query,
    Fragment,
}

/// The result of a step.
pub(super) enum Step {
    /// Goes on with the next byte, in this state.
    Next(State),
    /// Goes on with the same byte, in this state.
    Again(State),
    /// Goes on at another byte, in this state.
    At(usize, State),
    Done,
    Failed,
}

/// Returns the URL of a text; `None` if the text is none.
pub(super) fn parse(text: &str, base: Option<&Record>) -> Option<Record> {
    let text = text.trim_matches(|character: char| character <= ' ');
    let mut parser = Parser::new(text, base, Record::default(), None);
    parser.run().then_some(parser.url)
}

/// Sets a part of a URL. Returns false if `text` is no such part; the URL may have changed all the same.
pub(super) fn set(url: &mut Record, text: &str, part: State) -> bool {
    let mut parser = Parser::new(text, None, std::mem::take(url), Some(part));
    let is_set = parser.run();
    *url = parser.url;
    is_set
}

pub(super) struct Parser<'a> {
    pub(super) input: Cow<'a, [u8]>,
    pub(super) base: Option<&'a Record>,
    pub(super) url: Record,
    /// The part that is set alone.
    pub(super) only: Option<State>,
    /// The place of the byte that is looked at.
    pub(super) at: usize,
    /// The place where the host or the port starts.
    pub(super) start: usize,
    pub(super) is_in_brackets: bool,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, base: Option<&'a Record>, url: Record, only: Option<State>) -> Self {
        let is_skipped = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r');
        let input = if text.as_bytes().iter().any(is_skipped) {
            let kept = text.bytes().filter(|byte| !is_skipped(byte));
            Cow::Owned(kept.collect())
        } else {
            Cow::Borrowed(text.as_bytes())
        };
        Self {
            input,
            base,
            url,
            only,
            at: 0,
            start: 0,
            is_in_brackets: false,
        }
    }

    /// Returns false if the input is no URL, or no such part.
    fn run(&mut self) -> bool {
        let mut state = self.only.unwrap_or(State::SchemeStart);
        loop {
            let byte = self.input.get(self.at).copied();
            match self.step(state, byte) {
                Step::Next(next) => {
                    state = next;
                    if byte.is_none() {
                        return true;
                    }
                    self.at += 1;
                }
                Step::Again(next) => state = next,
                Step::At(at, next) => (self.at, state) = (at, next),
                Step::Done => return true,
                Step::Failed => return false,
            }
        }
    }

    fn step(&mut self, state: State, byte: Option<u8>) -> Step {
        match state {
            State::SchemeStart => self.scheme_start(byte),
            State::Scheme => self.scheme(byte),
            State::NoScheme => self.no_scheme(byte),
            State::SpecialRelativeOrAuthority if self.rest().starts_with(b"//") => {
                Step::At(self.at + 2, State::SpecialAuthorityIgnoreSlashes)
            }
            State::SpecialRelativeOrAuthority => Step::Again(State::Relative),
            State::PathOrAuthority if byte == Some(b'/') => self.authority_from(self.at + 1),
            State::PathOrAuthority => Step::Again(State::Path),
            State::Relative => self.relative(byte),
            State::RelativeSlash => self.relative_slash(byte),
            State::SpecialAuthoritySlashes if self.rest().starts_with(b"//") => {
                Step::At(self.at + 2, State::SpecialAuthorityIgnoreSlashes)
            }
            State::SpecialAuthoritySlashes => Step::Again(State::SpecialAuthorityIgnoreSlashes),
            State::SpecialAuthorityIgnoreSlashes => match byte {
                Some(b'/' | b'\\') => Step::Next(state),
                _ => self.authority_from(self.at),
            },
            State::Authority => self.authority(),
            State::Host | State::Hostname => self.host(state, byte),
            State::Port => self.port(byte),
            State::File => self.file(byte),
            State::FileSlash => self.file_slash(byte),
            State::FileHost => self.file_host(byte),
            State::PathStart => self.path_start(byte),
            State::Path => self.path(),
            State::OpaquePath => self.opaque_path(),
            State::Query => self.query(),
            State::Fragment => self.fragment(),
        }
    }

    pub(super) fn rest(&self) -> &[u8] {
        self.input.get(self.at..).unwrap_or_default()
    }

    /// Returns the input between two places as text. Both lie at a byte of ASCII or at the end.
    pub(super) fn text(&self, start: usize, end: usize) -> &str {
        let bytes = self.input.get(start..end).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    pub(super) fn is_slash(&self, byte: Option<u8>) -> bool {
        byte == Some(b'/') || (byte == Some(b'\\') && self.url.is_special())
    }

    /// Returns whether a byte ends the host and the port.
    pub(super) fn ends_authority(&self, byte: Option<u8>) -> bool {
        matches!(byte, None | Some(b'/' | b'?' | b'#')) || self.is_slash(byte)
    }

    fn authority_from(&mut self, at: usize) -> Step {
        Step::At(at, State::Authority)
    }

    pub(super) fn host_from(&mut self, at: usize, state: State) -> Step {
        self.start = at;
        Step::At(at, state)
    }

    fn scheme_start(&mut self, byte: Option<u8>) -> Step {
        match byte {
            Some(letter) if letter.is_ascii_alphabetic() => Step::Next(State::Scheme),
            _ if self.only.is_none() => Step::Again(State::NoScheme),
            _ => Step::Failed,
        }
    }

    fn scheme(&mut self, byte: Option<u8>) -> Step {
        match byte {
            Some(b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'-' | b'.') => {
                Step::Next(State::Scheme)
            }
            Some(b':') => {
                let scheme = self.text(0, self.at).to_ascii_lowercase();
                if self.only.is_some() {
                    return self.set_scheme(scheme);
                }
                self.url.scheme = scheme;
                self.after_scheme()
            }
            _ if self.only.is_none() => Step::At(0, State::NoScheme),
            _ => Step::Failed,
        }
    }

    /// Changes the scheme of a URL, unless the URL would need another form.
    fn set_scheme(&mut self, scheme: String) -> Step {
        let url = &mut self.url;
        let is_kept = url.is_special() != is_special_scheme(&scheme)
            || (scheme == "file" && (url.has_credentials() || url.port.is_some()))
            || (url.scheme == "file" && url.host.as_deref() == Some(""));
        if !is_kept {
            url.scheme = scheme;
            url.port = url
                .port
                .filter(|port| default_port(&url.scheme) != Some(*port));
        }
        Step::Done
    }

    fn after_scheme(&mut self) -> Step {
        let is_of_base = self.base.is_some_and(|base| base.scheme == self.url.scheme);
        let next = self.at + 1;
        if self.url.scheme == "file" {
            Step::At(next, State::File)
        } else if self.url.is_special() && is_of_base {
            Step::At(next, State::SpecialRelativeOrAuthority)
        } else if self.url.is_special() {
            Step::At(next, State::SpecialAuthoritySlashes)
        } else if self.input.get(next) == Some(&b'/') {
            Step::At(next + 1, State::PathOrAuthority)
        } else {
            self.url.has_opaque_path = true;
            Step::At(next, State::OpaquePath)
        }
    }

    fn no_scheme(&mut self, byte: Option<u8>) -> Step {
        let Some(base) = self.base else {
            return Step::Failed;
        };
        if !base.has_opaque_path {
            let is_file = base.scheme == "file";
            return Step::Again(if is_file {
                State::File
            } else {
                State::Relative
            });
        }
        if byte != Some(b'#') {
            return Step::Failed;
        }
        self.url = Record {
            fragment: Some(String::new()),
            ..base.clone()
        };
        Step::Next(State::Fragment)
    }

    fn relative(&mut self, byte: Option<u8>) -> Step {
        let Some(base) = self.base else {
            return Step::Failed;
        };
        self.url.scheme.clone_from(&base.scheme);
        if self.is_slash(byte) {
            return Step::Next(State::RelativeSlash);
        }
        self.take_authority(base);
        self.take_path_and_query(base, byte)
    }

    fn take_authority(&mut self, base: &Record) {
        self.url.username.clone_from(&base.username);
        self.url.password.clone_from(&base.password);
        self.url.host.clone_from(&base.host);
        self.url.port = base.port;
    }

    /// Takes path and query of the base, as far as the input does not replace them.
    pub(super) fn take_path_and_query(&mut self, base: &Record, byte: Option<u8>) -> Step {
        self.url.path.clone_from(&base.path);
        match byte {
            Some(b'?') => self.query_after(),
            Some(b'#') => {
                self.url.query.clone_from(&base.query);
                self.fragment_after()
            }
            None => {
                self.url.query.clone_from(&base.query);
                Step::Done
            }
            Some(_) => {
                let is_file = self.url.scheme == "file";
                if is_file && starts_with_drive_letter(self.rest()) {
                    self.url.path.clear();
                } else {
                    self.url.shorten_path();
                }
                Step::Again(State::Path)
            }
        }
    }

    pub(super) fn query_after(&mut self) -> Step {
        self.url.query = Some(String::new());
        Step::Next(State::Query)
    }

    pub(super) fn fragment_after(&mut self) -> Step {
        self.url.fragment = Some(String::new());
        Step::Next(State::Fragment)
    }

    fn relative_slash(&mut self, byte: Option<u8>) -> Step {
        if self.url.is_special() && self.is_slash(byte) {
            return Step::Next(State::SpecialAuthorityIgnoreSlashes);
        }
        if byte == Some(b'/') {
            return self.authority_from(self.at + 1);
        }
        if let Some(base) = self.base {
            self.take_authority(base);
        }
        Step::Again(State::Path)
    }
}

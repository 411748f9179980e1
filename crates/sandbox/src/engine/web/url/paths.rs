//! The states of the URL parser behind the authority: hosts of files, paths, query and fragment.

use super::encode::{self, CONTROLS, FRAGMENT, PATH, QUERY, SPECIAL_QUERY};
use super::host;
use super::parser::{Parser, State, Step};
use super::record::is_normal_drive_letter;

impl Parser<'_> {
    pub(super) fn file(&mut self, byte: Option<u8>) -> Step {
        "file".clone_into(&mut self.url.scheme);
        self.url.host = Some(String::new());
        if self.is_slash(byte) {
            return Step::Next(State::FileSlash);
        }
        match self.base.filter(|base| base.scheme == "file") {
            Some(base) => {
                self.url.host.clone_from(&base.host);
                self.take_path_and_query(base, byte)
            }
            None => Step::Again(State::Path),
        }
    }

    pub(super) fn file_slash(&mut self, byte: Option<u8>) -> Step {
        if self.is_slash(byte) {
            return self.host_from(self.at + 1, State::FileHost);
        }
        if let Some(base) = self.base.filter(|base| base.scheme == "file") {
            self.url.host.clone_from(&base.host);
            let drive = base.first_segment();
            let drive = drive.filter(|segment| is_normal_drive_letter(segment));
            if let Some(drive) = drive
                && !starts_with_drive_letter(self.rest())
            {
                self.url.path = format!("/{drive}");
            }
        }
        Step::Again(State::Path)
    }

    pub(super) fn file_host(&mut self, byte: Option<u8>) -> Step {
        if !matches!(byte, None | Some(b'/' | b'\\' | b'?' | b'#')) {
            return Step::Next(State::FileHost);
        }
        let text = self.text(self.start, self.at);
        if self.only.is_none() && is_drive_letter(text.as_bytes()) {
            // The path begins with it.
            return Step::At(self.start, State::Path);
        }
        let host = if text.is_empty() {
            Some(String::new())
        } else {
            host::parse(text, false)
        };
        let Some(host) = host else {
            return Step::Failed;
        };
        self.url.host = Some(if host == "localhost" {
            String::new()
        } else {
            host
        });
        if self.only.is_some() {
            return Step::Done;
        }
        Step::Again(State::PathStart)
    }

    pub(super) fn path_start(&mut self, byte: Option<u8>) -> Step {
        if self.is_slash(byte) {
            return Step::Next(State::Path);
        }
        match byte {
            _ if self.url.is_special() => Step::Again(State::Path),
            Some(b'?') if self.only.is_none() => self.query_after(),
            Some(b'#') if self.only.is_none() => self.fragment_after(),
            Some(_) => Step::Again(State::Path),
            None => {
                if self.only.is_some() && self.url.host.is_none() {
                    self.url.path.push('/');
                }
                Step::Done
            }
        }
    }

    /// Reads all segments of the path that are left.
    pub(super) fn path(&mut self) -> Step {
        loop {
            let (is_special, is_alone) = (self.url.is_special(), self.only.is_some());
            let rest = self.input.get(self.at..).unwrap_or_default();
            let ends = |byte: &u8| match byte {
                b'/' => true,
                b'\\' => is_special,
                b'?' | b'#' => !is_alone,
                _ => false,
            };
            let length = rest.iter().position(ends).unwrap_or(rest.len());
            let end = rest.get(length).copied();
            let start = self.url.path.len();
            self.url.path.push('/');
            encode::push(&mut self.url.path, &rest[..length], PATH);
            self.at += length;
            self.finish_segment(start, matches!(end, Some(b'/' | b'\\')));
            match end {
                Some(b'?') => return self.query_after(),
                Some(b'#') => return self.fragment_after(),
                Some(_) => self.at += 1,
                None => return Step::Done,
            }
        }
    }

    /// Applies what the last segment means, which begins with the slash at `start`.
    fn finish_segment(&mut self, start: usize, is_slash_next: bool) {
        let url = &mut self.url;
        let segment = &url.path[start + 1..];
        let (is_up, is_here) = (is_double_dot(segment), is_single_dot(segment));
        if !is_up && !is_here {
            let is_drive =
                url.scheme == "file" && start == 0 && is_drive_letter(segment.as_bytes());
            if is_drive {
                url.path.replace_range(start + 2..start + 3, ":");
            }
            return;
        }
        url.path.truncate(start);
        if is_up {
            url.shorten_path();
        }
        if !is_slash_next {
            url.path.push('/');
        }
    }

    /// Reads the path of a URL that has no segments.
    pub(super) fn opaque_path(&mut self) -> Step {
        let rest = self.input.get(self.at..).unwrap_or_default();
        let end = rest.iter().position(|byte| matches!(byte, b'?' | b'#'));
        let path = &rest[..end.unwrap_or(rest.len())];
        match path.split_last() {
            // A space at the end would be lost once the part behind it is removed.
            Some((b' ', before)) if end.is_some() => {
                encode::push(&mut self.url.path, before, CONTROLS);
                self.url.path.push_str("%20");
            }
            _ => encode::push(&mut self.url.path, path, CONTROLS),
        }
        let Some(end) = end else {
            return Step::Done;
        };
        let mark = rest[end];
        self.at += end;
        if mark == b'?' {
            self.query_after()
        } else {
            self.fragment_after()
        }
    }

    pub(super) fn query(&mut self) -> Step {
        let set = if self.url.is_special() {
            SPECIAL_QUERY
        } else {
            QUERY
        };
        let rest = self.input.get(self.at..).unwrap_or_default();
        let end = rest.iter().position(|byte| *byte == b'#');
        let end = end.filter(|_| self.only.is_none());
        let query = self.url.query.get_or_insert_default();
        encode::push(query, &rest[..end.unwrap_or(rest.len())], set);
        match end {
            Some(end) => {
                self.at += end;
                self.fragment_after()
            }
            None => Step::Done,
        }
    }

    pub(super) fn fragment(&mut self) -> Step {
        let rest = self.input.get(self.at..).unwrap_or_default();
        let fragment = self.url.fragment.get_or_insert_default();
        encode::push(fragment, rest, FRAGMENT);
        Step::Done
    }
}

fn is_drive_letter(text: &[u8]) -> bool {
    matches!(text, [letter, b':' | b'|'] if letter.is_ascii_alphabetic())
}

pub(super) fn starts_with_drive_letter(text: &[u8]) -> bool {
    let Some((start, rest)) = text.split_at_checked(2) else {
        return false;
    };
    is_drive_letter(start) && matches!(rest.first(), None | Some(b'/' | b'\\' | b'?' | b'#'))
}

fn is_single_dot(segment: &str) -> bool {
    segment == "." || segment.eq_ignore_ascii_case("%2e")
}

fn is_double_dot(segment: &str) -> bool {
    ["..", ".%2e", "%2e.", "%2e%2e"]
        .iter()
        .any(|dots| segment.eq_ignore_ascii_case(dots))
}

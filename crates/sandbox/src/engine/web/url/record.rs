//! A URL as its parts, its serialisation and its origin, as <https://url.spec.whatwg.org/> has them.

use super::parser;

/// The schemes with rules of their own, and their default ports.
const SPECIAL_SCHEMES: [(&str, Option<u16>); 6] = [
    ("ftp", Some(21)),
    ("file", None),
    ("http", Some(80)),
    ("https", Some(443)),
    ("ws", Some(80)),
    ("wss", Some(443)),
];

/// A URL. Every part is text of ASCII in the form of the serialisation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) scheme: String,
    pub(super) username: String,
    pub(super) password: String,
    /// The host as it is written; an IPv6 address has its brackets.
    pub(super) host: Option<String>,
    pub(super) port: Option<u16>,
    /// The segments of the path, each with a slash before it, or an opaque path.
    pub(super) path: String,
    pub(super) has_opaque_path: bool,
    pub(super) query: Option<String>,
    pub(super) fragment: Option<String>,
}

pub(super) fn default_port(scheme: &str) -> Option<u16> {
    let special = SPECIAL_SCHEMES.iter().find(|(name, _)| *name == scheme);
    special.and_then(|(_, port)| *port)
}

pub(super) fn is_special_scheme(scheme: &str) -> bool {
    SPECIAL_SCHEMES.iter().any(|(name, _)| *name == scheme)
}

impl Record {
    pub(super) fn is_special(&self) -> bool {
        is_special_scheme(&self.scheme)
    }

    pub(super) fn has_credentials(&self) -> bool {
        !self.username.is_empty() || !self.password.is_empty()
    }

    pub(super) fn cannot_have_credentials_or_port(&self) -> bool {
        self.host.as_deref().is_none_or(str::is_empty) || self.scheme == "file"
    }

    /// Returns the first segment of the path.
    pub(super) fn first_segment(&self) -> Option<&str> {
        let path = self.path.strip_prefix('/')?;
        Some(path.split('/').next().unwrap_or(path))
    }

    /// Removes the last segment of the path, unless it is the drive letter of a file.
    pub(super) fn shorten_path(&mut self) {
        let is_drive = self.path.rfind('/') == Some(0)
            && self.first_segment().is_some_and(is_normal_drive_letter);
        if self.scheme == "file" && is_drive {
            return;
        }
        let end = self.path.rfind('/').unwrap_or(0);
        self.path.truncate(end);
    }

    pub(super) fn serialized(&self) -> String {
        let Self {
            scheme,
            path,
            query,
            fragment,
            ..
        } = self;
        let length = |part: &Option<String>| part.as_ref().map_or(0, |part| part.len() + 1);
        let mut text = String::with_capacity(
            scheme.len() + self.authority_length() + path.len() + length(query) + length(fragment),
        );
        text.push_str(scheme);
        text.push(':');
        if let Some(host) = &self.host {
            text.push_str("//");
            if self.has_credentials() {
                text.push_str(&self.username);
                if !self.password.is_empty() {
                    text.push(':');
                    text.push_str(&self.password);
                }
                text.push('@');
            }
            text.push_str(host);
            if let Some(port) = self.port {
                text.push_str(&format!(":{port}"));
            }
        } else if !self.has_opaque_path && path.starts_with("//") {
            // Without these two, the path would be read as a host.
            text.push_str("/.");
        }
        text.push_str(path);
        for (mark, part) in [('?', query), ('#', fragment)] {
            if let Some(part) = part {
                text.push(mark);
                text.push_str(part);
            }
        }
        text
    }

    /// Returns the most bytes that the authority and the marks around it take.
    fn authority_length(&self) -> usize {
        const MARKS_AND_PORT: usize = 16;
        let host = self.host.as_ref().map_or(0, String::len);
        MARKS_AND_PORT + self.username.len() + self.password.len() + host
    }

    pub(super) fn host_and_port(&self) -> String {
        let host = self.host.as_deref().unwrap_or_default();
        match self.port {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    pub(super) fn port_text(&self) -> String {
        self.port.map_or_else(String::new, |port| port.to_string())
    }

    pub(super) fn origin(&self) -> String {
        const OPAQUE: &str = "null";
        match self.scheme.as_str() {
            "ftp" | "http" | "https" | "ws" | "wss" => {
                format!("{}://{}", self.scheme, self.host_and_port())
            }
            "blob" => match parser::parse(&self.path, None) {
                Some(inside) if matches!(inside.scheme.as_str(), "http" | "https") => {
                    inside.origin()
                }
                _ => OPAQUE.to_owned(),
            },
            _ => OPAQUE.to_owned(),
        }
    }
}

/// Returns whether a segment is a letter and a colon.
pub(super) fn is_normal_drive_letter(segment: &str) -> bool {
    matches!(segment.as_bytes(), [letter, b':'] if letter.is_ascii_alphabetic())
}

//! Names of tools: `getOrder`, or `billing.refund` with a namespace.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Segments that no name has: code asks every object for them, and a promise or an error would look like another thing.
const FORBIDDEN_SEGMENTS: [&str; 5] = ["then", "toJSON", "constructor", "prototype", "__proto__"];

/// The name of a tool: one segment, or a namespace and a segment. Each is `[A-Za-z_$][A-Za-z0-9_$]*`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ToolName(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToolName {
    #[error(
        "a name of a tool is `name` or `namespace.name`, of ASCII letters, digits, _ and $, at most {} bytes",
        ToolName::BYTES_MAX
    )]
    Malformed,
    #[error("no part of the name of a tool is `{0}`")]
    Forbidden(&'static str),
}

impl ToolName {
    /// Longest name, bytes.
    pub const BYTES_MAX: usize = 128;

    pub fn parse(text: &str) -> Result<Self, InvalidToolName> {
        if text.len() > Self::BYTES_MAX {
            return Err(InvalidToolName::Malformed);
        }
        let mut segments = 0;
        for segment in text.split('.') {
            segments += 1;
            if segments > 2 || !is_identifier(segment) {
                return Err(InvalidToolName::Malformed);
            }
            if let Some(forbidden) = FORBIDDEN_SEGMENTS.iter().find(|one| **one == segment) {
                return Err(InvalidToolName::Forbidden(forbidden));
            }
        }
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the part before the dot, if there is one.
    pub fn namespace(&self) -> Option<&str> {
        self.0.split_once('.').map(|(namespace, _)| namespace)
    }

    /// Returns the part behind the dot; the whole name if it has none.
    pub fn last_segment(&self) -> &str {
        self.0.split_once('.').map_or(&self.0, |(_, last)| last)
    }
}

fn is_identifier(segment: &str) -> bool {
    let is_start = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || byte == b'$';
    let mut bytes = segment.bytes();
    bytes.next().is_some_and(is_start) && bytes.all(|byte| is_start(byte) || byte.is_ascii_digit())
}

impl TryFrom<String> for ToolName {
    type Error = InvalidToolName;

    fn try_from(text: String) -> Result<Self, InvalidToolName> {
        Self::parse(&text)
    }
}

impl From<ToolName> for String {
    fn from(name: ToolName) -> Self {
        name.0
    }
}

impl fmt::Display for ToolName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_or_two_identifiers() {
        for name in ["getOrder", "$", "_1", "billing.refund", "a.b"] {
            assert!(ToolName::parse(name).is_ok(), "{name}");
        }
        let long = "a".repeat(ToolName::BYTES_MAX + 1);
        for name in [
            "",
            ".",
            "a.",
            ".a",
            "a.b.c",
            "1a",
            "a-b",
            "a b",
            "é",
            "billing.*",
            &long,
        ] {
            assert_eq!(
                ToolName::parse(name),
                Err(InvalidToolName::Malformed),
                "{name}"
            );
        }
    }

    #[test]
    fn names_that_code_asks_every_object_for_are_forbidden() {
        for name in [
            "then",
            "a.then",
            "toJSON",
            "constructor.a",
            "a.prototype",
            "__proto__",
        ] {
            let refused = ToolName::parse(name);
            assert!(
                matches!(refused, Err(InvalidToolName::Forbidden(_))),
                "{name}"
            );
        }
    }

    #[test]
    fn the_dot_parts_the_namespace_from_the_name() {
        let name = ToolName::parse("billing.refund").unwrap();
        assert_eq!(
            (name.namespace(), name.last_segment()),
            (Some("billing"), "refund")
        );
        let name = ToolName::parse("refund").unwrap();
        assert_eq!((name.namespace(), name.last_segment()), (None, "refund"));
    }
}

//! JSON kept as text: checked once for syntax, then carried and written out without being built into a tree.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A piece of text that is known to be one JSON value.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JsonText(Box<RawValue>);

/// The text was not one JSON value.
#[derive(Debug, thiserror::Error)]
#[error("not a JSON value: {0}")]
pub struct InvalidJson(#[from] serde_json::Error);

/// A value that may be left out: that it is `null` does not mean that it is not there.
pub mod given_json {
    use super::JsonText;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(
        value: &Option<JsonText>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<JsonText>, D::Error> {
        JsonText::deserialize(deserializer).map(Some)
    }
}

impl JsonText {
    /// Checks `text` for JSON syntax (one pass, no tree) and keeps it.
    pub fn parse(text: String) -> Result<Self, InvalidJson> {
        Ok(Self(RawValue::from_string(text)?))
    }

    /// The JSON value `null`.
    #[must_use]
    pub fn null() -> Self {
        Self(RawValue::NULL.to_owned())
    }

    /// The text itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// How deeply arrays and objects nest: 0 for a primitive, 1 for `[]`, 2 for `[[]]`.
    #[must_use]
    pub fn depth(&self) -> usize {
        let (mut depth, mut deepest) = (0_usize, 0_usize);
        let (mut in_string, mut escaped) = (false, false);
        for byte in self.as_str().bytes() {
            if in_string {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    b'"' => in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => in_string = true,
                b'[' | b'{' => {
                    depth += 1;
                    deepest = deepest.max(depth);
                }
                b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        deepest
    }
}

impl From<Box<RawValue>> for JsonText {
    fn from(raw: Box<RawValue>) -> Self {
        Self(raw)
    }
}

impl PartialEq for JsonText {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depth_of(text: &str) -> usize {
        JsonText::parse(text.to_owned()).unwrap().depth()
    }

    #[test]
    fn depth_counts_brackets_but_not_those_inside_strings() {
        assert_eq!(depth_of("7"), 0);
        assert_eq!(depth_of("[]"), 1);
        assert_eq!(depth_of(r#"{"a":[1,{"b":2}]}"#), 3);
        assert_eq!(depth_of(r#"["[[[[", "\"[[["]"#), 1);
    }

    #[test]
    fn text_that_is_not_json_is_refused() {
        assert!(JsonText::parse("{".to_owned()).is_err());
        assert!(JsonText::parse("1 2".to_owned()).is_err());
    }
}

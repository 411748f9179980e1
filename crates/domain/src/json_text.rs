//! JSON that is kept as text: its syntax is checked once, and it is passed on and written without being parsed into a
//! tree.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A text that is one valid JSON value.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JsonText(Box<RawValue>);

#[derive(Debug, thiserror::Error)]
#[error("not a JSON value: {0}")]
pub struct InvalidJson(#[from] serde_json::Error);

/// Serializes and deserializes an optional value in which `null` differs from a missing field: `throw null` throws a
/// value.
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
    /// Checks the JSON syntax of `text` (one pass, no tree).
    pub fn parse(text: String) -> Result<Self, InvalidJson> {
        Ok(Self(RawValue::from_string(text)?))
    }

    pub fn null() -> Self {
        Self(RawValue::NULL.to_owned())
    }

    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Returns how deeply arrays and objects nest: 0 for a primitive, 1 for `[]`, 2 for `[[]]`.
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

//! The members of a JSON object and the elements of an array, as unparsed text: no tree is built of values that only the
//! engine reads.

use super::fields::Value;
use sandpiper_domain::Script;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// Maximum members that are read. No valid object has as many.
const MEMBERS_MAX: usize = Script::GLOBALS_MAX + 1;
/// Maximum elements that are read. No valid array has as many.
const ELEMENTS_MAX: usize = 1_001;
/// The members in which `null` is a value.
const NULLABLE: [&str; 2] = ["input", "result"];

/// The members of a JSON object in order, with their values as text.
#[derive(Debug)]
pub(super) struct Members<'a> {
    pub(super) entries: Vec<(String, &'a RawValue)>,
    /// Number of members. Those beyond [`MEMBERS_MAX`] are counted, but not stored.
    pub(super) count: usize,
}

impl<'a> Members<'a> {
    /// Returns the members as fields. `null` is no value, except as `input` and `result`.
    pub(super) fn values(&self) -> impl Iterator<Item = (&str, Value<'a>)> {
        self.entries.iter().map(|(name, json)| {
            let value = match json.get() {
                "null" if !NULLABLE.contains(&name.as_str()) => Value::Absent,
                json => Value::Json(json),
            };
            (name.as_str(), value)
        })
    }
}

impl<'a> Deserialize<'a> for Members<'a> {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut entries = Vec::new();
        let mut count = 0;
        while let Some(name) = map.next_key::<String>()? {
            count += 1;
            if count > MEMBERS_MAX {
                map.next_value::<IgnoredAny>()?;
            } else {
                entries.push((name, map.next_value()?));
            }
        }
        Ok(Members { entries, count })
    }
}

/// The elements of a JSON array, as text.
#[derive(Debug)]
pub(super) struct Elements<'a> {
    pub(super) entries: Vec<&'a RawValue>,
    /// Number of elements. Those beyond [`ELEMENTS_MAX`] are counted, but not stored.
    pub(super) count: usize,
}

impl<'a> Deserialize<'a> for Elements<'a> {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ElementsVisitor)
    }
}

struct ElementsVisitor;

impl<'de> Visitor<'de> for ElementsVisitor {
    type Value = Elements<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Elements<'de>, A::Error> {
        let mut entries = Vec::new();
        while entries.len() < ELEMENTS_MAX {
            match elements.next_element()? {
                Some(element) => entries.push(element),
                None => break,
            }
        }
        let mut count = entries.len();
        while elements.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(Elements { entries, count })
    }
}

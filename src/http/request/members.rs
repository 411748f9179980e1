//! The members of a JSON object, with their values as unparsed text: no tree is built of values that only the engine
//! reads.

use super::fields::Value;
use sandpiper_domain::Script;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// Maximum members that are read. No valid object has as many.
const MEMBERS_MAX: usize = Script::GLOBALS_MAX + 1;

/// The members of a JSON object in order, with their values as text.
#[derive(Debug)]
pub(super) struct Members<'a> {
    pub(super) entries: Vec<(String, &'a RawValue)>,
    /// Number of members. Those beyond [`MEMBERS_MAX`] are counted, but not stored.
    pub(super) count: usize,
}

impl<'a> Members<'a> {
    /// Returns the members as fields. `null` is no value, except as `input`.
    pub(super) fn values(&self) -> impl Iterator<Item = (&str, Value<'a>)> {
        self.entries.iter().map(|(name, json)| {
            let value = match json.get() {
                "null" if name != "input" => Value::Absent,
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

//! Reads fields by name: a [`Deserializer`] over pairs of a name and an unparsed value, whose errors name the field.

use super::members::Members;
use crate::http::problem::{Code, Problem};
use sandpiper_domain::tools::text_of_json;
use sandpiper_domain::without_lone_surrogates;
use serde::de::value::{BorrowedStrDeserializer, MapAccessDeserializer, MapDeserializer};
use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, Error as _, Expected, IntoDeserializer,
    MapAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::value::RawValue;
use std::{fmt, iter};

/// Reads a struct from its fields, in their order.
pub(super) fn read<'n, 'de, T: Deserialize<'de>>(
    fields: impl Iterator<Item = (&'n str, Value<'de>)>,
) -> Result<T, FieldError> {
    T::deserialize(MapAccessDeserializer::new(Fields { fields, next: None }))
}

/// Reads a whole number, or nothing. `expected` follows "must be" where `convert` returns nothing.
pub(super) fn whole_number<'de, D: Deserializer<'de>, T>(
    field: D,
    expected: &str,
    convert: fn(i128) -> Option<T>,
) -> Result<Option<T>, D::Error> {
    let Some(json) = Option::<&RawValue>::deserialize(field)? else {
        return Ok(None);
    };
    let number = parse_whole_number(json.get()).and_then(convert);
    let number = number.ok_or_else(|| D::Error::custom(format_args!("must be {expected}")))?;
    Ok(Some(number))
}

/// Reads a text that becomes a value of a script, or nothing. A lone surrogate becomes U+FFFD.
pub(super) fn text<'de, D: Deserializer<'de>>(field: D) -> Result<Option<String>, D::Error> {
    let Some(json) = Option::<&RawValue>::deserialize(field)? else {
        return Ok(None);
    };
    let text = text_of_json(json.get()).ok_or_else(|| D::Error::custom("must be a string"))?;
    Ok(Some(text))
}

/// The value of a field, unparsed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'de> {
    /// Nothing: `null`, or an empty part of a form, because a page sends all its inputs.
    Absent,
    /// JSON, whose syntax has been checked.
    Json(&'de str),
    /// A part of a form: the text itself, or JSON if the field is not a string.
    Part(&'de str),
}

impl<'de> Value<'de> {
    pub(super) fn string(self) -> Result<String, FieldError> {
        match self {
            Self::Part(text) => Ok(text.to_owned()),
            Self::Json(json) if json.starts_with('"') => {
                // A lone surrogate is no text, but JavaScript may have one, and so may `input`.
                let read = serde_json::from_str(json);
                let read = read.or_else(|_| serde_json::from_str(&without_lone_surrogates(json)));
                read.map_err(|error| {
                    FieldError::custom(format_args!("is not well-formed text: {error}"))
                })
            }
            Self::Json(_) | Self::Absent => Err(must_be(&"a string")),
        }
    }

    fn json(self) -> Result<&'de str, FieldError> {
        match self {
            Self::Absent => Ok("null"),
            Self::Json(json) => Ok(json),
            Self::Part(text) => match serde_json::from_str::<&RawValue>(text) {
                Ok(json) => Ok(json.get()),
                Err(error) => Err(FieldError::custom(format_args!(
                    "is not a JSON value: {error}"
                ))),
            },
        }
    }
}

impl<'de> Deserializer<'de> for Value<'de> {
    type Error = FieldError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        serde_json::Deserializer::from_str(self.json()?)
            .deserialize_any(visitor)
            .map_err(|error| FieldError::custom(format_args!("cannot be read: {error}")))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        match self {
            Self::Absent => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        visitor.visit_string(self.string()?)
    }

    /// A number beyond 64 bits counts as the largest of 64 bits.
    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        let number = parse_whole_number(self.json()?).map(|number| number.min(u64::MAX.into()));
        match number.and_then(|number| u64::try_from(number).ok()) {
            Some(number) => visitor.visit_u64(number),
            None => Err(must_be(&"a whole number, 1 or more")),
        }
    }

    /// serde_json reads unparsed JSON as a newtype, from a map with one entry: the newtype's name and the text.
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, FieldError> {
        let text = BorrowedStrDeserializer::new(self.json()?);
        visitor.visit_map(MapDeserializer::new(iter::once((name, text))))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FieldError> {
        let members: Members<'de> =
            serde_json::from_str(self.json()?).map_err(|_| must_be(&"an object"))?;
        visitor.visit_map(Fields {
            fields: members.values(),
            next: None,
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FieldError> {
        visitor.visit_enum(self.string()?.into_deserializer())
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u128 f32 f64 char str bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier
    }
}

/// Parses a whole number in JSON, which may also be written as `2e3` or `2.0`. A positive number beyond 128 bits counts
/// as the largest.
fn parse_whole_number(json: &str) -> Option<i128> {
    if let Ok(whole) = json.parse() {
        return Some(whole);
    }
    let number: f64 = serde_json::from_str(json).ok()?;
    if number.fract() != 0.0 {
        return None;
    }
    let whole = format!("{number:.0}").parse().ok();
    whole.or((number > 0.0).then_some(i128::MAX))
}

/// The fields that are still to be read.
struct Fields<'n, 'de, I> {
    fields: I,
    next: Option<(&'n str, Value<'de>)>,
}

impl<'n, 'de, I: Iterator<Item = (&'n str, Value<'de>)>> MapAccess<'de> for Fields<'n, 'de, I> {
    type Error = FieldError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, FieldError> {
        self.next = self.fields.next();
        let name = self.next.map(|(name, _)| name.into_deserializer());
        name.map(|name| seed.deserialize(name)).transpose()
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, FieldError> {
        let (name, value) = self.next.take().unwrap_or(("", Value::Absent));
        seed.deserialize(value).map_err(|error| error.inside(name))
    }
}

/// A field that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("`{}` {says}", self.name())]
pub(super) struct FieldError {
    code: Code,
    /// Name of the field, after the names of the fields around it. A dot precedes each.
    path: String,
    /// The rest of the sentence that begins with the field's name.
    says: String,
}

impl FieldError {
    /// Returns the error of a field of `outer`.
    pub(super) fn inside(self, outer: &str) -> Self {
        let path = format!(".{outer}{}", self.path);
        Self { path, ..self }
    }

    /// Returns the error of a field of an array's element.
    pub(super) fn of_element(self, index: usize) -> Self {
        let path = format!("[{index}]{}", self.path);
        Self { path, ..self }
    }

    pub(super) fn with_code(self, code: Code) -> Self {
        Self { code, ..self }
    }

    /// Returns the field's name, shortened.
    fn name(&self) -> String {
        self.path.chars().skip(1).take(100).collect()
    }
}

fn must_be(expected: &dyn Expected) -> FieldError {
    FieldError::custom(format_args!("must be {expected}"))
}

impl de::Error for FieldError {
    fn custom<T: fmt::Display>(says: T) -> Self {
        Self {
            code: Code::InvalidField,
            path: String::new(),
            says: says.to_string(),
        }
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        must_be(expected)
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        must_be(expected)
    }

    fn unknown_variant(_: &str, known: &'static [&'static str]) -> Self {
        let known = known.join("\" or \"");
        Self::custom(format_args!("must be \"{known}\""))
    }

    fn unknown_field(name: &str, known: &'static [&'static str]) -> Self {
        let known = known.join(", ");
        let error = Self {
            code: Code::UnknownField,
            ..Self::custom(format_args!("is not a field; the fields are {known}"))
        };
        error.inside(name)
    }

    fn duplicate_field(name: &'static str) -> Self {
        Self::custom("is given twice").inside(name)
    }
}

impl From<FieldError> for Problem {
    fn from(error: FieldError) -> Self {
        Self::new(error.code, error.to_string()).with("field", error.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Tools {
        is_open: Option<bool>,
        names: Option<Vec<String>>,
        one: Option<Tool>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Tool {
        count: Option<u64>,
    }

    fn tools(name: &str, value: Value<'_>) -> Result<Tools, String> {
        read(iter::once((name, value))).map_err(|error: FieldError| error.to_string())
    }

    #[test]
    fn a_field_of_any_type_is_read_from_json_and_from_a_form() {
        for of in [Value::Json, Value::Part] {
            let read = tools("names", of(r#"["a", "b"]"#)).unwrap();
            assert_eq!(read.names.unwrap(), ["a", "b"]);
            assert_eq!(tools("is_open", of("true")).unwrap().is_open, Some(true));
            let one = tools("one", of(r#"{"count": 2e0}"#)).unwrap().one;
            assert_eq!(one.unwrap().count, Some(2));
        }
    }

    #[test]
    fn an_error_begins_with_the_path_of_the_field() {
        for (name, json, start) in [
            ("is_open", "1", "`is_open` cannot be read: invalid type"),
            ("names", "[1]", "`names` cannot be read: invalid type"),
            ("one", "[]", "`one` must be an object"),
            ("one", r#"{"count": -1}"#, "`one.count` must be a whole"),
            ("one", r#"{"": 1}"#, "`one.` is not a field; the fields are"),
            ("two", "1", "`two` is not a field; the fields are is_open,"),
        ] {
            let error = tools(name, Value::Json(json)).unwrap_err();
            assert!(error.starts_with(start), "{error}");
        }
    }
}

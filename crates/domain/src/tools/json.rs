//! The one form in which an argument is stored.
//!
//! A job process that was taken over may write any text as an argument. The text is parsed here, and written anew: those
//! bytes are checked, shown, stored and sent. An honest engine writes that form already.

use crate::Script;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use std::collections::HashSet;
use std::fmt;

#[derive(Debug, thiserror::Error)]
#[error("not an argument: {0}")]
pub struct BadArgument(#[from] serde_json::Error);

/// Returns `text` as the engine writes JSON: the same order of keys, no spaces, numbers as JavaScript prints them. Fails
/// if it is no JSON, has a key twice in one object, nests too deeply, or has a number beyond the range of a double.
pub fn restated_argument(text: &str) -> Result<String, BadArgument> {
    let mut restated = String::with_capacity(text.len());
    let mut source = serde_json::Deserializer::from_str(text);
    Restated {
        out: &mut restated,
        depth: 0,
    }
    .deserialize(&mut source)?;
    source.end()?;
    Ok(restated)
}

/// Writes a finite number as JavaScript prints it; `-0` is 0.
pub fn write_number(out: &mut String, number: f64) {
    use fmt::Write as _;
    let magnitude = number.abs();
    // Rust prints the same shortest digits as JavaScript. Only the choice of notation differs.
    let written = if magnitude == 0.0 {
        out.push('0');
        Ok(())
    } else if (1e-6..1e21).contains(&magnitude) {
        write!(out, "{number}")
    } else if magnitude < 1.0 {
        write!(out, "{number:e}")
    } else {
        let text = format!("{number:e}");
        write!(out, "{}", text.replace('e', "e+"))
    };
    debug_assert!(written.is_ok());
}

/// Writes a string with the escapes that the engine writes.
fn write_string(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        write_character(out, character);
    }
    out.push('"');
}

/// Writes a character of a string, escaped if the engine escapes it.
pub(super) fn write_character(out: &mut String, character: char) {
    match character {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        control if u32::from(control) < 0x20 => {
            out.push_str(&format!("\\u{:04x}", u32::from(control)));
        }
        other => out.push(other),
    }
}

/// Writes the value that is read to `out`.
struct Restated<'o> {
    out: &'o mut String,
    depth: usize,
}

impl Restated<'_> {
    fn deeper<E: de::Error>(&mut self) -> Result<Restated<'_>, E> {
        if self.depth >= Script::JSON_DEPTH_MAX {
            return Err(E::custom("nested too deeply"));
        }
        Ok(Restated {
            out: &mut *self.out,
            depth: self.depth + 1,
        })
    }
}

impl<'de> DeserializeSeed<'de> for Restated<'_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, source: D) -> Result<(), D::Error> {
        source.deserialize_any(self)
    }
}

#[allow(clippy::cast_precision_loss)] // a number of JSON is a double
impl<'de> Visitor<'de> for Restated<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.out.push_str("null");
        Ok(())
    }

    fn visit_bool<E>(self, truth: bool) -> Result<(), E> {
        self.out.push_str(if truth { "true" } else { "false" });
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        write_number(self.out, number as f64);
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        write_number(self.out, number as f64);
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        write_number(self.out, number);
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        write_string(self.out, text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        self.out.push('[');
        let mut count = 0;
        loop {
            let mark = self.out.len();
            if count > 0 {
                self.out.push(',');
            }
            if items.next_element_seed(self.deeper()?)?.is_none() {
                self.out.truncate(mark);
                break;
            }
            count += 1;
        }
        self.out.push(']');
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
        self.out.push('{');
        let mut keys = HashSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            if !keys.is_empty() {
                self.out.push(',');
            }
            write_string(self.out, &key);
            if !keys.insert(key) {
                return Err(de::Error::custom("a key stands twice in one object"));
            }
            self.out.push(':');
            entries.next_value_seed(self.deeper()?)?;
        }
        self.out.push('}');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_has_one_form() {
        for (text, form) in [
            ("null", "null"),
            (
                " [ 1 , 2.50, -0.0, 1e2, 1E21, 0.0000001 ] ",
                "[1,2.5,0,100,1e+21,1e-7]",
            ),
            (
                r#"{"b":1,"a":{"é":"\u00e9\u0001\/"}}"#,
                "{\"b\":1,\"a\":{\"é\":\"é\\u0001/\"}}",
            ),
            ("[]", "[]"),
            ("{}", "{}"),
            ("9007199254740993", "9007199254740992"),
        ] {
            let restated = restated_argument(text).unwrap();
            assert_eq!(restated, form);
            assert_eq!(restated_argument(&restated).unwrap(), restated);
        }
    }

    #[test]
    fn what_is_no_argument_is_refused() {
        let deep = format!("{}{}", "[".repeat(101), "]".repeat(101));
        for text in [
            "",
            "1 2",
            "{",
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            "1e999",
            "NaN",
            &deep,
        ] {
            assert!(restated_argument(text).is_err(), "{text}");
        }
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        assert!(restated_argument(&deep).is_ok());
    }
}

//! The one form in which a result is stored, and equality of JSON values.
//!
//! The text that a caller gives is valid JSON, but it may be spelled in many ways, and JSON has more than a script reads
//! from it: lone surrogates, numbers beyond a double, one name for several members of an object, of which a script sees
//! the last. The form is that in which the engine writes JSON, so its length is that of the value, however it was spelled.

use super::json::{write_character, write_number};
use crate::JsonText;
use std::ops::Range;

/// Longest part of a number that an error shows, bytes.
const SHOWN_BYTES_MAX: usize = 40;

/// A number of JSON that no double can hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is beyond the range of numbers")]
pub struct NumberOutOfRange(String);

/// Returns a result as it is stored. A lone surrogate becomes U+FFFD, as in an argument. Fails if a number is infinite.
///
/// `text` nests no deeper than [`Script::JSON_DEPTH_MAX`](crate::Script::JSON_DEPTH_MAX).
pub fn canonical_result(text: &JsonText) -> Result<JsonText, NumberOutOfRange> {
    let written = Writer::write(text.as_str(), Order::AsGiven)?;
    // The writer writes JSON.
    Ok(JsonText::parse(written).unwrap_or_else(|_| JsonText::null()))
}

/// Returns whether two texts of JSON are the same value: the order of names does not count, and numbers are doubles.
pub fn is_same_json(one: &str, other: &str) -> bool {
    let sorted = (sorted_json(one), sorted_json(other));
    one == other || matches!(sorted, (Ok(one), Ok(other)) if one == other)
}

/// Returns the one form that all texts of the same value have: members are in the order of their names.
///
/// Fails if a number is infinite. `text` nests no deeper than a stack has room for.
pub fn sorted_json(text: &str) -> Result<String, NumberOutOfRange> {
    Writer::write(text, Order::ByName)
}

/// Returns the text of a JSON string; `None` if `json` is no string. A lone surrogate becomes U+FFFD.
pub fn text_of_json(json: &str) -> Option<String> {
    if !json.starts_with('"') {
        return None;
    }
    let mut reader = Reader { json, at: 1 };
    let mut text = String::with_capacity(json.len());
    while let Some(character) = reader.next_character() {
        text.push(character);
    }
    Some(text)
}

/// The order of an object's members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    AsGiven,
    ByName,
}

/// Writes a value as it reads it.
struct Writer<'j> {
    reader: Reader<'j>,
    order: Order,
    out: String,
}

/// A member of an object, as bytes of the output.
struct Member {
    name: Range<usize>,
    end: usize,
}

impl Writer<'_> {
    fn write(json: &str, order: Order) -> Result<String, NumberOutOfRange> {
        let mut writer = Writer {
            reader: Reader { json, at: 0 },
            order,
            out: String::with_capacity(json.len()),
        };
        writer.value()?;
        Ok(writer.out)
    }

    fn value(&mut self) -> Result<(), NumberOutOfRange> {
        match self.reader.next_token() {
            b'{' => self.object(),
            b'[' => self.array(),
            b'"' => {
                self.string();
                Ok(())
            }
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            _ => self.number(),
        }
    }

    fn word(&mut self, word: &str) -> Result<(), NumberOutOfRange> {
        self.reader.at += word.len();
        self.out.push_str(word);
        Ok(())
    }

    fn number(&mut self) -> Result<(), NumberOutOfRange> {
        let text = self.reader.number();
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => {
                write_number(&mut self.out, number);
                Ok(())
            }
            _ => Err(NumberOutOfRange(
                text.chars().take(SHOWN_BYTES_MAX).collect(),
            )),
        }
    }

    fn string(&mut self) {
        self.reader.at += 1;
        self.out.push('"');
        while let Some(character) = self.reader.next_character() {
            write_character(&mut self.out, character);
        }
        self.out.push('"');
    }

    fn array(&mut self) -> Result<(), NumberOutOfRange> {
        self.reader.at += 1;
        self.out.push('[');
        let start = self.out.len();
        while self.reader.begins_item(b']') {
            if self.out.len() > start {
                self.out.push(',');
            }
            self.value()?;
        }
        self.out.push(']');
        Ok(())
    }

    fn object(&mut self) -> Result<(), NumberOutOfRange> {
        self.reader.at += 1;
        self.out.push('{');
        let mut members: Vec<Member> = Vec::new();
        while self.reader.begins_item(b'}') {
            if !members.is_empty() {
                self.out.push(',');
            }
            let start = self.out.len();
            self.string();
            let name = start..self.out.len();
            self.reader.next_token();
            self.reader.at += 1; // the colon
            self.out.push(':');
            self.value()?;
            let end = self.out.len();
            members.push(Member { name, end });
        }
        self.arrange(&members);
        self.out.push('}');
        Ok(())
    }

    /// Sorts the members that were written last, and leaves one of those with the same name: the last value, where the
    /// first one stands.
    fn arrange(&mut self, members: &[Member]) {
        let Some(first) = members.first() else { return };
        let name = |index: &usize| &self.out[members[*index].name.clone()];
        let mut by_name: Vec<usize> = (0..members.len()).collect();
        by_name.sort_by(|one, other| name(one).cmp(name(other)));
        // The place and the value of each name.
        let mut kept: Vec<(usize, usize)> = by_name
            .chunk_by(|one, other| name(one) == name(other))
            .filter_map(|same| Some((*same.first()?, *same.last()?)))
            .collect();
        if self.order == Order::AsGiven {
            if kept.len() == members.len() {
                return;
            }
            kept.sort_unstable();
        }
        let mut arranged = String::with_capacity(self.out.len() - first.name.start);
        for (_, value) in &kept {
            let member = &members[*value];
            if !arranged.is_empty() {
                arranged.push(',');
            }
            arranged.push_str(&self.out[member.name.start..member.end]);
        }
        self.out.truncate(first.name.start);
        self.out.push_str(&arranged);
    }
}

/// A reader of JSON whose syntax was checked. At any other text it ends early, and does not panic.
struct Reader<'j> {
    json: &'j str,
    at: usize,
}

impl Reader<'_> {
    fn byte(&self) -> Option<u8> {
        self.json.as_bytes().get(self.at).copied()
    }

    /// Returns the first byte of the next token, without reading it; 0 at the end.
    fn next_token(&mut self) -> u8 {
        while self.byte().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
        self.byte().unwrap_or(0)
    }

    /// Returns whether another item of an array or an object begins. Reads the comma before it, or `end`.
    fn begins_item(&mut self, end: u8) -> bool {
        let mut token = self.next_token();
        if token == b',' {
            self.at += 1;
            token = self.next_token();
        }
        if token == end || token == 0 {
            self.at += 1;
            return false;
        }
        true
    }

    fn number(&mut self) -> &str {
        let start = self.at;
        let is_digit = |byte: u8| matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E' | b'0'..=b'9');
        while self.byte().is_some_and(is_digit) {
            self.at += 1;
        }
        // At least one byte, so that the reader always advances.
        self.at = self.at.max(start + 1);
        self.json.get(start..self.at).unwrap_or("")
    }

    /// Reads the next character of a string; `None` behind its last one.
    fn next_character(&mut self) -> Option<char> {
        let character = self.json.get(self.at..)?.chars().next()?;
        self.at += character.len_utf8();
        match character {
            '"' => None,
            '\\' => self.escape(),
            character => Some(character),
        }
    }

    fn escape(&mut self) -> Option<char> {
        let kind = self.byte()?;
        self.at += 1;
        Some(match kind {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = self.unit(self.at)?;
                self.at += 4;
                self.character_of(unit)
            }
            byte => char::from(byte),
        })
    }

    /// Returns the character of which `unit` is the first UTF-16 unit, and reads the escape of the second.
    fn character_of(&mut self, unit: u32) -> char {
        const HIGH: Range<u32> = 0xd800..0xdc00;
        const LOW: Range<u32> = 0xdc00..0xe000;
        let is_escape = self.json.as_bytes().get(self.at..self.at + 2) == Some(b"\\u");
        let low = self.unit(self.at + 2).filter(|low| LOW.contains(low));
        if let (true, true, Some(low)) = (HIGH.contains(&unit), is_escape, low) {
            self.at += 6;
            let point = 0x1_0000 + ((unit - HIGH.start) << 10) + (low - LOW.start);
            return char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER);
        }
        // No character has the number of a surrogate.
        char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)
    }

    /// Returns the UTF-16 unit whose four digits begin at `at`.
    fn unit(&self, at: usize) -> Option<u32> {
        u32::from_str_radix(self.json.get(at..at + 4)?, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        let text = JsonText::parse(text.to_owned()).unwrap();
        canonical_result(&text).unwrap().as_str().to_owned()
    }

    #[test]
    fn a_result_has_one_form_however_it_is_spelled() {
        for (text, form) in [
            (" null ", "null"),
            (
                "[ true , false,\n1.50, -0.0, 1E2, 1e-7 ]",
                "[true,false,1.5,0,100,1e-7]",
            ),
            (
                r#"{ "b" : "\u0061\/\u0001\u00e9" , "a":{} }"#,
                "{\"b\":\"a/\\u0001é\",\"a\":{}}",
            ),
            (r#""\b\f\n\r\t\"\\""#, r#""\u0008\u000c\n\r\t\"\\""#),
            (
                r#""\ud83d\ude00 \ud800 \udc00\ud800 \ud800\u0041""#,
                "\"😀 \u{fffd} \u{fffd}\u{fffd} \u{fffd}A\"",
            ),
            ("9007199254740993", "9007199254740992"),
            ("\"é\u{7f}\u{2028}\"", "\"é\u{7f}\u{2028}\""),
            ("[[],[{}],{\"\":[]}]", "[[],[{}],{\"\":[]}]"),
        ] {
            assert_eq!(canonical(text), form, "{text}");
            assert_eq!(canonical(form), form);
        }
    }

    #[test]
    fn of_a_name_that_stands_twice_the_last_value_stays_in_the_first_place() {
        assert_eq!(
            canonical(r#"{"a":1,"b":2,"\u0061":{"x":3}}"#),
            r#"{"a":{"x":3},"b":2}"#
        );
        assert_eq!(canonical(r#"{"\ud800":1,"\udfff":2}"#), "{\"\u{fffd}\":2}");
        assert_eq!(canonical(r#"{"b":1,"a":2}"#), r#"{"b":1,"a":2}"#);
    }

    #[test]
    fn a_number_beyond_a_double_is_refused() {
        for text in ["1e999", "[-1e400]", r#"{"a":[1,1E309]}"#] {
            let text = JsonText::parse(text.to_owned()).unwrap();
            assert!(canonical_result(&text).is_err(), "{text:?}");
        }
        assert_eq!(canonical("1e-999"), "0");
    }

    #[test]
    fn values_are_compared_and_not_texts() {
        for (one, other) in [
            (r#"{"a":1,"b":[2.0]}"#, r#"{ "b":[2], "a":1e0 }"#),
            (r#""\ud800""#, r#" "\ud800" "#),
            (r#"{"x":{"b":1,"a":2}}"#, r#"{"x":{"a":2,"b":1}}"#),
            (r#"[-0, 1e2]"#, "[0,100]"),
        ] {
            assert!(is_same_json(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("1", "2"),
            ("1", "\"1\""),
            ("[1,2]", "[2,1]"),
            ("{}", "[]"),
            (r#"{"a":1}"#, r#"{"a":1,"b":1}"#),
            (r#"{"a":"\"b"}"#, r#"{"a":"b"}"#),
        ] {
            assert!(!is_same_json(one, other), "{one} {other}");
        }
    }

    #[test]
    fn a_text_has_no_lone_surrogates() {
        assert_eq!(text_of_json(r#""a\ud800\n\"""#).unwrap(), "a\u{fffd}\n\"");
        assert_eq!(text_of_json("\"\"").unwrap(), "");
        assert_eq!(text_of_json("1"), None);
    }
}

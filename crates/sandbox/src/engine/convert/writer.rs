//! JSON text with a byte budget.
//!
//! In scope: escaping, numbers, and stopping at the budget. Out of scope: the form of a value (`convert`). Called by
//! `convert` only.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OverBudget;

/// JSON text that never exceeds `budget` bytes.
#[derive(Debug)]
pub(crate) struct JsonWriter {
    text: String,
    budget: usize,
}

impl JsonWriter {
    pub(crate) fn new(budget: usize) -> Self {
        Self {
            text: String::new(),
            budget,
        }
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }

    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }

    /// Removes all text after `length`, a value that an earlier [`JsonWriter::len`] returned.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.text.truncate(length);
    }

    pub(crate) fn room(&self) -> usize {
        self.budget.saturating_sub(self.text.len())
    }

    pub(crate) fn raw(&mut self, text: &str) -> Result<(), OverBudget> {
        if text.len() > self.room() {
            return Err(OverBudget);
        }
        self.text.push_str(text);
        Ok(())
    }

    /// Writes a number as JavaScript prints it, except `-0`. A value that JSON cannot express as a number becomes a
    /// string.
    pub(crate) fn number(&mut self, number: f64) -> Result<(), OverBudget> {
        if !number.is_finite() {
            let text = if number.is_nan() {
                "\"NaN\""
            } else if number > 0.0 {
                "\"Infinity\""
            } else {
                "\"-Infinity\""
            };
            return self.raw(text);
        }
        let magnitude = number.abs();
        // Rust prints the same shortest digits as JavaScript. Only the choice of notation differs.
        if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
            return self.raw(&format!("{number:e}"));
        }
        self.raw(&number.to_string())
    }

    pub(crate) fn integer(&mut self, number: i32) -> Result<(), OverBudget> {
        self.raw(&number.to_string())
    }

    /// Writes a string from the engine's bytes: UTF-8, except that a lone surrogate is encoded as three bytes. Each of
    /// these becomes U+FFFD.
    pub(crate) fn string_from_engine(&mut self, bytes: &[u8]) -> Result<(), OverBudget> {
        if bytes.len() > self.room() {
            return Err(OverBudget);
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => self.string(text),
            Err(_) => self.string(&well_formed(bytes)),
        }
    }

    pub(crate) fn string(&mut self, text: &str) -> Result<(), OverBudget> {
        self.raw("\"")?;
        let mut clean_from = 0;
        for (position, byte) in text.bytes().enumerate() {
            if byte >= 0x20 && byte != b'"' && byte != b'\\' {
                continue;
            }
            self.raw(&text[clean_from..position])?;
            clean_from = position + 1;
            match byte {
                b'"' => self.raw("\\\"")?,
                b'\\' => self.raw("\\\\")?,
                b'\n' => self.raw("\\n")?,
                b'\r' => self.raw("\\r")?,
                b'\t' => self.raw("\\t")?,
                control => self.raw(&format!("\\u{control:04x}"))?,
            }
        }
        self.raw(&text[clean_from..])?;
        self.raw("\"")
    }
}

/// Returns the engine's bytes as UTF-8, with U+FFFD for each lone surrogate.
pub(crate) fn well_formed(mut bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    loop {
        match std::str::from_utf8(bytes) {
            Ok(rest) => {
                text.push_str(rest);
                return text;
            }
            Err(error) => {
                let (valid, rest) = bytes.split_at(error.valid_up_to());
                text.push_str(&String::from_utf8_lossy(valid));
                text.push(char::REPLACEMENT_CHARACTER);
                let surrogate = rest.len() >= 3 && rest[0] == 0xed && rest[1] >= 0xa0;
                bytes = &rest[if surrogate { 3 } else { 1 }..];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(value: f64) -> String {
        let mut writer = JsonWriter::new(100);
        writer.number(value).unwrap();
        writer.into_text()
    }

    #[test]
    fn numbers_are_printed_as_javascript_prints_them() {
        let rows = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.5, "1.5"),
            (1e20, "100000000000000000000"),
            (1e21, "1e21"),
            (1e-6, "0.000001"),
            (1e-7, "1e-7"),
            (f64::MAX, "1.7976931348623157e308"),
            (f64::NAN, "\"NaN\""),
            (f64::NEG_INFINITY, "\"-Infinity\""),
        ];
        for (value, expected) in rows {
            assert_eq!(number(value), expected);
        }
    }

    #[test]
    fn strings_are_escaped_and_lone_surrogates_replaced() {
        let mut writer = JsonWriter::new(100);
        writer.string("a\"\\\n\u{1}é").unwrap();
        assert_eq!(writer.into_text(), "\"a\\\"\\\\\\n\\u0001é\"");
        assert_eq!(well_formed(b"a\xed\xa0\x80b"), "a\u{fffd}b");
    }

    #[test]
    fn the_text_never_grows_beyond_the_budget() {
        let mut writer = JsonWriter::new(5);
        assert_eq!(writer.string("abc"), Ok(()));
        assert_eq!(writer.raw("x"), Err(OverBudget));
        assert_eq!(JsonWriter::new(4).string("abc"), Err(OverBudget));
    }
}

//! Texts that the engine reads as another date than they name.
//!
//! The engine's reader of dates in free form takes any number that cannot be a day or a month for a year, and the last
//! year counts: `2013-03-00` becomes March 2000. It takes the minus of a time zone for a hyphen: `10:00:00-05:00` becomes
//! five o'clock. It reads 127 characters. Here a text with two years is no date, as in other engines, and an offset
//! behind a time is an offset.
#![allow(unsafe_code)] // calls of the engine's that its crate does not wrap

use super::{Original, call_original, hidden, stand_in};
use crate::engine::realm::Scene;
use rquickjs::atom::PredefinedAtom;
use rquickjs::convert::Coerced;
use rquickjs::function::{Params, This};
use rquickjs::{Exception, FromJs, Function, IntoJs, Object, Persistent, Value, qjs};
use std::ffi::c_int;

/// Longest text that the engine reads, UTF-16 units.
const READ_UNITS_MAX: i64 = 127;

/// The date in a text.
#[derive(Debug, PartialEq, Eq)]
enum Reading {
    /// The engine reads it right.
    AsItIs,
    /// The engine reads it right in this spelling.
    Spelled(String),
    /// There is no such date.
    Impossible,
}

/// Replaces `Date` and `Date.parse`. Everything else of `Date` passes to the replacement.
pub(super) fn install<'js>(scene: &Scene<'js>, helpers: &Object<'js>) -> rquickjs::Result<()> {
    let ctx = &scene.ctx;
    let date: Function<'js> = ctx.globals().get("Date")?;
    let parse: Function<'js> = date.get("parse")?;
    let kept = Persistent::save(ctx, parse.clone());
    let parse = stand_in(ctx, &parse, move |params| parse_date(&kept, &params))?;
    date.prop("parse", hidden(parse))?;
    let kept = Persistent::save(ctx, date.clone());
    let replacement = stand_in(ctx, &date, move |params| make_date(&kept, &params))?;
    replacement.set_constructor(true);
    let replace_date: Function<'js> = helpers.get("replaceDate")?;
    replace_date.call((replacement,))
}

fn parse_date<'js>(parse: &Original, params: &Params<'_, 'js>) -> rquickjs::Result<Value<'js>> {
    let ctx = params.ctx();
    let Some(given) = params.arg(0) else {
        return call_original(parse, params);
    };
    let text = <Coerced<rquickjs::String<'js>>>::from_js(ctx, given)?.0;
    let text = match read_value(text.as_value()) {
        Reading::AsItIs => text.into_value(),
        Reading::Spelled(text) => text.into_js(ctx)?,
        Reading::Impossible => return f64::NAN.into_js(ctx),
    };
    parse.clone().restore(ctx)?.call((text,))
}

/// Makes a date, or the text of now if `Date` is called as a function.
fn make_date<'js>(date: &Original, params: &Params<'_, 'js>) -> rquickjs::Result<Value<'js>> {
    let ctx = params.ctx();
    let date = date.clone().restore(ctx)?;
    if !params.is_constructor() {
        return date.call(());
    }
    let mut arguments = Vec::with_capacity(params.len());
    for index in 0..params.len() {
        arguments.extend(params.arg(index));
    }
    if let [argument] = arguments.as_mut_slice() {
        if let Some(object) = argument.as_object().filter(|object| !is_date(object)) {
            *argument = primitive_of(object)?;
        }
        match read_value(argument) {
            Reading::AsItIs => {}
            Reading::Spelled(spelled) => *argument = spelled.into_js(ctx)?,
            Reading::Impossible => *argument = f64::NAN.into_js(ctx)?,
        }
    }
    let mut raw: Vec<qjs::JSValue> = arguments.iter().map(Value::as_raw).collect();
    let count = c_int::try_from(raw.len()).unwrap_or(c_int::MAX);
    // SAFETY: the context and all values live during the call, which takes no reference from them. The value that it
    // returns is new, and belongs to the wrapper.
    let made = unsafe {
        let context = ctx.as_raw().as_ptr();
        let (date, class) = (date.as_value().as_raw(), params.this().as_raw());
        let made = qjs::JS_CallConstructor2(context, date, class, count, raw.as_mut_ptr());
        Value::from_raw(ctx.clone(), made)
    };
    // SAFETY: any value can be asked.
    if unsafe { qjs::JS_IsException(made.as_raw()) } {
        return Err(rquickjs::Error::Exception);
    }
    Ok(made)
}

fn is_date(object: &Object<'_>) -> bool {
    // SAFETY: the object is a live value. The call only compares its class.
    unsafe { qjs::JS_IsDate(object.as_value().as_raw()) }
}

/// Converts an object as the constructor does: ToPrimitive of ECMAScript, without a preferred type.
fn primitive_of<'js>(object: &Object<'js>) -> rquickjs::Result<Value<'js>> {
    let ctx = object.ctx();
    let refuse = || Exception::throw_type(ctx, "cannot convert object to primitive value");
    let convert: Value<'js> = object.get(PredefinedAtom::SymbolToPrimitive)?;
    if !convert.is_undefined() && !convert.is_null() {
        let convert = Function::from_value(convert).map_err(|_| refuse())?;
        let value: Value<'js> = convert.call((This(object.clone()), "default"))?;
        return if value.is_object() {
            Err(refuse())
        } else {
            Ok(value)
        };
    }
    for name in [PredefinedAtom::ValueOf, PredefinedAtom::ToString] {
        let method: Value<'js> = object.get(name)?;
        if let Ok(method) = Function::from_value(method) {
            let value: Value<'js> = method.call((This(object.clone()),))?;
            if !value.is_object() {
                return Ok(value);
            }
        }
    }
    Err(refuse())
}

fn read_value(value: &Value<'_>) -> Reading {
    let Some(text) = value.as_string() else {
        return Reading::AsItIs;
    };
    // Asked before the text is copied: a script may have a text of megabytes read in a loop.
    if length_of(value) > READ_UNITS_MAX {
        return Reading::Impossible;
    }
    // A text with a lone surrogate is no date, and one that gets no memory is left to the engine.
    match text.to_string() {
        Ok(text) => read(&text),
        Err(_) => {
            drop(value.ctx().catch());
            Reading::AsItIs
        }
    }
}

fn length_of(text: &Value<'_>) -> i64 {
    let mut length = 0;
    let context = text.ctx().as_raw().as_ptr();
    // SAFETY: the context and the text live. Reading the length of a string runs no guest code.
    unsafe { qjs::JS_GetLength(context, text.as_raw(), &raw mut length) };
    length
}

/// Returns what `text` says, as far as it concerns the engine's faults.
fn read(text: &str) -> Reading {
    let mut reader = Reader::new(text);
    reader.read();
    if reader.years > 1 {
        Reading::Impossible
    } else if reader.gaps.is_empty() {
        Reading::AsItIs
    } else {
        Reading::Spelled(reader.spelled())
    }
}

/// A walk over a text that counts its years, as the engine recognizes them.
struct Reader {
    characters: Vec<char>,
    at: usize,
    years: usize,
    has_time: bool,
    /// Positions at which a space must stand.
    gaps: Vec<usize>,
}

impl Reader {
    fn new(text: &str) -> Self {
        Self {
            // U+2212 is the minus sign that the engine accepts.
            characters: text
                .chars()
                .map(|c| if c == '\u{2212}' { '-' } else { c })
                .collect(),
            at: 0,
            years: 0,
            has_time: false,
            gaps: Vec::new(),
        }
    }

    fn next(&self) -> Option<char> {
        self.characters.get(self.at).copied()
    }

    fn read(&mut self) {
        // True where a sign belongs to a number, and is no separator.
        let mut sign_counts = true;
        while let Some(next) = self.next() {
            match next {
                '0'..='9' => {
                    self.number();
                    sign_counts = false;
                }
                '+' | '-' if self.has_time && self.offset() => sign_counts = false,
                '+' | '-' if sign_counts => {
                    self.at += 1;
                    if !self.digits().is_empty() {
                        self.years += 1;
                    }
                    sign_counts = false;
                }
                // An ISO 8601 time: the engine's other reader has no such fault.
                'T' if self.is_between_digits() => return,
                '(' => self.skip_comment(),
                _ => {
                    self.at += 1;
                    sign_counts = next == ' ';
                }
            }
        }
    }

    fn is_between_digits(&self) -> bool {
        let is_digit = |at: Option<usize>| {
            at.and_then(|at| self.characters.get(at))
                .is_some_and(char::is_ascii_digit)
        };
        is_digit(self.at.checked_sub(1)) && is_digit(Some(self.at + 1))
    }

    fn digits(&mut self) -> String {
        let digits: String = self.characters[self.at..]
            .iter()
            .take_while(|c| c.is_ascii_digit())
            .collect();
        self.at += digits.len();
        digits
    }

    /// Passes a number, which may begin a time.
    fn number(&mut self) {
        let digits = self.digits();
        if self.next() == Some(':') {
            while self.next() == Some(':') {
                self.at += 1;
                self.digits();
            }
            if matches!(self.next(), Some('.' | ',')) {
                self.at += 1;
                self.digits();
            }
            self.has_time = true;
            let needs_gap = |next: char| matches!(next, '+' | '-') || next.is_ascii_alphabetic();
            if self.next().is_some_and(needs_gap) {
                self.gaps.push(self.at);
            }
            return;
        }
        // Behind a number that is no time, a minus is a separator.
        while matches!(self.next(), Some('-' | '/' | '.' | ',')) {
            self.at += 1;
        }
        let number: u32 = digits.parse().unwrap_or(u32::MAX);
        if digits.len() > 2 || !(1..=31).contains(&number) {
            self.years += 1;
        }
    }

    /// Passes the offset of a time zone, and returns whether there is one.
    fn offset(&mut self) -> bool {
        let begin = self.at;
        self.at += 1;
        if self.digits().is_empty() {
            self.at = begin;
            return false;
        }
        if self.next() == Some(':') {
            self.at += 1;
            self.digits();
        }
        true
    }

    fn skip_comment(&mut self) {
        let mut depth = 0_usize;
        while let Some(next) = self.next() {
            self.at += 1;
            match next {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                return;
            }
        }
    }

    fn spelled(&self) -> String {
        let mut spelled = String::with_capacity(self.characters.len() + self.gaps.len());
        for (at, character) in self.characters.iter().enumerate() {
            if self.gaps.contains(&at) {
                spelled.push(' ');
            }
            spelled.push(*character);
        }
        spelled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_with_two_years_is_no_date() {
        for text in [
            "0000-00-00",
            "0000-00-00 00:00:00",
            "2013-03-00",
            "2024-00-01",
            "2024-12-45",
            "00/10/2024",
            "32/01/2024",
            "Jan 32 2024",
            "0 Jan 2024",
            "2024-1-0",
            "2013-00",
            "2024/00/00 10:00",
            "10:00 2024-00-10",
        ] {
            assert_eq!(read(text), Reading::Impossible, "{text}");
        }
    }

    #[test]
    fn a_text_that_the_engine_reads_right_is_left_to_it() {
        for text in [
            "",
            "2024",
            "2024-01-31",
            "2024-01-31T10:00:00.000Z",
            "2024-01-31T10:00-05:00",
            "+002024-01-31T10:00:00Z",
            "-000001-01-01",
            "Mon Jan 01 2024 10:00:00 GMT+0100 (Central European Standard Time 2)",
            "Thu, 01 Jan 1970 00:00:00 GMT",
            "12/25/2024",
            "Dec 25, 2024",
            "25 Dec 99",
            "1/1/00",
            "2024-01-31 10:00:00",
            "2024-01-31 10:00:00 -0500",
            "2024-01-31 10:00:00 PM",
            "10:00:00, Jan 5 2024",
            "1/31/2024, 10:00:00 AM",
            "-1",
        ] {
            assert_eq!(read(text), Reading::AsItIs, "{text}");
        }
    }

    #[test]
    fn an_offset_behind_a_time_gets_the_space_that_the_engine_needs() {
        for (text, spelled) in [
            ("2024-01-31 10:00:00-05:00", "2024-01-31 10:00:00 -05:00"),
            ("2024-01-31 10:00:00.5-0500", "2024-01-31 10:00:00.5 -0500"),
            ("2024-01-31 10:00+05:30", "2024-01-31 10:00 +05:30"),
            ("2024-01-31 10:00Z", "2024-01-31 10:00 Z"),
            ("1/31/2024 10:00PM", "1/31/2024 10:00 PM"),
        ] {
            assert_eq!(read(text), Reading::Spelled(spelled.to_owned()), "{text}");
        }
    }
}

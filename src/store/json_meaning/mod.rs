//! The meaning of JSON text, as bytes: two texts have the same bytes where a script reads the same values from them.
//!
//! White space, the order of an object's members, and the spelling of numbers and strings make no difference. The order of
//! members is the one difference ignored here that a script could see.

use sha2::{Digest as _, Sha256};
use std::ops::Range;

/// Longest encoding that stands for itself, bytes; of a longer one its digest stands. So each byte of a text is copied a
/// bounded number of times, however deep it lies.
const PLAIN_BYTES_MAX: usize = 64;
const DIGEST: u8 = b'h';

/// Appends the meaning of `text`, which must be one JSON value that does not nest deeper than a stack has room for.
pub(super) fn write(text: &str, to: &mut Vec<u8>) {
    let mut reader = Reader {
        bytes: text.as_bytes(),
        at: 0,
    };
    reader.value(to);
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn value(&mut self, to: &mut Vec<u8>) {
        let start = to.len();
        match self.next_token() {
            b'{' => self.object(to),
            b'[' => self.array(to),
            b'"' => self.string(to),
            word @ (b't' | b'f' | b'n') => {
                self.at += if word == b'f' { 5 } else { 4 };
                to.push(word);
            }
            _ => self.number(to),
        }
        shorten(to, start);
    }

    fn object(&mut self, to: &mut Vec<u8>) {
        self.at += 1;
        to.push(b'{');
        let first = to.len();
        let mut members: Vec<(Range<usize>, Range<usize>)> = Vec::new();
        while self.next_token() != b'}' {
            if self.next_token() == b',' {
                self.at += 1;
            }
            self.next_token();
            let key = to.len();
            self.string(to);
            shorten(to, key);
            self.next_token();
            self.at += 1; // the colon
            let value = to.len();
            self.value(to);
            members.push((key..value, value..to.len()));
        }
        self.at += 1;
        if !members.is_sorted_by(|one, next| to[one.0.clone()] < to[next.0.clone()]) {
            sort(&mut members, first, to);
        }
        to.push(b'}');
    }

    fn array(&mut self, to: &mut Vec<u8>) {
        self.at += 1;
        to.push(b'[');
        while self.next_token() != b']' {
            if self.next_token() == b',' {
                self.at += 1;
            }
            self.value(to);
        }
        self.at += 1;
        to.push(b']');
    }

    /// Writes the double that a script sees, by its bits: -0 is not 0, and what no double can tell apart is the same.
    fn number(&mut self, to: &mut Vec<u8>) {
        let rest = &self.bytes[self.at..];
        let length = rest
            .iter()
            .take_while(|byte| matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E' | b'0'..=b'9'))
            .count();
        // At least one byte, so that the reader always goes on.
        let digits = &rest[..length.max(1).min(rest.len())];
        self.at += length.max(1);
        let number = std::str::from_utf8(digits)
            .ok()
            .and_then(|it| it.parse().ok());
        let number: f64 = number.unwrap_or(f64::NAN);
        to.push(b'd');
        to.extend(number.to_bits().to_be_bytes());
    }

    /// Writes the text of a string with its length. A surrogate that stands alone is written as if it were a character.
    fn string(&mut self, to: &mut Vec<u8>) {
        self.at += 1;
        let start = to.len();
        to.push(b's');
        to.extend([0; 8]);
        loop {
            match self.take() {
                b'"' => break,
                b'\\' => self.escape(to),
                byte => to.push(byte),
            }
        }
        let text = start + 1 + 8;
        let length = (to.len() - text) as u64;
        to[start + 1..text].copy_from_slice(&length.to_be_bytes());
    }

    fn escape(&mut self, to: &mut Vec<u8>) {
        match self.take() {
            b'b' => to.push(0x08),
            b'f' => to.push(0x0c),
            b'n' => to.push(b'\n'),
            b'r' => to.push(b'\r'),
            b't' => to.push(b'\t'),
            b'u' => {
                let unit = self.code_unit();
                let low = self
                    .low_surrogate()
                    .filter(|_| (0xd800..0xdc00).contains(&unit));
                let point = match low {
                    Some(low) => {
                        self.at += 6;
                        0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00)
                    }
                    None => unit,
                };
                push_code_point(point, to);
            }
            byte => to.push(byte),
        }
    }

    /// The low surrogate that is escaped next, if one is; it is not taken.
    fn low_surrogate(&self) -> Option<u32> {
        let next = self.bytes.get(self.at..self.at + 6)?;
        let unit = next.strip_prefix(b"\\u").and_then(hex)?;
        (0xdc00..0xe000).contains(&unit).then_some(unit)
    }

    fn code_unit(&mut self) -> u32 {
        let digits = self.bytes.get(self.at..self.at + 4);
        self.at += 4;
        digits.and_then(hex).unwrap_or_default()
    }

    /// The next byte; a quotation mark behind the end, which ends everything that is read here.
    fn take(&mut self) -> u8 {
        let byte = self.bytes.get(self.at).copied();
        self.at += 1;
        byte.unwrap_or(b'"')
    }

    /// The first byte of what comes next, which is not taken; a closing bracket behind the end.
    fn next_token(&mut self) -> u8 {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        self.at += rest
            .iter()
            .take_while(|byte| byte.is_ascii_whitespace())
            .count();
        self.bytes.get(self.at).copied().unwrap_or(b'}')
    }
}

/// Puts the members that lie from `first` on in the order of their keys. Of several with one key the last counts, as it
/// does for a script.
fn sort(members: &mut [(Range<usize>, Range<usize>)], first: usize, to: &mut Vec<u8>) {
    members.sort_by(|one, other| to[one.0.clone()].cmp(&to[other.0.clone()]));
    let mut sorted = Vec::with_capacity(to.len() - first);
    for (place, (key, value)) in members.iter().enumerate() {
        let next = members.get(place + 1);
        if next.is_some_and(|(next, _)| to[next.clone()] == to[key.clone()]) {
            continue;
        }
        sorted.extend_from_slice(&to[key.clone()]);
        sorted.extend_from_slice(&to[value.clone()]);
    }
    to.truncate(first);
    to.append(&mut sorted);
}

/// Replaces what lies from `start` on by its digest, if it is long.
fn shorten(to: &mut Vec<u8>, start: usize) {
    if to.len() - start <= PLAIN_BYTES_MAX {
        return;
    }
    let digest = Sha256::digest(&to[start..]);
    to.truncate(start);
    to.push(DIGEST);
    to.extend_from_slice(&digest);
}

fn hex(digits: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(digits).ok()?;
    u32::from_str_radix(digits, 16).ok()
}

/// As UTF-8, by the same rule for surrogates, which UTF-8 does not have.
fn push_code_point(point: u32, to: &mut Vec<u8>) {
    match char::from_u32(point) {
        Some(character) => {
            let mut buffer = [0; 4];
            to.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
        }
        None => {
            let [.., high, low] = point.to_be_bytes();
            to.extend([
                0xe0 | (high >> 4),
                0x80 | ((high & 0x0f) << 2) | (low >> 6),
                0x80 | (low & 0x3f),
            ]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn meaning(text: &str) -> Vec<u8> {
        // Only what JSON is comes here.
        serde_json::from_str::<&serde_json::value::RawValue>(text).unwrap();
        let mut bytes = Vec::new();
        write(text, &mut bytes);
        bytes
    }

    #[test]
    fn each_group_of_spellings_means_one_value_and_no_two_groups_mean_the_same() {
        let long = "x".repeat(200);
        let long_member = format!(r#"{{"{long}":1,"a":"{long}"}}"#);
        let long_turned = format!(r#"{{ "a" : "{long}", "{long}" : 1.0 }}"#);
        let long_other = format!(r#"{{"a":"{long}","{long}":2}}"#);
        let groups: Vec<Vec<&str>> = vec![
            vec!["null", " null\n"],
            vec!["true"],
            vec!["false"],
            vec!["0", "0.0", "0e5", "0E-9", "1e-400"],
            vec!["-0", "-0.0", "-0e5", "-1e-400"],
            vec![
                "1",
                "1.0",
                "1e0",
                "10e-1",
                "0.1E+1",
                "100000e-5",
                "1.00000000000000000000001",
            ],
            vec!["-1", "-1.0"],
            vec![
                "9007199254740993",
                "9007199254740992",
                "9.007199254740992e15",
            ],
            vec!["9007199254740994"],
            vec!["0.1", "0.1000000000000000055511151231257827"],
            vec!["0.30000000000000004"],
            vec!["0.3"],
            vec!["1e400", "2e999", "1e309"],
            vec!["-1e400"],
            vec!["1.7976931348623157e308"],
            vec!["5e-324", "4.9406564584124654e-324", "3e-324"],
            vec![r#""""#],
            vec![r#""a""#, r#""\u0061""#],
            vec![r#""1""#],
            vec![r#""null""#],
            vec![r#""/""#, r#""\/""#, r#""\u002F""#, r#""\u002f""#],
            vec![r#""\n""#, r#""\u000a""#],
            vec![r#""\\n""#],
            vec![r#""\b\f\r\t\"""#, r#""\u0008\u000c\u000d\u0009\u0022""#],
            vec![r#""\u0000""#],
            vec![r#""😀""#, r#""\ud83d\ude00""#, r#""\uD83D\uDE00""#],
            vec![r#""\ud83d""#],
            vec![r#""\ude00""#],
            vec![r#""\ude00\ud83d""#],
            vec![r#""\ud83d \ude00""#],
            vec![r#""\ud83d\ud83d\ude00""#, r#""\ud83d😀""#],
            vec![r#""\ud83du""#],
            vec![r#""é""#, r#""\u00e9""#],
            // Another way to write the same letter is another string for a script too.
            vec![r#""e\u0301""#],
            vec!["[]", "[ ]"],
            vec!["{}", "{\n}"],
            vec!["[[]]"],
            vec!["[{}]"],
            vec!["[1,2]", "[ 1.0 ,\t2 ]"],
            vec!["[2,1]"],
            vec!["[12]"],
            vec!["[[1],2]"],
            vec!["[[1,2]]"],
            vec![r#"["1,2"]"#],
            vec![
                r#"{"a":1,"b":2}"#,
                r#"{"b":2,"a":1}"#,
                r#"{"\u0062":2e0, "a" :1}"#,
            ],
            vec![r#"{"a":2,"b":1}"#],
            vec![
                r#"{"a":{"b":1,"c":[{"d":1,"e":2}]}}"#,
                r#"{"a":{"c":[{"e":2,"d":1}],"b":1}}"#,
            ],
            vec![
                r#"{"a":1}"#,
                r#"{"a":2,"a":1}"#,
                r#"{"a":{"b":3},"\u0061":1}"#,
            ],
            vec![r#"{"a":null}"#],
            vec![r#"{"":1}"#],
            vec![r#"{"\ud800":1}"#],
            vec![r#"{"__proto__":1}"#],
            vec![&long_member, &long_turned],
            vec![&long_other],
        ];
        let groups: Vec<Vec<Vec<u8>>> = groups
            .iter()
            .map(|group| group.iter().map(|text| meaning(text)).collect())
            .collect();
        for (place, group) in groups.iter().enumerate() {
            assert!(group.iter().all(|one| *one == group[0]), "group {place}");
            let others = groups.iter().enumerate();
            for (other, _) in others.filter(|(_, other)| other[0] == group[0]) {
                assert_eq!(other, place, "two groups mean the same");
            }
        }
    }

    /// Any value, with objects that have few and many members.
    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "[a-c]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::btree_map("[a-d]{0,2}|\\PC{0,3}", inner, 0..8)
                    .prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    /// The same value, written otherwise: members in another order, each character of a string as an escape or not, numbers
    /// with an exponent, and space everywhere.
    fn spelled_otherwise(value: &Value, random: &mut fastrand::Rng) -> String {
        let space = |random: &mut fastrand::Rng| [" ", "", "\n", "\t\r "][random.usize(..4)];
        let text = |text: &str, random: &mut fastrand::Rng| {
            let mut spelled = String::from("\"");
            for character in text.chars() {
                if random.bool() || character < ' ' || matches!(character, '"' | '\\') {
                    let mut units = [0; 2];
                    for unit in character.encode_utf16(&mut units) {
                        spelled.push_str(&format!("\\u{unit:04X}"));
                    }
                } else {
                    spelled.push(character);
                }
            }
            spelled + "\""
        };
        let spelled = match value {
            Value::Number(number) => match number.as_f64() {
                Some(number) if random.bool() => format!("{number:e}"),
                _ => number.to_string(),
            },
            Value::String(string) => text(string, random),
            Value::Array(items) => {
                let items: Vec<String> = items
                    .iter()
                    .map(|item| spelled_otherwise(item, random))
                    .collect();
                format!("[{}]", items.join(","))
            }
            Value::Object(members) => {
                let mut members: Vec<String> = members
                    .iter()
                    .map(|(key, value)| {
                        let value = spelled_otherwise(value, random);
                        format!("{}{}:{value}", text(key, random), space(random))
                    })
                    .collect();
                random.shuffle(&mut members);
                format!("{{{}{}}}", space(random), members.join(","))
            }
            plain => plain.to_string(),
        };
        format!("{}{spelled}{}", space(random), space(random))
    }

    proptest! {
        #[test]
        fn a_value_means_the_same_however_it_is_spelled(value in any_value(), seed in any::<u64>()) {
            let mut random = fastrand::Rng::with_seed(seed);
            let plain = meaning(&value.to_string());
            let spelled = spelled_otherwise(&value, &mut random);
            prop_assert_eq!(&meaning(&spelled), &plain, "{}", spelled);
            prop_assert!(plain.len() <= PLAIN_BYTES_MAX);
        }

        #[test]
        fn values_that_differ_mean_something_else(one in any_value(), other in any_value()) {
            // By bits: to serde_json 1 is not 1.0, which to a script it is.
            let by_bits = |value: &Value| spelled_by_bits(value);
            prop_assert_eq!(
                meaning(&one.to_string()) == meaning(&other.to_string()),
                by_bits(&one) == by_bits(&other)
            );
        }
    }

    fn spelled_by_bits(value: &Value) -> String {
        match value {
            Value::Number(number) => format!("{:x}", number.as_f64().unwrap().to_bits()),
            Value::Array(items) => {
                let items: Vec<String> = items.iter().map(spelled_by_bits).collect();
                format!("[{}]", items.join(","))
            }
            Value::Object(members) => {
                let members = members
                    .iter()
                    .map(|(key, value)| (key, spelled_by_bits(value)));
                let members: std::collections::BTreeMap<_, _> = members.collect();
                format!("{members:?}")
            }
            plain => plain.to_string(),
        }
    }

    #[test]
    fn a_large_value_that_nests_deeply_is_read_in_one_pass() {
        let mut text = format!("[{}]", vec![r#""\u0061""#; 100_000].join(","));
        for _ in 0..99 {
            text = format!(r#"{{"b":{text},"a":1}}"#);
        }
        assert!(meaning(&text).len() <= PLAIN_BYTES_MAX);
    }
}

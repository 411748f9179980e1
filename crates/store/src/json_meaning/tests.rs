//! Spellings of JSON that mean the same, and values that do not.

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

#[test]
fn only_the_ordered_meaning_has_the_order_of_members() {
    let ordered = |text: &str| {
        let mut bytes = Vec::new();
        write_ordered_json(text, &mut bytes);
        bytes
    };
    let (one, other) = (
        r#"{"a":1,"b":[{"c":1,"d":2}]}"#,
        r#"{"b":[{"d":2,"c":1}],"a":1}"#,
    );
    assert_eq!(meaning(one), meaning(other));
    assert_ne!(ordered(one), ordered(other));
    let spelled = r#" { "\u0061" : 1.0, "b":[ {"c":1e0,"d":2}] }"#;
    assert_eq!(ordered(one), ordered(spelled));
}

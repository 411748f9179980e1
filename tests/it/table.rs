//! Tables of scripts and their values, one row per line: `code ==> result as JSON text : resultType`.
//!
//! Results are compared as text, because a parsed JSON value loses the order of keys.

use crate::support::Service;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// The part of a response that describes the value, with the JSON text unparsed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Shown {
    pub(crate) outcome: String,
    pub(crate) result: Box<RawValue>,
    pub(crate) result_type: Option<String>,
}

impl Shown {
    /// Parses the text of a response.
    pub(crate) fn parse(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

/// Runs every row with the defaults.
pub(crate) fn check(table: &str) {
    check_with(&Service::start(), &json!({}), table);
}

/// Runs every row with the fields of `request` besides its code.
pub(crate) fn check_with(service: &Service, request: &Value, table: &str) {
    let rows = table.lines().filter(|line| !line.trim().is_empty());
    for row in rows {
        let (code, expected) = row.split_once("==>").expect(row);
        let (result, result_type) = expected.rsplit_once(" : ").expect(row);
        let mut body = request.clone();
        body["code"] = json!(code.trim());
        let answer = service.post("/api/execute", &body);
        let shown = Shown::parse(&answer.text);
        assert_eq!(shown.outcome, "succeeded", "{row}\n{}", answer.text);
        assert_eq!(shown.result.get(), result.trim(), "{row}");
        assert_eq!(
            shown.result_type.as_deref(),
            Some(result_type.trim()),
            "{row}"
        );
    }
}

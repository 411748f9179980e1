//! The field `answers`: the results of calls, given by the caller who owns the tools.
#![allow(unused_qualifications)] // in what utoipa derives

use super::fields::{self, FieldError};
use super::members::{Elements, Members};
use crate::http::problem::Problem;
use sandpiper_domain::JsonText;
use serde::de::Error as _;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// The answer to one call: either its result, or its error.
#[derive(Debug, serde::Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = CallAnswer)]
pub(in crate::http) struct Answer {
    /// `callId` of the call.
    #[serde(default)]
    pub(in crate::http) call_id: String,
    /// Error with which the call's promise rejects.
    #[schema(nullable = false)]
    pub(in crate::http) error: Option<AnsweredError>,
    /// Result with which the call's promise resolves: any JSON, nested at most 100 deep.
    #[schema(value_type = Option<serde_json::Value>, nullable = false)]
    pub(in crate::http) result: Option<JsonText>,
}

/// The error of a call. A script catches it as a `ToolError`.
#[derive(Debug, serde::Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = CallError)]
pub(in crate::http) struct AnsweredError {
    /// Code for programs, such as `not_found`.
    #[serde(default, deserialize_with = "fields::text")]
    #[schema(nullable = false)]
    pub(in crate::http) code: Option<String>,
    /// Message for people. It may be empty.
    #[serde(default, deserialize_with = "fields::text")]
    #[schema(nullable = false)]
    pub(in crate::http) message: Option<String>,
    /// Name of the error; `ToolError` if it is left out.
    #[serde(default, deserialize_with = "fields::text")]
    #[schema(nullable = false)]
    pub(in crate::http) name: Option<String>,
    /// True if the same call may succeed later.
    #[schema(nullable = false)]
    pub(in crate::http) retryable: Option<bool>,
}

/// Answers to calls of a job.
#[derive(Debug, Default, serde::Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::http) struct AnswersRequest {
    /// The answers, in any order, to some or all calls that wait.
    #[schema(value_type = Vec<Answer>, min_items = 1, max_items = 1000, nullable = false, required)]
    answers: Option<JsonText>,
}

impl AnswersRequest {
    /// Reads a JSON object with at least one answer.
    pub(in crate::http) fn read(body: &[u8]) -> Result<Vec<Answer>, Problem> {
        let request: Self = super::read_json(body)?;
        let answers = request.answers.as_ref().map(read).transpose()?;
        match answers {
            None => Err(FieldError::custom("is missing").inside(FIELD).into()),
            Some(answers) if answers.is_empty() => {
                Err(FieldError::custom("is empty").inside(FIELD).into())
            }
            Some(answers) => Ok(answers),
        }
    }
}

const FIELD: &str = "answers";
/// The most answers of one request: the most calls that one execution may make.
pub(in crate::http) const ANSWERS_MAX: usize = 1_000;

/// Reads the value of the field `answers`.
pub(super) fn read(array: &JsonText) -> Result<Vec<Answer>, FieldError> {
    let elements: Elements<'_> = serde_json::from_str(array.as_str())
        .map_err(|_| FieldError::custom("must be an array of answers").inside(FIELD))?;
    if elements.count > ANSWERS_MAX {
        let detail = format!("has {} entries; the most is {ANSWERS_MAX}", elements.count);
        return Err(FieldError::custom(detail).inside(FIELD));
    }
    let answers = elements.entries.into_iter().enumerate();
    let answers = answers.map(|(index, element)| {
        answer(element).map_err(|error| error.of_element(index).inside(FIELD))
    });
    answers.collect()
}

fn answer(element: &RawValue) -> Result<Answer, FieldError> {
    let members: Members<'_> = serde_json::from_str(element.get()).map_err(|_| {
        FieldError::custom("must be an object with `callId`, and with `result` or `error`")
    })?;
    let answer: Answer = fields::read(members.values())?;
    if answer.call_id.is_empty() {
        return Err(FieldError::custom("is missing").inside("callId"));
    }
    match (&answer.result, &answer.error) {
        (Some(_), Some(_)) => Err(FieldError::custom(
            "has a `result` and an `error`; give one",
        )),
        (None, None) => Err(FieldError::custom("needs a `result` or an `error`")),
        (None, Some(error)) if error.message.is_none() => {
            let missing = FieldError::custom("is missing").inside("message");
            Err(missing.inside("error"))
        }
        _ => Ok(answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Vec<Answer>, String> {
        let array = JsonText::parse(text.to_owned()).unwrap();
        read(&array).map_err(|error| error.to_string())
    }

    #[test]
    fn an_answer_has_a_result_which_may_be_null_or_an_error() {
        let text = r#"[{"callId":"a","result":null},{"callId":"b","error":{"message":"no","retryable":true}}]"#;
        let answers = read_text(text).unwrap();
        assert_eq!(answers[0].result.as_ref().unwrap().as_str(), "null");
        let error = answers[1].error.as_ref().unwrap();
        assert_eq!(error.message.as_deref(), Some("no"));
        assert_eq!(error.retryable, Some(true));
        assert!(error.name.is_none() && error.code.is_none());
        assert!(read_text("[]").unwrap().is_empty());
    }

    #[test]
    fn the_texts_of_an_error_may_be_empty_and_have_no_lone_surrogates() {
        let text = r#"[{"callId":"a","error":{"message":"","name":"\ud800","code":"\udfff\ud83d\ude00"}}]"#;
        let answers = read_text(text).unwrap();
        let error = answers[0].error.as_ref().unwrap();
        assert_eq!(error.message.as_deref(), Some(""));
        assert_eq!(error.name.as_deref(), Some("\u{fffd}"));
        assert_eq!(error.code.as_deref(), Some("\u{fffd}😀"));
    }

    #[test]
    fn an_error_names_the_element_and_the_field() {
        for (text, start) in [
            ("1", "`answers` must be an array"),
            ("[1]", "`answers[0]` must be an object"),
            ("[{}]", "`answers[0].callId` is missing"),
            (r#"[{"callId":1}]"#, "`answers[0].callId` must be a string"),
            (r#"[{"callId":"a"}]"#, "`answers[0]` needs a `result` or"),
            (
                r#"[{"callId":"a","result":1,"error":{"message":"x"}}]"#,
                "`answers[0]` has a `result` and",
            ),
            (
                r#"[{"callId":"a","result":1},{"callId":"a","value":1}]"#,
                "`answers[1].value` is not a field",
            ),
            (
                r#"[{"callId":"a","error":"no"}]"#,
                "`answers[0].error` must be an object",
            ),
            (
                r#"[{"callId":"a","error":{}}]"#,
                "`answers[0].error.message` is missing",
            ),
            (
                r#"[{"callId":"a","error":{"message":1}}]"#,
                "`answers[0].error.message` must be a string",
            ),
            (
                r#"[{"callId":"a","error":{"message":"x","retryable":1}}]"#,
                "`answers[0].error.retryable` cannot",
            ),
        ] {
            let error = read_text(text).unwrap_err();
            assert!(error.starts_with(start), "{text}: {error}");
        }
        let many = format!("[{}]", vec!["1"; 1_500].join(","));
        let error = read_text(&many).unwrap_err();
        assert!(error.contains("1500") && error.contains("1000"), "{error}");
    }
}

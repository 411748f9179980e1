//! The body of `POST /api/execute` and `POST /api/jobs`: one type, from which JSON, forms and the API's description come.
//!
//! The body is not parsed into a tree. `input` and the globals stay text until the engine parses them.
#![allow(unused_qualifications)] // in what utoipa derives

mod answers;
mod fields;
mod form;
mod members;
mod tools;

pub(super) use self::answers::{ANSWERS_MAX, Answer, AnsweredError, AnswersRequest};

use self::fields::{Value, whole_number};
use self::members::Members;
use super::problem::{Code, Problem};
use actix_web::web::Bytes;
use sandpiper_domain::tools::{Tools, Unawaited};
use sandpiper_domain::{
    Global, JobTerms, JsonText, Language, Priority, RequestedLimits, Script, ScriptKind, Source,
    Timestamp,
};
use serde::de::{DeserializeOwned, Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// The fields that only `POST /api/jobs` has.
pub(super) const JOB_FIELDS: [&str; 2] = ["runAt", "priority"];
/// The fields that only `POST /api/execute` has.
pub(super) const EXECUTE_FIELDS: [&str; 2] = ["answers", "replay"];

/// The fields of a request, in the order in which errors list them. `null` means absent, except as `input`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(
    json!({
        "code": "console.log(input.a); input.a + input.b",
        "input": { "a": 1, "b": 2 },
        "limits": { "timeoutMs": 500 },
    }),
    json!({
        "kind": "module",
        "code": "import { twice } from './util.js'; export default (input) => twice(input.a)",
        "modules": { "./util.js": "export const twice = (number) => 2 * number" },
        "input": { "a": 21 },
    })
))]
pub(super) struct SubmitRequest {
    /// Answers to calls of the execution that `replay` continues, at most 1000.
    #[schema(value_type = Option<Vec<Answer>>)]
    answers: Option<JsonText>,
    /// JavaScript or TypeScript, at most 1048576 bytes of UTF-8 together with `modules` and `prelude`. `await` works at its top level.
    #[schema(max_length = 1048576)]
    pub(super) code: Option<String>,
    /// Name of an example script, which runs after `code`. Only of the kind `script`.
    pub(super) file: Option<String>,
    /// Further global variables, by name.
    #[serde(default, deserialize_with = "globals")]
    #[schema(value_type = Option<Object>)]
    pub(super) globals: Vec<Global>,
    /// Any JSON, nested at most 100 deep: the global `input`. Left out, `typeof input` is "undefined".
    #[schema(value_type = Option<serde_json::Value>)]
    pub(super) input: Option<JsonText>,
    /// Kind of script. `script` (the default): the result is the completion value. `function`: the code is the body of an async function, and the result is what it returns. `module`: the code is an ES module, and the result is its default export; a function is called with `input`.
    pub(super) kind: Option<ScriptKind>,
    /// Language of the texts. `javascript` (the default), or `typescript`, whose types are erased in place. The ending of a module's name comes first: `.ts` and `.mts` are TypeScript, `.js` and `.mjs` JavaScript.
    pub(super) language: Option<Language>,
    /// Limits of the execution.
    pub(super) limits: Option<RequestedLimits>,
    /// Modules that can be imported, by name: `./util.js`, or a bare name. In a form also files, one part each.
    #[serde(default, deserialize_with = "modules")]
    #[schema(value_type = Option<Object>)]
    pub(super) modules: Vec<Source>,
    /// A script that runs before `code`, with a file name of its own, `prelude`.
    #[schema(max_length = 1048576)]
    pub(super) prelude: Option<String>,
    /// 1 is first, 4 is last. Other than the default it needs a database as the store.
    #[serde(default, deserialize_with = "priority")]
    #[schema(value_type = Option<u8>, minimum = 1, maximum = 4, default = 2)]
    pub(super) priority: Option<Priority>,
    /// Earliest start, at most 366 days ahead. Needs a database as the store.
    #[serde(default, deserialize_with = "run_at")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(super) run_at: Option<Timestamp>,
    /// `replay` of an execution that waits: continues it. All other fields must be those of its first request.
    pub(super) replay: Option<String>,
    /// 64-bit integer. The same seed gives the same `Math.random` and the same clock.
    #[serde(default, deserialize_with = "seed")]
    #[schema(value_type = Option<i128>, minimum = -9223372036854775808i64, maximum = 18446744073709551615u64)]
    pub(super) seed: Option<u64>,
    /// Location of a script, instead of `code`. The ingress fetches it, if its operator allows that location.
    #[schema(value_type = Option<serde_json::Value>)]
    pub(super) source: Option<IgnoredAny>,
    /// Functions of the caller that the script can call as `tools.name(argument)`: names, or objects with a name, at most 256. The calls that wait for answers are in the response.
    #[schema(value_type = Option<Vec<tools::ToolFields>>)]
    tools: Option<JsonText>,
    /// Only with tools: calls that were made and not awaited when the script succeeds. `offer` (the default): they are offered, and the execution waits for their answers. `drop`: they are not sent. `fail`: the execution is an error.
    pub(super) unawaited: Option<Unawaited>,
}

impl SubmitRequest {
    /// Reads a JSON object.
    pub(super) fn from_json(body: &[u8]) -> Result<Self, Problem> {
        read_json(body)
    }

    /// Reads a form, in which a field that is not a string has JSON as its part.
    pub(super) async fn from_form(body: Bytes, boundary: String) -> Result<Self, Problem> {
        let parts = form::parts(body, boundary).await?;
        let (modules, parts): (Vec<_>, Vec<_>) = parts.into_iter().partition(form::Part::is_module);
        let values = parts.iter().map(|part| {
            let value = match part.text.as_str() {
                "" => Value::Absent,
                text => Value::Part(text),
            };
            (part.name.as_str(), value)
        });
        let mut request: Self = fields::read(values)?;
        let modules = modules.into_iter().map(form::Part::into_module);
        request.modules.extend(modules);
        Ok(request)
    }

    /// Returns the tools.
    pub(super) fn tools(&self) -> Result<Option<Tools>, Problem> {
        let tools = self.tools.as_ref().map(tools::read).transpose();
        Ok(tools?)
    }

    /// Returns the answers.
    pub(super) fn answers(&self) -> Result<Option<Vec<Answer>>, Problem> {
        let answers = self.answers.as_ref().map(answers::read).transpose();
        Ok(answers?)
    }

    /// Returns the first field that only `POST /api/execute` has; `None` if none is given.
    pub(super) fn first_of_execute(&self) -> Option<&'static str> {
        let are_given = [self.answers.is_some(), self.replay.is_some()];
        let mut fields = EXECUTE_FIELDS.into_iter().zip(are_given);
        fields.find_map(|(field, is_given)| is_given.then_some(field))
    }

    /// Returns the first field that only a request with tools has; `None` if none is given.
    pub(super) fn first_of_tools(&self) -> Option<String> {
        let fields = [
            ("answers", self.answers.is_some()),
            ("replay", self.replay.is_some()),
            ("unawaited", self.unawaited.is_some()),
        ];
        let given = fields.into_iter().find(|(_, is_given)| *is_given);
        let limit = self
            .limits
            .as_ref()
            .and_then(RequestedLimits::first_of_tools);
        given
            .map(|(field, _)| field.to_owned())
            .or_else(|| Some(format!("limits.{}", limit?)))
    }

    /// Sets the example script that the query names.
    pub(super) fn set_file_from_query(&mut self, file: String) -> Result<(), Problem> {
        if self.file.as_ref().is_some_and(|other| *other != file) {
            return Err(Problem::invalid_field(
                "file",
                "`file` is given in the body and, differently, in the query",
            ));
        }
        self.file = Some(file);
        Ok(())
    }
}

/// Reads the fields of a JSON object.
fn read_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let text = std::str::from_utf8(body).map_err(|error| {
        Problem::new(
            Code::InvalidJson,
            format!("the body is not UTF-8 from byte {} on", error.valid_up_to()),
        )
    })?;
    let members: Members<'_> = serde_json::from_str(text).map_err(|error| {
        let detail = if error.is_data() {
            "the body must be a JSON object".to_owned()
        } else {
            format!("the body is not JSON: {error}")
        };
        Problem::new(Code::InvalidJson, detail)
    })?;
    Ok(fields::read(members.values())?)
}

fn globals<'de, D: Deserializer<'de>>(field: D) -> Result<Vec<Global>, D::Error> {
    let Some(object) = Option::<&RawValue>::deserialize(field)? else {
        return Ok(Vec::new());
    };
    let members: Members<'_> =
        serde_json::from_str(object.get()).map_err(|_| D::Error::custom("must be an object"))?;
    if members.count > Script::GLOBALS_MAX {
        return Err(D::Error::custom(format_args!(
            "has {} entries; the most is {}",
            members.count,
            Script::GLOBALS_MAX
        )));
    }
    let globals = members.entries.into_iter().map(|(name, value)| Global {
        name,
        value: JsonText::from(value.to_owned()),
    });
    Ok(globals.collect())
}

fn modules<'de, D: Deserializer<'de>>(field: D) -> Result<Vec<Source>, D::Error> {
    let Some(object) = Option::<&RawValue>::deserialize(field)? else {
        return Ok(Vec::new());
    };
    let members: Members<'_> = serde_json::from_str(object.get())
        .map_err(|_| D::Error::custom("must be an object of texts, by the names of modules"))?;
    if members.count > Script::MODULES_MAX {
        return Err(D::Error::custom(format_args!(
            "has {} entries; the most is {}",
            members.count,
            Script::MODULES_MAX
        )));
    }
    let modules = members.entries.into_iter().map(|(file_name, value)| {
        match Value::Json(value.get()).string() {
            Ok(text) => Ok(Source { file_name, text }),
            Err(_) => {
                let shown: String = file_name.chars().take(100).collect();
                Err(D::Error::custom(format_args!(
                    "must have a string for each module; {shown:?} has something else"
                )))
            }
        }
    });
    modules.collect()
}

fn priority<'de, D: Deserializer<'de>>(field: D) -> Result<Option<Priority>, D::Error> {
    let expected = "a whole number from 1, which is first, to 4";
    whole_number(field, expected, |number| {
        Priority::new(u8::try_from(number).ok()?)
    })
}

fn run_at<'de, D: Deserializer<'de>>(field: D) -> Result<Option<Timestamp>, D::Error> {
    let Some(text) = Option::<String>::deserialize(field)? else {
        return Ok(None);
    };
    let Some(moment) = Timestamp::from_rfc3339(&text) else {
        return Err(D::Error::custom(
            "must be an RFC 3339 time, such as 2026-11-24T12:51:51Z",
        ));
    };
    if moment > Timestamp::now().plus(JobTerms::AHEAD_MAX) {
        let days = JobTerms::AHEAD_MAX.as_secs() / 86_400;
        return Err(D::Error::custom(format_args!(
            "lies more than {days} days ahead"
        )));
    }
    Ok(Some(moment))
}

fn seed<'de, D: Deserializer<'de>>(field: D) -> Result<Option<u64>, D::Error> {
    whole_number(field, "a whole number of 64 bits", |number| {
        let negative = || i64::try_from(number).map(i64::cast_unsigned);
        u64::try_from(number).or_else(|_| negative()).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::ResponseError as _;

    fn request(body: &str) -> Result<SubmitRequest, Problem> {
        SubmitRequest::from_json(body.as_bytes())
    }

    fn problem_of(body: &str) -> String {
        format!("{:?}", request(body).unwrap_err())
    }

    #[test]
    fn values_keep_their_text() {
        let given = request(r#"{"input": [1.0, "\ud800"], "globals": {"a": 1e3}}"#).unwrap();
        assert_eq!(given.input.unwrap().as_str(), r#"[1.0, "\ud800"]"#);
        assert_eq!(given.globals[0].value.as_str(), "1e3");
    }

    #[test]
    fn null_is_absent_except_as_input() {
        let given = request(r#"{"code": null, "limits": null, "input": null}"#).unwrap();
        assert!(given.code.is_none());
        assert_eq!(given.input.unwrap().as_str(), "null");
    }

    #[test]
    fn an_invalid_field_is_named() {
        let rows = [
            (r#"{"code": 1}"#, "code"),
            (r#"{"cod": "1"}"#, "cod"),
            (r#"{"code": "1", "code": "2"}"#, "code"),
            (r#"{"limits": {"timeoutMs": -1}}"#, "limits.timeoutMs"),
            (r#"{"limits": {"timeoutMs": 1.5}}"#, "limits.timeoutMs"),
            (r#"{"limits": {"timeoutMs": "1"}}"#, "limits.timeoutMs"),
            (r#"{"limits": {"timeout": 1}}"#, "limits.timeout"),
            (
                r#"{"limits": {"timeoutMs": null, "timeoutMs": 1}}"#,
                "limits.timeoutMs",
            ),
            (r#"{"limits": []}"#, "limits"),
            (r#"{"globals": 7}"#, "globals"),
            (r#"{"seed": 1.5}"#, "seed"),
            (r#"{"seed": -9223372036854775809}"#, "seed"),
            (r#"{"language": "cobol"}"#, "language"),
            (r#"{"kind": "worker"}"#, "kind"),
        ];
        for (body, field) in rows {
            let refusal = problem_of(body);
            assert!(
                refusal.contains(&format!("\"{field}\"")),
                "{body}: {refusal}"
            );
        }
    }

    #[test]
    fn whole_numbers_are_read_in_every_notation() {
        let given = request(r#"{"limits": {"timeoutMs": 2e3, "memoryBytes": 1e300}, "seed": -1}"#);
        let given = given.unwrap();
        let limits = given.limits.unwrap();
        assert_eq!(limits.timeout_ms, Some(2_000));
        assert_eq!(limits.memory_bytes, Some(u64::MAX));
        assert_eq!(given.seed, Some(u64::MAX));
    }

    #[test]
    fn a_body_other_than_an_object_is_rejected() {
        for body in ["", "[]", "1", "{", "{}x", "\u{feff}{}", "nul"] {
            assert_eq!(request(body).unwrap_err().status_code().as_u16(), 400);
        }
        assert!(SubmitRequest::from_json(b"{\"code\":\"\xff\"}").is_err());
    }

    #[test]
    fn too_many_globals_are_rejected_with_their_number() {
        let globals: Vec<String> = (0..1000).map(|index| format!("\"g{index}\":1")).collect();
        let refusal = problem_of(&format!("{{\"globals\":{{{}}}}}", globals.join(",")));
        assert!(
            refusal.contains("1000") && refusal.contains("256"),
            "{refusal}"
        );
    }
}

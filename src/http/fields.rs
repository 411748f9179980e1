//! The fields of `POST /api/execute` and `POST /api/jobs`, from JSON or from a form, each checked by its name.
//!
//! The body is not parsed into a tree. The members of the object stay text, and so do `input` and the globals until the
//! engine parses them.

use super::field_names::{Field, LimitField};
use super::members::Members;
use super::problem::{Code, Problem};
use sandpiper_domain::{Global, JobTerms, JsonText, Priority, RequestedLimits, Script, Timestamp};
use serde_json::value::RawValue;

/// The fields of a request, before they are checked together.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) code: Option<String>,
    pub(super) file: Option<String>,
    /// `true` if there is a `source`. Only the ingress reads its value.
    pub(super) has_source: bool,
    pub(super) input: Option<JsonText>,
    pub(super) globals: Vec<Global>,
    pub(super) limits: RequestedLimits,
    pub(super) seed: Option<u64>,
    pub(super) run_at: Option<Timestamp>,
    pub(super) priority: Option<Priority>,
    seen: Vec<Field>,
}

/// The value of a field, unparsed.
pub(super) enum FieldValue<'a> {
    /// JSON text.
    Json(&'a RawValue),
    /// A part of a form: the text itself, or JSON if the field is not a string.
    Text(String),
}

impl FieldValue<'_> {
    /// Returns whether the value counts as absent: `null`, or an empty part of a form, because a page sends all its
    /// inputs.
    fn is_absent(&self) -> bool {
        match self {
            Self::Json(raw) => raw.get() == "null",
            Self::Text(text) => text.is_empty(),
        }
    }

    fn string(self, field: &str) -> Result<String, Problem> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Json(raw) => serde_json::from_str(raw.get()).map_err(|error| {
                let detail = if raw.get().starts_with('"') {
                    format!("`{field}` is not well-formed text: {error}")
                } else {
                    format!("`{field}` must be a string")
                };
                Problem::invalid_field(field, detail)
            }),
        }
    }

    fn json(self, field: &str) -> Result<JsonText, Problem> {
        match self {
            Self::Json(raw) => Ok(JsonText::from(raw.to_owned())),
            Self::Text(text) => JsonText::parse(text)
                .map_err(|error| Problem::invalid_field(field, format!("`{field}` is {error}"))),
        }
    }
}

impl Fields {
    /// Reads the fields of a JSON object.
    pub(super) fn from_json(body: &[u8]) -> Result<Self, Problem> {
        let text = std::str::from_utf8(body).map_err(|error| {
            Problem::new(
                Code::InvalidJson,
                format!("the body is not UTF-8 from byte {} on", error.valid_up_to()),
            )
        })?;
        let members = Members::of(text).map_err(|error| {
            let detail = if error.is_data() {
                "the body must be a JSON object".to_owned()
            } else {
                format!("the body is not JSON: {error}")
            };
            Problem::new(Code::InvalidJson, detail)
        })?;
        let mut fields = Self::default();
        for (name, value) in members.entries {
            fields.set(&name, FieldValue::Json(value))?;
        }
        Ok(fields)
    }

    /// Sets one field. An absent value changes nothing, except that `null` is a value of `input`.
    pub(super) fn set(&mut self, name: &str, value: FieldValue<'_>) -> Result<(), Problem> {
        let Ok(field) = name.parse::<Field>() else {
            return Err(unknown(name, &Field::names()));
        };
        let name = field.name();
        if self.seen.contains(&field) {
            return Err(given_twice(name));
        }
        self.seen.push(field);
        let is_null_input = field == Field::Input && matches!(value, FieldValue::Json(_));
        if value.is_absent() && !is_null_input {
            return Ok(());
        }
        match field {
            Field::Code => self.code = Some(value.string(name)?),
            Field::File => self.file = Some(value.string(name)?),
            Field::Globals => self.globals = globals(value)?,
            Field::Input => self.input = Some(value.json(name)?),
            Field::Kind => one_of(name, &value.string(name)?, "script", "module")?,
            Field::Language => one_of(name, &value.string(name)?, "javascript", "typescript")?,
            Field::Limits => self.limits = limits(value)?,
            Field::Priority => self.priority = Some(priority(value)?),
            Field::RunAt => self.run_at = Some(run_at(&value.string(name)?)?),
            Field::Seed => self.seed = Some(seed(value)?),
            Field::Source => self.has_source = true,
        }
        Ok(())
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

fn unknown(name: &str, known: &str) -> Problem {
    let shown: String = name.chars().take(100).collect();
    Problem::new(
        Code::UnknownField,
        format!("`{shown}` is not a field; the fields are {known}"),
    )
    .with("field", shown)
}

fn given_twice(name: &str) -> Problem {
    Problem::invalid_field(name, format!("`{name}` is given twice"))
}

fn one_of(field: &str, value: &str, supported: &str, planned: &str) -> Result<(), Problem> {
    if value == supported {
        return Ok(());
    }
    if value == planned {
        return Err(Problem::new(
            Code::Unsupported,
            format!("`{field}` \"{planned}\" is not supported; \"{supported}\" is"),
        )
        .with("field", field));
    }
    Err(Problem::invalid_field(
        field,
        format!("`{field}` must be \"{supported}\""),
    ))
}

fn globals(value: FieldValue<'_>) -> Result<Vec<Global>, Problem> {
    let json = value.json("globals")?;
    let members = Members::of(json.as_str())
        .map_err(|_| Problem::invalid_field("globals", "`globals` must be an object"))?;
    if members.count > Script::GLOBALS_MAX {
        return Err(Problem::invalid_field(
            "globals",
            format!(
                "`globals` has {} entries; the most is {}",
                members.count,
                Script::GLOBALS_MAX
            ),
        ));
    }
    let globals = members.entries.into_iter().map(|(name, value)| Global {
        name,
        value: JsonText::from(value.to_owned()),
    });
    Ok(globals.collect())
}

fn limits(value: FieldValue<'_>) -> Result<RequestedLimits, Problem> {
    let json = value.json("limits")?;
    let members = Members::of(json.as_str())
        .map_err(|_| Problem::invalid_field("limits", "`limits` must be an object"))?;
    let mut limits = RequestedLimits::default();
    for (name, value) in members.entries {
        let Ok(field) = name.parse::<LimitField>() else {
            return Err(unknown(&format!("limits.{name}"), &LimitField::names()));
        };
        let limit_field = match field {
            LimitField::MemoryBytes => &mut limits.memory_bytes,
            LimitField::OutputBytes => &mut limits.output_bytes,
            LimitField::TimeoutMs => &mut limits.timeout_ms,
        };
        if limit_field.is_some() {
            return Err(given_twice(&format!("limits.{name}")));
        }
        if value.get() != "null" {
            *limit_field = Some(limit(&name, value)?);
        }
    }
    Ok(limits)
}

/// Parses a limit. A number that is negative or not whole is invalid; one beyond 64 bits counts as above any ceiling.
fn limit(name: &str, value: &RawValue) -> Result<u64, Problem> {
    match whole_number(value.get()) {
        Some(WholeNumber::Positive(limit)) => Ok(limit),
        Some(WholeNumber::Beyond) => Ok(u64::MAX),
        Some(WholeNumber::Negative(_)) | None => {
            let field = format!("limits.{name}");
            let detail = format!("`{field}` must be a whole number, 1 or more");
            Err(Problem::invalid_field(&field, detail))
        }
    }
}

/// A whole number in JSON, which may also be written as `2e3` or `2.0`.
enum WholeNumber {
    Positive(u64),
    Negative(i64),
    /// Positive and beyond 64 bits.
    Beyond,
}

fn whole_number(text: &str) -> Option<WholeNumber> {
    const TWO_TO_THE_64: f64 = 18_446_744_073_709_551_616.0;
    let text = text.trim();
    if let Ok(whole) = text.parse() {
        return Some(WholeNumber::Positive(whole));
    }
    if let Ok(whole) = text.parse() {
        return Some(WholeNumber::Negative(whole));
    }
    let number: f64 = serde_json::from_str(text).ok()?;
    if number.fract() != 0.0 {
        return None;
    }
    if number >= TWO_TO_THE_64 {
        return Some(WholeNumber::Beyond);
    }
    let whole = format!("{number:.0}");
    let positive = whole.parse().ok().map(WholeNumber::Positive);
    positive.or_else(|| whole.parse().ok().map(WholeNumber::Negative))
}

fn seed(value: FieldValue<'_>) -> Result<u64, Problem> {
    let json = value.json("seed")?;
    match whole_number(json.as_str()) {
        Some(WholeNumber::Positive(seed)) => Ok(seed),
        Some(WholeNumber::Negative(seed)) => Ok(seed.cast_unsigned()),
        Some(WholeNumber::Beyond) | None => Err(Problem::invalid_field(
            "seed",
            "`seed` must be a whole number of 64 bits",
        )),
    }
}

fn priority(value: FieldValue<'_>) -> Result<Priority, Problem> {
    let json = value.json("priority")?;
    let number = match whole_number(json.as_str()) {
        Some(WholeNumber::Positive(number)) => u8::try_from(number).ok(),
        _ => None,
    };
    number.and_then(Priority::new).ok_or_else(|| {
        let detail = format!(
            "`priority` must be a whole number from 1, which is first, to {}",
            Priority::LAST
        );
        Problem::invalid_field("priority", detail)
    })
}

fn run_at(text: &str) -> Result<Timestamp, Problem> {
    let moment = Timestamp::from_rfc3339(text).ok_or_else(|| {
        let detail = "`runAt` must be a moment as 2026-11-24T12:51:51Z";
        Problem::invalid_field("runAt", detail)
    })?;
    if moment > Timestamp::now().plus(JobTerms::AHEAD_MAX) {
        let days = JobTerms::AHEAD_MAX.as_secs() / 86_400;
        let detail = format!("`runAt` lies more than {days} days ahead");
        return Err(Problem::invalid_field("runAt", detail));
    }
    Ok(moment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::ResponseError as _;

    fn fields(body: &str) -> Result<Fields, Problem> {
        Fields::from_json(body.as_bytes())
    }

    fn problem_of(body: &str) -> String {
        format!("{:?}", fields(body).unwrap_err())
    }

    #[test]
    fn values_keep_their_text() {
        let given = fields(r#"{"input": [1.0, "\ud800"], "globals": {"a": 1e3}}"#).unwrap();
        assert_eq!(given.input.unwrap().as_str(), r#"[1.0, "\ud800"]"#);
        assert_eq!(given.globals[0].value.as_str(), "1e3");
    }

    #[test]
    fn null_is_absent_except_as_input() {
        let given = fields(r#"{"code": null, "limits": null, "input": null}"#).unwrap();
        assert!(given.code.is_none());
        assert_eq!(given.input.unwrap().as_str(), "null");
    }

    #[test]
    fn an_invalid_field_is_named() {
        let rows = [
            (r#"{"code": 1}"#, "code"),
            (r#"{"cod": "1"}"#, "cod"),
            (r#"{"code": "1", "code": "2"}"#, "code"),
            (r#"{"code": "\ud800"}"#, "code"),
            (r#"{"limits": {"timeoutMs": -1}}"#, "limits.timeoutMs"),
            (r#"{"limits": {"timeoutMs": 1.5}}"#, "limits.timeoutMs"),
            (r#"{"limits": {"timeoutMs": "1"}}"#, "limits.timeoutMs"),
            (r#"{"limits": {"timeout": 1}}"#, "limits.timeout"),
            (r#"{"limits": []}"#, "limits"),
            (r#"{"globals": 7}"#, "globals"),
            (r#"{"seed": 1.5}"#, "seed"),
            (r#"{"language": "typescript"}"#, "language"),
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
        let given = fields(r#"{"limits": {"timeoutMs": 2e3, "memoryBytes": 1e300}, "seed": -1}"#);
        let given = given.unwrap();
        assert_eq!(given.limits.timeout_ms, Some(2_000));
        assert_eq!(given.limits.memory_bytes, Some(u64::MAX));
        assert_eq!(given.seed, Some(u64::MAX));
    }

    #[test]
    fn a_body_other_than_an_object_is_rejected() {
        for body in ["", "[]", "1", "{", "{}x", "\u{feff}{}", "nul"] {
            assert_eq!(fields(body).unwrap_err().status_code().as_u16(), 400);
        }
        assert!(Fields::from_json(b"{\"code\":\"\xff\"}").is_err());
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

//! The field `tools`: the functions that the caller offers to a script.
#![allow(unused_qualifications)] // in what utoipa derives

use super::fields::{self, FieldError};
use super::members::{Elements, Members};
use crate::http::problem::Code;
use sandpiper_domain::JsonText;
use sandpiper_domain::tools::{Tool, ToolName, ToolRefusal, Tools};
use serde::de::Error as _;
use serde_json::value::RawValue;
use utoipa::ToSchema;

const FIELD: &str = "tools";
/// The end of a name that stands for a whole namespace of the operator's tools.
const NAMESPACE: &str = ".*";
/// Names of the operator's tools, which no caller can declare.
const OF_OPERATOR: [&str; 1] = ["fetch"];

/// A tool with its description.
#[derive(Debug, serde::Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = ToolDeclaration)]
pub(super) struct ToolFields {
    /// Description for people and models, at most 4096 bytes.
    #[schema(nullable = false, max_length = 4096)]
    description: Option<String>,
    /// JSON Schema of the argument, an object of at most 65536 bytes. Arguments are not checked against it.
    #[schema(value_type = Option<Object>, nullable = false)]
    input_schema: Option<JsonText>,
    /// Name of the tool: `name` or `namespace.name`.
    #[serde(default)]
    name: String,
    /// JSON Schema of the result, an object of at most 65536 bytes. Results are not checked against it.
    #[schema(value_type = Option<Object>, nullable = false)]
    output_schema: Option<JsonText>,
}

/// Reads the value of the field `tools`.
pub(super) fn read(array: &JsonText) -> Result<Tools, FieldError> {
    let elements: Elements<'_> = serde_json::from_str(array.as_str())
        .map_err(|_| FieldError::custom("must be an array of tools").inside(FIELD))?;
    if elements.count > Tools::COUNT_MAX {
        let refusal = ToolRefusal::TooMany {
            count: elements.count,
        };
        return Err(refused(&refusal));
    }
    let tools = elements.entries.into_iter().enumerate();
    let tools = tools.map(|(index, element)| {
        tool(element).map_err(|error| error.of_element(index).inside(FIELD))
    });
    Tools::new(tools.collect::<Result<_, _>>()?).map_err(|refusal| refused(&refusal))
}

fn tool(element: &RawValue) -> Result<Tool, FieldError> {
    if element.get().starts_with('"') {
        let name = fields::Value::Json(element.get()).string()?;
        return Ok(Tool::named(parse_name(&name)?));
    }
    let members: Members<'_> = serde_json::from_str(element.get()).map_err(|_| {
        FieldError::custom("must be the name of a tool, or an object with the name as `name`")
    })?;
    let declared: ToolFields = fields::read(members.values())?;
    if declared.name.is_empty() {
        return Err(FieldError::custom("is missing").inside("name"));
    }
    Ok(Tool {
        name: parse_name(&declared.name).map_err(|error| error.inside("name"))?,
        description: declared.description,
        input_schema: declared.input_schema,
        output_schema: declared.output_schema,
    })
}

fn parse_name(text: &str) -> Result<ToolName, FieldError> {
    if text.ends_with(NAMESPACE) {
        return Err(FieldError::custom(
            "names tools of the operator, and this service has none; name each tool of your own",
        ));
    }
    if OF_OPERATOR.contains(&text) {
        let taken = FieldError::custom(
            "has the name of a tool of the operator, and a caller's tool cannot have it; take another name",
        );
        return Err(taken.with_code(Code::ToolNameTaken));
    }
    ToolName::parse(text)
        .map_err(|error| FieldError::custom(format_args!("is no name of a tool: {error}")))
}

/// Returns the error of tools that do not fit together, under the field that is wrong.
fn refused(refusal: &ToolRefusal) -> FieldError {
    let error = FieldError::custom(format_args!("cannot be used: {refusal}"));
    match refusal {
        ToolRefusal::Empty | ToolRefusal::TooMany { .. } => error.inside(FIELD),
        ToolRefusal::Twice { index, .. } | ToolRefusal::AlsoNamespace { index, .. } => {
            error.of_element(*index).inside(FIELD)
        }
        ToolRefusal::TooLarge { index, part, .. } | ToolRefusal::NoSchema { index, part, .. } => {
            error.inside(part).of_element(*index).inside(FIELD)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Tools, String> {
        let array = JsonText::parse(text.to_owned()).unwrap();
        read(&array).map_err(|error| error.to_string())
    }

    #[test]
    fn a_tool_is_a_name_or_an_object_with_a_name() {
        let text = r#"["getOrder", {"name":"crm.find","description":"d","inputSchema":{},"outputSchema":null}]"#;
        let tools = read_text(text).unwrap();
        let [first, second] = tools.as_slice() else {
            panic!("{tools:?}")
        };
        assert_eq!(
            (first.name.as_str(), second.name.as_str()),
            ("getOrder", "crm.find")
        );
        assert_eq!(second.description.as_deref(), Some("d"));
        assert!(second.input_schema.is_some() && second.output_schema.is_none());
    }

    #[test]
    fn an_error_names_the_element_and_the_field() {
        for (text, start) in [
            ("{}", "`tools` must be an array"),
            ("[]", "`tools` cannot be used: `tools` is empty"),
            ("[1]", "`tools[0]` must be the name"),
            (
                r#"["a", "a"]"#,
                "`tools[1]` cannot be used: the tool `a` is declared twice",
            ),
            (
                r#"["a", "a.b"]"#,
                "`tools[1]` cannot be used: `a` is the name of a tool and a namespace",
            ),
            (r#"["a b"]"#, "`tools[0]` is no name of a tool"),
            (r#"["then"]"#, "`tools[0]` is no name of a tool"),
            (r#"["billing.*"]"#, "`tools[0]` names tools of the operator"),
            (
                r#"["fetch"]"#,
                "`tools[0]` has the name of a tool of the operator",
            ),
            (r#"[{"name":"fetch"}]"#, "`tools[0].name` has the name of"),
            ("[{}]", "`tools[0].name` is missing"),
            (r#"[{"name":1}]"#, "`tools[0].name` must be a string"),
            (
                r#"[{"name":"a","inputSchema":[]}]"#,
                "`tools[0].inputSchema` cannot be used",
            ),
            (r#"[{"name":"a","x":1}]"#, "`tools[0].x` is not a field"),
        ] {
            let error = read_text(text).unwrap_err();
            assert!(error.starts_with(start), "{text}: {error}");
        }
        let many = format!("[{}]", vec!["1"; 300].join(","));
        let error = read_text(&many).unwrap_err();
        assert!(error.contains("300") && error.contains("256"), "{error}");
    }
}

//! The tools that a request declares.

use super::ToolName;
use crate::{JsonText, Script};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A tool as it was declared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tool {
    pub name: ToolName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// JSON Schema of the argument.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<JsonText>,
    /// JSON Schema of the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<JsonText>,
}

impl Tool {
    /// Longest description, bytes.
    pub const DESCRIPTION_BYTES_MAX: usize = 4 * 1024;
    /// Longest schema, bytes of JSON.
    pub const SCHEMA_BYTES_MAX: usize = 64 * 1024;

    /// Returns a tool without description and schemas.
    pub fn named(name: ToolName) -> Self {
        Self {
            name,
            description: None,
            input_schema: None,
            output_schema: None,
        }
    }
}

/// The fate of calls that a script has not awaited when it succeeds: `Round::unoffered`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unawaited {
    /// The calls are offered, and the execution waits for those alone. Its result stays as it is.
    #[default]
    Offer,
    /// The calls are never sent.
    Drop,
    /// The execution fails with an error that names the calls.
    Fail,
}

/// The tools of one script: at least one, each name once, and no name that is a namespace too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Tool>", into = "Vec<Tool>")]
pub struct Tools(Vec<Tool>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ToolRefusal {
    #[error("`tools` is empty; a request without tools leaves it out")]
    Empty,
    #[error("`tools` has {count} entries; the most is {}", Tools::COUNT_MAX)]
    TooMany { count: usize },
    #[error("the tool `{name}` is declared twice")]
    Twice { index: usize, name: ToolName },
    #[error("`{name}` is the name of a tool and a namespace")]
    AlsoNamespace { index: usize, name: String },
    #[error("the {part} of `{name}` has {bytes} bytes; the most is {most}")]
    TooLarge {
        index: usize,
        name: ToolName,
        /// `description`, `inputSchema` or `outputSchema`.
        part: &'static str,
        bytes: usize,
        most: usize,
    },
    #[error(
        "the {part} of `{name}` is no JSON object of at most {} levels",
        Script::JSON_DEPTH_MAX
    )]
    NoSchema {
        index: usize,
        name: ToolName,
        part: &'static str,
    },
}

impl Tools {
    /// Most tools of a script.
    pub const COUNT_MAX: usize = 256;

    pub fn new(tools: Vec<Tool>) -> Result<Self, ToolRefusal> {
        if tools.is_empty() {
            return Err(ToolRefusal::Empty);
        }
        if tools.len() > Self::COUNT_MAX {
            return Err(ToolRefusal::TooMany { count: tools.len() });
        }
        for (index, tool) in tools.iter().enumerate() {
            if tools[..index].iter().any(|other| other.name == tool.name) {
                let name = tool.name.clone();
                return Err(ToolRefusal::Twice { index, name });
            }
            let namespace = tool.name.namespace();
            let is_taken = |other: &Tool| Some(other.name.as_str()) == namespace;
            if let Some(name) = namespace.filter(|_| tools.iter().any(is_taken)) {
                let name = name.to_owned();
                return Err(ToolRefusal::AlsoNamespace { index, name });
            }
            check_parts(index, tool)?;
        }
        Ok(Self(tools))
    }

    pub fn as_slice(&self) -> &[Tool] {
        &self.0
    }

    pub fn get(&self, name: &str) -> Option<&Tool> {
        self.0.iter().find(|tool| tool.name.as_str() == name)
    }

    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Returns the bytes of names, descriptions and schemas.
    pub fn content_bytes(&self) -> usize {
        let json = |text: &Option<JsonText>| text.as_ref().map_or(0, |text| text.as_str().len());
        let of_tool = |tool: &Tool| {
            tool.name.as_str().len()
                + tool.description.as_ref().map_or(0, String::len)
                + json(&tool.input_schema)
                + json(&tool.output_schema)
        };
        self.0.iter().map(of_tool).sum()
    }
}

fn check_parts(index: usize, tool: &Tool) -> Result<(), ToolRefusal> {
    let too_large = |part, bytes, most| ToolRefusal::TooLarge {
        index,
        name: tool.name.clone(),
        part,
        bytes,
        most,
    };
    let description_bytes = tool.description.as_ref().map_or(0, String::len);
    if description_bytes > Tool::DESCRIPTION_BYTES_MAX {
        let most = Tool::DESCRIPTION_BYTES_MAX;
        return Err(too_large("description", description_bytes, most));
    }
    let schemas = [
        ("inputSchema", &tool.input_schema),
        ("outputSchema", &tool.output_schema),
    ];
    for (part, schema) in schemas {
        let Some(schema) = schema else { continue };
        let bytes = schema.as_str().len();
        if bytes > Tool::SCHEMA_BYTES_MAX {
            return Err(too_large(part, bytes, Tool::SCHEMA_BYTES_MAX));
        }
        let is_object = schema.as_str().trim_start().starts_with('{');
        if !is_object || schema.depth() > Script::JSON_DEPTH_MAX {
            let name = tool.name.clone();
            return Err(ToolRefusal::NoSchema { index, name, part });
        }
    }
    Ok(())
}

impl TryFrom<Vec<Tool>> for Tools {
    type Error = ToolRefusal;

    fn try_from(tools: Vec<Tool>) -> Result<Self, ToolRefusal> {
        Self::new(tools)
    }
}

impl From<Tools> for Vec<Tool> {
    fn from(tools: Tools) -> Self {
        tools.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tools(names: &[&str]) -> Result<Tools, ToolRefusal> {
        let named = |name: &&str| Tool::named(ToolName::parse(name).unwrap());
        Tools::new(names.iter().map(named).collect())
    }

    #[test]
    fn a_name_is_declared_once_and_is_no_namespace() {
        assert!(tools(&["a", "b.a", "b.c", "_"]).is_ok());
        assert_eq!(tools(&[]), Err(ToolRefusal::Empty));
        assert!(matches!(
            tools(&["a", "b", "a"]),
            Err(ToolRefusal::Twice { index: 2, .. })
        ));
        for names in [["a", "a.b"], ["a.b", "a"]] {
            let refused = tools(&names);
            assert!(
                matches!(refused, Err(ToolRefusal::AlsoNamespace { .. })),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn a_schema_is_an_object_of_bounded_size() {
        let with_schema = |schema: String| {
            Tools::new(vec![Tool {
                input_schema: Some(JsonText::parse(schema).unwrap()),
                ..Tool::named(ToolName::parse("a").unwrap())
            }])
        };
        assert!(with_schema(r#"{"type":"object"}"#.to_owned()).is_ok());
        assert!(matches!(
            with_schema("[]".to_owned()),
            Err(ToolRefusal::NoSchema { .. })
        ));
        let long = format!(r#"{{"title":"{}"}}"#, "x".repeat(Tool::SCHEMA_BYTES_MAX));
        assert!(matches!(
            with_schema(long),
            Err(ToolRefusal::TooLarge { .. })
        ));
    }
}

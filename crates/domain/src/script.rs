//! Validated scripts: the sources, and the values that they find as globals.

use super::JsonText;
use super::escapes::without_nul;
use super::json_text::given_json;
use serde::{Deserialize, Serialize};

/// A source text with the name that error positions refer to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// `code`, `source`, or the example script's file name.
    pub file_name: String,
    /// JavaScript. A NUL in it is written as its escape.
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Global {
    /// The name, a plain identifier.
    pub name: String,
    pub value: JsonText,
}

/// A validated script: one or two sources in order, `input`, `globals` and a seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Script {
    sources: Vec<Source>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "given_json")]
    input: Option<JsonText>,
    globals: Vec<Global>,
    seed: Option<u64>,
}

/// A script as it was received, before it is checked.
#[derive(Debug, Default)]
pub struct ScriptDraft {
    /// The source that runs first.
    pub code: Option<String>,
    /// A source from an external address, in place of `code`.
    pub source: Option<String>,
    /// An example script, already found by its name, that runs after `code`.
    pub file: Option<Source>,
    pub input: Option<JsonText>,
    pub globals: Vec<Global>,
    /// The seed that makes `Math.random` and the clock repeatable.
    pub seed: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScriptRefusal {
    #[error("give `code` or `source`, a `file`, or both")]
    MissingCode,
    #[error("`{field}` has {bytes} bytes; the most is {most}")]
    CodeTooLarge {
        field: &'static str,
        bytes: usize,
        most: usize,
    },
    #[error("{detail}")]
    InvalidField {
        /// The path of the field in the request, such as `globals.rate`.
        field: String,
        detail: String,
    },
}

impl Script {
    pub const CODE_BYTES_MAX: usize = 1024 * 1024;
    /// Deepest nesting of `input`, of each global and of a result. Common JSON parsers stop at 128, and a result is
    /// nested in a response.
    pub const JSON_DEPTH_MAX: usize = 100;
    pub const GLOBALS_MAX: usize = 256;
    pub const GLOBAL_NAME_BYTES_MAX: usize = 128;

    /// The name under which error positions refer to the client's own `code`.
    pub const CODE_FILE_NAME: &'static str = "code";
    /// The name under which error positions refer to a source from an external address.
    pub const SOURCE_FILE_NAME: &'static str = "source";

    /// Checks a draft. Fails on the first rule that it breaks.
    pub fn new(draft: ScriptDraft) -> Result<Self, ScriptRefusal> {
        let mut sources = Vec::with_capacity(2);
        if draft.code.is_some() && draft.source.is_some() {
            let detail = "give `code` or `source`, not both".to_owned();
            return Err(invalid(Self::SOURCE_FILE_NAME, detail));
        }
        let written = draft.code.map(|text| (Self::CODE_FILE_NAME, text));
        let fetched = draft.source.map(|text| (Self::SOURCE_FILE_NAME, text));
        if let Some((name, text)) = written.or(fetched) {
            let text = without_nul(text);
            check_code(name, &text)?;
            sources.push(Source {
                file_name: name.to_owned(),
                text,
            });
        }
        sources.extend(draft.file);
        if sources.is_empty() {
            return Err(ScriptRefusal::MissingCode);
        }
        if let Some(input) = &draft.input {
            check_depth("input", input)?;
        }
        if draft.globals.len() > Self::GLOBALS_MAX {
            return Err(invalid(
                "globals",
                format!(
                    "`globals` has {} entries; the most is {}",
                    draft.globals.len(),
                    Self::GLOBALS_MAX
                ),
            ));
        }
        for global in &draft.globals {
            check_global(global)?;
        }
        Ok(Self {
            sources,
            input: draft.input,
            globals: draft.globals,
            seed: draft.seed,
        })
    }

    /// Returns the sources, in the order in which they run.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// Returns the value of the global `input`. If there is none, `typeof input` is `"undefined"`.
    pub fn input(&self) -> Option<&JsonText> {
        self.input.as_ref()
    }

    pub fn globals(&self) -> &[Global] {
        &self.globals
    }

    pub fn seed(&self) -> Option<u64> {
        self.seed
    }

    /// Returns the bytes of memory that this script holds while it waits, approximately.
    pub fn size_bytes(&self) -> usize {
        size_of::<Self>() + self.text_bytes()
    }

    /// Returns the bytes of the sources, of `input` and of the globals with their names.
    pub fn content_bytes(&self) -> u64 {
        u64::try_from(self.text_bytes()).unwrap_or(u64::MAX)
    }

    fn text_bytes(&self) -> usize {
        let sources: usize = self.sources.iter().map(|source| source.text.len()).sum();
        let globals: usize = self
            .globals
            .iter()
            .map(|global| global.name.len() + global.value.as_str().len())
            .sum();
        let input = self.input.as_ref().map_or(0, |input| input.as_str().len());
        sources + globals + input
    }
}

fn check_code(field: &'static str, code: &str) -> Result<(), ScriptRefusal> {
    if code.len() > Script::CODE_BYTES_MAX {
        return Err(ScriptRefusal::CodeTooLarge {
            field,
            bytes: code.len(),
            most: Script::CODE_BYTES_MAX,
        });
    }
    Ok(())
}

fn check_global(global: &Global) -> Result<(), ScriptRefusal> {
    let field = format!("globals.{}", global.name);
    let mut characters = global.name.chars();
    let starts_well = characters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_' || first == '$');
    let goes_on_well =
        characters.all(|next| next.is_ascii_alphanumeric() || next == '_' || next == '$');
    if !starts_well || !goes_on_well || global.name.len() > Script::GLOBAL_NAME_BYTES_MAX {
        return Err(invalid(
            "globals",
            format!(
                "a key of `globals` must be an identifier of ASCII letters, digits, _ and $, at most {} bytes",
                Script::GLOBAL_NAME_BYTES_MAX
            ),
        ));
    }
    if matches!(
        global.name.as_str(),
        "input" | "undefined" | "NaN" | "Infinity" | "globalThis" | "__proto__"
    ) {
        return Err(invalid(
            &field,
            format!("`{}` cannot be set through `globals`", global.name),
        ));
    }
    check_depth(&field, &global.value)
}

fn check_depth(field: &str, value: &JsonText) -> Result<(), ScriptRefusal> {
    let depth = value.depth();
    if depth <= Script::JSON_DEPTH_MAX {
        return Ok(());
    }
    Err(invalid(
        field,
        format!(
            "`{field}` nests {depth} levels deep; the most is {}",
            Script::JSON_DEPTH_MAX
        ),
    ))
}

fn invalid(field: &str, detail: String) -> ScriptRefusal {
    ScriptRefusal::InvalidField {
        field: field.to_owned(),
        detail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn global(name: &str, value: &str) -> Global {
        Global {
            name: name.to_owned(),
            value: JsonText::parse(value.to_owned()).unwrap(),
        }
    }

    fn with_globals(globals: Vec<Global>) -> Result<Script, ScriptRefusal> {
        Script::new(ScriptDraft {
            code: Some("1".to_owned()),
            globals,
            ..ScriptDraft::default()
        })
    }

    #[test]
    fn a_script_needs_code_or_a_file() {
        assert_eq!(
            Script::new(ScriptDraft::default()),
            Err(ScriptRefusal::MissingCode)
        );
    }

    #[test]
    fn the_file_runs_after_the_code() {
        let script = Script::new(ScriptDraft {
            code: Some("var input = 20;".to_owned()),
            file: Some(Source {
                file_name: "pi.js".to_owned(),
                text: "input".to_owned(),
            }),
            ..ScriptDraft::default()
        })
        .unwrap();
        let names: Vec<_> = script
            .sources()
            .iter()
            .map(|source| source.file_name.as_str())
            .collect();
        assert_eq!(names, ["code", "pi.js"]);
    }

    #[test]
    fn a_global_needs_the_name_of_an_identifier() {
        assert!(with_globals(vec![global("rate_1$", "1")]).is_ok());
        for name in ["", "1a", "a-b", "a b", "é", "input", "NaN", "__proto__"] {
            assert!(
                with_globals(vec![global(name, "1")]).is_err(),
                "{name:?} was taken"
            );
        }
    }

    #[test]
    fn nesting_beyond_the_bound_names_the_field() {
        let deep = format!("{}{}", "[".repeat(101), "]".repeat(101));
        let refused = with_globals(vec![global("tree", &deep)]).unwrap_err();
        assert!(
            matches!(&refused, ScriptRefusal::InvalidField { field, .. } if field == "globals.tree")
        );
    }
}

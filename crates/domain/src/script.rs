//! Validated source: what will run, and with which values in reach.

use super::JsonText;
use super::json_text::given_json;
use serde::{Deserialize, Serialize};

/// One piece of source text with the name that error positions refer to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// `code`, or the example script's file name.
    pub file_name: String,
    /// JavaScript, without NUL bytes.
    pub text: String,
}

/// One global that the client wants its script to find.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Global {
    /// A plain identifier.
    pub name: String,
    /// Its value.
    pub value: JsonText,
}

/// What a client wants run: one or two sources in order, `input`, `globals` and a seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Script {
    sources: Vec<Source>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "given_json")]
    input: Option<JsonText>,
    globals: Vec<Global>,
    seed: Option<u64>,
}

/// A script as it came in, before it was checked.
#[derive(Debug, Default)]
pub struct ScriptDraft {
    /// Source that runs first.
    pub code: Option<String>,
    /// Source from elsewhere, in the place of `code`.
    pub source: Option<String>,
    /// An example script, already found by name, that runs after `code`.
    pub file: Option<Source>,
    /// Bound to the global `input`.
    pub input: Option<JsonText>,
    /// Each becomes a global.
    pub globals: Vec<Global>,
    /// Makes `Math.random` and the clock repeatable.
    pub seed: Option<u64>,
}

/// Why a draft is not a script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScriptRefusal {
    /// Neither `code` nor `file`.
    #[error("give `code` or `source`, a `file`, or both")]
    MissingCode,
    /// Longer than [`Script::CODE_BYTES_MAX`].
    #[error("`{field}` has {bytes} bytes; the most is {most}")]
    CodeTooLarge {
        /// `code` or `source`.
        field: &'static str,
        /// Length of the code.
        bytes: usize,
        /// The bound.
        most: usize,
    },
    /// A field breaks one of its own rules.
    #[error("{detail}")]
    InvalidField {
        /// The field's path in the request, as `globals.rate`.
        field: String,
        /// What is wrong, and the bound.
        detail: String,
    },
}

impl Script {
    /// Longest `code`, bytes of UTF-8.
    pub const CODE_BYTES_MAX: usize = 1024 * 1024;
    /// Deepest nesting of `input`, of each global and of a result. Common JSON parsers stop at 128, and a result comes
    /// wrapped in an answer.
    pub const JSON_DEPTH_MAX: usize = 100;
    /// Most globals.
    pub const GLOBALS_MAX: usize = 256;
    /// Longest name of a global, bytes.
    pub const GLOBAL_NAME_BYTES_MAX: usize = 128;

    /// The name under which error positions refer to the client's own `code`.
    pub const CODE_FILE_NAME: &'static str = "code";
    /// The name under which they refer to what came from elsewhere.
    pub const SOURCE_FILE_NAME: &'static str = "source";

    /// Checks a draft.
    pub fn new(draft: ScriptDraft) -> Result<Self, ScriptRefusal> {
        let mut sources = Vec::with_capacity(2);
        if draft.code.is_some() && draft.source.is_some() {
            let detail = "give `code` or `source`, not both".to_owned();
            return Err(invalid(Self::SOURCE_FILE_NAME, detail));
        }
        let written = draft.code.map(|text| (Self::CODE_FILE_NAME, text));
        let fetched = draft.source.map(|text| (Self::SOURCE_FILE_NAME, text));
        if let Some((name, text)) = written.or(fetched) {
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

    /// The sources, in the order they run.
    #[must_use]
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The value of the global `input`; absent, `typeof input` is `"undefined"`.
    #[must_use]
    pub fn input(&self) -> Option<&JsonText> {
        self.input.as_ref()
    }

    /// The other globals.
    #[must_use]
    pub fn globals(&self) -> &[Global] {
        &self.globals
    }

    /// The seed of randomness and clock, where the client gave one.
    #[must_use]
    pub fn seed(&self) -> Option<u64> {
        self.seed
    }

    /// Bytes of memory this script holds while it waits, near enough for a bound.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let sources: usize = self.sources.iter().map(|source| source.text.len()).sum();
        let globals: usize = self
            .globals
            .iter()
            .map(|global| global.name.len() + global.value.as_str().len())
            .sum();
        let input = self.input.as_ref().map_or(0, |input| input.as_str().len());
        size_of::<Self>() + sources + globals + input
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
    match code.find('\0') {
        Some(position) => Err(invalid(
            field,
            format!("`{field}` has a NUL character at byte {position}; write it as \\0"),
        )),
        None => Ok(()),
    }
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

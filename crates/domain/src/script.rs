//! Validated scripts: the sources, their kind and modules, and the values that they find as globals.

use super::escapes::without_nul;
use super::json_text::given_json;
use super::modules::{check_modules, text_bytes_of};
use super::script_checks::{check_code, check_depth, check_global, invalid};
use super::tools::Tools;
use super::{JsonText, Language, ScriptKind};
use serde::{Deserialize, Serialize};

/// A source text with the name that error positions refer to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// `code`, `source`, `prelude`, the example script's file name, or the name of a module.
    pub file_name: String,
    /// JavaScript or TypeScript. A NUL in it is written as its escape.
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Global {
    /// The name, a plain identifier.
    pub name: String,
    pub value: JsonText,
}

/// A validated script: its sources in order, its kind and modules, `input`, `globals` and a seed.
///
/// Databases keep this form. A field that has its default is left out, so that a script which an earlier version could
/// run is stored as that version stored it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Script {
    sources: Vec<Source>,
    #[serde(default, skip_serializing_if = "ScriptKind::is_script")]
    kind: ScriptKind,
    #[serde(default, skip_serializing_if = "Language::is_javascript")]
    language: Language,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    modules: Vec<Source>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "given_json")]
    input: Option<JsonText>,
    globals: Vec<Global>,
    seed: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tools: Option<Tools>,
}

/// A script as it was received, before it is checked.
#[derive(Debug, Default)]
pub struct ScriptDraft {
    /// The source that runs first.
    pub code: Option<String>,
    /// A source from an external address, in place of `code`.
    pub source: Option<String>,
    /// An example script, already found by its name, that runs after `code`. In a script of another kind than `script`
    /// a file stands in the place of `code`.
    pub file: Option<Source>,
    pub kind: ScriptKind,
    pub language: Language,
    /// Modules by name, in order.
    pub modules: Vec<Source>,
    /// A script that runs before all other sources.
    pub prelude: Option<String>,
    pub input: Option<JsonText>,
    pub globals: Vec<Global>,
    /// The seed that makes `Math.random` and the clock repeatable.
    pub seed: Option<u64>,
    /// The functions outside that the script may call.
    pub tools: Option<Tools>,
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
    #[error("code, `modules` and `prelude` have {bytes} bytes together; the most is {most}")]
    TogetherTooLarge { bytes: usize, most: usize },
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

    /// Most modules of a script.
    pub const MODULES_MAX: usize = 256;
    /// Longest name of a module, bytes.
    pub const MODULE_NAME_BYTES_MAX: usize = 256;

    /// The global that has the tools of a script with tools.
    pub const TOOLS_GLOBAL: &'static str = "tools";

    /// The name under which error positions refer to the client's `prelude`.
    pub const PRELUDE_FILE_NAME: &'static str = "prelude";
    /// The name under which error positions refer to the client's own `code`.
    pub const CODE_FILE_NAME: &'static str = "code";
    /// The name under which error positions refer to a source from an external address.
    pub const SOURCE_FILE_NAME: &'static str = "source";

    /// Checks a draft. Fails on the first rule that it breaks.
    pub fn new(mut draft: ScriptDraft) -> Result<Self, ScriptRefusal> {
        let mut sources = Vec::with_capacity(2);
        if let Some(text) = draft.prelude.map(without_nul) {
            check_code(Self::PRELUDE_FILE_NAME, &text)?;
            sources.push(Source {
                file_name: Self::PRELUDE_FILE_NAME.to_owned(),
                text,
            });
        }
        let preludes = sources.len();
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
        let mut own_bytes = text_bytes_of(&sources);
        sources.extend(draft.file);
        if sources.len() == preludes {
            return Err(ScriptRefusal::MissingCode);
        }
        if !draft.kind.is_script() && sources.len() > preludes + 1 {
            let kind = draft.kind.as_str();
            let detail = format!("a script of the kind `{kind}` is one text, without a `file`");
            return Err(invalid("file", detail));
        }
        if !draft.kind.is_script() {
            own_bytes = text_bytes_of(&sources);
        }
        for module in &mut draft.modules {
            module.text = without_nul(std::mem::take(&mut module.text));
        }
        check_modules(&draft.modules, &sources)?;
        let bytes = own_bytes + text_bytes_of(&draft.modules);
        if bytes > Self::CODE_BYTES_MAX {
            return Err(ScriptRefusal::TogetherTooLarge {
                bytes,
                most: Self::CODE_BYTES_MAX,
            });
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
            if draft.tools.is_some() && global.name == Self::TOOLS_GLOBAL {
                let detail = "`tools` is the global with the tools of the request".to_owned();
                return Err(invalid("globals.tools", detail));
            }
        }
        Ok(Self {
            sources,
            kind: draft.kind,
            language: draft.language,
            modules: draft.modules,
            input: draft.input,
            globals: draft.globals,
            seed: draft.seed,
            tools: draft.tools,
        })
    }

    /// Returns the sources, in the order in which they run. All but the last are scripts; the last is of this script's
    /// kind.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    pub fn kind(&self) -> ScriptKind {
        self.kind
    }

    /// Returns the language of the texts whose names have no ending of a language.
    pub fn language(&self) -> Language {
        self.language
    }

    fn language_of(&self, name: &str) -> Language {
        Language::of_ending(name).unwrap_or(self.language)
    }

    /// Returns the modules that can be imported, each under its name.
    pub fn modules(&self) -> &[Source] {
        &self.modules
    }

    /// Returns whether versions that know neither kinds nor languages nor modules nor preludes nor tools run this script as
    /// it is meant.
    pub fn is_plain(&self) -> bool {
        let has_prelude = self
            .sources
            .first()
            .is_some_and(|source| source.file_name == Self::PRELUDE_FILE_NAME);
        let is_javascript = |source: &Source| self.language_of(&source.file_name).is_javascript();
        self.kind.is_script()
            && self.language.is_javascript()
            && self.sources.iter().all(is_javascript)
            && self.modules.is_empty()
            && self.tools.is_none()
            && !has_prelude
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

    /// Returns the tools that the script may call; `None` if it was given none. A script with tools runs in rounds.
    pub fn tools(&self) -> Option<&Tools> {
        self.tools.as_ref()
    }

    /// Returns the bytes of memory that this script holds while it waits, approximately.
    pub fn size_bytes(&self) -> usize {
        size_of::<Self>() + self.text_bytes()
    }

    /// Returns the bytes of the sources, of the modules with their names, of `input` and of the globals with their names.
    pub fn content_bytes(&self) -> u64 {
        u64::try_from(self.text_bytes()).unwrap_or(u64::MAX)
    }

    fn text_bytes(&self) -> usize {
        let names: usize = self.modules.iter().map(|one| one.file_name.len()).sum();
        let sources = text_bytes_of(&self.sources) + text_bytes_of(&self.modules) + names;
        let globals: usize = self
            .globals
            .iter()
            .map(|global| global.name.len() + global.value.as_str().len())
            .sum();
        let input = self.input.as_ref().map_or(0, |input| input.as_str().len());
        let tools = self.tools.as_ref().map_or(0, Tools::content_bytes);
        sources + globals + input + tools
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

    #[test]
    fn the_prelude_runs_first_and_is_no_code() {
        let prelude = || Some("var a = 1".to_owned());
        let alone = ScriptDraft {
            prelude: prelude(),
            ..ScriptDraft::default()
        };
        assert_eq!(Script::new(alone), Err(ScriptRefusal::MissingCode));
        let script = Script::new(ScriptDraft {
            code: Some("a".to_owned()),
            prelude: prelude(),
            ..ScriptDraft::default()
        });
        let script = script.unwrap();
        assert_eq!(script.sources()[0].file_name, "prelude");
        assert!(!script.is_plain());
    }

    #[test]
    fn a_function_or_a_module_is_one_text() {
        let draft = |kind, code: Option<&str>| ScriptDraft {
            code: code.map(str::to_owned),
            file: Some(Source {
                file_name: "pi.js".to_owned(),
                text: "1".to_owned(),
            }),
            kind,
            ..ScriptDraft::default()
        };
        for kind in [ScriptKind::Function, ScriptKind::Module] {
            let refusal = Script::new(draft(kind, Some("1"))).unwrap_err();
            assert!(
                matches!(&refusal, ScriptRefusal::InvalidField { field, .. } if field == "file")
            );
            assert!(Script::new(draft(kind, None)).is_ok());
        }
        assert!(Script::new(draft(ScriptKind::Script, Some("1"))).is_ok());
    }

    #[test]
    fn typescript_is_no_plain_script() {
        let of = |language, name: &str| {
            let script = Script::new(ScriptDraft {
                file: Some(Source {
                    file_name: name.to_owned(),
                    text: "1".to_owned(),
                }),
                language,
                ..ScriptDraft::default()
            });
            script.unwrap().is_plain()
        };
        assert!(of(Language::JavaScript, "a.js") && of(Language::JavaScript, "a"));
        assert!(!of(Language::TypeScript, "a"));
        assert!(!of(Language::JavaScript, "a.ts") && !of(Language::JavaScript, "a.mts"));
    }

    #[test]
    fn a_plain_script_is_stored_as_earlier_versions_stored_it() {
        let script = Script::new(ScriptDraft {
            code: Some("1".to_owned()),
            ..ScriptDraft::default()
        });
        let stored = r#"{"sources":[{"file_name":"code","text":"1"}],"globals":[],"seed":null}"#;
        let script = script.unwrap();
        assert!(script.is_plain());
        assert_eq!(serde_json::to_string(&script).unwrap(), stored);
        assert_eq!(serde_json::from_str::<Script>(stored).unwrap(), script);
    }
}

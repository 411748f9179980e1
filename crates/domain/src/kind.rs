//! Kind and language of a script.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Kind of script: how its last source is read, and what its result is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ScriptKind {
    /// A script. Its completion value is the result.
    #[default]
    Script,
    /// The body of an async function. The result is what it returns.
    Function,
    /// An ES module. The result is its default export: a value, or a function that is called with `input`.
    Module,
}

impl ScriptKind {
    pub const ALL: [Self; 3] = [Self::Script, Self::Function, Self::Module];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Script => "script",
            Self::Function => "function",
            Self::Module => "module",
        }
    }

    pub fn is_script(&self) -> bool {
        *self == Self::Script
    }
}

/// Language of a script: of each of its texts whose name has no ending of another language.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    #[default]
    JavaScript,
    /// TypeScript that can be erased: its types are blanked before it runs.
    TypeScript,
}

impl Language {
    pub const ALL: [Self; 2] = [Self::JavaScript, Self::TypeScript];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::JavaScript => "javascript",
            Self::TypeScript => "typescript",
        }
    }

    pub fn is_javascript(&self) -> bool {
        *self == Self::JavaScript
    }

    /// Returns the language that the ending of a file's name means; `None` if the ending says nothing.
    ///
    /// ```
    /// use sandpiper_domain::Language;
    /// assert_eq!(Language::of_ending("./lib/util.ts"), Some(Language::TypeScript));
    /// assert_eq!(Language::of_ending("main.mjs"), Some(Language::JavaScript));
    /// assert_eq!(Language::of_ending("lodash"), None);
    /// ```
    pub fn of_ending(name: &str) -> Option<Self> {
        let (_, ending) = name.rsplit_once('.')?;
        match ending {
            "ts" | "mts" => Some(Self::TypeScript),
            "js" | "mjs" => Some(Self::JavaScript),
            _ => None,
        }
    }
}

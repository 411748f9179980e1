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

/// Language of all texts of a script.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    #[default]
    JavaScript,
    TypeScript,
}

impl Language {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::JavaScript => "javascript",
            Self::TypeScript => "typescript",
        }
    }

    pub fn is_javascript(&self) -> bool {
        *self == Self::JavaScript
    }
}

//! The example scripts: read from their folder once, at start, and then known by name only.
//!
//! A client names a script and never a path: what is not in the list does not exist. Knows `domain` and the file system.

use sandpiper_domain::{Script, Source};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Most example scripts.
const SCRIPTS_MAX: usize = 1_000;
/// What opens the first line: what running the script gives, for its test.
const EXPECT_PREFIX: &str = "// expect:";

/// One example script.
#[derive(Debug, Clone)]
pub struct ExampleScript {
    /// Its file name and text.
    pub source: Source,
    /// What its first line promises.
    pub expect: String,
    /// What it shows: the comment lines below the first.
    pub description: String,
}

/// All of them, by name.
#[derive(Debug, Default)]
pub struct ScriptLibrary(BTreeMap<String, ExampleScript>);

/// The folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScriptLibraryError {
    /// A file or the folder could not be read.
    #[error("{path} cannot be read: {cause}")]
    Unreadable {
        /// What.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A script breaks a rule.
    #[error("{path}: {rule}")]
    Unfit {
        /// Which.
        path: PathBuf,
        /// Which rule.
        rule: String,
    },
}

impl ScriptLibrary {
    /// Reads every `*.js` of `folder`.
    pub fn load(folder: &Path) -> Result<Self, ScriptLibraryError> {
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |cause| ScriptLibraryError::Unreadable { path, cause }
        };
        let mut scripts = BTreeMap::new();
        for entry in fs::read_dir(folder).map_err(unreadable(folder))? {
            let path = entry.map_err(unreadable(folder))?.path();
            if path.extension().is_none_or(|extension| extension != "js") {
                continue;
            }
            let unfit = |rule: String| ScriptLibraryError::Unfit {
                path: path.clone(),
                rule,
            };
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                return Err(unfit("its name must be text".to_owned()));
            };
            let text = fs::read_to_string(&path).map_err(unreadable(&path))?;
            scripts.insert(name.to_owned(), example(name, text).map_err(unfit)?);
            if scripts.len() > SCRIPTS_MAX {
                return Err(unfit(format!("the most scripts are {SCRIPTS_MAX}")));
            }
        }
        Ok(Self(scripts))
    }

    /// The script of exactly this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&ExampleScript> {
        self.0.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &ExampleScript> {
        self.0.values()
    }
}

fn example(name: &str, text: String) -> Result<ExampleScript, String> {
    if text.len() > Script::CODE_BYTES_MAX {
        return Err(format!(
            "it has {} bytes; the most is {}",
            text.len(),
            Script::CODE_BYTES_MAX
        ));
    }
    if text.contains('\0') {
        return Err("it has a NUL character".to_owned());
    }
    let mut lines = text.lines();
    let expect = lines
        .next()
        .and_then(|first| first.strip_prefix(EXPECT_PREFIX))
        .map(|expect| expect.trim().to_owned())
        .ok_or_else(|| format!("its first line must begin with `{EXPECT_PREFIX}`"))?;
    let description: Vec<&str> = lines
        .map_while(|line| line.strip_prefix("//"))
        .map(str::trim)
        .collect();
    let description = description.join(" ");
    Ok(ExampleScript {
        source: Source {
            file_name: name.to_owned(),
            text,
        },
        expect,
        description,
    })
}

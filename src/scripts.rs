//! The example scripts: built into the program, or read once, at the start, from a folder of the operator.
//!
//! A client gives the name of a script and never a path: a name that is not in the library does not exist.

use sandpiper_domain::{Script, Source};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

const SCRIPTS_MAX: usize = 1_000;
/// Start of the first line, before the expected result that a test compares.
const EXPECT_PREFIX: &str = "// expect:";

macro_rules! built_in {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../example-scripts/", $name)))),*]
    };
}

/// The scripts of `example-scripts`, by file name.
const BUILT_IN: [(&str, &str); 12] = built_in![
    "async.js",
    "error.js",
    "fibonacci.js",
    "formula.js",
    "grader.js",
    "infinite.js",
    "log.js",
    "memory.js",
    "pi.js",
    "random.js",
    "simple.js",
    "transform.js",
];

#[derive(Debug, Clone)]
pub struct ExampleScript {
    pub source: Source,
    /// The expected result, from the first line.
    pub expect: String,
    /// The description: the comment lines below the first.
    pub description: String,
}

#[derive(Debug, Default)]
pub struct ScriptLibrary(BTreeMap<String, ExampleScript>);

/// The error of a folder that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScriptLibraryError {
    #[error("{path} cannot be read: {cause}")]
    Unreadable { path: PathBuf, cause: io::Error },
    #[error("{path}: {rule}")]
    Invalid { path: PathBuf, rule: String },
}

impl ScriptLibrary {
    /// Returns the scripts of `folder`, or the built-in ones.
    pub fn open(folder: Option<&Path>) -> Result<Self, ScriptLibraryError> {
        folder.map_or_else(Self::built_in, Self::load)
    }

    fn built_in() -> Result<Self, ScriptLibraryError> {
        let scripts = BUILT_IN.into_iter().map(|(name, text)| {
            let script = example(name, text.to_owned());
            let script = script.map_err(|rule| ScriptLibraryError::Invalid {
                path: name.into(),
                rule,
            })?;
            Ok((name.to_owned(), script))
        });
        scripts.collect::<Result<_, _>>().map(Self)
    }

    /// Reads every `*.js` of `folder`.
    fn load(folder: &Path) -> Result<Self, ScriptLibraryError> {
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
            let invalid = |rule: String| ScriptLibraryError::Invalid {
                path: path.clone(),
                rule,
            };
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                return Err(invalid("its name must be text".to_owned()));
            };
            let text = fs::read_to_string(&path).map_err(unreadable(&path))?;
            scripts.insert(name.to_owned(), example(name, text).map_err(invalid)?);
            if scripts.len() > SCRIPTS_MAX {
                return Err(invalid(format!("the most scripts are {SCRIPTS_MAX}")));
            }
        }
        Ok(Self(scripts))
    }

    /// Returns the script with exactly this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&ExampleScript> {
        self.0.get(name)
    }

    pub fn iter(&self) -> impl Iterator<Item = &ExampleScript> {
        self.0.values()
    }
}

/// Reads an example script, or returns the rule that it breaks.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_of_the_folder_is_built_in() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("example-scripts");
        let in_folder = ScriptLibrary::load(&folder).unwrap();
        let built_in = ScriptLibrary::built_in().unwrap();
        let names = |library: &ScriptLibrary| library.0.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&built_in), names(&in_folder));
    }
}

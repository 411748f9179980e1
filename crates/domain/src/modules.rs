//! The names of modules: the rules for a name, and the name that an import means.

use super::script_checks::invalid;
use super::{Script, ScriptRefusal, Source};
use std::collections::HashSet;

/// Start of the names of the service's own files.
const RESERVED_START: &str = "sandpiper:";

/// Checks number and names of the modules of a script with these sources.
pub(super) fn check_modules(modules: &[Source], sources: &[Source]) -> Result<(), ScriptRefusal> {
    if modules.len() > Script::MODULES_MAX {
        let detail = format!(
            "`modules` has {} entries; the most is {}",
            modules.len(),
            Script::MODULES_MAX
        );
        return Err(invalid("modules", detail));
    }
    let own_names = [
        Script::CODE_FILE_NAME,
        Script::SOURCE_FILE_NAME,
        Script::PRELUDE_FILE_NAME,
    ];
    let mut names = HashSet::new();
    for Source { file_name, .. } in modules {
        check_name(file_name)?;
        let field = field_of(file_name);
        let is_source = sources.iter().any(|source| source.file_name == *file_name);
        if is_source || own_names.contains(&file_name.as_str()) {
            let detail = format!("`{field}`: this is the name of a text of the script itself");
            return Err(invalid(&field, detail));
        }
        if !names.insert(file_name.as_str()) {
            let detail = format!("`modules` has two modules of the name \"{file_name}\"");
            return Err(invalid(&field, detail));
        }
    }
    Ok(())
}

pub(super) fn text_bytes_of(sources: &[Source]) -> usize {
    sources.iter().map(|source| source.text.len()).sum()
}

fn field_of(name: &str) -> String {
    format!("modules.{name}")
}

fn check_name(name: &str) -> Result<(), ScriptRefusal> {
    let refused = |says: &str| {
        let shown: String = name.chars().take(100).collect();
        let detail = format!("`modules`: the name {shown:?} {says}");
        Err(invalid("modules", detail))
    };
    if name.is_empty() || name.len() > Script::MODULE_NAME_BYTES_MAX {
        return refused(&format!(
            "must have 1 to {} bytes",
            Script::MODULE_NAME_BYTES_MAX
        ));
    }
    let is_unfit =
        |character: char| character.is_whitespace() || character.is_control() || character == '\\';
    if name.contains(is_unfit) {
        return refused("must not contain spaces, control characters or backslashes");
    }
    if name.starts_with(RESERVED_START) {
        return refused("is reserved: it begins with \"sandpiper:\"");
    }
    let meant = resolve("", name);
    if meant != name {
        return refused(&format!("can never be imported; write it as {meant:?}"));
    }
    Ok(())
}

/// Returns the name of the module that `specifier` means in the module `importer`.
///
/// `./` and `../` are resolved against the importer's name, as URLs are; `../` never leads out of the top folder. Any
/// other specifier is a name as it stands. The names of modules are compared with the result.
///
/// ```
/// use sandpiper_domain::resolve_module;
/// assert_eq!(resolve_module("code", "./util.js"), "./util.js");
/// assert_eq!(resolve_module("./lib/a.js", "../util.js"), "./util.js");
/// assert_eq!(resolve_module("pkg/index.js", "./util.js"), "pkg/util.js");
/// assert_eq!(resolve_module("./lib/a.js", "lodash"), "lodash");
/// ```
pub fn resolve(importer: &str, specifier: &str) -> String {
    if !specifier.starts_with("./") && !specifier.starts_with("../") {
        return specifier.to_owned();
    }
    let folder = importer.rsplit_once('/').map_or("", |(folder, _)| folder);
    let is_relative = matches!(folder, "" | ".") || folder.starts_with("./");
    let mut path: Vec<&str> = folder
        .split('/')
        .filter(|part| !is_relative || !matches!(*part, "" | "."))
        .collect();
    for part in specifier.split('/') {
        match part {
            "." => {}
            ".." => drop(path.pop()),
            part => path.push(part),
        }
    }
    let path = path.join("/");
    if is_relative {
        format!("./{path}")
    } else {
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ScriptDraft, ScriptKind};

    fn module(name: &str, text: &str) -> Source {
        Source {
            file_name: name.to_owned(),
            text: text.to_owned(),
        }
    }

    fn with(modules: Vec<Source>) -> Result<Script, ScriptRefusal> {
        Script::new(ScriptDraft {
            code: Some("1".to_owned()),
            kind: ScriptKind::Module,
            modules,
            ..ScriptDraft::default()
        })
    }

    #[test]
    fn a_specifier_is_resolved_as_a_url_is() {
        for (importer, specifier, meant) in [
            ("code", "./a.js", "./a.js"),
            ("./a.js", "./b.js", "./b.js"),
            ("./lib/a.js", "./b.js", "./lib/b.js"),
            ("./lib/a.js", "../b.js", "./b.js"),
            ("./lib/deep/a.js", "../../b.js", "./b.js"),
            ("./a.js", "../../b.js", "./b.js"),
            ("./a.js", "./x/../b.js", "./b.js"),
            ("./a.js", "./x/./b.js", "./x/b.js"),
            ("lodash", "./b.js", "./b.js"),
            ("@scope/pkg/index.js", "./b.js", "@scope/pkg/b.js"),
            ("@scope/pkg/index.js", "../b.js", "@scope/b.js"),
            ("https://esm.sh/x/y.js", "../z.js", "https://esm.sh/z.js"),
            ("./a.js", "lodash/fp", "lodash/fp"),
            ("./a.js", "/b.js", "/b.js"),
            ("./lib/a.js", "", ""),
        ] {
            assert_eq!(
                resolve(importer, specifier),
                meant,
                "{importer} {specifier}"
            );
        }
    }

    #[test]
    fn a_name_that_no_import_could_mean_is_refused_with_the_right_one() {
        for (name, right) in [
            ("../a.js", "\"./a.js\""),
            ("./x/../a.js", "\"./a.js\""),
            ("././a.js", "\"./a.js\""),
        ] {
            let refusal = with(vec![module(name, "")]).unwrap_err().to_string();
            assert!(refusal.contains(right), "{refusal}");
        }
        for name in [
            "./a.js",
            "lodash",
            "@scope/pkg/x",
            "./(group)/[id].js",
            "é",
            "node:fs",
            "..x",
            "a/../b",
        ] {
            assert!(with(vec![module(name, "")]).is_ok(), "{name}");
        }
    }

    #[test]
    fn other_bad_names_are_refused() {
        let long = format!("./{}", "a".repeat(255));
        for name in [
            "",
            "a b",
            "a\nb",
            "a\\b",
            "a\0b",
            "\u{a0}",
            "code",
            "source",
            "prelude",
            "sandpiper:x",
            &long,
        ] {
            assert!(with(vec![module(name, "")]).is_err(), "{name:?} was taken");
        }
    }

    #[test]
    fn two_modules_of_one_name_are_refused() {
        let refusal = with(vec![module("./a.js", "1"), module("./a.js", "1")]).unwrap_err();
        assert!(
            matches!(&refusal, ScriptRefusal::InvalidField { field, .. } if field == "modules../a.js"),
            "{refusal:?}"
        );
    }

    #[test]
    fn number_and_bytes_of_modules_are_bounded() {
        let many = |count: usize| {
            (0..count)
                .map(|index| module(&format!("m{index}"), ""))
                .collect()
        };
        assert!(with(many(256)).is_ok());
        let refusal = with(many(1000)).unwrap_err().to_string();
        assert!(
            refusal.contains("1000") && refusal.contains("256"),
            "{refusal}"
        );
        let half = " ".repeat(Script::CODE_BYTES_MAX / 2);
        assert!(with(vec![module("a", &half)]).is_ok());
        let refusal = with(vec![module("a", &half), module("b", &half)]).unwrap_err();
        assert!(
            matches!(refusal, ScriptRefusal::TogetherTooLarge { bytes, .. } if bytes == 1 + (1 << 20))
        );
    }
}

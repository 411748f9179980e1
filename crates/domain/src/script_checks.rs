//! The rules for the parts of a script.

use super::{Global, JsonText, Script, ScriptRefusal};

pub(super) fn check_code(field: &'static str, code: &str) -> Result<(), ScriptRefusal> {
    if code.len() > Script::CODE_BYTES_MAX {
        return Err(ScriptRefusal::CodeTooLarge {
            field,
            bytes: code.len(),
            most: Script::CODE_BYTES_MAX,
        });
    }
    Ok(())
}

pub(super) fn check_global(global: &Global) -> Result<(), ScriptRefusal> {
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

pub(super) fn check_depth(field: &str, value: &JsonText) -> Result<(), ScriptRefusal> {
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

pub(super) fn invalid(field: &str, detail: String) -> ScriptRefusal {
    ScriptRefusal::InvalidField {
        field: field.to_owned(),
        detail,
    }
}

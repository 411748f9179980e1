//! Texts that do not parse because they are of another kind.

use sandpiper_domain::ScriptKind;

const MODULE_NEEDED: &str = "`import` and `export` need a module: send the code with \"kind\": \"module\" (`await import(…)` works in every kind)";
const RETURN_IN_SCRIPT: &str = "`return` needs a function: send the code with \"kind\": \"function\", or leave `return` out, because the last value is the result";
const RETURN_IN_MODULE: &str =
    "`return` needs a function: the result of a module is its `export default`";

/// Returns a hint for a text of this kind that does not parse at `column` of `line`.
pub(super) fn hint_for(
    kind: ScriptKind,
    line: &str,
    column: u32,
    message: &str,
) -> Option<&'static str> {
    let column = usize::try_from(column).ok()?.checked_sub(1)?;
    let at_error: String = line.chars().skip(column).take(16).collect();
    if after_word(&at_error, "return").is_some() || message.starts_with("return ") {
        return match kind {
            ScriptKind::Script => Some(RETURN_IN_SCRIPT),
            ScriptKind::Module => Some(RETURN_IN_MODULE),
            ScriptKind::Function => None,
        };
    }
    let is_meant = is_of_module(line.trim_start()) || is_of_module(&at_error);
    (kind != ScriptKind::Module && is_meant).then_some(MODULE_NEEDED)
}

/// Returns whether `text` begins with a declaration of a module. `import(…)` is none.
fn is_of_module(text: &str) -> bool {
    let imported = after_word(text, "import").filter(|rest| !rest.trim_start().starts_with('('));
    imported.is_some() || after_word(text, "export").is_some()
}

/// Returns the rest of `text` if it begins with this word.
fn after_word<'t>(text: &'t str, word: &str) -> Option<&'t str> {
    let rest = text.strip_prefix(word)?;
    let next = rest.chars().next();
    let goes_on = next.is_some_and(|next| next.is_alphanumeric() || matches!(next, '_' | '$'));
    (!goes_on).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn import_as_a_function_is_no_declaration() {
        assert!(is_of_module("import x from 'y'"));
        assert!(is_of_module("import.meta.url"));
        assert!(is_of_module("export {}"));
        assert!(!is_of_module("import('y') z"));
        assert!(!is_of_module("imports z"));
    }
}

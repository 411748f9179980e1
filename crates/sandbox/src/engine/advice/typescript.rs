//! TypeScript, recognized in a text that is no JavaScript.

use super::super::host::Host;
use super::tokens::{Kind, Token, tokens};
use sandpiper_domain::ScriptError;

const IMPORT_OF_TYPE_HINT: &str = "The name is that of a type, which is erased. Import it with `import type`, or with `type` before the name";
const EXPORT_OF_TYPE_HINT: &str = "The name is that of a type, which is erased. Export it with `export type`, or with `type` before the name";

/// Returns a hint for an import or an export of a name that a text in TypeScript has only as a type.
pub(super) fn hint_for_export(host: &Host, error: &ScriptError) -> Option<&'static str> {
    let quoted: Vec<&str> = error.message.split('\'').skip(1).step_by(2).collect();
    let is_export = error.message.starts_with("exported variable");
    let (name, file, hint) = match quoted.as_slice() {
        [name] if is_export => (name, error.file_name.as_deref()?, EXPORT_OF_TYPE_HINT),
        [name, module] if !is_export => (name, *module, IMPORT_OF_TYPE_HINT),
        _ => return None,
    };
    if error.name != "SyntaxError" || host.language_of(file).is_javascript() {
        return None;
    }
    let source = host.source(file).filter(|text| super::is_short(text))?;
    declares_type(source, name).then_some(hint)
}

fn declares_type(source: &str, name: &str) -> bool {
    let tokens = tokens(source);
    tokens
        .windows(2)
        .any(|pair| (pair[0].is("interface") || pair[0].is("type")) && pair[1].is(name))
}

/// Returns whether a text that does not parse looks like TypeScript.
pub(super) fn is_likely(source: &str) -> bool {
    let tokens = tokens(source);
    (0..tokens.len()).any(|index| is_sign(&tokens, index))
}

/// Returns whether TypeScript, and not JavaScript, has what begins at `index`.
fn is_sign(tokens: &[Token<'_>], index: usize) -> bool {
    let at = |offset: usize| tokens.get(index + offset);
    let is = |offset: usize, text: &str| at(offset).is_some_and(|token| token.is(text));
    let is_word = |offset: usize| at(offset).is_some_and(|token| token.kind == Kind::Word);
    let before = index.checked_sub(1).map(|before| tokens[before]);
    if before.is_some_and(|before| before.is(".") || before.is("?.")) {
        return false;
    }
    match tokens[index].text {
        "interface" => is_word(1) && (is(2, "{") || is(2, "extends") || is(2, "<")),
        "type" => is_word(1) && (is(2, "=") || is(2, "<")),
        "enum" | "namespace" => is_word(1) && is(2, "{"),
        "declare" | "abstract" => is_word(1),
        "const" | "let" | "var" => is_word(1) && is(2, ":"),
        "private" | "public" | "protected" | "readonly" => is_word(1),
        "as" => {
            let follows_value = before.is_some_and(|before| {
                before.kind != Kind::Punctuator || matches!(before.text, ")" | "]" | "}")
            });
            follows_value && is_word(1) && !in_import(tokens, index)
        }
        "satisfies" => before.is_some_and(|before| before.is("}")) && is_word(1),
        // A parameter with a type, and a function with a type of its result.
        "(" => is_word(1) && (is(2, ":") || (is(2, "?") && is(3, ":"))),
        ")" => is(1, ":") && is_word(2) && (is(3, "{") || is(3, "=>") || is(3, "<") || is(3, "[")),
        _ => false,
    }
}

/// Returns whether the token stands in the braces of an import or an export, where JavaScript has `as` too.
fn in_import(tokens: &[Token<'_>], index: usize) -> bool {
    let mut before = tokens[..index].iter().rev();
    let ends = before.find(|token| {
        [";", "import", "export", "=", "("]
            .iter()
            .any(|end| token.is(end))
    });
    ends.is_some_and(|token| token.is("import") || token.is("export"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typescript_is_recognized() {
        for source in [
            "interface Row { id: number }\nconst r: Row = { id: 1 };\nr.id",
            "type Name = string",
            "const x: number = 1",
            "function f(a: string, b = 2) { return a }",
            "const f = (a?: string) => a",
            "function f(a): number { return 1 }",
            "const x = y as string",
            "enum Colour { Red }",
            "class A { private x = 1 }",
            "const a = {} satisfies B",
            "let rows = JSON.parse(text) as Row[]",
        ] {
            assert!(is_likely(source), "{source}");
        }
    }

    #[test]
    fn javascript_is_not_taken_for_typescript() {
        for source in [
            "const type = 1, as = 2; type + as",
            "({ interface: 1, type: 2, enum: 3 }).type",
            "import { a as b } from 'c'; export { b as d }",
            "a ? (b) : c; x.private; 'const x: number'",
            "switch (a) { case (b): c(); default: d }",
            "let o = { a: 1, b: { c: (d) } }; label: for (;;) {}",
            "/* interface Row { id: number } */ const f = (a, b) => ({ a: b })",
        ] {
            assert!(!is_likely(source), "{source}");
        }
    }
}

//! TypeScript, recognized in a text that is no JavaScript.

use super::tokens::{Kind, Token, tokens};

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

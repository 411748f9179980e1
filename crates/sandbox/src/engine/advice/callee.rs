//! The name of the thing that is not a function, which the engine does not tell.
//!
//! The position of such an error is the last one that the engine noted before the call: the name before the bracket, or
//! the last variable among the arguments. Several calls can share it (`f(g(1))`). Then none is named, unless all but one
//! are certainly calls of functions.

use super::structure::{Structure, partners, reads_variable};
use super::tokens::{Kind, Token, tokens};

/// Longest expression that a message repeats, bytes.
const EXPRESSION_BYTES_MAX: usize = 80;
/// Objects and functions of the language: a call through them that is spelled right calls a function.
const BUILT_IN: &[&str] = &[
    "Array",
    "Boolean",
    "JSON",
    "Math",
    "Number",
    "Object",
    "Promise",
    "Reflect",
    "String",
    "console",
    "isNaN",
    "parseFloat",
    "parseInt",
    "setTimeout",
];
/// Words before a bracket that do not make it a call.
const NO_CALLEES: &[&str] = &[
    "if", "for", "while", "switch", "catch", "with", "return", "function", "typeof", "of", "in",
    "await",
];

/// Returns the expression whose call at the position `known` failed, if there is only one such call.
pub(super) fn at(source: &str, known: usize) -> Option<String> {
    let tokens = tokens(source);
    let mut index = tokens.iter().position(|token| token.end() > known)?;
    if tokens[index].kind == Kind::Punctuator {
        // In the first line the engine counts columns from 0.
        index += 1;
    }
    let calls = Calls {
        partners: partners(&tokens),
        structure: Structure::of(&tokens),
        tokens: &tokens,
    };
    let mut candidates = (0..tokens.len())
        .filter(|open| calls.can_fail_at(*open, index))
        .map(|open| calls.callee(source, open))
        .filter(|callee| !calls.is_surely_function(callee));
    let callee = candidates.next()?;
    let is_only = candidates.next().is_none();
    is_only.then(|| shortened(callee))
}

struct Calls<'a> {
    tokens: &'a [Token<'a>],
    partners: Vec<Option<usize>>,
    structure: Structure,
}

impl Calls<'_> {
    /// Returns whether the bracket at `open` is a call, and the position of its failure the token at `index`.
    fn can_fail_at(&self, open: usize, index: usize) -> bool {
        let Some(close) = self.partners[open].filter(|close| *close > open) else {
            return false;
        };
        let is_callee = self.tokens[open].is("(")
            && open > 0
            && ends_callee(&self.tokens[open - 1])
            && !self
                .tokens
                .get(close + 1)
                .is_some_and(|next| next.is("{") || next.is("=>"));
        if !is_callee || self.structure.function_of(open) != self.structure.function_of(index) {
            return false;
        }
        let is_argument = open < index && index < close;
        let is_in_callee = self.callee_start(open) <= index
            && index < open
            && !(index + 1..open).any(|behind| self.tokens[behind].kind == Kind::Word);
        (is_argument || is_in_callee) && self.last_position_is_before(index, close)
    }

    /// Returns whether the engine notes no position behind the token at `index` before the bracket at `close`.
    fn last_position_is_before(&self, index: usize, close: usize) -> bool {
        let function = self.structure.function_of(index);
        !(index + 1..close).any(|behind| {
            self.structure.function_of(behind) == function && reads_variable(self.tokens, behind)
        })
    }

    /// Returns the expression before the bracket at `open`.
    fn callee<'a>(&self, source: &'a str, open: usize) -> &'a str {
        let start = self.callee_start(open);
        &source[self.tokens[start].start..self.tokens[open - 1].end()]
    }

    /// Returns the first token of the expression before the bracket at `open`.
    fn callee_start(&self, open: usize) -> usize {
        let mut start = open - 1;
        loop {
            if let Some(partner) = self.partners[start].filter(|partner| *partner < start) {
                start = partner;
            }
            let Some(before) = start.checked_sub(1) else {
                return start;
            };
            let is_bracket = self.tokens[start].kind == Kind::Punctuator;
            if self.tokens[before].is(".") || self.tokens[before].is("?.") {
                start = before.saturating_sub(1);
            } else if is_bracket && ends_callee(&self.tokens[before]) {
                start = before;
            } else {
                return start;
            }
        }
    }

    fn is_surely_function(&self, callee: &str) -> bool {
        let root = callee.split(['.', '[', '(']).next().unwrap_or_default();
        let is_declared = self
            .tokens
            .windows(2)
            .any(|pair| pair[0].is("function") && pair[1].is(callee));
        is_declared || BUILT_IN.contains(&root)
    }
}

fn ends_callee(token: &Token<'_>) -> bool {
    match token.kind {
        Kind::Word => !NO_CALLEES.contains(&token.text),
        Kind::Punctuator => matches!(token.text, ")" | "]"),
        Kind::Number | Kind::Text | Kind::Regexp => false,
    }
}

/// Returns an expression in one line, and the end of a long one.
fn shortened(expression: &str) -> String {
    let line = expression.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.len() <= EXPRESSION_BYTES_MAX {
        return line;
    }
    let from = line.ceil_char_boundary(line.len() - EXPRESSION_BYTES_MAX);
    format!("…{}", &line[from..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(source: &str, known: &str) -> Option<String> {
        at(source, source.rfind(known).unwrap())
    }

    #[test]
    fn the_expression_before_the_bracket_is_named() {
        for (source, known, name) in [
            (
                "const order = { items: [] };\norder.items.sum()",
                "sum",
                "order.items.sum",
            ),
            ("x(1)", "x", "x"),
            ("a.b(c, d)", "d", "a.b"),
            ("rows[0].total()", "total", "rows[0].total"),
            ("f(1).g()", "g", "f(1).g"),
            ("a[0]()", "a", "a[0]"),
            ("rows[i](1)", "i", "rows[i]"),
            ("a?.b()", "b", "a?.b"),
            ("this.run()", "run", "this.run"),
            ("console.log(order.total())", "total", "order.total"),
            (
                "function show(x) {}\nshow(order.total())",
                "total",
                "order.total",
            ),
            ("xs.summ(() => { y() })", "summ", "xs.summ"),
            ("users.forEach(u => u.greet('x', u.n))", "u.n", "u.greet"),
            ("[1].sort((a, b) => a.cmp(b))", "b", "a.cmp"),
            ("a.b(c, (x, y) => x(y))", "c", "a.b"),
            ("a\n  .b\n  .c()", "c", "a .b .c"),
        ] {
            assert_eq!(named(source, known).as_deref(), Some(name), "{source}");
        }
    }

    #[test]
    fn of_several_calls_at_one_place_none_is_named() {
        assert_eq!(named("f(g(1))", "g"), None);
        assert_eq!(named("if (x) {}", "x"), None);
        assert_eq!(named("function f(x) {}", "x"), None);
        assert_eq!(named("", ""), None);
    }

    #[test]
    fn the_end_of_a_long_expression_is_named() {
        let source = format!("{}.end()", ["é"; 60].join("."));
        let name = named(&source, "end").unwrap();
        assert!(name.starts_with('…') && name.ends_with("é.end"), "{name}");
    }
}

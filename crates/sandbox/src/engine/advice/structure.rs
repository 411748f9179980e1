//! Functions and loops of a source, as its tokens suggest.

use super::tokens::{Kind, Token};

/// A loop: the position of its keyword and the end of its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Loop {
    pub(super) start: usize,
    pub(super) end: usize,
    function: usize,
}

/// For each token the function whose body it stands in, 0 being none, and all loops.
#[derive(Debug)]
pub(super) struct Structure {
    functions: Vec<usize>,
    loops: Vec<Loop>,
}

/// Words before a bracket that make the braces behind it a block and no function's body.
const BLOCK_WORDS: &[&str] = &["if", "for", "while", "switch", "catch", "with"];
/// Words of the language that read no variable.
const KEYWORDS: &[&str] = &[
    "async",
    "await",
    "break",
    "case",
    "catch",
    "class",
    "const",
    "continue",
    "debugger",
    "default",
    "delete",
    "do",
    "else",
    "extends",
    "false",
    "finally",
    "for",
    "function",
    "get",
    "if",
    "in",
    "instanceof",
    "let",
    "new",
    "null",
    "of",
    "return",
    "set",
    "static",
    "super",
    "switch",
    "this",
    "throw",
    "true",
    "try",
    "typeof",
    "var",
    "void",
    "while",
    "with",
    "yield",
];

impl Structure {
    pub(super) fn of(tokens: &[Token<'_>]) -> Self {
        let partners = partners(tokens);
        let mut functions = Vec::with_capacity(tokens.len());
        // The functions that are open, innermost last, and for each brace whether it opened one.
        let (mut open, mut braces, mut count) = (vec![0], Vec::new(), 0);
        for (index, token) in tokens.iter().enumerate() {
            if token.is("}") && braces.pop() == Some(true) {
                open.pop();
            }
            functions.push(open.last().copied().unwrap_or_default());
            if token.is("{") {
                let is_body = opens_function(tokens, &partners, index);
                if is_body {
                    count += 1;
                    open.push(count);
                }
                braces.push(is_body);
            }
        }
        let loops =
            (0..tokens.len()).filter_map(|index| loop_at(tokens, &partners, &functions, index));
        Self {
            loops: loops.collect(),
            functions,
        }
    }

    /// Returns the function whose body the token stands in; 0 for none.
    pub(super) fn function_of(&self, index: usize) -> usize {
        self.functions.get(index).copied().unwrap_or_default()
    }

    /// Returns the loops of a function, in the order of the text.
    pub(super) fn loops_of(&self, function: usize) -> impl DoubleEndedIterator<Item = Loop> {
        let loops = self.loops.iter().copied();
        loops.filter(move |one| one.function == function)
    }
}

/// Returns for each bracket the index of the other one of its pair.
pub(super) fn partners(tokens: &[Token<'_>]) -> Vec<Option<usize>> {
    let mut partners = vec![None; tokens.len()];
    let mut open = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        if token.kind != Kind::Punctuator {
            continue;
        }
        match token.text {
            "(" | "[" | "{" => open.push(index),
            ")" | "]" | "}" => {
                if let Some(partner) = open.pop() {
                    partners[partner] = Some(index);
                    partners[index] = Some(partner);
                }
            }
            _ => {}
        }
    }
    partners
}

fn opens_function(tokens: &[Token<'_>], partners: &[Option<usize>], brace: usize) -> bool {
    let Some(before) = brace.checked_sub(1) else {
        return false;
    };
    if tokens[before].is("=>") || tokens[before].is("static") {
        return true;
    }
    let header = tokens[before].is(")").then(|| partners[before]).flatten();
    let Some(word) = header.and_then(|header| header.checked_sub(1)) else {
        return false;
    };
    let word = if tokens[word].is("await") {
        word.saturating_sub(1)
    } else {
        word
    };
    !BLOCK_WORDS.iter().any(|block| tokens[word].is(block))
}

/// Returns the loop whose keyword is the token at `index`.
fn loop_at(
    tokens: &[Token<'_>],
    partners: &[Option<usize>],
    functions: &[usize],
    index: usize,
) -> Option<Loop> {
    let token = tokens[index];
    let before = index.checked_sub(1).map(|before| tokens[before]);
    if before.is_some_and(|before| before.is(".") || before.is("?.")) {
        return None;
    }
    let next_is = |at: usize, text: &str| tokens.get(at).is_some_and(|token| token.is(text));
    let body = if token.is("do") {
        next_is(index + 1, "{").then_some(index + 1)?
    } else if token.is("while") || token.is("for") {
        if token.is("while") && ends_do(tokens, partners, index) {
            return None;
        }
        let header = index + 1 + usize::from(next_is(index + 1, "await"));
        let header = next_is(header, "(").then_some(header)?;
        partners[header]? + 1
    } else {
        return None;
    };
    let end = if next_is(body, "{") {
        partners[body].map(|end| tokens[end].end())
    } else {
        let end = tokens
            .iter()
            .skip(body)
            .find(|token| token.is(";") || token.is("}"));
        end.map(Token::end)
    };
    Some(Loop {
        start: token.start,
        end: end.unwrap_or(usize::MAX),
        function: functions[index],
    })
}

/// Returns whether the `while` at `index` is the end of a `do`.
fn ends_do(tokens: &[Token<'_>], partners: &[Option<usize>], index: usize) -> bool {
    let brace = index.checked_sub(1).filter(|brace| tokens[*brace].is("}"));
    let opened = brace.and_then(|brace| partners[brace]);
    opened.is_some_and(|opened| opened > 0 && tokens[opened - 1].is("do"))
}

/// Returns whether the token reads a variable, so that the engine knows its position.
pub(super) fn reads_variable(tokens: &[Token<'_>], index: usize) -> bool {
    let token = tokens[index];
    if token.kind != Kind::Word || KEYWORDS.contains(&token.text) {
        return false;
    }
    let before = index.checked_sub(1).map(|before| tokens[before]);
    let is_named_here = before.is_some_and(|before| {
        [".", "?.", "const", "let", "var", "function", "class"]
            .iter()
            .any(|word| before.is(word))
    });
    !is_named_here
}

#[cfg(test)]
mod tests {
    use super::super::tokens::tokens;
    use super::*;

    #[test]
    fn loops_belong_to_the_function_around_them() {
        let source = "for (;;) { xs.map((x) => { while (x) x--; }); }\nclass A { run() { do { a(); } while (b); } }";
        let tokens = tokens(source);
        let structure = Structure::of(&tokens);
        let starts = |function| {
            let loops = structure.loops_of(function);
            let starts: Vec<&str> = loops.map(|one| &source[one.start..][..3]).collect();
            starts
        };
        assert_eq!(starts(0), ["for"]);
        assert_eq!(starts(1), ["whi"]);
        assert_eq!(starts(2), ["do "]);
    }

    #[test]
    fn a_loop_ends_with_its_body() {
        let source = "while (a) { b } for (const x of y) z(x); c";
        let tokens = tokens(source);
        let structure = Structure::of(&tokens);
        let bodies: Vec<&str> = structure
            .loops_of(0)
            .map(|one| &source[one.start..one.end])
            .collect();
        assert_eq!(bodies, ["while (a) { b }", "for (const x of y) z(x);"]);
    }

    #[test]
    fn any_brackets_have_a_structure() {
        for source in [
            "}",
            "{",
            "){",
            "for",
            "while(",
            "do{",
            "for(;;",
            "static{",
            "=>{}}}",
            "await ( {",
        ] {
            let tokens = tokens(source);
            drop(Structure::of(&tokens));
        }
    }
}

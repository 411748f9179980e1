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
/// Words that begin a statement and stand in no expression.
const STATEMENT_WORDS: &[&str] = &[
    "break", "const", "continue", "do", "for", "if", "let", "return", "switch", "throw", "try",
    "var", "while",
];
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
        let mut open = OpenFunctions::default();
        for (index, token) in tokens.iter().enumerate() {
            open.pass_end(token);
            functions.push(open.innermost());
            let is_body = token.is("{") && opens_function(tokens, &partners, index);
            if token.is("=>") || is_body {
                mark_parameters(&mut functions, &partners, index, open.next());
            }
            let has_braces = tokens.get(index + 1).is_some_and(|next| next.is("{"));
            if token.is("=>") && !has_braces {
                open.begin_expression();
            }
            open.pass_begin(token, is_body);
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

/// The functions around a token, while the tokens are passed one by one.
#[derive(Default)]
struct OpenFunctions {
    /// Each open function, innermost last. An arrow function without braces has the depth of brackets at its arrow.
    stack: Vec<(usize, Option<usize>)>,
    /// For each open brace, whether it is that of a function.
    braces: Vec<bool>,
    depth: usize,
    count: usize,
}

impl OpenFunctions {
    fn innermost(&self) -> usize {
        self.stack.last().map_or(0, |(function, _)| *function)
    }

    /// Returns the number of the next function.
    fn next(&self) -> usize {
        self.count + 1
    }

    fn begin_expression(&mut self) {
        self.count += 1;
        self.stack.push((self.count, Some(self.depth)));
    }

    /// Closes the functions that end before or with this token.
    fn pass_end(&mut self, token: &Token<'_>) {
        let closes = token.is(")") || token.is("]") || token.is("}");
        if closes {
            self.depth = self.depth.saturating_sub(1);
        }
        let separates = token.is(",") || token.is(";");
        let begins_statement = STATEMENT_WORDS.iter().any(|word| token.is(word));
        while let Some((_, Some(depth))) = self.stack.last() {
            let ends = (closes && self.depth < *depth)
                || (separates && self.depth <= *depth)
                || begins_statement;
            if !ends {
                break;
            }
            self.stack.pop();
        }
        if token.is("}") && self.braces.pop() == Some(true) {
            self.stack.pop();
        }
    }

    /// Opens what begins behind this token.
    fn pass_begin(&mut self, token: &Token<'_>, is_body: bool) {
        if token.is("(") || token.is("[") || token.is("{") {
            self.depth += 1;
        }
        if token.is("{") {
            if is_body {
                self.count += 1;
                self.stack.push((self.count, None));
            }
            self.braces.push(is_body);
        }
    }
}

/// Makes the parameters before an arrow or a body part of the function: they are no variables that are read outside.
fn mark_parameters(
    functions: &mut [usize],
    partners: &[Option<usize>],
    behind: usize,
    function: usize,
) {
    let Some(last) = behind.checked_sub(1) else {
        return;
    };
    let first = partners[last].filter(|first| *first < last).unwrap_or(last);
    for parameter in &mut functions[first..=last] {
        *parameter = function;
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
    fn an_arrow_without_braces_is_a_function_up_to_its_end() {
        let source = "f((a, b) => a(b), c); g = x => y\nlet z; h(function (p) { q })";
        let tokens = tokens(source);
        let structure = Structure::of(&tokens);
        let of = |text: &str| {
            let index = tokens.iter().position(|token| token.is(text));
            structure.function_of(index.unwrap())
        };
        assert_eq!(["f", "c", "g", "z", "h"].map(of), [0; 5]);
        assert_eq!(["a", "b", "x", "y", "p", "q"].map(of), [1, 1, 2, 2, 3, 3]);
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

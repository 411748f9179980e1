//! Places that the engine does not know exactly: it notes a position where a variable is read or a function is called,
//! and nowhere else.

use super::structure::{Loop, Structure, reads_variable};
use super::tokens::{Token, tokens};

/// The place at which a script was interrupted, next to the last position that the engine knows.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Interrupted {
    /// In this loop.
    InLoop(Loop),
    /// In one of several loops, at the known position or behind it.
    AtOrAfter,
    /// At the known position: no loop is near.
    There,
}

/// Returns where a script stands that was interrupted in the function `function`, if the engine knows the position
/// `known` of it.
///
/// The engine asks for an interrupt when it jumps. After a jump back it reports the last position before the loop, and
/// otherwise one inside of it.
pub(super) fn standing(source: &str, known: usize, function: &str) -> Interrupted {
    let tokens = tokens(source);
    let Some(index) = token_at(&tokens, known) else {
        return Interrupted::There;
    };
    let structure = Structure::of(&tokens);
    let body = structure.function_of(index);
    if body == 0 && function != "<eval>" {
        // A function without a body of its own in braces has no loops.
        return Interrupted::There;
    }
    let around = structure
        .loops_of(body)
        .rfind(|one| one.start <= known && known < one.end);
    let next = next_loop(&tokens, &structure, index);
    match (around, next) {
        (None, None) => Interrupted::There,
        (None, Some(one)) | (Some(one), None) => Interrupted::InLoop(one),
        (Some(outer), Some(inner)) if inner.start < outer.end => Interrupted::InLoop(outer),
        (Some(_), Some(_)) => Interrupted::AtOrAfter,
    }
}

/// Returns the next loop of the same function, if no position that the engine knows lies between.
fn next_loop(tokens: &[Token<'_>], structure: &Structure, from: usize) -> Option<Loop> {
    let body = structure.function_of(from);
    let next = structure
        .loops_of(body)
        .find(|one| one.start > tokens[from].start)?;
    let between = (from + 1..tokens.len()).take_while(|index| tokens[*index].start < next.start);
    let mut same_function = between.filter(|index| structure.function_of(*index) == body);
    let is_near = !same_function.any(|index| reads_variable(tokens, index));
    is_near.then_some(next)
}

/// Returns the position of the access that failed with `message`, if it is not the one that the engine knows.
pub(super) fn of_access(source: &str, known: usize, message: &str) -> Option<usize> {
    let tokens = tokens(source);
    let index = token_at(&tokens, known)?;
    let accessed = Accessed::of(message)?;
    let found = accessed.behind(&tokens, index)?;
    Some(tokens[found].start)
}

/// Returns the position of the access that failed with `message` in the fields of a class, if there is only one such
/// access.
pub(super) fn in_fields(source: &str, class: &str, message: &str) -> Option<usize> {
    let tokens = tokens(source);
    let Accessed::Property(name) = Accessed::of(message)? else {
        return None;
    };
    let structure = Structure::of(&tokens);
    let class_at = (1..tokens.len())
        .find(|index| tokens[*index].is(class) && tokens[index - 1].is("class"))?;
    let opens = (class_at..tokens.len()).find(|index| tokens[*index].is("{"))?;
    let body = structure.function_of(opens);
    let mut depth = 0_usize;
    let mut found = None;
    for index in opens..tokens.len() {
        depth += usize::from(tokens[index].is("{"));
        if tokens[index].is("}") {
            depth -= 1;
        }
        if depth == 0 {
            break;
        }
        if is_access(&tokens, index, name) && structure.function_of(index) == body {
            if found.is_some() {
                return None;
            }
            found = Some(tokens[index].start);
        }
    }
    found
}

fn token_at(tokens: &[Token<'_>], known: usize) -> Option<usize> {
    tokens.iter().position(|token| token.end() > known)
}

fn is_access(tokens: &[Token<'_>], index: usize, name: &str) -> bool {
    index > 0 && tokens[index].text == name && tokens[index - 1].is(".")
}

/// The thing that a message of the engine says could not be done.
enum Accessed<'a> {
    Property(&'a str),
    Destructured,
}

impl<'a> Accessed<'a> {
    fn of(message: &'a str) -> Option<Self> {
        if message == "Cannot convert undefined or null to object" {
            return Some(Self::Destructured);
        }
        let verb = ["cannot read property '", "cannot set property '"];
        let rest = verb.iter().find_map(|verb| message.strip_prefix(verb))?;
        let (name, _) = rest.rsplit_once("' of ")?;
        Some(Self::Property(name))
    }

    /// Returns the index of the access behind the token at `from`. The search ends at the next position that the engine
    /// would know.
    fn behind(&self, tokens: &[Token<'_>], from: usize) -> Option<usize> {
        let begins = match self {
            // The position of a function is that of its name. Its parameters are no variables that are read.
            _ if tokens.get(from + 1)?.is("(") && opens_body(tokens, from + 1) => {
                (from..tokens.len()).find(|index| tokens[*index].is("{"))?
            }
            _ => from + 1,
        };
        for index in begins..tokens.len() {
            match self {
                Self::Property(name) if is_access(tokens, index, name) => return Some(index),
                Self::Destructured if is_pattern(tokens, index) => return Some(index),
                _ => {}
            }
            if reads_variable(tokens, index) {
                return None;
            }
        }
        None
    }
}

/// Returns whether the bracket at `index` is closed directly before a brace.
fn opens_body(tokens: &[Token<'_>], index: usize) -> bool {
    let mut depth = 0_usize;
    for at in index..tokens.len() {
        depth += usize::from(tokens[at].is("("));
        if tokens[at].is(")") {
            depth -= 1;
            if depth == 0 {
                return tokens.get(at + 1).is_some_and(|next| next.is("{"));
            }
        }
    }
    false
}

fn is_pattern(tokens: &[Token<'_>], index: usize) -> bool {
    let declares = ["const", "let", "var"];
    index > 0 && tokens[index].is("{") && declares.iter().any(|word| tokens[index - 1].is(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stands(source: &str, known: &str) -> String {
        let standing = standing(source, source.find(known).unwrap(), "<eval>");
        match standing {
            Interrupted::InLoop(one) => source[one.start..][..5].to_owned(),
            Interrupted::AtOrAfter => "at or after".to_owned(),
            Interrupted::There => "there".to_owned(),
        }
    }

    #[test]
    fn a_script_stands_in_the_one_loop_that_is_near() {
        let source = "console.log('a');\nlet n = 0;\nwhile (true) { n += 1 }";
        assert_eq!(stands(source, "log"), "while");
        assert_eq!(stands(source, "n += 1"), "while");
    }

    #[test]
    fn loops_inside_one_another_are_told_by_the_outer_one() {
        let source = "for (const x of xs) { while (true) {} }";
        assert_eq!(stands(source, "xs)"), "for (");
    }

    #[test]
    fn of_two_loops_one_behind_the_other_none_is_named() {
        let source = "for (let i = 0; i < 9; i++) {}\nwhile (true) {}";
        assert_eq!(stands(source, "i++"), "at or after");
    }

    #[test]
    fn a_call_without_a_loop_near_it_is_the_place() {
        assert_eq!(stands("slow(1);\nfast(2);\nwhile (x) {}", "slow"), "there");
        assert_eq!(stands("slow(1);", "slow"), "there");
        let source = "xs.map((x) => { while (x) {} }); slow()";
        assert_eq!(stands(source, "slow"), "there");
        assert_eq!(
            standing("f = (x) => f(x); while (1) {}", 11, "f"),
            Interrupted::There
        );
    }

    fn access<'a>(source: &'a str, known: &str, message: &str) -> Option<&'a str> {
        let found = of_access(source, source.find(known).unwrap(), message)?;
        source[found..].lines().next()
    }

    #[test]
    fn a_failed_access_is_found_behind_the_known_position() {
        let source =
            "class A {\n  run() {\n    const a = 1;\n    return this.y.z;\n  }\n}\nnew A().run();";
        let message = "cannot read property 'z' of undefined";
        assert_eq!(access(source, "run", message), Some("z;"));
        let source = "function f(order) {\n  const c = order.customer;\n\n  const { name } = c;\n}";
        let message = "Cannot convert undefined or null to object";
        assert_eq!(access(source, "order.", message), Some("{ name } = c;"));
    }

    #[test]
    fn a_search_ends_at_the_next_position_that_the_engine_would_know() {
        let message = "cannot read property 'z' of undefined";
        assert_eq!(access("a.b;\nc.z", "a", message), None);
        assert_eq!(access("a.b", "a", "another message"), None);
    }

    #[test]
    fn an_access_in_the_fields_of_a_class_is_found_if_it_is_the_only_one() {
        let source =
            "class R {\n  title = 'x';\n  rows = this.config.rows;\n  f() { this.a.rows }\n}";
        let message = "cannot read property 'rows' of undefined";
        let found = in_fields(source, "R", message).unwrap();
        assert_eq!(&source[found..found + 5], "rows;");
        let twice = source.replace("'x'", "this.b.rows");
        assert_eq!(in_fields(&twice, "R", message), None);
    }
}

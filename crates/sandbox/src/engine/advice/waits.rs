//! The place of a promise that can never settle, or of the wait for it. The engine knows neither.

use super::structure::partners;
use super::tokens::{Kind, Token, tokens};

/// Signs of a wait in vain, the most probable first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    /// `new Promise` with a function that uses none of its parameters.
    Idle,
    /// `new Promise`, or `Promise.withResolvers`.
    Made,
    Await,
}

/// Returns the place, if only one is possible: the name of a text, and a byte of it. `texts` has names and texts.
pub(super) fn one_place<'t>(
    texts: impl Iterator<Item = (&'t str, &'t str)>,
) -> Option<(&'t str, usize)> {
    let mut found = Vec::new();
    for (name, text) in texts {
        let signs = signs_in(text).into_iter();
        found.extend(signs.map(|(sign, at)| (sign, (name, at))));
    }
    for sought in [Sign::Idle, Sign::Made, Sign::Await] {
        let mut places = found.iter().filter(|(sign, _)| *sign == sought);
        if let Some((_, place)) = places.next() {
            return places.next().is_none().then_some(*place);
        }
    }
    None
}

fn signs_in(text: &str) -> Vec<(Sign, usize)> {
    let tokens = tokens(text);
    let partners = partners(&tokens);
    let is = |index: usize, text: &str| tokens.get(index).is_some_and(|token| token.is(text));
    let sign_at = |index: usize| {
        if index > 0 && is(index - 1, ".") {
            return None;
        }
        if is(index, "await") {
            return Some(Sign::Await);
        }
        if is(index, "Promise") && is(index + 1, ".") && is(index + 2, "withResolvers") {
            return Some(Sign::Made);
        }
        if !is(index, "new") || !is(index + 1, "Promise") {
            return None;
        }
        let end = partners.get(index + 2).copied().flatten()?;
        let inside = tokens.get(index + 3..end)?;
        Some(if is_idle(inside) {
            Sign::Idle
        } else {
            Sign::Made
        })
    };
    let signs = (0..tokens.len()).filter_map(|index| Some((sign_at(index)?, tokens[index].start)));
    signs.collect()
}

/// Returns whether the function that these tokens are uses none of its parameters. What is no function may use them.
fn is_idle(function: &[Token<'_>]) -> bool {
    let word = |index: usize, text: &str| function.get(index).is_some_and(|token| token.is(text));
    let mut at = usize::from(word(0, "async"));
    let is_arrow = !word(at, "function");
    if !is_arrow {
        let Some(open) = function.iter().position(|token| token.is("(")) else {
            return false;
        };
        at = open;
    }
    let end = if word(at, "(") {
        let Some(close) = function.iter().position(|token| token.is(")")) else {
            return false;
        };
        close
    } else {
        at
    };
    let (Some(parameters), Some(body)) = (function.get(at..=end), function.get(end + 1..)) else {
        return false;
    };
    if is_arrow && !word(end + 1, "=>") {
        return false;
    }
    let mut names = parameters.iter().filter(|token| token.kind == Kind::Word);
    let is_used = |name: &str| {
        body.iter().any(|token| match token.kind {
            Kind::Word => token.text == name,
            Kind::Text => token.text.starts_with('`') && token.text.contains(name),
            _ => false,
        })
    };
    !names.any(|name| is_used(name.text)) && !is_used("arguments")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<&str> {
        let place = one_place([("code", text)].into_iter());
        place.map(|(_, at)| &text[at..])
    }

    #[test]
    fn the_promise_that_nothing_settles_is_the_place() {
        for text in [
            "new Promise(() => {})",
            "new Promise((resolve) => {})",
            "new Promise(resolve => other(resolved))",
            "new Promise(async (resolve, reject) => { await 1 })",
            "new Promise(function (resolve) { return 1 })",
            "new Promise((resolve) => `${other}`)",
        ] {
            let sleep = "await new Promise((done) => setTimeout(done, 1));\n";
            assert_eq!(found(&format!("{sleep}{sleep}{text}")), Some(text));
        }
    }

    #[test]
    fn the_only_promise_is_the_place_and_then_the_only_wait() {
        let text = "let go; const wait = new Promise((done) => { go = done }); await 1; await wait";
        assert!(found(text).unwrap().starts_with("new Promise"));
        let text = "const { promise } = Promise.withResolvers(); await promise";
        assert!(found(text).unwrap().starts_with("Promise.withResolvers"));
        assert_eq!(
            found("x.await; await import('./a.js')"),
            Some("await import('./a.js')")
        );
    }

    #[test]
    fn of_several_places_none_is_named() {
        for text in [
            "",
            "await a; await b",
            "new Promise((done) => done()); new Promise((done) => later(done))",
            "new Promise(() => {}); new Promise(() => {})",
            "new Promise(executor); new Promise(executor)",
            "new Promise(function () { arguments[0]() }); new Promise((a) => `${a}`)",
            "'new Promise(() => {})' // await",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
        let texts = [("a", "await 1"), ("b", "await 2")];
        assert_eq!(one_place(texts.into_iter()), None);
    }
}

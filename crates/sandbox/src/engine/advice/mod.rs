//! Additions to the engine's own words about an error or a result: the name of what is no function, a better place, and
//! a sentence about the probable mistake.
//!
//! In scope: guesses from the text of the script, made once, when an execution ends. Out of scope: the error itself
//! (`failure`). Nothing here runs guest code, and a wrong guess changes no outcome and no result. Called by `failure`
//! and `execution`.

mod callee;
mod kinds;
mod names;
mod nesting;
mod places;
mod positions;
mod structure;
mod tokens;
mod typescript;
mod waits;

use super::host::Host;
use super::stack::{self, Frame};
use places::Interrupted;
use sandpiper_domain::{Language, ScriptError, ScriptKind, ValueType};

/// Longest source that is looked into, bytes: at the end of an execution there may be little time and memory left.
const SOURCE_BYTES_MAX: usize = 64 * 1024;
/// The beginnings of lines between which Markdown has code.
const FENCES: [&str; 2] = ["```", "~~~"];

const FENCE_HINT: &str =
    "The code stands in a Markdown fence. Send the text between the lines with ``` alone";
const TYPESCRIPT_HINT: &str =
    "The code looks like TypeScript: send it with \"language\": \"typescript\"";
const TYPESCRIPT_FILE_HINT: &str =
    "The text looks like TypeScript: give it a name that ends in `.ts`, not in `.js`";
const CLASS_HINT: &str = "The default export of a module is called with `input`, and it is a class. Export a function that makes an instance, or the instance";
const AWAIT_HINT: &str =
    "`await` works at the top level and in async functions. The function around it needs `async`";

/// Adds the place of a promise that can never settle, or of the wait for it, if only one is possible.
pub(super) fn complete_unsettled(host: &Host, error: &mut ScriptError) {
    let texts = host.texts().filter(|(_, text)| is_short(text));
    if let Some((name, position)) = waits::one_place(texts) {
        place_at(host, error, name, position);
    }
}

/// Adds the place of the deepest brackets to the error of a parser that ran out of stack, if the error has none. `name` is
/// that of the text, if it is known.
pub(super) fn complete_too_deep(host: &Host, error: &mut ScriptError, name: Option<&str>) {
    if error.line_number.is_some() {
        return;
    }
    let texts = host
        .texts()
        .filter(|(own, _)| name.is_none_or(|name| name == *own));
    let deepest = texts
        .filter_map(|(name, text)| nesting::deepest(text).map(|(depth, at)| (depth, name, at)))
        .max_by_key(|(depth, _, _)| *depth);
    if let Some((_, name, position)) = deepest {
        place_at(host, error, name, position);
    }
}

/// Gives an error that has no stack a place.
fn place_at(host: &Host, error: &mut ScriptError, name: &str, position: usize) {
    let Some(source) = host.source(name) else {
        return;
    };
    error.file_name = Some(name.to_owned());
    set_place(error, source, position);
    let (line, column) = positions::place(source, position);
    error.stack = format!("    at {name}:{line}:{column}");
}

/// Completes an error that a script threw.
pub(super) fn complete(host: &Host, error: &mut ScriptError) {
    improve_place(host, error);
    if error.name == "TypeError" && error.message == "not a function" {
        name_callee(host, error);
    }
    if error.hint.is_none() {
        error.hint = hint_for(host, error).map(str::to_owned);
    }
}

/// Adds to the error of a timeout where the script stands. `told` turns an addition into the whole message.
pub(super) fn complete_timeout(
    host: &Host,
    error: &mut ScriptError,
    told: impl FnOnce(&str) -> String,
) {
    // Below a built-in function the position is that of its call, and exact.
    let Some(frame) = stack::first_frame(&error.stack) else {
        return;
    };
    let Some((source, known)) = known_place(host, &frame) else {
        return;
    };
    match places::standing(source, known, &frame.function) {
        Interrupted::There => {}
        Interrupted::AtOrAfter => {
            error.message = told(&format!(", in or after line {}", frame.line));
        }
        Interrupted::InLoop(one) => {
            // The loop and not the known position, which depends on when the engine asked.
            set_place(error, source, one.start);
            let line = positions::place(source, one.start).0;
            error.message = told(&format!(", in the loop of line {line}"));
        }
    }
}

/// Returns a hint for a script that succeeded with the value `json`.
pub(super) fn hint_for_value(host: &Host, value_type: ValueType, json: &str) -> Option<String> {
    match value_type {
        ValueType::Function => uncalled_result(json),
        ValueType::Undefined => {
            let source = host.last_source().filter(|text| is_short(text))?;
            declares_uncalled_main(source).then(|| {
                "`main` is declared, and nothing calls it. End the script with `main()`, or with `await main()`"
                    .to_owned()
            })
        }
        _ => None,
    }
}

/// Returns a hint for a result that is a function. Classes are values too, and get none.
fn uncalled_result(json: &str) -> Option<String> {
    let label = json.strip_prefix("\"[Function")?;
    let name = label
        .strip_prefix(": ")
        .and_then(|label| label.strip_suffix("]\""));
    Some(match name {
        Some(name) => format!(
            "The result is the function `{name}` itself, which nothing has called. End the script with `{name}()`"
        ),
        None => "The result is a function, which nothing has called. Put it in brackets and call it: `(…)()`".to_owned(),
    })
}

/// Returns whether the only word `main` of a text is that of a declaration.
fn declares_uncalled_main(source: &str) -> bool {
    if !source.contains("main") {
        return false;
    }
    let tokens = tokens::tokens(source);
    let mut mentions = (0..tokens.len()).filter(|index| tokens[*index].text.contains("main"));
    let (Some(index), None) = (mentions.next(), mentions.next()) else {
        return false;
    };
    let is_declared = ["const", "let", "var"]
        .iter()
        .any(|word| index > 0 && tokens[index - 1].is(word));
    let behind =
        |steps: usize, word: &str| tokens.get(index + steps).is_some_and(|next| next.is(word));
    let is_function = is_name_of_function(&tokens[..index]);
    let has_function = behind(1, "=")
        && (behind(2, "async") || behind(2, "function") || behind(2, "(") || behind(3, "=>"));
    tokens[index].is("main") && (is_function || (is_declared && has_function))
}

fn improve_place(host: &Host, error: &mut ScriptError) {
    if error.name != "TypeError" {
        return;
    }
    let frames: Vec<Frame> = stack::frames(&error.stack).take(2).collect();
    let Some(first) = frames.first() else { return };
    // The engine knows no position in the fields of a class. The frame below has the name of the class.
    let found = if first.line == 0 {
        frames.get(1).and_then(|class| {
            let source = host
                .source(&first.file_name)
                .filter(|text| is_short(text))?;
            let found = places::in_fields(source, &class.function, &error.message)?;
            Some((source, found))
        })
    } else {
        known_place(host, first).and_then(|(source, known)| {
            let found = places::of_access(source, known, &error.message)?;
            let is_in_other_line = positions::place(source, found).0 != first.line;
            is_in_other_line.then_some((source, found))
        })
    };
    if let Some((source, position)) = found {
        error.file_name = Some(first.file_name.clone());
        set_place(error, source, position);
    }
}

fn name_callee(host: &Host, error: &mut ScriptError) {
    let frame = stack::first_frame(&error.stack);
    let place = frame.as_ref().and_then(|frame| known_place(host, frame));
    if let Some(callee) = place.and_then(|(source, known)| callee::at(source, known)) {
        error.message = format!("{callee} is not a function");
    }
}

fn hint_for(host: &Host, error: &ScriptError) -> Option<&'static str> {
    if error.name == "ReferenceError"
        && let Some(hint) = names::hint_for(&error.message)
    {
        return Some(hint);
    }
    let source = host.source(error.file_name.as_deref()?)?;
    if is_call_of_default_class(host, error) {
        return Some(CLASS_HINT);
    }
    if let Some(hint) = typescript::hint_for_export(host, error) {
        return Some(hint);
    }
    let begins_with_fence = |text: &str| FENCES.iter().any(|fence| text.starts_with(fence));
    if begins_with_fence(source.trim_start()) {
        return Some(FENCE_HINT);
    }
    if !is_of_parser(error) {
        return None;
    }
    if source.lines().any(begins_with_fence) {
        return Some(FENCE_HINT);
    }
    if !is_short(source) {
        return None;
    }
    let name = error.file_name.as_deref()?;
    if host.language_of(name).is_javascript() && typescript::is_likely(source) {
        let has_ending = Language::of_ending(name).is_some();
        return Some(if has_ending {
            TYPESCRIPT_FILE_HINT
        } else {
            TYPESCRIPT_HINT
        });
    }
    let (line, column) = (error.line_number?, error.column_number?);
    let kind = host.kind_of(error.file_name.as_deref()?)?;
    let index = usize::try_from(line).ok()?.checked_sub(1)?;
    if let Some(text) = source.split('\n').nth(index)
        && let Some(hint) = kinds::hint_for(kind, text, column, &error.message)
    {
        return Some(hint);
    }
    let place = positions::offset(source, line, column)?;
    let tokens = tokens::tokens(source);
    let index = tokens.iter().position(|token| token.end() > place)?;
    let stands_at_await =
        |index: usize| tokens[index].is("await") && !is_name_of_function(&tokens[..index]);
    let is_await = stands_at_await(index) || index.checked_sub(1).is_some_and(stands_at_await);
    is_await.then_some(AWAIT_HINT)
}

/// Returns whether `before`, the tokens before a name, make it the name of a function.
fn is_name_of_function(before: &[tokens::Token<'_>]) -> bool {
    match before {
        [.., function, star] if star.is("*") => function.is("function"),
        [.., last] => last.is("function"),
        [] => false,
    }
}

/// Returns whether the error is that of the call of a default export that is a class: no code of the script has called it.
fn is_call_of_default_class(host: &Host, error: &ScriptError) -> bool {
    let is_module = host.main_kind() == ScriptKind::Module;
    is_module
        && error.name == "TypeError"
        && error.message == "class constructors must be invoked with 'new'"
        && stack::frames(&error.stack).count() == 1
}

/// Returns whether the error is of a source that does not parse. Such an error has one frame, of no function.
fn is_of_parser(error: &ScriptError) -> bool {
    let (Some(file), Some(line), Some(column)) =
        (&error.file_name, error.line_number, error.column_number)
    else {
        return false;
    };
    error.name == "SyntaxError" && error.stack.trim_start() == format!("at {file}:{line}:{column}")
}

/// Returns the source of a frame, and the position in it that the engine knows.
fn known_place<'a>(host: &'a Host, frame: &Frame) -> Option<(&'a str, usize)> {
    let source = host
        .source(&frame.file_name)
        .filter(|text| is_short(text))?;
    Some((source, positions::offset(source, frame.line, frame.column)?))
}

fn set_place(error: &mut ScriptError, source: &str, position: usize) {
    let (line, column) = positions::place(source, position);
    error.line_number = Some(line);
    error.column_number = Some(column);
}

fn is_short(source: &str) -> bool {
    source.len() <= SOURCE_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_main_that_nothing_calls_is_seen() {
        for source in [
            "function main() { return 1 }",
            "async function main() {}",
            "const main = async () => {};",
            "let main = function () {}",
            "function* main() {}",
            "const x = 1; // main\nconst main = (a) => a",
        ] {
            assert!(declares_uncalled_main(source), "{source}");
        }
        for source in [
            "function main() {}\nmain()",
            "const main = 1",
            "remain()",
            "`${main}`; function main() {}",
            "",
        ] {
            assert!(!declares_uncalled_main(source), "{source}");
        }
    }

    #[test]
    fn a_result_that_is_a_function_is_told_by_its_name() {
        let hint = uncalled_result("\"[Function: main]\"").unwrap();
        assert!(hint.contains("`main()`"), "{hint}");
        assert!(uncalled_result("\"[Function (anonymous)]\"").is_some());
        assert_eq!(uncalled_result("\"[class A]\""), None);
    }
}

//! Classification of exceptions: the outcome that an exception means, and its form in the API.
//!
//! In scope: classifying thrown values, reading errors without trusting them, clipping. Out of scope: deciding that an
//! execution fails (`execution`, `timers` and `console` do). Guest getters may run while an error is read. Exceptions
//! that they throw are ignored, and the deadline and the memory limit stay armed.

use super::allocator::MEMORY_MESSAGE;
use super::convert::{self, Stop};
use super::realm::Scene;
use super::{advice, error_parts, imports, stack};
use rquickjs::atom::PredefinedAtom;
use rquickjs::{CString, IntoAtom, Object, Value};
use sandpiper_domain::{JsonText, Outcome, ScriptError};

/// Longest message and longest stack that are reported, bytes each.
pub(super) const ERROR_TEXT_BYTES_MAX: usize = 16 * 1024;
/// The end of a clipped text.
const CLIPPED: &str = "… [truncated]";
/// Largest JSON of a thrown value or of a cause, bytes.
pub(super) const ERROR_VALUE_BYTES_MAX: usize = 16 * 1024;

/// The JSON of a value that throws while it is read.
pub(super) const UNREADABLE: &str = "\"[Unreadable]\"";
const UNSETTLED_HINT: &str = "Something waits for a promise that nothing will settle. Look for a `new Promise` that \
     calls neither of its functions, or for a callback that is never called";

/// Ends the execution because of the exception that is pending after `error`.
pub(super) fn fail_pending(scene: &Scene<'_>, error: &rquickjs::Error) -> ! {
    let thrown = scene.ctx.catch();
    let is_exception = matches!(error, rquickjs::Error::Exception);
    if !is_exception && is_nothing(&thrown) {
        scene.host.finish_failed(
            Outcome::Threw,
            ScriptError::of_service("InternalError", clipped(&error.to_string())),
        );
    }
    fail(scene, &thrown)
}

/// Ends the execution because `thrown` was thrown and not caught.
pub(super) fn fail<'js>(scene: &Scene<'js>, thrown: &Value<'js>) -> ! {
    let outcome = outcome_of(scene, thrown);
    let error = match outcome {
        Outcome::MemoryExceeded => {
            let message = MEMORY_MESSAGE.to_owned();
            placed(scene, thrown, "MemoryLimitError", message)
        }
        Outcome::TimedOut => {
            let message = scene.host.timeout_message("");
            let mut error = placed(scene, thrown, "TimeoutError", message);
            advice::complete_timeout(&scene.host, &mut error, |place| {
                scene.host.timeout_message(place)
            });
            error
        }
        _ => {
            let mut error = describe(scene, thrown);
            add_place_of_import(scene, &mut error);
            if outcome == Outcome::StackExceeded {
                advice::complete_too_deep(&scene.host, &mut error, None);
            }
            advice::complete(&scene.host, &mut error);
            error
        }
    };
    scene.host.finish_failed(outcome, error)
}

/// Adds the place of an import whose name the module does not export, or of an export of what the module does not have. The
/// engine's error has none.
fn add_place_of_import(scene: &Scene<'_>, error: &mut ScriptError) {
    if error.name != "SyntaxError" || error.file_name.is_some() || !error.stack.is_empty() {
        return;
    }
    // The messages of the engine name first the export, then the module if it is another one.
    let mut quoted = error.message.split('\'').skip(1).step_by(2);
    let Some(name) = quoted.next() else {
        return;
    };
    let found = match quoted.next() {
        Some(module) => imports::place_of_name(&scene.host, module, name),
        None => imports::place_of_export(&scene.host, name),
    };
    let Some((file, place)) = found else {
        return;
    };
    let stack = format!("    at {file}:{place}");
    error.stack = stack::for_the_user(&scene.host, &stack);
    set_place(scene, error);
}

/// Ends the execution because a promise it waits for can never settle.
pub(super) fn fail_unsettled(scene: &Scene<'_>) -> ! {
    let mut error = ScriptError::of_service(
        "UnsettledPromise",
        "the script waits for a promise that can never settle: no timer and no microtask is left",
    )
    .with_hint(UNSETTLED_HINT);
    advice::complete_unsettled(&scene.host, &mut error);
    scene.host.finish_failed(Outcome::Threw, error)
}

/// Returns whether an exception must end the execution even where exceptions are otherwise only reported: the engine
/// raised it because time or memory has run out.
pub(super) fn must_propagate<'js>(scene: &Scene<'js>, thrown: &Value<'js>) -> bool {
    outcome_of(scene, thrown) != Outcome::Threw
}

fn outcome_of<'js>(scene: &Scene<'js>, thrown: &Value<'js>) -> Outcome {
    if thrown.is_uncatchable_error() {
        return Outcome::TimedOut;
    }
    // After a refused large block the engine sometimes fails without an exception.
    let has_failed_silently = thrown.type_of() == rquickjs::Type::Uninitialized;
    if has_failed_silently && scene.host.memory.was_refused() {
        return Outcome::MemoryExceeded;
    }
    let Some(error) = thrown.as_object().filter(|object| object.is_error()) else {
        return Outcome::Threw;
    };
    let message = read_text(scene, error, PredefinedAtom::Message).unwrap_or_default();
    // The engine's error for a refused large block. A script that was refused no block may throw a similar error.
    if message.starts_with("out of memory") && scene.host.memory.was_refused() {
        return Outcome::MemoryExceeded;
    }
    let name = read_text(scene, error, PredefinedAtom::Name);
    let is_overflow =
        message == "Maximum call stack size exceeded" && name.as_deref() == Some("RangeError");
    if is_overflow {
        Outcome::StackExceeded
    } else {
        Outcome::Threw
    }
}

/// Returns whether `value` is the placeholder for a missing exception.
fn is_nothing(value: &Value<'_>) -> bool {
    value.is_null() || value.type_of() == rquickjs::Type::Uninitialized
}

/// Returns a failure with the host's message and the position in the user's text that `thrown` knows.
fn placed<'js>(
    scene: &Scene<'js>,
    thrown: &Value<'js>,
    name: &str,
    message: String,
) -> ScriptError {
    let mut error = ScriptError::of_service(name, message);
    if let Some(object) = thrown.as_object().filter(|object| object.is_error()) {
        add_stack(scene, object, &mut error);
    }
    error
}

/// Returns an exception as the API reports it.
pub(super) fn describe<'js>(scene: &Scene<'js>, thrown: &Value<'js>) -> ScriptError {
    let error = thrown.as_object();
    let is_error = |object: &&Object<'js>| {
        scene.realm.is_error(object) || scene.realm.inherits_from_error(object)
    };
    let Some(object) = error.filter(is_error) else {
        return describe_non_error(scene, thrown);
    };
    let name = read_text(scene, object, PredefinedAtom::Name);
    let message = read_text(scene, object, PredefinedAtom::Message);
    let mut error = ScriptError::of_service(
        name.as_deref().unwrap_or("Error"),
        message.unwrap_or_default(),
    );
    add_stack(scene, object, &mut error);
    let cause: rquickjs::Result<Value<'js>> = object.get("cause");
    match cause {
        Ok(cause) if !cause.is_undefined() => error.cause = json_of(scene, &cause),
        Ok(_) => {}
        Err(_) => drop(scene.ctx.catch()),
    }
    error.properties = error_parts::properties(scene, object);
    error.errors = error_parts::errors(scene, object);
    error
}

fn describe_non_error<'js>(scene: &Scene<'js>, thrown: &Value<'js>) -> ScriptError {
    let value = json_of(scene, thrown);
    let message = if thrown.is_string() {
        clipped_text(thrown)
    } else if thrown.is_undefined() {
        "undefined".to_owned()
    } else {
        let json = value.as_ref().map_or("null", JsonText::as_str);
        // A text form (of a symbol, a function, a BigInt) reads better without its quotes.
        clipped(&serde_json::from_str(json).unwrap_or_else(|_| json.to_owned()))
    };
    let mut error = ScriptError::of_service("NonError", message);
    error.value = value;
    error
}

fn add_stack<'js>(scene: &Scene<'js>, object: &Object<'js>, error: &mut ScriptError) {
    let text = read_text(scene, object, PredefinedAtom::Stack).unwrap_or_default();
    error.stack = stack::for_the_user(&scene.host, &text);
    set_place(scene, error);
}

fn set_place(scene: &Scene<'_>, error: &mut ScriptError) {
    if let Some(place) = stack::first_place(&scene.host, &error.stack) {
        error.file_name = Some(place.file_name);
        error.line_number = Some(place.line);
        error.column_number = place.column;
    }
}

/// Returns a property as clipped text; `None` if it is missing or no primitive, or if guest code threw.
pub(super) fn read_text<'js, K: IntoAtom<'js>>(
    scene: &Scene<'js>,
    object: &Object<'js>,
    key: K,
) -> Option<String> {
    let Ok(value) = object.get::<K, Value<'js>>(key) else {
        scene.ctx.catch();
        return None;
    };
    if value.is_string() {
        return Some(clipped_text(&value));
    }
    if value.is_undefined() || value.is_null() || value.is_object() {
        return None;
    }
    let json = json_of(scene, &value)?;
    Some(serde_json::from_str(json.as_str()).unwrap_or_else(|_| json.as_str().to_owned()))
}

/// Returns a value that belongs to an error as JSON. If it cannot be converted, the JSON is a text with the reason.
pub(super) fn json_of<'js>(scene: &Scene<'js>, value: &Value<'js>) -> Option<JsonText> {
    let text = match convert::to_json(scene, value, ERROR_VALUE_BYTES_MAX) {
        Ok(text) => text,
        Err(Stop::OverBudget) => "\"[Too large]\"".to_owned(),
        Err(Stop::Thrown) => {
            scene.ctx.catch();
            UNREADABLE.to_owned()
        }
    };
    JsonText::parse(text).ok()
}

/// Returns a string value as text, clipped to [`ERROR_TEXT_BYTES_MAX`]. Copies no more than that. Returns an empty text
/// for any other value.
pub(super) fn clipped_text(value: &Value<'_>) -> String {
    let Some(string) = value.as_string() else {
        return String::new();
    };
    let Ok(text) = CString::from_string(string.clone()) else {
        value.ctx().catch();
        return String::new();
    };
    let bytes: &[u8] = text.as_ref();
    if bytes.len() <= ERROR_TEXT_BYTES_MAX {
        return convert::well_formed(bytes);
    }
    let mut end = ERROR_TEXT_BYTES_MAX;
    while bytes[end] & 0b1100_0000 == 0b1000_0000 {
        end -= 1;
    }
    convert::well_formed(&bytes[..end]) + CLIPPED
}

fn clipped(text: &str) -> String {
    if text.len() <= ERROR_TEXT_BYTES_MAX {
        return text.to_owned();
    }
    text[..text.floor_char_boundary(ERROR_TEXT_BYTES_MAX)].to_owned() + CLIPPED
}

/// Returns a number from guest code as a count: never negative, never more than 2^53.
pub(super) fn as_count(value: &Value<'_>) -> usize {
    const MOST: f64 = 9_007_199_254_740_992.0;
    let number = value.as_number().unwrap_or(0.0).clamp(0.0, MOST);
    // The clamp keeps it in range; NaN becomes 0.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let count = number as usize;
    count
}

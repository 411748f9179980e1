//! TypeScript: its types are erased in place, and what stays is the JavaScript that runs.
//!
//! In scope: which text is TypeScript, and what an execution becomes whose text cannot be erased. `erase` has the syntax,
//! `canvas` the text. Out of scope: types are not checked. Called by `execution` and `modules`, in a job process only, for a
//! text when its turn to be compiled has come.
//!
//! Erased bytes become spaces and line ends stay. So every byte, line and column of what stays is where it was, and
//! positions of the engine are positions of the user's text.

mod canvas;
mod classes;
mod erase;
mod expressions;
mod statements;
#[cfg(test)]
mod tests;

use super::host::Host;
use super::realm::Scene;
use super::{advice, failure, heap, imports};
use crate::guarded::{self, Trouble};
use canvas::Canvas;
use rquickjs::object::Property;
use rquickjs::{Ctx, Exception};
use sandpiper_domain::{Outcome, ScriptError, ScriptKind};
use std::borrow::Cow;

const TOO_DEEP: &str = "the TypeScript is nested too deeply to be parsed";
const PARSER_FAILED: &str = "the parser of TypeScript failed on this text";

/// The reason why a text cannot be erased, and the byte at which it stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    message: String,
    at: usize,
}

impl Refusal {
    /// Ends the execution with the SyntaxError of the text `name`.
    pub(super) fn fail(&self, scene: &Scene<'_>, name: &str, text: &str) -> ! {
        let error = self.throw(&scene.ctx, name, text);
        failure::fail_pending(scene, &error)
    }

    /// Throws the SyntaxError of the text `name`, like the engine's own.
    pub(super) fn throw(&self, ctx: &Ctx<'_>, name: &str, text: &str) -> rquickjs::Error {
        // The engine cuts a message that it is given after 255 bytes.
        Exception::throw_syntax(ctx, "");
        let thrown = ctx.catch();
        let place = imports::position(text, self.at.min(text.len()));
        let completed = thrown.as_object().map_or(Ok(()), |error| {
            let hidden = |text: &str| Property::from(text.to_owned()).writable().configurable();
            error.prop("message", hidden(&self.message))?;
            error.prop("stack", hidden(&format!("    at {name}:{place}")))
        });
        match completed {
            Ok(()) => ctx.throw(thrown),
            Err(error) => error,
        }
    }
}

/// Returns the JavaScript of the text `name`: the text itself, unless it is TypeScript.
///
/// The memory of the parser counts as the script's. A text that is nested too deeply ends the execution.
pub(super) fn to_javascript<'t>(
    host: &Host,
    name: &str,
    text: &'t str,
    kind: ScriptKind,
) -> Result<Cow<'t, str>, Refusal> {
    if host.language_of(name).is_javascript() {
        return Ok(Cow::Borrowed(text));
    }
    let mut canvas = Canvas::new(text);
    let ending = |trouble| end(host, name, trouble);
    guarded::run(&ending, || {
        heap::charged(&host.memory, || erase::erase(&mut canvas, kind))
    })?;
    Ok(Cow::Owned(canvas.into_text()))
}

fn end(host: &Host, name: &str, trouble: Trouble) -> ! {
    heap::break_off();
    let message = match trouble {
        Trouble::OutOfStack => TOO_DEEP,
        Trouble::Panicked => PARSER_FAILED,
    };
    let mut error = ScriptError::of_service("SyntaxError", message);
    error.stack = format!("    at {name}");
    error.file_name = Some(name.to_owned());
    if trouble == Trouble::OutOfStack {
        advice::complete_too_deep(host, &mut error, Some(name));
    }
    host.finish_failed(Outcome::Threw, error)
}

//! Exceptions and rejections that no code of the script handles, and the listeners of the global object for them.
//!
//! In scope: asking the listeners before the execution ends. Out of scope: the events and their dispatch
//! (`web/reports.js`), and what a failure means (`failure`). Called by `timers` and `execution`, and by the glue for
//! exceptions of listeners.
//!
//! A script without listeners has no reporter, so that nothing here costs it anything.

use super::realm::{self, Scene};
use super::rejections::{REJECTION_BYTES, Rejection, Rejections};
use super::{console, failure, stack};
use rquickjs::atom::PredefinedAtom;
use rquickjs::convert::Coerced;
use rquickjs::{Array, FromJs, Persistent, Promise, Value};

/// The kind of a report, as reports.js numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Exception,
    /// A rejection that nothing handles.
    Rejection,
    /// A rejection that was reported, and has got a handler since.
    Handled,
}

/// Reports the exception of a callback, which is pending after `error`. Ends the execution unless a listener handles it.
pub(super) fn pending(scene: &Scene<'_>, error: &rquickjs::Error) {
    if !scene.realm.has_reporter() || !matches!(error, rquickjs::Error::Exception) {
        failure::fail_pending(scene, error);
    }
    let thrown = scene.ctx.catch();
    if !is_for_listeners(&thrown) || !ask(scene, Kind::Exception, &thrown, None) {
        failure::fail(scene, &thrown);
    }
}

/// Reports the oldest rejection that nothing handles, or one that was reported and has got a handler. Ends the execution
/// if no listener handles it. `awaited` is the promise that the execution waits for: its rejection is the execution's
/// own. Returns whether there may be more to report.
pub(super) fn next_rejection<'js>(
    scene: &Scene<'js>,
    rejections: &Rejections,
    awaited: Option<&Promise<'js>>,
) -> bool {
    if !scene.realm.has_reporter() {
        let next = rejections.take_next();
        let Some((rejection, _)) = next else {
            return false;
        };
        scene.host.memory.discharge(REJECTION_BYTES);
        fail_with(scene, &rejection);
    }
    let awaited = awaited.map(|promise| Persistent::save(&scene.ctx, promise.clone().into_value()));
    next_rejection_of(scene, rejections, |promise| {
        awaited.as_ref() == Some(promise)
    })
}

/// Reports the next rejection as [`next_rejection`] does, unless `is_excused` says that its promise needs no report.
pub(super) fn next_rejection_of(
    scene: &Scene<'_>,
    rejections: &Rejections,
    is_excused: impl Fn(&Persistent<Value<'static>>) -> bool,
) -> bool {
    let Some((rejection, kind)) = rejections.take_next() else {
        return false;
    };
    scene.host.memory.discharge(REJECTION_BYTES);
    if is_excused(&rejection.promise) {
        return true;
    }
    if !scene.realm.has_reporter() {
        fail_with(scene, &rejection);
    }
    let (Ok(reason), Ok(promise)) = (
        rejection.reason.clone().restore(&scene.ctx),
        rejection.promise.clone().restore(&scene.ctx),
    ) else {
        fail_with(scene, &rejection);
    };
    let is_canceled = is_for_listeners(&reason) && ask(scene, kind, &reason, Some(promise));
    rejections.end_report();
    if kind == Kind::Rejection && !is_canceled {
        failure::fail(scene, &reason);
    }
    true
}

/// Ends the execution because of a rejection.
fn fail_with(scene: &Scene<'_>, rejection: &Rejection) -> ! {
    match rejection.reason.clone().restore(&scene.ctx) {
        Ok(reason) => failure::fail(scene, &reason),
        Err(error) => failure::fail_pending(scene, &error),
    }
}

/// Returns whether listeners may get an exception. They get no interrupt, and no value of the engine's own.
fn is_for_listeners(thrown: &Value<'_>) -> bool {
    !thrown.is_uncatchable_error() && thrown.type_of() != rquickjs::Type::Uninitialized
}

/// Returns whether a listener of the global object handles what is reported. Runs guest code.
fn ask<'js>(
    scene: &Scene<'js>,
    kind: Kind,
    value: &Value<'js>,
    promise: Option<Value<'js>>,
) -> bool {
    let Some(reporter) = scene.realm.reporter() else {
        return false;
    };
    let number = match kind {
        Kind::Exception => 0,
        Kind::Rejection => 1,
        Kind::Handled => 2,
    };
    let asked: rquickjs::Result<bool> =
        realm::call(&scene.ctx, &reporter, (number, value.clone(), promise));
    asked.unwrap_or_else(|error| failure::fail_pending(scene, &error))
}

/// Returns message, file name, line and column of an exception for its event. Runs guest code only if `thrown` is an error
/// that has some for its name or message.
pub(super) fn describe<'js>(
    scene: &Scene<'js>,
    thrown: &Value<'js>,
) -> rquickjs::Result<Array<'js>> {
    let error = thrown
        .as_object()
        .filter(|object| scene.realm.is_error(object));
    let text = match error {
        Some(error) => {
            let name = failure::read_text(scene, error, PredefinedAtom::Name);
            let message = failure::read_text(scene, error, PredefinedAtom::Message);
            let (name, message) = (
                name.as_deref().unwrap_or("Error"),
                message.unwrap_or_default(),
            );
            match message.as_str() {
                "" => name.to_owned(),
                message => format!("{name}: {message}"),
            }
        }
        None => text_of(scene, thrown),
    };
    let own = error.and_then(|error| failure::read_text(scene, error, PredefinedAtom::Stack));
    let stack = own.map(|stack| stack::for_the_user(&scene.host, &stack));
    let place = stack.and_then(|stack| stack::first_place(&scene.host, &stack));
    let place = place.or_else(|| stack::first_place(&scene.host, &console::stack_here(scene)));
    let described = Array::new(scene.ctx.clone())?;
    described.as_object().set_prototype(None)?;
    described.set(0, format!("Uncaught {text}"))?;
    let (file_name, line, column) = match place {
        Some(place) => (place.file_name, place.line, place.column.unwrap_or(0)),
        None => (String::new(), 0, 0),
    };
    described.set(1, file_name)?;
    described.set(2, line)?;
    described.set(3, column)?;
    Ok(described)
}

/// Returns a thrown value that is no error as text. Runs no guest code.
fn text_of<'js>(scene: &Scene<'js>, thrown: &Value<'js>) -> String {
    if thrown.is_object() {
        return "[object Object]".to_owned();
    }
    if thrown.is_symbol() {
        return "a symbol".to_owned();
    }
    let text = Coerced::<rquickjs::String<'js>>::from_js(&scene.ctx, thrown.clone());
    text.map_or_else(
        |_| {
            scene.ctx.catch();
            String::new()
        },
        |text| failure::clipped_text(text.0.as_value()),
    )
}

//! The natives of the reports of exceptions, of `AbortSignal` and of messages.

use super::{Tools, native};
use crate::engine::timers::Owner;
use crate::engine::{failure, reports};
use rquickjs::{Function, Object, Persistent, Value};
use std::time::Duration;

/// Longest delay, milliseconds: no execution lasts so long.
const DELAY_MILLIS_MAX: f64 = 1e12;

/// Gives the glue the end of an execution, the parts of an exception, and the place of the function that asks listeners.
pub(super) fn natives_of_reports<'js>(
    tools: &Tools<'js>,
    natives: &Object<'js>,
) -> rquickjs::Result<()> {
    let of_calls = tools.scene.clone();
    let fail =
        move |thrown: Value<'js>| -> rquickjs::Result<()> { failure::fail(&of_calls, &thrown) };
    let fail = Function::new(tools.scene.ctx.clone(), fail)?;
    // A microtask: the code that runs, and the other listeners, run to their ends before.
    native(tools, natives, "fail", move |thrown: Value<'js>| {
        fail.defer((thrown,))
    })?;
    let scene = tools.scene.clone();
    native(tools, natives, "describe", move |thrown: Value<'js>| {
        reports::describe(&scene, &thrown)
    })?;
    let scene = tools.scene.clone();
    native(tools, natives, "watch", move |reporter: Function<'js>| {
        let reporter = Persistent::save(&scene.ctx, reporter);
        scene.realm.set_reporter(reporter);
    })
}

/// Gives the glue tasks that a signal waits for, which do not keep an execution running.
pub(super) fn natives_of_abort<'js>(
    tools: &Tools<'js>,
    natives: &Object<'js>,
) -> rquickjs::Result<()> {
    let (scene, timers) = (tools.scene.clone(), tools.timers.clone());
    native(
        tools,
        natives,
        "later",
        move |delay: f64, act: Function<'js>| {
            let seconds = delay.clamp(0.0, DELAY_MILLIS_MAX) / 1000.0;
            let delay = Duration::try_from_secs_f64(seconds).unwrap_or_default();
            timers.add_task(&scene, Owner::WeakTask, delay, act);
        },
    )
}

/// Gives the glue the tasks that deliver messages.
pub(super) fn natives_of_messages<'js>(
    tools: &Tools<'js>,
    natives: &Object<'js>,
) -> rquickjs::Result<()> {
    let (scene, timers) = (tools.scene.clone(), tools.timers.clone());
    native(tools, natives, "soon", move |act: Function<'js>| {
        timers.add_task(&scene, Owner::Task, Duration::ZERO, act);
    })
}

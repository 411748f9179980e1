//! The natives of `EventTarget` and `AbortSignal`: an exception of a listener ends the execution, and timers that do not
//! keep it running.

use super::{Tools, native};
use crate::engine::failure;
use crate::engine::timers::Owner;
use rquickjs::{Function, Object, Value};
use std::time::Duration;

/// Longest delay, milliseconds: no execution lasts so long.
const DELAY_MILLIS_MAX: f64 = 1e12;

pub(super) fn natives<'js>(tools: &Tools<'js>, natives: &Object<'js>) -> rquickjs::Result<()> {
    let of_calls = tools.scene.clone();
    let fail =
        move |thrown: Value<'js>| -> rquickjs::Result<()> { failure::fail(&of_calls, &thrown) };
    let fail = Function::new(tools.scene.ctx.clone(), fail)?;
    // A microtask: the other listeners are called before.
    native(tools, natives, "report", move |thrown: Value<'js>| {
        fail.defer((thrown,))
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

//! `setTimeout`, `setInterval`, their clearing, and `queueMicrotask`.
//!
//! In scope: the choice of the next timer and the call of its function. Out of scope: the event loop (`execution`). All
//! state is in Rust, so that guest code can neither see nor change it. It is charged to the execution's memory.

use super::globals::operation;
use super::realm::Scene;
use super::reports;
use rquickjs::convert::Coerced;
use rquickjs::function::{Args, Opt, Rest};
use rquickjs::{Ctx, Exception, Function, Persistent, Value};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::Duration;

/// Cost of a timer, bytes of the execution's memory, in addition to its arguments.
const TIMER_BYTES: usize = 256;
/// Cost of one argument of a timer, bytes.
const TIMER_ARGUMENT_BYTES: usize = 32;
/// Least delay of a timer of a script with tools.
pub(super) const LEAST_DELAY: Duration = Duration::from_millis(1);

/// The due time of a timer, then the order in which it was set.
type Due = (Duration, u64);

/// The maker of a timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Script,
    /// A task of a web API. No script can clear it.
    Task,
    /// A task of a web API that does not keep the execution running.
    WeakTask,
}

struct Timer {
    callback: Persistent<Function<'static>>,
    arguments: Vec<Persistent<Value<'static>>>,
    /// The interval after which the timer fires again, if it repeats.
    interval: Option<Duration>,
    due: Due,
    owner: Owner,
}

impl Timer {
    fn bytes(&self) -> usize {
        TIMER_BYTES + self.arguments.len() * TIMER_ARGUMENT_BYTES
    }
}

#[derive(Default)]
pub(super) struct Timers {
    by_id: RefCell<HashMap<u32, Timer>>,
    order: RefCell<BTreeMap<Due, u32>>,
    last_id: Cell<u32>,
    last_number: Cell<u64>,
    /// Number of weak timers.
    weak: Cell<usize>,
}

impl Timers {
    pub(super) fn len(&self) -> usize {
        self.by_id.borrow().len()
    }

    /// Returns whether no timer keeps the execution running.
    pub(super) fn are_all_weak(&self) -> bool {
        self.weak.get() == self.len()
    }

    /// Calls `act` after `delay`, for a web API.
    pub(super) fn add_task<'js>(
        &self,
        scene: &Scene<'js>,
        owner: Owner,
        delay: Duration,
        act: Function<'js>,
    ) {
        let timer = Timer {
            callback: Persistent::save(&scene.ctx, act),
            arguments: Vec::new(),
            interval: None,
            due: self.next_due(scene.host.clock.elapsed() + delay),
            owner,
        };
        scene.host.memory.charge(timer.bytes());
        if owner == Owner::WeakTask {
            self.weak.set(self.weak.get() + 1);
        }
        self.add(timer);
    }

    /// Clears a timer for a script.
    fn clear(&self, scene: &Scene<'_>, id: u32) {
        let owner = self.by_id.borrow().get(&id).map(|timer| timer.owner);
        if owner == Some(Owner::Script) {
            self.remove(scene, id);
        }
    }

    /// Returns the due time of the next timer, since the start of the clock.
    pub(super) fn next_due_time(&self) -> Option<Duration> {
        self.next().map(|((due, _), _)| due)
    }

    fn next(&self) -> Option<(Due, u32)> {
        let order = self.order.borrow();
        order.first_key_value().map(|(due, id)| (*due, *id))
    }

    fn next_due(&self, due: Duration) -> Due {
        let number = self.last_number.get() + 1;
        self.last_number.set(number);
        (due, number)
    }

    fn add(&self, timer: Timer) -> u32 {
        let id = self.last_id.get() + 1;
        self.last_id.set(id);
        self.order.borrow_mut().insert(timer.due, id);
        self.by_id.borrow_mut().insert(id, timer);
        id
    }

    /// Removes a timer and releases its memory.
    fn remove(&self, scene: &Scene<'_>, id: u32) {
        let removed = self.by_id.borrow_mut().remove(&id);
        if let Some(timer) = removed {
            self.order.borrow_mut().remove(&timer.due);
            if timer.owner == Owner::WeakTask {
                self.weak.set(self.weak.get() - 1);
            }
            scene.host.memory.discharge(timer.bytes());
        }
    }

    /// Waits for the next timer, until the deadline at most, and runs it. Returns false if there is no timer.
    pub(super) fn run_next(&self, scene: &Scene<'_>) -> bool {
        let Some((due, id)) = self.next() else {
            return false;
        };
        self.wait_until(scene, due.0);
        self.order.borrow_mut().remove(&due);
        let called = self.call(scene, id);
        self.set_again_or_drop(scene, id);
        if let Err(error) = called {
            reports::pending(scene, &error);
        }
        true
    }

    /// Sleeps until `due`, or advances a virtual clock. Ends the execution at its deadline.
    fn wait_until(&self, scene: &Scene<'_>, due: Duration) {
        scene.host.clock.advance_to(due);
        loop {
            let Some(left) = scene.host.time_left() else {
                let count = self.len();
                let plural = if count == 1 { "" } else { "s" };
                scene
                    .host
                    .finish_timed_out(&format!("; it was still waiting for {count} timer{plural}"));
            };
            let wait = due.saturating_sub(scene.host.clock.elapsed());
            if wait.is_zero() {
                return;
            }
            std::thread::sleep(wait.min(left));
        }
    }

    fn call(&self, scene: &Scene<'_>, id: u32) -> rquickjs::Result<()> {
        let (callback, arguments) = {
            let by_id = self.by_id.borrow();
            let Some(timer) = by_id.get(&id) else {
                return Ok(());
            };
            (timer.callback.clone(), timer.arguments.clone())
        };
        let mut values = Args::new(scene.ctx.clone(), arguments.len());
        values.this(scene.ctx.globals())?;
        for argument in arguments {
            values.push_arg(argument.restore(&scene.ctx)?)?;
        }
        callback.restore(&scene.ctx)?.call_arg(values)
    }

    /// Sets the timer again if it repeats. Called after the callback: an interval that its own callback clears stays
    /// cleared, and timers that the callback set for the same time come first.
    fn set_again_or_drop(&self, scene: &Scene<'_>, id: u32) {
        let again = {
            let mut by_id = self.by_id.borrow_mut();
            by_id.get_mut(&id).and_then(|timer| {
                let interval = timer.interval?;
                let now = scene.host.clock.elapsed();
                timer.due = self.next_due(match scene.host.replay() {
                    Some(replay) => replay.next_turn(now, interval),
                    None => now + interval,
                });
                Some(timer.due)
            })
        };
        match again {
            Some(due) => drop(self.order.borrow_mut().insert(due, id)),
            None => self.remove(scene, id),
        }
    }
}

/// Defines the timer functions on the global object.
pub(super) fn install<'js>(scene: &Scene<'js>, timers: &Rc<Timers>) -> rquickjs::Result<()> {
    let globals = scene.ctx.globals();
    for (name, repeats) in [("setTimeout", false), ("setInterval", true)] {
        let set = setter(scene, timers, name, repeats)?.with_length(1)?;
        globals.prop(name, operation(set))?;
    }
    for name in ["clearTimeout", "clearInterval"] {
        globals.prop(name, operation(clearer(scene, timers, name)?))?;
    }
    let queue = microtask_queuer(scene)?.with_length(1)?;
    globals.prop("queueMicrotask", operation(queue))
}

fn setter<'js>(
    scene: &Scene<'js>,
    timers: &Rc<Timers>,
    name: &'static str,
    repeats: bool,
) -> rquickjs::Result<Function<'js>> {
    let (scene_of_calls, timers) = (scene.clone(), Rc::clone(timers));
    let set = move |ctx: Ctx<'js>,
                    callback: Opt<Value<'js>>,
                    delay: Opt<Value<'js>>,
                    arguments: Rest<Value<'js>>|
          -> rquickjs::Result<u32> {
        let callback = function_or_throw(&ctx, callback, name)?;
        let mut delay = delay_of(&ctx, delay)?;
        let host = &scene_of_calls.host;
        if host.replay().is_some() {
            delay = delay.max(LEAST_DELAY);
        }
        let timer = Timer {
            callback: Persistent::save(&ctx, callback),
            arguments: arguments
                .0
                .into_iter()
                .map(|argument| Persistent::save(&ctx, argument))
                .collect(),
            // A virtual clock would never advance with an interval of zero.
            interval: repeats.then_some(delay.max(Duration::from_millis(1))),
            due: timers.next_due(host.clock.elapsed() + delay),
            owner: Owner::Script,
        };
        host.memory.charge(timer.bytes());
        Ok(timers.add(timer))
    };
    Function::new(scene.ctx.clone(), set)?.with_name(name)
}

fn clearer<'js>(
    scene: &Scene<'js>,
    timers: &Rc<Timers>,
    name: &str,
) -> rquickjs::Result<Function<'js>> {
    let (scene_of_calls, timers) = (scene.clone(), Rc::clone(timers));
    let clear = move |ctx: Ctx<'js>, id: Opt<Value<'js>>| -> rquickjs::Result<()> {
        if let Ok(id) = u32::try_from(long_of(&ctx, id)?) {
            timers.clear(&scene_of_calls, id);
        }
        Ok(())
    };
    Function::new(scene.ctx.clone(), clear)?.with_name(name)
}

/// Returns `queueMicrotask`. The engine's own would lose an exception of the callback; this one reports it.
fn microtask_queuer<'js>(scene: &Scene<'js>) -> rquickjs::Result<Function<'js>> {
    const NAME: &str = "queueMicrotask";
    let scene_of_calls = scene.clone();
    let run = Function::new(scene.ctx.clone(), move |callback: Function<'js>| {
        if let Err(error) = callback.call::<(), Value<'js>>(()) {
            reports::pending(&scene_of_calls, &error);
        }
    })?;
    let queue = move |ctx: Ctx<'js>, callback: Opt<Value<'js>>| -> rquickjs::Result<()> {
        let callback = function_or_throw(&ctx, callback, NAME)?;
        run.defer((callback,))
    };
    Function::new(scene.ctx.clone(), queue)?.with_name(NAME)
}

fn function_or_throw<'js>(
    ctx: &Ctx<'js>,
    callback: Opt<Value<'js>>,
    taker: &str,
) -> rquickjs::Result<Function<'js>> {
    callback
        .0
        .and_then(|value| Function::from_value(value).ok())
        .ok_or_else(|| Exception::throw_type(ctx, &format!("{taker} needs a function")))
}

/// Returns a delay. A negative one is none, and one beyond 32 bits wraps around, as in browsers.
fn delay_of<'js>(ctx: &Ctx<'js>, delay: Opt<Value<'js>>) -> rquickjs::Result<Duration> {
    let millis = u64::try_from(long_of(ctx, delay)?).unwrap_or_default();
    Ok(Duration::from_millis(millis))
}

/// Converts an argument to a 32-bit integer, as the web's interfaces do: modulo 2^32, and 0 if it is no number.
fn long_of<'js>(ctx: &Ctx<'js>, argument: Opt<Value<'js>>) -> rquickjs::Result<i32> {
    let Some(argument) = argument.0.filter(|argument| !argument.is_undefined()) else {
        return Ok(0);
    };
    if let Some(integer) = argument.as_int() {
        return Ok(integer);
    }
    let number = <Coerced<f64> as rquickjs::FromJs>::from_js(ctx, argument)?.0;
    Ok(wrapped(number))
}

fn wrapped(number: f64) -> i32 {
    const MODULUS: f64 = 4_294_967_296.0;
    if !number.is_finite() {
        return 0;
    }
    // The remainder is below 2^32, and its bits are those of the integer.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let bits = number.trunc().rem_euclid(MODULUS) as u32;
    bits.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::wrapped;

    #[test]
    fn numbers_wrap_around_as_32_bit_integers() {
        for (number, integer) in [
            (1.9, 1),
            (-1.9, -1),
            (2_147_483_648.0, i32::MIN),
            (4_294_967_296.0, 0),
            (4_294_967_297.0, 1),
            (1e300, 0),
            (f64::INFINITY, 0),
            (f64::NAN, 0),
        ] {
            assert_eq!(wrapped(number), integer, "{number}");
        }
    }
}

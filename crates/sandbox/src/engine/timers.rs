//! `setTimeout`, `setInterval`, their clearing, and `queueMicrotask`.
//!
//! Its own: which timer is next and what it runs. Not its own: when the loop turns (`execution`). All of it is kept in
//! Rust, so that no guest code can see or change it; what it keeps is charged to the execution's memory.

use super::failure;
use super::realm::Scene;
use rquickjs::convert::Coerced;
use rquickjs::function::{Args, Opt, Rest};
use rquickjs::{Ctx, Exception, Function, Persistent, Value};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::Duration;

/// Longest delay, milliseconds: the largest 32-bit integer, as in browsers and Node.
const DELAY_MILLIS_MAX: f64 = 2_147_483_647.0;
/// What one timer costs of the execution's memory, beside its arguments.
const TIMER_BYTES: usize = 256;
/// What one argument of a timer costs.
const TIMER_ARGUMENT_BYTES: usize = 32;

/// When a timer fires, then in which order it was set.
type Turn = (Duration, u64);

struct Timer {
    callback: Persistent<Function<'static>>,
    arguments: Vec<Persistent<Value<'static>>>,
    /// Set again after each time, by this much.
    interval: Option<Duration>,
    turn: Turn,
}

impl Timer {
    fn bytes(&self) -> usize {
        TIMER_BYTES + self.arguments.len() * TIMER_ARGUMENT_BYTES
    }
}

/// The timers of one execution.
#[derive(Default)]
pub(super) struct Timers {
    by_id: RefCell<HashMap<u32, Timer>>,
    order: RefCell<BTreeMap<Turn, u32>>,
    last_id: Cell<u32>,
    last_turn: Cell<u64>,
}

impl Timers {
    /// How many are waiting.
    pub(super) fn len(&self) -> usize {
        self.by_id.borrow().len()
    }

    fn next(&self) -> Option<(Turn, u32)> {
        let order = self.order.borrow();
        order.first_key_value().map(|(turn, id)| (*turn, *id))
    }

    fn next_turn(&self, due: Duration) -> Turn {
        let number = self.last_turn.get() + 1;
        self.last_turn.set(number);
        (due, number)
    }

    fn add(&self, timer: Timer) -> u32 {
        let id = self.last_id.get() + 1;
        self.last_id.set(id);
        self.order.borrow_mut().insert(timer.turn, id);
        self.by_id.borrow_mut().insert(id, timer);
        id
    }

    /// Takes a timer out, which gives its memory back.
    fn remove(&self, scene: &Scene<'_>, id: u32) {
        let removed = self.by_id.borrow_mut().remove(&id);
        if let Some(timer) = removed {
            self.order.borrow_mut().remove(&timer.turn);
            scene.host.memory.discharge(timer.bytes());
        }
    }

    /// Waits for the next timer, within the deadline, and runs it. False: there is none.
    pub(super) fn run_next(&self, scene: &Scene<'_>) -> bool {
        let Some((turn, id)) = self.next() else {
            return false;
        };
        self.wait_until(scene, turn.0);
        self.order.borrow_mut().remove(&turn);
        let called = self.call(scene, id);
        self.set_again_or_drop(scene, id);
        if let Err(error) = called {
            failure::fail_pending(scene, &error);
        }
        true
    }

    /// Sleeps until `due`, or moves a virtual clock there. Ends the execution at its deadline.
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
        for argument in arguments {
            values.push_arg(argument.restore(&scene.ctx)?)?;
        }
        callback.restore(&scene.ctx)?.call_arg(values)
    }

    /// After its call, so that an interval that is cleared by its own callback stays cleared, and so that timers the
    /// callback set for the same moment come first.
    fn set_again_or_drop(&self, scene: &Scene<'_>, id: u32) {
        let again = {
            let mut by_id = self.by_id.borrow_mut();
            by_id.get_mut(&id).and_then(|timer| {
                let interval = timer.interval?;
                timer.turn = self.next_turn(scene.host.clock.elapsed() + interval);
                Some(timer.turn)
            })
        };
        match again {
            Some(turn) => drop(self.order.borrow_mut().insert(turn, id)),
            None => self.remove(scene, id),
        }
    }
}

/// Puts the timer functions on the global object.
pub(super) fn install<'js>(scene: &Scene<'js>, timers: &Rc<Timers>) -> rquickjs::Result<()> {
    let globals = scene.ctx.globals();
    for (name, repeats) in [("setTimeout", false), ("setInterval", true)] {
        globals.set(name, setter(scene, timers, name, repeats)?)?;
    }
    for name in ["clearTimeout", "clearInterval"] {
        globals.set(name, clearer(scene, timers, name)?)?;
    }
    globals.set("queueMicrotask", microtask_queuer(scene)?)
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
        let delay = delay_of(&ctx, delay)?;
        let host = &scene_of_calls.host;
        let timer = Timer {
            callback: Persistent::save(&ctx, callback),
            arguments: arguments
                .0
                .into_iter()
                .map(|argument| Persistent::save(&ctx, argument))
                .collect(),
            // A virtual clock would never move on with an interval of nothing.
            interval: repeats.then_some(delay.max(Duration::from_millis(1))),
            turn: timers.next_turn(host.clock.elapsed() + delay),
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
    let clear = move |id: Opt<Value<'js>>| {
        if let Some(id) = id.0.and_then(|id| id.as_int())
            && let Ok(id) = u32::try_from(id)
        {
            timers.remove(&scene_of_calls, id);
        }
    };
    Function::new(scene.ctx.clone(), clear)?.with_name(name)
}

/// The engine's own `queueMicrotask` would lose what the callback throws; this one ends the execution with it.
fn microtask_queuer<'js>(scene: &Scene<'js>) -> rquickjs::Result<Function<'js>> {
    const NAME: &str = "queueMicrotask";
    let scene_of_calls = scene.clone();
    let run = Function::new(scene.ctx.clone(), move |callback: Function<'js>| {
        if let Err(error) = callback.call::<(), Value<'js>>(()) {
            failure::fail_pending(&scene_of_calls, &error);
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

fn delay_of<'js>(ctx: &Ctx<'js>, delay: Opt<Value<'js>>) -> rquickjs::Result<Duration> {
    let Some(delay) = delay.0.filter(|delay| !delay.is_undefined()) else {
        return Ok(Duration::ZERO);
    };
    let millis = <Coerced<f64> as rquickjs::FromJs>::from_js(ctx, delay)?.0;
    // NaN becomes 0 here as well.
    let whole = millis.clamp(0.0, DELAY_MILLIS_MAX).floor();
    Ok(Duration::try_from_secs_f64(whole / 1000.0).unwrap_or_default())
}

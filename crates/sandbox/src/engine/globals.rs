//! The global object of an execution, apart from JavaScript's own properties.
//!
//! In scope: `Math.random`, `performance`, the seeded `Date`, `input` and the client's globals. Out of scope: `console`
//! and the timers. [`install`] is called once in the zygote; [`prepare`] and [`define_data`] for each execution.

use super::realm::{self, Scene};
use super::{EngineJob, failure};
use rquickjs::atom::PredefinedAtom;
use rquickjs::object::{Accessor, Property};
use rquickjs::{Array, Ctx, Exception, Function, Object, Value};
use std::rc::Rc;
use std::time::Duration;

/// Replaces the state that every execution would otherwise inherit from the zygote: the engine's random state and its
/// age.
pub(super) fn install<'js>(scene: &Scene<'js>) -> rquickjs::Result<()> {
    let globals = scene.ctx.globals();
    let host = Rc::clone(&scene.host);
    let random = Function::new(scene.ctx.clone(), move || host.random.borrow_mut().f64())?;
    let math: Object<'js> = globals.get("Math")?;
    math.prop("random", hidden(random.with_name("random")?))?;

    install_performance(scene)?;
    for name in ["atob", "btoa"] {
        let function: Function<'js> = globals.get(name)?;
        globals.prop(name, operation(function))?;
    }
    Ok(())
}

/// Defines `performance`. Its class becomes a global name with the part `events` of the web APIs.
fn install_performance<'js>(scene: &Scene<'js>) -> rquickjs::Result<()> {
    const CLASS: &str = "Performance";
    let ctx = &scene.ctx;
    let refuse = |ctx: Ctx<'js>| -> rquickjs::Result<()> {
        Err(Exception::throw_type(&ctx, "Illegal constructor"))
    };
    let class = Function::new(ctx.clone(), refuse)?
        .with_name(CLASS)?
        .with_constructor(true);
    let prototype = Object::new(ctx.clone())?;
    let host = Rc::clone(&scene.host);
    let now = move || whole_micros_as_millis(host.clock.elapsed());
    let now = Function::new(ctx.clone(), now)?.with_name("now")?;
    prototype.prop("now", operation(now))?;
    let host = Rc::clone(&scene.host);
    let origin = Accessor::from(move || host.clock.origin_unix_millis());
    prototype.prop("timeOrigin", origin.enumerable().configurable())?;
    let host = Rc::clone(&scene.host);
    let to_json = move |ctx: Ctx<'js>| -> rquickjs::Result<Object<'js>> {
        let json = Object::new(ctx)?;
        json.set("timeOrigin", host.clock.origin_unix_millis())?;
        Ok(json)
    };
    let to_json = Function::new(ctx.clone(), to_json)?.with_name("toJSON")?;
    prototype.prop("toJSON", operation(to_json))?;
    prototype.prop(
        PredefinedAtom::SymbolToStringTag,
        Property::from(CLASS).configurable(),
    )?;
    prototype.prop("constructor", hidden(class.clone()))?;
    class.prop("prototype", Property::from(prototype.clone()))?;
    let performance = Object::new(ctx.clone())?;
    performance.set_prototype(Some(&prototype))?;
    ctx.globals().prop("performance", operation(performance))
}

/// Sets the state that depends on the start of the execution: under a seed, the clock of `Date`. Without a seed nothing
/// is written to pages that are shared with the zygote.
pub(super) fn prepare(scene: &Scene<'_>) -> rquickjs::Result<()> {
    if !scene.host.clock.is_virtual() {
        return Ok(());
    }
    let host = Rc::clone(&scene.host);
    let now = Function::new(scene.ctx.clone(), move || host.clock.virtual_unix_millis())?;
    let now = now.with_name("now")?;
    let construct = virtual_date_constructor(scene)?;
    let install = &scene.realm.install_virtual_date;
    realm::call(&scene.ctx, install, (now, construct))
}

/// Returns the constructor of `Date` under a seed. Without arguments it takes the virtual time.
fn virtual_date_constructor<'js>(scene: &Scene<'js>) -> rquickjs::Result<Function<'js>> {
    let scene_of_calls = scene.clone();
    let construct = move |target: Value<'js>, arguments: Array<'js>, new_target: Value<'js>| {
        if arguments.is_empty() {
            let now = scene_of_calls.host.clock.virtual_unix_millis();
            // Defined and not set: a setter on `Array.prototype` would intercept it.
            arguments.prop("0", Property::from(now).enumerable())?;
        }
        let construct = &scene_of_calls.realm.construct;
        let made: rquickjs::Result<Value<'js>> = realm::call(
            &scene_of_calls.ctx,
            construct,
            (target, arguments, new_target),
        );
        made
    };
    Function::new(scene.ctx.clone(), construct)?.with_name("Date")
}

/// Defines `input` and the client's globals, each parsed by the engine. They behave like a script's `var`: writable,
/// and open to redeclaration with `let` or `const`.
pub(super) fn define_data(scene: &Scene<'_>, job: &EngineJob<'_>) {
    let input = job.input.map(|json| ("input", json));
    for (name, json) in job.globals.iter().copied().chain(input) {
        if let Err(error) = define_json(scene, name, json) {
            failure::fail_pending(scene, &error);
        }
    }
}

fn define_json<'js>(scene: &Scene<'js>, name: &str, json: &str) -> rquickjs::Result<()> {
    let value: Value<'js> = scene.ctx.json_parse(json)?;
    let property = Property::from(value).writable().enumerable().configurable();
    scene.ctx.globals().prop(name, property)
}

/// Returns milliseconds, in whole microseconds. A finer clock would mainly help to time other processes.
#[allow(clippy::cast_precision_loss)] // exact for 285 years
fn whole_micros_as_millis(elapsed: Duration) -> f64 {
    elapsed.as_micros() as f64 / 1000.0
}

fn hidden<T>(value: T) -> Property<T> {
    Property::from(value).writable().configurable()
}

/// Returns a property as the operations of the web's interfaces are, which are enumerable.
pub(super) fn operation<T>(value: T) -> Property<T> {
    hidden(value).enumerable()
}

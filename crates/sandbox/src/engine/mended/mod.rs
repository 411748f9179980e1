//! Built-in functions of the engine with a wrong result, replaced by functions with the right one.
//!
//! In scope: functions of the global object that a function of the host can stand in for without a difference that a
//! script can observe, apart from the result: same name, length and attributes, no source text. Out of scope: faults of
//! the engine's syntax and bytecode (docs/engine.md has them). Called by `warm` once, in the zygote.

mod async_from_sync;
mod atomics;
mod dates;
mod errors;
mod locales;
mod numbers;
mod shared_memory;

use super::realm::Scene;
use rquickjs::function::{Args, IntoJsFunc, ParamRequirement, Params};
use rquickjs::object::Property;
use rquickjs::{Ctx, Function, Object, Persistent, Value};

/// A built-in function that was replaced, kept without a name that a script could call it by.
type Original = Persistent<Function<'static>>;

/// Replaces all functions. `helpers` are the prelude's.
pub(super) fn install<'js>(scene: &Scene<'js>, helpers: &Object<'js>) -> rquickjs::Result<()> {
    numbers::install(scene)?;
    dates::install(scene, helpers)?;
    errors::install(scene)?;
    locales::install(scene)?;
    atomics::install(scene)?;
    async_from_sync::install(scene)?;
    shared_memory::install(scene);
    Ok(())
}

/// A function of the host that gets its arguments unconverted.
struct Native<F>(F);

impl<'js, F> IntoJsFunc<'js, ()> for Native<F>
where
    F: for<'a> Fn(Params<'a, 'js>) -> rquickjs::Result<Value<'js>>,
{
    fn param_requirements() -> ParamRequirement {
        ParamRequirement::any()
    }

    fn call<'a>(&self, params: Params<'a, 'js>) -> rquickjs::Result<Value<'js>> {
        (self.0)(params)
    }
}

/// Returns a function with the name and the length of `original`.
fn stand_in<'js, F>(
    ctx: &Ctx<'js>,
    original: &Function<'js>,
    act: F,
) -> rquickjs::Result<Function<'js>>
where
    F: for<'a> Fn(Params<'a, 'js>) -> rquickjs::Result<Value<'js>> + 'js,
{
    let name: String = original.get("name")?;
    let length: usize = original.get("length")?;
    Function::new(ctx.clone(), Native(act))?
        .with_length(length)?
        .with_name(name)
}

/// Replaces the method `name` of `holder`. `act` gets the original.
fn replace<'js, F>(holder: &Object<'js>, name: &str, act: F) -> rquickjs::Result<()>
where
    F: for<'a> Fn(&Original, Params<'a, 'js>) -> rquickjs::Result<Value<'js>> + 'js,
{
    let original: Function<'js> = holder.get(name)?;
    let kept = Persistent::save(holder.ctx(), original.clone());
    let function = stand_in(holder.ctx(), &original, move |params| act(&kept, params))?;
    holder.prop(name, hidden(function))
}

/// Calls a replaced function as its replacement was called.
fn call_original<'js>(
    original: &Original,
    params: &Params<'_, 'js>,
) -> rquickjs::Result<Value<'js>> {
    let ctx = params.ctx();
    let mut arguments = Args::new(ctx.clone(), params.len());
    arguments.this(params.this())?;
    for index in 0..params.len() {
        arguments.push_arg(params.arg(index))?;
    }
    original.clone().restore(ctx)?.call_arg(arguments)
}

fn prototype_of<'js>(ctx: &Ctx<'js>, class: &str) -> rquickjs::Result<Object<'js>> {
    let class: Object<'js> = ctx.globals().get(class)?;
    class.get("prototype")
}

/// Returns a property as built-in functions are: writable, configurable, not enumerable.
fn hidden<T>(value: T) -> Property<T> {
    Property::from(value).writable().configurable()
}

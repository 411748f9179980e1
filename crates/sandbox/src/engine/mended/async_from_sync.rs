//! The objects through which `for await` and `yield*` of an async generator read a synchronous iterator.
//!
//! The engine's do not close the synchronous iterator when a promise that it yields is rejected, so a `finally` of a
//! generator does not run. Their methods are replaced by those of async_from_sync.js. The objects are the engine's, and
//! scripts never see them.
#![allow(unsafe_code)] // the state of an object, and operations of promises, for which the crate has no interface

use super::hidden;
use crate::engine::realm::{PRELUDE_FILE_NAME, Scene};
use rquickjs::context::EvalOptions;
use rquickjs::object::Filter;
use rquickjs::{Exception, FromJs, Function, Object, Value, qjs};
use std::ffi::{CStr, c_int};

const METHODS: &str = include_str!("async_from_sync.js");
const NAMES: [&str; 3] = ["next", "return", "throw"];

/// A value in the state of such an object. The number is its place.
#[derive(Clone, Copy)]
enum Part {
    Iterator = 0,
    Next = 1,
}

/// A promise resolved with a value, or rejected with a reason. The number is what the engine's function takes.
#[derive(Clone, Copy)]
enum Settled {
    Resolved = 0,
    Rejected = 1,
}

type HostFunction = unsafe extern "C" fn(
    *mut qjs::JSContext,
    qjs::JSValue,
    c_int,
    *mut qjs::JSValue,
    c_int,
) -> qjs::JSValue;

pub(super) fn install<'js>(scene: &Scene<'js>) -> rquickjs::Result<()> {
    let ctx = &scene.ctx;
    let generator: Value<'js> = ctx.eval("(async function* () {})")?;
    // SAFETY: the value is live. The class of these objects has the number before that of functions of async generators,
    // and is one of the engine's own, which all have a place in the list of prototypes.
    let (class, prototype) = unsafe {
        let class = qjs::JS_GetClassID(generator.as_raw()) - 1;
        let raw = qjs::JS_GetClassProto(ctx.as_raw().as_ptr(), class);
        (class, Value::from_raw(ctx.clone(), raw))
    };
    let prototype = Object::from_value(prototype)?;
    let names: Vec<String> = prototype
        .own_keys(Filter::new().string())
        .collect::<rquickjs::Result<_>>()?;
    if names != NAMES {
        return Err(Exception::throw_internal(
            ctx,
            "another class of the engine",
        ));
    }
    let mut options = EvalOptions::default();
    options.filename = Some(PRELUDE_FILE_NAME.to_owned());
    let methods: Function<'js> = ctx.eval_with_options(METHODS, options)?;
    let state = |part: Part| c_int::try_from(class).unwrap_or_default() * 2 + part as c_int;
    let methods: Object<'js> = methods.call((
        function(scene, c"iterator", 1, read_part, state(Part::Iterator))?,
        function(scene, c"next", 1, read_part, state(Part::Next))?,
        function(scene, c"resolved", 1, settled, Settled::Resolved as c_int)?,
        function(scene, c"rejected", 1, settled, Settled::Rejected as c_int)?,
        function(scene, c"after", 3, after, 0)?,
    ))?;
    for name in NAMES {
        let method: Function<'js> = methods.get(name)?;
        prototype.prop(name, hidden(method))?;
    }
    Ok(())
}

/// Returns a function that calls `act` with at least `length` arguments and with `magic`.
fn function<'js>(
    scene: &Scene<'js>,
    name: &CStr,
    length: c_int,
    act: HostFunction,
    magic: c_int,
) -> rquickjs::Result<Function<'js>> {
    let function = qjs::JSCFunctionType {
        generic_magic: Some(act),
    };
    let kind = qjs::JSCFunctionEnum_JS_CFUNC_generic_magic;
    let context = scene.ctx.as_raw().as_ptr();
    // SAFETY: the context lives, the engine copies the name, and reads the function as the member that `kind` names. The
    // value is new, and its one reference passes to the wrapper.
    let value = unsafe {
        let raw = qjs::JS_NewCFunction2(
            context,
            function.generic,
            name.as_ptr(),
            length,
            kind,
            magic,
        );
        Value::from_raw(scene.ctx.clone(), raw)
    };
    Function::from_js(&scene.ctx, value)
}

/// Returns the part of the object's state that `magic` names; undefined for an object of another class.
unsafe extern "C" fn read_part(
    context: *mut qjs::JSContext,
    _: qjs::JSValue,
    _: c_int,
    arguments: *mut qjs::JSValue,
    magic: c_int,
) -> qjs::JSValue {
    let magic = magic.unsigned_abs();
    // SAFETY: the engine passes at least as many arguments as the function's length, 1. The state of an object of this
    // class is `JSAsyncFromSyncIteratorData` of quickjs.c: two values, the iterator and its method `next`. The object
    // keeps them alive during the call, and the caller gets a reference of its own.
    unsafe {
        let state = qjs::JS_GetOpaque(*arguments, magic / 2).cast::<qjs::JSValue>();
        if state.is_null() {
            return qjs::JS_UNDEFINED;
        }
        qjs::JS_DupValue(context, *state.add(magic as usize % 2))
    }
}

/// Returns a promise that is resolved with the argument, or rejected with it if `magic` is [`Settled::Rejected`]. A promise
/// whose `constructor` is the engine's own is returned as it is. Throws what a getter of `constructor` throws.
unsafe extern "C" fn settled(
    context: *mut qjs::JSContext,
    _: qjs::JSValue,
    _: c_int,
    arguments: *mut qjs::JSValue,
    magic: c_int,
) -> qjs::JSValue {
    // SAFETY: the engine passes at least as many arguments as the function's length, 1, and keeps them alive.
    unsafe { qjs::JS_NewSettledPromise(context, magic == Settled::Rejected as c_int, *arguments) }
}

/// Adds two handlers to a promise. Returns the promise of what they return.
unsafe extern "C" fn after(
    context: *mut qjs::JSContext,
    _: qjs::JSValue,
    _: c_int,
    arguments: *mut qjs::JSValue,
    _: c_int,
) -> qjs::JSValue {
    // SAFETY: the engine passes at least as many arguments as the function's length, 3, and keeps them alive. It throws
    // if the first is no promise.
    unsafe { qjs::JS_PromiseThen(context, *arguments, *arguments.add(1), *arguments.add(2)) }
}

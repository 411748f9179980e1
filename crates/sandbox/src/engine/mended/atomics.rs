//! Atomics that write, which must not write to an immutable buffer, and those that wait, which must not look at the
//! length of an array after the conversion of the index has changed it.
#![allow(unsafe_code)] // calls of the engine's that its crate does not wrap

use super::{Original, call_original, replace};
use crate::engine::realm::{self, Realm, Scene};
use rquickjs::function::{Args, Params};
use rquickjs::{Exception, IntoJs, Object, Value, qjs};
use std::ptr;
use std::rc::Rc;

const WRITERS: [&str; 8] = [
    "add",
    "and",
    "compareExchange",
    "exchange",
    "or",
    "store",
    "sub",
    "xor",
];

pub(super) fn install<'js>(scene: &Scene<'js>) -> rquickjs::Result<()> {
    let atomics: Object<'js> = scene.ctx.globals().get("Atomics")?;
    for name in WRITERS {
        replace(&atomics, name, |original, params| {
            if writes_to_immutable(&params) {
                let message = "the buffer is immutable";
                return Err(Exception::throw_type(params.ctx(), message));
            }
            call_original(original, &params)
        })?;
    }
    let realm = Rc::clone(&scene.realm);
    replace(&atomics, "notify", move |original, params| {
        notify(&realm, original, &params)
    })?;
    let shared: Value<'js> = scene.ctx.eval("new SharedArrayBuffer(0)")?;
    let shared_class = class_of(&shared);
    let realm = Rc::clone(&scene.realm);
    replace(&atomics, "wait", move |original, params| {
        wait(&realm, shared_class, original, &params)
    })
}

/// Converts the arguments as `Atomics.notify` does. Returns 0: an execution has one thread, so nothing ever waits.
fn notify<'js>(
    realm: &Realm,
    original: &Original,
    params: &Params<'_, 'js>,
) -> rquickjs::Result<Value<'js>> {
    let ctx = params.ctx();
    let Some(array) = params.arg(0).filter(is_waitable) else {
        return call_original(original, params);
    };
    buffer_of(&array)?;
    index_within(realm, &array, params.arg(1))?;
    if let Some(count) = params.arg(2).filter(|count| !count.is_undefined()) {
        let mut converted = 0.0;
        // SAFETY: the context and the value live during the call.
        let status =
            unsafe { qjs::JS_ToFloat64(ctx.as_raw().as_ptr(), &raw mut converted, count.as_raw()) };
        if status != 0 {
            return Err(rquickjs::Error::Exception);
        }
    }
    0.into_js(ctx)
}

/// Calls the original with a converted index. An array that is not shared is left to the original.
fn wait<'js>(
    realm: &Realm,
    shared_class: qjs::JSClassID,
    original: &Original,
    params: &Params<'_, 'js>,
) -> rquickjs::Result<Value<'js>> {
    let ctx = params.ctx();
    let array = params.arg(0).filter(is_waitable);
    let Some(array) = array.filter(|array| {
        buffer_of(array).map_or_else(
            |_| {
                drop(ctx.catch());
                false
            },
            |buffer| class_of(&buffer) == shared_class,
        )
    }) else {
        return call_original(original, params);
    };
    let index = index_within(realm, &array, params.arg(1))?;
    let mut arguments = Args::new(ctx.clone(), params.len());
    arguments.this(params.this())?;
    arguments.push_arg(array)?;
    arguments.push_arg(index)?;
    for place in 2..params.len() {
        arguments.push_arg(params.arg(place))?;
    }
    original.clone().restore(ctx)?.call_arg(arguments)
}

/// Converts an index, and throws unless it was within the array before the conversion.
fn index_within<'js>(
    realm: &Realm,
    array: &Value<'js>,
    index: Option<Value<'js>>,
) -> rquickjs::Result<f64> {
    let ctx = array.ctx();
    let length: f64 = realm::call(ctx, &realm.typed_array_length, (array.clone(),))?;
    let mut converted = 0;
    if let Some(index) = index {
        // SAFETY: the context and the value live during the call.
        let status =
            unsafe { qjs::JS_ToIndex(ctx.as_raw().as_ptr(), &raw mut converted, index.as_raw()) };
        if status != 0 {
            return Err(rquickjs::Error::Exception);
        }
    }
    #[allow(clippy::cast_precision_loss)] // an index is below 2^53
    let converted = converted as f64;
    if converted >= length {
        return Err(Exception::throw_range(ctx, "out-of-bound access"));
    }
    Ok(converted)
}

fn is_waitable(value: &Value<'_>) -> bool {
    // SAFETY: `value` is live. The call only compares the class of an object.
    let kind = unsafe { qjs::JS_GetTypedArrayType(value.as_raw()) };
    kind == qjs::JSTypedArrayEnum_JS_TYPED_ARRAY_INT32.cast_signed()
        || kind == qjs::JSTypedArrayEnum_JS_TYPED_ARRAY_BIG_INT64.cast_signed()
}

fn class_of(value: &Value<'_>) -> qjs::JSClassID {
    // SAFETY: `value` is live. The call only reads the class of an object.
    unsafe { qjs::JS_GetClassID(value.as_raw()) }
}

/// Returns the buffer of a typed array. Throws if the array has lost its buffer or its place in it.
fn buffer_of<'js>(array: &Value<'js>) -> rquickjs::Result<Value<'js>> {
    let ctx = array.ctx();
    let null = ptr::null_mut;
    // SAFETY: the context and the array live. The engine writes no offset and no length behind null pointers. The buffer
    // that it returns has one more reference, which passes to the wrapper.
    let buffer = unsafe {
        let context = ctx.as_raw().as_ptr();
        let raw = qjs::JS_GetTypedArrayBuffer(context, array.as_raw(), null(), null(), null());
        Value::from_raw(ctx.clone(), raw)
    };
    // SAFETY: any value can be asked.
    if unsafe { qjs::JS_IsException(buffer.as_raw()) } {
        return Err(rquickjs::Error::Exception);
    }
    Ok(buffer)
}

fn writes_to_immutable(params: &Params<'_, '_>) -> bool {
    let Some(array) = params.arg(0) else {
        return false;
    };
    // SAFETY: `array` is a live value. The call only compares the class of an object.
    let is_typed_array = unsafe { qjs::JS_GetTypedArrayType(array.as_raw()) } >= 0;
    if !is_typed_array {
        return false;
    }
    let Ok(buffer) = buffer_of(&array) else {
        // The array has lost its buffer, which the original reports.
        drop(params.ctx().catch());
        return false;
    };
    // SAFETY: the buffer is a live value.
    unsafe { qjs::JS_IsImmutableArrayBuffer(buffer.as_raw()) > 0 }
}

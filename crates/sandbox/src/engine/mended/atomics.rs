//! Atomics that write, which must not write to an immutable buffer.
#![allow(unsafe_code)] // two calls of the engine's that its crate does not wrap

use super::{call_original, replace};
use crate::engine::realm::Scene;
use rquickjs::function::Params;
use rquickjs::{Exception, Object, qjs};
use std::ptr;

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
    Ok(())
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
    let context = params.ctx().as_raw().as_ptr();
    let null = ptr::null_mut;
    // SAFETY: the context and the typed array live. The engine writes no offset and no length behind null pointers.
    let buffer =
        unsafe { qjs::JS_GetTypedArrayBuffer(context, array.as_raw(), null(), null(), null()) };
    // SAFETY: any value can be asked.
    if unsafe { qjs::JS_IsException(buffer) } {
        // The array has lost its buffer, which the original reports.
        drop(params.ctx().catch());
        return false;
    }
    // SAFETY: the call above returned the buffer with one more reference, which is dropped after its last use.
    unsafe {
        let is_immutable = qjs::JS_IsImmutableArrayBuffer(buffer) > 0;
        qjs::JS_FreeValue(context, buffer);
        is_immutable
    }
}

//! The native of `structuredClone`: the class of an object, which JavaScript cannot ask for.
#![allow(unsafe_code)] // the engine's call for the class of an object, which its crate does not wrap

use super::{Tools, native};
use rquickjs::{Object, Value, qjs};

pub(super) fn natives<'js>(tools: &Tools<'js>, natives: &Object<'js>) -> rquickjs::Result<()> {
    native(tools, natives, "classOf", |value: Value<'js>| {
        // SAFETY: the value is live. The engine reads a field of it, and returns 0 for anything but an object.
        unsafe { qjs::JS_GetClassID(value.as_raw()) }
    })
}

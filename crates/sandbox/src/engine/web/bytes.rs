//! The bytes behind the views that the glue passes to natives.
#![allow(unsafe_code)] // the engine's raw calls for buffers

use crate::engine::realm::Scene;
use rquickjs::{Ctx, Exception, Value, qjs};
use std::ptr;
use std::slice;

/// Calls `act` with the bytes of a `Uint8Array`: none if its buffer is detached or has become too short. `act` may
/// allocate in the engine. It must run no guest code, which could free the bytes.
pub(super) fn read<'js, T>(
    scene: &Scene<'js>,
    view: &Value<'js>,
    act: impl FnOnce(&[u8]) -> T,
) -> rquickjs::Result<T> {
    let Some(place) = Place::of(scene, view)? else {
        return Ok(act(&[]));
    };
    // SAFETY: the buffer has so many bytes there. There is one thread, and nothing runs that could move or free them while
    // `act` looks at them.
    Ok(act(unsafe {
        slice::from_raw_parts(place.start, place.length)
    }))
}

/// Calls `act` with the bytes of two views, as [`read`] does.
pub(super) fn read_two<'js, T>(
    scene: &Scene<'js>,
    [first, second]: [&Value<'js>; 2],
    act: impl FnOnce(&[u8], &[u8]) -> T,
) -> rquickjs::Result<T> {
    read(scene, first, |first| {
        read(scene, second, |second| act(first, second))
    })?
}

/// Calls `act` with the bytes of three views, as [`read`] does.
pub(super) fn read_three<'js, T>(
    scene: &Scene<'js>,
    [first, second, third]: [&Value<'js>; 3],
    act: impl FnOnce(&[u8], &[u8], &[u8]) -> T,
) -> rquickjs::Result<T> {
    read(scene, first, |first| {
        read_two(scene, [second, third], |second, third| {
            act(first, second, third)
        })
    })?
}

/// Calls `act` with the bytes of a `Uint8Array`, as [`read`] does, to change them. `act` must not call the engine. Throws
/// a TypeError if the buffer is immutable.
pub(super) fn write<'js, T>(
    scene: &Scene<'js>,
    view: &Value<'js>,
    act: impl FnOnce(&mut [u8]) -> T,
) -> rquickjs::Result<T> {
    let Some(place) = Place::of(scene, view)? else {
        return Ok(act(&mut []));
    };
    if place.is_immutable {
        return Err(Exception::throw_type(&scene.ctx, "the buffer is immutable"));
    }
    // SAFETY: as in `read`. Nothing else refers to the bytes while `act` runs.
    Ok(act(unsafe {
        slice::from_raw_parts_mut(place.start, place.length)
    }))
}

/// The place of the bytes of a view.
struct Place {
    start: *mut u8,
    length: usize,
    is_immutable: bool,
}

impl Place {
    /// Returns the place of the bytes of a `Uint8Array`; `None` if it has none. Throws a TypeError for any other value.
    ///
    /// The length that the engine reports is that of the time at which the view was made, also for a view that follows the
    /// length of its buffer. So it is held to the length of the buffer.
    fn of<'js>(scene: &Scene<'js>, view: &Value<'js>) -> rquickjs::Result<Option<Self>> {
        if !is_view_of_bytes(view) {
            let message = "a view of bytes is needed";
            return Err(Exception::throw_type(&scene.ctx, message));
        }
        let context = scene.ctx.as_raw().as_ptr();
        let (mut offset, mut length, mut size): (qjs::size_t, qjs::size_t, qjs::size_t) = (0, 0, 0);
        // SAFETY: the context and the view are live. The engine checks the view, and hands over a reference to the buffer.
        let buffer = unsafe {
            let buffer = qjs::JS_GetTypedArrayBuffer(
                context,
                view.as_raw(),
                &raw mut offset,
                &raw mut length,
                ptr::null_mut(),
            );
            Value::from_raw(scene.ctx.clone(), buffer)
        };
        if buffer.is_exception() {
            // The buffer is detached, or has become too short.
            scene.ctx.catch();
            return Ok(None);
        }
        // SAFETY: as above. The buffer is live: the view refers to it.
        let (start, is_immutable) = unsafe {
            let start = qjs::JS_GetArrayBuffer(context, &raw mut size, buffer.as_raw());
            (start, qjs::JS_IsImmutableArrayBuffer(buffer.as_raw()) > 0)
        };
        let length = length.min(size.saturating_sub(offset));
        if start.is_null() || length == 0 {
            return Ok(None);
        }
        let [offset, length] = [offset, length].map(|bytes| usize::try_from(bytes).unwrap_or(0));
        Ok(Some(Self {
            // SAFETY: the offset lies within the buffer.
            start: unsafe { start.add(offset) },
            length,
            is_immutable,
        }))
    }
}

/// Returns whether `value` is a `Uint8Array`.
fn is_view_of_bytes(value: &Value<'_>) -> bool {
    // SAFETY: the value is live. The engine returns -1 for anything but a typed array.
    let kind = unsafe { qjs::JS_GetTypedArrayType(value.as_raw()) };
    u32::try_from(kind).is_ok_and(|kind| kind == qjs::JSTypedArrayEnum_JS_TYPED_ARRAY_UINT8)
}

/// Returns a new `ArrayBuffer` with a copy of `bytes`, in the engine's heap.
pub(super) fn new_buffer<'js>(ctx: &Ctx<'js>, bytes: &[u8]) -> rquickjs::Result<Value<'js>> {
    // SAFETY: the context is live, and the engine copies the bytes.
    let buffer = unsafe {
        qjs::JS_NewArrayBufferCopy(ctx.as_raw().as_ptr(), bytes.as_ptr(), bytes.len() as _)
    };
    made(ctx, buffer)
}

/// Returns a new `Uint8Array` with a copy of `bytes`, in the engine's heap.
pub(super) fn new_view<'js>(ctx: &Ctx<'js>, bytes: &[u8]) -> rquickjs::Result<Value<'js>> {
    // SAFETY: as above.
    let view = unsafe {
        qjs::JS_NewUint8ArrayCopy(ctx.as_raw().as_ptr(), bytes.as_ptr(), bytes.len() as _)
    };
    made(ctx, view)
}

/// Returns a new `ArrayBuffer` with a copy of `bytes`; `undefined` if there are none.
pub(super) fn new_buffer_of<'js>(
    ctx: &Ctx<'js>,
    bytes: Option<impl AsRef<[u8]>>,
) -> rquickjs::Result<Value<'js>> {
    match bytes {
        Some(bytes) => new_buffer(ctx, bytes.as_ref()),
        None => Ok(Value::new_undefined(ctx.clone())),
    }
}

/// Returns a new `Uint8Array` with a copy of `bytes`; `undefined` if there are none.
pub(super) fn new_view_of<'js>(
    ctx: &Ctx<'js>,
    bytes: Option<impl AsRef<[u8]>>,
) -> rquickjs::Result<Value<'js>> {
    match bytes {
        Some(bytes) => new_view(ctx, bytes.as_ref()),
        None => Ok(Value::new_undefined(ctx.clone())),
    }
}

fn made<'js>(ctx: &Ctx<'js>, value: qjs::JSValue) -> rquickjs::Result<Value<'js>> {
    // SAFETY: the engine has handed over its reference to the value.
    let value = unsafe { Value::from_raw(ctx.clone(), value) };
    if value.is_exception() {
        return Err(rquickjs::Error::Exception);
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use rquickjs::{Context, Runtime, Value, qjs};

    /// docs/engine.md describes the fault. If this fails, the bundled QuickJS is fixed: remove the test and the section.
    #[test]
    fn the_engine_reports_a_stale_length() {
        let runtime = Runtime::new().unwrap();
        let context = Context::full(&runtime).unwrap();
        context.with(|ctx| {
            let code = "const b = new ArrayBuffer(64, {maxByteLength: 64}), v = new Uint8Array(b); b.resize(4); v";
            let view: Value<'_> = ctx.eval(code).unwrap();
            let mut length: qjs::size_t = 0;
            let context = ctx.as_raw().as_ptr();
            // SAFETY: the context and the view are live. Nothing is read through the pointer.
            unsafe { qjs::JS_GetUint8Array(context, &raw mut length, view.as_raw()) };
            assert_eq!(length, 64, "4 is right");
        });
    }
}

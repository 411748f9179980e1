//! The memory of SharedArrayBuffers. Without these functions the engine has none that grow.
#![allow(unsafe_code)] // the engine's interface: functions in C's form, raw pointers

use crate::engine::realm::Scene;
use rquickjs::qjs;
use std::ffi::c_void;

/// The engine whose memory the buffers are. Never freed, as engines never are.
struct Owner {
    context: *mut qjs::JSContext,
    runtime: *mut qjs::JSRuntime,
}

/// Makes the engine allocate the memory of shared buffers from its own heap, so that it counts against `memoryBytes`. A
/// growing buffer takes the memory of its greatest length at once.
pub(super) fn install(scene: &Scene<'_>) {
    let context = scene.ctx.as_raw().as_ptr();
    // SAFETY: the context lives as long as `scene`. The engine copies the functions. `Owner` is never freed, and the
    // pointers in it are the engine's own.
    unsafe {
        let runtime = qjs::JS_GetRuntime(context);
        let owner = Box::into_raw(Box::new(Owner { context, runtime }));
        let functions = qjs::JSSharedArrayBufferFunctions {
            sab_alloc: Some(allocate),
            sab_free: Some(free),
            sab_dup: None,
            sab_opaque: owner.cast(),
        };
        qjs::JS_SetSharedArrayBufferFunctions(runtime, &raw const functions);
    }
}

/// Returns a block of the engine's heap. If there is none, an exception is pending.
unsafe extern "C" fn allocate(owner: *mut c_void, size: qjs::size_t) -> *mut c_void {
    // SAFETY: the engine passes the pointer that it was given, to an `Owner`, whose context lives as long as the engine.
    unsafe { qjs::js_malloc((*owner.cast::<Owner>()).context, size) }
}

unsafe extern "C" fn free(owner: *mut c_void, block: *mut c_void) {
    // SAFETY: as above. The block is one of `allocate`'s.
    unsafe { qjs::js_free_rt((*owner.cast::<Owner>()).runtime, block) }
}

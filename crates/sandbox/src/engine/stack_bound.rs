//! The start of the engine's stack measurement.
//!
//! The engine measures from where its runtime was created: on the zygote's stack. A job process has a stack of its own,
//! elsewhere.
#![allow(unsafe_code)] // the one call of the engine's that its crate keeps to itself

use rquickjs::{Ctx, qjs};

/// Makes the engine measure its stack from the caller of this function.
pub(super) fn count_from_here(ctx: &Ctx<'_>) {
    let context = ctx.as_raw().as_ptr();
    // SAFETY: the context and its runtime live as long as `ctx`. The call stores the address of its own frame.
    unsafe { qjs::JS_UpdateStackTop(qjs::JS_GetRuntime(context)) };
}

//! From where the engine measures its stack.
//!
//! It remembers where its runtime was made: on the zygote's stack. A job process has a stack of its own, somewhere else.
#![allow(unsafe_code)] // the one call of the engine's that its crate keeps to itself

use rquickjs::{Ctx, qjs};

/// The engine's bound on its stack counts from the caller of this.
pub(super) fn count_from_here(ctx: &Ctx<'_>) {
    let context = ctx.as_raw().as_ptr();
    // SAFETY: the context is live while `ctx` is, and so is its runtime; the call stores the address of its own frame.
    unsafe { qjs::JS_UpdateStackTop(qjs::JS_GetRuntime(context)) };
}

//! The start of the engine's stack measurement.
//!
//! The engine measures from where its runtime was created: on the zygote's stack. A job process has a stack of its own,
//! elsewhere.
#![allow(unsafe_code)] // the one call of the engine's that its crate keeps to itself

use rquickjs::{Ctx, qjs};

/// Stack of a script with tools below the limit of all scripts, bytes. The engine finds an overflow before it enters a
/// function with too many bytes of arguments and variables. No function has as many as this without using the stack down to
/// the limit first: a call has at most 65,535 arguments of 16 bytes, and so have variables and the operands of a function.
pub(super) const MARGIN_BYTES: usize = 4 << 20;

/// Returns the address of the caller's frame on the stack, approximately.
#[inline(never)]
pub(super) fn position() -> usize {
    let here = 0_u8;
    (&raw const here).addr()
}

/// Makes the engine measure its stack from the caller of this function.
pub(super) fn count_from_here(ctx: &Ctx<'_>) {
    let context = ctx.as_raw().as_ptr();
    // SAFETY: the context and its runtime live as long as `ctx`. The call stores the address of its own frame.
    unsafe { qjs::JS_UpdateStackTop(qjs::JS_GetRuntime(context)) };
}

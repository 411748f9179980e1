//! Compiling a text whose first line has a chosen number.
//!
//! The host writes lines before a text of the user, and the lines and columns of the user's text stay as they are.
#![allow(unsafe_code)] // the one call of the engine's that its crate keeps to itself

use rquickjs::{Ctx, Error, Value, qjs};
use std::ffi::CString;

/// Compiles `text` as a sloppy script whose first line has the number `first_line`, and runs it if `runs`. Returns its
/// completion value; `None` if it did not run.
pub(super) fn evaluate<'js>(
    ctx: &Ctx<'js>,
    name: &str,
    text: String,
    first_line: i32,
    runs: bool,
) -> rquickjs::Result<Option<Value<'js>>> {
    let name = CString::new(name)?;
    let text = CString::new(text)?;
    let mut flags = qjs::JS_EVAL_TYPE_GLOBAL;
    if !runs {
        flags |= qjs::JS_EVAL_FLAG_COMPILE_ONLY;
    }
    let mut options = qjs::JSEvalOptions {
        version: i32::try_from(qjs::JS_EVAL_OPTIONS_VERSION).unwrap_or_default(),
        eval_flags: i32::try_from(flags).unwrap_or_default(),
        filename: name.as_ptr(),
        line_num: first_line,
    };
    let context = ctx.as_raw().as_ptr();
    let length = text.as_bytes().len();
    // SAFETY: the context lives as long as `ctx`. The texts end with NUL, and they and the options outlive the call,
    // which keeps none of them. The value that it returns belongs to the caller.
    let value = unsafe {
        let value = qjs::JS_Eval2(context, text.as_ptr(), length as _, &raw mut options);
        Value::from_raw(ctx.clone(), value)
    };
    // SAFETY: the tag of a value is read, and nothing behind it.
    if unsafe { qjs::JS_IsException(value.as_raw()) } {
        return Err(Error::Exception);
    }
    // What was only compiled is no value of the language. It is released here.
    Ok(runs.then_some(value))
}

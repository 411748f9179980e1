//! JavaScript of this program's own as bytecode. The build script compiles it.
#![allow(unsafe_code)] // the engine's call for bytecode, which its crate wraps for modules only

use crate::engine::realm::PRELUDE_FILE_NAME;
use rquickjs::context::EvalOptions;
use rquickjs::{Ctx, FromJs, Value, qjs};
use std::ffi::c_int;

/// Bytecode of a script of this folder.
#[cfg(not(sandpiper_asan))]
macro_rules! bytecode {
    ($name:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".bytecode"))
    };
}

/// `make test-asan` has no build script: with the sanitizer's flags it would not link. So it reads the source.
#[cfg(sandpiper_asan)]
macro_rules! bytecode {
    ($name:literal) => {
        include_bytes!(concat!($name, ".js"))
    };
}

pub(in crate::engine) use bytecode;

/// Evaluates a script. Returns its value.
pub(in crate::engine) fn read<'js, T: FromJs<'js>>(
    ctx: &Ctx<'js>,
    script: &[u8],
) -> rquickjs::Result<T> {
    if cfg!(sandpiper_asan) {
        let mut options = EvalOptions::default();
        options.filename = Some(PRELUDE_FILE_NAME.to_owned());
        return ctx.eval_with_options(script, options);
    }
    let context = ctx.as_raw().as_ptr();
    let flags = c_int::try_from(qjs::JS_READ_OBJ_BYTECODE).unwrap_or_default();
    // SAFETY: the engine trusts bytecode, and this is what the same engine wrote: it is part of this program, which guest
    // code cannot change. Evaluating frees the function that was read.
    let value = unsafe {
        let function = qjs::JS_ReadObject(context, script.as_ptr(), script.len() as _, flags);
        if qjs::JS_IsException(function) {
            return Err(rquickjs::Error::Exception);
        }
        Value::from_raw(ctx.clone(), qjs::JS_EvalFunction(context, function))
    };
    if value.is_exception() {
        return Err(rquickjs::Error::Exception);
    }
    T::from_js(ctx, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rquickjs::{Context, Runtime};
    use std::ffi::CString;
    use std::slice;

    /// Compiles a script as the build script does.
    fn compile(ctx: &Ctx<'_>, source: &str, file_name: &str) -> Vec<u8> {
        let (text, name) = (
            CString::new(source).unwrap(),
            CString::new(file_name).unwrap(),
        );
        let context = ctx.as_raw().as_ptr();
        let eval = qjs::JS_EVAL_TYPE_GLOBAL | qjs::JS_EVAL_FLAG_COMPILE_ONLY;
        let write = qjs::JS_WRITE_OBJ_BYTECODE | qjs::JS_WRITE_OBJ_STRIP_SOURCE;
        let mut length = 0;
        // SAFETY: the context is live, both texts end with a null byte, and so many bytes come before it. The engine
        // returns so many bytes, which are freed once.
        unsafe {
            let size = source.len() as _;
            let eval = c_int::try_from(eval).unwrap();
            let function = qjs::JS_Eval(context, text.as_ptr(), size, name.as_ptr(), eval);
            let function = Value::from_raw(ctx.clone(), function);
            let write = c_int::try_from(write).unwrap();
            let bytes = qjs::JS_WriteObject(context, &raw mut length, function.as_raw(), write);
            assert!(!bytes.is_null(), "{:?}", ctx.catch());
            let copied = slice::from_raw_parts(bytes, usize::try_from(length).unwrap()).to_vec();
            qjs::js_free(context, bytes.cast());
            copied
        }
    }

    #[test]
    fn the_engine_of_the_build_is_the_engine_that_reads() {
        let context = Context::full(&Runtime::new().unwrap()).unwrap();
        context.with(|ctx| {
            let compiled = compile(&ctx, include_str!("url.js"), "sandpiper:prelude/url");
            assert!(
                compiled == bytecode!("url"),
                "the build script compiles otherwise"
            );
        });
    }

    #[test]
    fn no_source_is_left() {
        let remark = b"as https://url.spec.whatwg.org/ has them";
        assert!(
            !bytecode!("url")
                .windows(remark.len())
                .any(|window| window == remark)
        );
    }
}

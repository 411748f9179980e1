//! The layout of the sandbox program in memory, and the bytecode of the web APIs.
#![allow(unsafe_code)] // the engine's calls for bytecode

use rquickjs::context::intrinsic;
use rquickjs::{Context, Ctx, Runtime, Value, qjs};
use std::error::Error;
use std::ffi::{CString, OsStr, c_int};
use std::path::{Path, PathBuf};
use std::{env, fs, slice};

/// The JavaScript of the web APIs and of tools: a script in each file.
const GLUE: [&str; 2] = ["src/engine/web", "src/engine/tools"];
/// The start of the file names in stack traces, by which the sandbox leaves the frames out.
const FILE_NAME: &str = "sandpiper:prelude/";

fn main() -> Result<(), Box<dyn Error>> {
    // Each segment of the program begins at a multiple of two megabytes, so that a zygote can put it on huge pages
    // (src/huge_pages.rs). This costs address space, not file size.
    println!("cargo::rustc-link-arg-bins=-Wl,-z,max-page-size=2097152");
    println!("cargo::rerun-if-changed=build.rs");
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    for folder in GLUE {
        compile_glue(&package.join(folder))?;
    }
    Ok(())
}

/// Compiles each script of a folder to bytecode in `OUT_DIR`. A zygote that compiled them at its start would take some
/// milliseconds longer.
///
/// The engine of this program is the one that will read the bytecode: a test in `src/engine/web/bytecode.rs` compares what
/// both compile.
fn compile_glue(folder: &Path) -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={}", folder.display());
    // The first step of the Dockerfile builds without sources.
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    let target = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let context = Context::custom::<intrinsic::Eval>(&Runtime::new()?)?;
    for entry in entries {
        let path = entry?.path();
        if path.extension() != Some(OsStr::new("js")) {
            continue;
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let source = fs::read_to_string(&path)?;
        let bytecode = context.with(|ctx| compile(&ctx, &source, &format!("{FILE_NAME}{name}")))?;
        fs::write(target.join(format!("{name}.bytecode")), bytecode)?;
    }
    Ok(())
}

/// Compiles a script. The functions in the bytecode have their positions, and no source text.
fn compile(ctx: &Ctx<'_>, source: &str, file_name: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let (text, name) = (CString::new(source)?, CString::new(file_name)?);
    let flags = |flags: u32| c_int::try_from(flags);
    let compile_only = flags(qjs::JS_EVAL_TYPE_GLOBAL | qjs::JS_EVAL_FLAG_COMPILE_ONLY)?;
    let without_source = flags(qjs::JS_WRITE_OBJ_BYTECODE | qjs::JS_WRITE_OBJ_STRIP_SOURCE)?;
    let context = ctx.as_raw().as_ptr();
    // SAFETY: the context is live, both texts end with a null byte, and so many bytes come before it.
    let function = unsafe {
        let length = source.len() as _;
        let function = qjs::JS_Eval(context, text.as_ptr(), length, name.as_ptr(), compile_only);
        Value::from_raw(ctx.clone(), function)
    };
    if function.is_exception() {
        return Err(format!("{file_name}: {:?}", ctx.catch()).into());
    }
    let mut length = 0;
    // SAFETY: the context and the function are live.
    let bytes =
        unsafe { qjs::JS_WriteObject(context, &raw mut length, function.as_raw(), without_source) };
    if bytes.is_null() {
        return Err(format!("{file_name}: {:?}", ctx.catch()).into());
    }
    // SAFETY: the engine has written so many bytes. They are freed once.
    unsafe {
        let copied = slice::from_raw_parts(bytes, usize::try_from(length)?).to_vec();
        qjs::js_free(context, bytes.cast());
        Ok(copied)
    }
}

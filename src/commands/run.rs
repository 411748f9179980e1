//! The command `run`: one script, in the same sandbox, without a server.

use super::{CommandError, exit_code, program};
use crate::config::RunOptions;
use crate::http::execution_json;
use sandpiper_domain::{
    JobId, JsonText, Outcome, Script, ScriptDraft, ScriptKind, ScriptRefusal, Source,
};
use sandpiper_sandbox_client::{ExecutionHandle, Sandbox, Work};
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

/// Runs one script (`sandpiper run`). Exit status 0 means that the script succeeded, 1 that it failed.
pub fn run(options: &RunOptions) -> Result<ExitCode, CommandError> {
    options.isolation.check()?;
    let limits = options.limits.own()?;
    let script = Script::new(draft(options)?)?;
    let mut sandbox = Sandbox::start(options.isolation.sandbox(program()?))?;
    let work = Work::Script {
        script: &script,
        limits,
        entropy: rand::random(),
    };
    let execution = sandbox.run(JobId::generate(), &work, &ExecutionHandle::default())?;
    writeln!(io::stdout().lock(), "{}", execution_json(&execution)?)?;
    Ok(exit_code(execution.outcome == Outcome::Succeeded))
}

fn draft(options: &RunOptions) -> Result<ScriptDraft, CommandError> {
    let modules = options.modules.iter().map(|module| read_module(module));
    let prelude = options.prelude.as_deref().map(read_text).transpose()?;
    Ok(ScriptDraft {
        file: Some(read_source(&options.file)?),
        input: options.input.clone().map(JsonText::parse).transpose()?,
        seed: options.seed,
        kind: options.kind.unwrap_or_else(|| kind_of(&options.file)),
        language: options.language,
        modules: modules.collect::<Result<_, _>>()?,
        prelude,
        ..ScriptDraft::default()
    })
}

/// Returns the kind of script that the ending of a file's name means.
fn kind_of(path: &Path) -> ScriptKind {
    match path.extension() {
        Some(ending) if ending == "mjs" || ending == "mts" => ScriptKind::Module,
        _ => ScriptKind::Script,
    }
}

/// Reads a module that is given as `NAME=FILE` or as `FILE`.
fn read_module(given: &str) -> Result<Source, CommandError> {
    let (name, path) = match given.split_once('=') {
        Some((name, path)) => (Some(name.to_owned()), path),
        None => (None, given),
    };
    let path = Path::new(path);
    let text = read_text(path)?;
    let file_name = name.unwrap_or_else(|| format!("./{}", name_of(path)));
    Ok(Source { file_name, text })
}

fn read_source(path: &Path) -> Result<Source, CommandError> {
    let text = read_text(path)?;
    if text.len() > Script::CODE_BYTES_MAX {
        return Err(ScriptRefusal::CodeTooLarge {
            field: Script::CODE_FILE_NAME,
            bytes: text.len(),
            most: Script::CODE_BYTES_MAX,
        }
        .into());
    }
    let file_name = name_of(path);
    Ok(Source { file_name, text })
}

fn read_text(path: &Path) -> Result<String, CommandError> {
    let unreadable = |cause| CommandError::Unreadable {
        path: path.display().to_string(),
        cause,
    };
    let text = if path.as_os_str() == "-" {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(path)
    };
    let text = text.map_err(unreadable)?;
    if text.contains('\0') {
        return Err(unreadable(io::Error::other(
            "the file contains a NUL character",
        )));
    }
    Ok(text)
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .map_or_else(|| "script".to_owned(), |name| name.to_string_lossy().into())
}

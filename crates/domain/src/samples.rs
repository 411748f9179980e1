//! Sample values for the tests of every crate: the smallest value of each type that obeys its rules.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc)] // for tests

use super::{
    Ceiling, ClientKey, Execution, Job, JobId, JsonText, Limits, Outcome, Owner, Script,
    ScriptDraft, ScriptError,
};

/// Returns limits of one second and one mebibyte.
pub fn limits() -> Limits {
    let ceiling = Ceiling {
        timeout_ms: 1_000,
        memory_bytes: 1 << 20,
        output_bytes: 1 << 20,
    };
    Limits::defaults(1_000, 1 << 20, 1 << 20, &ceiling).unwrap()
}

pub fn job(client: &str, code_bytes: usize) -> Job {
    Job {
        id: JobId::generate(),
        script: script(code_bytes),
        limits: limits(),
        owner: Owner::of_client(&ClientKey::new(client)),
        client: ClientKey::new(client),
        trace: None,
    }
}

pub fn script(code_bytes: usize) -> Script {
    let draft = ScriptDraft {
        code: Some(" ".repeat(code_bytes)),
        ..ScriptDraft::default()
    };
    Script::new(draft).unwrap()
}

pub fn execution(id: JobId, outcome: Outcome) -> Execution {
    let error = ScriptError::of_service("Test", "it never ran");
    Execution::never_ran(id, limits(), outcome, error)
}

pub fn success(id: JobId, result_bytes: usize) -> Execution {
    let text = format!("\"{}\"", "r".repeat(result_bytes.saturating_sub(2)));
    Execution {
        result: Some(JsonText::parse(text).unwrap()),
        error: None,
        ..execution(id, Outcome::Succeeded)
    }
}

//! What River's rows of scripts hold, and what other clients of River may ask for in them.

use super::record::Request;
use riverqueue::JobArgs;
use sandpiper_domain::{
    Ceiling, JobId, JsonText, Limits, RequestedLimits, Script, ScriptDraft, given_json,
};
use serde::{Deserialize, Serialize};

/// River's arguments of a script. Of one that came by HTTP they are its id, and its row has the rest; other clients of River
/// give what is to be run, and an id if they want to ask for it by HTTP.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JobArgs)]
#[river(kind = "sandpiper_run")]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RunScript {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<JobId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "given_json")]
    input: Option<JsonText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limits: Option<WantedLimits>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WantedLimits {
    #[serde(default)]
    timeout_ms: Option<u64>,
    #[serde(default)]
    memory_bytes: Option<u64>,
    #[serde(default)]
    output_bytes: Option<u64>,
}

impl RunScript {
    /// Of a job whose row has what is to be run.
    pub(super) fn by_id(id: JobId) -> Self {
        Self {
            id: Some(id),
            ..Self::default()
        }
    }

    /// What another client of River wants run, held to the rules that hold for everybody.
    pub(super) fn request(&self, defaults: &Limits, ceiling: &Ceiling) -> Result<Request, String> {
        let script = Script::new(ScriptDraft {
            code: self.code.clone(),
            input: self.input.clone(),
            seed: self.seed,
            ..ScriptDraft::default()
        });
        let wanted = self.limits.clone().unwrap_or_default();
        let wanted = RequestedLimits {
            timeout_ms: wanted.timeout_ms,
            memory_bytes: wanted.memory_bytes,
            output_bytes: wanted.output_bytes,
        };
        Ok(Request {
            script: script.map_err(|refusal| refusal.to_string())?,
            limits: Limits::within(&wanted, defaults, ceiling)
                .map_err(|error| error.to_string())?,
            trace: None,
        })
    }
}

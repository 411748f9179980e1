//! Arguments of a River job that runs a script, and the requests that other River clients may make with them.

use riverqueue::JobArgs;
use sandpiper_domain::{
    Ceiling, ClientKey, Job, JobId, JsonText, Language, Limits, Owner, RequestedLimits, Script,
    ScriptDraft, ScriptKind, Source, given_json,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// River's queue of plain scripts, which nodes of every version work.
pub(super) const QUEUE: &str = "sandpiper";
/// River's queue of other scripts without tools: of another kind or language, with modules or with a prelude. Nodes of earlier
/// versions do not work it. They would run a module as a script.
pub(super) const KINDS_QUEUE: &str = "sandpiper-kinds";
/// River's queue of scripts with tools. Nodes of earlier versions do not work it: they know no rounds.
pub(super) const TOOLS_QUEUE: &str = "sandpiper-tools";
pub(super) const QUEUES: [&str; 3] = [QUEUE, KINDS_QUEUE, TOOLS_QUEUE];
/// All queues as a list of SQL.
pub(super) const QUEUE_LIST: &str = "'sandpiper', 'sandpiper-kinds', 'sandpiper-tools'";

/// Returns River's queue for a script.
pub(super) fn queue_of(script: &Script) -> &'static str {
    if script.is_plain() {
        QUEUE
    } else if script.tools().is_some() {
        TOOLS_QUEUE
    } else {
        KINDS_QUEUE
    }
}

/// The arguments of a script in River. A job that was submitted by HTTP has only its id: the row in `sandpiper_jobs` has the
/// request. Other River clients give the request itself, and an id if they want to query the job by HTTP.
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kind: Option<ScriptKind>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    language: Option<Language>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    modules: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prelude: Option<String>,
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
    /// Makes the arguments of a job whose row has the request.
    pub(super) fn by_id(id: JobId) -> Self {
        Self {
            id: Some(id),
            ..Self::default()
        }
    }

    /// Returns the job of another River client, or the rule that it breaks. The rules are those of HTTP.
    pub(super) fn job(
        &self,
        id: JobId,
        client: ClientKey,
        defaults: &Limits,
        ceiling: &Ceiling,
    ) -> Result<Job, String> {
        let modules = self.modules.iter().flatten();
        let modules = modules.map(|(name, text)| Source {
            file_name: name.clone(),
            text: text.clone(),
        });
        let script = Script::new(ScriptDraft {
            code: self.code.clone(),
            kind: self.kind.unwrap_or_default(),
            language: self.language.unwrap_or_default(),
            modules: modules.collect(),
            prelude: self.prelude.clone(),
            input: self.input.clone(),
            seed: self.seed,
            ..ScriptDraft::default()
        });
        let wanted = self.limits.clone().unwrap_or_default();
        let wanted = RequestedLimits {
            timeout_ms: wanted.timeout_ms,
            memory_bytes: wanted.memory_bytes,
            output_bytes: wanted.output_bytes,
            ..RequestedLimits::default()
        };
        Ok(Job {
            id,
            script: script.map_err(|refusal| refusal.to_string())?,
            limits: Limits::within(&wanted, defaults, ceiling)
                .map_err(|error| error.to_string())?,
            owner: Owner::default(),
            client,
            trace: None,
        })
    }
}

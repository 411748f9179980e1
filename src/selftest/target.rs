//! The targets of the selftest: a sandbox of this process, or a deployment.

use super::corpus::TestScript;
use crate::http::execution_json;
use sandpiper_domain::{
    Ceiling, JobId, LimitError, Limits, RequestedLimits, Script, ScriptDraft, ScriptRefusal,
};
use sandpiper_sandbox_client::{ExecutionHandle, Sandbox, SandboxError, SandboxOptions, Work};
use serde_json::{Value, json};
use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// Maximum time of one request: a script's time, a queue, a network.
const REQUEST_WITHIN: Duration = Duration::from_secs(120);
/// Time that a deployment may keep responding that it is busy.
const BUSY_FOR: Duration = Duration::from_secs(120);
/// The wait before the next request if the response has no `Retry-After`.
const BUSY_WAIT: Duration = Duration::from_secs(1);
/// Maximum size of a response, bytes.
const RESPONSE_BYTES_MAX: u64 = 64 << 20;

/// The scripts could not be run, so nothing is known about them.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error(transparent)]
    Script(#[from] ScriptRefusal),
    #[error(transparent)]
    Limits(#[from] LimitError),
    #[error("{url}: {reason}")]
    Remote {
        url: String,
        /// The response, or the reason why there is none.
        reason: String,
    },
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("an execution could not be read: {0}")]
    Json(#[from] serde_json::Error),
}

/// Runs scripts, one at a time.
pub trait Target {
    /// Runs a script to its end, and returns the execution as the API shows it.
    fn execute(
        &mut self,
        script: &TestScript,
        timeout_ms: u32,
        memory_bytes: Option<u64>,
    ) -> Result<Value, TargetError>;
}

/// A sandbox of this process.
#[derive(Debug)]
pub struct Local(Sandbox);

impl Local {
    const DEFAULTS: Ceiling = Ceiling {
        timeout_ms: 120_000,
        memory_bytes: 32 << 20,
        output_bytes: 1 << 20,
    };

    pub fn start(options: SandboxOptions) -> Result<Self, TargetError> {
        Ok(Self(Sandbox::start(options)?))
    }

    /// Returns the isolation level, or `none`.
    #[must_use]
    pub fn level(&self) -> String {
        self.0
            .isolation()
            .map_or_else(|| "none".to_owned(), |(level, _)| level.to_string())
    }
}

impl Target for Local {
    fn execute(
        &mut self,
        script: &TestScript,
        timeout_ms: u32,
        memory_bytes: Option<u64>,
    ) -> Result<Value, TargetError> {
        let Ceiling {
            timeout_ms: longest,
            memory_bytes: most,
            output_bytes,
        } = Self::DEFAULTS;
        let defaults = Limits::defaults(longest, most, output_bytes, &Self::DEFAULTS)?;
        let requested = RequestedLimits {
            timeout_ms: Some(u64::from(timeout_ms)),
            memory_bytes,
            ..RequestedLimits::default()
        };
        let limits = Limits::within(&requested, &defaults, &Self::DEFAULTS)?;
        let script = Script::new(ScriptDraft {
            code: Some(script.code.clone()),
            kind: script.kind,
            language: script.language,
            modules: script.modules.clone(),
            ..ScriptDraft::default()
        })?;
        let work = Work::Script {
            script: &script,
            limits,
            entropy: rand::random(),
        };
        let execution = self
            .0
            .run(JobId::generate(), &work, &ExecutionHandle::default())?;
        self.0.maintain()?;
        Ok(serde_json::from_str(&execution_json(&execution)?)?)
    }
}

/// A deployment, by its base URL.
#[derive(Debug)]
pub struct Remote {
    agent: ureq::Agent,
    url: String,
}

impl Remote {
    /// Returns the target. Sends no request.
    #[must_use]
    pub fn new(url: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(REQUEST_WITHIN))
            .http_status_as_error(false)
            .build();
        Self {
            agent: config.into(),
            url: format!("{}/api/execute", url.trim_end_matches('/')),
        }
    }

    fn failed(&self, reason: impl ToString) -> TargetError {
        TargetError::Remote {
            url: self.url.clone(),
            reason: reason.to_string(),
        }
    }
}

impl Target for Remote {
    fn execute(
        &mut self,
        script: &TestScript,
        timeout_ms: u32,
        memory_bytes: Option<u64>,
    ) -> Result<Value, TargetError> {
        let mut limits = json!({"timeoutMs": timeout_ms});
        if let Some(bytes) = memory_bytes {
            limits["memoryBytes"] = bytes.into();
        }
        let mut request = json!({"code": script.code, "limits": limits});
        // A plain script is one for every version.
        if !script.language.is_javascript() {
            request["language"] = script.language.as_str().into();
        }
        if !script.kind.is_script() || !script.modules.is_empty() {
            let modules = script.modules.iter();
            let modules = modules.map(|module| (module.file_name.clone(), module.text.clone()));
            request["kind"] = script.kind.as_str().into();
            request["modules"] = modules.collect();
        }
        let request = request.to_string();
        let deadline = Instant::now() + BUSY_FOR;
        loop {
            let mut response = self
                .agent
                .post(&self.url)
                .content_type("application/json")
                .send(request.as_str())
                .map_err(|error| self.failed(error))?;
            let status = response.status().as_u16();
            let retry_after = response
                .headers()
                .get("retry-after")
                .and_then(|after| after.to_str().ok()?.parse().ok());
            let body = response
                .body_mut()
                .with_config()
                .limit(RESPONSE_BYTES_MAX)
                .read_to_string();
            let body = body.map_err(|error| self.failed(error))?;
            match status {
                200 => return Ok(serde_json::from_str(&body)?),
                // The deployment is busy, and says when to retry.
                429 | 503 if Instant::now() < deadline => {
                    thread::sleep(retry_after.map_or(BUSY_WAIT, Duration::from_secs));
                }
                _ => {
                    let start: String = body.chars().take(500).collect();
                    return Err(self.failed(format!("{status} {start}")));
                }
            }
        }
    }
}

//! Turns an HTTP request into a [`Job`]. Everything that a client sends is checked here.

use super::Api;
use super::body::{self, BodyType};
use super::caller::Caller;
use super::problem::{Code, Problem};
use super::request::{JOB_FIELDS, SubmitRequest};
use super::tool_runs::{ExecuteRun, ToolRequest};
use super::trace;
use crate::sources::SourceError;
use crate::tool_runs::first_head;
use actix_web::HttpRequest;
use actix_web::http::header::HeaderName;
use actix_web::web::{self, Payload, Query};
use sandpiper_domain::tools::{ToolLimits, Tools};
use sandpiper_domain::{
    IdempotencyKey, Job, JobId, JobTerms, Limits, Priority, Script, ScriptDraft,
};
use serde::Deserialize;
use std::sync::Arc;

const KEY_HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// Header in which the ingress names a script that it fetched. The ingress removes the header from clients' requests.
const SOURCE_HEADER: HeaderName = HeaderName::from_static("sandpiper-source");

/// The query of `POST /api/execute` and `POST /api/jobs`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SubmitQuery {
    file: Option<String>,
}

/// A request to run a script now.
#[derive(Debug)]
pub(super) enum RunNow {
    Script(Arc<Job>),
    WithTools(Box<ExecuteRun>),
}

impl RunNow {
    pub(super) fn job(&self) -> &Job {
        match self {
            Self::Script(job) => job,
            Self::WithTools(run) => run.job(),
        }
    }

    /// Returns false for a request that continues an execution.
    pub(super) fn begins_execution(&self) -> bool {
        match self {
            Self::Script(_) => true,
            Self::WithTools(run) => run.is_first(),
        }
    }
}

/// A request to run a script later.
#[derive(Debug, Clone)]
pub(super) struct RunLater {
    pub(super) job: Arc<Job>,
    pub(super) terms: JobTerms,
    /// The first state of a job with tools.
    pub(super) tool_head: Option<Vec<u8>>,
}

/// A request that was read.
struct Submitted {
    job: Job,
    terms: JobTerms,
    tools: ToolRequest,
}

/// Reads and checks a request to run a script now.
pub(super) async fn read_now(
    api: &Api,
    caller: &Caller,
    request: &HttpRequest,
    payload: Payload,
) -> Result<RunNow, Problem> {
    if request.headers().contains_key(KEY_HEADER) {
        let detail =
            "`Idempotency-Key` is for POST /api/jobs; an execution sent again would run again";
        return Err(Problem::invalid_field("Idempotency-Key", detail));
    }
    let Submitted { job, terms, tools } = read(api, caller, request, payload).await?;
    let are_given: [bool; JOB_FIELDS.len()] = [
        terms.run_at.is_some(),
        terms.priority != Priority::default(),
    ];
    for (field, is_given) in JOB_FIELDS.into_iter().zip(are_given) {
        if is_given {
            let detail = format!("`{field}` is for POST /api/jobs; this runs now");
            return Err(Problem::invalid_field(field, detail));
        }
    }
    if job.script.tools().is_none() {
        return Ok(RunNow::Script(Arc::new(job)));
    }
    let run = ExecuteRun::read(api, job, tools)?;
    Ok(RunNow::WithTools(Box::new(run)))
}

/// Reads and checks a request to run a script later.
pub(super) async fn read_later(
    api: &Api,
    caller: &Caller,
    request: &HttpRequest,
    payload: Payload,
) -> Result<RunLater, Problem> {
    let mut values = request.headers().get_all(KEY_HEADER);
    let key = match values.next() {
        None => None,
        Some(value) => {
            let key = value.to_str().ok().and_then(IdempotencyKey::new);
            let key = key.filter(|_| values.next().is_none());
            Some(key.ok_or_else(|| {
                let detail = format!(
                    "`Idempotency-Key` must be one header of 1 to {} visible ASCII characters",
                    IdempotencyKey::BYTES_MAX
                );
                Problem::invalid_field("Idempotency-Key", detail)
            })?)
        }
    };
    let Submitted { job, terms, tools } = read(api, caller, request, payload).await?;
    if let Some(field) = tools.of_execute {
        let detail =
            format!("`{field}` is for POST /api/execute; answers to a job go to its own path");
        return Err(Problem::invalid_field(field, detail));
    }
    let tool_head = match job.script.tools() {
        None => None,
        Some(_) => {
            let requested = &tools.requested_limits;
            let limits = ToolLimits::of_job(requested, &job.limits)?;
            let names_call_timeout = requested.call_timeout_ms.is_some();
            Some(first_head(
                &job,
                limits,
                tools.unawaited,
                names_call_timeout,
            ))
        }
    };
    Ok(RunLater {
        job: Arc::new(job),
        terms: JobTerms { key, ..terms },
        tool_head,
    })
}

async fn read(
    api: &Api,
    caller: &Caller,
    request: &HttpRequest,
    payload: Payload,
) -> Result<Submitted, Problem> {
    let query = Query::<SubmitQuery>::from_query(request.query_string())
        .map_err(|error| Problem::invalid_field("query", format!("the query: {error}")))?;
    let mut submitted = match body::type_of(request.headers()) {
        Ok(BodyType::Json) => {
            let body = body::read(api, request, payload).await?;
            if body.is_empty() && query.file.is_some() {
                SubmitRequest::default()
            } else {
                SubmitRequest::from_json(&body)?
            }
        }
        Ok(BodyType::Multipart(boundary)) => {
            let body = body::read(api, request, payload).await?;
            SubmitRequest::from_form(body, boundary).await?
        }
        Err(refusal) => return Err(refusal),
    };
    if let Some(file) = query.into_inner().file {
        submitted.set_file_from_query(file)?;
    }
    let tools = submitted.tools()?;
    let of_tools = submitted.first_of_tools().filter(|_| tools.is_none());
    if let Some(field) = of_tools {
        let detail = format!("`{field}` is for a request with `tools`, and this one has none");
        return Err(Problem::invalid_field(&field, detail));
    }
    let requested_limits = submitted.limits.unwrap_or_default();
    let tool_request = ToolRequest {
        requested_limits,
        unawaited: submitted.unawaited.unwrap_or_default(),
        answers: submitted.answers()?.unwrap_or_default(),
        of_execute: submitted.first_of_execute(),
        replay: submitted.replay.take(),
    };
    let limits = Limits::within(&requested_limits, &api.defaults, &api.ceiling)?;
    let source = match submitted.source {
        Some(_) => Some(source_of(api, request).await?),
        None => None,
    };
    let terms = JobTerms {
        run_at: submitted.run_at,
        priority: submitted.priority.unwrap_or_default(),
        requested_limits,
        unawaited: submitted.unawaited,
        key: None,
        replay_only: false,
        reserves_cpu: false,
    };
    let job = Job {
        id: JobId::generate(),
        script: Script::new(draft(api, submitted, source, tools)?)?,
        limits,
        owner: caller.owner.clone(),
        client: caller.client.clone(),
        trace: trace::of(request),
    };
    Ok(Submitted {
        job,
        terms,
        tools: tool_request,
    })
}

/// Returns the script that the ingress fetched, named by the request's header.
async fn source_of(api: &Api, request: &HttpRequest) -> Result<String, Problem> {
    let unsupported =
        |detail: &str| Problem::new(Code::Unsupported, detail).with("field", "source");
    let Some(folder) = api.sources.clone() else {
        return Err(unsupported(
            "`source` is not supported here: it needs --sources-dir, and an ingress with --source-allow",
        ));
    };
    let header = request.headers().get(SOURCE_HEADER);
    let sha256 = header
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    let Some(sha256) = sha256 else {
        return Err(unsupported(
            "`source` was not fetched: it must be JSON that came through an ingress with --source-allow",
        ));
    };
    let read = web::block(move || folder.read(&sha256)).await;
    read.unwrap_or(Err(SourceError::Missing))
        .map_err(|error| match error {
            SourceError::NoName => Problem::invalid_field("source", error.to_string()),
            SourceError::Missing => Problem::new(Code::SourceMissing, error.to_string()),
        })
}

fn draft(
    api: &Api,
    submitted: SubmitRequest,
    source: Option<String>,
    tools: Option<Tools>,
) -> Result<ScriptDraft, Problem> {
    let kind = submitted.kind.unwrap_or_default();
    if submitted.file.is_some() && !kind.is_script() {
        let detail = format!(
            "`file` is a script and cannot be run as a {}; give a text as `code`",
            kind.as_str()
        );
        return Err(Problem::new(Code::Unsupported, detail).with("field", "file"));
    }
    let file = match submitted.file {
        None => None,
        Some(name) => match api.scripts.get(&name) {
            Some(example) => Some(example.source.clone()),
            None => return Err(script_not_found(&name)),
        },
    };
    Ok(ScriptDraft {
        code: submitted.code,
        source,
        file,
        input: submitted.input,
        globals: submitted.globals,
        seed: submitted.seed,
        kind,
        language: submitted.language.unwrap_or_default(),
        modules: submitted.modules,
        prelude: submitted.prelude,
        tools,
    })
}

/// Returns the problem of a name that is not an example script's. A path never is.
pub(super) fn script_not_found(name: &str) -> Problem {
    let shown: String = name.chars().take(100).collect();
    Problem::new(
        Code::ScriptNotFound,
        format!("no example script is called \"{shown}\"; GET /api/scripts lists them"),
    )
    .with("field", "file")
}

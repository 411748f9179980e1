//! From an HTTP request to a [`Submission`]: the border where everything a client says is checked.

use super::Api;
use super::body::{self, BodyType};
use super::client::client_of;
use super::fields::Fields;
use super::form;
use super::problem::{Code, Problem};
use crate::actors::answers::Submission;
use crate::domain::{JobId, Limits, Script, ScriptDraft};
use actix_web::HttpRequest;
use actix_web::web::{Payload, Query};
use serde::Deserialize;
use std::sync::Arc;

/// The query of execute and jobs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SubmitQuery {
    file: Option<String>,
}

/// Reads and checks a whole request.
pub(super) async fn read(
    api: &Api,
    request: &HttpRequest,
    payload: Payload,
) -> Result<Submission, Problem> {
    let query = Query::<SubmitQuery>::from_query(request.query_string())
        .map_err(|error| Problem::invalid_field("query", format!("the query: {error}")))?;
    let mut fields = match body::type_of(request.headers()) {
        Ok(BodyType::Json) => {
            let body = body::read(api, request, payload).await?;
            if body.is_empty() && query.file.is_some() {
                Fields::default()
            } else {
                Fields::from_json(&body)?
            }
        }
        Ok(BodyType::Multipart(boundary)) => {
            let body = body::read(api, request, payload).await?;
            form::fields(body, boundary).await?
        }
        Err(refusal) => return Err(refusal),
    };
    if let Some(file) = query.into_inner().file {
        fields.set_file_from_query(file)?;
    }
    let limits = Limits::within(&fields.limits, &api.defaults, &api.ceiling)?;
    let script = Script::new(draft(api, fields)?)?;
    Ok(Submission {
        id: JobId::generate(),
        script: Arc::new(script),
        limits,
        client: client_of(api, request),
    })
}

fn draft(api: &Api, fields: Fields) -> Result<ScriptDraft, Problem> {
    let file = match fields.file {
        None => None,
        Some(name) => match api.scripts.get(&name) {
            Some(example) => Some(example.source.clone()),
            None => return Err(script_not_found(&name)),
        },
    };
    Ok(ScriptDraft {
        code: fields.code,
        file,
        input: fields.input,
        globals: fields.globals,
        seed: fields.seed,
    })
}

/// No example script has this name; a path is never one.
pub(super) fn script_not_found(name: &str) -> Problem {
    let shown: String = name.chars().take(100).collect();
    Problem::new(
        Code::ScriptNotFound,
        format!("no example script is called \"{shown}\"; GET /api/scripts lists them"),
    )
    .with("field", "file")
}

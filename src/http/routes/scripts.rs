//! `/api/scripts`: the example scripts.

use super::json;
use crate::http::Api;
use crate::http::problem::Problem;
use crate::http::submission::script_not_found;
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use serde::Serialize;
use utoipa::ToSchema;

/// An example script.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Script)]
struct ScriptView<'a> {
    /// Name of the script, to be given as `file`.
    name: &'a str,
    /// Description of the script.
    description: &'a str,
    /// Expected result.
    expect: &'a str,
    /// Size, bytes.
    bytes: usize,
}

/// The example scripts.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ScriptList)]
struct ScriptListView<'a> {
    /// All example scripts.
    scripts: Vec<ScriptView<'a>>,
}

/// List the example scripts
#[utoipa::path(get, operation_id = "listScripts", path = "/api/scripts", tag = "scripts", responses((status = 200, description = "The example scripts", body = ScriptListView<'_>)))]
pub(super) async fn list(api: Data<Api>) -> Result<HttpResponse, Problem> {
    let scripts = api.scripts.iter().map(|example| ScriptView {
        name: &example.source.file_name,
        description: &example.description,
        expect: &example.expect,
        bytes: example.source.text.len(),
    });
    let view = ScriptListView {
        scripts: scripts.collect(),
    };
    json(StatusCode::OK, &view)
}

/// Get the text of an example script
#[utoipa::path(
    get,
    operation_id = "getScript", path = "/api/scripts/{name}",
    tag = "scripts",
    params(("name" = String, Path, description = "Name from `GET /api/scripts`")),
    responses((status = 200, description = "Text of the script", body = String, content_type = "text/javascript; charset=utf-8"))
)]
pub(super) async fn show(api: Data<Api>, name: Path<String>) -> Result<HttpResponse, Problem> {
    let Some(example) = api.scripts.get(&name) else {
        return Err(script_not_found(&name));
    };
    Ok(HttpResponse::Ok()
        .content_type("text/javascript; charset=utf-8")
        .body(example.source.text.clone()))
}

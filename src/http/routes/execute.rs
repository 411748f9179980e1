//! `POST /api/execute`: run it now, answer when it has ended.

use super::json_with;
use crate::http::problem::Problem;
use crate::http::view::ExecutionView;
use crate::http::{Api, submission};
use actix_web::http::header::LOCATION;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

/// Runs it now, and answers when it has ended. A script's failure is data: whatever became of it, the answer is 200.
#[utoipa::path(
    post,
    operation_id = "execute", path = "/api/execute",
    tag = "run",
    params(("file" = Option<String>, Query, description = "As `file` in the body")),
    responses((
        status = 200,
        description = "It has ended, well or not: `outcome` says how",
        body = ExecutionView<'_>,
        headers(("Location" = String, description = "Where the result stays readable for a while"))
    ))
)]
pub(super) async fn execute(
    api: Data<Api>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let submission = submission::read_now(&api, &request, payload).await?;
    let execution = api.dispatcher.execute(submission).await?;
    let mut response = HttpResponse::Ok();
    response.insert_header((LOCATION, format!("/api/jobs/{}", execution.id)));
    json_with(response, &ExecutionView::from(&*execution))
}

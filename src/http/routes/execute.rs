//! `POST /api/execute`: run it now, answer when it has ended.

use super::json_with;
use crate::http::problem::Problem;
use crate::http::view::ExecutionView;
use crate::http::{Api, submission};
use actix_web::http::header::LOCATION;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

/// A script's failure is data: whatever became of it, the answer is 200.
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

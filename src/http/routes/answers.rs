//! `POST /api/jobs/<id>/answers`: the answers to calls of a job with tools.

use super::jobs::{found, id_of, is_readers_turn, show_job};
use crate::http::body::{self, BodyType};
use crate::http::caller::Caller;
use crate::http::prefer;
use crate::http::problem::{Code, Problem};
use crate::http::request::AnswersRequest;
use crate::http::view::JobView;
use crate::http::{Api, tool_runs};
use actix_web::http::StatusCode;
use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};

/// Answer calls of a job
///
/// All answers of a request are taken, or none. The job goes on at once. With `Prefer: wait`, the response comes once the job
/// has ended or waits for its reader again.
#[utoipa::path(
    post,
    operation_id = "answerCalls", path = "/api/jobs/{id}/answers",
    tag = "jobs",
    params(("id" = String, Path, format = Uuid, description = "ID of the job")),
    request_body = AnswersRequest,
    responses(
        (status = 200, description = "The request waited, and the job has ended or waits for its reader", body = JobView<'_>,
            headers(("Preference-Applied" = String, description = "Granted wait"))),
        (status = 202, description = "The answers are taken", body = JobView<'_>,
            headers(
                ("Retry-After" = u64, description = "Time until the next request is worthwhile, seconds"),
                ("Preference-Applied" = String, description = "Granted wait"),
            )),
    )
)]
pub(super) async fn answer(
    api: Data<Api>,
    caller: Caller,
    request: HttpRequest,
    path: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let id = id_of(&path)?;
    if body::type_of(request.headers())? != BodyType::Json {
        let detail = "send `Content-Type: application/json`";
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    let body = body::read(&api, &request, payload).await?;
    let answers = AnswersRequest::read(&body)?;
    tool_runs::give_answers(&api, id, &caller.access, answers).await?;
    let wait = prefer::wait(request.headers(), api.bounds.wait_max);
    let now = match wait {
        Some(wait) => api.dispatcher.wait(id, &caller.access, wait).await?,
        None => api.dispatcher.get(id, &caller.access).await?,
    };
    let now = found(now)?;
    let status = match wait {
        Some(_) if is_readers_turn(&now) => StatusCode::OK,
        _ => StatusCode::ACCEPTED,
    };
    let mut response = HttpResponse::build(status);
    response.insert_header(("Vary", "Prefer"));
    if let Some(wait) = wait {
        response.insert_header(prefer::applied(wait));
    }
    show_job(response, &now)
}

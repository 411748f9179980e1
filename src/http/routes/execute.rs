//! `POST /api/execute`: run a script and respond once it has ended.

use super::json_with;
use crate::http::budget;
use crate::http::caller::Caller;
use crate::http::problem::Problem;
use crate::http::view::ExecutionView;
use crate::http::{Api, submission};
use actix_web::http::header::{HeaderName, LOCATION};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

/// Response header that tells a gateway the outcome of an execution.
pub(super) const OUTCOME: HeaderName = HeaderName::from_static("sandpiper-outcome");

/// Run a script now
///
/// The response comes once the script has ended. A script's failure is data: the status is 200 whatever the outcome.
#[utoipa::path(
    post,
    operation_id = "execute", path = "/api/execute",
    tag = "run",
    params(("file" = Option<String>, Query, description = "Same as `file` in the body")),
    responses((
        status = 200,
        description = "The execution, whatever its `outcome`",
        body = ExecutionView<'_>,
        headers(
            ("Location" = String, description = "Path at which the result stays readable for a while"),
            ("Sandpiper-Source" = String, description = "SHA-256 of the script that the ingress fetched from `source`"),
        )
    ))
)]
pub(super) async fn execute(
    api: Data<Api>,
    caller: Caller,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let budgets = budget::of(&caller, &request)?;
    let job = submission::read_now(&api, &caller, &request, payload).await?;
    // Held until the handler ends: the execution is in flight.
    let _charge = budget::charge_execution(&api, &job, budgets).await?;
    let execution = api.dispatcher.execute(job).await?;
    let mut response = HttpResponse::Ok();
    response.insert_header((LOCATION, format!("/api/jobs/{}", execution.id)));
    response.insert_header((OUTCOME, execution.outcome.as_str()));
    json_with(response, &ExecutionView::from(&*execution))
}

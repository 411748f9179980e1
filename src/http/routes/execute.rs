//! `POST /api/execute`: run a script and respond once it has ended.

use super::json_with;
use crate::http::Api;
use crate::http::budget;
use crate::http::caller::Caller;
use crate::http::execution_view::ExecutionView;
use crate::http::problem::Problem;
use crate::http::submission::{self, RunNow};
use crate::http::tool_runs::ToolResponse;
use actix_web::http::header::{HeaderName, LOCATION};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use sandpiper_domain::Execution;

/// Response header that tells a gateway the outcome of an execution.
pub(super) const OUTCOME: HeaderName = HeaderName::from_static("sandpiper-outcome");

/// The value of [`OUTCOME`] for an execution that waits.
const WAITING: &str = "waiting";

/// Run a script now
///
/// The response comes once the script has ended. A script's failure is data: the status is 200 whatever the outcome.
/// An execution with `tools` may wait for answers: `status` is then `waiting`, and the same request with `replay` and
/// `answers` continues it.
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
            ("Location" = String, description = "Path at which the result stays readable for a while; absent while the execution waits"),
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
    let submitted = submission::read_now(&api, &caller, &request, payload).await?;
    // Held until the handler ends: the execution is in flight.
    let _charge = budget::charge_execution(&api, &submitted, budgets).await?;
    match submitted {
        RunNow::Script(job) => {
            let execution = api.dispatcher.execute(job).await?;
            json_with(ended(&execution), &ExecutionView::from(&*execution))
        }
        RunNow::WithTools(run) => match run.run(&api).await? {
            ToolResponse::Ended(execution, report) => {
                let view = ExecutionView::from(&*execution).with_report(&report);
                json_with(ended(&execution), &view)
            }
            ToolResponse::Waiting(pending, report) => {
                let mut response = HttpResponse::Ok();
                response.insert_header((OUTCOME, WAITING));
                json_with(response, &ExecutionView::waiting(&pending, &report))
            }
        },
    }
}

/// Begins the response of an execution that has ended.
fn ended(execution: &Execution) -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response.insert_header((LOCATION, format!("/api/jobs/{}", execution.id)));
    response.insert_header((OUTCOME, execution.outcome.as_str()));
    response
}

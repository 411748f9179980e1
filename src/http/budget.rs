//! The budgets of a request, which the ingress sends in a header, and the headers of the response that report them.

use super::Api;
use super::caller::{Caller, text};
use super::problem::{Code, Problem};
use super::submission::{RunLater, RunNow};
use crate::actors::types::{Accepted, DispatchError};
use crate::usage::{BudgetStatus, Charge, OverBudget};
use actix_web::dev::ServiceResponse;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{HttpMessage as _, HttpRequest};
use sandpiper_domain::{BudgetScope, BudgetUnit, Budgets, JobTerms, Owner, Timestamp};
use std::time::Duration;
use tracing::error;

pub(super) const BUDGET: HeaderName = HeaderName::from_static("sandpiper-budget");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATUS: HeaderName = HeaderName::from_static("ratelimit");

/// The `Retry-After` of a request that would fit once jobs have ended and released what is reserved for them.
const RESERVED_RETRY_AFTER: Duration = Duration::from_secs(5);

/// The budgets of a request, for the headers of its response.
#[derive(Debug, Clone)]
struct Budgeted {
    owner: Owner,
    budgets: Budgets,
}

/// Returns the budgets of a request, and notes them for its response. Budgets that cannot be read refuse the request: they
/// would otherwise be no budgets.
pub(super) fn of(caller: &Caller, request: &HttpRequest) -> Result<Option<Budgets>, Problem> {
    let Some(budgets) = read(caller, request)? else {
        return Ok(None);
    };
    request.extensions_mut().insert(Budgeted {
        owner: caller.owner.clone(),
        budgets,
    });
    Ok(Some(budgets))
}

/// Returns the budgets of a request.
pub(super) fn read(caller: &Caller, request: &HttpRequest) -> Result<Option<Budgets>, Problem> {
    let Some(text) = text(request.headers(), &BUDGET)? else {
        return Ok(None);
    };
    let unreadable = |cause: &dyn std::fmt::Display| {
        error!(
            %cause, tenant = %caller.owner.tenant,
            "the budgets of a request cannot be read, and the request is refused: check whether ingress and service are of \
             the same version"
        );
        Problem::new(
            Code::Internal,
            "the budgets of this request cannot be read; the log has the reason under this request's X-Request-ID",
        )
    };
    let budgets: Budgets = text.parse().map_err(|cause| unreadable(&cause))?;
    if caller.owner.key.is_none() && budgets.has(BudgetScope::Key) {
        return Err(unreadable(
            &"a budget is for a key, and the request has none",
        ));
    }
    Ok(Some(budgets))
}

/// Lets an execution of `POST /api/execute` through if its budgets allow it. The charge is held while it runs. An execution
/// with tools is charged as an execution with its first request.
pub(super) async fn charge_execution(
    api: &Api,
    submitted: &RunNow,
    budgets: Option<Budgets>,
) -> Result<Option<Charge>, Problem> {
    let Some(budgets) = budgets else {
        return Ok(None);
    };
    let job = submitted.job();
    let charged = match submitted.begins_execution() {
        true => api.usage.charge_execution(job, &budgets).await,
        false => api.usage.charge_continuation(job, &budgets).await,
    };
    charged.map(Some).map_err(|over| quota_exceeded(&over))
}

/// Submits a job if its budgets allow it. A repeated request gets its job whatever is used up by now.
pub(super) async fn submit(
    api: &Api,
    submitted: RunLater,
    budgets: Option<Budgets>,
) -> Result<Accepted, Problem> {
    let RunLater {
        job,
        terms,
        tool_head,
    } = submitted;
    let Some(budgets) = budgets else {
        return Ok(api.dispatcher.submit(job, terms, tool_head).await?);
    };
    let terms = JobTerms {
        reserves_cpu: budgets.has_unit(BudgetUnit::CpuSeconds),
        ..terms
    };
    let over = match api.usage.charge_job(&job, &budgets).await {
        Ok(charge) => {
            let accepted = api.dispatcher.submit(job, terms, tool_head).await?;
            if !accepted.is_replay {
                charge.accept();
            }
            return Ok(accepted);
        }
        Err(over) => over,
    };
    if terms.key.is_none() {
        return Err(quota_exceeded(&over));
    }
    let terms = JobTerms {
        replay_only: true,
        ..terms
    };
    match api.dispatcher.submit(job, terms, tool_head).await {
        Err(DispatchError::NoReplay) => Err(quota_exceeded(&over)),
        submitted => Ok(submitted?),
    }
}

fn quota_exceeded(over: &OverBudget) -> Problem {
    let OverBudget {
        policy,
        limit,
        used,
        reserved,
        is_reserved,
        resets_at,
    } = over;
    let (name, unit) = (policy.name(), policy.unit.as_str());
    let reserved = match reserved {
        0 => String::new(),
        seconds => format!(", {seconds} of them reserved for jobs that have not ended"),
    };
    let detail = format!(
        "this request would exceed the budget `{name}` of {limit} {unit}; {used} are used{reserved}, and the budget begins \
         anew at {}",
        resets_at.to_rfc3339()
    );
    let retry_after = match is_reserved {
        true => until(*resets_at).min(RESERVED_RETRY_AFTER),
        false => until(*resets_at),
    };
    Problem::new(Code::QuotaExceeded, detail)
        .with("bound", *limit)
        .retry_after(retry_after)
}

/// Adds the headers that report budgets to the response of a request that has some.
pub(super) fn add_headers<B>(api: &Api, response: &mut ServiceResponse<B>) {
    let budgeted = response.request().extensions().get::<Budgeted>().cloned();
    let Some(Budgeted { owner, budgets }) = budgeted else {
        return;
    };
    let status = api.usage.budget_status(&owner, &budgets);
    let headers = response.headers_mut();
    for (name, text) in [(POLICY, policies(&status)), (STATUS, remaining(&status))] {
        // Names and numbers are valid in a header.
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    }
}

fn policies(status: &[BudgetStatus]) -> String {
    listed(status, |budget| {
        format!("q={};w={}", budget.limit, budget.window().as_secs())
    })
}

fn remaining(status: &[BudgetStatus]) -> String {
    listed(status, |budget| {
        let seconds = until(budget.resets_at).as_millis().div_ceil(1000).max(1);
        format!("r={};t={seconds}", budget.remaining)
    })
}

/// Returns a list of structured fields (RFC 9651), an item for each budget.
fn listed(status: &[BudgetStatus], parameters: impl Fn(&BudgetStatus) -> String) -> String {
    let items = status
        .iter()
        .map(|budget| format!("\"{}\";{}", budget.policy.name(), parameters(budget)));
    items.collect::<Vec<_>>().join(", ")
}

fn until(moment: Timestamp) -> Duration {
    let now = Timestamp::now().as_unix_millis();
    Duration::from_millis(moment.as_unix_millis().saturating_sub(now))
}

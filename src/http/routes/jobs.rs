//! `/api/jobs`: submit, get, list and cancel jobs.

use super::execute::OUTCOME;
use super::json_with;
use crate::actors::types::{
    Accepted, Cancelled, DispatchError, JobSnapshot, ListQuery, Lookup, Purged,
};
use crate::http::budget;
use crate::http::caller::Caller;
use crate::http::calls_view::Report;
use crate::http::prefer;
use crate::http::problem::{Code, Problem};
use crate::http::view::{JobPageView, JobSummary, JobView};
use crate::http::{Api, submission};
use actix_web::http::StatusCode;
use actix_web::http::header::{ETag, EntityTag, Header as _, IfNoneMatch, LOCATION, RETRY_AFTER};
use actix_web::web::{Data, Path, Payload, Query};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use sandpiper_domain::{JobId, JobState};
use serde::Deserialize;
use std::hash::{DefaultHasher, Hasher as _};

const PAGE_DEFAULT: usize = 50;
const PAGE_MAX: usize = 200;
/// The `Retry-After` of a job that goes on by itself, seconds.
const RETRY_AFTER_SECONDS: &str = "1";

/// Submit a job
///
/// The response is 202 with the job's location. With `Prefer: wait`, it is 200 if the job ends in time, or waits for answers
/// to calls of its tools.
#[utoipa::path(
    post,
    operation_id = "submitJob", path = "/api/jobs",
    tag = "run",
    params(("file" = Option<String>, Query, description = "Same as `file` in the body")),
    responses(
        (status = 200, description = "The job has ended, or waits for answers: the request waited for it, or submitted it before", body = JobView<'_>,
            headers(
                ("Location" = String, description = "Path of the job"),
                ("Preference-Applied" = String, description = "Granted wait"),
                ("Idempotency-Replayed" = String, description = "`true` if the job was accepted before"),
                ("Sandpiper-Source" = String, description = "SHA-256 of the script that the ingress fetched from `source`"),
            )),
        (status = 202, description = "Accepted", body = JobView<'_>,
            headers(
                ("Location" = String, description = "Path of the job"),
                ("Retry-After" = u64, description = "Time until the next request is worthwhile, seconds"),
                ("Preference-Applied" = String, description = "Granted wait"),
                ("Idempotency-Replayed" = String, description = "`true` if the job was accepted before"),
                ("Sandpiper-Source" = String, description = "SHA-256 of the script that the ingress fetched from `source`"),
            )),
    )
)]
pub(super) async fn submit(
    api: Data<Api>,
    caller: Caller,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let budgets = budget::of(&caller, &request)?;
    let submitted = submission::read_later(&api, &caller, &request, payload).await?;
    let Accepted { job, is_replay } = budget::submit(&api, submitted, budgets).await?;
    if !caller.access.includes(&job.owner) {
        let detail = "another key of the tenant has sent this `Idempotency-Key`, and this key may not read its job; \
                      use a new key for a new request";
        return Err(Problem::new(Code::IdempotencyKeyReused, detail));
    }
    let wait = prefer::wait(request.headers(), api.bounds.wait_max);
    let now = match wait {
        Some(wait) => found(api.dispatcher.wait(job.id, &caller.access, wait).await?)?,
        // The job of an earlier request may have calls that wait.
        None if job.rounds.is_some() => found(api.dispatcher.get(job.id, &caller.access).await?)?,
        None => JobSnapshot::of(job),
    };
    let mut response = HttpResponse::build(if is_readers_turn(&now) {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    });
    response.insert_header((LOCATION, format!("/api/jobs/{}", now.job.id)));
    response.insert_header(("Vary", "Prefer"));
    if is_replay {
        response.insert_header(("Idempotency-Replayed", "true"));
    }
    if let Some(wait) = wait {
        response.insert_header(prefer::applied(wait));
    }
    show_job(response, &now)
}

/// Get a job
///
/// With `Prefer: wait`, the response is delayed until the job has ended, or waits for answers to calls of its tools.
#[utoipa::path(
    get,
    operation_id = "getJob", path = "/api/jobs/{id}",
    tag = "jobs",
    params(
        ("id" = String, Path, format = Uuid, description = "ID of the job"),
        ("If-None-Match" = Option<String>, Header, description = "`ETag` of an earlier response"),
    ),
    responses(
        (status = 200, description = "The job", body = JobView<'_>,
            headers(
                ("ETag" = String, description = "Changes with the job"),
                ("Retry-After" = u64, description = "Time until the next request is worthwhile, seconds; only while the job goes on by itself"),
                ("Preference-Applied" = String, description = "Granted wait"),
            )),
        (status = 304, description = "The job has not changed"),
    )
)]
pub(super) async fn show(
    api: Data<Api>,
    caller: Caller,
    request: HttpRequest,
    path: Path<String>,
) -> Result<HttpResponse, Problem> {
    let id = id_of(&path)?;
    let wait = prefer::wait(request.headers(), api.bounds.wait_max);
    let now = match wait {
        Some(wait) => api.dispatcher.wait(id, &caller.access, wait).await?,
        None => api.dispatcher.get(id, &caller.access).await?,
    };
    let now = found(now)?;
    let mut response = HttpResponse::Ok();
    response.insert_header(("Vary", "Prefer"));
    if let Some(wait) = wait {
        response.insert_header(prefer::applied(wait));
    }
    let tag = entity_tag(&now);
    response.insert_header(ETag(tag.clone()));
    if has_tag(&request, &tag) {
        return Ok(response.status(StatusCode::NOT_MODIFIED).finish());
    }
    show_job(response, &now)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PageQuery {
    state: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
    tenant: Option<String>,
}

/// List jobs, newest first
#[utoipa::path(
    get,
    operation_id = "listJobs", path = "/api/jobs",
    tag = "jobs",
    params(
        ("state" = Option<JobState>, Query, description = "Only jobs in this state"),
        ("limit" = Option<u32>, Query, description = "Number of jobs in a page; 50 by default", minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, description = "`nextCursor` of the previous page", format = Uuid),
        ("tenant" = Option<String>, Query, description = "Only jobs of this tenant; for keys with the scope `admin`, which list the jobs of all"),
    ),
    responses((status = 200, description = "A page of jobs", body = JobPageView))
)]
pub(super) async fn list(
    api: Data<Api>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let query = list_query(&caller, request.query_string())?;
    let access = query.access.clone();
    let page = api.dispatcher.list(query).await?;
    if page.jobs.is_empty() {
        caller.check_empty(&api, &access).await?;
    }
    let view = JobPageView {
        jobs: page.jobs.iter().map(JobSummary::from).collect(),
        next_cursor: page.next,
    };
    super::json(StatusCode::OK, &view)
}

fn list_query(caller: &Caller, text: &str) -> Result<ListQuery, Problem> {
    let query = Query::<PageQuery>::from_query(text)
        .map_err(|error| Problem::invalid_field("query", format!("the query: {error}")))?
        .into_inner();
    let state = query
        .state
        .map(|state| state.parse::<JobState>())
        .transpose()
        .map_err(|error| Problem::invalid_field("state", error.to_string()))?;
    let limit = match query.limit.map(|limit| limit.parse::<usize>()) {
        None => PAGE_DEFAULT,
        Some(Ok(limit)) if (1..=PAGE_MAX).contains(&limit) => limit,
        Some(_) => {
            let detail = format!("`limit` must be a whole number from 1 to {PAGE_MAX}");
            return Err(Problem::invalid_field("limit", detail));
        }
    };
    let before = query
        .cursor
        .map(|cursor| cursor.parse::<JobId>())
        .transpose()
        .map_err(|_| {
            let detail = "`cursor` must be the `nextCursor` of an earlier page";
            Problem::invalid_field("cursor", detail)
        })?;
    Ok(ListQuery {
        access: caller.narrowed_to(query.tenant.as_deref())?,
        state,
        limit,
        before,
    })
}

/// Cancel a job
///
/// The response comes once the job has stopped. With `Prefer: return=minimal`, it omits the execution. With `purge`, the
/// job is deleted too, and everything that is stored about it; a job that has ended can be purged as well.
#[utoipa::path(
    delete,
    operation_id = "cancelJob", path = "/api/jobs/{id}",
    tag = "jobs",
    params(
        ("id" = String, Path, format = Uuid, description = "ID of the job"),
        ("purge" = Option<String>, Query, description = "Delete everything that is stored about the job: `true`, or nothing after the name", pattern = "^(true|false)?$"),
        ("Prefer" = Option<String>, Header, description = "`return=minimal` leaves the execution out"),
    ),
    responses((status = 200, description = "The job has stopped, or is stopping; with `purge`, the job that was deleted, without its execution", body = JobView<'_>,
        headers(
            ("Preference-Applied" = String, description = "`return=minimal`, where the execution was left out"),
        )))
)]
pub(super) async fn cancel(
    api: Data<Api>,
    caller: Caller,
    request: HttpRequest,
    path: Path<String>,
) -> Result<HttpResponse, Problem> {
    let id = id_of(&path)?;
    if is_purge(request.query_string())? {
        return match api.dispatcher.purge(id, &caller.access).await? {
            Purged::Done(job) => show_job(HttpResponse::Ok(), &JobSnapshot::of(job)),
            Purged::Expired => Err(Problem::job_expired()),
            Purged::StillRuns => Err(DispatchError::JobsStillRun.into()),
            Purged::Unknown => Err(Problem::job_not_found()),
        };
    }
    match api.dispatcher.cancel(id, &caller.access).await? {
        Cancelled::Done(mut now) => {
            let mut response = HttpResponse::Ok();
            response.insert_header(("Vary", "Prefer"));
            if prefer::is_minimal(request.headers()) {
                response.insert_header(prefer::MINIMAL);
                now.job.execution = None;
            }
            show_job(response, &now)
        }
        Cancelled::AlreadyFinal(state) => Err(Problem::job_already_final(state)),
        Cancelled::Expired => Err(Problem::job_expired()),
        Cancelled::Unknown => Err(Problem::job_not_found()),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CancelQuery {
    purge: Option<String>,
}

/// Reads `?purge`, `?purge=true` or `?purge=false`.
fn is_purge(text: &str) -> Result<bool, Problem> {
    let query = Query::<CancelQuery>::from_query(text)
        .map_err(|error| Problem::invalid_field("query", format!("the query: {error}")))?;
    match query.purge.as_deref() {
        None | Some("false") => Ok(false),
        Some("" | "true") => Ok(true),
        Some(_) => {
            let detail = "`purge` must be `true` or `false`";
            Err(Problem::invalid_field("purge", detail))
        }
    }
}

pub(super) fn id_of(path: &str) -> Result<JobId, Problem> {
    path.parse().map_err(|_| Problem::job_not_found())
}

pub(super) fn found(lookup: Lookup) -> Result<JobSnapshot, Problem> {
    match lookup {
        Lookup::Found(now) => Ok(now),
        Lookup::Expired => Err(Problem::job_expired()),
        Lookup::Unknown => Err(Problem::job_not_found()),
    }
}

pub(super) fn show_job(
    mut response: HttpResponseBuilder,
    now: &JobSnapshot,
) -> Result<HttpResponse, Problem> {
    if !is_readers_turn(now) {
        response.insert_header((RETRY_AFTER, RETRY_AFTER_SECONDS));
    }
    if let Some(execution) = &now.job.execution {
        response.insert_header((OUTCOME, execution.outcome.as_str()));
    }
    let report = now
        .tools
        .as_ref()
        .map(|run| Report::of_job(run, now.job.state.is_final()));
    json_with(response, &JobView::new(now, report.as_ref()))
}

/// Returns whether nothing happens before the reader acts: the job has ended, or waits for answers.
pub(super) fn is_readers_turn(now: &JobSnapshot) -> bool {
    let waits_for_answers = now.job.state == JobState::Waiting
        && now
            .tools
            .as_ref()
            .is_some_and(|run| run.open_calls().next().is_some());
    now.job.state.is_final() || waits_for_answers
}

/// Returns a tag that changes with everything that can change in the view of a job.
fn entity_tag(now: &JobSnapshot) -> EntityTag {
    let JobSnapshot {
        job,
        queue_position,
        log,
        tools,
    } = now;
    let logged = log.as_ref().map_or(0, |log| log.next);
    let mut hasher = DefaultHasher::new();
    hasher.write(job.state.as_str().as_bytes());
    hasher.write_u32(job.attempt);
    hasher.write_usize(queue_position.unwrap_or_default());
    hasher.write_u64(logged);
    if let Some(run) = tools {
        hasher.write_u32(run.run.log.rounds());
        hasher.write_u64(run.arrivals);
    }
    hasher.write_u64(job.started_at.map_or(0, |at| at.as_unix_millis()));
    hasher.write_u64(job.finished_at.map_or(0, |at| at.as_unix_millis()));
    EntityTag::new_strong(format!("{:016x}", hasher.finish()))
}

/// Returns true if the client has the version of a job that `tag` names.
fn has_tag(request: &HttpRequest, tag: &EntityTag) -> bool {
    match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Any) => true,
        Ok(IfNoneMatch::Items(items)) => items.iter().any(|item| item.weak_eq(tag)),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::IF_NONE_MATCH;
    use actix_web::test::TestRequest;
    use sandpiper_domain::Tenant;

    #[test]
    fn an_invalid_query_names_its_parameter() {
        let caller = Caller::of_tenant(Tenant::default());
        for (query, part) in [
            ("state=done", "state"),
            ("limit=0", "limit"),
            ("limit=201", "limit"),
            ("limit=x", "limit"),
            ("cursor=1", "cursor"),
            ("page=2", "query"),
            ("tenant=a%20b", "tenant"),
        ] {
            let refusal = format!("{:?}", list_query(&caller, query).unwrap_err());
            assert!(refusal.contains(&format!("\"{part}\"")), "{refusal}");
        }
    }

    #[test]
    fn a_purge_is_asked_for_by_its_name() {
        for (query, expected) in [
            ("", false),
            ("purge", true),
            ("purge=true", true),
            ("purge=false", false),
        ] {
            assert_eq!(is_purge(query).unwrap(), expected, "{query}");
        }
        for query in ["purge=1", "purge=yes", "purged", "purge&purge"] {
            assert!(is_purge(query).is_err(), "{query}");
        }
    }

    #[test]
    fn a_tag_is_matched_alone_in_a_list_and_weakly() {
        let tag = EntityTag::new_strong("a".to_owned());
        for (client_tags, expected) in [
            ("\"a\"", true),
            ("\"b\", W/\"a\"", true),
            ("*", true),
            ("\"b\"", false),
            ("a", false),
        ] {
            let request = TestRequest::get().insert_header((IF_NONE_MATCH, client_tags));
            assert_eq!(
                has_tag(&request.to_http_request(), &tag),
                expected,
                "{client_tags}"
            );
        }
        assert!(!has_tag(&TestRequest::get().to_http_request(), &tag));
    }
}

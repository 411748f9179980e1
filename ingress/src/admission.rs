//! Whether a request may go on, decided on its head alone: its length, what it is for, where it comes from, who asks, and
//! whether it is too many. `door` calls this for each request.

use crate::asker::Asker;
use crate::browser;
use crate::client::Client;
use crate::door::{Door, door_of};
use crate::keys::{Key, Scope};
use crate::limits::{Class, Crowded, Exceeded, Standing, Visit};
use crate::meters::Refused as Refusal;
use crate::problem::{Code, Problem};
use crate::proxy::Introduction;
use crate::target::{NoTarget, Target};
use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{AUTHORIZATION, HeaderMap, HeaderName};
use std::sync::Arc;
use std::time::Duration;

/// Carries a key, as `Authorization` does.
pub(crate) const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Bytes that each header costs of `--header-bytes` beside its name and value.
const HEADER_OVERHEAD_BYTES: usize = 4;

/// A request that may go on.
pub(crate) struct Admitted {
    /// The part of the ingress that answers.
    pub target: Target,
    /// The asker, as the service is told.
    pub who: Introduction,
    /// The quota that the request was held to.
    pub standing: Option<Standing>,
    /// The place of a request that has been counted as open.
    pub visit: Option<Visit>,
}

/// A request that may not, and how its asker stands.
pub(crate) struct Refused {
    problem: Problem,
    standing: Option<Standing>,
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self {
            problem,
            standing: None,
        }
    }
}

impl From<Exceeded> for Refused {
    fn from(exceeded: Exceeded) -> Self {
        let policy = exceeded.standing.policy();
        let problem = Problem::new(
            Code::RateLimited,
            format!("the quota `{policy}` is used up; try again after the time in Retry-After"),
        );
        Self {
            problem: problem.retry_after(exceeded.retry_after),
            standing: Some(exceeded.standing),
        }
    }
}

impl Refused {
    /// The response to the refused request.
    pub(crate) fn into_response(self, request: ServiceRequest) -> ServiceResponse<BoxBody> {
        let mut response = self.problem.into_response();
        if let Some(standing) = self.standing {
            standing.write(response.headers_mut());
        }
        request.into_response(response)
    }
}

/// Decides whether a request may go on: the length of its head, its host and origin, its key, its quotas.
pub(crate) fn admit(
    request: &ServiceRequest,
    target: Result<Target, NoTarget>,
) -> Result<Admitted, Refused> {
    let door = door_of(request.request());
    check_length(door, request)?;
    let target = target.map_err(|no_target| match no_target {
        NoTarget::Method => Problem::new(Code::MethodNotAllowed, "this method is not passed on"),
        NoTarget::Path(refusal) => Problem::new(Code::InvalidPath, refusal.detail()),
    })?;
    let Some(peer) = request.peer_addr() else {
        // A connection that is gone already.
        return Err(Problem::new(Code::InvalidBody, "the connection has no peer").into());
    };
    browser::check(door, request, peer.ip(), target)?;
    let address = door.trust.client_address(peer.ip(), request.headers());
    let client = Client::of(address);
    let who = |asker| Introduction {
        address,
        asker,
        key: None,
        script: None,
    };
    let (class, scope) = match target {
        // A monitor must not be told to wait because of other requests, so these have a quota of their own.
        Target::Live | Target::Ready => {
            counted(door, door.limits.check_health(client))?;
            return Ok(Admitted {
                target,
                who: who(Asker::Client(client)),
                standing: None,
                visit: None,
            });
        }
        Target::Page | Target::Preflight => (Class::Read, None),
        Target::Api { class, scope } => (class, scope),
    };
    let key = find_key(door, request.headers(), client, scope)?;
    let (asker, standing, visit) = take_place(door, key.as_deref(), client, class)?;
    Ok(Admitted {
        target,
        who: Introduction { key, ..who(asker) },
        standing: Some(standing),
        visit: Some(visit),
    })
}

/// Holds a request to the quotas and to the open requests of its key, or of its client where it has none.
fn take_place(
    door: &Door,
    key: Option<&Key>,
    client: Client,
    class: Class,
) -> Result<(Asker, Standing, Visit), Refused> {
    let (asker, requests_max, decision) = match key {
        Some(key) => (
            Asker::Key(key.id()),
            key.requests_max(),
            door.limits.check_key(key.buckets(), class),
        ),
        None => (
            Asker::Client(client),
            door.requests_per_client,
            door.limits.check_client(client, class),
        ),
    };
    let standing = counted(door, decision)?;
    let entered = door.in_flight.enter(asker, requests_max);
    let visit = entered.map_err(|crowded| {
        door.meters.refuse(Refusal::in_flight(asker, crowded));
        too_many_open(requests_max, crowded, standing)
    })?;
    Ok((asker, standing, visit))
}

/// Counts what a quota refuses.
fn counted(door: &Door, decision: Result<Standing, Exceeded>) -> Result<Standing, Exceeded> {
    decision.inspect_err(|exceeded| {
        let why = Refusal::by_policy(exceeded.standing.policy());
        door.meters.refuse(why);
    })
}

fn too_many_open(requests_max: u32, crowded: Crowded, standing: Standing) -> Refused {
    const SOON: Duration = Duration::from_secs(1);
    let detail = match crowded {
        Crowded::Asker => format!(
            "{requests_max} requests of this client are open already; wait until one has ended"
        ),
        Crowded::Network => "the /48 network of this client has as many requests open as it may; wait until one has ended".to_owned(),
    };
    let problem = Problem::new(Code::RateLimited, detail);
    Refused {
        problem: problem.retry_after(SOON),
        standing: Some(standing),
    }
}

fn check_length(door: &Door, request: &ServiceRequest) -> Result<(), Problem> {
    let uri = request.uri();
    let url_bytes = uri.path().len() + uri.query().map_or(0, |query| query.len() + 1);
    if url_bytes > door.url_bytes {
        return Err(Problem::new(
            Code::UrlTooLong,
            format!(
                "path and query have {url_bytes} bytes, above the bound of {}",
                door.url_bytes
            ),
        ));
    }
    let headers = request.headers().iter();
    let header_bytes: usize = headers
        .map(|(name, value)| name.as_str().len() + value.len() + HEADER_OVERHEAD_BYTES)
        .sum();
    if header_bytes > door.header_bytes {
        return Err(Problem::new(
            Code::HeadTooLarge,
            format!(
                "the headers have {header_bytes} bytes, above the bound of {}",
                door.header_bytes
            ),
        ));
    }
    Ok(())
}

/// The key of a request: a known one that may do this, where keys are needed; one that is known, where they are not but one
/// was given. A wrong key is counted like any request of its client, so that guessing has a rate.
fn find_key(
    door: &Door,
    headers: &HeaderMap,
    client: Client,
    scope: Option<Scope>,
) -> Result<Option<Arc<Key>>, Refused> {
    let Some(keys) = &door.keys else {
        return Ok(None);
    };
    let refuse = |code, detail: String| {
        let standing = counted(door, door.limits.check_client(client, Class::Read))?;
        Err(Refused {
            problem: Problem::new(code, detail),
            standing: Some(standing),
        })
    };
    let Some(presented) = presented_key(headers) else {
        return match scope {
            None => Ok(None),
            Some(_) => refuse(
                Code::Unauthorized,
                "give a key as `Authorization: Bearer sp_…` or `X-API-Key: sp_…`".to_owned(),
            ),
        };
    };
    let Ok(key) = keys.find(presented) else {
        return refuse(Code::Unauthorized, "this key is not known here".to_owned());
    };
    match scope {
        Some(scope) if !key.allows(scope) => refuse(
            Code::Forbidden,
            format!("this key does not have the scope `{}`", scope.name()),
        ),
        _ => Ok(Some(key)),
    }
}

fn presented_key(headers: &HeaderMap) -> Option<&str> {
    if let Some(value) = headers.get(&API_KEY) {
        return Some(value.to_str().unwrap_or_default());
    }
    let value = headers.get(AUTHORIZATION)?.to_str().unwrap_or_default();
    let (scheme, key) = value.split_once(' ').unwrap_or((value, ""));
    Some(if scheme.eq_ignore_ascii_case("bearer") {
        key.trim()
    } else {
        ""
    })
}

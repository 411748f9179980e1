//! The decision whether a request may go on. Only the head of the request is read: its length, target, origin, key and
//! client.
//!
//! `middleware` calls [`authorize`] once for each request.

use crate::browser;
use crate::client::Client;
use crate::gateway::Gateway;
use crate::in_flight::{InFlightExceeded, InFlightPermit};
use crate::keys::{Credential, Key, Scope};
use crate::limits::{Class, QuotaExceeded, RateLimitStatus};
use crate::meters::ExceededLimit;
use crate::principal::Principal;
use crate::problem::{Code, Problem};
use crate::proxy::ForwardingContext;
use crate::target::{Target, TargetError, named_tenant};
use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{AUTHORIZATION, HeaderMap, HeaderName};
use sandpiper_http_kit::scopes::Access;
use std::sync::Arc;
use std::time::Duration;

/// The request header that carries a key, beside `Authorization`.
pub(crate) const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Bytes that each header adds to its name and value when `--header-bytes` is checked.
const HEADER_OVERHEAD_BYTES: usize = 4;

/// A request that may go on.
pub(crate) struct Authorized {
    pub target: Target,
    pub context: ForwardingContext,
    /// The state of the quota that the request was checked against; `None` for health checks.
    pub rate_limit: Option<RateLimitStatus>,
    /// The permit of an open request; `None` for health checks.
    pub permit: Option<InFlightPermit>,
}

/// A request that may not go on, with the problem to send.
pub(crate) struct Rejected {
    problem: Problem,
    rate_limit: Option<RateLimitStatus>,
    /// The key with which the request came, if it is known.
    key: Option<Arc<Key>>,
}

impl From<Problem> for Rejected {
    fn from(problem: Problem) -> Self {
        Self {
            problem,
            rate_limit: None,
            key: None,
        }
    }
}

impl From<QuotaExceeded> for Rejected {
    fn from(exceeded: QuotaExceeded) -> Self {
        let policy = exceeded.rate_limit.policy();
        let problem = Problem::new(
            Code::RateLimited,
            format!("the quota `{policy}` is used up; try again after the time in Retry-After"),
        );
        Self {
            problem: problem.retry_after(exceeded.retry_after),
            rate_limit: Some(exceeded.rate_limit),
            key: None,
        }
    }
}

impl Rejected {
    pub(crate) fn key(&self) -> Option<&Arc<Key>> {
        self.key.as_ref()
    }

    fn with_key(self, key: Option<&Arc<Key>>) -> Self {
        let key = key.cloned();
        Self { key, ..self }
    }

    pub(crate) fn into_response(self, request: ServiceRequest) -> ServiceResponse<BoxBody> {
        let mut response = self.problem.into_response();
        if let Some(rate_limit) = self.rate_limit {
            rate_limit.write(response.headers_mut());
        }
        request.into_response(response)
    }
}

/// Checks, in this order, the length of the head, the host and origin, the key, the quotas and the open requests.
///
/// # Errors
///
/// The first check that fails.
pub(crate) fn authorize(
    request: &ServiceRequest,
    target: Result<Target, TargetError>,
) -> Result<Authorized, Rejected> {
    let gateway = Gateway::of(request.request());
    check_length(gateway, request)?;
    let target = target.map_err(|error| match error {
        TargetError::Method => Problem::new(Code::MethodNotAllowed, "this method is not passed on"),
        TargetError::Path(error) => Problem::new(Code::InvalidPath, error.detail()),
    })?;
    let Some(peer) = request.peer_addr() else {
        // The connection is closed already.
        return Err(Problem::new(Code::InvalidBody, "the connection has no peer").into());
    };
    browser::check(gateway, request, peer.ip(), target)?;
    let address = gateway.trust.client_address(peer.ip(), request.headers());
    let client = Client::of(address);
    let context = |principal| ForwardingContext {
        address,
        principal,
        credential: None,
        lacks_key: gateway.keys.is_some(),
        known_tenant: None,
        script: None,
    };
    let (class, access) = match target {
        // Health checks have a quota of their own, so that other requests never make a monitor wait.
        Target::Live | Target::Ready => {
            count_rejection(gateway, gateway.limits.check_health(client))?;
            return Ok(Authorized {
                target,
                context: context(Principal::Client(client)),
                rate_limit: None,
                permit: None,
            });
        }
        Target::Page | Target::Preflight => (Class::Read, Access::Public),
        Target::Api { class, access } => (class, access),
    };
    let credential = find_key(gateway, request.headers(), client, access)?;
    let key = credential.as_ref().map(|credential| &credential.key);
    let checked = check_limits(gateway, key.map(AsRef::as_ref), client, class);
    let (principal, rate_limit, permit) = checked.map_err(|rejected| rejected.with_key(key))?;
    Ok(Authorized {
        target,
        context: ForwardingContext {
            lacks_key: gateway.keys.is_some() && credential.is_none(),
            known_tenant: known_tenant(gateway, request, credential.as_ref()),
            credential,
            ..context(principal)
        },
        rate_limit: Some(rate_limit),
        permit: Some(permit),
    })
}

/// Returns the tenant that a request of an admin names, if a key has it: the service knows no keys.
fn known_tenant(
    gateway: &Gateway,
    request: &ServiceRequest,
    credential: Option<&Credential>,
) -> Option<String> {
    credential.filter(|credential| credential.key.allows(Scope::Admin))?;
    let uri = &request.head().uri;
    let tenant = named_tenant(uri.path(), uri.query().unwrap_or_default())?;
    gateway.keys.as_ref()?.has_owner(&tenant).then_some(tenant)
}

/// Checks the quotas and the open requests of the key, or of the client if there is no key.
fn check_limits(
    gateway: &Gateway,
    key: Option<&Key>,
    client: Client,
    class: Class,
) -> Result<(Principal, RateLimitStatus, InFlightPermit), Rejected> {
    let (principal, requests_max, decision) = match key {
        Some(key) => (
            Principal::Key(key.id()),
            key.requests_max(),
            gateway.limits.check_key(key.buckets(), class),
        ),
        None => (
            Principal::Client(client),
            gateway.requests_per_client,
            gateway.limits.check_client(client, class),
        ),
    };
    let rate_limit = count_rejection(gateway, decision)?;
    let acquired = gateway.in_flight.acquire(principal, requests_max);
    let permit = acquired.map_err(|exceeded| {
        gateway
            .meters
            .reject(ExceededLimit::in_flight(principal, exceeded));
        too_many_open(requests_max, exceeded, rate_limit)
    })?;
    Ok((principal, rate_limit, permit))
}

fn count_rejection(
    gateway: &Gateway,
    decision: Result<RateLimitStatus, QuotaExceeded>,
) -> Result<RateLimitStatus, QuotaExceeded> {
    decision.inspect_err(|exceeded| {
        let limit = ExceededLimit::by_policy(exceeded.rate_limit.policy());
        gateway.meters.reject(limit);
    })
}

fn too_many_open(
    requests_max: u32,
    exceeded: InFlightExceeded,
    rate_limit: RateLimitStatus,
) -> Rejected {
    const SOON: Duration = Duration::from_secs(1);
    let detail = match exceeded {
        InFlightExceeded::Principal => format!(
            "{requests_max} requests of this client are open already; wait until one has ended"
        ),
        InFlightExceeded::Network => "the /48 network of this client has as many requests open as it may; wait until one has ended".to_owned(),
    };
    let problem = Problem::new(Code::RateLimited, detail);
    Rejected {
        problem: problem.retry_after(SOON),
        rate_limit: Some(rate_limit),
        key: None,
    }
}

fn check_length(gateway: &Gateway, request: &ServiceRequest) -> Result<(), Problem> {
    let uri = request.uri();
    let url_bytes = uri.path().len() + uri.query().map_or(0, |query| query.len() + 1);
    if url_bytes > gateway.url_bytes {
        return Err(Problem::new(
            Code::UrlTooLong,
            format!(
                "path and query have {url_bytes} bytes, above the bound of {}",
                gateway.url_bytes
            ),
        ));
    }
    let headers = request.headers().iter();
    let header_bytes: usize = headers
        .map(|(name, value)| name.as_str().len() + value.len() + HEADER_OVERHEAD_BYTES)
        .sum();
    if header_bytes > gateway.header_bytes {
        return Err(Problem::new(
            Code::HeadTooLarge,
            format!(
                "the headers have {header_bytes} bytes, above the bound of {}",
                gateway.header_bytes
            ),
        ));
    }
    Ok(())
}

/// Finds the key of a request. A given key must be valid, also where none is needed.
///
/// A request with a wrong key takes from the quota of its client, which limits the rate of guessing.
fn find_key(
    gateway: &Gateway,
    headers: &HeaderMap,
    client: Client,
    access: Access,
) -> Result<Option<Credential>, Rejected> {
    let Some(keys) = &gateway.keys else {
        return Ok(None);
    };
    let reject = |key: Option<&Arc<Key>>, code, detail: String| {
        let counted = count_rejection(gateway, gateway.limits.check_client(client, Class::Read));
        let rejected = match counted {
            Ok(rate_limit) => Rejected {
                problem: Problem::new(code, detail),
                rate_limit: Some(rate_limit),
                key: None,
            },
            Err(exceeded) => exceeded.into(),
        };
        Err(rejected.with_key(key))
    };
    let Some(presented) = presented_key(headers) else {
        return match access {
            Access::Public => Ok(None),
            Access::AnyKey | Access::AnyOf(_) => reject(
                None,
                Code::Unauthorized,
                "give a key as `Authorization: Bearer sp_…` or `X-API-Key: sp_…`".to_owned(),
            ),
        };
    };
    let credential = match keys.find(presented) {
        Ok(credential) => credential,
        Err(error) => return reject(error.key(), Code::Unauthorized, error.to_string()),
    };
    match missing_scope(&credential.key, access) {
        None => Ok(Some(credential)),
        Some(detail) => reject(Some(&credential.key), Code::Forbidden, detail),
    }
}

/// Returns the reason for which the scopes of the key do not permit the access; `None` if they do.
fn missing_scope(key: &Key, access: Access) -> Option<String> {
    let scopes = match access {
        Access::Public | Access::AnyKey => return None,
        Access::AnyOf(scopes) => scopes,
    };
    if scopes.iter().any(|scope| key.allows(*scope)) {
        return None;
    }
    let names: Vec<String> = (scopes.iter())
        .map(|scope| format!("`{}`", scope.name()))
        .collect();
    Some(match names.as_slice() {
        [name] => format!("this key does not have the scope {name}"),
        _ => format!("this key has none of the scopes {}", names.join(", ")),
    })
}

/// Returns the key of `X-API-Key`, or else of `Authorization`. A header without a readable key counts as an empty key.
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

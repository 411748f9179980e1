//! The metrics of the ingress: atomic counters with labels of fixed lists, so that no client can add a time series.
//!
//! `exposition` writes them as text. `metrics` serves that text on a port that the public does not reach.

mod exposition;

pub(crate) use exposition::Snapshot;

use crate::in_flight::InFlightExceeded;
use crate::limits::Class;
use crate::principal::Principal;
use crate::problem::Code;
use crate::target::{Target, TargetError};
use actix_web::http::StatusCode;
use sandpiper_http_kit::counters::{Counter, Histogram};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// The label values of a request's target; `none` stands for a request without a target.
const KINDS: [&str; 6] = ["run", "read", "page", "health", "preflight", "none"];
/// The statuses that this process or the service sends, in ascending order; 0 stands for any other.
const STATUSES: [u16; 32] = [
    0, 200, 202, 204, 206, 304, 400, 401, 403, 404, 405, 406, 408, 409, 410, 412, 413, 414, 415,
    416, 421, 422, 424, 429, 431, 500, 502, 503, 504, 505, 507, 508,
];
/// The label values of [`ExceededLimit`].
const LIMITS: [&str; 8] = [
    "client",
    "network",
    "key",
    "total",
    "health",
    "client_in_flight",
    "network_in_flight",
    "key_in_flight",
];
/// The label values of [`UpstreamFailure`].
const FAILURES: [&str; 3] = ["unreachable", "timeout", "broken"];
/// The label values of fetched scripts and of the problems for which a script was not fetched.
const SOURCES: [&str; 7] = [
    "here",
    "not_allowed",
    "unavailable",
    "timeout",
    "unfit",
    "no_room",
    "invalid",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExceededLimit {
    Client,
    Network,
    Key,
    Total,
    Health,
    ClientInFlight,
    NetworkInFlight,
    KeyInFlight,
}

impl ExceededLimit {
    /// Returns the limit of an exhausted quota, by the name of its policy.
    pub(crate) fn by_policy(policy: &str) -> Self {
        if policy.ends_with("health") {
            Self::Health
        } else if policy.starts_with("network") {
            Self::Network
        } else if policy.starts_with("key") {
            Self::Key
        } else if policy.starts_with("client") {
            Self::Client
        } else {
            Self::Total
        }
    }

    pub(crate) fn in_flight(principal: Principal, exceeded: InFlightExceeded) -> Self {
        match (principal, exceeded) {
            (_, InFlightExceeded::Network) => Self::NetworkInFlight,
            (Principal::Client(_), InFlightExceeded::Principal) => Self::ClientInFlight,
            (Principal::Key(_), InFlightExceeded::Principal) => Self::KeyInFlight,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UpstreamFailure {
    Unreachable,
    Timeout,
    Broken,
}

#[derive(Debug, Default)]
pub(crate) struct Meters {
    requests: [[Counter; STATUSES.len()]; KINDS.len()],
    times: [Histogram; KINDS.len()],
    in_flight: AtomicUsize,
    abandoned: Counter,
    rejected: [Counter; LIMITS.len()],
    /// Times from forwarding a request to the head of the service's response.
    pub(crate) upstream: Histogram,
    upstream_failures: [Counter; FAILURES.len()],
    /// 1 if the last forwarded request did not reach the service, else 0.
    pub(crate) upstream_lost: AtomicUsize,
    pub(crate) keys_read: Counter,
    pub(crate) keys_invalid: Counter,
    /// Writes of the times at which keys were last used, by result.
    pub(crate) uses_written: Counter,
    pub(crate) uses_failed: Counter,
    /// Lines of the audit log: written, dropped because too many waited, or lost because a write failed.
    pub(crate) audit_written: Counter,
    pub(crate) audit_dropped: Counter,
    pub(crate) audit_failed: Counter,
    /// Connections closed because their client had its maximum open.
    pub(crate) connections_rejected: Counter,
    /// Times to fetch a script that a request references.
    pub(crate) source: Histogram,
    sources: [Counter; SOURCES.len()],
}

impl Meters {
    /// Counts a request as open. Dropping the result before [`OpenRequest::end`] counts the request as abandoned.
    pub(crate) fn begin(self: &Arc<Self>, target: Result<Target, TargetError>) -> OpenRequest {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        OpenRequest {
            meters: Arc::clone(self),
            kind: kind_of(target),
            began: Instant::now(),
            has_ended: false,
        }
    }

    pub(crate) fn reject(&self, limit: ExceededLimit) {
        self.rejected[limit as usize].count();
    }

    pub(crate) fn upstream_failed(&self, why: UpstreamFailure) {
        self.upstream_failures[why as usize].count();
    }

    /// Counts a fetched script, or the problem for which a script was not fetched.
    pub(crate) fn count_source(&self, problem: Option<Code>) {
        let outcome = match problem {
            None => 0,
            Some(Code::SourceNotAllowed) => 1,
            Some(Code::SourceUnavailable) => 2,
            Some(Code::SourceTimeout) => 3,
            Some(Code::SourceUnfit) => 4,
            Some(Code::SourcesFull | Code::SourceNotKept) => 5,
            Some(_) => 6,
        };
        self.sources[outcome].count();
    }
}

#[derive(Debug)]
pub(crate) struct OpenRequest {
    meters: Arc<Meters>,
    kind: usize,
    began: Instant,
    has_ended: bool,
}

impl OpenRequest {
    /// Counts the request under the status of its response.
    pub(crate) fn end(mut self, status: StatusCode) {
        self.has_ended = true;
        let status = STATUSES.binary_search(&status.as_u16()).unwrap_or_default();
        self.meters.requests[self.kind][status].count();
        self.meters.times[self.kind].observe(self.began.elapsed());
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.meters.in_flight.fetch_sub(1, Ordering::Relaxed);
        if !self.has_ended {
            self.meters.abandoned.count();
        }
    }
}

/// Returns the index into [`KINDS`].
fn kind_of(target: Result<Target, TargetError>) -> usize {
    match target {
        Ok(Target::Api {
            class: Class::Run, ..
        }) => 0,
        Ok(Target::Api {
            class: Class::Read, ..
        }) => 1,
        Ok(Target::Page) => 2,
        Ok(Target::Live | Target::Ready) => 3,
        Ok(Target::Preflight) => 4,
        Err(_) => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_list_of_labels_is_as_long_as_its_enum() {
        assert_eq!(LIMITS.len(), ExceededLimit::KeyInFlight as usize + 1);
        assert_eq!(FAILURES.len(), UpstreamFailure::Broken as usize + 1);
        assert!(STATUSES.is_sorted());
    }

    #[test]
    fn a_rejection_is_counted_by_its_policy() {
        for (policy, why) in [
            ("client-run", ExceededLimit::Client),
            ("client-read", ExceededLimit::Client),
            ("key-run", ExceededLimit::Key),
            ("total", ExceededLimit::Total),
        ] {
            assert_eq!(ExceededLimit::by_policy(policy), why);
        }
    }
}

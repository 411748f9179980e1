//! What the ingress counts while requests pass: plain atomic additions, and labels of fixed lists, so that no client can
//! make one more. `exposition` shows them, on a port that the public does not reach.

mod exposition;
mod process;

pub(crate) use exposition::show;
pub(crate) use process::started;

use crate::asker::Asker;
use crate::limits::{Class, Crowded};
use crate::problem::Code;
use crate::target::{NoTarget, Target};
use actix_web::http::StatusCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Upper bounds of the buckets of every histogram, microseconds.
const BOUNDS_MICROS: [u64; 16] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000,
];
/// What a request is for; the last stands for what is for nothing.
const KINDS: [&str; 6] = ["run", "read", "page", "health", "preflight", "none"];
/// Those that this process or the service gives, in order; 0 stands for any other.
const STATUSES: [u16; 32] = [
    0, 200, 202, 204, 206, 304, 400, 401, 403, 404, 405, 406, 408, 409, 410, 412, 413, 414, 415,
    416, 421, 422, 424, 429, 431, 500, 502, 503, 504, 505, 507, 508,
];
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
const FAILURES: [&str; 3] = ["unreachable", "timeout", "broken"];

/// Something that happens.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How long something takes.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    counts: [AtomicU64; BOUNDS_MICROS.len() + 1],
    sum_micros: AtomicU64,
}

impl Histogram {
    pub(crate) fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }
}

/// Why a request was one too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Client,
    Network,
    Key,
    Total,
    Health,
    ClientInFlight,
    NetworkInFlight,
    KeyInFlight,
}

impl Refused {
    /// By the policy that is used up.
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

    /// By requests that are open already.
    pub(crate) fn in_flight(asker: Asker, crowded: Crowded) -> Self {
        match (asker, crowded) {
            (_, Crowded::Network) => Self::NetworkInFlight,
            (Asker::Client(_), Crowded::Asker) => Self::ClientInFlight,
            (Asker::Key(_), Crowded::Asker) => Self::KeyInFlight,
        }
    }
}

/// Why the service did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UpstreamFailure {
    Unreachable,
    Timeout,
    Broken,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    requests: [[Counter; STATUSES.len()]; KINDS.len()],
    times: [Histogram; KINDS.len()],
    in_flight: AtomicUsize,
    abandoned: Counter,
    refused: [Counter; LIMITS.len()],
    /// From passing a request on to the head of the service's answer.
    pub(crate) upstream: Histogram,
    upstream_failures: [Counter; FAILURES.len()],
    /// The service was reached by the last request that was passed on.
    pub(crate) upstream_lost: AtomicUsize,
    /// The file of keys was read again.
    pub(crate) keys_read: Counter,
    /// It could not be used.
    pub(crate) keys_unfit: Counter,
    /// Connections closed because their client had as many as it may.
    pub(crate) connections_refused: Counter,
    /// How long it took until a script was here that a request only named.
    pub(crate) source: Histogram,
    source_ends: SourceEnds,
}

/// How looking for scripts ended, by the names that clients see.
#[derive(Debug, Default)]
struct SourceEnds {
    here: Counter,
    not_allowed: Counter,
    unavailable: Counter,
    timeout: Counter,
    unfit: Counter,
    no_room: Counter,
    invalid: Counter,
}

impl SourceEnds {
    fn of(&self, code: Option<Code>) -> &Counter {
        match code {
            None => &self.here,
            Some(Code::SourceNotAllowed) => &self.not_allowed,
            Some(Code::SourceUnavailable) => &self.unavailable,
            Some(Code::SourceTimeout) => &self.timeout,
            Some(Code::SourceUnfit) => &self.unfit,
            Some(Code::SourcesFull | Code::SourceNotKept) => &self.no_room,
            Some(_) => &self.invalid,
        }
    }

    fn all(&self) -> [(&'static str, u64); 7] {
        [
            ("here", self.here.get()),
            ("not_allowed", self.not_allowed.get()),
            ("unavailable", self.unavailable.get()),
            ("timeout", self.timeout.get()),
            ("unfit", self.unfit.get()),
            ("no_room", self.no_room.get()),
            ("invalid", self.invalid.get()),
        ]
    }
}

impl Meters {
    /// A request begins; dropped before it ends, its client has gone.
    pub(crate) fn begin(self: &Arc<Self>, target: Result<Target, NoTarget>) -> Open {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Open {
            meters: Arc::clone(self),
            kind: kind_of(target),
            began: Instant::now(),
            has_ended: false,
        }
    }

    pub(crate) fn refuse(&self, why: Refused) {
        self.refused[why as usize].count();
    }

    pub(crate) fn upstream_failed(&self, why: UpstreamFailure) {
        self.upstream_failures[why as usize].count();
    }

    /// A script that was looked for: `None`, it is here.
    pub(crate) fn source_ended(&self, why_not: Option<Code>) {
        self.source_ends.of(why_not).count();
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct Open {
    meters: Arc<Meters>,
    kind: usize,
    began: Instant,
    has_ended: bool,
}

impl Open {
    pub(crate) fn end(mut self, status: StatusCode) {
        self.has_ended = true;
        let status = STATUSES.binary_search(&status.as_u16()).unwrap_or_default();
        self.meters.requests[self.kind][status].count();
        self.meters.times[self.kind].observe(self.began.elapsed());
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.meters.in_flight.fetch_sub(1, Ordering::Relaxed);
        if !self.has_ended {
            self.meters.abandoned.count();
        }
    }
}

/// The place in [`KINDS`].
fn kind_of(target: Result<Target, NoTarget>) -> usize {
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
    fn every_list_of_labels_is_as_long_as_what_it_names() {
        assert_eq!(LIMITS.len(), Refused::KeyInFlight as usize + 1);
        assert_eq!(FAILURES.len(), UpstreamFailure::Broken as usize + 1);
        assert!(STATUSES.is_sorted());
    }

    #[test]
    fn a_refusal_is_counted_by_the_policy_that_is_used_up() {
        for (policy, why) in [
            ("client-run", Refused::Client),
            ("client-read", Refused::Client),
            ("key-run", Refused::Key),
            ("total", Refused::Total),
        ] {
            assert_eq!(Refused::by_policy(policy), why);
        }
    }
}

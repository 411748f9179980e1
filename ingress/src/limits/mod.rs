//! Rate limits: a quota for each client or key, in two classes, and a total. The algorithm is GCRA, by the crate
//! `governor`.
//!
//! The client's own quota is checked first, so that a rejected request takes nothing from the total. This module knows
//! no HTTP; `headers` writes the response headers.

mod headers;
mod quota;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use quota::Quota;

use crate::client::{Client, Network};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::{StateInformationMiddleware, StateSnapshot};
use governor::state::{InMemoryState, NotKeyed};
use governor::{NotUntil, RateLimiter};
use std::hash::Hash;
use std::num::NonZeroU32;
use std::time::Duration;
use table::ClientTable;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Requests that run code.
    Run,
    /// All other requests.
    Read,
}

/// The quotas of a client or a key, by class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    pub run: Quota,
    pub read: Quota,
}

/// The quota that a request was checked against, and what is left of the quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RateLimitStatus {
    policy: &'static str,
    quota: Quota,
    remaining: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QuotaExceeded {
    pub rate_limit: RateLimitStatus,
    /// Time until the next request is allowed.
    pub retry_after: Duration,
}

type WithSnapshot = StateInformationMiddleware;
type SingleLimiter<C> = RateLimiter<NotKeyed, InMemoryState, C, WithSnapshot>;
type KeyedLimiter<K, C> = RateLimiter<K, ClientTable<K>, C, WithSnapshot>;
type Decision<C> = Result<StateSnapshot, NotUntil<<C as Clock>::Instant>>;

/// The bucket of one key, or of all requests together.
#[derive(Debug)]
struct Bucket<C: Clock> {
    policy: &'static str,
    quota: Quota,
    limiter: SingleLimiter<C>,
}

impl<C: Clock + Clone> Bucket<C> {
    fn new(policy: &'static str, quota: Quota, clock: &C) -> Self {
        let limiter = RateLimiter::new(
            quota.for_governor(),
            InMemoryState::default(),
            clock.clone(),
        );
        Self {
            policy,
            quota,
            limiter,
        }
    }

    fn check(&self) -> Result<RateLimitStatus, QuotaExceeded> {
        let decision = self.limiter.check();
        to_status::<C>(self.policy, self.quota, self.limiter.clock(), decision)
    }
}

/// The buckets of all clients, or of all networks.
#[derive(Debug)]
struct Buckets<K: Eq + Hash + Clone, C: Clock> {
    policy: &'static str,
    quota: Quota,
    limiter: KeyedLimiter<K, C>,
}

impl<K: Eq + Hash + Clone, C: Clock + Clone> Buckets<K, C> {
    fn new(policy: &'static str, quota: Quota, clients_max: usize, clock: &C) -> Self {
        let table = ClientTable::new(clients_max);
        Self {
            policy,
            quota,
            limiter: RateLimiter::new(quota.for_governor(), table, clock.clone()),
        }
    }

    fn check(&self, client: &K) -> Result<RateLimitStatus, QuotaExceeded> {
        let decision = self.limiter.check_key(client);
        to_status::<C>(self.policy, self.quota, self.limiter.clock(), decision)
    }

    fn sweep(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }
}

/// The buckets of one class, for clients and for IPv6 /48 networks.
#[derive(Debug)]
struct ClassBuckets<C: Clock> {
    clients: Buckets<Client, C>,
    networks: Buckets<Network, C>,
}

impl<C: Clock + Clone> ClassBuckets<C> {
    fn new(policies: [&'static str; 2], quota: Quota, bounds: &ClientBounds, clock: &C) -> Self {
        let [client, network] = policies;
        let of_network = quota.times(bounds.network_clients);
        Self {
            clients: Buckets::new(client, quota, bounds.clients_max, clock),
            networks: Buckets::new(network, of_network, bounds.clients_max, clock),
        }
    }

    fn check(&self, client: Client) -> Result<RateLimitStatus, QuotaExceeded> {
        let rate_limit = self.clients.check(&client)?;
        if let Some(network) = client.network() {
            self.networks.check(&network)?;
        }
        Ok(rate_limit)
    }

    fn sweep(&self) {
        self.clients.sweep();
        self.networks.sweep();
    }

    fn client_count(&self) -> usize {
        self.clients.limiter.len()
    }
}

fn to_status<C: Clock>(
    policy: &'static str,
    quota: Quota,
    clock: &C,
    decision: Decision<C>,
) -> Result<RateLimitStatus, QuotaExceeded> {
    let status = |remaining| RateLimitStatus {
        policy,
        quota,
        remaining,
    };
    match decision {
        Ok(snapshot) => Ok(status(snapshot.remaining_burst_capacity())),
        Err(not_until) => Err(QuotaExceeded {
            rate_limit: status(0),
            retry_after: not_until.wait_time_from(clock.now()),
        }),
    }
}

/// The buckets of one key.
#[derive(Debug)]
pub struct KeyBuckets<C: Clock = DefaultClock> {
    run: Bucket<C>,
    read: Bucket<C>,
}

impl<C: Clock + Clone> KeyBuckets<C> {
    /// Creates full buckets.
    pub fn new(quotas: Quotas, clock: &C) -> Self {
        Self {
            run: Bucket::new("key-run", quotas.run, clock),
            read: Bucket::new("key-read", quotas.read, clock),
        }
    }

    pub fn quotas(&self) -> Quotas {
        Quotas {
            run: self.run.quota,
            read: self.read.quota,
        }
    }
}

/// All buckets except those of keys.
#[derive(Debug)]
pub(crate) struct Limits<C: Clock = DefaultClock> {
    total: Bucket<C>,
    run: ClassBuckets<C>,
    read: ClassBuckets<C>,
    health: ClassBuckets<C>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClientBounds {
    /// Maximum clients with a bucket of their own in each class; the same number of networks.
    pub clients_max: usize,
    /// The quota of an IPv6 /48 network, in multiples of a client's quota.
    pub network_clients: NonZeroU32,
}

impl<C: Clock + Clone> Limits<C> {
    /// Creates full buckets. Health checks of the ingress have a quota of their own.
    pub(crate) fn new(
        total: Quota,
        client: Quotas,
        health: Quota,
        bounds: &ClientBounds,
        clock: &C,
    ) -> Self {
        let run = ["client-run", "network-run"];
        let read = ["client-read", "network-read"];
        let of_health = ["client-health", "network-health"];
        Self {
            total: Bucket::new("total", total, clock),
            run: ClassBuckets::new(run, client.run, bounds, clock),
            read: ClassBuckets::new(read, client.read, bounds, clock),
            health: ClassBuckets::new(of_health, health, bounds, clock),
        }
    }

    /// Takes one request of a client from the client's quota, its network's, and the total.
    pub(crate) fn check_client(
        &self,
        client: Client,
        class: Class,
    ) -> Result<RateLimitStatus, QuotaExceeded> {
        let rate_limit = match class {
            Class::Run => self.run.check(client)?,
            Class::Read => self.read.check(client)?,
        };
        self.total.check()?;
        Ok(rate_limit)
    }

    /// Takes one health check of the ingress from the health quota. No other request uses that quota.
    pub(crate) fn check_health(&self, client: Client) -> Result<RateLimitStatus, QuotaExceeded> {
        self.health.check(client)
    }

    /// Takes one request with a key from the key's quota and the total.
    pub(crate) fn check_key(
        &self,
        key: &KeyBuckets<C>,
        class: Class,
    ) -> Result<RateLimitStatus, QuotaExceeded> {
        let rate_limit = match class {
            Class::Run => key.run.check()?,
            Class::Read => key.read.check()?,
        };
        self.total.check()?;
        Ok(rate_limit)
    }

    /// Removes clients whose quota is full again. Blocks for milliseconds with a million clients.
    pub(crate) fn sweep(&self) {
        for buckets in [&self.run, &self.read, &self.health] {
            buckets.sweep();
        }
    }

    /// Returns the approximate number of clients in the tables, counted once for each class.
    pub(crate) fn clients(&self) -> usize {
        [&self.run, &self.read, &self.health]
            .map(ClassBuckets::client_count)
            .iter()
            .sum()
    }
}

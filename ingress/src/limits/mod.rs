//! How much each may ask for: per client or key, in two classes, and all together. GCRA, by `governor`.
//!
//! Whoever asks is held to its own quota first, so that what it is refused takes nothing from the total of all. Knows no
//! HTTP; `headers` tells it to clients.

mod headers;
mod in_flight;
mod quota;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use in_flight::{Crowded, InFlight, Visit};
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

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// To run code.
    Run,
    /// Anything else.
    Read,
}

/// Quotas of somebody, by class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// For running code.
    pub run: Quota,
    /// For everything else.
    pub read: Quota,
}

/// The quota that a request was held to, and what is left of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    policy: &'static str,
    quota: Quota,
    remaining: u32,
}

/// A request that is too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exceeded {
    /// The quota that is used up.
    pub standing: Standing,
    /// When one more will be let through.
    pub retry_after: Duration,
}

type Inform = StateInformationMiddleware;
type One<C> = RateLimiter<NotKeyed, InMemoryState, C, Inform>;
type Each<K, C> = RateLimiter<K, ClientTable<K>, C, Inform>;
type Decision<C> = Result<StateSnapshot, NotUntil<<C as Clock>::Instant>>;

/// One bucket of a single asker, or of all together.
#[derive(Debug)]
struct Bucket<C: Clock> {
    policy: &'static str,
    quota: Quota,
    limiter: One<C>,
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

    fn check(&self) -> Result<Standing, Exceeded> {
        let decision = self.limiter.check();
        verdict::<C>(self.policy, self.quota, self.limiter.clock(), decision)
    }
}

/// A bucket for each client, or for each network.
#[derive(Debug)]
struct Buckets<K: Eq + Hash + Clone, C: Clock> {
    policy: &'static str,
    quota: Quota,
    limiter: Each<K, C>,
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

    fn check(&self, client: &K) -> Result<Standing, Exceeded> {
        let decision = self.limiter.check_key(client);
        verdict::<C>(self.policy, self.quota, self.limiter.clock(), decision)
    }

    fn sweep(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }
}

/// The buckets of one class: those of clients, and coarser ones of IPv6 networks.
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

    fn check(&self, client: Client) -> Result<Standing, Exceeded> {
        let standing = self.clients.check(&client)?;
        if let Some(network) = client.network() {
            self.networks.check(&network)?;
        }
        Ok(standing)
    }

    fn sweep(&self) {
        self.clients.sweep();
        self.networks.sweep();
    }

    fn remembered(&self) -> usize {
        self.clients.limiter.len()
    }
}

fn verdict<C: Clock>(
    policy: &'static str,
    quota: Quota,
    clock: &C,
    decision: Decision<C>,
) -> Result<Standing, Exceeded> {
    let standing = |remaining| Standing {
        policy,
        quota,
        remaining,
    };
    match decision {
        Ok(snapshot) => Ok(standing(snapshot.remaining_burst_capacity())),
        Err(not_until) => Err(Exceeded {
            standing: standing(0),
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
    /// Full buckets.
    pub fn new(quotas: Quotas, clock: &C) -> Self {
        Self {
            run: Bucket::new("key-run", quotas.run, clock),
            read: Bucket::new("key-read", quotas.read, clock),
        }
    }

    /// What they were made with.
    pub fn quotas(&self) -> Quotas {
        Quotas {
            run: self.run.quota,
            read: self.read.quota,
        }
    }
}

/// All buckets but those of keys.
#[derive(Debug)]
pub(crate) struct Limits<C: Clock = DefaultClock> {
    total: Bucket<C>,
    run: ClassBuckets<C>,
    read: ClassBuckets<C>,
    health: ClassBuckets<C>,
}

/// How clients are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientBounds {
    /// Clients that are told apart in each class, and as many networks.
    pub clients_max: usize,
    /// An IPv6 /48 gets as much as so many clients.
    pub network_clients: NonZeroU32,
}

impl<C: Clock + Clone> Limits<C> {
    /// Full buckets. Questions for the ingress's own health have one of their own.
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

    /// One request of a client.
    pub(crate) fn check_client(&self, client: Client, class: Class) -> Result<Standing, Exceeded> {
        let standing = match class {
            Class::Run => self.run.check(client)?,
            Class::Read => self.read.check(client)?,
        };
        self.total.check()?;
        Ok(standing)
    }

    /// One question for the ingress's own health. Other requests, of this client or of all, take nothing from its quota.
    pub(crate) fn check_health(&self, client: Client) -> Result<Standing, Exceeded> {
        self.health.check(client)
    }

    /// One request with a key.
    pub(crate) fn check_key(
        &self,
        key: &KeyBuckets<C>,
        class: Class,
    ) -> Result<Standing, Exceeded> {
        let standing = match class {
            Class::Run => key.run.check()?,
            Class::Read => key.read.check()?,
        };
        self.total.check()?;
        Ok(standing)
    }

    /// Forgets clients whose quota is whole again: they are like strangers.
    pub(crate) fn sweep(&self) {
        for buckets in [&self.run, &self.read, &self.health] {
            buckets.sweep();
        }
    }

    /// Clients that are remembered in any class, near enough.
    pub(crate) fn clients(&self) -> usize {
        [&self.run, &self.read, &self.health]
            .map(ClassBuckets::remembered)
            .iter()
            .sum()
    }
}

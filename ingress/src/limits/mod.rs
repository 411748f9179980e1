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

pub(crate) use in_flight::{InFlight, Visit};
pub(crate) use quota::Quota;

use crate::client::Client;
use governor::clock::{Clock, DefaultClock};
use governor::middleware::{StateInformationMiddleware, StateSnapshot};
use governor::state::{InMemoryState, NotKeyed};
use governor::{NotUntil, RateLimiter};
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
type Each<C> = RateLimiter<Client, ClientTable, C, Inform>;
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

/// A bucket for each client.
#[derive(Debug)]
struct Buckets<C: Clock> {
    policy: &'static str,
    quota: Quota,
    limiter: Each<C>,
}

impl<C: Clock + Clone> Buckets<C> {
    fn new(policy: &'static str, quota: Quota, clients_max: usize, clock: &C) -> Self {
        let table = ClientTable::new(clients_max);
        Self {
            policy,
            quota,
            limiter: RateLimiter::new(quota.for_governor(), table, clock.clone()),
        }
    }

    fn check(&self, client: Client) -> Result<Standing, Exceeded> {
        let decision = self.limiter.check_key(&client);
        verdict::<C>(self.policy, self.quota, self.limiter.clock(), decision)
    }

    fn sweep(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
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
    client_run: Buckets<C>,
    client_read: Buckets<C>,
}

impl<C: Clock + Clone> Limits<C> {
    /// Full buckets; at most `clients_max` clients are told apart in each class.
    pub(crate) fn new(total: Quota, client: Quotas, clients_max: usize, clock: &C) -> Self {
        Self {
            total: Bucket::new("total", total, clock),
            client_run: Buckets::new("client-run", client.run, clients_max, clock),
            client_read: Buckets::new("client-read", client.read, clients_max, clock),
        }
    }

    /// One request of a client.
    pub(crate) fn check_client(&self, client: Client, class: Class) -> Result<Standing, Exceeded> {
        let standing = match class {
            Class::Run => self.client_run.check(client)?,
            Class::Read => self.client_read.check(client)?,
        };
        self.total.check()?;
        Ok(standing)
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
        self.client_run.sweep();
        self.client_read.sweep();
    }

    /// Clients that are remembered in either class, near enough.
    pub(crate) fn clients(&self) -> usize {
        self.client_run.limiter.len() + self.client_read.limiter.len()
    }
}

//! How many requests of one asker are open at a time, and of one IPv6 network.

use crate::asker::Asker;
use crate::client::Network;
use dashmap::DashMap;
use std::hash::Hash;
use std::sync::Arc;

/// Counts what is open under a key. Holds no more entries than there are keys with something open.
#[derive(Debug)]
struct Counts<K: Eq + Hash>(Arc<DashMap<K, u32>>);

impl<K: Eq + Hash + Copy> Counts<K> {
    /// One more under this key; `None` when there are `most` already.
    fn enter(&self, key: K, most: u32) -> Option<Place<K>> {
        let mut count = self.0.entry(key).or_insert(0);
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Place {
            key,
            counts: Arc::clone(&self.0),
        })
    }
}

/// One that is open, until it is dropped.
#[derive(Debug)]
struct Place<K: Eq + Hash> {
    key: K,
    counts: Arc<DashMap<K, u32>>,
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        self.counts.remove_if_mut(&self.key, |_, count| {
            *count = count.saturating_sub(1);
            *count == 0
        });
    }
}

/// Counts open requests (or connections) by asker, and by the /48 of askers with an IPv6 address.
#[derive(Debug)]
pub(crate) struct InFlight {
    askers: Counts<Asker>,
    networks: Counts<Network>,
    /// As many clients' worth does a network get.
    network_clients: u32,
}

/// One request that is open, until it is dropped.
#[derive(Debug)]
pub(crate) struct Visit {
    _of_asker: Place<Asker>,
    _of_network: Option<Place<Network>>,
}

/// Who has as many open as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crowded {
    /// The asker itself.
    Asker,
    /// All clients of its network together.
    Network,
}

impl InFlight {
    /// Nothing is open. A network gets as much as `network_clients` clients.
    #[must_use]
    pub(crate) fn new(network_clients: u32) -> Self {
        Self {
            askers: Counts(Arc::default()),
            networks: Counts(Arc::default()),
            network_clients,
        }
    }

    /// One more of this asker, of which each may have `most`.
    pub(crate) fn enter(&self, asker: Asker, most: u32) -> Result<Visit, Crowded> {
        let of_asker = self.askers.enter(asker, most).ok_or(Crowded::Asker)?;
        let network = match asker {
            Asker::Client(client) => client.network(),
            Asker::Key(_) => None,
        };
        let most = most.saturating_mul(self.network_clients);
        let of_network = network
            .map(|network| self.networks.enter(network, most).ok_or(Crowded::Network))
            .transpose()?;
        Ok(Visit {
            _of_asker: of_asker,
            _of_network: of_network,
        })
    }

    #[cfg(test)]
    pub(super) fn entries(&self) -> usize {
        self.askers.0.len() + self.networks.0.len()
    }
}

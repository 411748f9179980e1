//! The number of requests that each principal, and each IPv6 network, has open. Connections are counted in the same
//! way.

use crate::client::Network;
use crate::principal::Principal;
use dashmap::DashMap;
use std::hash::Hash;
use std::sync::Arc;

/// Open requests by key. The map has an entry only for keys with an open request.
#[derive(Debug)]
struct Counts<K: Eq + Hash>(Arc<DashMap<K, u32>>);

impl<K: Eq + Hash + Copy> Counts<K> {
    /// Counts one more request under this key; `None` if `most` are open already.
    fn acquire(&self, key: K, most: u32) -> Option<Permit<K>> {
        let mut count = self.0.entry(key).or_insert(0);
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Permit {
            key,
            counts: Arc::clone(&self.0),
        })
    }
}

/// One counted request. Dropping the permit uncounts the request.
#[derive(Debug)]
struct Permit<K: Eq + Hash> {
    key: K,
    counts: Arc<DashMap<K, u32>>,
}

impl<K: Eq + Hash> Drop for Permit<K> {
    fn drop(&mut self) {
        self.counts.remove_if_mut(&self.key, |_, count| {
            *count = count.saturating_sub(1);
            *count == 0
        });
    }
}

#[derive(Debug)]
pub(crate) struct InFlight {
    principals: Counts<Principal>,
    networks: Counts<Network>,
    /// The maximum of a network, in multiples of a client's maximum.
    network_clients: u32,
}

/// The permit of one open request. Dropping the permit ends the request's count.
#[derive(Debug)]
pub(crate) struct InFlightPermit {
    _of_principal: Permit<Principal>,
    _of_network: Option<Permit<Network>>,
}

/// The maximum that one more request would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InFlightExceeded {
    Principal,
    /// The maximum of all clients of one network together.
    Network,
}

impl InFlight {
    /// Starts with no open request. A network may have as many open as `network_clients` clients.
    pub(crate) fn new(network_clients: u32) -> Self {
        Self {
            principals: Counts(Arc::default()),
            networks: Counts(Arc::default()),
            network_clients,
        }
    }

    /// Counts one more request of this principal, which may have `most` open.
    pub(crate) fn acquire(
        &self,
        principal: Principal,
        most: u32,
    ) -> Result<InFlightPermit, InFlightExceeded> {
        let of_principal = self.principals.acquire(principal, most);
        let of_principal = of_principal.ok_or(InFlightExceeded::Principal)?;
        let network = match principal {
            Principal::Client(client) => client.network(),
            Principal::Key(_) => None,
        };
        let most = most.saturating_mul(self.network_clients);
        let of_network = network
            .map(|network| {
                let of_network = self.networks.acquire(network, most);
                of_network.ok_or(InFlightExceeded::Network)
            })
            .transpose()?;
        Ok(InFlightPermit {
            _of_principal: of_principal,
            _of_network: of_network,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Client;
    use std::net::{IpAddr, Ipv4Addr};

    fn client(number: u32) -> Client {
        Client::of(IpAddr::V4(Ipv4Addr::from_bits(number)))
    }

    /// Returns a client of one /48 network, by number.
    fn neighbour(number: u16) -> Client {
        let address = format!("2001:db8:7:{number:x}::1");
        Client::of(address.parse().unwrap())
    }

    fn entries(in_flight: &InFlight) -> usize {
        in_flight.principals.0.len() + in_flight.networks.0.len()
    }

    #[test]
    fn open_requests_are_counted_until_they_end() {
        let in_flight = InFlight::new(4);
        let acquire = |number| in_flight.acquire(Principal::Client(client(number)), 2);
        let first = acquire(1).unwrap();
        let second = acquire(1).unwrap();
        assert_eq!(acquire(1).unwrap_err(), InFlightExceeded::Principal);
        let other = acquire(2).unwrap();
        drop(first);
        let third = acquire(1).unwrap();
        drop((second, third, other));
        assert_eq!(entries(&in_flight), 0);
    }

    #[test]
    fn a_network_has_as_much_open_as_a_few_clients() {
        let in_flight = InFlight::new(4);
        let acquire = |number| in_flight.acquire(Principal::Client(neighbour(number)), 2);
        let open: Vec<_> = (0..100).filter_map(|number| acquire(number).ok()).collect();
        assert_eq!(open.len(), 8);
        assert_eq!(acquire(200).unwrap_err(), InFlightExceeded::Network);
        assert!(in_flight.acquire(Principal::Client(client(1)), 2).is_ok());
        drop(open);
        assert!(acquire(200).is_ok());
        assert_eq!(entries(&in_flight), 0);
    }
}

//! The limiter's table of clients, with a bound.
//!
//! A client in the table has a state of its own. Once the table holds `clients_max` clients, new clients share a fixed
//! number of overflow states: they are limited together with some others. No client is evicted to make room.

use dashmap::DashMap;
use governor::nanos::Nanos;
use governor::state::keyed::ShrinkableKeyedStateStore;
use governor::state::{InMemoryState, NotKeyed, StateStore};
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};

/// States that new clients share once the table is full.
const OVERFLOW_STATES: usize = 1024;

/// The state of each client, or of each network.
#[derive(Debug)]
pub(super) struct ClientTable<K: Eq + Hash> {
    known: DashMap<K, InMemoryState>,
    /// Approximate number of entries of `known`. `DashMap::len` would lock every shard.
    count: AtomicUsize,
    clients_max: usize,
    overflow: Vec<InMemoryState>,
    /// Seeded at random, so that no client can choose the clients with which it shares a state.
    hasher: RandomState,
}

impl<K: Eq + Hash> ClientTable<K> {
    pub(super) fn new(clients_max: usize) -> Self {
        Self {
            known: DashMap::new(),
            count: AtomicUsize::new(0),
            clients_max,
            overflow: (0..OVERFLOW_STATES)
                .map(|_| InMemoryState::default())
                .collect(),
            hasher: RandomState::new(),
        }
    }

    fn overflow_state(&self, client: &K) -> &InMemoryState {
        let hash = self.hasher.hash_one(client);
        let index = usize::try_from(hash % OVERFLOW_STATES as u64).unwrap_or_default();
        &self.overflow[index]
    }
}

impl<K: Eq + Hash + Clone> StateStore for ClientTable<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, client: &K, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        if let Some(state) = self.known.get(client) {
            return state.measure_and_replace(&NotKeyed::NonKey, decide);
        }
        if self.count.load(Ordering::Relaxed) >= self.clients_max {
            return self
                .overflow_state(client)
                .measure_and_replace(&NotKeyed::NonKey, decide);
        }
        let state = self.known.entry(client.clone()).or_insert_with(|| {
            self.count.fetch_add(1, Ordering::Relaxed);
            InMemoryState::default()
        });
        state.measure_and_replace(&NotKeyed::NonKey, decide)
    }
}

impl<K: Eq + Hash + Clone> ShrinkableKeyedStateStore<K> for ClientTable<K> {
    fn retain_recent(&self, drop_below: Nanos) {
        self.known.retain(|_, state| {
            // Only reads the state: an error replaces nothing.
            let read: Result<(), Option<Nanos>> = state.measure_and_replace(&NotKeyed::NonKey, Err);
            let stays = matches!(read, Err(Some(arrival)) if arrival > drop_below);
            if !stays {
                self.count.fetch_sub(1, Ordering::Relaxed);
            }
            stays
        });
    }

    fn shrink_to_fit(&self) {
        self.known.shrink_to_fit();
    }

    fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

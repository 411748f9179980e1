//! The limiter's memory of clients, with a bound.
//!
//! A client that is remembered keeps its own state. When `clients_max` are remembered, strangers share the states of a
//! crowd: they are limited together with some others, and nobody is forgotten to make room for them.

use dashmap::DashMap;
use governor::nanos::Nanos;
use governor::state::keyed::ShrinkableKeyedStateStore;
use governor::state::{InMemoryState, NotKeyed, StateStore};
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};

/// States that strangers share once the table is full.
const CROWD: usize = 1024;

#[derive(Debug)]
pub(super) struct ClientTable<K: Eq + Hash> {
    known: DashMap<K, InMemoryState>,
    /// How many are known, near enough: asking the map would lock all of it.
    count: AtomicUsize,
    clients_max: usize,
    crowd: Vec<InMemoryState>,
    /// Not to be guessed, so that nobody can choose whom to share a state with.
    hasher: RandomState,
}

impl<K: Eq + Hash> ClientTable<K> {
    pub(super) fn new(clients_max: usize) -> Self {
        Self {
            known: DashMap::new(),
            count: AtomicUsize::new(0),
            clients_max,
            crowd: (0..CROWD).map(|_| InMemoryState::default()).collect(),
            hasher: RandomState::new(),
        }
    }

    fn in_crowd(&self, client: &K) -> &InMemoryState {
        let hash = self.hasher.hash_one(client);
        let place = usize::try_from(hash % CROWD as u64).unwrap_or_default();
        &self.crowd[place]
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
                .in_crowd(client)
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
            // Only looks: a decision of "no" replaces nothing.
            let looked: Result<(), Option<Nanos>> =
                state.measure_and_replace(&NotKeyed::NonKey, Err);
            let stays = matches!(looked, Err(Some(arrival)) if arrival > drop_below);
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

//! One lane of the Queue: every client in turn, each with its jobs in their order.

use super::queue::Waiting;
use sandpiper_domain::{ClientKey, JobId};
use std::collections::{HashMap, VecDeque};
use std::time::Instant;

/// See the module.
#[derive(Debug)]
pub(super) struct LaneQueue<T> {
    clients: HashMap<ClientKey, VecDeque<Waiting<T>>>,
    /// Clients with something waiting, in the order of their turn.
    turns: VecDeque<ClientKey>,
    pub(super) waiting: usize,
    pub(super) reserved: usize,
}

impl<T> LaneQueue<T> {
    pub(super) fn new() -> Self {
        Self {
            clients: HashMap::new(),
            turns: VecDeque::new(),
            waiting: 0,
            reserved: 0,
        }
    }

    pub(super) fn push(&mut self, waiting: Waiting<T>) {
        self.waiting += 1;
        let line = self.clients.entry(waiting.client.clone()).or_default();
        if line.is_empty() {
            self.turns.push_back(waiting.client.clone());
        }
        line.push_back(waiting);
    }

    pub(super) fn pop(&mut self, may_run: impl Fn(&ClientKey) -> bool) -> Option<Waiting<T>> {
        let turn = self.turns.iter().position(may_run)?;
        let client = self.turns.remove(turn)?;
        let line = self.clients.get_mut(&client)?;
        let waiting = line.pop_front()?;
        if line.is_empty() {
            self.clients.remove(&client);
        } else {
            self.turns.push_back(client);
        }
        self.waiting -= 1;
        Some(waiting)
    }

    /// Jobs that have waited since before `earliest`.
    pub(super) fn older(&self, earliest: Instant) -> Vec<JobId> {
        let lines = self.clients.values();
        lines
            .flat_map(|line| line.iter().take_while(|one| one.since < earliest))
            .map(|one| one.id)
            .collect()
    }

    /// Since when the oldest waits. Inside a client's line the first is the oldest.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let lines = self.clients.values();
        lines
            .filter_map(|line| line.front())
            .map(|one| one.since)
            .min()
    }

    /// True if something of this client waits.
    pub(super) fn has_any_of(&self, client: &ClientKey) -> bool {
        self.clients.contains_key(client)
    }

    /// True if something waits of one of those clients.
    pub(super) fn has_any_of_those(&self, is_wanted: impl Fn(&ClientKey) -> bool) -> bool {
        self.turns.iter().any(is_wanted)
    }

    /// Returns the job that has waited longest among the first ones of those clients, and since when it waits.
    pub(super) fn oldest_of(
        &self,
        is_wanted: impl Fn(&ClientKey) -> bool,
    ) -> Option<(Instant, JobId)> {
        let lines = self.clients.iter();
        lines
            .filter(|(client, _)| is_wanted(client))
            .filter_map(|(_, line)| line.front())
            .map(|first| (first.since, first.id))
            .min()
    }

    pub(super) fn remove(&mut self, id: JobId, client: &ClientKey) -> Option<Waiting<T>> {
        let line = self.clients.get_mut(client)?;
        let index = line.iter().position(|one| one.id == id)?;
        let waiting = line.remove(index)?;
        if line.is_empty() {
            self.clients.remove(client);
            self.turns.retain(|other| other != client);
        }
        self.waiting -= 1;
        Some(waiting)
    }

    pub(super) fn position(&self, id: JobId, client: &ClientKey) -> Option<usize> {
        let index = self
            .clients
            .get(client)?
            .iter()
            .position(|one| one.id == id)?;
        let own_turn = self.turns.iter().position(|other| other == client)?;
        let ahead: usize = self
            .turns
            .iter()
            .enumerate()
            .map(|(turn, other)| {
                let line = self.clients.get(other).map_or(0, VecDeque::len);
                // A client whose turn comes before gets one more round in than those after.
                let rounds = if turn < own_turn { index + 1 } else { index };
                line.min(rounds)
            })
            .sum();
        Some(ahead + 1)
    }
}

//! One lane of the queue: clients take turns, and each client's jobs keep their order.

use super::queue::Queued;
use sandpiper_domain::{ClientKey, JobId};
use std::collections::{HashMap, VecDeque};
use std::time::Instant;

#[derive(Debug)]
pub(super) struct LaneQueue<T> {
    clients: HashMap<ClientKey, VecDeque<Queued<T>>>,
    /// Clients that have waiting jobs, in the order of their turns.
    turns: VecDeque<ClientKey>,
    pub(super) waiting: usize,
}

impl<T> LaneQueue<T> {
    pub(super) fn new() -> Self {
        Self {
            clients: HashMap::new(),
            turns: VecDeque::new(),
            waiting: 0,
        }
    }

    pub(super) fn push(&mut self, waiting: Queued<T>) {
        self.waiting += 1;
        let jobs = self.clients.entry(waiting.client.clone()).or_default();
        if jobs.is_empty() {
            self.turns.push_back(waiting.client.clone());
        }
        jobs.push_back(waiting);
    }

    pub(super) fn pop(&mut self, may_run: impl Fn(&ClientKey) -> bool) -> Option<Queued<T>> {
        let turn = self.turns.iter().position(may_run)?;
        let client = self.turns.remove(turn)?;
        let jobs = self.clients.get_mut(&client)?;
        let waiting = jobs.pop_front()?;
        if jobs.is_empty() {
            self.clients.remove(&client);
        } else {
            self.turns.push_back(client);
        }
        self.waiting -= 1;
        Some(waiting)
    }

    /// Returns the ids of jobs that have waited since before `earliest`.
    pub(super) fn older(&self, earliest: Instant) -> Vec<JobId> {
        let clients = self.clients.values();
        clients
            .flat_map(|jobs| jobs.iter().take_while(|one| one.since < earliest))
            .map(|one| one.id)
            .collect()
    }

    /// Returns the moment at which the oldest job began to wait. The first job of a client is its oldest.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let clients = self.clients.values();
        clients
            .filter_map(|jobs| jobs.front())
            .map(|one| one.since)
            .min()
    }

    pub(super) fn has_any_of(&self, client: &ClientKey) -> bool {
        self.clients.contains_key(client)
    }

    pub(super) fn has_any_of_those(&self, is_wanted: impl Fn(&ClientKey) -> bool) -> bool {
        self.turns.iter().any(is_wanted)
    }

    pub(super) fn oldest_of(
        &self,
        is_wanted: impl Fn(&ClientKey) -> bool,
    ) -> Option<(Instant, JobId)> {
        let clients = self.clients.iter();
        clients
            .filter(|(client, _)| is_wanted(client))
            .filter_map(|(_, jobs)| jobs.front())
            .map(|first| (first.since, first.id))
            .min()
    }

    pub(super) fn remove(&mut self, id: JobId, client: &ClientKey) -> Option<Queued<T>> {
        let jobs = self.clients.get_mut(client)?;
        let index = jobs.iter().position(|one| one.id == id)?;
        let waiting = jobs.remove(index)?;
        if jobs.is_empty() {
            self.clients.remove(client);
            self.turns.retain(|other| other != client);
        }
        self.waiting -= 1;
        Some(waiting)
    }

    /// Returns the number of turns until this job is handed out. The number for a job of a tenant counts only the tenant's
    /// own jobs, so that it tells nothing about others.
    pub(super) fn position(&self, id: JobId, client: &ClientKey) -> Option<usize> {
        let index = self
            .clients
            .get(client)?
            .iter()
            .position(|one| one.id == id)?;
        if client.is_tenant() {
            return Some(index + 1);
        }
        let own_turn = self.turns.iter().position(|other| other == client)?;
        let ahead: usize = self
            .turns
            .iter()
            .enumerate()
            .map(|(turn, other)| {
                let jobs = self.clients.get(other).map_or(0, VecDeque::len);
                // A client whose turn is earlier gets one more job handed out than those after.
                let rounds = if turn < own_turn { index + 1 } else { index };
                jobs.min(rounds)
            })
            .sum();
        Some(ahead + 1)
    }
}

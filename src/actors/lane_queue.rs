//! One lane of the queue: clients take turns, and each client's jobs keep their order.

use super::queue::Queued;
use sandpiper_domain::{ClientKey, JobId};
use std::collections::{HashMap, VecDeque};
use std::time::Instant;

#[derive(Debug)]
pub(super) struct LaneQueue<T> {
    clients: HashMap<ClientKey, ClientQueue<T>>,
    /// Clients that have waiting jobs, in the order of their turns.
    turns: VecDeque<ClientKey>,
    pub(super) waiting: usize,
}

/// The jobs of one client: those that go on come before those that begin.
#[derive(Debug)]
struct ClientQueue<T> {
    resumed: VecDeque<Queued<T>>,
    new: VecDeque<Queued<T>>,
}

impl<T> ClientQueue<T> {
    const EMPTY: Self = Self {
        resumed: VecDeque::new(),
        new: VecDeque::new(),
    };

    fn len(&self) -> usize {
        self.resumed.len() + self.new.len()
    }

    /// Returns the jobs in the order in which they are handed out.
    fn iter(&self) -> impl Iterator<Item = &Queued<T>> {
        self.resumed.iter().chain(&self.new)
    }

    /// Returns the oldest job of either kind.
    fn oldest(&self) -> impl Iterator<Item = &Queued<T>> {
        self.resumed.front().into_iter().chain(self.new.front())
    }

    fn pop(&mut self) -> Option<Queued<T>> {
        self.resumed.pop_front().or_else(|| self.new.pop_front())
    }

    fn remove(&mut self, id: JobId) -> Option<Queued<T>> {
        [&mut self.resumed, &mut self.new]
            .into_iter()
            .find_map(|jobs| {
                let index = jobs.iter().position(|one| one.id == id)?;
                jobs.remove(index)
            })
    }
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
        self.client_queue(&waiting.client).new.push_back(waiting);
    }

    /// Puts a job that goes on before the client's jobs that begin.
    pub(super) fn push_resumed(&mut self, waiting: Queued<T>) {
        self.client_queue(&waiting.client)
            .resumed
            .push_back(waiting);
    }

    /// Returns the queue of a client that gets one job more.
    fn client_queue(&mut self, client: &ClientKey) -> &mut ClientQueue<T> {
        self.waiting += 1;
        if !self.clients.contains_key(client) {
            self.turns.push_back(client.clone());
        }
        self.clients
            .entry(client.clone())
            .or_insert(ClientQueue::EMPTY)
    }

    pub(super) fn pop(&mut self, may_run: impl Fn(&ClientKey) -> bool) -> Option<Queued<T>> {
        let turn = self.turns.iter().position(may_run)?;
        let client = self.turns.remove(turn)?;
        let jobs = self.clients.get_mut(&client)?;
        let waiting = jobs.pop()?;
        if jobs.len() == 0 {
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
            .flat_map(|jobs| [&jobs.resumed, &jobs.new])
            .flat_map(|jobs| jobs.iter().take_while(|one| one.since < earliest))
            .map(|one| one.id)
            .collect()
    }

    /// Returns the moment at which the oldest job began to wait.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let clients = self.clients.values();
        clients
            .flat_map(ClientQueue::oldest)
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
            .flat_map(|(_, jobs)| jobs.oldest())
            .map(|first| (first.since, first.id))
            .min()
    }

    pub(super) fn remove(&mut self, id: JobId, client: &ClientKey) -> Option<Queued<T>> {
        let jobs = self.clients.get_mut(client)?;
        let waiting = jobs.remove(id)?;
        if jobs.len() == 0 {
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
                let jobs = self.clients.get(other).map_or(0, ClientQueue::len);
                // A client whose turn is earlier gets one more job handed out than those after.
                let rounds = if turn < own_turn { index + 1 } else { index };
                jobs.min(rounds)
            })
            .sum();
        Some(ahead + 1)
    }
}

//! The number of open event streams, in total and per client.

use dashmap::{DashMap, Entry};
use sandpiper_domain::ClientKey;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The counter and limiter of open event streams.
#[derive(Debug)]
pub struct Streams {
    most: usize,
    client_max: usize,
    open: AtomicUsize,
    of_clients: DashMap<ClientKey, usize>,
}

/// An open event stream. Dropping it frees its place.
#[derive(Debug)]
pub(super) struct OpenStream {
    streams: Arc<Streams>,
    client: ClientKey,
}

impl Streams {
    /// Returns the counter with its limits. No stream is open.
    #[must_use]
    pub fn new(most: usize, client_max: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            client_max,
            open: AtomicUsize::new(0),
            of_clients: DashMap::new(),
        })
    }

    /// Returns the number of open streams.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Opens a stream of this client. Fails with the limit that is reached.
    pub(super) fn try_open(self: &Arc<Self>, client: ClientKey) -> Result<OpenStream, usize> {
        // The entry locks this client's count. Nothing is inserted before the stream is allowed, so a rejected client
        // leaves no entry behind.
        let entry = self.of_clients.entry(client.clone());
        let of_client = match &entry {
            Entry::Occupied(count) => *count.get(),
            Entry::Vacant(_) => 0,
        };
        if of_client >= self.client_max {
            return Err(self.client_max);
        }
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.most {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return Err(self.most);
        }
        drop(entry.insert(of_client + 1));
        Ok(OpenStream {
            streams: Arc::clone(self),
            client,
        })
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.streams.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(mut of_client) = self.streams.of_clients.get_mut(&self.client) {
            *of_client -= 1;
        }
        self.streams
            .of_clients
            .remove_if(&self.client, |_, of_client| *of_client == 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_bounded_in_all_and_for_each_client_and_free_again_when_they_end() {
        let streams = Streams::new(3, 2);
        let try_open = |client: &str| streams.try_open(ClientKey::new(client));
        let first = try_open("a").unwrap();
        let _second = try_open("a").unwrap();
        assert_eq!(try_open("a").unwrap_err(), 2);
        let _third = try_open("b").unwrap();
        assert_eq!(try_open("c").unwrap_err(), 3);
        drop(first);
        assert_eq!(streams.open(), 2);
        let _fourth = try_open("c").unwrap();
        assert_eq!(streams.open(), 3);
    }

    #[test]
    fn the_count_of_clients_does_not_grow_with_clients_that_are_refused_or_gone() {
        let streams = Streams::new(1, 1);
        let try_open = |client: &str| streams.try_open(ClientKey::new(client));
        let first = try_open("first").unwrap();
        for number in 0..100 {
            assert_eq!(try_open(&format!("refused {number}")).unwrap_err(), 1);
        }
        assert_eq!(streams.of_clients.len(), 1);
        // A client that is rejected by its own limit keeps its count.
        assert_eq!(try_open("first").unwrap_err(), 1);
        drop(first);
        assert_eq!(streams.of_clients.len(), 0);
        drop(try_open("next").unwrap());
        assert_eq!((streams.of_clients.len(), streams.open()), (0, 0));
    }
}

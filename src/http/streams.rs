//! How many streams of events are open, in all and for each client.

use dashmap::{DashMap, Entry};
use sandpiper_domain::ClientKey;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts them, and bounds them.
#[derive(Debug)]
pub struct Streams {
    most: usize,
    most_of_client: usize,
    open: AtomicUsize,
    of_clients: DashMap<ClientKey, usize>,
}

/// One of them, for as long as it lives.
#[derive(Debug)]
pub(super) struct OpenStream {
    streams: Arc<Streams>,
    client: ClientKey,
}

impl Streams {
    /// None is open.
    #[must_use]
    pub fn new(most: usize, most_of_client: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            most_of_client,
            open: AtomicUsize::new(0),
            of_clients: DashMap::new(),
        })
    }

    /// How many are open.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// One more for this client; the bound where that is one too many.
    pub(super) fn one_more(self: &Arc<Self>, client: ClientKey) -> Result<OpenStream, usize> {
        // The entry locks this client's count, and nothing is inserted before the stream is allowed: a refused client
        // leaves nothing behind.
        let entry = self.of_clients.entry(client.clone());
        let of_client = match &entry {
            Entry::Occupied(count) => *count.get(),
            Entry::Vacant(_) => 0,
        };
        if of_client >= self.most_of_client {
            return Err(self.most_of_client);
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
        let one_more = |client: &str| streams.one_more(ClientKey::new(client));
        let first = one_more("a").unwrap();
        let _second = one_more("a").unwrap();
        assert_eq!(one_more("a").unwrap_err(), 2);
        let _third = one_more("b").unwrap();
        assert_eq!(one_more("c").unwrap_err(), 3);
        drop(first);
        assert_eq!(streams.open(), 2);
        let _fourth = one_more("c").unwrap();
        assert_eq!(streams.open(), 3);
    }

    #[test]
    fn the_count_of_clients_does_not_grow_with_clients_that_are_refused_or_gone() {
        let streams = Streams::new(1, 1);
        let one_more = |client: &str| streams.one_more(ClientKey::new(client));
        let first = one_more("first").unwrap();
        for number in 0..100 {
            assert_eq!(one_more(&format!("refused {number}")).unwrap_err(), 1);
        }
        assert_eq!(streams.of_clients.len(), 1);
        // Refused for its own bound, a client keeps its count.
        assert_eq!(one_more("first").unwrap_err(), 1);
        drop(first);
        assert_eq!(streams.of_clients.len(), 0);
        drop(one_more("next").unwrap());
        assert_eq!((streams.of_clients.len(), streams.open()), (0, 0));
    }
}

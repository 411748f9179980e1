//! Whom a request is counted for: its key, where it has one, or else its client.

use crate::client::Client;
use crate::keys::KeyId;
use std::fmt;

/// Whom a request is counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Asker {
    /// Nobody gave a key.
    Client(Client),
    /// Whoever holds this key, from wherever.
    Key(KeyId),
}

/// The name by which the service is told of them, so that its queue is fair between them.
impl fmt::Display for Asker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(client) => client.fmt(formatter),
            Self::Key(id) => write!(formatter, "key:{id}"),
        }
    }
}

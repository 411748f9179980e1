//! The principal that a request counts for: the API key, or the client if the request has no key.

use crate::client::Client;
use crate::keys::KeyId;
use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Principal {
    /// A client without a key.
    Client(Client),
    /// The holder of this key, from any address.
    Key(KeyId),
}

/// Writes the name of a client without a key, which the service gets in `Sandpiper-Client`. The service is told of a key
/// by the key's identity.
impl fmt::Display for Principal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(client) => client.fmt(formatter),
            Self::Key(id) => write!(formatter, "key:{id}"),
        }
    }
}

//! API keys: the keys file, and the tenant, scopes, quotas, budgets and bounds of each key.
//!
//! A key is `sp_`, an id of sixteen hexadecimal digits, `_`, and a secret of sixty-four. The file has the SHA-256 of
//! the secret: a secret of 256 random bits needs no slow hash.
//!
//! `file` has the form of the file and `storage` its reading and writing. `commands` changes the file. `ring` has the
//! valid keys of the running ingress, `credential` the validity of the secret that a request presents, `identity` what
//! the service is told of a key, and `uses` the times of last use.

mod budget;
pub mod commands;
mod credential;
mod error;
mod file;
mod identity;
mod ring;
mod storage;
mod tenant;
#[cfg(test)]
mod tests;
mod text;
mod uses;

pub use budget::{BudgetChange, Budgets};
pub(crate) use credential::{Credential, CredentialEnd};
pub use error::KeyFileError;
pub use file::load;
pub(crate) use identity::Identity;
#[cfg(test)]
use ring::KeyError;
pub use ring::{Key, KeyRing};
pub use storage::Stamp;
pub use tenant::TenantName;
pub(crate) use uses::UsesFile;

use crate::hex::{Digest, from_hex, to_hex};
pub use sandpiper_http_kit::scopes::Scope;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(u64);

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

impl FromStr for KeyId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits: [u8; 8] = from_hex(text).ok_or("an id is 16 lower-case hexadecimal digits")?;
        Ok(Self(u64::from_be_bytes(digits)))
    }
}

/// A key as a client sends it.
struct Presented {
    id: KeyId,
    secret: [u8; 32],
}

const PREFIX: &str = "sp_";

impl Presented {
    /// Creates a key with a random secret.
    fn random(id: KeyId) -> Result<Self, getrandom::Error> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret)?;
        Ok(Self { id, secret })
    }

    fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        Some(Self {
            id: id.parse().ok()?,
            secret: from_hex(secret)?,
        })
    }

    fn digest(&self) -> Digest {
        Sha256::digest(self.secret).into()
    }

    fn to_text(&self) -> String {
        format!("{PREFIX}{}_{}", self.id, to_hex(&self.secret))
    }
}

impl KeyId {
    fn random() -> Result<Self, getrandom::Error> {
        let mut digits = [0; 8];
        getrandom::fill(&mut digits)?;
        Ok(Self(u64::from_be_bytes(digits)))
    }
}

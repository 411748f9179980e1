//! API keys: the keys file, and the scopes, quotas and bounds of each key.
//!
//! A key is `sp_`, an id of sixteen hexadecimal digits, `_`, and a secret of sixty-four. The file has the SHA-256 of
//! the secret: a secret of 256 random bits needs no slow hash.

mod file;
mod new;
mod ring;
#[cfg(test)]
mod tests;

pub use file::{KeyFileError, Stamp, load};
pub use new::{NewKey, write_new};
pub use ring::{Key, KeyRing};

use crate::hex::{from_hex, to_hex};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A permission of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// `POST /api/execute`, `GET /api/netcheck`
    Execute,
    /// `POST /api/jobs`, `DELETE /api/jobs/<id>`
    Jobs,
    /// `GET /api/jobs`, `GET /api/jobs/<id>` and the paths below
    Read,
}

impl Scope {
    pub fn name(self) -> &'static str {
        match self {
            Self::Execute => "execute",
            Self::Jobs => "jobs",
            Self::Read => "read",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
    fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        Some(Self {
            id: id.parse().ok()?,
            secret: from_hex(secret)?,
        })
    }

    fn to_text(&self) -> String {
        format!("{PREFIX}{}_{}", self.id, to_hex(&self.secret))
    }
}

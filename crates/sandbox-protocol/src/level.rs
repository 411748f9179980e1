//! Which walls stand, and what they add up to.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use utoipa::ToSchema;

/// What the walls that stand add up to. There is nothing below [`IsolationLevel::L2`]: the service does not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum IsolationLevel {
    /// A process an execution, the seccomp filter, rlimits, an unprivileged user. What gVisor allows.
    L2,
    /// L2 and landlock. What a plain container allows.
    L3,
    /// L3 and user, pid, network, ipc, uts and mount namespaces. Bare metal and some virtual machines.
    L4,
}

/// The text names no [`IsolationLevel`].
#[derive(Debug, thiserror::Error)]
#[error("an isolation level is one of L2, L3, L4")]
pub struct UnknownIsolationLevel;

impl FromStr for IsolationLevel {
    type Err = UnknownIsolationLevel;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "L2" => Ok(Self::L2),
            "L3" => Ok(Self::L3),
            "L4" => Ok(Self::L4),
            _ => Err(UnknownIsolationLevel),
        }
    }
}

impl fmt::Display for IsolationLevel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, formatter)
    }
}

/// One wall, as it was found by trying it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WallReport {
    /// `seccomp`, `landlock`, …
    pub wall: String,
    /// It stands.
    pub present: bool,
    /// Without it the service does not start.
    pub required: bool,
    /// What was tried, or why it is absent.
    pub detail: String,
}

impl WallReport {
    pub fn present(wall: &str, detail: impl Into<String>) -> Self {
        Self {
            wall: wall.to_owned(),
            present: true,
            required: false,
            detail: detail.into(),
        }
    }

    pub fn absent(wall: &str, detail: impl Into<String>) -> Self {
        Self {
            wall: wall.to_owned(),
            present: false,
            required: false,
            detail: detail.into(),
        }
    }

    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }
}

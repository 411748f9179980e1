//! Isolation layers, and the levels that they add up to.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use utoipa::ToSchema;

/// The level of isolation that the present layers add up to. The service does not start below [`IsolationLevel::L2`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum IsolationLevel {
    /// A process per execution, the seccomp filter, rlimits, an unprivileged user. The level inside gVisor.
    L2,
    /// L2 and landlock. The level inside a plain container.
    L3,
    /// L3 and user, pid, network, ipc, uts and mount namespaces. The level on bare metal and on some virtual machines.
    L4,
}

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

/// The state of one isolation layer, found by trying it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = WallReport)] // words: allow (the schema's name in the description of the API)
pub struct LayerReport {
    /// The name of the layer: `seccomp`, `landlock`, …
    #[serde(rename = "wall")]
    pub layer: String,
    /// True if the layer is active.
    pub present: bool,
    /// True if the service does not start without this layer.
    pub required: bool,
    /// The attempt that was made, or the reason why the layer is absent.
    pub detail: String,
}

impl LayerReport {
    pub fn present(layer: &str, detail: impl Into<String>) -> Self {
        Self {
            layer: layer.to_owned(),
            present: true,
            required: false,
            detail: detail.into(),
        }
    }

    pub fn absent(layer: &str, detail: impl Into<String>) -> Self {
        Self {
            layer: layer.to_owned(),
            present: false,
            required: false,
            detail: detail.into(),
        }
    }

    /// Marks the layer as one that the service does not start without.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }
}

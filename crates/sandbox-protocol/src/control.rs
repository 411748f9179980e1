//! Messages of the control socket between an executor and its zygote: one packet a message.
//!
//! ```text
//!   executor → zygote   Setup (JSON), with the zygote's ends of its pipes
//!   zygote → executor   Readiness (JSON)
//!   executor → zygote   Order, again and again (one or two bytes)
//!   job process → executor   hello: the name of its slot (one byte); the kernel adds the sender's pid
//!   zygote → executor   ChildReport (JSON), if an order requested one
//! ```
//! Both ends are trusted. A zygote never reads a job's bytes. A job process sends its hello and closes the control
//! socket before it reads any.

use crate::level::{IsolationLevel, LayerReport};
use crate::slot::Slot;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Longest message of the handshake, bytes.
pub const CONTROL_MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Longest message after the handshake, bytes.
pub const REPORT_BYTES_MAX: usize = 1024;
pub const ORDER_BYTES_MAX: usize = 2;

const ORDER_REPORT: u8 = b'r';
const ORDER_REAP: u8 = b'x';
/// Follows the name of a slot in an order for a spare: the zygote does not reap the sibling.
const SIBLING_RUNS: u8 = b'w';

/// The isolation layers that a zygote sets up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZygotePlan {
    /// Layers above this level are not tried.
    pub max_isolation: IsolationLevel,
    pub speculation: SpeculationControl,
}

/// Use of the kernel's controls of speculative execution (Spectre variants 2 and 4) for job processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpeculationControl {
    /// Switched off where the kernel allows a process to do so.
    Auto,
    /// Left as it is.
    Off,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Setup {
    /// [`BUILD_ID`](crate::BUILD_ID) of the executor. A zygote of another build refuses to start.
    pub build: String,
    pub plan: ZygotePlan,
    /// The layout of the heap, if another zygote has learned it. Its JSON is read by the sandbox program alone.
    pub placement: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Readiness {
    /// The isolation layers are set up and the engine is warm.
    Ready {
        level: IsolationLevel,
        #[serde(rename = "walls")]
        layers: Vec<LayerReport>,
        /// The layout of the heap, where this zygote had to learn it.
        learned: Option<String>,
    },
    /// A required layer is missing. The zygote ends after it has sent this.
    Failed {
        #[serde(rename = "wall")]
        layer: String,
        reason: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Spare(Spare),
    /// Report how the job process of this slot ended. The zygote waits until it has ended.
    Report(Slot),
    /// Reap the job process of this slot, which has been killed. Its pid becomes free.
    Reap(Slot),
}

/// A job process that is to be forked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spare {
    pub slot: Slot,
    pub sibling: Sibling,
}

/// The state of the job process in the other slot when a spare is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sibling {
    /// Killed, or there was none. The zygote reaps it.
    Killed,
    /// Possibly running. The zygote leaves it alone.
    Runs,
}

impl Order {
    /// Returns the packet and its length.
    pub fn encode(self) -> ([u8; ORDER_BYTES_MAX], usize) {
        let name = |slot: Slot| slot.descriptors().name;
        match self {
            Self::Spare(Spare { slot, sibling }) => match sibling {
                Sibling::Killed => ([name(slot), 0], 1),
                Sibling::Runs => ([name(slot), SIBLING_RUNS], 2),
            },
            Self::Report(slot) => ([ORDER_REPORT, name(slot)], 2),
            Self::Reap(slot) => ([ORDER_REAP, name(slot)], 2),
        }
    }

    pub fn decode(packet: &[u8]) -> Option<Self> {
        let spare = |name: u8, sibling| {
            let slot = Slot::of_name(name)?;
            Some(Self::Spare(Spare { slot, sibling }))
        };
        match *packet {
            [ORDER_REPORT, name] => Slot::of_name(name).map(Self::Report),
            [ORDER_REAP, name] => Slot::of_name(name).map(Self::Reap),
            [name, SIBLING_RUNS] => spare(name, Sibling::Runs),
            [name] => spare(name, Sibling::Killed),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildReport {
    pub signal: Option<i32>,
    pub exit_code: Option<i32>,
    pub peak_resident_bytes: u64,
    /// Processor time of the process, its fork included.
    pub cpu: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_read_as_it_was_written() {
        for slot in Slot::BOTH {
            for order in [
                Order::Spare(Spare {
                    slot,
                    sibling: Sibling::Killed,
                }),
                Order::Spare(Spare {
                    slot,
                    sibling: Sibling::Runs,
                }),
                Order::Report(slot),
                Order::Reap(slot),
            ] {
                let (packet, length) = order.encode();
                assert_eq!(Order::decode(&packet[..length]), Some(order));
            }
        }
        for packet in [&b""[..], b"?", b"Lx", b"r?", b"rLL"] {
            assert_eq!(Order::decode(packet), None, "{packet:?}");
        }
    }
}

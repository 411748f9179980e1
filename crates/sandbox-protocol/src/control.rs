//! Messages of the control socket between an executor and its zygote: one packet a message.
//!
//! ```text
//!   executor → zygote   Setup (JSON), with the zygote's ends of its pipes
//!   zygote → executor   Readiness (JSON)
//!   executor → zygote   Order, again and again (one or two bytes)
//!   job process → executor   hello: the name of its slot (one byte), with the kernel's word on the sender's pid
//!   zygote → executor   ChildReport (JSON), where an order asked for one
//! ```
//! Both ends are trusted: a zygote never reads a job's bytes, and a job process sends its hello and closes the control socket
//! before it reads any.

use crate::level::{IsolationLevel, WallReport};
use crate::slot::Side;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Longest message of the handshake, bytes.
pub const CONTROL_MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Longest message after the handshake, bytes.
pub const REPORT_BYTES_MAX: usize = 1024;
/// Longest order, bytes.
pub const ORDER_BYTES_MAX: usize = 2;

const ORDER_REPORT: u8 = b'r';
const ORDER_REAP: u8 = b'x';
/// Behind an order of a spare: its sibling is to be left alone.
const SIBLING_RUNS: u8 = b'w';

/// The isolation layers that a zygote sets up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZygotePlan {
    /// Layers above this level are not tried.
    pub max_isolation: IsolationLevel,
    /// Whether job processes run without speculation that leaks.
    pub speculation: SpeculationControl,
}

/// Whether the kernel is asked to switch speculation off for job processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpeculationControl {
    /// Wherever the kernel grants it.
    Auto,
    /// Never.
    Off,
}

/// A zygote's first message.
#[derive(Debug, Serialize, Deserialize)]
pub struct Setup {
    /// [`BUILD_ID`](crate::BUILD_ID) of the executor. A zygote of another build refuses.
    pub build: String,
    /// The layers to set up.
    pub plan: ZygotePlan,
    /// The layout of the heap, if another zygote has learned it: JSON that only the sandbox program reads.
    pub placement: Option<String>,
}

/// A zygote's response to its set-up.
#[derive(Debug, Serialize, Deserialize)]
pub enum Readiness {
    /// The layers stand, the engine is warm.
    Ready {
        /// The level that the layers add up to.
        level: IsolationLevel,
        /// Each layer.
        walls: Vec<WallReport>,
        /// The layout of the heap, where this zygote had to learn it.
        learned: Option<String>,
    },
    /// A required layer is missing. The zygote has ended.
    Failed {
        /// The layer's name.
        wall: String,
        /// The error of the attempt.
        reason: String,
    },
}

/// An order to a zygote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Fork a job process.
    Spare(Spare),
    /// Report how the job process of this slot ended, once it has.
    Report(Side),
    /// Reap the job process of this slot, which has been killed: its pid is no longer needed.
    Reap(Side),
}

/// A job process that is to be forked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spare {
    /// The slot that it serves.
    pub side: Side,
    /// The state of the other slot's job process.
    pub sibling: Sibling,
}

/// The state of the job process in the other slot when a spare is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sibling {
    /// It has been killed, if there was one, and is to be reaped.
    Killed,
    /// It may be running.
    Runs,
}

impl Order {
    /// Returns the packet, and how many bytes of it count.
    #[must_use]
    pub fn encode(self) -> ([u8; ORDER_BYTES_MAX], usize) {
        let name = |side: Side| side.descriptors().name;
        match self {
            Self::Spare(Spare { side, sibling }) => match sibling {
                Sibling::Killed => ([name(side), 0], 1),
                Sibling::Runs => ([name(side), SIBLING_RUNS], 2),
            },
            Self::Report(side) => ([ORDER_REPORT, name(side)], 2),
            Self::Reap(side) => ([ORDER_REAP, name(side)], 2),
        }
    }

    /// Parses a packet.
    #[must_use]
    pub fn decode(packet: &[u8]) -> Option<Self> {
        let spare = |name: u8, sibling| {
            let side = Side::of_name(name)?;
            Some(Self::Spare(Spare { side, sibling }))
        };
        match *packet {
            [ORDER_REPORT, name] => Side::of_name(name).map(Self::Report),
            [ORDER_REAP, name] => Side::of_name(name).map(Self::Reap),
            [name, SIBLING_RUNS] => spare(name, Sibling::Runs),
            [name] => spare(name, Sibling::Killed),
            _ => None,
        }
    }
}

/// The kernel's report of a job process that has ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildReport {
    /// The signal that killed it, if one did.
    pub signal: Option<i32>,
    /// Its exit code, if it exited.
    pub exit_code: Option<i32>,
    /// Its peak resident memory, bytes.
    pub peak_resident_bytes: u64,
    /// Processor time that it used, its fork included.
    pub cpu: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_read_as_it_was_written() {
        for side in Side::BOTH {
            for order in [
                Order::Spare(Spare {
                    side,
                    sibling: Sibling::Killed,
                }),
                Order::Spare(Spare {
                    side,
                    sibling: Sibling::Runs,
                }),
                Order::Report(side),
                Order::Reap(side),
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

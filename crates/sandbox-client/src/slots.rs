//! States of a zygote's two slots, and of the report that an executor requests.
//!
//! The slots are used in turn: while a job process runs in one slot, the next is forked in the other. Each slot is in
//! one of these states:
//!
//! ```text
//!             order              hello
//!   Vacant ──────────▶ Ordered ─────────▶ Ready
//!                       ▲  │                │ take
//!                 order │  │ take           │
//!                       │  ▼      hello     ▼
//!                       ├─ Expected ─────▶ Running
//!                       └─────────────────────┘
//! ```
//!
//! `Ordered` and `Ready` are a *spare*: a job process without a job. Only the slot whose turn it is has one. A spare
//! that is taken before its hello is `Expected`: its job waits in the pipe until the zygote has forked it.
//!
//! A report says how a job process ended. At most one is requested at a time:
//!
//! ```text
//!                  request              arrival
//!   NotRequested ───────────▶ Requested ────────▶ Received
//!     ▲  ▲        cancel          │                   │
//!     │  └────────────────────────┘ (a stale report)  │
//!     └───────────────────────────────────────────────┘ take, cancel
//! ```
//!
//! Reports arrive in the order in which they were requested. After `n` cancelled requests, the next `n` reports are dropped.

use crate::control::Message;
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use sandpiper_sandbox_protocol::{ChildReport, Slot};
use std::mem;

#[derive(Debug)]
pub(crate) struct Slots {
    states: [SlotState; 2],
    /// The slot whose turn it is: the next job process is forked there.
    next: Slot,
    report: ReportState,
    /// Reports that will arrive and are no longer wanted.
    stale_reports: u32,
}

/// The state of one slot. See the diagram of this module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SlotState {
    Vacant,
    Ordered(Predecessor),
    Ready(Pid),
    Expected,
    Running(Pid),
}

/// The previous job process of a slot. The zygote reaps it before it forks the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Predecessor {
    None,
    /// The hello never arrived.
    Unknown,
    Known(Pid),
}

/// The state of the requested report. See the diagram of this module.
#[derive(Debug, Clone, Copy)]
enum ReportState {
    NotRequested,
    Requested,
    Received(ChildReport),
}

impl Slots {
    pub(crate) fn new() -> Self {
        Self {
            states: [SlotState::Vacant; 2],
            next: Slot::Left,
            report: ReportState::NotRequested,
            stale_reports: 0,
        }
    }

    /// Returns the slot for which a job process is to be ordered, unless there is a spare.
    pub(crate) fn to_order(&self) -> Option<Slot> {
        self.spare().is_none().then_some(self.next)
    }

    pub(crate) fn spare(&self) -> Option<Slot> {
        let has_spare = matches!(
            self.states[self.next as usize],
            SlotState::Ordered(_) | SlotState::Ready(_)
        );
        has_spare.then_some(self.next)
    }

    /// Notes that a job process was ordered for the slot whose turn it is.
    pub(crate) fn note_order(&mut self) {
        let state = &mut self.states[self.next as usize];
        *state = SlotState::Ordered(match *state {
            SlotState::Vacant => Predecessor::None,
            SlotState::Ordered(_) | SlotState::Expected => Predecessor::Unknown,
            SlotState::Ready(pid) | SlotState::Running(pid) => Predecessor::Known(pid),
        });
    }

    /// Notes that the spare gets a job. It is the other slot's turn now.
    pub(crate) fn note_taken(&mut self) {
        let state = &mut self.states[self.next as usize];
        *state = match *state {
            SlotState::Ready(pid) => SlotState::Running(pid),
            _ => SlotState::Expected,
        };
        self.next = self.next.other();
    }

    pub(crate) fn note(&mut self, message: Message) {
        match message {
            Message::Hello(slot, pid) => {
                let state = &mut self.states[slot as usize];
                *state = match *state {
                    SlotState::Expected | SlotState::Running(_) => SlotState::Running(pid),
                    _ => SlotState::Ready(pid),
                };
            }
            Message::Report(_) if self.stale_reports > 0 => self.stale_reports -= 1,
            Message::Report(report) => self.report = ReportState::Received(report),
        }
    }

    /// Returns the pid of the job process that was ordered last for `slot`, once its hello has arrived.
    pub(crate) fn pid(&self, slot: Slot) -> Option<Pid> {
        match self.states[slot as usize] {
            SlotState::Ready(pid) | SlotState::Running(pid) => Some(pid),
            SlotState::Vacant | SlotState::Ordered(_) | SlotState::Expected => None,
        }
    }

    /// Returns whether the previous job process of `slot` is certainly reaped, so that it cannot read the next job.
    ///
    /// A hello proves this, as does a pid that the kernel does not know. A pid that has passed to another process gives
    /// a false "no".
    pub(crate) fn is_clear(&self, slot: Slot) -> bool {
        match self.states[slot as usize] {
            SlotState::Ordered(Predecessor::Known(pid)) => kill(pid, None) == Err(Errno::ESRCH),
            SlotState::Ordered(Predecessor::Unknown) | SlotState::Expected => false,
            SlotState::Ordered(Predecessor::None)
            | SlotState::Vacant
            | SlotState::Ready(_)
            | SlotState::Running(_) => true,
        }
    }

    /// Returns whether a report was requested and not taken yet.
    pub(crate) fn is_report_requested(&self) -> bool {
        !matches!(self.report, ReportState::NotRequested)
    }

    pub(crate) fn note_report_request(&mut self) {
        self.report = ReportState::Requested;
    }

    /// Returns whether the requested report has arrived: the job process has ended.
    pub(crate) fn has_report(&self) -> bool {
        matches!(self.report, ReportState::Received(_))
    }

    pub(crate) fn take_report(&mut self) -> Option<ChildReport> {
        let ReportState::Received(report) = self.report else {
            return None;
        };
        self.report = ReportState::NotRequested;
        Some(report)
    }

    pub(crate) fn cancel_report(&mut self) {
        let before = mem::replace(&mut self.report, ReportState::NotRequested);
        self.stale_reports += u32::from(matches!(before, ReportState::Requested));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn killed_by(signal: i32) -> Message {
        Message::Report(ChildReport {
            signal: Some(signal),
            ..ChildReport::default()
        })
    }

    /// Returns slots where the left one is next, and the right one has a job process that was taken before its hello.
    fn left_is_next() -> Slots {
        let mut slots = Slots::new();
        for _ in Slot::BOTH {
            slots.note_order();
            slots.note_taken();
        }
        slots
    }

    #[test]
    fn a_report_that_nobody_wants_any_more_is_not_taken_for_the_next() {
        let mut slots = Slots::new();
        slots.note_report_request();
        slots.cancel_report();
        slots.note_report_request();
        slots.note(killed_by(9));
        assert!(!slots.has_report());
        slots.note(killed_by(11));
        let report = slots.take_report().unwrap();
        assert_eq!(report.signal, Some(11));
        assert!(!slots.is_report_requested());
    }

    #[test]
    fn a_report_that_has_arrived_is_cancelled_at_once() {
        let mut slots = Slots::new();
        slots.note_report_request();
        slots.note(killed_by(9));
        slots.cancel_report();
        slots.note_report_request();
        slots.note(killed_by(11));
        assert_eq!(slots.take_report().unwrap().signal, Some(11));
    }

    #[test]
    fn a_hello_belongs_to_its_own_slot_whatever_the_order() {
        let mut slots = left_is_next();
        slots.note(Message::Hello(Slot::Right, Pid::from_raw(2)));
        assert_eq!(slots.pid(Slot::Left), None);
        slots.note(Message::Hello(Slot::Left, Pid::from_raw(1)));
        assert_eq!(slots.pid(Slot::Left), Some(Pid::from_raw(1)));
        assert_eq!(slots.pid(Slot::Right), Some(Pid::from_raw(2)));
    }

    #[test]
    fn only_the_slot_whose_turn_it_is_has_a_spare() {
        let mut slots = Slots::new();
        assert_eq!(slots.spare(), None);
        assert_eq!(slots.to_order(), Some(Slot::Left));
        slots.note_order();
        assert_eq!(slots.to_order(), None);
        slots.note(Message::Hello(Slot::Left, Pid::from_raw(1)));
        assert_eq!(slots.spare(), Some(Slot::Left));
        slots.note_taken();
        assert_eq!(slots.spare(), None);
        assert_eq!(slots.to_order(), Some(Slot::Right));
    }

    #[test]
    fn a_slot_is_clear_only_once_its_previous_job_process_is_known_to_be_reaped() {
        let mut slots = Slots::new();
        slots.note_order();
        assert!(
            slots.is_clear(Slot::Left),
            "the first job process of a slot"
        );
        let mut slots = left_is_next();
        slots.note_order();
        assert!(!slots.is_clear(Slot::Left), "a job process without a hello");
        let mut slots = left_is_next();
        slots.note(Message::Hello(Slot::Left, Pid::this()));
        slots.note_order();
        assert!(!slots.is_clear(Slot::Left), "a job process that runs");
        // No process has so high a pid.
        let mut slots = left_is_next();
        slots.note(Message::Hello(Slot::Left, Pid::from_raw(i32::MAX)));
        slots.note_order();
        assert!(
            slots.is_clear(Slot::Left),
            "a pid that the kernel does not know"
        );
    }
}

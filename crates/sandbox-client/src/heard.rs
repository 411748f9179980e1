//! What an executor has heard of its zygote's job processes: who has been born on which line, and how one ended that it asked
//! about.

use crate::control::Word;
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use sandpiper_sandbox_protocol::{ChildReport, Side};

/// See the module.
#[derive(Debug)]
pub(crate) struct Heard {
    holders: [Holders; 2],
    report: Report,
    /// Reports on their way that nobody waits for any more.
    stale_reports: u32,
}

/// Whose a line is, and whose it was.
#[derive(Debug, Clone, Copy)]
struct Holders {
    now: Holder,
    before: Holder,
}

#[derive(Debug, Clone, Copy)]
enum Holder {
    Nobody,
    /// Ordered, and not heard of.
    Unborn,
    Born(Pid),
}

#[derive(Debug, Clone, Copy)]
enum Report {
    NotAsked,
    Asked,
    Told(ChildReport),
}

impl Heard {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        let nobody = Holders {
            now: Holder::Nobody,
            before: Holder::Nobody,
        };
        Self {
            holders: [nobody; 2],
            report: Report::NotAsked,
            stale_reports: 0,
        }
    }

    /// A job process has been ordered for the line of `side`.
    pub(crate) fn ordered(&mut self, side: Side) {
        let holders = &mut self.holders[side as usize];
        *holders = Holders {
            now: Holder::Unborn,
            before: holders.now,
        };
    }

    /// Takes in a word.
    pub(crate) fn note(&mut self, word: Word) {
        match word {
            Word::Hello(side, pid) => self.holders[side as usize].now = Holder::Born(pid),
            Word::Report(_) if self.stale_reports > 0 => self.stale_reports -= 1,
            Word::Report(reaped) => self.report = Report::Told(reaped),
        }
    }

    /// The job process that was ordered last for the line of `side`, if it has been born.
    pub(crate) fn pid(&self, side: Side) -> Option<Pid> {
        match self.holders[side as usize].now {
            Holder::Born(pid) => Some(pid),
            Holder::Nobody | Holder::Unborn => None,
        }
    }

    /// Whether nobody has the line of `side` any more but who was ordered last: the kernel does not know the one before. It may
    /// know another process by its pid, and then this says no where it could say yes.
    pub(crate) fn is_left(&self, side: Side) -> bool {
        match self.holders[side as usize].before {
            Holder::Nobody => true,
            Holder::Unborn => false,
            Holder::Born(before) => kill(before, None) == Err(Errno::ESRCH),
        }
    }

    /// Whether a report that somebody waits for is on its way or here.
    pub(crate) fn is_asked(&self) -> bool {
        !matches!(self.report, Report::NotAsked)
    }

    /// It has been asked for.
    pub(crate) fn asked(&mut self) {
        self.report = Report::Asked;
    }

    /// Whether it says that the job process has ended.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.report, Report::Told(_))
    }

    /// It, once it is here. Nobody waits for it then.
    pub(crate) fn take_report(&mut self) -> Option<ChildReport> {
        let Report::Told(reaped) = self.report else {
            return None;
        };
        self.report = Report::NotAsked;
        Some(reaped)
    }

    /// Nobody waits for it any more.
    pub(crate) fn forget_report(&mut self) {
        if matches!(self.report, Report::Asked) {
            self.stale_reports += 1;
        }
        self.report = Report::NotAsked;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn killed_by(signal: i32) -> Word {
        Word::Report(ChildReport {
            signal: Some(signal),
            ..ChildReport::default()
        })
    }

    #[test]
    fn a_report_that_nobody_waits_for_is_not_taken_for_the_next() {
        let mut heard = Heard::new();
        heard.asked();
        heard.forget_report();
        heard.asked();
        heard.note(killed_by(9));
        assert!(!heard.has_ended());
        heard.note(killed_by(11));
        let report = heard.take_report().unwrap();
        assert_eq!(report.signal, Some(11));
        assert!(!heard.is_asked());
    }

    #[test]
    fn one_that_is_here_already_is_forgotten_at_once() {
        let mut heard = Heard::new();
        heard.asked();
        heard.note(killed_by(9));
        heard.forget_report();
        heard.asked();
        heard.note(killed_by(11));
        assert_eq!(heard.take_report().unwrap().signal, Some(11));
    }

    #[test]
    fn whoever_was_born_first_has_its_own_line() {
        let mut heard = Heard::new();
        heard.ordered(Side::Left);
        heard.ordered(Side::Right);
        heard.note(Word::Hello(Side::Right, Pid::from_raw(2)));
        assert_eq!(heard.pid(Side::Left), None);
        heard.note(Word::Hello(Side::Left, Pid::from_raw(1)));
        assert_eq!(heard.pid(Side::Left), Some(Pid::from_raw(1)));
        assert_eq!(heard.pid(Side::Right), Some(Pid::from_raw(2)));
    }

    #[test]
    fn a_line_is_left_only_by_who_is_known_to_be_gone() {
        let mut heard = Heard::new();
        heard.ordered(Side::Left);
        assert!(heard.is_left(Side::Left), "nobody had it");
        heard.ordered(Side::Left);
        assert!(!heard.is_left(Side::Left), "one that was never heard of");
        heard.note(Word::Hello(Side::Left, Pid::this()));
        heard.ordered(Side::Left);
        assert!(!heard.is_left(Side::Left), "one that lives");
        // No pid is as high.
        heard.note(Word::Hello(Side::Left, Pid::from_raw(i32::MAX)));
        heard.ordered(Side::Left);
        assert!(
            heard.is_left(Side::Left),
            "one that the kernel does not know"
        );
    }
}

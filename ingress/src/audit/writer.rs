//! The thread that writes the audit log.

use super::Message;
use super::destination::Destination;
use super::throttle::OncePerMinute;
use crate::meters::Meters;
use sandpiper_http_kit::metrics::as_u64;
use std::io;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;
use tracing::{error, info};

/// Time for which records gather before they are written together. A wake-up and a write for each request cost 60 µs of
/// processor time, a third of what the request itself costs.
const GATHER: Duration = Duration::from_millis(50);
/// Maximum records of one write.
const BATCH_RECORDS_MAX: u64 = 1024;

/// Writes records until a stop message, or until no sender is left.
pub(super) fn run(messages: &Receiver<Message>, destination: Destination, meters: &Meters) {
    let mut writer = Writer {
        destination,
        meters,
        fails: false,
        reports: OncePerMinute::default(),
    };
    while let Ok(first) = messages.recv() {
        if !matches!(first, Message::Stop) {
            thread::sleep(GATHER);
        }
        let mut next = Some(first);
        while let Some(first) = next.take() {
            let batch = Batch::collect(first, messages);
            if batch.reopens {
                writer.reopen();
            }
            writer.append(&batch.lines, batch.records);
            if batch.stops {
                return;
            }
            // After a full batch others wait already.
            if batch.records == BATCH_RECORDS_MAX {
                next = messages.try_recv().ok();
            }
        }
    }
}

/// The records of one write, and the other messages among them.
#[derive(Default)]
struct Batch {
    lines: Vec<u8>,
    records: u64,
    reopens: bool,
    stops: bool,
}

impl Batch {
    /// Takes the messages that wait, up to a stop message or a full batch.
    fn collect(first: Message, messages: &Receiver<Message>) -> Self {
        let mut batch = Self::default();
        let waiting = std::iter::from_fn(|| messages.try_recv().ok());
        for message in [first].into_iter().chain(waiting) {
            match message {
                Message::Record(record) => {
                    record.write(&mut batch.lines);
                    batch.records += 1;
                }
                Message::Reopen => batch.reopens = true,
                Message::Stop => batch.stops = true,
            }
            if batch.stops || batch.records == BATCH_RECORDS_MAX {
                break;
            }
        }
        batch
    }
}

struct Writer<'m> {
    destination: Destination,
    meters: &'m Meters,
    fails: bool,
    reports: OncePerMinute,
}

impl Writer<'_> {
    fn append(&mut self, lines: &[u8], records: u64) {
        if lines.is_empty() {
            return;
        }
        match self.destination.append(lines) {
            Ok(()) => {
                self.meters.audit_written.add(records);
                if self.fails {
                    self.fails = false;
                    info!("the audit log is written again");
                }
            }
            Err((lost, cause)) => {
                let lost = as_u64(lost);
                self.meters.audit_failed.add(lost);
                self.meters.audit_written.add(records.saturating_sub(lost));
                self.report(&cause);
            }
        }
    }

    fn reopen(&mut self) {
        if let Err(cause) = self.destination.reopen() {
            self.report(&cause);
        }
    }

    fn report(&mut self, cause: &io::Error) {
        self.fails = true;
        if self.reports.passes() {
            error!(%cause, "the audit log cannot be written; its lines are lost until this is corrected, and requests are served all the same");
        }
    }
}

//! The thread that writes the audit log.

use super::Message;
use super::destination::Destination;
use super::throttle::OncePerMinute;
use crate::meters::Meters;
use sandpiper_http_kit::metrics::as_u64;
use std::io;
use std::sync::mpsc::Receiver;
use tracing::{error, info};

/// Maximum records of one write.
const BATCH_RECORDS_MAX: u64 = 256;

/// Writes records until a stop message, or until no sender is left. Records that wait are written together.
pub(super) fn run(messages: &Receiver<Message>, destination: Destination, meters: &Meters) {
    let mut writer = Writer {
        destination,
        meters,
        fails: false,
        reports: OncePerMinute::default(),
    };
    while let Ok(first) = messages.recv() {
        let mut lines = Vec::new();
        let (mut records, mut stops, mut reopens) = (0, false, false);
        let waiting = std::iter::from_fn(|| messages.try_recv().ok());
        for message in [first].into_iter().chain(waiting) {
            match message {
                Message::Record(record) => {
                    record.write(&mut lines);
                    records += 1;
                }
                Message::Reopen => reopens = true,
                Message::Stop => stops = true,
            }
            if stops || records == BATCH_RECORDS_MAX {
                break;
            }
        }
        if reopens {
            writer.reopen();
        }
        writer.append(&lines, records);
        if stops {
            return;
        }
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

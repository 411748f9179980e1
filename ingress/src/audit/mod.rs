//! The audit log: one line of JSON for each request to the API, with who asked for what and how that ended. No line has
//! code, input or a result.
//!
//! `middleware` opens a [`OpenRecord`] for each request. A record whose client disconnects is written too. The records
//! pass through a bounded channel to a thread (`writer`), so that no request waits for the disk. Records beyond the
//! bound are dropped and counted.

mod destination;
mod record;
mod route;
#[cfg(test)]
mod tests;
mod throttle;
mod writer;

pub(crate) use destination::{AuditLog, AuditLogError};
pub(crate) use record::OpenRecord;

use crate::meters::Meters;
use destination::Destination;
use parking_lot::Mutex;
use record::Record;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};
use throttle::OncePerMinute;
use tracing::warn;

/// Maximum records that wait for the writer. With the longest ids they take about 4 MiB.
const RECORDS_MAX: usize = 8192;
/// Maximum time at the stop until the last records are written.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// A message to the writer.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // nearly every message is a record
enum Message {
    Record(Record),
    /// Opens the file anew.
    Reopen,
    /// Ends the writer, after the records before this message.
    Stop,
}

/// The sending end of the audit log.
#[derive(Debug)]
pub(crate) struct Audit {
    sender: SyncSender<Message>,
    /// Disconnected once the writer has ended.
    ended: Mutex<Receiver<()>>,
    meters: Arc<Meters>,
    drop_reports: OncePerMinute,
}

impl Audit {
    /// Opens the file and starts the writer.
    ///
    /// # Errors
    ///
    /// The file cannot be opened for appending, or the thread cannot be started.
    pub(crate) fn start(log: &AuditLog, meters: Arc<Meters>) -> Result<Self, AuditLogError> {
        let destination = Destination::open(log)?;
        Self::with_capacity(destination, RECORDS_MAX, meters).map_err(AuditLogError::Thread)
    }

    fn with_capacity(
        destination: Destination,
        records_max: usize,
        meters: Arc<Meters>,
    ) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(records_max);
        let (end, ended) = sync_channel(0);
        let of_writer = Arc::clone(&meters);
        thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || {
                writer::run(&receiver, destination, &of_writer);
                drop(end);
            })?;
        Ok(Self {
            sender,
            ended: Mutex::new(ended),
            meters,
            drop_reports: OncePerMinute::default(),
        })
    }

    /// Passes a record to the writer. Drops the record if the writer is too slow.
    fn send(&self, record: Record) {
        if self.sender.try_send(Message::Record(record)).is_ok() {
            return;
        }
        self.meters.audit_dropped.count();
        if self.drop_reports.passes() {
            warn!(
                dropped = self.meters.audit_dropped.get(),
                "the audit log cannot be written as fast as requests arrive; lines are dropped"
            );
        }
    }

    /// Opens the file anew before the next line, as a rotation of logs needs it.
    pub(crate) fn reopen(&self) {
        // A full channel means that lines follow, and each write looks for a new file anyway.
        let _ = self.sender.try_send(Message::Reopen);
    }

    /// Writes the records that wait, for at most two seconds. Blocks.
    pub(crate) fn stop(&self) {
        const POLL_INTERVAL: Duration = Duration::from_millis(5);
        let deadline = Instant::now() + STOP_TIMEOUT;
        while let Err(TrySendError::Full(_)) = self.sender.try_send(Message::Stop) {
            if Instant::now() >= deadline {
                break;
            }
            thread::sleep(POLL_INTERVAL);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if self.ended.lock().recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
            warn!(
                "the audit log could not be written to its end within {} s; its last lines are lost",
                STOP_TIMEOUT.as_secs()
            );
        }
    }
}

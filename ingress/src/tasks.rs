//! The background tasks: removal of idle clients and unused scripts, reload of the keys file, recording of the last uses
//! of keys, and reopening of the audit log.

use crate::gateway::Gateway;
use crate::keys::{self, Stamp, UsesFile};
use actix_web::rt;
use actix_web::web::Data;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::signal::unix::Signal;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// Half of the second within which a change of the keys counts.
const KEYS_EVERY: Duration = Duration::from_millis(500);
const USES_EVERY: Duration = Duration::from_mins(1);

/// The files of API keys.
#[derive(Debug)]
pub(crate) struct KeyFiles {
    pub(crate) keys: PathBuf,
    /// The state of the keys file before it was first read.
    pub(crate) keys_seen: Option<Stamp>,
    pub(crate) uses: UsesFile,
}

/// The running tasks.
#[derive(Debug)]
pub(crate) struct Tasks {
    handles: Vec<JoinHandle<()>>,
    uses: Option<Arc<UsesWriter>>,
}

impl Tasks {
    /// Starts all tasks. After each of `hangups` the audit log is opened anew.
    pub(crate) fn start(
        gateway: &Data<Gateway>,
        key_files: Option<KeyFiles>,
        hangups: Option<Signal>,
    ) -> Self {
        let mut handles = vec![sweep(gateway.clone())];
        let uses = key_files.map(|files| {
            let KeyFiles {
                keys,
                keys_seen,
                uses,
            } = files;
            handles.push(watch_keys(gateway.clone(), keys, keys_seen));
            let uses = Arc::new(UsesWriter::new(uses));
            uses.restore(gateway);
            handles.push(write_uses(gateway.clone(), Arc::clone(&uses)));
            uses
        });
        handles.extend(hangups.map(|hangups| reopen_audit_log(gateway.clone(), hangups)));
        Self { handles, uses }
    }

    /// Stops all tasks, and writes what is not written yet: the last uses of keys, and the audit log. Blocks.
    pub(crate) fn stop(self, gateway: &Gateway) {
        for handle in self.handles {
            handle.abort();
        }
        if let Some(uses) = self.uses {
            uses.write(gateway);
        }
        if let Some(audit) = &gateway.audit {
            audit.stop();
        }
    }
}

/// Removes clients whose quota is full again, and scripts that no request has used for the retention time.
fn sweep(gateway: Data<Gateway>) -> JoinHandle<()> {
    rt::spawn(async move {
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            let gateway = gateway.clone();
            // A million clients take some milliseconds, so the sweep runs outside the request threads.
            let swept = rt::task::spawn_blocking(move || {
                gateway.limits.sweep();
                if let Some(sources) = &gateway.sources {
                    sources.sweep();
                }
            });
            let _ = swept.await;
        }
    })
}

/// Reloads the keys whenever the file changes. The previous keys stay valid if the file cannot be used.
///
/// `seen` is the state of the file before it was first read, so that no change is missed.
fn watch_keys(gateway: Data<Gateway>, path: PathBuf, mut seen: Option<Stamp>) -> JoinHandle<()> {
    rt::spawn(async move {
        let Some(ring) = gateway.keys.clone() else {
            return;
        };
        loop {
            tokio::time::sleep(KEYS_EVERY).await;
            let now = Stamp::of(&path);
            if now == seen {
                continue;
            }
            seen = now;
            match keys::load(&path) {
                Ok(file) => {
                    ring.replace(&file);
                    gateway.meters.keys_read.count();
                    info!(keys = ring.len(), "the keys file changed and was reloaded");
                }
                Err(cause) => {
                    gateway.meters.keys_invalid.count();
                    error!(%cause, "the changed keys file cannot be used; the previous keys stay valid until the file is corrected");
                }
            }
        }
    })
}

/// Writes the times at which keys were last used to their file.
#[derive(Debug)]
struct UsesWriter {
    file: UsesFile,
    /// True if the last write failed, so that each change is logged once.
    fails: AtomicBool,
}

impl UsesWriter {
    fn new(file: UsesFile) -> Self {
        Self {
            file,
            fails: AtomicBool::new(false),
        }
    }

    /// Reads the uses that earlier ingresses wrote.
    fn restore(&self, gateway: &Gateway) {
        let Some(ring) = &gateway.keys else { return };
        if let Err(cause) = self.file.restore(ring) {
            warn!(%cause, "the file of last uses cannot be read; the times of last use of keys begin anew");
        }
    }

    /// Writes the uses if they have changed. Blocks.
    fn write(&self, gateway: &Gateway) {
        let Some(ring) = &gateway.keys else { return };
        let written = self.file.write(ring);
        let failed_before = self.fails.swap(written.is_err(), Ordering::Relaxed);
        match written {
            Ok(is_changed) => {
                gateway.meters.uses_written.add(u64::from(is_changed));
                if failed_before {
                    info!("the times of last use of keys are written again");
                }
            }
            Err(cause) => {
                gateway.meters.uses_failed.count();
                if !failed_before {
                    warn!(%cause, "the times of last use of keys cannot be written, so `key list` does not show them; requests are not affected: let the ingress write the folder of --key-uses-file");
                }
            }
        }
    }
}

/// Writes the times of last use once a minute.
fn write_uses(gateway: Data<Gateway>, writer: Arc<UsesWriter>) -> JoinHandle<()> {
    rt::spawn(async move {
        loop {
            tokio::time::sleep(USES_EVERY).await;
            let (gateway, writer) = (gateway.clone(), Arc::clone(&writer));
            let written = rt::task::spawn_blocking(move || writer.write(&gateway));
            let _ = written.await;
        }
    })
}

/// Opens the audit log anew on SIGHUP.
fn reopen_audit_log(gateway: Data<Gateway>, mut hangups: Signal) -> JoinHandle<()> {
    rt::spawn(async move {
        while hangups.recv().await.is_some() {
            if let Some(audit) = &gateway.audit {
                audit.reopen();
                info!("SIGHUP: the audit log is opened anew");
            }
        }
    })
}

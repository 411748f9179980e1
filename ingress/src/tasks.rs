//! The background tasks: removal of idle clients and unused scripts, reload of the keys file, and recording of the last
//! uses of keys.

use crate::gateway::Gateway;
use crate::keys::{self, Stamp, UsesFile};
use actix_web::rt;
use actix_web::web::Data;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// Half of the second within which a change of the keys counts.
const KEYS_EVERY: Duration = Duration::from_millis(500);
const USES_EVERY: Duration = Duration::from_mins(1);

/// Removes clients whose quota is full again, and scripts that no request has used for the retention time.
pub(crate) fn sweep(gateway: Data<Gateway>) -> JoinHandle<()> {
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
pub(crate) fn watch_keys(
    gateway: Data<Gateway>,
    path: Option<PathBuf>,
    mut seen: Option<Stamp>,
) -> JoinHandle<()> {
    rt::spawn(async move {
        let (Some(path), Some(ring)) = (path, gateway.keys.clone()) else {
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

/// Writes the times at which keys were last used to a file beside the keys file.
#[derive(Debug)]
pub(crate) struct UsesWriter {
    file: UsesFile,
    /// True if the last write failed, so that each change is logged once.
    fails: AtomicBool,
}

impl UsesWriter {
    pub(crate) fn beside(keys_file: &Path) -> Self {
        Self {
            file: UsesFile::beside(keys_file),
            fails: AtomicBool::new(false),
        }
    }

    /// Reads the uses that earlier ingresses wrote.
    pub(crate) fn restore(&self, gateway: &Gateway) {
        let Some(ring) = &gateway.keys else { return };
        if let Err(cause) = self.file.restore(ring) {
            warn!(%cause, "the file of last uses cannot be read; the times of last use of keys begin anew");
        }
    }

    /// Writes the uses if they have changed. Blocks.
    pub(crate) fn write(&self, gateway: &Gateway) {
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
                    warn!(%cause, "the times of last use of keys cannot be written beside the keys file, so `key list` does not show them; requests are not affected");
                }
            }
        }
    }
}

/// Writes the times of last use once a minute.
pub(crate) fn write_uses(gateway: Data<Gateway>, writer: Arc<UsesWriter>) -> JoinHandle<()> {
    rt::spawn(async move {
        loop {
            tokio::time::sleep(USES_EVERY).await;
            let (gateway, writer) = (gateway.clone(), Arc::clone(&writer));
            let written = rt::task::spawn_blocking(move || writer.write(&gateway));
            let _ = written.await;
        }
    })
}

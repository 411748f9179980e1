//! The background tasks: removal of idle clients and unused scripts, and reload of the keys file.

use crate::gateway::Gateway;
use crate::keys::{self, Stamp};
use actix_web::rt;
use actix_web::web::Data;
use std::path::PathBuf;
use std::time::Duration;
use tokio::task::JoinHandle;
use tracing::{error, info};

const SWEEP_EVERY: Duration = Duration::from_secs(30);
const KEYS_EVERY: Duration = Duration::from_secs(1);

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

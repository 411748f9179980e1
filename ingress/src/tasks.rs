//! What happens in the background: clients and old scripts are forgotten, and the file of keys is read again.

use crate::door::Door;
use crate::keys::{self, Stamp};
use actix_web::rt;
use actix_web::web::Data;
use std::path::PathBuf;
use std::time::Duration;
use tokio::task::JoinHandle;
use tracing::{error, info};

/// Between two looks for clients whose quota is whole again, and for scripts that nobody uses.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// Between two looks at the file of keys.
const KEYS_EVERY: Duration = Duration::from_secs(1);

/// Forgets clients that have used nothing for a while, and scripts that nobody has.
pub(crate) fn sweep(door: Data<Door>) -> JoinHandle<()> {
    rt::spawn(async move {
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            let door = door.clone();
            // A million clients take some milliseconds, for which no request should wait.
            let swept = rt::task::spawn_blocking(move || {
                door.limits.sweep();
                if let Some(sources) = &door.sources {
                    sources.sweep();
                }
            });
            let _ = swept.await;
        }
    })
}

/// Takes the keys of the file whenever it has changed. A file that cannot be used changes nothing.
///
/// `seen` is the state of the file from before it was first read, so that no change in between is missed.
pub(crate) fn watch_keys(
    door: Data<Door>,
    path: Option<PathBuf>,
    mut seen: Option<Stamp>,
) -> JoinHandle<()> {
    rt::spawn(async move {
        let (Some(path), Some(ring)) = (path, door.keys.clone()) else {
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
                    door.meters.keys_read.count();
                    info!(keys = ring.len(), "the keys were read again");
                }
                Err(cause) => {
                    door.meters.keys_unfit.count();
                    error!(%cause, "the keys that were read before go on to count");
                }
            }
        }
    })
}

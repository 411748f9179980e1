//! The times at which keys were last used, in a file of their own: by default `<keys file>.used.json`.
//!
//! The keys file itself is not rewritten for a use. Several ingresses may write the same file: each write retains the
//! later time of each key.

use super::storage::{self, Writer, lock, with_suffix};
use super::{KeyFileError, KeyId, KeyRing};
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

const SUFFIX: &str = "used.json";

/// The time of the last use of one key.
#[derive(Debug, Default)]
pub(super) struct LastUse(AtomicU64);

impl LastUse {
    /// Records a use. An earlier time than the recorded one changes nothing.
    pub(super) fn record(&self, at: Timestamp) {
        // Most uses fall into a second that is recorded already, and write nothing that other threads read.
        if self.0.load(Ordering::Relaxed) < at.as_unix_seconds() {
            self.0.fetch_max(at.as_unix_seconds(), Ordering::Relaxed);
        }
    }

    fn get(&self) -> Option<Timestamp> {
        let seconds = self.0.load(Ordering::Relaxed);
        (seconds > 0).then(|| Timestamp::from_unix_seconds(seconds))
    }
}

/// The content of the file: for each id the time of the last use.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    used: BTreeMap<String, String>,
}

pub(super) type Uses = BTreeMap<KeyId, Timestamp>;

/// The file of last uses.
#[derive(Debug, Clone)]
pub(crate) struct UsesFile {
    path: PathBuf,
}

impl UsesFile {
    /// Returns the file at `path`, by default the one beside the keys file.
    pub(crate) fn new(path: Option<&Path>, keys_file: &Path) -> Self {
        Self {
            path: path.map_or_else(|| with_suffix(keys_file, SUFFIX), Path::to_owned),
        }
    }

    /// Reads the file. A missing file has no uses. What is not an id with a time is left out.
    pub(super) fn read(&self) -> Result<Uses, KeyFileError> {
        let bytes = match storage::read(&self.path, Writer::Any) {
            Ok(bytes) => bytes,
            Err(KeyFileError::Io { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {
                return Ok(Uses::new());
            }
            Err(error) => return Err(error),
        };
        let content: Content =
            serde_json::from_slice(&bytes).map_err(|cause| KeyFileError::Malformed {
                path: self.path.clone(),
                cause,
            })?;
        let uses = content.used.iter();
        Ok(uses
            .filter_map(|(id, at)| Some((id.parse().ok()?, at.parse().ok()?)))
            .collect())
    }

    /// Records the uses of the file in the ring, as an ingress does at its start.
    pub(crate) fn restore(&self, ring: &KeyRing) -> Result<(), KeyFileError> {
        let uses = self.read()?;
        for key in ring.all() {
            if let Some(at) = uses.get(&key.id()) {
                key.last_use().record(*at);
            }
        }
        Ok(())
    }

    /// Writes the uses of the ring's keys. Keys that are not in the ring are left out. Returns false, and writes nothing,
    /// if the file has exactly these uses.
    pub(crate) fn write(&self, ring: &KeyRing) -> Result<bool, KeyFileError> {
        let _lock = lock(&self.path)?;
        let written = match self.read() {
            // A file that is no list of uses is replaced.
            Err(KeyFileError::Malformed { .. } | KeyFileError::TooLong { .. }) => None,
            read => Some(read?),
        };
        let before = written.as_ref();
        let keys = ring.all();
        let uses = keys.iter().filter_map(|key| {
            let before = before.and_then(|uses| uses.get(&key.id()).copied());
            Some((key.id(), key.last_use().get().max(before)?))
        });
        let uses: Uses = uses.collect();
        if before.is_some_and(|before| *before == uses) {
            return Ok(false);
        }
        let used = uses.iter().map(|(id, at)| (id.to_string(), at.to_string()));
        let content = Content {
            used: used.collect(),
        };
        let mut text =
            serde_json::to_vec_pretty(&content).map_err(|cause| KeyFileError::Malformed {
                path: self.path.clone(),
                cause,
            })?;
        text.push(b'\n');
        storage::replace(&self.path, &text)?;
        Ok(true)
    }
}

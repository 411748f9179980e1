//! The keys file: JSON, with a hash of each secret and no secret.

use super::{KeyId, Scope};
use crate::hex::{Digest, from_hex, to_hex};
use crate::limits::Quota;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::collections::HashSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Maximum length of the file, bytes. About 20,000 keys fit.
const FILE_BYTES_MAX: u64 = 8 << 20;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFile {
    pub(super) keys: Vec<Entry>,
}

/// One key. An absent quota or maximum is that of a client without a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Entry {
    #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
    pub(super) id: KeyId,
    /// The name of the key, for people.
    pub(super) name: String,
    #[serde(
        serialize_with = "digest_as_text",
        deserialize_with = "digest_from_text"
    )]
    pub(super) sha256: Digest,
    pub(super) scopes: Vec<Scope>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "some_as_text",
        deserialize_with = "some_from_text"
    )]
    pub(super) run_quota: Option<Quota>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "some_as_text",
        deserialize_with = "some_from_text"
    )]
    pub(super) read_quota: Option<Quota>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) requests_max: Option<u32>,
}

#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error("{path}: {cause}")]
    Io { path: PathBuf, cause: io::Error },
    /// The content is not valid JSON, or has another structure.
    #[error("{path}: {cause}")]
    Malformed {
        path: PathBuf,
        cause: serde_json::Error,
    },
    #[error("{path}: longer than {FILE_BYTES_MAX} bytes")]
    TooLong { path: PathBuf },
    /// Another process held the lock for ten seconds.
    #[error("{path}: another process is changing it; try again")]
    Locked { path: PathBuf },
    #[error("{path}: the id {id} occurs twice")]
    DuplicateId { path: PathBuf, id: KeyId },
}

pub fn load(path: &Path) -> Result<KeyFile, KeyFileError> {
    let failed = |cause| KeyFileError::Io {
        path: path.to_owned(),
        cause,
    };
    if fs::metadata(path).map_err(failed)?.len() > FILE_BYTES_MAX {
        return Err(KeyFileError::TooLong {
            path: path.to_owned(),
        });
    }
    let bytes = fs::read(path).map_err(failed)?;
    let file: KeyFile =
        serde_json::from_slice(&bytes).map_err(|cause| KeyFileError::Malformed {
            path: path.to_owned(),
            cause,
        })?;
    let mut known = HashSet::new();
    match file.keys.iter().find(|entry| !known.insert(entry.id)) {
        None => Ok(file),
        Some(entry) => Err(KeyFileError::DuplicateId {
            path: path.to_owned(),
            id: entry.id,
        }),
    }
}

/// The identity, size and times of the file. A changed file has another stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Reads the stamp of the file; `None` if there is no file. Take the stamp before the content is read, so that no
    /// change is missed.
    pub fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// Locks the folder of `path` until the result is dropped. Waits up to ten seconds for another process.
///
/// The folder is locked instead of the file, because a write replaces the file.
pub(super) fn lock(path: &Path) -> Result<File, KeyFileError> {
    const TIMEOUT: Duration = Duration::from_secs(10);
    const POLL_INTERVAL: Duration = Duration::from_millis(5);
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let failed = |cause| KeyFileError::Io {
        path: folder.to_owned(),
        cause,
    };
    let lock = File::open(folder).map_err(failed)?;
    let began = Instant::now();
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) if began.elapsed() < TIMEOUT => {
                thread::sleep(POLL_INTERVAL)
            }
            Err(TryLockError::WouldBlock) => {
                return Err(KeyFileError::Locked {
                    path: path.to_owned(),
                });
            }
            Err(TryLockError::Error(cause)) => return Err(failed(cause)),
        }
    }
}

/// Replaces the file atomically. A new file is readable by its owner alone; a replaced file retains owner and
/// permissions.
pub(super) fn store(path: &Path, file: &KeyFile) -> Result<(), KeyFileError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    let write = || -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(file)?;
        text.push(b'\n');
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        if let Ok(before) = fs::metadata(path) {
            let made = file.metadata()?;
            if (made.uid(), made.gid()) != (before.uid(), before.gid()) {
                fchown(&file, Some(before.uid()), Some(before.gid()))?;
            }
            file.set_permissions(before.permissions())?;
        }
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|cause| {
        let _ = fs::remove_file(&temporary);
        KeyFileError::Io {
            path: path.to_owned(),
            cause,
        }
    })
}

fn as_text<T: ToString, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&value.to_string())
}

fn some_as_text<T: ToString, S: Serializer>(
    value: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    value
        .as_ref()
        .map(ToString::to_string)
        .serialize(serializer)
}

fn from_text<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
    D: Deserializer<'de>,
{
    String::deserialize(deserializer)?
        .parse()
        .map_err(de::Error::custom)
}

fn some_from_text<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
    D: Deserializer<'de>,
{
    from_text(deserializer).map(Some)
}

fn digest_as_text<S: Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&to_hex(digest))
}

fn digest_from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
    from_hex(&String::deserialize(deserializer)?)
        .ok_or_else(|| de::Error::custom("sha256 is 64 lower-case hexadecimal digits"))
}

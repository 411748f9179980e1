//! Files that are read with a bound and replaced atomically: the keys file, and the file of last uses beside it.

use super::KeyFileError;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Maximum length of a file, bytes. About 20,000 keys fit.
pub(super) const FILE_BYTES_MAX: u64 = 8 << 20;
/// The permissions that let group or others write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// The user who may write a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writer {
    /// The owner alone: a file that group or others may write is refused.
    Owner,
    Any,
}

/// Reads a whole file.
pub(super) fn read(path: &Path, writer: Writer) -> Result<Vec<u8>, KeyFileError> {
    let failed = |cause| KeyFileError::Io {
        path: path.to_owned(),
        cause,
    };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode();
    if writer == Writer::Owner && mode & WRITABLE_BY_OTHERS != 0 {
        return Err(KeyFileError::Writable {
            path: path.to_owned(),
            mode: mode & 0o7777,
        });
    }
    let mut bytes = Vec::new();
    let mut bounded = file.take(FILE_BYTES_MAX + 1);
    let length = bounded.read_to_end(&mut bytes).map_err(failed)?;
    check_length(path, length)?;
    Ok(bytes)
}

fn check_length(path: &Path, length: usize) -> Result<(), KeyFileError> {
    if u64::try_from(length).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
        return Err(KeyFileError::TooLong {
            path: path.to_owned(),
        });
    }
    Ok(())
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

/// Replaces a file atomically. A new file is readable by its owner alone; a replaced file retains owner and
/// permissions.
pub(super) fn replace(path: &Path, content: &[u8]) -> Result<(), KeyFileError> {
    check_length(path, content.len())?;
    let temporary = with_suffix(path, &std::process::id().to_string());
    let write = || -> io::Result<()> {
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
        file.write_all(content)?;
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

/// Returns the path with a dot and a suffix appended to its last part.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

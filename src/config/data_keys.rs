//! The keys that encrypt the contents of jobs in a database.

use clap::Args;
use sandpiper_store::{DataKeys, DataKeysError};
use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tracing::warn;

/// Longest file of data keys, bytes: thousands of keys.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The permissions of group and others.
const OF_OTHERS: u32 = 0o077;
/// The permissions that let group or others write.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// The permission that lets every user read.
const READABLE_BY_ALL: u32 = 0o004;

/// The options of data keys.
#[derive(Debug, Clone, Default, Args)]
pub struct DataKeyOptions {
    /// File of data keys, one a line as `sandpiper data-key` prints them: the first encrypts code, input, log, result and
    /// error of jobs in a database, and all of them decrypt [default: no encryption]
    #[arg(long, env = "SANDPIPER_DATA_KEYS_FILE", value_name = "FILE")]
    pub data_keys_file: Option<PathBuf>,
    /// The same keys as text, for an environment that holds secrets
    #[arg(
        long,
        env = "SANDPIPER_DATA_KEYS",
        value_name = "KEYS",
        hide_env_values = true,
        conflicts_with = "data_keys_file"
    )]
    pub data_keys: Option<String>,
}

/// The data keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataKeyError {
    #[error("--data-keys-file: {path}: {cause}")]
    Unreadable {
        path: PathBuf,
        cause: std::io::Error,
    },
    /// Other users than the owner, which this process is, may use the file.
    #[error(
        "--data-keys-file: {path}: the mode {mode:04o} lets other users of this machine read the keys; run `chmod go= {path}`"
    )]
    OpenToOthers { path: PathBuf, mode: u32 },
    /// Other users may write a file that another user owns.
    #[error(
        "--data-keys-file: {path}: the mode {mode:04o} lets other users change the keys; its owner must run `chmod go-w {path}`"
    )]
    Writable { path: PathBuf, mode: u32 },
    #[error("--data-keys-file: {path}: longer than {FILE_BYTES_MAX} bytes")]
    TooLong { path: PathBuf },
    #[error("--data-keys-file: {path}: {cause}")]
    InvalidFile { path: PathBuf, cause: DataKeysError },
    #[error("--data-keys: {0}")]
    Invalid(#[from] DataKeysError),
}

/// The verdict on the permissions of a file of data keys.
#[derive(Debug, PartialEq, Eq)]
enum Permissions {
    Fit,
    /// Every user may read the file, and this process cannot change that.
    ReadableByAll,
    OpenToOthers,
    Writable,
}

impl Permissions {
    /// Judges a file that `owner` owns, for a process of `user`.
    ///
    /// The user of this process can close an own file. A file of another user, such as root, is a mounted secret: container
    /// engines mount secrets readable by all, where no other user exists, and systemd shows the access of a service as that
    /// of the group.
    fn of(mode: u32, owner: u32, user: u32) -> Self {
        if owner == user && mode & OF_OTHERS != 0 {
            Self::OpenToOthers
        } else if mode & WRITABLE_BY_OTHERS != 0 {
            Self::Writable
        } else if mode & READABLE_BY_ALL != 0 {
            Self::ReadableByAll
        } else {
            Self::Fit
        }
    }
}

impl DataKeyOptions {
    /// Reads the keys; `None` if none are configured.
    pub fn read(&self) -> Result<Option<Arc<DataKeys>>, DataKeyError> {
        let Some(path) = &self.data_keys_file else {
            let keys = self.data_keys.as_deref().map(str::parse).transpose()?;
            return Ok(keys.map(Arc::new));
        };
        let keys = read_file(path)?.parse();
        let keys = keys.map_err(|cause| DataKeyError::InvalidFile {
            path: path.clone(),
            cause,
        })?;
        Ok(Some(Arc::new(keys)))
    }
}

/// Reads a file of data keys that no other user may change, and none may read as far as this process can prevent it.
fn read_file(path: &Path) -> Result<String, DataKeyError> {
    let unreadable = |cause| DataKeyError::Unreadable {
        path: path.to_owned(),
        cause,
    };
    let file = File::open(path).map_err(unreadable)?;
    check_permissions(path, &file.metadata().map_err(unreadable)?)?;
    let mut text = String::new();
    let mut bounded = file.take(FILE_BYTES_MAX + 1);
    bounded.read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(DataKeyError::TooLong {
            path: path.to_owned(),
        });
    }
    Ok(text)
}

fn check_permissions(path: &Path, metadata: &Metadata) -> Result<(), DataKeyError> {
    let user = nix::unistd::geteuid().as_raw();
    let (path, mode) = (path.to_owned(), metadata.mode() & 0o7777);
    match Permissions::of(mode, metadata.uid(), user) {
        Permissions::Fit => Ok(()),
        Permissions::ReadableByAll => {
            warn!(
                path = %path.display(), mode = %format_args!("{mode:04o}"), owner = metadata.uid(),
                "every user who reaches the file of data keys can read it: this is usual for a secret in a container; \
                 elsewhere let only the user of this service read the file"
            );
            Ok(())
        }
        Permissions::OpenToOthers => Err(DataKeyError::OpenToOthers { path, mode }),
        Permissions::Writable => Err(DataKeyError::Writable { path, mode }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Permissions::{Fit, OpenToOthers, ReadableByAll, Writable};

    const ROOT: u32 = 0;
    const SERVICE: u32 = 65532;

    #[test]
    fn own_files_are_closed_to_others_and_mounted_secrets_may_be_readable() {
        for (mode, owner, expected) in [
            (0o600, SERVICE, Fit),
            (0o400, SERVICE, Fit),
            (0o640, SERVICE, OpenToOthers),
            (0o604, SERVICE, OpenToOthers),
            (0o644, SERVICE, OpenToOthers),
            (0o666, SERVICE, OpenToOthers),
            // A credential of systemd, secrets of Kubernetes and of Docker.
            (0o440, ROOT, Fit),
            (0o444, ROOT, ReadableByAll),
            (0o644, ROOT, ReadableByAll),
            (0o664, ROOT, Writable),
            (0o646, ROOT, Writable),
        ] {
            let found = Permissions::of(mode, owner, SERVICE);
            assert_eq!(found, expected, "{mode:o} of {owner}");
        }
        assert_eq!(Permissions::of(0o644, ROOT, ROOT), OpenToOthers);
    }
}

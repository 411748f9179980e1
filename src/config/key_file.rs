//! Files of keys: their permissions, their bound, and the errors that name their option.

use sandpiper_store::DataKeysError;
use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use tracing::warn;

/// Longest file of keys, bytes: thousands of keys.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The permissions of group and others.
const OF_OTHERS: u32 = 0o077;
/// The permissions that let group or others write.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// The permission that lets every user read.
const READABLE_BY_ALL: u32 = 0o004;

/// A file of keys cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{option}: {path}: {cause}")]
pub struct KeyFileError {
    option: &'static str,
    path: PathBuf,
    cause: KeyFileFault,
}

#[derive(Debug, thiserror::Error)]
enum KeyFileFault {
    #[error("{0}")]
    Unreadable(#[from] std::io::Error),
    /// Other users than the owner, which this process is, may use the file.
    #[error(
        "the mode {mode:04o} lets other users of this machine read the keys; run `chmod go= {path}`"
    )]
    OpenToOthers { path: PathBuf, mode: u32 },
    /// Other users may write a file that another user owns.
    #[error(
        "the mode {mode:04o} lets other users change the keys; its owner must run `chmod go-w {path}`"
    )]
    Writable { path: PathBuf, mode: u32 },
    #[error("longer than {FILE_BYTES_MAX} bytes")]
    TooLong,
    #[error("{0}")]
    Invalid(#[from] DataKeysError),
}

/// The verdict on the permissions of a file of keys.
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

/// Reads the keys in the file at `path`, which the option `option` names.
pub(super) fn read<K>(option: &'static str, path: &Path) -> Result<K, KeyFileError>
where
    K: FromStr<Err = DataKeysError>,
{
    let keys = read_text(path).and_then(|text| Ok(text.parse()?));
    keys.map_err(|cause| KeyFileError {
        option,
        path: path.to_owned(),
        cause,
    })
}

/// Reads a file of keys that no other user may change, and none may read as far as this process can prevent it.
fn read_text(path: &Path) -> Result<String, KeyFileFault> {
    let file = File::open(path)?;
    check_permissions(path, &file.metadata()?)?;
    let mut text = String::new();
    let mut bounded = file.take(FILE_BYTES_MAX + 1);
    bounded.read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(KeyFileFault::TooLong);
    }
    Ok(text)
}

fn check_permissions(path: &Path, metadata: &Metadata) -> Result<(), KeyFileFault> {
    let user = nix::unistd::geteuid().as_raw();
    let (path, mode) = (path.to_owned(), metadata.mode() & 0o7777);
    match Permissions::of(mode, metadata.uid(), user) {
        Permissions::Fit => Ok(()),
        Permissions::ReadableByAll => {
            warn!(
                path = %path.display(), mode = %format_args!("{mode:04o}"), owner = metadata.uid(),
                "every user who reaches the file of keys can read it: this is usual for a secret in a container; \
                 elsewhere let only the user of this service read the file"
            );
            Ok(())
        }
        Permissions::OpenToOthers => Err(KeyFileFault::OpenToOthers { path, mode }),
        Permissions::Writable => Err(KeyFileFault::Writable { path, mode }),
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

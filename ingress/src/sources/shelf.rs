//! The folder that the ingress and the service share: scripts by the SHA-256 of their content.
//!
//! A file is written under another name and renamed, so that the service sees all of it or none. It stays while a request
//! is on its way with it, and after that until its age or its room is up. One ingress writes to one folder.

use crate::hex::{Digest, from_hex, to_hex};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The service may run as another user.
const MODE: u32 = 0o644;
const UNFINISHED: &str = "unfinished-";

/// The folder.
#[derive(Debug)]
pub(super) struct Shelf {
    folder: PathBuf,
    bytes_max: u64,
    kept: Duration,
    scripts: Mutex<HashMap<Digest, Script>>,
}

#[derive(Debug)]
struct Script {
    bytes: u64,
    users: u32,
    last_used: Instant,
}

/// Why a script is not on the shelf.
#[derive(Debug, thiserror::Error)]
pub(super) enum ShelfError {
    #[error("all room is taken by scripts in use")]
    Full,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A script that stays on the shelf while this lives.
#[derive(Debug)]
pub(crate) struct OnShelf {
    digest: Digest,
    shelf: Arc<Shelf>,
}

impl OnShelf {
    /// The SHA-256 of its content, which is its name.
    #[must_use]
    pub(crate) fn digest(&self) -> &Digest {
        &self.digest
    }
}

impl Drop for OnShelf {
    fn drop(&mut self) {
        if let Some(script) = self.shelf.scripts().get_mut(&self.digest) {
            script.users -= 1;
            script.last_used = Instant::now();
        }
    }
}

impl Shelf {
    /// Takes over what an earlier process left.
    pub(super) fn open(folder: &Path, bytes_max: u64, kept: Duration) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let mut scripts = HashMap::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_str().unwrap_or_default();
            if name.starts_with(UNFINISHED) {
                fs::remove_file(entry.path())?;
            } else if let Some(digest) = from_hex(name) {
                let script = Script {
                    bytes: entry.metadata()?.len(),
                    users: 0,
                    last_used: Instant::now(),
                };
                scripts.insert(digest, script);
            }
        }
        let shelf = Self {
            folder: folder.to_owned(),
            bytes_max,
            kept,
            scripts: Mutex::new(scripts),
        };
        // Whether it may be written is better known now than at the first request.
        let probe = shelf.unfinished()?;
        fs::remove_file(probe.0)?;
        Ok(shelf)
    }

    /// The script of this content, if it is there.
    pub(super) fn take(self: &Arc<Self>, digest: &Digest) -> Option<OnShelf> {
        let mut scripts = self.scripts();
        scripts.get_mut(digest)?.users += 1;
        Some(OnShelf {
            digest: *digest,
            shelf: Arc::clone(self),
        })
    }

    /// Puts a script there. Blocks on the file system.
    pub(super) fn put(self: &Arc<Self>, content: &[u8]) -> Result<OnShelf, ShelfError> {
        let digest: Digest = Sha256::digest(content).into();
        if let Some(there) = self.take(&digest) {
            return Ok(there);
        }
        let bytes = u64::try_from(content.len()).unwrap_or(u64::MAX);
        let (unfinished, mut file) = self.unfinished()?;
        let written = file
            .write_all(content)
            .map_err(ShelfError::Io)
            .and_then(|()| self.place(&unfinished, digest, bytes));
        if written.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        written
    }

    /// Gives a written file its name, and makes room for it before.
    fn place(
        self: &Arc<Self>,
        unfinished: &Path,
        digest: Digest,
        bytes: u64,
    ) -> Result<OnShelf, ShelfError> {
        let mut scripts = self.scripts();
        let room = self.bytes_max.checked_sub(bytes).ok_or(ShelfError::Full)?;
        while scripts.values().map(|script| script.bytes).sum::<u64>() > room {
            let unused = scripts.iter().filter(|(_, script)| script.users == 0);
            let oldest = unused.min_by_key(|(_, script)| script.last_used);
            let oldest = oldest.map(|(digest, _)| *digest).ok_or(ShelfError::Full)?;
            self.remove(&mut scripts, &oldest);
        }
        fs::rename(unfinished, self.path(&digest))?;
        let script = scripts.entry(digest).or_insert(Script {
            bytes,
            users: 0,
            last_used: Instant::now(),
        });
        script.users += 1;
        Ok(OnShelf {
            digest,
            shelf: Arc::clone(self),
        })
    }

    /// Removes what nobody has used for a while. Blocks on the file system.
    pub(super) fn sweep(&self) {
        let mut scripts = self.scripts();
        let is_old = |script: &Script| script.users == 0 && script.last_used.elapsed() >= self.kept;
        let old: Vec<Digest> = scripts
            .iter()
            .filter(|(_, script)| is_old(script))
            .map(|(digest, _)| *digest)
            .collect();
        for digest in &old {
            self.remove(&mut scripts, digest);
        }
    }

    fn remove(&self, scripts: &mut HashMap<Digest, Script>, digest: &Digest) {
        scripts.remove(digest);
        if let Err(cause) = fs::remove_file(self.path(digest)) {
            tracing::warn!(%cause, "a script could not be removed from --sources-dir");
        }
    }

    fn unfinished(&self) -> io::Result<(PathBuf, fs::File)> {
        let name = format!("{UNFINISHED}{}", uuid::Uuid::now_v7());
        let path = self.folder.join(name);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(MODE)
            .open(&path)?;
        Ok((path, file))
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(to_hex(digest))
    }

    fn scripts(&self) -> MutexGuard<'_, HashMap<Digest, Script>> {
        // Nothing under the lock leaves it half done.
        self.scripts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that goes with its test.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            Self(std::env::temp_dir().join(format!("shelf-{}", uuid::Uuid::now_v7())))
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap();
            entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect()
        }

        fn shelf(&self, bytes_max: u64, kept: Duration) -> Arc<Shelf> {
            Arc::new(Shelf::open(&self.0, bytes_max, kept).unwrap())
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const LONG: Duration = Duration::from_hours(1);

    #[test]
    fn a_script_lies_under_the_hash_of_its_content() {
        let folder = Folder::new();
        let shelf = folder.shelf(100, LONG);
        let script = shelf.put(b"1+2").unwrap();
        let name = to_hex(script.digest());
        assert_eq!(folder.names(), std::slice::from_ref(&name));
        assert_eq!(fs::read(folder.0.join(&name)).unwrap(), b"1+2");
        assert_eq!(shelf.put(b"1+2").unwrap().digest(), script.digest());
        assert_eq!(folder.names(), [name]);
    }

    #[test]
    fn the_longest_unused_makes_room_and_what_is_in_use_never_does() {
        let folder = Folder::new();
        let shelf = folder.shelf(10, LONG);
        let in_use = shelf.put(b"aaaa").unwrap();
        let first = *shelf.put(b"bbb").unwrap().digest();
        let second = *shelf.put(b"ccc").unwrap().digest();
        let third = shelf.put(b"ddd").unwrap();
        assert!(shelf.take(&first).is_none());
        assert!(shelf.take(&second).is_some());
        assert!(shelf.take(in_use.digest()).is_some());
        assert!(matches!(shelf.put(b"eeeeeee"), Err(ShelfError::Full)));
        assert!(matches!(shelf.put(&[0; 11]), Err(ShelfError::Full)));
        drop((in_use, third));
        assert!(shelf.put(b"eeeeeeeeee").is_ok());
        assert_eq!(folder.names().len(), 1);
    }

    #[test]
    fn what_is_old_is_swept_unless_it_is_in_use() {
        let folder = Folder::new();
        let shelf = folder.shelf(100, Duration::ZERO);
        let in_use = shelf.put(b"a").unwrap();
        drop(shelf.put(b"b").unwrap());
        shelf.sweep();
        assert_eq!(folder.names(), [to_hex(in_use.digest())]);
        drop(in_use);
        shelf.sweep();
        assert!(folder.names().is_empty());
    }

    #[test]
    fn a_new_process_takes_over_what_is_whole_and_clears_what_is_not() {
        let folder = Folder::new();
        let digest = *folder.shelf(100, LONG).put(b"a").unwrap().digest();
        fs::write(folder.0.join("unfinished-1"), "half").unwrap();
        fs::write(folder.0.join("README"), "somebody else's").unwrap();
        let shelf = folder.shelf(100, LONG);
        assert!(shelf.take(&digest).is_some());
        let mut names = folder.names();
        names.sort();
        assert_eq!(names, ["README".to_owned(), to_hex(&digest)]);
    }
}

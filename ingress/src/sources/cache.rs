//! The script cache: a folder that the ingress and the service share. Files are named by the SHA-256 of their content.
//!
//! A file is written under a temporary name and renamed, so that the service never sees a part of it. A file stays
//! while a request uses it, and afterwards until it is too old or its space is needed. Each ingress needs a folder of
//! its own.

use crate::hex::{Digest, from_hex, to_hex};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// File mode: the service may run as another user.
const MODE: u32 = 0o644;
const UNFINISHED: &str = "unfinished-";

/// The cache of scripts.
#[derive(Debug)]
pub(super) struct ScriptCache {
    folder: PathBuf,
    bytes_max: u64,
    retention: Duration,
    scripts: Mutex<HashMap<Digest, Script>>,
}

#[derive(Debug)]
struct Script {
    bytes: u64,
    users: u32,
    last_used: Instant,
}

/// A script cannot be cached.
#[derive(Debug, thiserror::Error)]
pub(super) enum CacheError {
    #[error("scripts in use fill the whole cache")]
    Full,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A guard that keeps one script in the cache until it is dropped.
#[derive(Debug)]
pub(crate) struct CacheGuard {
    digest: Digest,
    cache: Arc<ScriptCache>,
}

impl CacheGuard {
    /// Returns the SHA-256 of the script's content, which is its file name.
    #[must_use]
    pub(crate) fn digest(&self) -> &Digest {
        &self.digest
    }
}

impl Drop for CacheGuard {
    fn drop(&mut self) {
        if let Some(script) = self.cache.scripts.lock().get_mut(&self.digest) {
            script.users -= 1;
            script.last_used = Instant::now();
        }
    }
}

impl ScriptCache {
    /// Opens the folder, with the scripts that an earlier process cached. Creates a missing folder.
    ///
    /// # Errors
    ///
    /// The folder cannot be read or written.
    pub(super) fn open(folder: &Path, bytes_max: u64, retention: Duration) -> io::Result<Self> {
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
        let cache = Self {
            folder: folder.to_owned(),
            bytes_max,
            retention,
            scripts: Mutex::new(scripts),
        };
        // A folder that cannot be written fails the start, not the first request.
        let probe = cache.unfinished()?;
        fs::remove_file(probe.0)?;
        Ok(cache)
    }

    /// Returns a guard for the script with this digest, if it is cached.
    pub(super) fn get(self: &Arc<Self>, digest: &Digest) -> Option<CacheGuard> {
        let mut scripts = self.scripts.lock();
        scripts.get_mut(digest)?.users += 1;
        Some(CacheGuard {
            digest: *digest,
            cache: Arc::clone(self),
        })
    }

    /// Adds a script. Blocks on the file system.
    pub(super) fn insert(self: &Arc<Self>, content: &[u8]) -> Result<CacheGuard, CacheError> {
        let digest: Digest = Sha256::digest(content).into();
        if let Some(cached) = self.get(&digest) {
            return Ok(cached);
        }
        let bytes = u64::try_from(content.len()).unwrap_or(u64::MAX);
        let (unfinished, mut file) = self.unfinished()?;
        let written = file
            .write_all(content)
            .map_err(CacheError::Io)
            .and_then(|()| self.publish(&unfinished, digest, bytes));
        if written.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        written
    }

    /// Evicts unused scripts until the new one fits, then renames the written file to its final name.
    fn publish(
        self: &Arc<Self>,
        unfinished: &Path,
        digest: Digest,
        bytes: u64,
    ) -> Result<CacheGuard, CacheError> {
        let mut scripts = self.scripts.lock();
        let room = self.bytes_max.checked_sub(bytes).ok_or(CacheError::Full)?;
        while scripts.values().map(|script| script.bytes).sum::<u64>() > room {
            let unused = scripts.iter().filter(|(_, script)| script.users == 0);
            let oldest = unused.min_by_key(|(_, script)| script.last_used);
            let oldest = oldest.map(|(digest, _)| *digest).ok_or(CacheError::Full)?;
            self.remove(&mut scripts, &oldest);
        }
        fs::rename(unfinished, self.path(&digest))?;
        let script = scripts.entry(digest).or_insert(Script {
            bytes,
            users: 0,
            last_used: Instant::now(),
        });
        script.users += 1;
        Ok(CacheGuard {
            digest,
            cache: Arc::clone(self),
        })
    }

    /// Removes scripts that were not used for the retention time. Blocks on the file system.
    pub(super) fn sweep(&self) {
        let mut scripts = self.scripts.lock();
        let is_old =
            |script: &Script| script.users == 0 && script.last_used.elapsed() >= self.retention;
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
            tracing::warn!(%cause, "a script could not be removed from --sources-dir; its file stays there. Check the permissions of the folder");
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
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A temporary folder, removed with its test.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            Self(std::env::temp_dir().join(format!("cache-{}", uuid::Uuid::now_v7())))
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap();
            entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect()
        }

        fn cache(&self, bytes_max: u64, retention: Duration) -> Arc<ScriptCache> {
            Arc::new(ScriptCache::open(&self.0, bytes_max, retention).unwrap())
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const LONG: Duration = Duration::from_hours(1);

    #[test]
    fn a_script_is_stored_under_the_hash_of_its_content() {
        let folder = Folder::new();
        let cache = folder.cache(100, LONG);
        let script = cache.insert(b"1+2").unwrap();
        let name = to_hex(script.digest());
        assert_eq!(folder.names(), std::slice::from_ref(&name));
        assert_eq!(fs::read(folder.0.join(&name)).unwrap(), b"1+2");
        assert_eq!(cache.insert(b"1+2").unwrap().digest(), script.digest());
        assert_eq!(folder.names(), [name]);
    }

    #[test]
    fn the_script_unused_longest_is_evicted_and_one_in_use_never() {
        let folder = Folder::new();
        let cache = folder.cache(10, LONG);
        let in_use = cache.insert(b"aaaa").unwrap();
        let first = *cache.insert(b"bbb").unwrap().digest();
        let second = *cache.insert(b"ccc").unwrap().digest();
        let third = cache.insert(b"ddd").unwrap();
        assert!(cache.get(&first).is_none());
        assert!(cache.get(&second).is_some());
        assert!(cache.get(in_use.digest()).is_some());
        assert!(matches!(cache.insert(b"eeeeeee"), Err(CacheError::Full)));
        assert!(matches!(cache.insert(&[0; 11]), Err(CacheError::Full)));
        drop((in_use, third));
        assert!(cache.insert(b"eeeeeeeeee").is_ok());
        assert_eq!(folder.names().len(), 1);
    }

    #[test]
    fn old_scripts_are_removed_unless_they_are_in_use() {
        let folder = Folder::new();
        let cache = folder.cache(100, Duration::ZERO);
        let in_use = cache.insert(b"a").unwrap();
        drop(cache.insert(b"b").unwrap());
        cache.sweep();
        assert_eq!(folder.names(), [to_hex(in_use.digest())]);
        drop(in_use);
        cache.sweep();
        assert!(folder.names().is_empty());
    }

    #[test]
    fn a_new_process_keeps_whole_files_and_removes_unfinished_ones() {
        let folder = Folder::new();
        let digest = *folder.cache(100, LONG).insert(b"a").unwrap().digest();
        fs::write(folder.0.join("unfinished-1"), "half").unwrap();
        fs::write(folder.0.join("README"), "somebody else's").unwrap();
        let cache = folder.cache(100, LONG);
        assert!(cache.get(&digest).is_some());
        let mut names = folder.names();
        names.sort();
        assert_eq!(names, ["README".to_owned(), to_hex(&digest)]);
    }
}

//! Scripts that the ingress has fetched: files in a folder, each named by the SHA-256 of its content.
//!
//! The ingress gives the service the name of a file. The hash is checked again here, so that the script is the one that was
//! named. This module knows the file system and no hosts.

use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;
use tracing::error;

#[derive(Debug, Clone)]
pub struct SourceFolder {
    path: PathBuf,
    bytes_max: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    #[error("a source is named by 64 lower-case hexadecimal digits")]
    NoName,
    /// The file is missing, unreadable, or has another SHA-256.
    #[error("the source that the ingress named is not in --sources-dir; the log says why")]
    Missing,
}

impl SourceFolder {
    /// Makes the folder at `path`, of scripts of at most `bytes_max` bytes.
    #[must_use]
    pub fn new(path: PathBuf, bytes_max: usize) -> Self {
        Self { path, bytes_max }
    }

    /// Reads the script with this SHA-256. Blocks on the file system.
    pub fn read(&self, sha256: &str) -> Result<String, SourceError> {
        // The name becomes part of a path, so nothing but digits is accepted.
        let is_digest = sha256.len() == 64
            && sha256
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !is_digest {
            return Err(SourceError::NoName);
        }
        let missing = |cause: &dyn std::fmt::Display| {
            error!(
                sha256,
                %cause,
                folder = %self.path.display(),
                "a script that the ingress fetched cannot be read, and the request fails: check that --sources-dir is the \
                 folder that the ingress writes to"
            );
            SourceError::Missing
        };
        let content = self.content(sha256).map_err(|cause| missing(&cause))?;
        let found = format!("{:x}", Sha256::digest(&content));
        if found != sha256 {
            return Err(missing(&format!("its content has the SHA-256 {found}")));
        }
        String::from_utf8(content).map_err(|cause| missing(&cause))
    }

    fn content(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        // One byte more than the bound: a longer file is detected.
        let most = u64::try_from(self.bytes_max).unwrap_or(u64::MAX);
        let file = File::open(self.path.join(name))?;
        file.take(most.saturating_add(1))
            .read_to_end(&mut content)?;
        if content.len() > self.bytes_max {
            return Err(io::Error::other(format!(
                "it has more than {} bytes",
                self.bytes_max
            )));
        }
        Ok(content)
    }
}

//! Scripts that a client only named: the ingress has fetched them and put them in a folder, each under the SHA-256 of its
//! content, and names that to the service.
//!
//! What is read is what was named: the hash is checked again here. Knows the file system and nothing of hosts.

use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;
use tracing::error;

/// The folder.
#[derive(Debug, Clone)]
pub struct SourceFolder {
    path: PathBuf,
    bytes_max: usize,
}

/// Why there is no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The name is no SHA-256.
    #[error("a source is named by 64 lower-case hexadecimal digits")]
    NoName,
    /// It is not there, or is not what its name says.
    #[error("the source that the ingress named is not in --sources-dir; the log says why")]
    Missing,
}

impl SourceFolder {
    /// A folder of scripts of at most `bytes_max` bytes.
    #[must_use]
    pub fn new(path: PathBuf, bytes_max: usize) -> Self {
        Self { path, bytes_max }
    }

    /// The text of this SHA-256. Blocks on the file system.
    pub fn read(&self, sha256: &str) -> Result<String, SourceError> {
        // The name becomes part of a path: it is digits, or it is nothing.
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
                "a source cannot be read: is --sources-dir the folder that the ingress writes to?"
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
        // One byte more than may be run, so that what is too long is seen to be.
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

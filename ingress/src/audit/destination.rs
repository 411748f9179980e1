//! The file, or the standard output, to which the audit log is appended.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The value of `--audit-log`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditLog {
    StandardOutput,
    File(PathBuf),
}

impl FromStr for AuditLog {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" => Err("give the path of a file, or - for standard output"),
            "-" => Ok(Self::StandardOutput),
            path => Ok(Self::File(path.into())),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum AuditLogError {
    #[error("{path}: {cause}")]
    Open { path: PathBuf, cause: io::Error },
    #[error("standard output: {0}")]
    StandardOutput(io::Error),
    #[error("the thread of the audit log cannot be started: {0}")]
    Thread(io::Error),
}

/// An open destination.
#[derive(Debug)]
pub(super) struct Destination {
    file: File,
    /// The path of the file; `None` for standard output.
    path: Option<PathBuf>,
    /// True if a write failed in the middle of a line.
    is_within_line: bool,
}

impl Destination {
    /// Opens the destination for appending. A new file is readable and writable by its owner alone.
    pub(super) fn open(log: &AuditLog) -> Result<Self, AuditLogError> {
        let (file, path) = match log {
            AuditLog::StandardOutput => {
                let descriptor = io::stdout().as_fd().try_clone_to_owned();
                let file = File::from(descriptor.map_err(AuditLogError::StandardOutput)?);
                (file, None)
            }
            AuditLog::File(path) => {
                let file = open(path).map_err(|cause| AuditLogError::Open {
                    path: path.clone(),
                    cause,
                })?;
                (file, Some(path.clone()))
            }
        };
        Ok(Self::of(file, path))
    }

    pub(super) fn of(file: File, path: Option<PathBuf>) -> Self {
        Self {
            file,
            path,
            is_within_line: false,
        }
    }

    /// Opens the file at the path anew.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if let Some(path) = &self.path {
            self.file = open(path)?;
            self.is_within_line = false;
        }
        Ok(())
    }

    /// Appends lines. The file at the path is opened anew if it is another file by now, or gone.
    ///
    /// # Errors
    ///
    /// The number of lines that were not written as a whole, with the cause.
    pub(super) fn append(&mut self, lines: &[u8]) -> Result<(), (usize, io::Error)> {
        let count = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count();
        if self.was_replaced() {
            self.reopen().map_err(|cause| (count(lines), cause))?;
        }
        if self.is_within_line {
            self.file
                .write_all(b"\n")
                .map_err(|cause| (count(lines), cause))?;
            self.is_within_line = false;
        }
        let mut written = 0;
        while written < lines.len() {
            match self.file.write(&lines[written..]) {
                Ok(bytes) if bytes > 0 => written += bytes,
                Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
                failed => {
                    let cause = failed.err().unwrap_or(ErrorKind::WriteZero.into());
                    self.is_within_line = !lines[..written].ends_with(b"\n") && written > 0;
                    return Err((count(&lines[written..]), cause));
                }
            }
        }
        Ok(())
    }

    /// Returns true if the path leads to another file than the open one, or to none.
    fn was_replaced(&self) -> bool {
        let Some(path) = &self.path else {
            return false;
        };
        let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let open = self.file.metadata().map(identity).ok();
        open.is_none() || fs::metadata(path).map(identity).ok() != open
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600).open(path)
}

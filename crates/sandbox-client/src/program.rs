//! The sandbox program: found once, opened once.
//!
//! Every zygote is executed from the open file, so that all zygotes of a service run the same code even when an upgrade
//! has replaced the file.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const FILE_NAME: &str = "sandpiper-sandbox";

/// The sandbox program, open. Clones share one descriptor.
#[derive(Debug, Clone)]
pub struct SandboxProgram {
    file: Arc<File>,
}

#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    #[error("the folder of the running program is unknown: {0}")]
    Folder(#[source] io::Error),
    #[error(
        "the sandbox program {path} cannot be opened: {source}; it is installed beside `sandpiper`, from the same build"
    )]
    Open { path: PathBuf, source: io::Error },
}

impl SandboxProgram {
    /// Opens the sandbox program in the folder of the running program.
    pub fn beside_this_program() -> Result<Self, ProgramError> {
        let this = std::env::current_exe().map_err(ProgramError::Folder)?;
        Self::at(&this.with_file_name(FILE_NAME))
    }

    pub fn at(path: &Path) -> Result<Self, ProgramError> {
        let file = File::open(path).map_err(|source| ProgramError::Open {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            file: Arc::new(file),
        })
    }

    /// Returns the path by which a child of this process executes the open file.
    pub(crate) fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.file.as_raw_fd()).into()
    }
}

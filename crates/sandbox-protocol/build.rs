//! Computes the build id: a digest of the sources of the sandbox program and of this protocol.

use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Folders whose sources decide what the sandbox program does and says.
const SOURCES: [&str; 3] = ["domain", "sandbox-protocol", "sandbox"];

fn main() -> io::Result<()> {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let crates = manifest.parent().unwrap_or(&manifest);
    let mut files = Vec::new();
    for name in SOURCES {
        let folder = crates.join(name).join("src");
        println!("cargo::rerun-if-changed={}", folder.display());
        collect(&folder, &mut files)?;
    }
    files.sort();
    let mut digest = Sha256::new();
    for file in files {
        let name = file.strip_prefix(crates).unwrap_or(&file);
        digest.update(name.as_os_str().as_encoded_bytes());
        digest.update(fs::read(&file)?);
    }
    let digest = digest.finalize();
    let id: String = digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    println!("cargo::rustc-env=SANDPIPER_SANDBOX_BUILD_ID={id}");
    Ok(())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

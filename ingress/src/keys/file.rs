//! The file of keys: JSON, without a secret in it.

use super::{KeyId, Scope};
use crate::hex::{Digest, from_hex, to_hex};
use crate::limits::Quota;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Longest file that is read, bytes: some 20,000 keys.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// Everything that is in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFile {
    pub(super) keys: Vec<Entry>,
}

/// One key. What is left out is as for a client without one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Entry {
    #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
    pub(super) id: KeyId,
    /// For people.
    pub(super) name: String,
    #[serde(
        serialize_with = "digest_as_text",
        deserialize_with = "digest_from_text"
    )]
    pub(super) sha256: Digest,
    pub(super) scopes: Vec<Scope>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "some_as_text",
        deserialize_with = "some_from_text"
    )]
    pub(super) run_quota: Option<Quota>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "some_as_text",
        deserialize_with = "some_from_text"
    )]
    pub(super) read_quota: Option<Quota>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) requests_max: Option<u32>,
}

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read or written.
    #[error("{path}: {cause}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// It is no JSON of this form.
    #[error("{path}: {cause}")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Where and what.
        cause: serde_json::Error,
    },
    /// It is too long.
    #[error("{path}: longer than {FILE_BYTES_MAX} bytes")]
    TooLong {
        /// Which file.
        path: PathBuf,
    },
    /// Two keys have one id.
    #[error("{path}: the id {id} stands there twice")]
    Twice {
        /// Which file.
        path: PathBuf,
        /// The id.
        id: KeyId,
    },
}

/// Reads the file.
pub fn load(path: &Path) -> Result<KeyFile, KeyFileError> {
    let failed = |cause| KeyFileError::Io {
        path: path.to_owned(),
        cause,
    };
    if fs::metadata(path).map_err(failed)?.len() > FILE_BYTES_MAX {
        return Err(KeyFileError::TooLong {
            path: path.to_owned(),
        });
    }
    let bytes = fs::read(path).map_err(failed)?;
    let file: KeyFile =
        serde_json::from_slice(&bytes).map_err(|cause| KeyFileError::Malformed {
            path: path.to_owned(),
            cause,
        })?;
    let mut known = HashSet::new();
    match file.keys.iter().find(|entry| !known.insert(entry.id)) {
        None => Ok(file),
        Some(entry) => Err(KeyFileError::Twice {
            path: path.to_owned(),
            id: entry.id,
        }),
    }
}

/// Writes the file as a whole, or not at all; only its owner may read it.
pub(super) fn store(path: &Path, file: &KeyFile) -> Result<(), KeyFileError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    let write = || -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(file)?;
        text.push(b'\n');
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(&text)?;
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

fn as_text<T: ToString, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&value.to_string())
}

fn some_as_text<T: ToString, S: Serializer>(
    value: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    value
        .as_ref()
        .map(ToString::to_string)
        .serialize(serializer)
}

fn from_text<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
    D: Deserializer<'de>,
{
    String::deserialize(deserializer)?
        .parse()
        .map_err(de::Error::custom)
}

fn some_from_text<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
    D: Deserializer<'de>,
{
    from_text(deserializer).map(Some)
}

fn digest_as_text<S: Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&to_hex(digest))
}

fn digest_from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
    from_hex(&String::deserialize(deserializer)?)
        .ok_or_else(|| de::Error::custom("sha256 is 64 lower-case hexadecimal digits"))
}

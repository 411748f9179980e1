//! The options of scripts that requests only point at.

use super::Unfit;
use super::values::{GIB, MIB, bytes, range};
use crate::sources::{Allowed, SourcesOptions};
use bytesize::ByteSize;
use clap::Args;
use ipnet::IpNet;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

/// For `"source"` in execute and jobs.
#[derive(Debug, Args)]
pub struct SourceOptions {
    /// Hosts and buckets that scripts may be fetched from, as https://example.org/scripts/, s3://bucket or gs://bucket,
    /// with commas between; without any, none are fetched
    #[arg(
        long = "source-allow",
        env = "SANDPIPER_INGRESS_SOURCE_ALLOW",
        value_name = "PLACE",
        value_delimiter = ','
    )]
    pub allow: Vec<Allowed>,
    /// Folder in which the service finds them; only this ingress writes to it
    #[arg(
        long = "sources-dir",
        env = "SANDPIPER_INGRESS_SOURCES_DIR",
        value_name = "FOLDER"
    )]
    pub dir: Option<PathBuf>,
    /// Longest script; the service takes no more than 1 MiB
    #[arg(
        long = "source-bytes",
        env = "SANDPIPER_INGRESS_SOURCE_BYTES",
        value_name = "BYTES",
        default_value = "1MiB",
        value_parser = bytes(1, MIB)
    )]
    pub bytes: ByteSize,
    /// Longest until a script is here
    #[arg(long = "source-timeout-ms", env = "SANDPIPER_INGRESS_SOURCE_TIMEOUT_MS", value_name = "MS", value_parser = range(10, 600_000), default_value = "10000")]
    pub timeout_ms: u64,
    /// Scripts that are fetched at a time; more wait, within the same time
    #[arg(
        long = "source-fetches-max",
        env = "SANDPIPER_INGRESS_SOURCE_FETCHES_MAX",
        value_name = "COUNT",
        default_value = "32"
    )]
    pub fetches_max: NonZeroUsize,
    /// All scripts in the folder; the longest unused make room
    #[arg(
        long = "sources-bytes",
        env = "SANDPIPER_INGRESS_SOURCES_BYTES",
        value_name = "BYTES",
        default_value = "48MiB",
        value_parser = bytes(1, 1024 * GIB)
    )]
    pub dir_bytes: ByteSize,
    /// How long a script stays in the folder that nobody uses
    #[arg(long = "sources-kept-s", env = "SANDPIPER_INGRESS_SOURCES_KEPT_S", value_name = "S", value_parser = range(1, 31_536_000), default_value = "3600")]
    pub kept_s: u64,
    /// Networks of your own that a script's host may be in, as 10.1.0.0/16, with commas between; otherwise only public
    /// addresses are reached
    #[arg(
        long = "source-networks",
        env = "SANDPIPER_INGRESS_SOURCE_NETWORKS",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    pub networks: Vec<IpNet>,
    /// Certificate authorities of your own for scripts' hosts, beside the public ones: a file of PEM
    #[arg(
        long = "source-ca-file",
        env = "SANDPIPER_INGRESS_SOURCE_CA_FILE",
        value_name = "FILE"
    )]
    pub ca_file: Option<PathBuf>,
    /// Name server for scripts' hosts, as 10.1.0.2:53; the machine's own when absent
    #[arg(
        long = "source-nameserver",
        env = "SANDPIPER_INGRESS_SOURCE_NAMESERVER",
        value_name = "ADDRESS:PORT"
    )]
    pub nameserver: Option<SocketAddr>,
}

impl SourceOptions {
    /// What is to be done, where anything is allowed.
    pub fn checked(&self) -> Result<Option<SourcesOptions>, Unfit> {
        if self.allow.is_empty() {
            return Ok(None);
        }
        Ok(Some(SourcesOptions {
            allowed: self.allow.clone(),
            networks: self.networks.clone(),
            nameserver: self.nameserver,
            ca_file: self.ca_file.clone(),
            folder: self.dir.clone().ok_or(Unfit::NoSourcesDir)?,
            bytes_max: self.bytes.as_u64(),
            timeout: Duration::from_millis(self.timeout_ms),
            fetches_max: self.fetches_max.get(),
            folder_bytes_max: self.dir_bytes.as_u64(),
            kept: Duration::from_secs(self.kept_s),
        }))
    }
}

//! The options of remote scripts.

use super::OptionConflict;
use super::values::{bytes, range};
use crate::sources::{Allowed, SourcesOptions};
use bytesize::{ByteSize, GIB, MIB};
use clap::Args;
use ipnet::IpNet;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

/// The options of `"source"` in execute and jobs.
#[derive(Debug, Args)]
pub struct SourceOptions {
    /// Hosts and buckets that scripts may be fetched from, such as https://example.org/scripts/, s3://bucket or gs://bucket,
    /// separated by commas; without it nothing is fetched
    #[arg(
        long = "source-allow",
        env = "SANDPIPER_INGRESS_SOURCE_ALLOW",
        value_name = "PLACE",
        value_delimiter = ','
    )]
    pub allow: Vec<Allowed>,
    /// Folder in which the service finds fetched scripts; only this ingress writes to it
    #[arg(
        long = "sources-dir",
        env = "SANDPIPER_INGRESS_SOURCES_DIR",
        value_name = "FOLDER"
    )]
    pub dir: Option<PathBuf>,
    /// Maximum size of a fetched script; the service accepts at most 1 MiB
    #[arg(
        long = "source-bytes",
        env = "SANDPIPER_INGRESS_SOURCE_BYTES",
        value_name = "BYTES",
        default_value = "1MiB",
        value_parser = bytes(1, MIB)
    )]
    pub bytes: ByteSize,
    /// Maximum time to fetch a script
    #[arg(long = "source-timeout-ms", env = "SANDPIPER_INGRESS_SOURCE_TIMEOUT_MS", value_name = "MS", value_parser = range(10, 600_000), default_value = "10000")]
    pub timeout_ms: u64,
    /// Maximum concurrent fetches; further ones wait within the same timeout
    #[arg(
        long = "source-fetches-max",
        env = "SANDPIPER_INGRESS_SOURCE_FETCHES_MAX",
        value_name = "COUNT",
        default_value = "32"
    )]
    pub fetches_max: NonZeroUsize,
    /// Maximum size of the folder; the script that was unused longest is evicted first
    #[arg(
        long = "sources-bytes",
        env = "SANDPIPER_INGRESS_SOURCES_BYTES",
        value_name = "BYTES",
        default_value = "48MiB",
        value_parser = bytes(1, 1024 * GIB)
    )]
    pub dir_bytes: ByteSize,
    /// Time that an unused script stays in the folder
    #[arg(long = "sources-kept-s", env = "SANDPIPER_INGRESS_SOURCES_KEPT_S", value_name = "S", value_parser = range(1, 31_536_000), default_value = "3600")]
    pub kept_s: u64,
    /// Private networks that a script's host may be in, such as 10.1.0.0/16, separated by commas; otherwise only public
    /// addresses are reached (SSRF protection)
    #[arg(
        long = "source-networks",
        env = "SANDPIPER_INGRESS_SOURCE_NETWORKS",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    pub networks: Vec<IpNet>,
    /// PEM file of additional certificate authorities for script hosts
    #[arg(
        long = "source-ca-file",
        env = "SANDPIPER_INGRESS_SOURCE_CA_FILE",
        value_name = "FILE"
    )]
    pub ca_file: Option<PathBuf>,
    /// Name server for script hosts, such as 10.1.0.2:53; the machine's own when absent
    #[arg(
        long = "source-nameserver",
        env = "SANDPIPER_INGRESS_SOURCE_NAMESERVER",
        value_name = "ADDRESS:PORT"
    )]
    pub nameserver: Option<SocketAddr>,
}

impl SourceOptions {
    /// Returns the settings of the fetcher; `None` if no source is allowed.
    ///
    /// # Errors
    ///
    /// `--source-allow` is given without `--sources-dir`.
    pub fn checked(&self) -> Result<Option<SourcesOptions>, OptionConflict> {
        if self.allow.is_empty() {
            return Ok(None);
        }
        Ok(Some(SourcesOptions {
            allowed: self.allow.clone(),
            networks: self.networks.clone(),
            nameserver: self.nameserver,
            ca_file: self.ca_file.clone(),
            folder: self.dir.clone().ok_or(OptionConflict::SourcesDirMissing)?,
            bytes_max: self.bytes.as_u64(),
            timeout: Duration::from_millis(self.timeout_ms),
            fetches_max: self.fetches_max.get(),
            folder_bytes_max: self.dir_bytes.as_u64(),
            retention: Duration::from_secs(self.kept_s),
        }))
    }
}

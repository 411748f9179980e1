//! The options: for each its flag, environment variable, default and bounds.
//!
//! No other module reads the environment. The values in an options struct have been validated.

mod commands;
mod keys;
mod service;
mod sources;
mod telemetry;
mod values;

pub use commands::{Command, CommandLine, HealthOptions};
pub use keys::{
    AssignKeyOptions, BudgetOptions, KeyCommand, KeyUsesOption, KeysFileOption, ListKeysOptions,
    NewKeyOptions, RevokeKeyOptions, RotateKeyOptions, SetKeyOptions, ShowKeyOptions,
    SubjectOptions,
};
pub use service::ServiceAddress;
pub use sources::SourceOptions;
pub use telemetry::TelemetryOptions;

use crate::client::Trust;
use crate::limits::{Quota, Quotas};
use crate::proxy::UpstreamOptions;
use bytesize::{ByteSize, KIB, MIB};
use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args, value_parser};
use hyper::http::uri::Authority;
use ipnet::IpNet;
use sandpiper_http_kit::hosts::AllowedHost;
use sandpiper_http_kit::log::{LogFormat, parse_filter};
use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::thread::available_parallelism;
use std::time::Duration;
use values::{address, bytes, hops, network_clients, origin, range};

/// The options of `serve`.
#[derive(Debug, Args)]
pub struct ServeOptions {
    /// Address to listen on; an address that other machines can reach needs --keys-file, --trusted-network or --open
    #[arg(long, env = "HOST", value_parser = address, default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Port to listen on; 0 takes a free port
    #[arg(long, env = "PORT", default_value_t = 8080)]
    pub port: u16,
    /// The address of the service.
    #[command(flatten)]
    pub service: ServiceAddress,
    /// Folder of the built web page; without it a plain page is served
    #[arg(
        long,
        env = "SANDPIPER_INGRESS_PAGES_DIR",
        value_name = "FOLDER",
        default_value = "frontend/dist"
    )]
    pub pages_dir: PathBuf,

    /// Every client that can reach the port may run code and read every job; with --keys-file a key is needed all the
    /// same
    #[arg(long, env = "SANDPIPER_INGRESS_TRUSTED_NETWORK", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    pub trusted_network: bool,
    /// Public demonstration: every client may run code, and read and stop a job by its id; jobs are not listed
    #[arg(long, env = "SANDPIPER_INGRESS_OPEN", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    pub open: bool,

    /// Rate limit over all clients together, such as 2000/s:4000 (a rate and a burst)
    #[arg(
        long,
        env = "SANDPIPER_INGRESS_TOTAL_QUOTA",
        value_name = "QUOTA",
        default_value = "2000/s:4000"
    )]
    pub total_quota: Quota,
    /// Rate limit per client for running code (execute, jobs, netcheck)
    #[arg(
        long,
        env = "SANDPIPER_INGRESS_RUN_QUOTA",
        value_name = "QUOTA",
        default_value = "50/s:100"
    )]
    pub run_quota: Quota,
    /// Rate limit per client for every other request, polling included
    #[arg(
        long,
        env = "SANDPIPER_INGRESS_READ_QUOTA",
        value_name = "QUOTA",
        default_value = "100/s:200"
    )]
    pub read_quota: Quota,
    /// Rate limit per client for GET /ingress/live and /ingress/ready, which count in no other quota
    #[arg(
        long,
        env = "SANDPIPER_INGRESS_HEALTH_QUOTA",
        value_name = "QUOTA",
        default_value = "100/s:200"
    )]
    pub health_quota: Quota,
    /// An IPv6 /48 network gets as much as this many clients: of each quota, of open requests and of connections
    #[arg(long, env = "SANDPIPER_INGRESS_NETWORK_CLIENTS", value_name = "COUNT", value_parser = network_clients, default_value = "16")]
    pub network_clients: NonZeroU32,
    /// Maximum open requests per client
    #[arg(long, env = "SANDPIPER_INGRESS_REQUESTS_PER_CLIENT", value_name = "COUNT", value_parser = value_parser!(u32).range(1..), default_value_t = 64)]
    pub requests_per_client: u32,
    /// Maximum clients tracked in each class of quota; further clients share quotas
    #[arg(
        long,
        env = "SANDPIPER_INGRESS_CLIENTS_MAX",
        value_name = "COUNT",
        default_value = "100000"
    )]
    pub clients_max: NonZeroUsize,

    /// Number of proxies in front, each of which appends to X-Forwarded-For
    #[arg(long, env = "SANDPIPER_INGRESS_TRUSTED_HOPS", value_name = "COUNT", value_parser = hops, default_value = "0", conflicts_with = "trusted_proxies")]
    pub trusted_hops: usize,
    /// Networks of trusted proxies, such as 10.0.0.0/8, separated by commas
    #[arg(
        long,
        env = "SANDPIPER_INGRESS_TRUSTED_PROXIES",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    pub trusted_proxies: Vec<IpNet>,

    /// File of API keys; without it no key is needed
    #[arg(long, env = "SANDPIPER_INGRESS_KEYS_FILE", value_name = "FILE")]
    pub keys_file: Option<PathBuf>,
    /// File in which the times of last use of keys are written; a file beside the keys file when absent
    #[arg(long, env = "SANDPIPER_INGRESS_KEY_USES_FILE", value_name = "FILE")]
    pub key_uses_file: Option<PathBuf>,
    /// Host names accepted in the Host header, beside localhost and IP addresses, separated by commas; * accepts every
    /// host. With --keys-file the list applies to the metrics port alone
    #[arg(
        long,
        env = "SANDPIPER_INGRESS_ALLOWED_HOSTS",
        value_name = "HOST",
        value_delimiter = ','
    )]
    pub allowed_hosts: Vec<AllowedHost>,
    /// Origins whose pages may use the API from a browser, such as https://example.org, separated by commas
    #[arg(long, env = "SANDPIPER_INGRESS_CORS_ORIGINS", value_name = "ORIGIN", value_parser = origin, value_delimiter = ',')]
    pub cors_origins: Vec<String>,

    /// Maximum length of path and query of a request
    #[arg(
        long,
        env = "SANDPIPER_INGRESS_URL_BYTES",
        value_name = "BYTES",
        default_value = "8KiB",
        value_parser = bytes(64, 64 * KIB)
    )]
    pub url_bytes: ByteSize,
    /// Maximum size of all headers of a request
    #[arg(
        long,
        env = "SANDPIPER_INGRESS_HEADER_BYTES",
        value_name = "BYTES",
        default_value = "16KiB",
        value_parser = bytes(256, 64 * KIB)
    )]
    pub header_bytes: ByteSize,
    /// Maximum size of a request body; the service has a bound of its own
    #[arg(
        long,
        env = "SANDPIPER_INGRESS_BODY_BYTES",
        value_name = "BYTES",
        default_value = "2MiB",
        value_parser = bytes(KIB, 64 * MIB)
    )]
    pub body_bytes: ByteSize,
    /// Maximum time for a request head to arrive
    #[arg(long, env = "SANDPIPER_INGRESS_HEADER_TIMEOUT_MS", value_name = "MS", value_parser = range(10, 600_000), default_value = "5000")]
    pub header_timeout_ms: u64,
    /// Maximum time for a request body to arrive
    #[arg(long, env = "SANDPIPER_INGRESS_BODY_TIMEOUT_MS", value_name = "MS", value_parser = range(10, 600_000), default_value = "10000")]
    pub body_timeout_ms: u64,
    /// Maximum time from a response to the first byte of the next request
    #[arg(long, env = "SANDPIPER_INGRESS_KEEP_ALIVE_S", value_name = "S", value_parser = range(1, 3600), default_value = "75")]
    pub keep_alive_s: u64,
    /// Maximum time that a client may read nothing of its response; then the connection is closed
    #[arg(long, env = "SANDPIPER_INGRESS_WRITE_TIMEOUT_MS", value_name = "MS", value_parser = range(100, 3_600_000), default_value = "30000")]
    pub write_timeout_ms: u64,
    /// Maximum open connections; further ones wait until one closes
    #[arg(
        long,
        env = "SANDPIPER_INGRESS_CONNECTIONS_MAX",
        value_name = "COUNT",
        default_value = "10000"
    )]
    pub connections_max: NonZeroUsize,
    /// Maximum open connections of one address that is not a trusted proxy; never more than three quarters of
    /// --connections-max if that is at least 64
    #[arg(long, env = "SANDPIPER_INGRESS_CONNECTIONS_PER_CLIENT", value_name = "COUNT", value_parser = value_parser!(u32).range(1..), default_value_t = 256)]
    pub connections_per_client: u32,
    /// Maximum open connections of one trusted proxy; three quarters of --connections-max when absent
    #[arg(long, env = "SANDPIPER_INGRESS_CONNECTIONS_PER_PROXY", value_name = "COUNT", value_parser = value_parser!(u32).range(1..))]
    pub connections_per_proxy: Option<u32>,
    /// HTTP threads; one per core when absent
    #[arg(long, env = "SANDPIPER_INGRESS_HTTP_WORKERS", value_name = "COUNT")]
    pub http_workers: Option<NonZeroUsize>,

    /// Maximum time to connect to the service
    #[arg(long, env = "SANDPIPER_INGRESS_CONNECT_TIMEOUT_MS", value_name = "MS", value_parser = range(10, 60_000), default_value = "1000")]
    pub connect_timeout_ms: u64,
    /// Maximum time until the service begins its response: queue wait plus execution, or the longest `Prefer: wait`
    #[arg(long, env = "SANDPIPER_INGRESS_ANSWER_TIMEOUT_MS", value_name = "MS", value_parser = range(10, 3_600_000), default_value = "90000")]
    pub answer_timeout_ms: u64,
    /// Maximum pause of the service within a response
    #[arg(long, env = "SANDPIPER_INGRESS_SILENCE_MS", value_name = "MS", value_parser = range(10, 3_600_000), default_value = "60000")]
    pub silence_ms: u64,
    /// Graceful shutdown: how long open requests get to finish; longer than the service's own --drain-ms
    #[arg(long, env = "SANDPIPER_INGRESS_DRAIN_MS", value_name = "MS", value_parser = range(0, 600_000), default_value = "9000")]
    pub drain_ms: u64,

    /// The options of remote scripts.
    #[command(flatten)]
    pub sources: SourceOptions,

    /// The options of metrics, traces and the audit log.
    #[command(flatten)]
    pub telemetry: TelemetryOptions,

    /// Format of the log, which is written to standard error
    #[arg(long, env = "SANDPIPER_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Log filter, as `info` or `info,sandpiper_ingress=debug`
    #[arg(
        long,
        env = "SANDPIPER_LOG",
        value_name = "FILTER",
        default_value = "info,actix_server=warn,actix_http=off",
        value_parser = parse_filter
    )]
    pub log: String,
}

#[derive(Debug, thiserror::Error)]
pub enum OptionConflict {
    #[error("--api-host: `{0}` is neither an IP address nor a host name")]
    InvalidApiHost(String),
    #[error(
        "--host {0} can be reached from other machines: give --keys-file (clients need a key), --trusted-network (every client \
         that reaches this port may run code and read every job) or --open (a public demonstration: anyone may run code, jobs \
         are not listed), or listen on 127.0.0.1"
    )]
    Unguarded(IpAddr),
    #[error("--open and {0} contradict each other: {1}; give one of them")]
    OpenWith(&'static str, &'static str),
    #[error(
        "--source-allow needs --sources-dir, a folder that the service reads with its own --sources-dir"
    )]
    SourcesDirMissing,
    #[error(
        "--key-uses-file and --keys-file name the same file; the first is overwritten: name another one"
    )]
    UsesOverKeys,
}

impl ServeOptions {
    /// Checks options that depend on each other.
    ///
    /// # Errors
    ///
    /// Other machines can reach the port and no option says who may use it, or two options contradict each other.
    pub fn check(&self) -> Result<(), OptionConflict> {
        let has_keys = self.keys_file.is_some();
        if self.open && has_keys {
            return Err(OptionConflict::OpenWith(
                "--keys-file",
                "a public demonstration requires no key",
            ));
        }
        if self.open && self.trusted_network {
            return Err(OptionConflict::OpenWith(
                "--trusted-network",
                "a public demonstration trusts no client, so jobs are not listed",
            ));
        }
        if has_keys && self.key_uses_file == self.keys_file {
            return Err(OptionConflict::UsesOverKeys);
        }
        let is_guarded = has_keys || self.trusted_network || self.open;
        if is_guarded || self.host.to_canonical().is_loopback() {
            return Ok(());
        }
        Err(OptionConflict::Unguarded(self.host))
    }

    pub fn authority(&self) -> Result<Authority, OptionConflict> {
        self.service.authority()
    }

    pub fn upstream(&self) -> Result<UpstreamOptions, OptionConflict> {
        Ok(UpstreamOptions {
            authority: self.authority()?,
            connect_timeout: Duration::from_millis(self.connect_timeout_ms),
            response_timeout: Duration::from_millis(self.answer_timeout_ms),
            pause_max: Duration::from_millis(self.silence_ms),
            body_bytes: self.body_bytes.as_u64(),
            body_timeout: Duration::from_millis(self.body_timeout_ms),
            connections_max: self.connections_per_worker(),
        })
    }

    pub fn trust(&self) -> Trust {
        match (self.trusted_hops, self.trusted_proxies.as_slice()) {
            (0, []) => Trust::Nothing,
            (0, networks) => Trust::Networks(networks.to_vec()),
            (hops, _) => Trust::Hops(hops),
        }
    }

    /// Returns the quotas of a client without a key.
    pub fn client_quotas(&self) -> Quotas {
        Quotas {
            run: self.run_quota,
            read: self.read_quota,
        }
    }

    pub fn workers(&self) -> usize {
        let cores = || available_parallelism().map_or(1, NonZeroUsize::get);
        self.http_workers.map_or_else(cores, NonZeroUsize::get)
    }

    pub fn connections_per_proxy(&self) -> u32 {
        let share = self.share_of_one_address();
        self.connections_per_proxy.unwrap_or(share)
    }

    /// Returns how many connections one client may have open: at most the share of one address. The share does not
    /// apply below 64 connections in all, where it would leave too few for a browser.
    pub fn connections_per_client(&self) -> u32 {
        const SHARED_FROM: usize = 64;
        if self.connections_max.get() < SHARED_FROM {
            return self.connections_per_client;
        }
        self.connections_per_client.min(self.share_of_one_address())
    }

    /// Returns three quarters of all connections. The rest is for other addresses: another client, a proxy, a health
    /// check.
    fn share_of_one_address(&self) -> u32 {
        let max = self.connections_max.get();
        let share = (max - max.div_ceil(4)).max(1);
        u32::try_from(share).unwrap_or(u32::MAX)
    }

    pub fn connections_per_worker(&self) -> usize {
        self.connections_max.get().div_ceil(self.workers())
    }
}

//! Every option: its flag, its environment variable, its default, its bound, and the reason for them.
//!
//! The only place that reads the environment. What is in an options struct has been checked.

mod commands;
mod sources;
mod telemetry;
mod values;

pub use commands::{Command, CommandLine, HealthOptions, KeyCommand, NewKeyOptions};
pub use sources::SourceOptions;
pub use telemetry::TelemetryOptions;

use crate::client::Trust;
use crate::limits::{ClientBounds, Quota, Quotas};
use crate::proxy::UpstreamOptions;
use actix_web::http::uri::Authority;
use bytesize::ByteSize;
use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args, ValueEnum, value_parser};
use ipnet::IpNet;
use sandpiper_http_kit::hosts::{AllowedHost, AllowedHosts};
use sandpiper_http_kit::log::parse_filter;
use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::thread::available_parallelism;
use std::time::Duration;
use values::{KIB, MIB, address, bytes, hops, network_clients, origin, range};

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// For programs, one object a line
    Json,
}

/// For `serve`.
#[derive(Debug, Args)]
pub struct ServeOptions {
    /// Address to listen on; one that other machines reach needs --keys-file, --trusted-network or --open
    #[arg(long, env = "HOST", value_parser = address, default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Port to listen on; 0 takes a free one
    #[arg(long, env = "PORT", default_value_t = 8080)]
    pub port: u16,
    /// Where the service is: an address or a name
    #[arg(
        long,
        env = "API_HOST",
        value_name = "HOST",
        default_value = "127.0.0.1"
    )]
    pub api_host: String,
    /// The service's port
    #[arg(long, env = "API_PORT", value_name = "PORT", default_value_t = 8081)]
    pub api_port: u16,
    /// Folder of the built web page; a plain page stands in where there is none
    #[arg(
        long,
        env = "SANDPIPER_INGRESS_PAGES_DIR",
        value_name = "FOLDER",
        default_value = "frontend/dist"
    )]
    pub pages_dir: PathBuf,

    /// Whoever reaches this port is trusted to run code and to read every job; with --keys-file a key is needed all the same
    #[arg(long, env = "SANDPIPER_INGRESS_TRUSTED_NETWORK", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    pub trusted_network: bool,
    /// A public demonstration: anybody may run code, and read and stop what was run by its id; nothing is listed
    #[arg(long, env = "SANDPIPER_INGRESS_OPEN", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    pub open: bool,

    /// All requests of everybody together
    #[arg(
        long,
        env = "SANDPIPER_INGRESS_TOTAL_QUOTA",
        value_name = "QUOTA",
        default_value = "2000/s:4000"
    )]
    pub total_quota: Quota,
    /// Running code: execute, jobs, netcheck; each client
    #[arg(
        long,
        env = "SANDPIPER_INGRESS_RUN_QUOTA",
        value_name = "QUOTA",
        default_value = "50/s:100"
    )]
    pub run_quota: Quota,
    /// Everything else, polling too; each client
    #[arg(
        long,
        env = "SANDPIPER_INGRESS_READ_QUOTA",
        value_name = "QUOTA",
        default_value = "100/s:200"
    )]
    pub read_quota: Quota,
    /// GET /ingress/live and /ingress/ready, apart from all other quotas; each client
    #[arg(
        long,
        env = "SANDPIPER_INGRESS_HEALTH_QUOTA",
        value_name = "QUOTA",
        default_value = "100/s:200"
    )]
    pub health_quota: Quota,
    /// An IPv6 /48 network gets as much as so many clients: of each quota, open requests and connections
    #[arg(long, env = "SANDPIPER_INGRESS_NETWORK_CLIENTS", value_name = "COUNT", value_parser = network_clients, default_value = "16")]
    pub network_clients: NonZeroU32,
    /// Requests that one client may have open at a time
    #[arg(long, env = "SANDPIPER_INGRESS_REQUESTS_PER_CLIENT", value_name = "COUNT", value_parser = value_parser!(u32).range(1..), default_value_t = 64)]
    pub requests_per_client: u32,
    /// Clients that are told apart in each class; more share quotas with one another
    #[arg(
        long,
        env = "SANDPIPER_INGRESS_CLIENTS_MAX",
        value_name = "COUNT",
        default_value = "100000"
    )]
    pub clients_max: NonZeroUsize,

    /// Proxies in front, each of which adds to X-Forwarded-For
    #[arg(long, env = "SANDPIPER_INGRESS_TRUSTED_HOPS", value_name = "COUNT", value_parser = hops, default_value = "0", conflicts_with = "trusted_proxies")]
    pub trusted_hops: usize,
    /// Networks of proxies in front, as 10.0.0.0/8, with commas between
    #[arg(
        long,
        env = "SANDPIPER_INGRESS_TRUSTED_PROXIES",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    pub trusted_proxies: Vec<IpNet>,

    /// File of API keys; without one, nobody needs a key
    #[arg(long, env = "SANDPIPER_INGRESS_KEYS_FILE", value_name = "FILE")]
    pub keys_file: Option<PathBuf>,
    /// Host names that requests may be for, beside localhost and IP addresses, with commas between; * allows every host.
    /// With --keys-file every host is answered, on the port of metrics these alone
    #[arg(
        long,
        env = "SANDPIPER_INGRESS_ALLOWED_HOSTS",
        value_name = "HOST",
        value_delimiter = ','
    )]
    pub allowed_hosts: Vec<AllowedHost>,
    /// Origins whose pages may use the API from a browser, as https://example.org, with commas between
    #[arg(long, env = "SANDPIPER_INGRESS_CORS_ORIGINS", value_name = "ORIGIN", value_parser = origin, value_delimiter = ',')]
    pub cors_origins: Vec<String>,

    /// Longest path and query of a request
    #[arg(
        long,
        env = "SANDPIPER_INGRESS_URL_BYTES",
        value_name = "BYTES",
        default_value = "8KiB",
        value_parser = bytes(64, 64 * KIB)
    )]
    pub url_bytes: ByteSize,
    /// Longest headers of a request, all together
    #[arg(
        long,
        env = "SANDPIPER_INGRESS_HEADER_BYTES",
        value_name = "BYTES",
        default_value = "16KiB",
        value_parser = bytes(256, 64 * KIB)
    )]
    pub header_bytes: ByteSize,
    /// Longest body of a request; the service has a bound of its own
    #[arg(
        long,
        env = "SANDPIPER_INGRESS_BODY_BYTES",
        value_name = "BYTES",
        default_value = "2MiB",
        value_parser = bytes(KIB, 64 * MIB)
    )]
    pub body_bytes: ByteSize,
    /// Longest that a request's head may take to arrive
    #[arg(long, env = "SANDPIPER_INGRESS_HEADER_TIMEOUT_MS", value_name = "MS", value_parser = range(10, 600_000), default_value = "5000")]
    pub header_timeout_ms: u64,
    /// Longest that a request's body may take to arrive
    #[arg(long, env = "SANDPIPER_INGRESS_BODY_TIMEOUT_MS", value_name = "MS", value_parser = range(10, 600_000), default_value = "10000")]
    pub body_timeout_ms: u64,
    /// How long an idle connection is kept
    #[arg(long, env = "SANDPIPER_INGRESS_KEEP_ALIVE_S", value_name = "S", value_parser = range(1, 3600), default_value = "75")]
    pub keep_alive_s: u64,
    /// Longest that a client may take nothing of what it is sent
    #[arg(long, env = "SANDPIPER_INGRESS_WRITE_TIMEOUT_MS", value_name = "MS", value_parser = range(100, 3_600_000), default_value = "30000")]
    pub write_timeout_ms: u64,
    /// Most open connections; more wait unanswered until one closes
    #[arg(
        long,
        env = "SANDPIPER_INGRESS_CONNECTIONS_MAX",
        value_name = "COUNT",
        default_value = "10000"
    )]
    pub connections_max: NonZeroUsize,
    /// Most open connections of one address that is no trusted proxy; never more than three quarters of --connections-max, if that is at least 64
    #[arg(long, env = "SANDPIPER_INGRESS_CONNECTIONS_PER_CLIENT", value_name = "COUNT", value_parser = value_parser!(u32).range(1..), default_value_t = 256)]
    pub connections_per_client: u32,
    /// Most open connections of one address that is a trusted proxy; three quarters of --connections-max when absent
    #[arg(long, env = "SANDPIPER_INGRESS_CONNECTIONS_PER_PROXY", value_name = "COUNT", value_parser = value_parser!(u32).range(1..))]
    pub connections_per_proxy: Option<u32>,
    /// Threads that speak HTTP; one a core when absent
    #[arg(long, env = "SANDPIPER_INGRESS_HTTP_WORKERS", value_name = "COUNT")]
    pub http_workers: Option<NonZeroUsize>,

    /// Longest that opening a connection to the service may take
    #[arg(long, env = "SANDPIPER_INGRESS_CONNECT_TIMEOUT_MS", value_name = "MS", value_parser = range(10, 60_000), default_value = "1000")]
    pub connect_timeout_ms: u64,
    /// Longest until the service begins to answer: its queue's wait and an execution, or the longest `Prefer: wait`
    #[arg(long, env = "SANDPIPER_INGRESS_ANSWER_TIMEOUT_MS", value_name = "MS", value_parser = range(10, 3_600_000), default_value = "90000")]
    pub answer_timeout_ms: u64,
    /// Longest silence of the service in the middle of an answer
    #[arg(long, env = "SANDPIPER_INGRESS_SILENCE_MS", value_name = "MS", value_parser = range(10, 3_600_000), default_value = "60000")]
    pub silence_ms: u64,
    /// Time for what is open when the ingress stops; longer than the service takes to stop
    #[arg(long, env = "SANDPIPER_INGRESS_DRAIN_MS", value_name = "MS", value_parser = range(0, 600_000), default_value = "9000")]
    pub drain_ms: u64,

    /// Where the scripts may come from that requests only point at.
    #[command(flatten)]
    pub sources: SourceOptions,

    /// What is told of requests.
    #[command(flatten)]
    pub telemetry: TelemetryOptions,

    /// How the log is written, on standard error
    #[arg(long, env = "SANDPIPER_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// What is logged, as `info` or `sandpiper_ingress=debug`
    #[arg(
        long,
        env = "SANDPIPER_LOG",
        value_name = "FILTER",
        default_value = "info,actix_server=warn,actix_http=off",
        value_parser = parse_filter
    )]
    pub log: String,
}

/// Options that do not fit.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// Host and port make no address.
    #[error("--api-host: `{0}` is no address and no name of a host")]
    ApiHost(String),
    /// Other machines reach the port, and nothing says who may use it.
    #[error(
        "--host {0} can be reached from other machines: give --keys-file (clients need a key), --trusted-network (whoever \
         reaches this port may run code and read every job) or --open (a public demonstration: anybody runs code, nothing is \
         listed), or listen on 127.0.0.1"
    )]
    Unguarded(IpAddr),
    /// Two options contradict each other.
    #[error("--open and {0} contradict each other: {1}; give one of them")]
    NotOpen(&'static str, &'static str),
    /// Scripts need a folder.
    #[error(
        "--source-allow needs --sources-dir, a folder that the service reads with its own --sources-dir"
    )]
    NoSourcesDir,
}

impl ServeOptions {
    /// Checks options that depend on each other.
    ///
    /// # Errors
    ///
    /// Other machines reach the port and nobody has said who may use it, or two options say different things.
    pub fn check(&self) -> Result<(), Unfit> {
        let has_keys = self.keys_file.is_some();
        if self.open && has_keys {
            return Err(Unfit::NotOpen(
                "--keys-file",
                "a demonstration asks nobody for a key",
            ));
        }
        if self.open && self.trusted_network {
            return Err(Unfit::NotOpen(
                "--trusted-network",
                "a demonstration trusts nobody, and so lists nothing",
            ));
        }
        let is_guarded = has_keys || self.trusted_network || self.open;
        if is_guarded || self.host.to_canonical().is_loopback() {
            return Ok(());
        }
        Err(Unfit::Unguarded(self.host))
    }

    /// How clients are told apart.
    #[must_use]
    pub fn client_bounds(&self) -> ClientBounds {
        ClientBounds {
            clients_max: self.clients_max.get(),
            network_clients: self.network_clients,
        }
    }

    /// The service's host and port.
    pub fn authority(&self) -> Result<Authority, Unfit> {
        let unfit = || Unfit::ApiHost(self.api_host.clone());
        let host = match self.api_host.parse::<IpAddr>() {
            Ok(IpAddr::V6(v6)) => format!("[{v6}]"),
            _ => self.api_host.clone(),
        };
        let is_a_name = |host: &str| {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte))
        };
        let authority = format!("{host}:{}", self.api_port).parse::<Authority>();
        authority
            .ok()
            .filter(|_| is_a_name(&host))
            .ok_or_else(unfit)
    }

    /// How the service is reached from each thread.
    pub fn upstream(&self) -> Result<UpstreamOptions, Unfit> {
        Ok(UpstreamOptions {
            authority: self.authority()?,
            connect_timeout: Duration::from_millis(self.connect_timeout_ms),
            answer_timeout: Duration::from_millis(self.answer_timeout_ms),
            silence_max: Duration::from_millis(self.silence_ms),
            body_bytes: self.body_bytes.as_u64(),
            body_timeout: Duration::from_millis(self.body_timeout_ms),
            connections_max: self.connections_per_worker(),
        })
    }

    /// Who may say who is asking.
    #[must_use]
    pub fn trust(&self) -> Trust {
        match (self.trusted_hops, self.trusted_proxies.as_slice()) {
            (0, []) => Trust::Nobody,
            (0, networks) => Trust::Networks(networks.to_vec()),
            (hops, _) => Trust::Hops(hops),
        }
    }

    /// The hosts that are answered where no key is needed.
    #[must_use]
    pub fn allowed_hosts(&self) -> AllowedHosts {
        AllowedHosts::new(self.allowed_hosts.clone())
    }

    /// What a client without a key gets.
    #[must_use]
    pub fn client_quotas(&self) -> Quotas {
        Quotas {
            run: self.run_quota,
            read: self.read_quota,
        }
    }

    /// Threads that speak HTTP.
    #[must_use]
    pub fn workers(&self) -> usize {
        let cores = || available_parallelism().map_or(1, NonZeroUsize::get);
        self.http_workers.map_or_else(cores, NonZeroUsize::get)
    }

    /// Returns how many connections one trusted proxy may have open.
    #[must_use]
    pub fn connections_per_proxy(&self) -> u32 {
        let share = self.share_of_one_address();
        self.connections_per_proxy.unwrap_or(share)
    }

    /// Returns how many connections one client may have open: never more than the share of one address, unless there are so
    /// few connections that a share of them would be of no use to a browser.
    #[must_use]
    pub fn connections_per_client(&self) -> u32 {
        const SHARED_FROM: usize = 64;
        if self.connections_max.get() < SHARED_FROM {
            return self.connections_per_client;
        }
        self.connections_per_client.min(self.share_of_one_address())
    }

    /// Returns three quarters of all connections. The rest is for other addresses: another client, a proxy, a health check.
    fn share_of_one_address(&self) -> u32 {
        let max = self.connections_max.get();
        let share = (max - max.div_ceil(4)).max(1);
        u32::try_from(share).unwrap_or(u32::MAX)
    }

    /// Connections that one thread may have open.
    #[must_use]
    pub fn connections_per_worker(&self) -> usize {
        self.connections_max.get().div_ceil(self.workers())
    }
}

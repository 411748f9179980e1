//! The options of `serve`.

use super::data_keys::DataKeyOptions;
use super::isolation::IsolationOptions;
use super::limits::{CeilingOptions, LimitOptions};
use super::replay_key::ReplayOptions;
use super::store::{StoreBoundOptions, StoreChoice};
use super::telemetry::TelemetryArgs;
use super::values::{address, bytes, client_header};
use super::{GIB, KIB, MIB};
use actix_web::http::header::HeaderName;
use clap::{Args, ValueEnum, value_parser};
use sandpiper_http_kit::hosts::AllowedHost;
use sandpiper_http_kit::log::{LogFormat, parse_filter};
use std::net::IpAddr;
use std::path::PathBuf;

/// The pinning of executors to processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PinExecutors {
    /// Pins executors if this process may use exactly as many processors as there are executors
    ///
    /// With fewer executors, the choice of processors would be blind, and neighbours on the machine would make the same
    /// choice. With more, two busy executors could share a processor while another processor idles.
    Auto,
    /// Pins no executor.
    Never,
}

/// The options of `serve`.
#[derive(Debug, Clone, Args)]
pub struct ServeOptions {
    /// Address to listen on
    #[arg(long, env = "HOST", default_value = "127.0.0.1", value_parser = address)]
    pub host: IpAddr,
    /// Port to listen on; 0 takes a free one
    #[arg(long, env = "PORT", default_value_t = 8081)]
    pub port: u16,
    /// Host names to accept besides localhost and IP addresses, separated by commas; * accepts every host, for a port
    /// that no browser can reach
    #[arg(
        long,
        env = "SANDPIPER_ALLOWED_HOSTS",
        value_name = "HOST",
        value_delimiter = ','
    )]
    pub allowed_hosts: Vec<AllowedHost>,
    /// Store of jobs: sqlite:PATH, postgres://USER@HOST/DATABASE, or memory
    #[arg(
        long,
        env = "SANDPIPER_STORE",
        value_name = "STORE",
        default_value = "sqlite:data/sandpiper.db",
        hide_env_values = true
    )]
    pub store: StoreChoice,
    /// Connections to Postgres, opened at start and kept open
    #[arg(long, env = "SANDPIPER_STORE_CONNECTIONS", value_name = "COUNT", default_value_t = 10, value_parser = value_parser!(u16).range(4..=200))]
    pub store_connections: u16,
    /// Maximum jobs that a node claims from the database per executor: one runs, and short ones are prefetched so that
    /// the next starts at once
    #[arg(long, env = "SANDPIPER_CLAIMS_PER_EXECUTOR", value_name = "COUNT", default_value_t = 16, value_parser = value_parser!(u16).range(1..=1_000))]
    pub claims_per_executor: u16,
    /// Maximum queued or running jobs of one client; in a database, on all nodes together
    #[arg(long, env = "SANDPIPER_CLIENT_JOBS_MAX", value_name = "COUNT", default_value_t = 100_000, value_parser = value_parser!(u32).range(1..=10_000_000))]
    pub client_jobs_max: u32,
    /// The encryption of the store.
    #[command(flatten)]
    pub data_keys: DataKeyOptions,
    /// The sealed state of executions that wait.
    #[command(flatten)]
    pub replay: ReplayOptions,
    /// The bounds of the store.
    #[command(flatten)]
    pub store_bounds: StoreBoundOptions,
    /// Maximum jobs of one client that run at the same time on this node [default: the number of executors]
    #[arg(long, env = "SANDPIPER_CLIENT_RUNNING_MAX", value_name = "COUNT", value_parser = value_parser!(u16).range(1..=256))]
    pub client_running_max: Option<u16>,
    /// Number of executions that run at the same time [default: the number of cores]
    #[arg(long, env = "SANDPIPER_EXECUTORS", value_name = "COUNT", value_parser = value_parser!(u16).range(1..=256))]
    pub executors: Option<u16>,
    /// Pinning of executors to processors: `auto` pins them if there are exactly as many processors as executors,
    /// or `never`
    #[arg(
        long,
        env = "SANDPIPER_PIN_EXECUTORS",
        value_name = "WHEN",
        default_value = "auto"
    )]
    pub pin_executors: PinExecutors,
    /// Maximum reserve executors, which run work of clients that hold no executor while other clients hold all of them;
    /// 0 disables them [default: the number of executors, from 2 to 4]
    #[arg(long, env = "SANDPIPER_RESERVE_EXECUTORS", value_name = "COUNT", value_parser = value_parser!(u16).range(0..=256))]
    pub reserve_executors: Option<u16>,
    /// Time that work of a client without an executor waits before a reserve executor takes it, milliseconds
    #[arg(long, env = "SANDPIPER_RESERVE_AFTER_MS", value_name = "MS", default_value_t = 10, value_parser = value_parser!(u64).range(1..=60_000))]
    pub reserve_after_ms: u64,
    /// Time after which an idle reserve executor ends its sandbox, seconds
    #[arg(long, env = "SANDPIPER_RESERVE_IDLE_S", value_name = "S", default_value_t = 60, value_parser = value_parser!(u64).range(1..=86_400))]
    pub reserve_idle_s: u64,
    /// Folder of example scripts, in place of the built-in ones
    #[arg(long, env = "SANDPIPER_SCRIPTS_DIR", value_name = "DIR")]
    pub scripts_dir: Option<PathBuf>,
    /// Folder in which the ingress stores scripts that requests reference by URL. Set it only if nothing but that
    /// ingress can reach this port
    #[arg(long, env = "SANDPIPER_SOURCES_DIR", value_name = "DIR")]
    pub sources_dir: Option<PathBuf>,
    /// The sandbox.
    #[command(flatten)]
    pub isolation: IsolationOptions,
    /// Default limits.
    #[command(flatten)]
    pub limits: LimitOptions,
    /// Maximum limits.
    #[command(flatten)]
    pub ceilings: CeilingOptions,
    /// Maximum size of a request body, bytes
    #[arg(long, env = "SANDPIPER_BODY_BYTES", value_name = "BYTES", default_value = "2MiB", value_parser = bytes(KIB, 64 * MIB))]
    pub body_bytes: u64,
    /// Maximum time for a client to send its body, milliseconds
    #[arg(long, env = "SANDPIPER_BODY_TIMEOUT_MS", value_name = "MS", default_value_t = 10_000, value_parser = value_parser!(u64).range(100..=600_000))]
    pub body_timeout_ms: u64,
    /// Maximum time for a client to send its request head, milliseconds
    // The server's clock may be late by half a second: a shorter time would reject clients that are not slow.
    #[arg(long, env = "SANDPIPER_HEADER_TIMEOUT_MS", value_name = "MS", default_value_t = 5_000, value_parser = value_parser!(u64).range(1_000..=600_000))]
    pub header_timeout_ms: u64,
    /// Time that an idle connection stays open, seconds
    #[arg(long, env = "SANDPIPER_KEEP_ALIVE_S", value_name = "S", default_value_t = 75, value_parser = value_parser!(u64).range(1..=3_600))]
    pub keep_alive_s: u64,
    /// Maximum time that a client may leave a response unread, milliseconds
    #[arg(long, env = "SANDPIPER_WRITE_TIMEOUT_MS", value_name = "MS", default_value_t = 30_000, value_parser = value_parser!(u64).range(100..=3_600_000))]
    pub write_timeout_ms: u64,
    /// Maximum open connections
    #[arg(long, env = "SANDPIPER_CONNECTIONS_MAX", value_name = "COUNT", default_value_t = 10_000, value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub connections_max: u32,
    /// Number of HTTP threads [default: one per four cores]
    #[arg(long, env = "SANDPIPER_HTTP_WORKERS", value_name = "COUNT", value_parser = value_parser!(u16).range(1..=256))]
    pub http_workers: Option<u16>,
    /// Maximum queued interactive jobs
    #[arg(long, env = "SANDPIPER_QUEUE_INTERACTIVE", value_name = "COUNT", default_value_t = 1_000, value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub queue_interactive: u32,
    /// Maximum queued background jobs
    #[arg(long, env = "SANDPIPER_QUEUE_BACKGROUND", value_name = "COUNT", default_value_t = 10_000, value_parser = value_parser!(u32).range(1..=10_000_000))]
    pub queue_background: u32,
    /// Maximum size of queued scripts in both lanes together, bytes
    #[arg(long, env = "SANDPIPER_QUEUE_BYTES", value_name = "BYTES", default_value = "256MiB", value_parser = bytes(MIB, 64 * GIB))]
    pub queue_bytes: u64,
    /// Maximum time that `POST /api/execute` waits for an executor, milliseconds
    #[arg(long, env = "SANDPIPER_QUEUE_WAIT_MS", value_name = "MS", default_value_t = 30_000, value_parser = value_parser!(u64).range(1..=3_600_000))]
    pub queue_wait_ms: u64,
    /// Interactive jobs started for each background job while both lanes have jobs
    #[arg(long, env = "SANDPIPER_INTERACTIVE_WEIGHT", value_name = "COUNT", default_value_t = 4, value_parser = value_parser!(u32).range(1..=1_000))]
    pub interactive_weight: u32,
    /// Maximum attempts at a job when the service, not its script, failed
    #[arg(long, env = "SANDPIPER_ATTEMPTS_MAX", value_name = "COUNT", default_value_t = 3, value_parser = value_parser!(u32).range(1..=100))]
    pub attempts_max: u32,
    /// Time that a result stays readable, seconds
    #[arg(long, env = "SANDPIPER_RESULT_TTL_S", value_name = "S", default_value_t = 900, value_parser = value_parser!(u64).range(1..=2_592_000))]
    pub result_ttl_s: u64,
    /// Maximum jobs in the memory store; a database has no such bound
    #[arg(long, env = "SANDPIPER_STORE_JOBS_MAX", value_name = "COUNT", default_value_t = 100_000, value_parser = value_parser!(u32).range(1..=100_000_000))]
    pub store_jobs_max: u32,
    /// Maximum size of the memory store, bytes
    #[arg(long, env = "SANDPIPER_STORE_BYTES", value_name = "BYTES", default_value = "512MiB", value_parser = bytes(MIB, 1024 * GIB))]
    pub store_bytes: u64,
    /// Maximum results of `POST /api/execute` that stay readable; the oldest is evicted first
    #[arg(long, env = "SANDPIPER_RECENT_MAX", value_name = "COUNT", default_value_t = 10_000, value_parser = value_parser!(u32).range(0..=10_000_000))]
    pub recent_max: u32,
    /// Maximum size of results of `POST /api/execute` that stay readable, bytes
    #[arg(long, env = "SANDPIPER_RECENT_BYTES", value_name = "BYTES", default_value = "64MiB", value_parser = bytes(0, 64 * GIB))]
    pub recent_bytes: u64,
    /// Maximum wait that `Prefer: wait` is granted, seconds
    #[arg(long, env = "SANDPIPER_WAIT_MAX_S", value_name = "S", default_value_t = 60, value_parser = value_parser!(u64).range(0..=3_600))]
    pub wait_max_s: u64,
    /// Maximum open event streams
    #[arg(long, env = "SANDPIPER_EVENTS_MAX", value_name = "COUNT", default_value_t = 1_000, value_parser = value_parser!(u32).range(1..=100_000))]
    pub events_max: u32,
    /// Maximum open event streams of one client
    #[arg(long, env = "SANDPIPER_EVENTS_CLIENT_MAX", value_name = "COUNT", default_value_t = 50, value_parser = value_parser!(u32).range(1..=100_000))]
    pub events_client_max: u32,
    /// Time after which an event stream is closed, seconds; clients must reconnect then
    #[arg(long, env = "SANDPIPER_EVENTS_S", value_name = "S", default_value_t = 600, value_parser = value_parser!(u64).range(1..=86_400))]
    pub events_s: u64,
    /// Time for running executions to end when the service stops, milliseconds
    #[arg(long, env = "SANDPIPER_DRAIN_MS", value_name = "MS", default_value_t = 8_000, value_parser = value_parser!(u64).range(0..=600_000))]
    pub drain_ms: u64,
    /// Host that `/api/netcheck` tries to reach
    #[arg(
        long,
        env = "SANDPIPER_NETCHECK_HOST",
        value_name = "ADDRESS",
        default_value = "1.1.1.1"
    )]
    pub netcheck_host: IpAddr,
    /// Request header, set by a trusted proxy, that identifies the client [default: the peer's IP address]. Set it only
    /// if nothing but that proxy can reach this port
    #[arg(long, env = "SANDPIPER_CLIENT_HEADER", value_name = "NAME", value_parser = client_header)]
    pub client_header: Option<HeaderName>,
    /// Metrics and traces.
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
    /// Format of the log
    #[arg(
        long,
        env = "SANDPIPER_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub log_format: LogFormat,
    /// Log filter: error, warn, info, debug or trace, or per module such as `sandpiper::actors=debug`
    #[arg(
        long,
        env = "SANDPIPER_LOG",
        value_name = "FILTER",
        default_value = "info,actix_server=warn,actix_http=off",
        value_parser = parse_filter
    )]
    pub log: String,
}

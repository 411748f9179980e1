//! Every option: its flag, its environment variable, its default, its bound, and the reason for them.
//!
//! The only place that reads the environment. What is in an options struct has been checked: each value by itself as it is
//! read, and those that depend on each other by [`ServeOptions::check`] before a port is bound.

mod parts;
mod store;
mod telemetry;
mod values;

pub use store::StoreBoundOptions;
pub use telemetry::TelemetryArgs;

use crate::selftest::TIME_FACTOR_MAX;
use crate::store::Address;
use actix_web::http::header::HeaderName;
use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use sandpiper_http_kit::hosts::AllowedHost;
use sandpiper_http_kit::log::parse_filter;
use sandpiper_sandbox_client::IsolationLevel;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use values::{address, bytes, class, client_header, milliseconds, seconds, seed};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "sandpiper",
    version,
    about = "Runs JavaScript that nobody trusts, over HTTP: every execution in a process of its own.",
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
pub struct CommandLine {
    /// What to do; `serve` when nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// For `serve` without its name.
    #[command(flatten)]
    pub serve: ServeOptions,
}

/// Whether executors are kept on processors of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PinExecutors {
    /// Where this process may use as many processors as there are executors. With fewer executors than processors it would
    /// choose some of them blindly, and so would its neighbours; with more, two busy ones could share one while another idles.
    Auto,
    /// Never.
    Never,
}

/// Whether the kernel is asked to switch speculation off for job processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SpeculationOption {
    /// Wherever the kernel grants it.
    Auto,
    /// Never.
    Off,
}

/// What to do.
#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant)] // one of them exists, once, on the stack of `main`
pub enum Command {
    /// Serve the API (the default)
    Serve(ServeOptions),
    /// Run one script behind the same walls and print its execution as JSON; exit status 0 means that it succeeded
    Run(RunOptions),
    /// Try every wall and say how it stands; exit status 1 means that isolation is below the minimum
    Doctor(WallOptions),
    /// Run scripts that mean harm against these walls, or against a deployment, and say how each class of them ended;
    /// exit status 1 means that one did not end as it must
    Selftest(SelftestOptions),
    /// Print the description of the API, OpenAPI 3.1
    Openapi(OpenapiOptions),
    /// Ask the service that runs here whether it takes work; exit status 1 means that it does not, or does not answer
    Health(HealthOptions),
    /// Copy the database of jobs while a service uses it: SQLite alone, for Postgres there is pg_dump
    Backup(BackupOptions),
}

/// For `backup`.
#[derive(Debug, Args)]
pub struct BackupOptions {
    /// The copy: a new file; `-` writes it to standard output
    pub file: PathBuf,
    /// What to copy, as the service has it: sqlite:PATH
    #[arg(
        long,
        env = "SANDPIPER_STORE",
        value_name = "STORE",
        default_value = "sqlite:data/sandpiper.db",
        hide_env_values = true
    )]
    pub store: StoreChoice,
}

/// For `health`: the options of the service that is asked.
#[derive(Debug, Args)]
pub struct HealthOptions {
    /// Address that the service listens on
    #[arg(long, env = "HOST", default_value = "127.0.0.1", value_parser = address)]
    pub host: IpAddr,
    /// Its port
    #[arg(long, env = "PORT", default_value_t = 8081, value_parser = value_parser!(u16).range(1..))]
    pub port: u16,
    /// Longest that it may take to answer, milliseconds
    #[arg(long, env = "SANDPIPER_HEALTH_TIMEOUT_MS", value_name = "MS", default_value_t = 2_000, value_parser = milliseconds(1, 60_000))]
    pub timeout_ms: u64,
}

impl HealthOptions {
    /// Where it is asked: what listens everywhere is asked at home.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        let host = match self.host {
            IpAddr::V4(host) if host.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(host) if host.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            host => host,
        };
        SocketAddr::new(host, self.port)
    }
}

/// For `openapi`.
#[derive(Debug, Args)]
pub struct OpenapiOptions {
    /// What a script may use.
    #[command(flatten)]
    pub limits: LimitOptions,
    /// What a client may ask for.
    #[command(flatten)]
    pub ceilings: CeilingOptions,
}

/// For `selftest`.
#[derive(Debug, Args)]
pub struct SelftestOptions {
    /// The deployment to try, as http://127.0.0.1:8081; without it, walls of its own
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Only the scripts of this class
    #[arg(long, value_name = "NAME", value_parser = class)]
    pub class: Option<String>,
    /// How many times slower than a quiet machine this one may be: scripts get so many times as long
    #[arg(long, value_name = "TIMES", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(TIME_FACTOR_MAX)))]
    pub time_factor: u32,
    /// The walls.
    #[command(flatten)]
    pub walls: WallOptions,
}

/// For `run`.
#[derive(Debug, Args)]
pub struct RunOptions {
    /// The script; `-` reads it from standard input
    pub file: PathBuf,
    /// JSON for the global `input`
    #[arg(long, value_name = "JSON")]
    pub input: Option<String>,
    /// Makes `Math.random` and the clock repeatable
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true, value_parser = seed)]
    pub seed: Option<u64>,
    /// The walls.
    #[command(flatten)]
    pub walls: WallOptions,
    /// What the script may use.
    #[command(flatten)]
    pub limits: LimitOptions,
}

/// How the walls are to stand.
#[derive(Debug, Clone, Args)]
pub struct WallOptions {
    /// Refuse to start below this isolation level: L2, L3 or L4
    #[arg(long, env = "SANDPIPER_MIN_ISOLATION", value_name = "LEVEL", default_value_t = IsolationLevel::L2)]
    pub min_isolation: IsolationLevel,
    /// Do not try walls above this isolation level
    #[arg(long, env = "SANDPIPER_MAX_ISOLATION", value_name = "LEVEL", default_value_t = IsolationLevel::L4)]
    pub max_isolation: IsolationLevel,
    /// Switch speculation past stores and indirect branches off for job processes: `auto` where the kernel grants it, or `off`
    #[arg(
        long,
        env = "SANDPIPER_SPECULATION_CONTROL",
        value_name = "WHEN",
        default_value = "auto"
    )]
    pub speculation_control: SpeculationOption,
    /// From a script's `timeoutMs` to SIGKILL, milliseconds: the time the polite interrupt has
    #[arg(long, env = "SANDPIPER_KILL_GRACE_MS", value_name = "MS", default_value_t = 250, value_parser = milliseconds(0, 10_000))]
    pub kill_grace_ms: u64,
    /// Executions after which a zygote is replaced: its children share one address layout
    #[arg(long, env = "SANDPIPER_ZYGOTE_EXECUTIONS", value_name = "COUNT", default_value_t = 1_000, value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub zygote_executions: u32,
}

/// What one execution gets that asks for nothing.
#[derive(Debug, Clone, Args)]
pub struct LimitOptions {
    /// Wall time of one execution, milliseconds
    #[arg(long, env = "SANDPIPER_TIMEOUT_MS", value_name = "MS", default_value_t = 2_000, value_parser = value_parser!(u32).range(1..=MAX_TIMEOUT_MS))]
    pub timeout_ms: u32,
    /// JavaScript heap of one execution, bytes
    #[arg(long, env = "SANDPIPER_MEMORY_BYTES", value_name = "BYTES", default_value = "32MiB", value_parser = bytes(MIB, 4 * GIB))]
    pub memory_bytes: u64,
    /// Result and log of one execution together, bytes of JSON
    #[arg(long, env = "SANDPIPER_OUTPUT_BYTES", value_name = "BYTES", default_value = "1MiB", value_parser = bytes(256, 64 * MIB))]
    pub output_bytes: u64,
}

/// The most a client may ask for.
#[derive(Debug, Clone, Args)]
pub struct CeilingOptions {
    /// The most a client may ask for as `timeoutMs`
    #[arg(long, env = "SANDPIPER_TIMEOUT_MS_CEILING", value_name = "MS", default_value_t = 30_000, value_parser = value_parser!(u32).range(1..=MAX_TIMEOUT_MS))]
    pub timeout_ms_ceiling: u32,
    /// The most a client may ask for as `memoryBytes`
    #[arg(long, env = "SANDPIPER_MEMORY_BYTES_CEILING", value_name = "BYTES", default_value = "256MiB", value_parser = bytes(MIB, 4 * GIB))]
    pub memory_bytes_ceiling: u64,
    /// The most a client may ask for as `outputBytes`
    #[arg(long, env = "SANDPIPER_OUTPUT_BYTES_CEILING", value_name = "BYTES", default_value = "8MiB", value_parser = bytes(256, 64 * MIB))]
    pub output_bytes_ceiling: u64,
}

/// A day: nothing that somebody waits for takes longer.
const MAX_TIMEOUT_MS: i64 = 24 * 60 * 60 * 1000;

/// For `serve`.
#[derive(Debug, Clone, Args)]
pub struct ServeOptions {
    /// Address to listen on
    #[arg(long, env = "HOST", default_value = "127.0.0.1", value_parser = address)]
    pub host: IpAddr,
    /// Port to listen on; 0 takes a free one
    #[arg(long, env = "PORT", default_value_t = 8081)]
    pub port: u16,
    /// Host names that requests may be for, beside localhost and IP addresses, with commas between; * allows every host, for
    /// a port that no browser reaches
    #[arg(
        long,
        env = "SANDPIPER_ALLOWED_HOSTS",
        value_name = "HOST",
        value_delimiter = ','
    )]
    pub allowed_hosts: Vec<AllowedHost>,
    /// Where jobs are remembered: sqlite:PATH, postgres://USER@HOST/DATABASE, or memory
    #[arg(
        long,
        env = "SANDPIPER_STORE",
        value_name = "STORE",
        default_value = "sqlite:data/sandpiper.db",
        hide_env_values = true
    )]
    pub store: StoreChoice,
    /// Connections to Postgres, opened at the start and kept
    #[arg(long, env = "SANDPIPER_STORE_CONNECTIONS", value_name = "COUNT", default_value_t = 10, value_parser = value_parser!(u16).range(4..=200))]
    pub store_connections: u16,
    /// Most jobs that a node takes from the database for each executor: one runs, and the rest, if they are short, are at
    /// hand
    #[arg(long, env = "SANDPIPER_CLAIMS_PER_EXECUTOR", value_name = "COUNT", default_value_t = 16, value_parser = value_parser!(u16).range(1..=1_000))]
    pub claims_per_executor: u16,
    /// Most jobs that one client may have queued or running; in a database, those of all nodes together
    #[arg(long, env = "SANDPIPER_CLIENT_JOBS_MAX", value_name = "COUNT", default_value_t = 100_000, value_parser = value_parser!(u32).range(1..=10_000_000))]
    pub client_jobs_max: u32,
    /// What jobs may take in the store.
    #[command(flatten)]
    pub store_bounds: StoreBoundOptions,
    /// Most jobs of one client that run at a time on this node [default: as many as there are executors]
    #[arg(long, env = "SANDPIPER_CLIENT_RUNNING_MAX", value_name = "COUNT", value_parser = value_parser!(u16).range(1..=256))]
    pub client_running_max: Option<u16>,
    /// Executions at one time [default: one a core]
    #[arg(long, env = "SANDPIPER_EXECUTORS", value_name = "COUNT", value_parser = value_parser!(u16).range(1..=256))]
    pub executors: Option<u16>,
    /// Whether each executor stays on a processor of its own: `auto` where there is exactly one for each, `never`
    #[arg(
        long,
        env = "SANDPIPER_PIN_EXECUTORS",
        value_name = "WHEN",
        default_value = "auto"
    )]
    pub pin_executors: PinExecutors,
    /// Most reserve executors: while others hold all executors, work of a client that has none runs on one of these; 0: none
    /// [default: as many as there are executors, from 2 to 4]
    #[arg(long, env = "SANDPIPER_RESERVE_EXECUTORS", value_name = "COUNT", value_parser = value_parser!(u16).range(0..=256))]
    pub reserve_executors: Option<u16>,
    /// How long such work waits, and no executor comes free, before it is given to a reserve executor, milliseconds
    #[arg(long, env = "SANDPIPER_RESERVE_AFTER_MS", value_name = "MS", default_value_t = 10, value_parser = milliseconds(1, 60_000))]
    pub reserve_after_ms: u64,
    /// How long a reserve executor that has nothing to run keeps its sandbox, seconds
    #[arg(long, env = "SANDPIPER_RESERVE_IDLE_S", value_name = "S", default_value_t = 60, value_parser = seconds(1, 86_400))]
    pub reserve_idle_s: u64,
    /// Folder of the example scripts
    #[arg(
        long,
        env = "SANDPIPER_SCRIPTS_DIR",
        value_name = "DIR",
        default_value = "example-scripts"
    )]
    pub scripts_dir: PathBuf,
    /// Folder in which the ingress puts the scripts that requests only point at. Set it only where nobody but that
    /// ingress can reach this port
    #[arg(long, env = "SANDPIPER_SOURCES_DIR", value_name = "DIR")]
    pub sources_dir: Option<PathBuf>,
    /// The walls.
    #[command(flatten)]
    pub walls: WallOptions,
    /// What a script may use.
    #[command(flatten)]
    pub limits: LimitOptions,
    /// What a client may ask for.
    #[command(flatten)]
    pub ceilings: CeilingOptions,
    /// Longest request body, bytes
    #[arg(long, env = "SANDPIPER_BODY_BYTES", value_name = "BYTES", default_value = "2MiB", value_parser = bytes(KIB, 64 * MIB))]
    pub body_bytes: u64,
    /// Longest that a client may take to send its body, milliseconds
    #[arg(long, env = "SANDPIPER_BODY_TIMEOUT_MS", value_name = "MS", default_value_t = 10_000, value_parser = milliseconds(100, 600_000))]
    pub body_timeout_ms: u64,
    /// Longest that a client may take to send its request head, milliseconds
    // The server's clock for it may be half a second slow: a shorter time would refuse clients that are not slow at all.
    #[arg(long, env = "SANDPIPER_HEADER_TIMEOUT_MS", value_name = "MS", default_value_t = 5_000, value_parser = milliseconds(1_000, 600_000))]
    pub header_timeout_ms: u64,
    /// How long an idle connection is kept, seconds
    #[arg(long, env = "SANDPIPER_KEEP_ALIVE_S", value_name = "S", default_value_t = 75, value_parser = seconds(1, 3_600))]
    pub keep_alive_s: u64,
    /// Longest that a client may take nothing of what it is sent, milliseconds
    #[arg(long, env = "SANDPIPER_WRITE_TIMEOUT_MS", value_name = "MS", default_value_t = 30_000, value_parser = milliseconds(100, 3_600_000))]
    pub write_timeout_ms: u64,
    /// Most open connections
    #[arg(long, env = "SANDPIPER_CONNECTIONS_MAX", value_name = "COUNT", default_value_t = 10_000, value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub connections_max: u32,
    /// Threads that speak HTTP [default: one for every four cores]
    #[arg(long, env = "SANDPIPER_HTTP_WORKERS", value_name = "COUNT", value_parser = value_parser!(u16).range(1..=256))]
    pub http_workers: Option<u16>,
    /// Most interactive jobs that may wait
    #[arg(long, env = "SANDPIPER_QUEUE_INTERACTIVE", value_name = "COUNT", default_value_t = 1_000, value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub queue_interactive: u32,
    /// Most background jobs that may wait
    #[arg(long, env = "SANDPIPER_QUEUE_BACKGROUND", value_name = "COUNT", default_value_t = 10_000, value_parser = value_parser!(u32).range(1..=10_000_000))]
    pub queue_background: u32,
    /// Most bytes of waiting scripts, both lanes together
    #[arg(long, env = "SANDPIPER_QUEUE_BYTES", value_name = "BYTES", default_value = "256MiB", value_parser = bytes(MIB, 64 * GIB))]
    pub queue_bytes: u64,
    /// Longest that `POST /api/execute` waits for an executor, milliseconds
    #[arg(long, env = "SANDPIPER_QUEUE_WAIT_MS", value_name = "MS", default_value_t = 30_000, value_parser = milliseconds(1, 3_600_000))]
    pub queue_wait_ms: u64,
    /// Interactive jobs taken for each background job while both wait
    #[arg(long, env = "SANDPIPER_INTERACTIVE_WEIGHT", value_name = "COUNT", default_value_t = 4, value_parser = value_parser!(u32).range(1..=1_000))]
    pub interactive_weight: u32,
    /// Times a job is tried when the service, not its script, failed
    #[arg(long, env = "SANDPIPER_ATTEMPTS_MAX", value_name = "COUNT", default_value_t = 3, value_parser = value_parser!(u32).range(1..=100))]
    pub attempts_max: u32,
    /// How long a result stays readable, seconds
    #[arg(long, env = "SANDPIPER_RESULT_TTL_S", value_name = "S", default_value_t = 900, value_parser = seconds(1, 2_592_000))]
    pub result_ttl_s: u64,
    /// Most jobs that the memory store holds; a database has no such bound
    #[arg(long, env = "SANDPIPER_STORE_JOBS_MAX", value_name = "COUNT", default_value_t = 100_000, value_parser = value_parser!(u32).range(1..=100_000_000))]
    pub store_jobs_max: u32,
    /// Most bytes that the memory store holds
    #[arg(long, env = "SANDPIPER_STORE_BYTES", value_name = "BYTES", default_value = "512MiB", value_parser = bytes(MIB, 1024 * GIB))]
    pub store_bytes: u64,
    /// Most results of `POST /api/execute` that stay readable; the oldest goes first
    #[arg(long, env = "SANDPIPER_RECENT_MAX", value_name = "COUNT", default_value_t = 10_000, value_parser = value_parser!(u32).range(0..=10_000_000))]
    pub recent_max: u32,
    /// Most bytes of such results
    #[arg(long, env = "SANDPIPER_RECENT_BYTES", value_name = "BYTES", default_value = "64MiB", value_parser = bytes(0, 64 * GIB))]
    pub recent_bytes: u64,
    /// Longest that `Prefer: wait` is honoured, seconds
    #[arg(long, env = "SANDPIPER_WAIT_MAX_S", value_name = "S", default_value_t = 60, value_parser = seconds(0, 3_600))]
    pub wait_max_s: u64,
    /// Most streams of events that are open
    #[arg(long, env = "SANDPIPER_EVENTS_MAX", value_name = "COUNT", default_value_t = 1_000, value_parser = value_parser!(u32).range(1..=100_000))]
    pub events_max: u32,
    /// Most of them that are one client's
    #[arg(long, env = "SANDPIPER_EVENTS_CLIENT_MAX", value_name = "COUNT", default_value_t = 50, value_parser = value_parser!(u32).range(1..=100_000))]
    pub events_client_max: u32,
    /// How long a stream of events lasts at most, seconds; whoever follows it comes again
    #[arg(long, env = "SANDPIPER_EVENTS_S", value_name = "S", default_value_t = 600, value_parser = seconds(1, 86_400))]
    pub events_s: u64,
    /// How long running executions get to end when the service stops, milliseconds
    #[arg(long, env = "SANDPIPER_DRAIN_MS", value_name = "MS", default_value_t = 8_000, value_parser = milliseconds(0, 600_000))]
    pub drain_ms: u64,
    /// The host that `/api/netcheck` tries to reach
    #[arg(
        long,
        env = "SANDPIPER_NETCHECK_HOST",
        value_name = "ADDRESS",
        default_value = "1.1.1.1"
    )]
    pub netcheck_host: IpAddr,
    /// Header by which a trusted front tells clients apart; without it, the peer's address does. Set it only where
    /// nobody else can reach this port
    #[arg(long, env = "SANDPIPER_CLIENT_HEADER", value_name = "NAME", value_parser = client_header)]
    pub client_header: Option<HeaderName>,
    /// What is told of the work.
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
    /// How the log is written
    #[arg(
        long,
        env = "SANDPIPER_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub log_format: LogFormat,
    /// What is logged: error, warn, info, debug or trace, also by module as `sandpiper::actors=debug`
    #[arg(
        long,
        env = "SANDPIPER_LOG",
        value_name = "FILTER",
        default_value = "info,actix_server=warn,actix_http=off",
        value_parser = parse_filter
    )]
    pub log: String,
}

/// Where jobs are remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreChoice {
    /// In this process; jobs end with it
    Memory,
    /// In a database
    Durable(Address),
}

impl FromStr for StoreChoice {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "memory" {
            return Ok(Self::Memory);
        }
        if let Some(path) = text.strip_prefix("sqlite:").filter(|path| !path.is_empty()) {
            return Ok(Self::Durable(Address::Sqlite(path.into())));
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self::Durable(Address::Postgres(text.to_owned())));
        }
        Err("give sqlite:PATH, postgres://USER@HOST/DATABASE, or memory")
    }
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line for people
    Text,
    /// A JSON object a line
    Json,
}

/// Two options do not fit together.
#[derive(Debug, thiserror::Error)]
#[error("{first} and {second} do not fit together: {reason}")]
pub struct Unfit {
    first: &'static str,
    second: &'static str,
    reason: String,
}

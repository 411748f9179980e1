//! The options: each with its flag, environment variable, default, range, and the reasons for them.
//!
//! This module is the only one that reads the environment. Values in an options struct are valid: each value is checked
//! when it is parsed, and combinations by [`ServeOptions::check`] before a port is bound.

mod data_keys;
mod isolation;
mod key_file;
mod limits;
mod parts;
mod replay_key;
mod serve;
mod store;
mod telemetry;
mod values;

pub use data_keys::{DataKeyError, DataKeyOptions};
pub use isolation::{IsolationOptions, SpeculationOption};
pub use key_file::KeyFileError;
pub use limits::{CeilingOptions, LimitOptions};
pub use replay_key::ReplayOptions;
pub use serve::{PinExecutors, ServeOptions};
pub use store::{StoreBoundOptions, StoreChoice};
pub use telemetry::TelemetryArgs;

use crate::selftest::TIME_FACTOR_MAX;
use clap::{Args, Parser, Subcommand, value_parser};
use sandpiper_domain::{ApiKeyId, Language, ScriptKind, Tenant};
use sandpiper_http_kit::local_address;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use values::{address, class, kind, language, seed};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "sandpiper",
    version,
    about = "Runs untrusted JavaScript over HTTP, each execution in a process of its own.",
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
pub struct CommandLine {
    /// The command; `serve` if none is given.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The options of `serve` when the command is left out.
    #[command(flatten)]
    pub serve: ServeOptions,
}

/// The commands.
#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant)] // one of them exists, once, on the stack of `main`
pub enum Command {
    /// Serve the API (the default)
    Serve(ServeOptions),
    /// Run one script in the same sandbox and print its execution as JSON; exit status 0 means that the script
    /// succeeded
    Run(RunOptions),
    /// Test every isolation layer and report its status; exit status 1 means that isolation is below the minimum
    Doctor(IsolationOptions),
    /// Run hostile scripts against the local sandbox or a deployment, and report how each class of them ended; exit
    /// status 1 means that a script did not end as expected
    Selftest(SelftestOptions),
    /// Print the description of the API (OpenAPI 3.1)
    Openapi(OpenapiOptions),
    /// Ask the service on this machine whether it accepts work; exit status 1 means that it does not, or does not
    /// respond
    Health(HealthOptions),
    /// Print a new key for --data-keys-file, which encrypts the contents of jobs in a database, or for --replay-key-file
    DataKey,
    /// Change tenants of the service on this machine
    #[command(subcommand)]
    Tenants(TenantsCommand),
    /// Copy the database of jobs while a service uses it (SQLite only; for Postgres use pg_dump)
    Backup(BackupOptions),
}

/// The subcommands of `tenants`.
#[derive(Debug, Subcommand)]
pub enum TenantsCommand {
    /// Give the jobs that a key submitted for one tenant to another tenant; `sandpiper-ingress key assign` does this for
    /// the key that it assigns
    Assign(AssignOptions),
    /// Stop the jobs of a tenant, delete everything that is stored about them, and accept its keys no longer
    Purge(TenantOptions),
    /// Accept the keys of a purged tenant again
    Restore(TenantOptions),
}

/// The options of `tenants purge` and `tenants restore`.
#[derive(Debug, Args)]
pub struct TenantOptions {
    /// Name of the tenant
    pub tenant: Tenant,
    #[command(flatten)]
    pub service: RunningService,
}

/// The options of `tenants assign`.
#[derive(Debug, Args)]
pub struct AssignOptions {
    /// ID of the key, 16 hexadecimal digits
    pub key: ApiKeyId,
    /// Tenant that the jobs belong to; `key:` and the ID for a key that had none
    #[arg(long, value_name = "TENANT")]
    pub from: Tenant,
    /// Tenant that the jobs belong to afterwards
    #[arg(long, value_name = "TENANT")]
    pub to: Tenant,
    #[command(flatten)]
    pub service: RunningService,
}

/// The running service that a command changes.
#[derive(Debug, Args)]
pub struct RunningService {
    /// Address that the service listens on
    #[arg(long, env = "HOST", default_value = "127.0.0.1", value_parser = address)]
    pub host: IpAddr,
    /// Port that the service listens on
    #[arg(long, env = "PORT", default_value_t = 8081, value_parser = value_parser!(u16).range(1..))]
    pub port: u16,
}

/// The options of `backup`.
#[derive(Debug, Args)]
pub struct BackupOptions {
    /// File to create; `-` writes to standard output
    pub file: PathBuf,
    /// Database to copy, as given to the service: sqlite:PATH
    #[arg(
        long,
        env = "SANDPIPER_STORE",
        value_name = "STORE",
        default_value = "sqlite:data/sandpiper.db",
        hide_env_values = true
    )]
    pub store: StoreChoice,
}

/// The options of `health`, which are those of the service to ask.
#[derive(Debug, Args)]
pub struct HealthOptions {
    /// Address that the service listens on
    #[arg(long, env = "HOST", default_value = "127.0.0.1", value_parser = address)]
    pub host: IpAddr,
    /// Port that the service listens on
    #[arg(long, env = "PORT", default_value_t = 8081, value_parser = value_parser!(u16).range(1..))]
    pub port: u16,
    /// Maximum time for the response, milliseconds
    #[arg(long, env = "SANDPIPER_HEALTH_TIMEOUT_MS", value_name = "MS", default_value_t = 2_000, value_parser = value_parser!(u64).range(1..=60_000))]
    pub timeout_ms: u64,
}

impl HealthOptions {
    /// Returns the address to connect to. A service that listens on all addresses is reached at the loopback address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        local_address(self.host, self.port)
    }
}

/// The options of `openapi`.
#[derive(Debug, Args)]
pub struct OpenapiOptions {
    /// Default limits.
    #[command(flatten)]
    pub limits: LimitOptions,
    /// Maximum limits.
    #[command(flatten)]
    pub ceilings: CeilingOptions,
}

/// The options of `selftest`.
#[derive(Debug, Args)]
pub struct SelftestOptions {
    /// Deployment to test, such as http://127.0.0.1:8081 [default: a sandbox of this process]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Run only the scripts of this class
    #[arg(long, value_name = "NAME", value_parser = class)]
    pub class: Option<String>,
    /// Factor by which this machine may be slower than a quiet one; time limits are multiplied by it
    #[arg(long, value_name = "TIMES", default_value_t = 1, value_parser = value_parser!(u32).range(1..=i64::from(TIME_FACTOR_MAX)))]
    pub time_factor: u32,
    /// The sandbox.
    #[command(flatten)]
    pub isolation: IsolationOptions,
}

/// The options of `run`.
#[derive(Debug, Args)]
pub struct RunOptions {
    /// File of the script; `-` reads standard input
    pub file: PathBuf,
    /// Kind of script: `script`, `function` (the body of an async function) or `module`; by default `module` for a file
    /// that ends in `.mjs` or `.mts`, and else `script`
    #[arg(long, value_name = "KIND", value_parser = kind)]
    pub kind: Option<ScriptKind>,
    /// Language of files whose names do not end in `.js`, `.mjs`, `.ts` or `.mts`: `javascript` or `typescript`
    #[arg(long, value_name = "LANGUAGE", value_parser = language, default_value = "javascript")]
    pub language: Language,
    /// File of a module that can be imported; without NAME its name is `./` and the file's. May be repeated
    #[arg(long = "module", value_name = "[NAME=]FILE")]
    pub modules: Vec<String>,
    /// File of a script that runs first
    #[arg(long, value_name = "FILE")]
    pub prelude: Option<PathBuf>,
    /// JSON for the global `input`
    #[arg(long, value_name = "JSON")]
    pub input: Option<String>,
    /// Seed that makes `Math.random` and the clock repeatable
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true, value_parser = seed)]
    pub seed: Option<u64>,
    /// The sandbox.
    #[command(flatten)]
    pub isolation: IsolationOptions,
    /// The script's limits.
    #[command(flatten)]
    pub limits: LimitOptions,
}

#[derive(Debug, thiserror::Error)]
#[error("{first} conflicts with {second}: {reason}")]
pub struct OptionConflict {
    first: &'static str,
    second: &'static str,
    reason: String,
}

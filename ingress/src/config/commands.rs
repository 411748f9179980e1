//! The command line: the subcommands, and the options of all of them except `serve`.

use super::ServeOptions;
use super::values::{address, range};
use crate::keys::{NewKey, Scope};
use crate::limits::Quota;
use clap::{Args, Parser, Subcommand, value_parser};
use sandpiper_http_kit::local_address;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "sandpiper-ingress",
    version,
    about = "The API gateway of Sandpiper: rate limits, API keys, web page, and a reverse proxy to the service.",
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
pub struct CommandLine {
    /// The subcommand; `serve` when absent.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The options of `serve`, for a command line without a subcommand.
    #[command(flatten)]
    pub serve: ServeOptions,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant)] // one of them exists, once, on the stack of `main`
pub enum Command {
    /// Run the ingress (the default)
    Serve(ServeOptions),
    /// Manage API keys
    #[command(subcommand)]
    Key(KeyCommand),
    /// Check that the ingress on this machine and the service behind it accept work; exit status 1 if not
    Health(HealthOptions),
}

/// The options of `health`.
#[derive(Debug, Args)]
pub struct HealthOptions {
    /// Address that the ingress listens on
    #[arg(long, env = "HOST", value_parser = address, default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Port that the ingress listens on
    #[arg(long, env = "PORT", default_value_t = 8080, value_parser = value_parser!(u16).range(1..))]
    pub port: u16,
    /// Maximum time for the response, milliseconds
    #[arg(long, env = "SANDPIPER_INGRESS_HEALTH_TIMEOUT_MS", value_name = "MS", value_parser = range(1, 60_000), default_value = "3000")]
    pub timeout_ms: u64,
}

impl HealthOptions {
    /// Returns the address to query: loopback for an ingress that listens on all addresses.
    pub fn address(&self) -> SocketAddr {
        local_address(self.host, self.port)
    }
}

/// The subcommands of `key`.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Create a key, add it to the file, and print it; the key cannot be shown again
    New(NewKeyOptions),
}

/// The options of `key new`.
#[derive(Debug, Args)]
pub struct NewKeyOptions {
    /// The keys file; created if it is missing
    #[arg(
        long,
        env = "SANDPIPER_INGRESS_KEYS_FILE",
        value_name = "FILE",
        default_value = "keys.json"
    )]
    pub keys_file: PathBuf,
    /// Name of the key's holder, for people who read the file
    #[arg(long, value_name = "TEXT")]
    pub name: String,
    /// Scopes of the key
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "execute,jobs,read"
    )]
    pub scopes: Vec<Scope>,
    /// Rate limit of the key for running code, such as 20/s:40
    #[arg(long, value_name = "QUOTA")]
    pub run_quota: Option<Quota>,
    /// Rate limit of the key for every other request
    #[arg(long, value_name = "QUOTA")]
    pub read_quota: Option<Quota>,
    /// Maximum open requests of the key
    #[arg(long, value_name = "COUNT", value_parser = value_parser!(u32).range(1..))]
    pub requests_max: Option<u32>,
}

impl NewKeyOptions {
    pub fn new_key(&self) -> NewKey {
        NewKey {
            name: self.name.clone(),
            scopes: self.scopes.clone(),
            run_quota: self.run_quota,
            read_quota: self.read_quota,
            requests_max: self.requests_max,
        }
    }
}

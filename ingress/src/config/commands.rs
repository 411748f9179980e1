//! The command line: what the program can be told to do, and the options of everything but `serve`.

use super::ServeOptions;
use super::values::{address, range};
use crate::keys::{NewKey, Scope};
use crate::limits::Quota;
use clap::{Args, Parser, Subcommand, value_parser};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "sandpiper-ingress",
    version,
    about = "The door of Sandpiper: rate limits, keys, pages, and a proxy to the service.",
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

/// What to do.
#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant)] // one of them exists, once, on the stack of `main`
pub enum Command {
    /// Let requests through to the service (the default)
    Serve(ServeOptions),
    /// Manage API keys
    #[command(subcommand)]
    Key(KeyCommand),
    /// Ask the ingress that runs here whether it and the service behind it take work; exit status 1 means that they do not
    Health(HealthOptions),
}

/// For `health`: the options of the ingress that is asked.
#[derive(Debug, Args)]
pub struct HealthOptions {
    /// Address that the ingress listens on
    #[arg(long, env = "HOST", value_parser = address, default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Its port
    #[arg(long, env = "PORT", default_value_t = 8080, value_parser = value_parser!(u16).range(1..))]
    pub port: u16,
    /// Longest that it may take to answer, milliseconds
    #[arg(long, env = "SANDPIPER_INGRESS_HEALTH_TIMEOUT_MS", value_name = "MS", value_parser = range(1, 60_000), default_value = "3000")]
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

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key, add it to the file, and print it; it can be seen this once
    New(NewKeyOptions),
}

/// For `key new`.
#[derive(Debug, Args)]
pub struct NewKeyOptions {
    /// The file of keys; made if it is missing
    #[arg(
        long,
        env = "SANDPIPER_INGRESS_KEYS_FILE",
        value_name = "FILE",
        default_value = "keys.json"
    )]
    pub keys_file: PathBuf,
    /// Whose key it is, for people who read the file
    #[arg(long, value_name = "TEXT")]
    pub name: String,
    /// What it may do
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "execute,jobs,read"
    )]
    pub scopes: Vec<Scope>,
    /// Its own quota for running code, as 20/s:40
    #[arg(long, value_name = "QUOTA")]
    pub run_quota: Option<Quota>,
    /// Its own quota for the rest
    #[arg(long, value_name = "QUOTA")]
    pub read_quota: Option<Quota>,
    /// Requests that it may have open at a time
    #[arg(long, value_name = "COUNT", value_parser = value_parser!(u32).range(1..))]
    pub requests_max: Option<u32>,
}

impl NewKeyOptions {
    /// The key that is to be made.
    #[must_use]
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

//! The command line: the subcommands, and the options of `health`.

use super::values::{address, range};
use super::{KeyCommand, ServeOptions};
use clap::{Args, Parser, Subcommand, value_parser};
use sandpiper_http_kit::local_address;
use std::net::{IpAddr, SocketAddr};

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

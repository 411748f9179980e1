//! The options of metrics and traces.

use super::values::{address, endpoint, ratio};
use crate::telemetry::TelemetryOptions;
use clap::{Args, value_parser};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The options of metrics and traces.
#[derive(Debug, Clone, Args)]
pub struct TelemetryArgs {
    /// Separate port for `/metrics`, which the main port then does not serve; 0 takes a free one
    #[arg(long, env = "SANDPIPER_METRICS_PORT", value_name = "PORT")]
    pub metrics_port: Option<u16>,
    /// Address of the metrics port
    #[arg(long, env = "SANDPIPER_METRICS_HOST", value_name = "HOST", default_value = "127.0.0.1", value_parser = address)]
    pub metrics_host: IpAddr,
    /// OTLP collector for traces (HTTP), such as http://127.0.0.1:4318
    #[arg(
        long,
        env = "SANDPIPER_OTLP_ENDPOINT",
        value_name = "URL",
        value_parser = endpoint,
        hide_env_values = true
    )]
    pub otlp_endpoint: Option<String>,
    /// Sampling ratio for traces that start here, 0 to 1; for incoming traces the caller's `sampled` flag is used
    #[arg(long, env = "SANDPIPER_TRACE_RATIO", value_name = "SHARE", default_value_t = 1.0, value_parser = ratio)]
    pub trace_ratio: f64,
    /// Maximum spans that wait for export; further ones are dropped and counted
    #[arg(long, env = "SANDPIPER_OTLP_QUEUE", value_name = "COUNT", default_value_t = 8_192, value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub otlp_queue: u32,
    /// Maximum time for the collector to accept a batch, milliseconds
    #[arg(long, env = "SANDPIPER_OTLP_TIMEOUT_MS", value_name = "MS", default_value_t = 5_000, value_parser = value_parser!(u64).range(1..=60_000))]
    pub otlp_timeout_ms: u64,
}

impl TelemetryArgs {
    /// Returns the address of the metrics port, if there is a separate one.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        let port = self.metrics_port?;
        Some(SocketAddr::new(self.metrics_host, port))
    }

    #[must_use]
    pub fn telemetry(&self) -> TelemetryOptions {
        TelemetryOptions {
            endpoint: self.otlp_endpoint.clone(),
            ratio: self.trace_ratio,
            queue_max: usize::try_from(self.otlp_queue).unwrap_or(usize::MAX),
            timeout: Duration::from_millis(self.otlp_timeout_ms),
        }
    }
}

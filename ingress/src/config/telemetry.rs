//! The options of metrics, traces and the audit log.

use super::values::address;
use crate::audit::AuditLog;
use clap::Args;
use std::net::{IpAddr, SocketAddr};

/// The options of metrics, traces and the audit log.
#[derive(Debug, Clone, Args)]
pub struct TelemetryOptions {
    /// Port of `/metrics`, which must not be public; 0 takes a free port; without it the ingress serves no metrics
    #[arg(long, env = "SANDPIPER_INGRESS_METRICS_PORT", value_name = "PORT")]
    pub metrics_port: Option<u16>,
    /// Address of the metrics port
    #[arg(long, env = "SANDPIPER_INGRESS_METRICS_HOST", value_name = "HOST", value_parser = address, default_value = "127.0.0.1")]
    pub metrics_host: IpAddr,
    /// File to which a line of JSON is appended for each request to the API, or - for standard output; without it there is
    /// no audit log
    #[arg(long, env = "SANDPIPER_INGRESS_AUDIT_LOG", value_name = "FILE")]
    pub audit_log: Option<AuditLog>,
    /// Sampling ratio, 0 to 1, for traces that start here
    #[arg(long, env = "SANDPIPER_TRACE_RATIO", value_name = "SHARE", value_parser = ratio, default_value = "1")]
    pub trace_ratio: f64,
}

impl TelemetryOptions {
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.metrics_host, self.metrics_port?))
    }
}

fn ratio(text: &str) -> Result<f64, String> {
    let ratio = text.parse().ok();
    ratio
        .filter(|ratio| (0.0..=1.0).contains(ratio))
        .ok_or_else(|| "give a share from 0 to 1, such as 0.1".to_owned())
}

//! The address of the service behind the ingress.

use super::OptionConflict;
use clap::Args;
use hyper::http::uri::Authority;
use std::net::IpAddr;

/// The address of the service.
#[derive(Debug, Clone, Args)]
pub struct ServiceAddress {
    /// Host of the service: an IP address or a name
    #[arg(
        long,
        env = "API_HOST",
        value_name = "HOST",
        default_value = "127.0.0.1"
    )]
    pub api_host: String,
    /// Port of the service
    #[arg(long, env = "API_PORT", value_name = "PORT", default_value_t = 8081, value_parser = clap::value_parser!(u16).range(1..))]
    pub api_port: u16,
}

impl ServiceAddress {
    pub fn authority(&self) -> Result<Authority, OptionConflict> {
        let invalid = || OptionConflict::InvalidApiHost(self.api_host.clone());
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
            .ok_or_else(invalid)
    }
}

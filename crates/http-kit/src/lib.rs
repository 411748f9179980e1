//! The parts that the service and the ingress share: the server, checks of request heads, metrics, log and signals.
//!
//! actix-http parses and writes messages. This crate adds a layer below it and a layer above it:
//!
//! - `connection` wraps each TCP stream. A connection without a request is closed at a deadline.
//! - `service` wraps the application. It records the begin of a request and the end of its response in the connection,
//!   closes connections whose next request could be misread, and sends `100 Continue` when the application reads the
//!   body.
//! - `server` builds an actix server from both layers.
//!
//! The checks read request heads and return decisions: `path` rejects ambiguous paths; `hosts`, `site` and `authority`
//! defend against DNS rebinding and cross-site request forgery. `request_id` and `trace_headers` read two headers.
//!
//! `counters` counts, `metrics` encodes counts as OpenMetrics text, and `process` adds the kernel's statistics of the
//! process. `log` starts the log, `signals` installs the handlers of SIGTERM and SIGINT, and `descriptors` raises the
//! limit of open files.
//!
//! `ingress_code` lists the codes of the ingress's error responses, and `scopes` the permissions of API keys with the
//! requests that need them. The ingress enforces both, and the service describes them.
//!
//! Handlers, keys and options belong to the callers. The crate depends on no other crate of the workspace.
#![forbid(unsafe_code)]

pub mod authority;
mod body;
mod connection;
pub mod counters;
pub mod descriptors;
mod framing;
pub mod hosts;
pub mod ingress_code;
pub mod log;
pub mod metrics;
pub mod path;
pub mod process;
pub mod request_id;
pub mod scopes;
mod server;
mod service;
pub mod signals;
pub mod site;
pub mod trace_headers;

pub use connection::late_heads;
pub use server::{ListenError, ServerOptions, listen, local_address, serve};

use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, TRANSFER_ENCODING};

/// Returns true if the request has a body without a `Content-Type`.
///
/// Browsers send such requests to any origin without a preflight, so a body without a type is never read.
pub fn lacks_content_type(headers: &HeaderMap) -> bool {
    announces_body(headers) && !headers.contains_key(CONTENT_TYPE)
}

/// Returns true if the head announces a body: any transfer coding, or a length other than zero.
fn announces_body(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING)
        || headers
            .get_all(CONTENT_LENGTH)
            .any(|length| length.as_bytes().iter().any(|byte| *byte != b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::{HeaderName, HeaderValue};

    fn head(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let lines = lines.iter().map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        lines.collect()
    }

    #[test]
    fn only_a_body_needs_a_content_type() {
        assert!(!lacks_content_type(&head(&[])));
        assert!(!lacks_content_type(&head(&[("content-length", "0")])));
        assert!(lacks_content_type(&head(&[("content-length", "1")])));
        assert!(lacks_content_type(&head(&[("content-length", "x")])));
        assert!(lacks_content_type(&head(&[(
            "transfer-encoding",
            "chunked"
        )])));
        assert!(!lacks_content_type(&head(&[
            ("content-length", "1"),
            ("content-type", "application/json")
        ])));
    }
}

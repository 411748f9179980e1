//! The HTTP parts that the service and the ingress share: the server, and checks of request heads.
//!
//! actix-http parses and writes messages. This crate adds a layer below it and a layer above it:
//!
//! - `connection` wraps each TCP stream. A connection without a request is closed at a deadline.
//! - `service` wraps the application. It records the begin of a request and the end of its response in the connection,
//!   closes connections whose next request could be misread, and sends `100 Continue` when the application reads the
//!   body.
//! - `server` builds an actix server from both layers.
//!
//! `descriptors` computes how many connections fit into the limit of open files.
//!
//! The checks read request heads and return decisions: `path` rejects ambiguous paths; `hosts`, `site` and `authority`
//! defend against DNS rebinding and cross-site request forgery. `log` parses the log filter. Other options, problems
//! and metrics belong to the callers. The crate knows no route and no key, and depends on no other crate of the
//! workspace.
#![forbid(unsafe_code)]

pub mod authority;
mod body;
mod connection;
pub mod descriptors;
mod framing;
pub mod hosts;
pub mod log;
pub mod path;
mod server;
mod service;
pub mod site;

pub use server::{ServerOptions, serve};

use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, TRANSFER_ENCODING};

/// Returns true if the request has a body without a `Content-Type`.
///
/// Browsers send such requests to any origin without a preflight, so a body without a type is never read.
#[must_use]
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

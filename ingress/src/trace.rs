//! The trace of a request, as W3C Trace Context. A valid `traceparent` is forwarded unchanged; otherwise a new trace
//! starts here.

use actix_web::http::header::{HeaderMap, HeaderValue};
use sandpiper_http_kit::trace_headers;
use uuid::Uuid;

pub(crate) struct Trace {
    /// The trace id, for the log.
    pub(crate) id: String,
    /// The `traceparent` for the service, if the trace starts here.
    started: Option<HeaderValue>,
}

impl Trace {
    /// Reads the trace from the headers, or starts one. `ratio` is the share of new traces that the service is asked to
    /// record.
    pub(crate) fn of(headers: &HeaderMap, ratio: f64) -> Self {
        if let Some(id) = trace_of(headers) {
            return Self {
                id: id.to_owned(),
                started: None,
            };
        }
        // The last 62 bits of a version 7 UUID are random.
        let id = Uuid::now_v7().simple().to_string();
        let flags = u8::from(fastrand::f64() < ratio);
        let parent = format!("00-{id}-{:016x}-{flags:02x}", fastrand::u64(1..));
        let started = HeaderValue::from_str(&parent).ok();
        Self { id, started }
    }

    /// Writes a trace that starts here into the headers.
    pub(crate) fn write(self, headers: &mut HeaderMap) {
        if let Some(parent) = self.started {
            headers.remove(trace_headers::STATE);
            headers.insert(trace_headers::PARENT, parent);
        }
    }
}

/// Returns the trace id of the headers, if they have one valid `traceparent`.
fn trace_of(headers: &HeaderMap) -> Option<&str> {
    trace_id_of(trace_headers::parent(headers)?)
}

fn trace_id_of(parent: &str) -> Option<&str> {
    let mut parts = parent.split('-');
    let (version, trace_id) = (parts.next()?, parts.next()?);
    let (span_id, flags) = (parts.next()?, parts.next()?);
    let are_hex = [(version, 2), (trace_id, 32), (span_id, 16), (flags, 2)]
        .into_iter()
        .all(|(part, digits)| part.len() == digits && part.bytes().all(is_hex));
    let is_none = |id: &str| id.bytes().all(|digit| digit == b'0');
    // A later version may add fields after the known ones.
    let is_known = version != "ff" && (version != "00" || parts.next().is_none());
    (are_hex && is_known && !is_none(trace_id) && !is_none(span_id)).then_some(trace_id)
}

fn is_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn only_a_valid_traceparent_is_forwarded() {
        let trace_id = Some("4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(trace_id_of(PARENT), trace_id);
        let later = PARENT.replacen("00", "cc", 1);
        assert_eq!(trace_id_of(&later), trace_id);
        assert_eq!(trace_id_of(&format!("{later}-more")), trace_id);
        for malformed in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473600-f067aa0ba902b7-01",
        ] {
            assert_eq!(trace_id_of(malformed), None, "{malformed}");
        }
    }
}

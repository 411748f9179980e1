//! W3C Trace Context: the position of a piece of work in the trace of a request, across services.

use std::fmt;
use std::sync::Arc;

/// Longest `tracestate` that is forwarded, bytes. The standard requires no more.
const STATE_BYTES_MAX: usize = 512;
/// Most members of `tracestate`, by the standard.
const STATE_MEMBERS_MAX: usize = 32;
const SAMPLED: u8 = 1;

/// The context of a span: its trace, its own id, the sampling decision and the `tracestate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    is_sampled: bool,
    state: Option<Arc<str>>,
}

impl TraceContext {
    /// Starts a new trace. Neither id may be zero, which the standard reserves for "none".
    pub fn new(trace_id: u128, span_id: u64, is_sampled: bool) -> Self {
        Self {
            trace_id: trace_id.max(1),
            span_id: span_id.max(1),
            is_sampled,
            state: None,
        }
    }

    /// Parses `traceparent` and `tracestate`. Returns `None` for an invalid `traceparent`, which is no error: the work
    /// then starts a trace of its own. An invalid `tracestate` is dropped.
    pub fn read(parent: &str, state: Option<&str>) -> Option<Self> {
        let mut parts = parent.split('-');
        let (version, trace_id) = (parts.next()?, parts.next()?);
        let (span_id, flags) = (parts.next()?, parts.next()?);
        let version = hex(version, 2)?;
        // A later version may append fields.
        if version == 0xff || (version == 0 && parts.next().is_some()) {
            return None;
        }
        let trace_id = hex(trace_id, 32).filter(|id| *id != 0)?;
        let span_id = hex(span_id, 16).filter(|id| *id != 0)?;
        let flags = u8::try_from(hex(flags, 2)?).ok()?;
        Some(Self {
            trace_id,
            span_id: u64::try_from(span_id).ok()?,
            is_sampled: flags & SAMPLED != 0,
            state: state.filter(|state| is_state(state)).map(Arc::from),
        })
    }

    #[must_use]
    pub fn child(&self, span_id: u64) -> Self {
        Self {
            span_id: span_id.max(1),
            ..self.clone()
        }
    }

    pub fn trace_id(&self) -> u128 {
        self.trace_id
    }

    pub fn span_id(&self) -> u64 {
        self.span_id
    }

    /// Returns whether the caller wants the trace to be recorded.
    pub fn is_sampled(&self) -> bool {
        self.is_sampled
    }

    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    pub fn trace_text(&self) -> TraceText {
        TraceText(self.trace_id)
    }
}

/// The form of `traceparent`.
impl fmt::Display for TraceContext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            trace_id, span_id, ..
        } = self;
        let flags = u8::from(self.is_sampled);
        write!(formatter, "00-{trace_id:032x}-{span_id:016x}-{flags:02x}")
    }
}

/// The id of a trace, as the 32 digits that other programs show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceText(u128);

impl fmt::Display for TraceText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

/// Parses exactly `digits` lower-case hexadecimal digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != digits || !text.bytes().all(is_hex) {
        return None;
    }
    u128::from_str_radix(text, 16).ok()
}

/// Returns whether a `tracestate` is printable, short and of few members. The members are not parsed.
fn is_state(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= STATE_BYTES_MAX
        && text.split(',').count() <= STATE_MEMBERS_MAX
        && text.contains('=')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() || byte == b' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_read_is_what_is_written() {
        let context = TraceContext::read(PARENT, Some("a=1,b=2")).unwrap();
        assert_eq!(context.to_string(), PARENT);
        assert_eq!(context.state(), Some("a=1,b=2"));
        assert!(context.is_sampled());
        let child = context.child(5);
        assert_eq!(child.trace_id(), context.trace_id());
        assert_eq!(
            child.to_string(),
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000005-01"
        );
    }

    #[test]
    fn what_the_standard_forbids_is_no_parent() {
        for malformed in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "0x-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::read(malformed, None), None, "{malformed}");
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = PARENT.replacen("00", "cc", 1);
        assert!(TraceContext::read(&later, None).is_some());
        assert!(TraceContext::read(&format!("{later}-more"), None).is_some());
    }

    #[test]
    fn a_bad_state_is_left_out_and_costs_nothing_else() {
        for state in [
            "",
            "a",
            "a=\u{e9}",
            "a=\n",
            &"a=1,".repeat(33),
            &"a".repeat(600),
        ] {
            let context = TraceContext::read(PARENT, Some(state)).unwrap();
            assert_eq!(context.state(), None, "{state}");
        }
    }
}

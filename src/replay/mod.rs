//! `replay`: the state of an execution that waits for answers, sealed for the caller who gives them.
//!
//! The service keeps nothing between the rounds of such an execution: any node with the key continues it. A caller can
//! neither read nor change the state, and cannot use it for another request or as another tenant.

mod request_parts;

pub use request_parts::RequestParts;

use crate::tool_runs::RunState;
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use sandpiper_domain::tools::{ReplayLog, ToolLimits};
use sandpiper_domain::{Limits, RequestedLimits, Tenant, Timestamp};
use sandpiper_store::{SealingKeys, Unsealed};
use serde::{Deserialize, Serialize};
use std::io::{Read as _, Write as _};
use std::time::Duration;

/// Authenticated with each state, so that another version of its form cannot be read by mistake.
const FORM: &[u8] = b"replay 3";
/// A shorter log is not compressed: that would take time in each of many short rounds.
const COMPRESSED_FROM_BYTES: usize = 16 * 1024;
/// Longest log that is decompressed. No service writes a longer one.
const LOG_BYTES_MAX: u64 = 256 << 20;

/// Seals and opens the states of executions that wait.
#[derive(Debug)]
pub struct Replays {
    keys: SealingKeys,
    /// Longest time for which a state can be continued.
    ttl: Duration,
}

/// A state that was opened.
#[derive(Debug)]
pub struct Opened {
    pub pause: Pause,
    pub log: ReplayLog,
    pub expires_at: Timestamp,
}

/// The state of an execution that waits, without its log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pause {
    /// The request, which must be the same in every round.
    pub request: RequestParts,
    /// The limits as the request names them, and as they were granted in the first round.
    pub requested_limits: RequestedLimits,
    pub limits: Limits,
    pub tenant: String,
    pub state: RunState,
}

/// The reason why a `replay` cannot be continued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    #[error("`replay` cannot be opened: {0}")]
    Sealed(#[from] Unsealed),
    #[error("`replay` is of another version of the service")]
    Unreadable,
    #[error("`replay` could be continued until {}", .at.to_rfc3339())]
    Expired { at: Timestamp },
    #[error("`replay` belongs to another tenant")]
    OtherTenant,
    #[error(
        "`{field}` is not what it was in the request that `replay` belongs to; send the same request with `replay` and `answers`"
    )]
    OtherRequest { field: &'static str },
}

/// A state as it is sealed.
#[derive(Serialize, Deserialize)]
struct Header {
    expires_at: u64,
    is_compressed: bool,
    pause: Pause,
}

impl Replays {
    #[must_use]
    pub fn new(keys: SealingKeys, ttl: Duration) -> Self {
        Self { keys, ttl }
    }

    /// Returns the longest time for which a state can be continued, seconds.
    #[must_use]
    pub fn ttl_s(&self) -> u32 {
        u32::try_from(self.ttl.as_secs()).unwrap_or(u32::MAX)
    }

    /// Seals a state and the log of its execution. Returns the sealed text, and the time until which it can be continued.
    #[must_use]
    pub fn seal(&self, pause: Pause, log: &ReplayLog) -> (String, Timestamp) {
        let wait = Duration::from_secs(pause.state.tool_limits.wait_timeout_s.into());
        let expires_at =
            Timestamp::from_unix_millis(pause.state.paused_at).plus(wait.min(self.ttl));
        let log = log.to_bytes();
        let compressed = (log.len() >= COMPRESSED_FROM_BYTES).then(|| compress(&log));
        let header = Header {
            expires_at: expires_at.as_unix_millis(),
            is_compressed: compressed.is_some(),
            pause,
        };
        // Strings and numbers: writing them to memory cannot fail.
        let header = serde_json::to_vec(&header).unwrap_or_default();
        let length = u32::try_from(header.len()).unwrap_or(u32::MAX);
        let log = compressed.unwrap_or(log);
        let bytes = [&length.to_be_bytes(), &*header, &*log].concat();
        (self.keys.seal(FORM, &bytes), expires_at)
    }

    /// Opens a sealed state. `now` must be before its expiry, and `tenant` its own.
    pub fn open(
        &self,
        sealed: &str,
        tenant: &Tenant,
        now: Timestamp,
    ) -> Result<Opened, ReplayError> {
        let bytes = self.keys.open(FORM, sealed)?;
        let (header, log) = parts(&bytes).ok_or(ReplayError::Unreadable)?;
        if header.pause.tenant != tenant.as_str() {
            return Err(ReplayError::OtherTenant);
        }
        let expires_at = Timestamp::from_unix_millis(header.expires_at);
        if expires_at <= now {
            return Err(ReplayError::Expired { at: expires_at });
        }
        let decompressed = header.is_compressed.then(|| decompress(log));
        let log = match &decompressed {
            None => log,
            Some(log) => log.as_deref().ok_or(ReplayError::Unreadable)?,
        };
        Ok(Opened {
            pause: header.pause,
            log: ReplayLog::from_bytes(log).map_err(|_| ReplayError::Unreadable)?,
            expires_at,
        })
    }
}

impl Pause {
    /// Checks that a request is the one whose execution waits. Returns the limits of the execution: the granted ones stay,
    /// also if the defaults have changed.
    pub fn check_request(
        &self,
        request: &RequestParts,
        requested_limits: &RequestedLimits,
        granted: (&Limits, &ToolLimits),
    ) -> Result<Limits, ReplayError> {
        if let Some(field) = self.request.first_difference(request) {
            return Err(ReplayError::OtherRequest { field });
        }
        let is_granted = (&self.limits, &self.state.tool_limits) == granted;
        if self.requested_limits != *requested_limits && !is_granted {
            return Err(ReplayError::OtherRequest { field: "limits" });
        }
        Ok(self.limits)
    }
}

fn parts(bytes: &[u8]) -> Option<(Header, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (header, log) = rest.split_at_checked(length)?;
    Some((serde_json::from_slice(header).ok()?, log))
}

fn compress(log: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory cannot fail.
    let written = encoder.write_all(log).and_then(|()| encoder.finish());
    written.unwrap_or_default()
}

fn decompress(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut log = Vec::new();
    let mut bounded = DeflateDecoder::new(bytes).take(LOG_BYTES_MAX);
    bounded.read_to_end(&mut log).ok()?;
    Some(log)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandpiper_domain::samples;
    use sandpiper_domain::tools::{
        Arrived, CallResult, ConsoleBytes, Record, Round, RoundEnd, RoundUsage, Seed, Unawaited,
    };
    use sandpiper_domain::{Execution, JobId, JsonText};
    use sandpiper_store::DataKeys;

    const NOW: u64 = 1_800_000_000_000;

    fn replays() -> Replays {
        let key = DataKeys::generate().unwrap();
        Replays::new(key.parse().unwrap(), Duration::from_hours(24))
    }

    fn pause() -> Pause {
        let limits = samples::limits();
        let tool_limits = ToolLimits::default_of_execute(&limits, 3_600);
        Pause {
            request: RequestParts::of(&samples::script(1), Unawaited::Offer),
            requested_limits: RequestedLimits::default(),
            limits,
            tenant: "acme".to_owned(),
            state: RunState {
                call_secret: u128::MAX - 1,
                resume_at: Some(NOW + 1),
                offered: vec![(0, NOW)],
                arrived: vec![Arrived {
                    seq: 0,
                    arrived_ms: NOW,
                    result: CallResult::Value(JsonText::parse("[1]".to_owned()).unwrap()),
                }],
                end_calls: vec![3],
                ..RunState::new(tool_limits, Unawaited::Offer, NOW)
            },
        }
    }

    /// Returns a log with one long record.
    fn long_log(bytes: usize) -> ReplayLog {
        let mut log = ReplayLog::begin("test", NOW, Seed::new([7; Seed::BYTES]));
        let text = format!("\"{}\"", "x".repeat(bytes));
        let execution: Execution = samples::success(JobId::generate(), 1);
        log.commit(&Round {
            calls: Vec::new(),
            records: vec![Record::Answer {
                seq: 0,
                at_ms: NOW,
                result: CallResult::Value(JsonText::parse(text).unwrap()),
            }],
            unobserved: Vec::new(),
            log_entries: 0,
            log_digest: 0,
            console: ConsoleBytes::default(),
            usage: RoundUsage::default(),
            end: RoundEnd::Finished(Box::new(execution)),
        });
        log
    }

    fn tenant(name: &str) -> Tenant {
        name.parse().unwrap()
    }

    #[test]
    fn a_state_is_opened_as_it_was_sealed_and_a_long_log_is_compressed() {
        let replays = replays();
        for bytes in [0, 1_000_000] {
            let log = long_log(bytes);
            let (sealed, expires_at) = replays.seal(pause(), &log);
            assert!(sealed.len() < 50_000, "{}", sealed.len());
            let now = Timestamp::from_unix_millis(NOW + 5);
            let opened = replays.open(&sealed, &tenant("acme"), now).unwrap();
            assert_eq!((opened.pause, opened.log), (pause(), log));
            assert_eq!(opened.expires_at, expires_at);
            assert_eq!(expires_at.as_unix_millis(), NOW + 3_600_000);
        }
    }

    #[test]
    fn a_state_is_of_one_tenant_and_expires() {
        let replays = replays();
        let (sealed, expires_at) = replays.seal(pause(), &long_log(1));
        let open = |tenant: &Tenant, at| replays.open(&sealed, tenant, at).map(drop);
        let soon = Timestamp::from_unix_millis(NOW);
        assert_eq!(open(&tenant("other"), soon), Err(ReplayError::OtherTenant));
        let expired = ReplayError::Expired { at: expires_at };
        assert_eq!(open(&tenant("acme"), expires_at), Err(expired));
        let cut = replays.open(&sealed[1..], &tenant("acme"), soon).map(drop);
        assert!(matches!(cut, Err(ReplayError::Sealed(_))), "{cut:?}");
    }

    #[test]
    fn granted_limits_stay_if_the_defaults_change_and_other_limits_are_another_request() {
        let pause = pause();
        let granted = (&pause.limits, &pause.state.tool_limits);
        let none = RequestedLimits::default();
        let named = RequestedLimits {
            timeout_ms: Some(u64::from(pause.limits.timeout_ms())),
            ..none
        };
        let check = |requested, granted| pause.check_request(&pause.request, requested, granted);
        assert_eq!(check(&named, granted), Ok(pause.limits));
        let others = ToolLimits {
            calls_max: 1,
            ..pause.state.tool_limits
        };
        assert_eq!(check(&none, (&pause.limits, &others)), Ok(pause.limits));
        let other = ReplayError::OtherRequest { field: "limits" };
        assert_eq!(check(&named, (&pause.limits, &others)), Err(other));
    }
}

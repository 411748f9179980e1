//! What a job process writes: length-prefixed frames of a closed set. To the executor they are hostile bytes.
//!
//! ```text
//!   u32 payload length | u8 kind | payload
//!   log    u8 console method | u32 depth | u64 Unix milliseconds | JSON array
//!   done   u32 length of the ending | ending (JSON) | result (JSON, empty unless it succeeded)
//! ```
//! Little-endian. Anything else, and anything longer than the job may say, is a broken protocol.

use crate::domain::{
    JsonText, Limits, LogEntry, LogKind, Outcome, ScriptError, Timestamp, ValueType,
};
use crate::engine::Completion;
use serde::{Deserialize, Serialize};

/// Bytes before a payload.
const HEADER_BYTES: usize = 5;
/// Bytes before the JSON of a log payload.
const LOG_PREFIX_BYTES: usize = 13;
/// Bytes before the ending of a done payload.
const DONE_PREFIX_BYTES: usize = 4;
/// Most bytes of an ending: an error's message, stack and cause, each of which the engine cuts.
const ENDING_BYTES_MAX: usize = 256 * 1024;

const LOG: u8 = 1;
const DONE: u8 = 2;

/// The order is the wire's.
const LOG_KINDS: [LogKind; 12] = [
    LogKind::Log,
    LogKind::Info,
    LogKind::Warn,
    LogKind::Error,
    LogKind::Debug,
    LogKind::Trace,
    LogKind::Dir,
    LogKind::Table,
    LogKind::Assert,
    LogKind::Count,
    LogKind::Time,
    LogKind::Group,
];

/// A [`Completion`] on the wire, without its result.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ending {
    outcome: Outcome,
    result_type: Option<ValueType>,
    error: Option<ScriptError>,
    log_dropped: u64,
    peak_memory_bytes: u64,
}

/// Writes a log frame into `buffer`, replacing what was there.
pub(super) fn encode_log(buffer: &mut Vec<u8>, kind: LogKind, depth: u32, millis: u64, data: &str) {
    let position = LOG_KINDS.iter().position(|known| *known == kind);
    begin(buffer, LOG);
    buffer.push(u8::try_from(position.unwrap_or_default()).unwrap_or_default());
    buffer.extend_from_slice(&depth.to_le_bytes());
    buffer.extend_from_slice(&millis.to_le_bytes());
    buffer.extend_from_slice(data.as_bytes());
    end(buffer);
}

/// Writes a done frame into `buffer`, replacing what was there.
pub(super) fn encode_done(buffer: &mut Vec<u8>, completion: &Completion) {
    begin(buffer, DONE);
    buffer.extend_from_slice(&[0; DONE_PREFIX_BYTES]);
    let ending = Ending {
        outcome: completion.outcome,
        result_type: completion.result_type,
        error: completion.error.clone(),
        log_dropped: completion.log_dropped,
        peak_memory_bytes: completion.peak_memory_bytes,
    };
    // An ending is made of strings and numbers: writing it to memory cannot fail. If it did, the executor would find an
    // empty ending and call it a broken protocol.
    let _ = serde_json::to_writer(&mut *buffer, &ending);
    let ending_bytes = buffer.len() - HEADER_BYTES - DONE_PREFIX_BYTES;
    buffer[HEADER_BYTES..HEADER_BYTES + DONE_PREFIX_BYTES].copy_from_slice(
        &u32::try_from(ending_bytes)
            .unwrap_or_default()
            .to_le_bytes(),
    );
    if let Some(result) = &completion.result {
        buffer.extend_from_slice(result.as_bytes());
    }
    end(buffer);
}

fn begin(buffer: &mut Vec<u8>, kind: u8) {
    buffer.clear();
    buffer.extend_from_slice(&[0, 0, 0, 0, kind]);
}

fn end(buffer: &mut [u8]) {
    let payload = u32::try_from(buffer.len() - HEADER_BYTES).unwrap_or(u32::MAX);
    buffer[..4].copy_from_slice(&payload.to_le_bytes());
}

/// A frame, checked.
#[derive(Debug)]
pub(super) enum Frame {
    Log(LogEntry),
    Done(Done),
}

/// The last word of a job process that ended by itself.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) outcome: Outcome,
    pub(super) result: Option<JsonText>,
    pub(super) result_type: Option<ValueType>,
    pub(super) error: Option<ScriptError>,
    pub(super) log_dropped: u64,
    pub(super) peak_memory_bytes: u64,
}

/// The bytes are no frame that this job may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BrokenProtocol {
    #[error("a frame of an unknown kind")]
    UnknownKind,
    #[error("a frame longer than the job may send")]
    TooLong,
    #[error("a frame that is cut short or malformed")]
    Malformed,
    #[error("text that is not JSON")]
    NotJson,
    #[error("an outcome that is not a script's to report")]
    ForeignOutcome,
}

/// Cuts a stream of hostile bytes into frames. Holds no more than one frame of the longest permitted length and what
/// one read adds to it.
#[derive(Debug, Default)]
pub(super) struct FrameReader {
    bytes: Vec<u8>,
    read: usize,
    payload_max: usize,
}

impl FrameReader {
    /// Ready for the next job process; keeps its memory unless it has grown large.
    pub(super) fn begin(&mut self, limits: &Limits) {
        const KEPT_BYTES: usize = 1 << 20;
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.read = 0;
        self.payload_max = usize::try_from(limits.output_bytes()).unwrap_or(usize::MAX)
            + DONE_PREFIX_BYTES
            + ENDING_BYTES_MAX;
    }

    /// Takes what arrived.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.read > 0 {
            self.bytes.drain(..self.read);
            self.read = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame, if one has arrived.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, BrokenProtocol> {
        let unread = &self.bytes[self.read..];
        let Some((header, rest)) = unread.split_at_checked(HEADER_BYTES) else {
            return Ok(None);
        };
        let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        let length = usize::try_from(length).map_err(|_| BrokenProtocol::TooLong)?;
        if length > self.payload_max {
            return Err(BrokenProtocol::TooLong);
        }
        let Some(payload) = rest.get(..length) else {
            return Ok(None);
        };
        let frame = match header[4] {
            LOG => Frame::Log(decode_log(payload)?),
            DONE => Frame::Done(decode_done(payload)?),
            _ => return Err(BrokenProtocol::UnknownKind),
        };
        self.read += HEADER_BYTES + length;
        Ok(Some(frame))
    }
}

fn decode_log(payload: &[u8]) -> Result<LogEntry, BrokenProtocol> {
    let (prefix, data) = payload
        .split_at_checked(LOG_PREFIX_BYTES)
        .ok_or(BrokenProtocol::Malformed)?;
    let kind = LOG_KINDS
        .get(usize::from(prefix[0]))
        .ok_or(BrokenProtocol::Malformed)?;
    let depth = u32::from_le_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
    let mut millis = [0; 8];
    millis.copy_from_slice(&prefix[5..]);
    let data = json(data)?;
    if !data.as_str().starts_with('[') {
        return Err(BrokenProtocol::Malformed);
    }
    Ok(LogEntry {
        kind: *kind,
        timestamp: Timestamp::from_unix_millis(u64::from_le_bytes(millis)),
        depth,
        data,
    })
}

fn decode_done(payload: &[u8]) -> Result<Done, BrokenProtocol> {
    let (prefix, rest) = payload
        .split_at_checked(DONE_PREFIX_BYTES)
        .ok_or(BrokenProtocol::Malformed)?;
    let ending_bytes = u32::from_le_bytes([prefix[0], prefix[1], prefix[2], prefix[3]]);
    let ending_bytes = usize::try_from(ending_bytes).map_err(|_| BrokenProtocol::TooLong)?;
    if ending_bytes > ENDING_BYTES_MAX {
        return Err(BrokenProtocol::TooLong);
    }
    let (ending, result) = rest
        .split_at_checked(ending_bytes)
        .ok_or(BrokenProtocol::Malformed)?;
    let ending: Ending = serde_json::from_slice(ending).map_err(|_| BrokenProtocol::NotJson)?;
    if matches!(ending.outcome, Outcome::Cancelled | Outcome::Crashed) {
        return Err(BrokenProtocol::ForeignOutcome);
    }
    let succeeded = ending.outcome == Outcome::Succeeded;
    if succeeded == result.is_empty() || succeeded == ending.error.is_some() {
        return Err(BrokenProtocol::Malformed);
    }
    Ok(Done {
        outcome: ending.outcome,
        result: if succeeded { Some(json(result)?) } else { None },
        result_type: ending.result_type,
        error: ending.error,
        log_dropped: ending.log_dropped,
        peak_memory_bytes: ending.peak_memory_bytes,
    })
}

fn json(bytes: &[u8]) -> Result<JsonText, BrokenProtocol> {
    let text = std::str::from_utf8(bytes).map_err(|_| BrokenProtocol::NotJson)?;
    JsonText::parse(text.to_owned()).map_err(|_| BrokenProtocol::NotJson)
}

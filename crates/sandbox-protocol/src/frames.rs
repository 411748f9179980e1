//! Frames that a job process writes: length-prefixed, of a closed set. For the executor they are hostile bytes.
//!
//! ```text
//!   u32 payload length | u8 kind | payload
//!   log    u8 console method | u32 depth | u64 Unix milliseconds | JSON array
//!   dropped  (empty: one log entry was too long to be sent)
//!   done   u32 length of the summary | summary (JSON) | result (JSON, empty unless the script succeeded)
//!   replayed  (empty: an execution with tools has reached the end of its log)
//!   round  report (JSON) of an execution with tools
//! ```
//! Numbers are little-endian. Any other bytes, and any frame longer than the job may send, break the protocol.

use super::round::RoundReport;
use sandpiper_domain::tools::ToolLimits;
use sandpiper_domain::{
    JsonText, Limits, LogEntry, LogKind, Outcome, ScriptError, Timestamp, ValueType,
};
use serde::{Deserialize, Serialize};

/// Bytes before a payload.
const HEADER_BYTES: usize = 5;
/// Bytes before the JSON of a log payload.
const LOG_PREFIX_BYTES: usize = 13;
/// Bytes before the summary of a done payload.
const DONE_PREFIX_BYTES: usize = 4;
/// Most bytes of a summary: the texts of an error, with six bytes for a character that JSON escapes. The engine cuts each
/// of them.
const SUMMARY_BYTES_MAX: usize = 512 * 1024;

const LOG: u8 = 1;
const DONE: u8 = 2;
const DROPPED: u8 = 3;
const REPLAYED: u8 = 4;
const ROUND: u8 = 5;

/// Kinds of log entries. The position of a kind is its number in a log frame.
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

/// The end of an execution, as the engine reports it. Its JSON is the summary of a done frame.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Completion {
    /// Never `Cancelled` or `Crashed`: the executor alone reports those.
    pub outcome: Outcome,
    /// JSON text of the value, if the script succeeded. It follows the summary.
    #[serde(skip)]
    pub result: Option<String>,
    pub result_type: Option<ValueType>,
    pub error: Option<ScriptError>,
    /// The hint of a script that succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Peak size of the heap, bytes.
    pub peak_memory_bytes: u64,
}

/// Writes a log frame into `buffer`, replacing its content.
pub fn encode_log(buffer: &mut Vec<u8>, kind: LogKind, depth: u32, millis: u64, data: &str) {
    let position = LOG_KINDS.iter().position(|known| *known == kind);
    begin(buffer, LOG);
    buffer.push(u8::try_from(position.unwrap_or_default()).unwrap_or_default());
    buffer.extend_from_slice(&depth.to_le_bytes());
    buffer.extend_from_slice(&millis.to_le_bytes());
    buffer.extend_from_slice(data.as_bytes());
    end(buffer);
}

/// Writes a dropped frame into `buffer`, replacing its content.
pub fn encode_dropped(buffer: &mut Vec<u8>) {
    begin(buffer, DROPPED);
}

/// Writes a done frame into `buffer`, replacing its content.
pub fn encode_done(buffer: &mut Vec<u8>, completion: &Completion) {
    begin(buffer, DONE);
    buffer.extend_from_slice(&[0; DONE_PREFIX_BYTES]);
    // A summary consists of strings and numbers, so writing it to memory cannot fail. If it failed, the executor
    // would find an empty summary and report a broken protocol.
    let _ = serde_json::to_writer(&mut *buffer, completion);
    let summary_bytes = buffer.len() - HEADER_BYTES - DONE_PREFIX_BYTES;
    buffer[HEADER_BYTES..HEADER_BYTES + DONE_PREFIX_BYTES].copy_from_slice(
        &u32::try_from(summary_bytes)
            .unwrap_or_default()
            .to_le_bytes(),
    );
    if let Some(result) = &completion.result {
        buffer.extend_from_slice(result.as_bytes());
    }
    end(buffer);
}

/// Writes a replayed frame into `buffer`, replacing its content.
pub fn encode_replayed(buffer: &mut Vec<u8>) {
    begin(buffer, REPLAYED);
}

/// Writes a round frame into `buffer`, replacing its content.
pub fn encode_round(buffer: &mut Vec<u8>, report: &RoundReport) {
    begin(buffer, ROUND);
    // As with a summary: writing to memory cannot fail.
    let _ = serde_json::to_writer(&mut *buffer, report);
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

#[derive(Debug)]
pub enum Frame {
    Log(LogEntry),
    Dropped,
    Done(Box<Done>),
    Replayed,
    Round(Box<RoundReport>),
}

#[derive(Debug)]
pub struct Done {
    pub outcome: Outcome,
    pub result: Option<JsonText>,
    pub result_type: Option<ValueType>,
    pub error: Option<ScriptError>,
    pub hint: Option<String>,
    pub peak_memory_bytes: u64,
}

impl Done {
    /// Returns the part of `outputBytes` that the result takes.
    pub fn result_bytes(&self) -> usize {
        self.result
            .as_ref()
            .map_or(0, |result| result.as_str().len())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BrokenProtocol {
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
    #[error("a round that does not follow from its log: {0}")]
    ForgedRound(&'static str),
}

/// Cuts a stream of hostile bytes into frames. Holds at most one frame of the longest permitted length and the bytes of
/// one read.
#[derive(Debug, Default)]
pub struct FrameReader {
    bytes: Vec<u8>,
    read: usize,
    payload_max: usize,
    /// Most bytes of a report; `None` for an execution without tools, which sends none.
    report_max: Option<usize>,
}

impl FrameReader {
    /// Prepares the reader for the next job process. Keeps its memory, up to one mebibyte.
    pub fn begin(&mut self, limits: &Limits, tool_limits: Option<&ToolLimits>) {
        const KEPT_BYTES: usize = 1 << 20;
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.read = 0;
        self.payload_max = usize::try_from(limits.output_bytes()).unwrap_or(usize::MAX)
            + DONE_PREFIX_BYTES
            + SUMMARY_BYTES_MAX;
        self.report_max = tool_limits.map(RoundReport::bytes_max);
    }

    pub fn push(&mut self, bytes: &[u8]) {
        if self.read > 0 {
            self.bytes.drain(..self.read);
            self.read = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns the next complete frame, or `None` until more bytes arrive.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, BrokenProtocol> {
        let unread = &self.bytes[self.read..];
        let Some((header, rest)) = unread.split_at_checked(HEADER_BYTES) else {
            return Ok(None);
        };
        let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        let length = usize::try_from(length).map_err(|_| BrokenProtocol::TooLong)?;
        let most = match (header[4], self.report_max) {
            (ROUND, Some(report_max)) => report_max,
            _ => self.payload_max,
        };
        if length > most {
            return Err(BrokenProtocol::TooLong);
        }
        let Some(payload) = rest.get(..length) else {
            return Ok(None);
        };
        let is_round = self.report_max.is_some();
        let frame = match header[4] {
            LOG => Frame::Log(decode_log(payload)?),
            DONE => Frame::Done(Box::new(decode_done(payload, is_round)?)),
            DROPPED if payload.is_empty() => Frame::Dropped,
            DROPPED => return Err(BrokenProtocol::Malformed),
            REPLAYED if is_round && payload.is_empty() => Frame::Replayed,
            REPLAYED if is_round => return Err(BrokenProtocol::Malformed),
            ROUND if is_round => Frame::Round(Box::new(decode_round(payload)?)),
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

fn decode_done(payload: &[u8], is_round: bool) -> Result<Done, BrokenProtocol> {
    let (prefix, rest) = payload
        .split_at_checked(DONE_PREFIX_BYTES)
        .ok_or(BrokenProtocol::Malformed)?;
    let summary_bytes = u32::from_le_bytes([prefix[0], prefix[1], prefix[2], prefix[3]]);
    let summary_bytes = usize::try_from(summary_bytes).map_err(|_| BrokenProtocol::TooLong)?;
    if summary_bytes > SUMMARY_BYTES_MAX {
        return Err(BrokenProtocol::TooLong);
    }
    let (summary, result) = rest
        .split_at_checked(summary_bytes)
        .ok_or(BrokenProtocol::Malformed)?;
    let summary: Completion =
        serde_json::from_slice(summary).map_err(|_| BrokenProtocol::NotJson)?;
    let is_foreign = match summary.outcome {
        Outcome::Cancelled | Outcome::Crashed => true,
        Outcome::Diverged => !is_round,
        _ => false,
    };
    if is_foreign {
        return Err(BrokenProtocol::ForeignOutcome);
    }
    let succeeded = summary.outcome == Outcome::Succeeded;
    if succeeded == result.is_empty() || succeeded == summary.error.is_some() {
        return Err(BrokenProtocol::Malformed);
    }
    Ok(Done {
        outcome: summary.outcome,
        result: if succeeded { Some(json(result)?) } else { None },
        result_type: summary.result_type,
        error: summary.error,
        hint: summary.hint,
        peak_memory_bytes: summary.peak_memory_bytes,
    })
}

fn decode_round(payload: &[u8]) -> Result<RoundReport, BrokenProtocol> {
    serde_json::from_slice(payload).map_err(|_| BrokenProtocol::NotJson)
}

fn json(bytes: &[u8]) -> Result<JsonText, BrokenProtocol> {
    let text = std::str::from_utf8(bytes).map_err(|_| BrokenProtocol::NotJson)?;
    JsonText::parse(text.to_owned()).map_err(|_| BrokenProtocol::NotJson)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::test_runner::Config;

    const OUTPUT_BYTES: u32 = 1024;

    fn limits() -> Limits {
        let ceiling = sandpiper_domain::Ceiling {
            timeout_ms: 1_000,
            memory_bytes: 1 << 20,
            output_bytes: OUTPUT_BYTES,
        };
        Limits::defaults(1_000, 1 << 20, OUTPUT_BYTES, &ceiling).unwrap()
    }

    /// Returns the frames of `bytes`, which arrive `step` at a time, up to the first violation.
    fn read(bytes: &[u8], step: usize) -> Vec<String> {
        let mut reader = FrameReader::default();
        reader.begin(&limits(), None);
        let mut seen = Vec::new();
        for chunk in bytes.chunks(step) {
            reader.push(chunk);
            loop {
                match reader.next_frame() {
                    Ok(Some(frame)) => seen.push(format!("{frame:?}")),
                    Ok(None) => break,
                    Err(broken) => {
                        seen.push(broken.to_string());
                        return seen;
                    }
                }
            }
            let most = step + HEADER_BYTES + reader.payload_max;
            assert!(
                reader.bytes.len() <= most,
                "{} bytes are held",
                reader.bytes.len()
            );
        }
        seen
    }

    /// Bytes that begin like frames, so that more than the first check is reached.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let kind = prop_oneof![Just(LOG), Just(DONE), Just(DROPPED), any::<u8>()];
        let payload = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..64),
            "[\\x00-\\x0c]{13}\\[[a-z0-9,\"{}:]{0,20}\\]".prop_map(String::into_bytes),
            (0..40_u32, "\\{[a-z0-9,\":]{0,40}\\}")
                .prop_map(|(length, text)| { [&length.to_le_bytes(), text.as_bytes()].concat() }),
        ];
        let frame =
            (kind, payload, prop::option::of(any::<u32>())).prop_map(|(kind, payload, lie)| {
                let length = lie.unwrap_or(u32::try_from(payload.len()).unwrap());
                [&length.to_le_bytes()[..], &[kind], &payload].concat()
            });
        prop::collection::vec(frame, 0..6).prop_map(|frames| frames.concat())
    }

    proptest! {
        #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

        #[test]
        fn hostile_bytes_are_read_the_same_however_they_are_cut(bytes in stream(), step in 1_usize..40) {
            prop_assert_eq!(read(&bytes, bytes.len().max(1)), read(&bytes, step));
        }

        #[test]
        fn what_is_written_is_what_is_read(
            text in any::<String>(),
            depth in any::<u32>(),
            millis in 0_u64..1 << 42,
            peak in any::<u64>(),
        ) {
            let data = serde_json::to_string(&[&text]).unwrap();
            prop_assume!(data.len() < 900);
            let mut buffer = Vec::new();
            encode_log(&mut buffer, LogKind::Warn, depth, millis, &data);
            let mut stream = buffer.clone();
            let completion = Completion {
                outcome: Outcome::Succeeded,
                result: Some(data.clone()),
                result_type: Some(ValueType::Array),
                error: None,
                hint: Some(text.clone()),
                peak_memory_bytes: peak,
            };
            encode_done(&mut buffer, &completion);
            stream.extend_from_slice(&buffer);
            let mut reader = FrameReader::default();
            reader.begin(&limits(), None);
            reader.push(&stream);
            let Ok(Some(Frame::Log(entry))) = reader.next_frame() else { panic!("no log") };
            prop_assert_eq!((entry.kind, entry.depth, entry.data.as_str()), (LogKind::Warn, depth, data.as_str()));
            let Ok(Some(Frame::Done(done))) = reader.next_frame() else { panic!("no end") };
            prop_assert_eq!(done.result.as_ref().map(JsonText::as_str), Some(data.as_str()));
            prop_assert_eq!(done.hint.as_ref(), Some(&text));
            prop_assert_eq!(done.peak_memory_bytes, peak);
        }
    }
}

//! One round of an execution with tools: what the job process gets beside the script, and what it reports.
//!
//! The service, which is trusted, writes [`EngineTools`]. The job process writes a [`RoundReport`]: hostile bytes, which
//! parse into this closed form or break the protocol. `sandbox-client` checks every number in it against the log.

use sandpiper_domain::tools::{Arrived, Call, Refusal, ReplayLog, ToolLimits, ToolName};
use sandpiper_domain::{JsonText, Limits, Script};
use serde::{Deserialize, Serialize};

/// One round of an execution with tools.
#[derive(Debug, Clone, Copy)]
pub struct RoundWork<'a> {
    pub script: &'a Script,
    pub limits: Limits,
    pub tool_limits: &'a ToolLimits,
    /// The log so far.
    pub log: &'a ReplayLog,
    /// Answers that are in no record of the log.
    pub arrived: &'a [Arrived],
    /// The service's clock, Unix milliseconds.
    pub now_ms: u64,
    /// Most time that the process may wait for timers, milliseconds ([`ToolLimits::WAITS_IN_PROCESS_MS`]). With 0 the
    /// round sees the clock `now_ms` throughout.
    pub wait_ms: u64,
    /// True if the round may add nothing to the log: for tests that replay. Its log entries are all told again.
    pub strict: bool,
}

/// A declared tool, as the engine needs it.
#[derive(Debug, Serialize, Deserialize)]
pub struct EngineTool {
    pub name: ToolName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<JsonText>,
}

/// The data of a round that the engine gets beside the script.
#[derive(Debug, Serialize, Deserialize)]
pub struct EngineTools {
    pub tools: Vec<EngineTool>,
    pub limits: ToolLimits,
    pub log: ReplayLog,
    pub arrived: Vec<Arrived>,
    pub now_ms: u64,
    pub wait_ms: u64,
    pub strict: bool,
}

/// The same, borrowed, to be written.
#[derive(Serialize)]
struct Written<'a> {
    tools: Vec<WrittenTool<'a>>,
    limits: &'a ToolLimits,
    log: &'a ReplayLog,
    arrived: &'a [Arrived],
    now_ms: u64,
    wait_ms: u64,
    strict: bool,
}

#[derive(Serialize)]
struct WrittenTool<'a> {
    name: &'a ToolName,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_schema: Option<&'a JsonText>,
}

impl RoundWork<'_> {
    /// Writes what the engine gets beside the script behind `buffer`.
    pub(crate) fn write(&self, buffer: &mut Vec<u8>) -> serde_json::Result<()> {
        let declared = self
            .script
            .tools()
            .map_or(&[] as &[_], |all| all.as_slice());
        let tools = declared.iter().map(|tool| WrittenTool {
            name: &tool.name,
            input_schema: tool.input_schema.as_ref(),
        });
        let written = Written {
            tools: tools.collect(),
            limits: self.tool_limits,
            log: self.log,
            arrived: self.arrived,
            now_ms: self.now_ms,
            wait_ms: self.wait_ms,
            strict: self.strict,
        };
        serde_json::to_writer(buffer, &written)
    }
}

/// A report of a job process about its round. A done frame follows it if the script has ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoundReport {
    /// Calls that the log does not have.
    pub calls: Vec<Call>,
    /// Records that the log does not have.
    pub records: Vec<ReportedRecord>,
    /// Rejected calls whose promise nothing handles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unobserved: Vec<u32>,
    /// Log entries since the start of the script.
    pub log_entries: u64,
    pub log_digest: u64,
    pub own_micros: u64,
    pub replay_micros: u64,
    pub waited_micros: u64,
    pub peak_memory_bytes: u64,
    pub end: ReportedEnd,
}

/// A record that a job process has made. It names an answer and does not repeat it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ReportedRecord {
    Answer {
        seq: u32,
        at_ms: u64,
        /// The answer is the engine's own: in place of one at hand, or of none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<Refusal>,
    },
    Wake {
        at_ms: u64,
    },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ReportedEnd {
    /// A done frame follows.
    Ends,
    Suspended {
        /// The time at which the next timer is due, Unix milliseconds.
        resume_at_ms: Option<u64>,
    },
}

impl RoundReport {
    /// Most bytes of a record or of a number in a report. The calls' own cost has room for their answers' records.
    const WAKE_BYTES_MAX: usize = 48;
    const FIXED_BYTES_MAX: usize = 4096;

    /// Returns the most bytes of a report.
    pub(crate) fn bytes_max(limits: &ToolLimits) -> usize {
        let bytes = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        bytes(limits.wakes)
            .saturating_mul(Self::WAKE_BYTES_MAX)
            .saturating_add(bytes(limits.log_bytes))
            .saturating_add(bytes(limits.argument_bytes))
            .saturating_add(
                bytes(Refusal::WITHOUT_ROOM_MAX)
                    .saturating_mul(Call::OVERHEAD_BYTES + ToolName::BYTES_MAX),
            )
            .saturating_add(Self::FIXED_BYTES_MAX)
    }
}

/// A digest of log entries, that tells two runs of a script apart.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogDigest(u64);

impl LogDigest {
    /// The prime of FNV-1a with 64 bits.
    const PRIME: u64 = 0x0000_0100_0000_01b3;

    /// Adds an entry: its console method, its depth and its data.
    pub fn add(&mut self, kind: u8, depth: u32, data: &[u8]) {
        let mut digest = self.0 ^ u64::from(kind) ^ (u64::from(depth) << 8);
        let (chunks, rest) = data.as_chunks::<8>();
        for chunk in chunks {
            digest = (digest ^ u64::from_le_bytes(*chunk)).wrapping_mul(Self::PRIME);
            digest ^= digest >> 29;
        }
        for byte in rest {
            digest = (digest ^ u64::from(*byte)).wrapping_mul(Self::PRIME);
        }
        self.0 = digest.wrapping_mul(Self::PRIME).rotate_left(23) ^ (data.len() as u64);
    }

    pub fn value(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Frame, FrameReader, Work, decode_header, encode, encode_replayed, encode_round};
    use crate::{PREFIX_BYTES, engine_job, prefix};
    use sandpiper_domain::ScriptDraft;
    use sandpiper_domain::samples;
    use sandpiper_domain::tools::{CallResult, Seed, Tool, ToolFailure, Tools};

    fn call(seq: u32, argument: Option<&str>) -> Call {
        Call {
            seq,
            name: ToolName::parse("crm.find").unwrap(),
            argument: argument.map(|text| JsonText::parse(text.to_owned()).unwrap()),
            at_ms: 1_800_000_000_000,
            refused: argument.is_none().then_some(Refusal::ArgumentTooLarge),
        }
    }

    fn report(calls: Vec<Call>, records: Vec<ReportedRecord>) -> RoundReport {
        RoundReport {
            calls,
            records,
            unobserved: Vec::new(),
            log_entries: 3,
            log_digest: u64::MAX,
            own_micros: 1,
            replay_micros: 2,
            waited_micros: 3,
            peak_memory_bytes: 4,
            end: ReportedEnd::Suspended {
                resume_at_ms: Some(9),
            },
        }
    }

    fn reader(limits: &ToolLimits) -> FrameReader {
        let mut reader = FrameReader::default();
        reader.begin(&samples::limits(), Some(limits));
        reader
    }

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let records = vec![
            ReportedRecord::Wake { at_ms: 5 },
            ReportedRecord::Answer {
                seq: 0,
                at_ms: 6,
                refused: Some(Refusal::LogFull),
            },
        ];
        let sent = report(vec![call(0, Some("null")), call(1, None)], records);
        let (mut stream, mut buffer) = (Vec::new(), Vec::new());
        encode_replayed(&mut stream);
        encode_round(&mut buffer, &sent);
        stream.extend_from_slice(&buffer);
        let mut reader = reader(&ToolLimits::default());
        reader.push(&stream);
        assert!(matches!(reader.next_frame(), Ok(Some(Frame::Replayed))));
        let Ok(Some(Frame::Round(read))) = reader.next_frame() else {
            panic!("no report")
        };
        assert_eq!(format!("{read:?}"), format!("{sent:?}"));
        assert_eq!(read.calls[0].argument, Some(JsonText::null()));
    }

    #[test]
    fn the_longest_report_fits() {
        let limits = ToolLimits {
            log_bytes: 100_000,
            ..ToolLimits::default()
        };
        let mut calls = Vec::new();
        let mut bytes = 0;
        for seq in 0.. {
            let call = call(seq, None);
            bytes += call.log_bytes();
            if bytes > 100_000 {
                break;
            }
            calls.push(call);
        }
        let answers = calls.iter().map(|call| ReportedRecord::Answer {
            seq: call.seq,
            at_ms: u64::MAX >> 12,
            refused: call.refused,
        });
        let wakes = (0..limits.wakes).map(|_| ReportedRecord::Wake {
            at_ms: u64::MAX >> 12,
        });
        let records = answers.chain(wakes).collect();
        let mut sent = report(calls, records);
        sent.unobserved = (0..u32::try_from(sent.calls.len()).unwrap()).collect();
        let mut buffer = Vec::new();
        encode_round(&mut buffer, &sent);
        let mut reader = reader(&limits);
        reader.push(&buffer);
        assert!(matches!(reader.next_frame(), Ok(Some(Frame::Round(_)))));
    }

    #[test]
    fn a_round_is_read_as_it_was_written() {
        let tool = Tool {
            input_schema: Some(JsonText::parse("{}".to_owned()).unwrap()),
            ..Tool::named(ToolName::parse("crm.find").unwrap())
        };
        let script = Script::new(ScriptDraft {
            code: Some("tools.crm.find()".to_owned()),
            input: Some(JsonText::null()),
            tools: Some(Tools::new(vec![tool]).unwrap()),
            seed: Some(7),
            ..ScriptDraft::default()
        })
        .unwrap();
        let log = ReplayLog::begin("build", 5, Seed::of_number(7));
        let failed = CallResult::Failed(ToolFailure {
            message: "no".to_owned(),
            name: None,
            code: None,
            retryable: true,
        });
        let arrived = [Arrived {
            seq: 0,
            arrived_ms: 6,
            result: failed,
        }];
        let limits = ToolLimits::default();
        let work = Work::Round(RoundWork {
            script: &script,
            limits: samples::limits(),
            tool_limits: &limits,
            log: &log,
            arrived: &arrived,
            now_ms: 8,
            wait_ms: 9,
            strict: true,
        });
        let mut bytes = Vec::new();
        encode(&work, &mut bytes).unwrap();
        let read = prefix(&bytes).unwrap();
        let (header, texts) = bytes[PREFIX_BYTES..].split_at(read.header_bytes);
        let header = decode_header(header).unwrap();
        let job = engine_job(&header, texts).unwrap();
        assert_eq!((job.seed, job.input), (None, Some("null")));
        let tools = job.tools.unwrap();
        assert_eq!((&tools.log, tools.arrived.as_slice()), (&log, &arrived[..]));
        assert_eq!((tools.limits, tools.now_ms, tools.wait_ms), (limits, 8, 9));
        assert!(tools.strict && tools.tools[0].input_schema.is_some());
        // A script with tools runs in rounds, and no other does.
        let plain = samples::script(1);
        for work in [
            Work::Script {
                script: &script,
                limits: samples::limits(),
                entropy: 1,
            },
            Work::Round(RoundWork {
                script: &plain,
                ..*work.round().unwrap()
            }),
        ] {
            assert!(encode(&work, &mut bytes).is_err());
        }
    }

    #[test]
    fn the_digest_tells_logs_apart() {
        let digest = |entries: &[(u8, u32, &str)]| {
            let mut digest = LogDigest::default();
            for (kind, depth, data) in entries {
                digest.add(*kind, *depth, data.as_bytes());
            }
            digest.value()
        };
        let one = digest(&[(0, 0, "[1]"), (0, 0, "[\"some longer text\"]")]);
        for other in [
            &[(0, 0, "[\"some longer text\"]"), (0, 0, "[1]")][..],
            &[(1, 0, "[1]"), (0, 0, "[\"some longer text\"]")],
            &[(0, 1, "[1]"), (0, 0, "[\"some longer text\"]")],
            &[(0, 0, "[1]"), (0, 0, "[\"some longer texT\"]")],
            &[(0, 0, "[1]")],
        ] {
            assert_ne!(digest(other), one);
        }
    }
}

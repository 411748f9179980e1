//! The bytes of one job: a header that describes the work and gives the length of each text, then the texts.
//!
//! ```text
//!   u32 header length | u32 length of the texts | u64 room | header (JSON) | texts, one after the other
//! ```
//! Numbers are little-endian. `room` is the address space, bytes, that the job process may take in addition to the
//! address space that it was forked with. The executor, which is trusted, writes the header. The texts are the
//! client's.

use super::round::{EngineTools, RoundWork};
use sandpiper_domain::{Language, Limits, Script, ScriptKind, Source};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::net::IpAddr;
use std::rc::Rc;

/// Bytes before the header.
pub const PREFIX_BYTES: usize = 16;

/// Address space beyond the heap, bytes: the engine's C stack, source and input (once as bytes and once parsed), and
/// the allocator's waste.
const OVERHEAD_BYTES: u64 = 32 << 20;
/// Copies of a job's bytes and of its output that may be in memory outside the measured heap.
const COPIES: u64 = 4;

#[derive(Debug, Clone, Copy)]
pub enum Work<'a> {
    Script {
        script: &'a Script,
        limits: Limits,
        /// Randomness for this execution alone.
        entropy: u64,
    },
    /// One round of a script with tools.
    Round(RoundWork<'a>),
    /// Try to reach the network with native code, from inside the isolation layers.
    NetCheck {
        host: IpAddr,
        port: u16,
        limits: Limits,
    },
}

impl Work<'_> {
    pub fn limits(&self) -> Limits {
        match self {
            Self::Script { limits, .. } | Self::NetCheck { limits, .. } => *limits,
            Self::Round(round) => round.limits,
        }
    }

    /// Returns the round; `None` for work without tools.
    pub fn round(&self) -> Option<&RoundWork<'_>> {
        match self {
            Self::Round(round) => Some(round),
            Self::Script { .. } | Self::NetCheck { .. } => None,
        }
    }

    fn script(&self) -> Option<&Script> {
        match self {
            Self::Script { script, .. } => Some(script),
            Self::Round(round) => Some(round.script),
            Self::NetCheck { .. } => None,
        }
    }

    /// Returns whether a script with tools runs in rounds, and one without does not.
    fn is_sound(&self) -> bool {
        let has_tools = self.script().is_some_and(|script| script.tools().is_some());
        has_tools == self.round().is_some()
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Header<'a> {
    Script {
        /// File name and length of each source.
        #[serde(borrow)]
        sources: Vec<(Cow<'a, str>, usize)>,
        /// Kind of the last source. What a plain script does not have is left out.
        #[serde(default, skip_serializing_if = "ScriptKind::is_script")]
        kind: ScriptKind,
        #[serde(default, skip_serializing_if = "Language::is_javascript")]
        language: Language,
        /// Name and length of each module.
        #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
        modules: Vec<(Cow<'a, str>, usize)>,
        input: Option<usize>,
        /// Name and length of each global.
        #[serde(borrow)]
        globals: Vec<(Cow<'a, str>, usize)>,
        seed: Option<u64>,
        entropy: u64,
        limits: Limits,
        /// Length of what a round has beside the script. A script without tools does not have it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tools: Option<usize>,
    },
    NetCheck {
        host: IpAddr,
        port: u16,
    },
}

/// The work of one execution, borrowed from the bytes that the job process read.
#[derive(Debug)]
pub struct EngineJob<'a> {
    /// `(file name, text)` of each source, in the order in which they run.
    pub sources: Vec<(&'a str, &'a str)>,
    /// Kind of the last source. The others are scripts.
    pub kind: ScriptKind,
    pub language: Language,
    /// `(name, text)` of each module.
    pub modules: Vec<(&'a str, &'a str)>,
    /// JSON for the global `input`.
    pub input: Option<&'a str>,
    /// `(name, JSON)` of each other global.
    pub globals: Vec<(&'a str, &'a str)>,
    /// The limits of the execution. Its time counts from the call of the engine.
    pub limits: Limits,
    pub seed: Option<u64>,
    /// Randomness for this execution alone, chosen by the executor.
    pub entropy: u64,
    /// Tools and log of a script with tools. Its seed takes the place of `seed` and `entropy`.
    pub tools: Option<Rc<EngineTools>>,
}

#[derive(Debug, thiserror::Error)]
#[error("the job cannot be read")]
pub struct BadJob;

/// Writes `work` into `buffer`, replacing its content.
pub fn encode(work: &Work<'_>, buffer: &mut Vec<u8>) -> Result<(), BadJob> {
    if !work.is_sound() {
        return Err(BadJob);
    }
    let mut tools = Vec::new();
    if let Work::Round(round) = work {
        round.write(&mut tools).map_err(|_| BadJob)?;
    }
    buffer.clear();
    buffer.extend_from_slice(&[0; PREFIX_BYTES]);
    serde_json::to_writer(&mut *buffer, &header_of(work, tools.len())).map_err(|_| BadJob)?;
    let header_bytes = buffer.len() - PREFIX_BYTES;
    if let Some(script) = work.script() {
        for source in script.sources().iter().chain(script.modules()) {
            buffer.extend_from_slice(source.text.as_bytes());
        }
        if let Some(input) = script.input() {
            buffer.extend_from_slice(input.as_str().as_bytes());
        }
        for global in script.globals() {
            buffer.extend_from_slice(global.value.as_str().as_bytes());
        }
    }
    buffer.extend_from_slice(&tools);
    let text_bytes = buffer.len() - PREFIX_BYTES - header_bytes;
    let mut room = room_for(&work.limits(), buffer.len());
    if work.round().is_some() {
        room = room.saturating_add(replay_memory_bytes(&work.limits()));
    }
    let header_bytes = u32::try_from(header_bytes).map_err(|_| BadJob)?;
    let text_bytes = u32::try_from(text_bytes).map_err(|_| BadJob)?;
    buffer[..4].copy_from_slice(&header_bytes.to_le_bytes());
    buffer[4..8].copy_from_slice(&text_bytes.to_le_bytes());
    buffer[8..PREFIX_BYTES].copy_from_slice(&room.to_le_bytes());
    Ok(())
}

/// Returns the address space that the job process may take, bytes. The kernel enforces this bound behind the engine's
/// own meter.
fn room_for(limits: &Limits, job_bytes: usize) -> u64 {
    let job_bytes = u64::try_from(job_bytes).unwrap_or(u64::MAX);
    let copied = job_bytes.saturating_add(u64::from(limits.output_bytes()));
    limits
        .memory_bytes()
        .saturating_add(OVERHEAD_BYTES)
        .saturating_add(copied.saturating_mul(COPIES))
}

/// Returns the memory that a script with tools may take within its log, in addition to its limit, bytes: a replay that
/// needs a little more than before must not fail.
pub fn replay_memory_bytes(limits: &Limits) -> u64 {
    limits.memory_bytes() / 4
}

fn header_of<'a>(work: &'a Work<'a>, tools_bytes: usize) -> Header<'a> {
    match work {
        Work::NetCheck { host, port, .. } => Header::NetCheck {
            host: *host,
            port: *port,
        },
        Work::Script {
            script,
            limits,
            entropy,
        } => script_header(script, limits, script.seed(), *entropy, None),
        Work::Round(round) => {
            script_header(round.script, &round.limits, None, 0, Some(tools_bytes))
        }
    }
}

fn script_header<'a>(
    script: &'a Script,
    limits: &Limits,
    seed: Option<u64>,
    entropy: u64,
    tools: Option<usize>,
) -> Header<'a> {
    Header::Script {
        sources: named_lengths(script.sources()),
        kind: script.kind(),
        language: script.language(),
        modules: named_lengths(script.modules()),
        input: script.input().map(|input| input.as_str().len()),
        globals: script
            .globals()
            .iter()
            .map(|global| {
                (
                    Cow::Borrowed(global.name.as_str()),
                    global.value.as_str().len(),
                )
            })
            .collect(),
        seed,
        entropy,
        limits: *limits,
        tools,
    }
}

fn named_lengths(sources: &[Source]) -> Vec<(Cow<'_, str>, usize)> {
    sources
        .iter()
        .map(|source| (Cow::Borrowed(source.file_name.as_str()), source.text.len()))
        .collect()
}

/// The numbers before the header.
#[derive(Debug, Clone, Copy)]
pub struct Prefix {
    pub header_bytes: usize,
    pub text_bytes: usize,
    pub room: u64,
}

/// Parses a prefix. Returns `None` if `bytes` is too short.
pub fn prefix(bytes: &[u8]) -> Option<Prefix> {
    let header: [u8; 4] = bytes.get(..4)?.try_into().ok()?;
    let texts: [u8; 4] = bytes.get(4..8)?.try_into().ok()?;
    let room: [u8; 8] = bytes.get(8..PREFIX_BYTES)?.try_into().ok()?;
    Some(Prefix {
        header_bytes: usize::try_from(u32::from_le_bytes(header)).ok()?,
        text_bytes: usize::try_from(u32::from_le_bytes(texts)).ok()?,
        room: u64::from_le_bytes(room),
    })
}

pub fn decode_header(bytes: &[u8]) -> Result<Header<'_>, BadJob> {
    serde_json::from_slice(bytes).map_err(|_| BadJob)
}

/// Cuts `texts` into the pieces that the header of a script describes.
pub fn engine_job<'a>(header: &'a Header<'_>, texts: &'a [u8]) -> Result<EngineJob<'a>, BadJob> {
    let Header::Script {
        sources,
        kind,
        language,
        modules,
        input,
        globals,
        seed,
        entropy,
        limits,
        tools,
    } = header
    else {
        return Err(BadJob);
    };
    let mut texts = Texts(std::str::from_utf8(texts).map_err(|_| BadJob)?);
    // The order of the texts is the order in `encode`.
    let sources = texts.take_named(sources)?;
    let modules = texts.take_named(modules)?;
    let input = input.map(|length| texts.take(length)).transpose()?;
    let globals = texts.take_named(globals)?;
    let tools = tools.map(|length| texts.take(length)).transpose()?;
    let tools = tools.map(|text| serde_json::from_str(text).map(Rc::new));
    let tools = tools.transpose().map_err(|_| BadJob)?;
    Ok(EngineJob {
        sources,
        kind: *kind,
        language: *language,
        modules,
        input,
        globals,
        limits: *limits,
        seed: *seed,
        entropy: *entropy,
        tools,
    })
}

struct Texts<'a>(&'a str);

impl<'a> Texts<'a> {
    fn take(&mut self, length: usize) -> Result<&'a str, BadJob> {
        let (piece, rest) = self.0.split_at_checked(length).ok_or(BadJob)?;
        self.0 = rest;
        Ok(piece)
    }

    fn take_named(
        &mut self,
        pieces: &'a [(Cow<'_, str>, usize)],
    ) -> Result<Vec<(&'a str, &'a str)>, BadJob> {
        pieces
            .iter()
            .map(|(name, length)| Ok((name.as_ref(), self.take(*length)?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandpiper_domain::{Ceiling, Global, JsonText, ScriptDraft, Source};

    #[test]
    fn a_job_is_read_as_it_was_written() {
        let json = |text: &str| JsonText::parse(text.to_owned()).unwrap();
        let script = Script::new(ScriptDraft {
            code: Some("var é = 1;".to_owned()),
            file: Some(Source {
                file_name: "pi.js".to_owned(),
                text: "input".to_owned(),
            }),
            input: Some(json("[1]")),
            globals: vec![Global {
                name: "rate".to_owned(),
                value: json("2"),
            }],
            seed: Some(7),
            modules: vec![Source {
                file_name: "./util.js".to_owned(),
                text: "export {}".to_owned(),
            }],
            prelude: Some("var p".to_owned()),
            ..ScriptDraft::default()
        })
        .unwrap();
        let ceiling = Ceiling {
            timeout_ms: 10,
            memory_bytes: 1 << 20,
            output_bytes: 256,
        };
        let limits = Limits::defaults(10, 1 << 20, 256, &ceiling).unwrap();
        let mut bytes = Vec::new();
        let work = Work::Script {
            script: &script,
            limits,
            entropy: 9,
        };
        encode(&work, &mut bytes).unwrap();

        let read = prefix(&bytes).unwrap();
        assert_eq!(
            bytes.len(),
            PREFIX_BYTES + read.header_bytes + read.text_bytes
        );
        assert!(read.room > limits.memory_bytes());
        let (header, texts) = bytes[PREFIX_BYTES..].split_at(read.header_bytes);
        let header = decode_header(header).unwrap();
        let job = engine_job(&header, texts).unwrap();
        assert_eq!(
            job.sources,
            [
                ("prelude", "var p"),
                ("code", "var é = 1;"),
                ("pi.js", "input")
            ]
        );
        assert_eq!(job.modules, [("./util.js", "export {}")]);
        assert_eq!(job.kind, ScriptKind::Script);
        assert_eq!(job.input, Some("[1]"));
        assert_eq!(job.globals, [("rate", "2")]);
        assert_eq!((job.seed, job.entropy), (Some(7), 9));
        assert_eq!(job.limits, limits);
    }

    #[test]
    fn a_plain_script_has_a_header_without_kind_language_modules_and_tools() {
        let script = sandpiper_domain::samples::script(1);
        let work = Work::Script {
            script: &script,
            limits: sandpiper_domain::samples::limits(),
            entropy: 1,
        };
        let header = serde_json::to_string(&header_of(&work, 0)).unwrap();
        for field in ["kind", "language", "modules", "tools"] {
            assert!(!header.contains(field), "{header}");
        }
    }
}

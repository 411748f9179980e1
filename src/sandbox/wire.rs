//! What a job process reads: a header that says what to do and how long each text is, then the texts.
//!
//! ```text
//!   u32 header length | u32 length of the texts | header (JSON) | texts, one after the other
//! ```
//! Little-endian. Written by the executor, which is trusted; the texts themselves are the client's.

use crate::domain::{Limits, Script};
use crate::engine::EngineJob;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::net::IpAddr;

/// Bytes before the header.
pub(super) const PREFIX_BYTES: usize = 8;

/// What an execution is to do.
#[derive(Debug, Clone, Copy)]
pub enum Work<'a> {
    /// Run a script.
    Script {
        /// What to run.
        script: &'a Script,
        /// What it may use.
        limits: Limits,
        /// Randomness for this execution alone.
        entropy: u64,
    },
    /// Try to reach the network, natively, from behind the walls.
    NetCheck {
        /// Where to.
        host: IpAddr,
        /// Where to.
        port: u16,
        /// What it may use.
        limits: Limits,
    },
}

impl Work<'_> {
    /// What it may use.
    #[must_use]
    pub fn limits(&self) -> Limits {
        match self {
            Self::Script { limits, .. } | Self::NetCheck { limits, .. } => *limits,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Header<'a> {
    Script {
        /// File name and length of each source.
        #[serde(borrow)]
        sources: Vec<(Cow<'a, str>, usize)>,
        input: Option<usize>,
        /// Name and length of each global.
        #[serde(borrow)]
        globals: Vec<(Cow<'a, str>, usize)>,
        seed: Option<u64>,
        entropy: u64,
        limits: Limits,
    },
    NetCheck {
        host: IpAddr,
        port: u16,
        limits: Limits,
    },
}

impl Header<'_> {
    pub(super) fn limits(&self) -> Limits {
        match self {
            Self::Script { limits, .. } | Self::NetCheck { limits, .. } => *limits,
        }
    }
}

/// The bytes were not a job.
#[derive(Debug, thiserror::Error)]
#[error("the job cannot be read")]
pub(super) struct BadJob;

/// Writes `work` into `buffer`, replacing what was there.
pub(super) fn encode(work: &Work<'_>, buffer: &mut Vec<u8>) -> Result<(), BadJob> {
    buffer.clear();
    buffer.extend_from_slice(&[0; PREFIX_BYTES]);
    serde_json::to_writer(&mut *buffer, &header_of(work)).map_err(|_| BadJob)?;
    let header_bytes = buffer.len() - PREFIX_BYTES;
    if let Work::Script { script, .. } = work {
        for source in script.sources() {
            buffer.extend_from_slice(source.text.as_bytes());
        }
        if let Some(input) = script.input() {
            buffer.extend_from_slice(input.as_str().as_bytes());
        }
        for global in script.globals() {
            buffer.extend_from_slice(global.value.as_str().as_bytes());
        }
    }
    let text_bytes = buffer.len() - PREFIX_BYTES - header_bytes;
    let header_bytes = u32::try_from(header_bytes).map_err(|_| BadJob)?;
    let text_bytes = u32::try_from(text_bytes).map_err(|_| BadJob)?;
    buffer[..4].copy_from_slice(&header_bytes.to_le_bytes());
    buffer[4..PREFIX_BYTES].copy_from_slice(&text_bytes.to_le_bytes());
    Ok(())
}

fn header_of<'a>(work: &'a Work<'a>) -> Header<'a> {
    match work {
        Work::NetCheck { host, port, limits } => Header::NetCheck {
            host: *host,
            port: *port,
            limits: *limits,
        },
        Work::Script {
            script,
            limits,
            entropy,
        } => Header::Script {
            sources: script
                .sources()
                .iter()
                .map(|source| (Cow::Borrowed(source.file_name.as_str()), source.text.len()))
                .collect(),
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
            seed: script.seed(),
            entropy: *entropy,
            limits: *limits,
        },
    }
}

/// The two lengths of a prefix: header and texts.
pub(super) fn lengths(prefix: &[u8]) -> Option<(usize, usize)> {
    let header: [u8; 4] = prefix.get(..4)?.try_into().ok()?;
    let texts: [u8; 4] = prefix.get(4..PREFIX_BYTES)?.try_into().ok()?;
    Some((
        usize::try_from(u32::from_le_bytes(header)).ok()?,
        usize::try_from(u32::from_le_bytes(texts)).ok()?,
    ))
}

/// Reads a header.
pub(super) fn decode_header(bytes: &[u8]) -> Result<Header<'_>, BadJob> {
    serde_json::from_slice(bytes).map_err(|_| BadJob)
}

/// Cuts `texts` into the pieces that the header of a script names.
pub(super) fn engine_job<'a>(
    header: &'a Header<'_>,
    texts: &'a [u8],
) -> Result<EngineJob<'a>, BadJob> {
    let Header::Script {
        sources,
        input,
        globals,
        seed,
        entropy,
        limits,
    } = header
    else {
        return Err(BadJob);
    };
    let mut texts = Texts(std::str::from_utf8(texts).map_err(|_| BadJob)?);
    // The order here is the order of `encode`.
    let sources = texts.take_named(sources)?;
    let input = input.map(|length| texts.take(length)).transpose()?;
    let globals = texts.take_named(globals)?;
    Ok(EngineJob {
        sources,
        input,
        globals,
        limits: *limits,
        seed: *seed,
        entropy: *entropy,
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
    use crate::domain::{Ceiling, Global, JsonText, ScriptDraft, Source};

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

        let (header_bytes, text_bytes) = lengths(&bytes).unwrap();
        assert_eq!(bytes.len(), PREFIX_BYTES + header_bytes + text_bytes);
        let (header, texts) = bytes[PREFIX_BYTES..].split_at(header_bytes);
        let header = decode_header(header).unwrap();
        let job = engine_job(&header, texts).unwrap();
        assert_eq!(job.sources, [("code", "var é = 1;"), ("pi.js", "input")]);
        assert_eq!(job.input, Some("[1]"));
        assert_eq!(job.globals, [("rate", "2")]);
        assert_eq!((job.seed, job.entropy), (Some(7), 9));
        assert_eq!(job.limits, limits);
    }
}

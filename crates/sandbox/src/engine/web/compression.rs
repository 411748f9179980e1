//! The native of `CompressionStream` and `DecompressionStream`, by the crate `flate2`.

use super::owned::Owned;
use super::{Tools, bytes, native};
use crate::engine::allocator::MemoryAccount;
use crate::engine::realm::Scene;
use flate2::write::{GzDecoder, GzEncoder};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use rquickjs::{Exception, Function, Object, Value};
use std::cell::RefCell;
use std::io::{self, Write};
use std::mem;
use std::rc::Rc;

/// Memory of a compressor: its window and its tables, bytes.
const COMPRESSOR_BYTES: usize = 320 << 10;
/// Memory of a decompressor, bytes.
const DECOMPRESSOR_BYTES: usize = 64 << 10;
/// Bytes that are made at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// Output that was made and not yet taken. It is charged to the execution, which therefore ends before a small input has
/// become more than its memory.
struct Output {
    bytes: Vec<u8>,
    memory: Rc<MemoryAccount>,
}

impl Output {
    fn new(memory: &Rc<MemoryAccount>) -> Self {
        Self {
            bytes: Vec::new(),
            memory: Rc::clone(memory),
        }
    }

    fn take(&mut self) -> Vec<u8> {
        self.memory.discharge(self.bytes.len());
        mem::take(&mut self.bytes)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.memory.discharge(self.bytes.len());
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.memory.charge(bytes.len());
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Codec {
    Compress(Compress, Output),
    Decompress {
        decompress: Decompress,
        output: Output,
        has_ended: bool,
    },
    CompressGzip(GzEncoder<Output>),
    DecompressGzip(GzDecoder<Output>),
    /// The last bytes have been processed.
    Finished,
}

/// A codec and the memory that it owns.
struct Owner {
    codec: RefCell<Codec>,
    _memory: Owned,
}

pub(super) fn natives<'js>(tools: &Tools<'js>, natives: &Object<'js>) -> rquickjs::Result<()> {
    let scene = tools.scene.clone();
    native(
        tools,
        natives,
        "codec",
        move |compresses: bool, format: String| codec(&scene, compresses, &format),
    )
}

/// Returns a function that takes the next bytes and whether they are the last. The function returns the bytes that they
/// become, or `undefined` if they are wrong.
fn codec<'js>(
    scene: &Scene<'js>,
    compresses: bool,
    format: &str,
) -> rquickjs::Result<Function<'js>> {
    let bytes = if compresses {
        COMPRESSOR_BYTES
    } else {
        DECOMPRESSOR_BYTES
    };
    let owned = Owned::new(scene, bytes);
    let (level, output) = (Compression::default(), Output::new(&scene.host.memory));
    let codec = match (compresses, format) {
        (true, "gzip") => Codec::CompressGzip(GzEncoder::new(output, level)),
        (false, "gzip") => Codec::DecompressGzip(GzDecoder::new(output)),
        (true, "deflate" | "deflate-raw") => {
            Codec::Compress(Compress::new(level, format == "deflate"), output)
        }
        (false, "deflate" | "deflate-raw") => Codec::Decompress {
            decompress: Decompress::new(format == "deflate"),
            output,
            has_ended: false,
        },
        _ => {
            return Err(Exception::throw_range(
                &scene.ctx,
                "there is no such format",
            ));
        }
    };
    let owner = Owner {
        codec: RefCell::new(codec),
        _memory: owned,
    };
    let scene_of_calls = scene.clone();
    Function::new(scene.ctx.clone(), move |view: Value<'js>, is_last: bool| {
        // As a whole: a closure takes only the fields that it names, and the memory would be released at once.
        let owner = &owner;
        let scene = &scene_of_calls;
        let Ok(mut codec) = owner.codec.try_borrow_mut() else {
            return Err(Exception::throw_type(&scene.ctx, "the codec is busy"));
        };
        let made = bytes::read(scene, &view, |bytes| codec.process(bytes, is_last))?;
        if is_last {
            *codec = Codec::Finished;
        }
        match made {
            Some(made) => bytes::new_view(&scene.ctx, &made),
            None => Ok(Value::new_undefined(scene.ctx.clone())),
        }
    })
}

impl Codec {
    /// Returns what `bytes` become; `None` if they are wrong.
    fn process(&mut self, bytes: &[u8], is_last: bool) -> Option<Vec<u8>> {
        match self {
            Self::CompressGzip(encoder) => {
                encoder.write_all(bytes).ok()?;
                if is_last {
                    encoder.try_finish().ok()?;
                }
                Some(encoder.get_mut().take())
            }
            Self::DecompressGzip(decoder) => {
                decoder.write_all(bytes).ok()?;
                // The decoder passes on what it has made when it is written to again.
                loop {
                    let before = decoder.get_ref().bytes.len();
                    let _taken = decoder.write(&[]).ok()?;
                    if decoder.get_ref().bytes.len() == before {
                        break;
                    }
                }
                if is_last {
                    decoder.try_finish().ok()?;
                }
                Some(decoder.get_mut().take())
            }
            Self::Compress(codec, output) => {
                compress(codec, bytes, is_last, output)?;
                Some(output.take())
            }
            Self::Decompress {
                decompress: codec,
                output,
                has_ended,
            } => {
                if !*has_ended {
                    *has_ended = decompress(codec, bytes, output)?;
                } else if !bytes.is_empty() {
                    return None;
                }
                (*has_ended || !is_last).then(|| output.take())
            }
            Self::Finished => None,
        }
    }
}

fn compress(
    codec: &mut Compress,
    mut bytes: &[u8],
    is_last: bool,
    output: &mut Output,
) -> Option<()> {
    let flush = if is_last {
        FlushCompress::Finish
    } else {
        FlushCompress::None
    };
    loop {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        let read_before = codec.total_in();
        let status = codec.compress_vec(bytes, &mut chunk, flush).ok()?;
        bytes = rest(bytes, codec.total_in() - read_before);
        output.write_all(&chunk).ok()?;
        let is_idle = bytes.is_empty() && chunk.len() < CHUNK_BYTES;
        if status == Status::StreamEnd || (is_idle && !is_last) {
            return Some(());
        }
        if is_idle && chunk.is_empty() {
            return None;
        }
    }
}

/// Returns whether the stream has ended; `None` if the bytes are wrong, or go on behind the end.
fn decompress(codec: &mut Decompress, mut bytes: &[u8], output: &mut Output) -> Option<bool> {
    loop {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        let read_before = codec.total_in();
        let status = codec.decompress_vec(bytes, &mut chunk, FlushDecompress::None);
        let status = status.ok()?;
        bytes = rest(bytes, codec.total_in() - read_before);
        output.write_all(&chunk).ok()?;
        if status == Status::StreamEnd {
            return bytes.is_empty().then_some(true);
        }
        if bytes.is_empty() && chunk.len() < CHUNK_BYTES {
            return Some(false);
        }
        if codec.total_in() == read_before && chunk.is_empty() {
            return None;
        }
    }
}

fn rest(bytes: &[u8], read: u64) -> &[u8] {
    let read = usize::try_from(read).unwrap_or(usize::MAX);
    bytes.get(read..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(codec: &mut Codec, parts: &[&[u8]]) -> Option<Vec<u8>> {
        let mut all = Vec::new();
        for part in parts {
            all.extend(codec.process(part, false)?);
        }
        all.extend(codec.process(&[], true)?);
        Some(all)
    }

    fn pair(format: &str) -> (Codec, Codec) {
        let memory = Rc::new(MemoryAccount::without_limit());
        let (level, output) = (Compression::default(), || Output::new(&memory));
        if format == "gzip" {
            return (
                Codec::CompressGzip(GzEncoder::new(output(), level)),
                Codec::DecompressGzip(GzDecoder::new(output())),
            );
        }
        let has_header = format == "deflate";
        (
            Codec::Compress(Compress::new(level, has_header), output()),
            Codec::Decompress {
                decompress: Decompress::new(has_header),
                output: output(),
                has_ended: false,
            },
        )
    }

    #[test]
    fn every_format_gives_back_what_was_put_in_however_it_is_cut() {
        let data: Vec<u8> = (0..300_000_u32)
            .flat_map(|number| (number / 7).to_le_bytes())
            .collect();
        for format in ["gzip", "deflate", "deflate-raw"] {
            let (mut compressor, mut decompressor) = pair(format);
            let small = made(&mut compressor, &[&data[..10], &[], &data[10..]]).unwrap();
            let cuts: Vec<&[u8]> = small.chunks(1013).collect();
            assert!(made(&mut decompressor, &cuts).unwrap() == data, "{format}");
            let at_once = pair(format).1.process(&small, false).unwrap();
            assert!(at_once == data, "{format}: {} bytes at once", at_once.len());
        }
    }

    #[test]
    fn what_is_cut_short_or_goes_on_or_is_wrong_is_refused() {
        for format in ["gzip", "deflate", "deflate-raw"] {
            let small = made(&mut pair(format).0, &[b"some text"]).unwrap();
            let mut longer = small.clone();
            longer.push(0);
            let mut wrong = small.clone();
            wrong[0] ^= 0xff;
            for bytes in [&small[..small.len() - 1], &longer, &wrong, &[]] {
                assert_eq!(
                    made(&mut pair(format).1, &[bytes]),
                    None,
                    "{format} {bytes:?}"
                );
            }
            assert_eq!(made(&mut pair(format).1, &[&small, &[1]]), None, "{format}");
        }
    }
}

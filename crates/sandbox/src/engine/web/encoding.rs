//! The natives of `TextEncoder` and `TextDecoder`, by the crate `encoding_rs`.

use super::text::{Held, Text, to_js};
use super::{Tools, bytes, native};
use crate::engine::realm::Scene;
use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE};
use rquickjs::{Array, Exception, Function, Object, Value};
use std::cell::RefCell;
use std::str;

/// Memory of a decoder between two calls, bytes.
const DECODER_BYTES: usize = 256;
/// Most bytes of UTF-8 that a byte of another encoding becomes.
const BYTES_PER_BYTE: usize = 3;

pub(super) fn natives<'js>(tools: &Tools<'js>, natives: &Object<'js>) -> rquickjs::Result<()> {
    let of_calls = tools.scene.clone();
    native(tools, natives, "encode", move |text: Value<'js>| {
        let text = Text::of(&of_calls, &text)?;
        bytes::new_view(&of_calls.ctx, text.as_str().as_bytes())
    })?;
    let of_calls = tools.scene.clone();
    native(
        tools,
        natives,
        "encodeInto",
        move |text: Value<'js>, view: Value<'js>| encode_into(&of_calls, &text, &view),
    )?;
    let of_calls = tools.scene.clone();
    native(tools, natives, "encodingOf", move |label: Value<'js>| {
        encoding_of(&of_calls, &label)
    })?;
    let of_calls = tools.scene.clone();
    let decode = move |encoding: Value<'js>, view: Value<'js>, fatal: bool, ignore_mark: bool| {
        decode(&of_calls, &encoding, &view, fatal, ignore_mark)
    };
    native(tools, natives, "decode", decode)?;
    let of_calls = tools.scene.clone();
    native(
        tools,
        natives,
        "decoder",
        move |encoding: Value<'js>, ignore_mark: bool| decoder(&of_calls, &encoding, ignore_mark),
    )
}

/// Fills a view with as many whole characters as fit. Returns the units that were read and the bytes that were written.
fn encode_into<'js>(
    scene: &Scene<'js>,
    text: &Value<'js>,
    view: &Value<'js>,
) -> rquickjs::Result<Array<'js>> {
    let text = Text::of(scene, text)?;
    let (read, written) = bytes::write(scene, view, |target| {
        let (mut read, mut written) = (0, 0);
        for character in text.as_str().chars() {
            if character.len_utf8() > target.len() - written {
                break;
            }
            read += character.len_utf16();
            written += character.len_utf8();
        }
        target[..written].copy_from_slice(&text.as_str().as_bytes()[..written]);
        (read, written)
    })?;
    let done = Array::new(scene.ctx.clone())?;
    done.as_object().set_prototype(None)?;
    done.set(0, read)?;
    done.set(1, written)?;
    Ok(done)
}

/// Returns the name of the encoding that `label` stands for; `undefined` if there is none.
fn encoding_of<'js>(scene: &Scene<'js>, label: &Value<'js>) -> rquickjs::Result<Value<'js>> {
    let label = Text::of(scene, label)?;
    match Encoding::for_label_no_replacement(label.as_str().as_bytes()) {
        Some(encoding) => {
            let name = encoding.name().to_ascii_lowercase();
            Ok(to_js(&scene.ctx, &name)?.into_value())
        }
        None => Ok(Value::new_undefined(scene.ctx.clone())),
    }
}

fn encoding_named<'js>(
    scene: &Scene<'js>,
    name: &Value<'js>,
) -> rquickjs::Result<&'static Encoding> {
    let name = Text::of(scene, name)?;
    Encoding::for_label_no_replacement(name.as_str().as_bytes())
        .ok_or_else(|| Exception::throw_range(&scene.ctx, "there is no such encoding"))
}

/// Returns the text of all bytes of a view; `undefined` if `is_fatal` and a byte is wrong.
fn decode<'js>(
    scene: &Scene<'js>,
    encoding: &Value<'js>,
    view: &Value<'js>,
    is_fatal: bool,
    ignores_mark: bool,
) -> rquickjs::Result<Value<'js>> {
    let encoding = encoding_named(scene, encoding)?;
    let decoded = bytes::read(scene, view, |bytes| {
        let bytes = if ignores_mark {
            bytes
        } else {
            without_mark(encoding, bytes)
        };
        if encoding == UTF_8
            && let Ok(text) = str::from_utf8(bytes)
        {
            return to_js(&scene.ctx, text).map(Some);
        }
        let _held = Held::new(
            &scene.host.memory,
            bytes.len().saturating_mul(BYTES_PER_BYTE),
        );
        let text = if is_fatal {
            encoding.decode_without_bom_handling_and_without_replacement(bytes)
        } else {
            Some(encoding.decode_without_bom_handling(bytes).0)
        };
        text.map(|text| to_js(&scene.ctx, &text)).transpose()
    })??;
    Ok(match decoded {
        Some(text) => text.into_value(),
        None => Value::new_undefined(scene.ctx.clone()),
    })
}

/// Returns `bytes` without the byte order mark of `encoding`.
fn without_mark<'a>(encoding: &'static Encoding, bytes: &'a [u8]) -> &'a [u8] {
    let mark: &[u8] = match encoding {
        encoding if encoding == UTF_8 => b"\xef\xbb\xbf",
        encoding if encoding == UTF_16LE => b"\xff\xfe",
        encoding if encoding == UTF_16BE => b"\xfe\xff",
        _ => return bytes,
    };
    bytes.strip_prefix(mark).unwrap_or(bytes)
}

/// Returns a function that decodes a stream: each call takes the next bytes, and whether they are the last.
fn decoder<'js>(
    scene: &Scene<'js>,
    encoding: &Value<'js>,
    ignores_mark: bool,
) -> rquickjs::Result<Function<'js>> {
    let encoding = encoding_named(scene, encoding)?;
    let decoder = RefCell::new(if ignores_mark {
        encoding.new_decoder_without_bom_handling()
    } else {
        encoding.new_decoder_with_bom_removal()
    });
    let kept = Kept::new(scene);
    Function::new(
        scene.ctx.clone(),
        move |view: Value<'js>, fatal: bool, last: bool| {
            let scene = &kept.scene;
            let Ok(mut decoder) = decoder.try_borrow_mut() else {
                return Err(Exception::throw_type(&scene.ctx, "the decoder is busy"));
            };
            decode_more(scene, &mut decoder, &view, fatal, last)
        },
    )
}

/// The memory of a decoder, charged until the engine collects it.
struct Kept<'js> {
    scene: Scene<'js>,
}

impl<'js> Kept<'js> {
    fn new(scene: &Scene<'js>) -> Self {
        scene.host.memory.charge(DECODER_BYTES);
        Self {
            scene: scene.clone(),
        }
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        self.scene.host.memory.discharge(DECODER_BYTES);
    }
}

/// Returns the text of the next bytes; `undefined` if `is_fatal` and a byte is wrong.
fn decode_more<'js>(
    scene: &Scene<'js>,
    decoder: &mut Decoder,
    view: &Value<'js>,
    is_fatal: bool,
    is_last: bool,
) -> rquickjs::Result<Value<'js>> {
    let (text, _held) = bytes::read(scene, view, |bytes| {
        let most = decoder.max_utf8_buffer_length(bytes.len());
        let most = most.unwrap_or(usize::MAX);
        let held = Held::new(&scene.host.memory, most);
        let mut text = String::with_capacity(most);
        let is_right = if is_fatal {
            let (result, _) =
                decoder.decode_to_string_without_replacement(bytes, &mut text, is_last);
            result == DecoderResult::InputEmpty
        } else {
            let _ = decoder.decode_to_string(bytes, &mut text, is_last);
            true
        };
        (is_right.then_some(text), held)
    })?;
    Ok(match text {
        Some(text) => to_js(&scene.ctx, &text)?.into_value(),
        None => Value::new_undefined(scene.ctx.clone()),
    })
}

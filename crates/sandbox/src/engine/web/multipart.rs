//! Forms as `multipart/form-data`: reading them, and the texts that writing them needs.

use super::text::{Text, new_list, to_js};
use super::{Tools, bytes, native};
use crate::engine::realm::Scene;
use rquickjs::{Array, Object, Value};
use std::fmt::Write as _;
use std::str;

/// Random bytes of a boundary.
const BOUNDARY_BYTES: usize = 16;
/// The type of a file that names none.
const OCTETS: &str = "application/octet-stream";

/// A part of a form.
#[derive(Debug, PartialEq, Eq)]
struct Part<'a> {
    name: String,
    file_name: Option<String>,
    content_type: Option<String>,
    content: &'a [u8],
}

pub(super) fn natives<'js>(tools: &Tools<'js>, natives: &Object<'js>) -> rquickjs::Result<()> {
    let scene = tools.scene.clone();
    native(tools, natives, "boundary", move || {
        let mut random = [0; BOUNDARY_BYTES];
        scene.host.fill_random(&mut random);
        let mut text = String::from("----formdata-");
        for byte in random {
            let _ = write!(text, "{byte:02x}");
        }
        to_js(&scene.ctx, &text)
    })?;
    let scene = tools.scene.clone();
    native(tools, natives, "withCrLf", move |text: Value<'js>| {
        let text = Text::of(&scene, &text)?;
        to_js(&scene.ctx, &with_crlf(text.as_str()))
    })?;
    let scene = tools.scene.clone();
    native(tools, natives, "escapedName", move |text: Value<'js>| {
        let text = Text::of(&scene, &text)?;
        let escaped = with_crlf(text.as_str())
            .replace('\r', "%0D")
            .replace('\n', "%0A")
            .replace('"', "%22");
        to_js(&scene.ctx, &escaped)
    })?;
    let scene = tools.scene.clone();
    native(tools, natives, "essence", move |kind: Value<'js>| {
        let kind = Text::of(&scene, &kind)?;
        to_js(&scene.ctx, &essence(kind.as_str()))
    })?;
    let scene = tools.scene.clone();
    let parse = move |view: Value<'js>, kind: Value<'js>| parse_form(&scene, &view, &kind);
    native(tools, natives, "parseMultipart", parse)
}

/// Returns a text whose line ends are CR LF.
fn with_crlf(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    text.replace('\n', "\r\n")
}

/// Returns a media type without its parameters, in lower case.
fn essence(kind: &str) -> String {
    let kind = kind.split(';').next().unwrap_or_default();
    kind.trim().to_ascii_lowercase()
}

/// Returns name, file name, type and bytes of each part, by turns; `undefined` if the form cannot be read.
fn parse_form<'js>(
    scene: &Scene<'js>,
    view: &Value<'js>,
    kind: &Value<'js>,
) -> rquickjs::Result<Value<'js>> {
    let kind = Text::of(scene, kind)?;
    let Some(boundary) = boundary_in(kind.as_str()) else {
        return Ok(Value::new_undefined(scene.ctx.clone()));
    };
    bytes::read(scene, view, |form| match parts_of(form, boundary) {
        Some(parts) => list_of(scene, &parts).map(Array::into_value),
        None => Ok(Value::new_undefined(scene.ctx.clone())),
    })?
}

fn list_of<'js>(scene: &Scene<'js>, parts: &[Part<'_>]) -> rquickjs::Result<Array<'js>> {
    let list = new_list(scene)?;
    let push = |value: Value<'js>| list.set(list.len(), value);
    for part in parts {
        push(to_js(&scene.ctx, &part.name)?.into_value())?;
        push(match &part.file_name {
            Some(name) => to_js(&scene.ctx, name)?.into_value(),
            None => Value::new_undefined(scene.ctx.clone()),
        })?;
        let kind = part.content_type.as_deref().unwrap_or(OCTETS);
        push(to_js(&scene.ctx, kind)?.into_value())?;
        push(bytes::new_view(&scene.ctx, part.content)?)?;
    }
    Ok(list)
}

/// Returns the boundary that a media type names.
fn boundary_in(kind: &str) -> Option<&str> {
    parameter(kind, "boundary").filter(|boundary| !boundary.is_empty())
}

/// Returns a parameter of a header: a token, or what is between quotes.
fn parameter<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = header;
    loop {
        rest = rest.split_once(';')?.1.trim_start();
        let (key, value) = rest.split_once('=')?;
        let is_named = key.trim().eq_ignore_ascii_case(name);
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => value.split_at(value.find(';').unwrap_or(value.len())),
        };
        if is_named {
            return Some(value.trim_end());
        }
        rest = after;
    }
}

fn parts_of<'a>(form: &'a [u8], boundary: &str) -> Option<Vec<Part<'a>>> {
    let first = format!("--{boundary}");
    let between = format!("\r\n--{boundary}");
    let mut rest = form.strip_prefix(first.as_bytes())?;
    let mut parts = Vec::new();
    loop {
        if rest.starts_with(b"--") {
            return Some(parts);
        }
        rest = rest.strip_prefix(b"\r\n")?;
        let (head, after) = head_of(rest)?;
        let end = find(after, between.as_bytes())?;
        let content = after.get(..end)?;
        parts.push(part_of(head, content)?);
        rest = after.get(end + between.len()..)?;
    }
}

/// Returns the headers of a part, and the bytes after the empty line.
fn head_of(part: &[u8]) -> Option<(&str, &[u8])> {
    let end = find(part, b"\r\n\r\n")?;
    let head = str::from_utf8(part.get(..end)?).ok()?;
    Some((head, part.get(end + 4..)?))
}

fn part_of<'a>(head: &str, content: &'a [u8]) -> Option<Part<'a>> {
    let header = |name: &str| {
        head.split("\r\n").find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.trim()
                .eq_ignore_ascii_case(name)
                .then_some(value.trim())
        })
    };
    let disposition = header("content-disposition")?;
    if essence(disposition) != "form-data" {
        return None;
    }
    let unescaped = |text: &str| {
        let text = text.replace("%0D", "\r").replace("%0A", "\n");
        text.replace("%22", "\"")
    };
    Some(Part {
        name: unescaped(parameter(disposition, "name")?),
        file_name: parameter(disposition, "filename").map(unescaped),
        content_type: header("content-type").map(str::to_owned),
        content,
    })
}

fn find(bytes: &[u8], sought: &[u8]) -> Option<usize> {
    bytes
        .windows(sought.len())
        .position(|window| window == sought)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_part_by_part() {
        let form = b"--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--x\r\ncontent-type: t/x\r\n\
            Content-Disposition: form-data; name=\"b%22;c\"; filename=\"f;.txt\"\r\n\r\n\r\n--\r\n--x--\r\n";
        let parts = parts_of(form, "x").unwrap();
        let [first, second] = parts.as_slice() else {
            panic!("{parts:?}")
        };
        assert_eq!((first.name.as_str(), first.content), ("a", &b"1"[..]));
        assert_eq!(first.file_name, None);
        assert_eq!(second.name, "b\";c");
        assert_eq!(second.file_name.as_deref(), Some("f;.txt"));
        assert_eq!(second.content_type.as_deref(), Some("t/x"));
        assert_eq!(second.content, b"\r\n--");
    }

    #[test]
    fn a_broken_form_is_refused() {
        for form in [
            &b""[..],
            b"--y--",
            b"--x",
            b"--x\r\n",
            b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--",
            b"--x\r\nContent-Disposition: form-data; name=\"a\r\n\r\n1\r\n--x--",
            b"--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--y--",
        ] {
            assert_eq!(
                parts_of(form, "x"),
                None,
                "{}",
                String::from_utf8_lossy(form)
            );
        }
    }

    #[test]
    fn a_parameter_may_be_quoted() {
        assert_eq!(
            boundary_in("multipart/form-data; a=\"b;c\"; Boundary=x "),
            Some("x")
        );
        assert_eq!(
            boundary_in("multipart/form-data; boundary=\"x y\""),
            Some("x y")
        );
        assert_eq!(boundary_in("multipart/form-data; boundary="), None);
        assert_eq!(boundary_in("multipart/form-data"), None);
    }
}

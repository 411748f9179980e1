//! The natives of `URL`, `URLSearchParams` and `URLPattern`: parsing and setting, after the standard.
//!
//! The natives keep no state. A URL is its serialisation, which the glue holds: parsing it again gives the same URL.

mod authority;
mod encode;
mod host;
mod parser;
mod paths;
mod pattern;
mod record;

use self::encode::USERINFO;
use self::parser::State;
use self::record::Record;
use super::text::{Held, Text, new_list, to_js};
use super::{Tools, native};
use crate::engine::realm::Scene;
use form_urlencoded::Serializer;
use rquickjs::{Array, Exception, Object, String as JsString, Value};

/// The parts of a URL in the order in which url.js takes them apart.
const PARTS: [fn(&Record) -> String; 10] = [
    |url| format!("{}:", url.scheme),
    |url| url.username.clone(),
    |url| url.password.clone(),
    Record::host_and_port,
    |url| url.host.clone().unwrap_or_default(),
    Record::port_text,
    |url| url.path.clone(),
    |url| marked('?', url.query.as_deref()),
    |url| marked('#', url.fragment.as_deref()),
    Record::origin,
];

/// The setters, in the same order. What cannot be set changes nothing.
const SETTERS: [fn(&mut Record, &str); 9] = [
    |url, text| _ = parser::set(url, &format!("{text}:"), State::SchemeStart),
    |url, text| {
        if !url.cannot_have_credentials_or_port() {
            url.username = encode::encoded(text, USERINFO);
        }
    },
    |url, text| {
        if !url.cannot_have_credentials_or_port() {
            url.password = encode::encoded(text, USERINFO);
        }
    },
    |url, text| set_unless_opaque(url, text, State::Host),
    |url, text| set_unless_opaque(url, text, State::Hostname),
    set_port,
    |url, text| {
        if !url.has_opaque_path {
            url.path.clear();
            parser::set(url, text, State::PathStart);
        }
    },
    |url, text| {
        url.query = (!text.is_empty()).then(String::new);
        if !text.is_empty() {
            let query = text.strip_prefix('?').unwrap_or(text);
            parser::set(url, query, State::Query);
        }
    },
    |url, text| {
        url.fragment = (!text.is_empty()).then(String::new);
        if !text.is_empty() {
            let fragment = text.strip_prefix('#').unwrap_or(text);
            parser::set(url, fragment, State::Fragment);
        }
    },
];

/// Memory that parsing takes for each byte of the serialisation, at most: a string grows to twice its length, and moves while
/// it grows.
const COPIES: usize = 4;
/// Bytes of a byte that is percent-encoded.
const ENCODED_BYTES: usize = 3;
/// Memory that a byte of a parameter takes while parameters become a query, at most: the string grows to twice its length.
const QUERY_BYTES: usize = 2 * ENCODED_BYTES;

fn marked(mark: char, part: Option<&str>) -> String {
    match part {
        Some(part) if !part.is_empty() => format!("{mark}{part}"),
        _ => String::new(),
    }
}

fn set_unless_opaque(url: &mut Record, text: &str, part: State) {
    if !url.has_opaque_path {
        parser::set(url, text, part);
    }
}

fn set_port(url: &mut Record, text: &str) {
    if url.cannot_have_credentials_or_port() {
        return;
    }
    if text.is_empty() {
        url.port = None;
    } else {
        parser::set(url, text, State::Port);
    }
}

pub(super) fn natives<'js>(tools: &Tools<'js>, natives: &Object<'js>) -> rquickjs::Result<()> {
    let of_calls = tools.scene.clone();
    native(
        tools,
        natives,
        "parse",
        move |text: Value<'js>, base: Value<'js>| parse(&of_calls, &text, &base),
    )?;
    let of_calls = tools.scene.clone();
    native(tools, natives, "split", move |href: Value<'js>| {
        split(&of_calls, &href)
    })?;
    let of_calls = tools.scene.clone();
    native(
        tools,
        natives,
        "set",
        move |href: Value<'js>, part: usize, text: Value<'js>| set(&of_calls, &href, part, &text),
    )?;
    let of_calls = tools.scene.clone();
    native(
        tools,
        natives,
        "replaceQuery",
        move |href: Value<'js>, query: Value<'js>| replace_query(&of_calls, &href, &query),
    )?;
    let of_calls = tools.scene.clone();
    native(tools, natives, "parseQuery", move |text: Value<'js>| {
        parse_query(&of_calls, &text)
    })?;
    let of_calls = tools.scene.clone();
    native(tools, natives, "serializeQuery", move |list: Array<'js>| {
        serialize_query(&of_calls, &list)
    })?;
    let of_calls = tools.scene.clone();
    native(tools, natives, "sorted", move |list: Array<'js>| {
        sorted(&of_calls, &list)
    })
}

/// Gives the glue what makes the parts of a pattern canonical.
pub(super) fn natives_of_patterns<'js>(
    tools: &Tools<'js>,
    natives: &Object<'js>,
) -> rquickjs::Result<()> {
    let of_calls = tools.scene.clone();
    native(
        tools,
        natives,
        "canonical",
        move |kind: usize, text: Value<'js>, protocol: Value<'js>| {
            canonical(&of_calls, kind, &text, &protocol)
        },
    )
}

/// Returns the canonical form of a part; `undefined` if the part is wrong.
fn canonical<'js>(
    scene: &Scene<'js>,
    kind: usize,
    text: &Value<'js>,
    protocol: &Value<'js>,
) -> rquickjs::Result<Value<'js>> {
    let text = Text::of(scene, text)?;
    let protocol = if protocol.is_undefined() {
        None
    } else {
        Some(Text::of(scene, protocol)?)
    };
    let Some(make) = pattern::CANONICAL.get(kind) else {
        return Err(Exception::throw_range(&scene.ctx, "there is no such part"));
    };
    let _held = held(scene, text.as_str());
    match make(text.as_str(), protocol.as_ref().map(Text::as_str)) {
        Some(made) => Ok(to_js(&scene.ctx, &made)?.into_value()),
        None => Ok(Value::new_undefined(scene.ctx.clone())),
    }
}

/// Returns the serialisation of a URL; `undefined` if `text` is none.
fn parse<'js>(
    scene: &Scene<'js>,
    text: &Value<'js>,
    base: &Value<'js>,
) -> rquickjs::Result<Value<'js>> {
    let text = Text::of(scene, text)?;
    let undefined = || Ok(Value::new_undefined(scene.ctx.clone()));
    let _held_of_base;
    let base = if base.is_undefined() {
        None
    } else {
        let base = Text::of(scene, base)?;
        _held_of_base = held(scene, base.as_str());
        let Some(base) = parser::parse(base.as_str(), None) else {
            return undefined();
        };
        Some(base)
    };
    let _held = held(scene, text.as_str());
    match parser::parse(text.as_str(), base.as_ref()) {
        Some(url) => Ok(to_js(&scene.ctx, &url.serialized())?.into_value()),
        None => undefined(),
    }
}

/// Charges what parsing a text takes.
fn held<'a>(scene: &'a Scene<'_>, text: &str) -> Held<'a> {
    let length = text.bytes().map(|byte| {
        if byte.is_ascii_alphanumeric() || b"-._~/+%=&:".contains(&byte) {
            1
        } else {
            ENCODED_BYTES
        }
    });
    let length: usize = length.sum();
    Held::new(&scene.host.memory, length.saturating_mul(COPIES))
}

/// Returns the URL of a serialisation. Throws for any other text: the glue has none.
fn reparsed<'js>(scene: &Scene<'js>, href: &str) -> rquickjs::Result<Record> {
    parser::parse(href, None).ok_or_else(|| Exception::throw_type(&scene.ctx, "a URL is needed"))
}

/// Returns the parts of a URL.
fn split<'js>(scene: &Scene<'js>, href: &Value<'js>) -> rquickjs::Result<Array<'js>> {
    let href = Text::of(scene, href)?;
    let _held = held(scene, href.as_str());
    let url = reparsed(scene, href.as_str())?;
    let parts = new_list(scene)?;
    for (index, part) in PARTS.iter().enumerate() {
        parts.set(index, to_js(&scene.ctx, &part(&url))?)?;
    }
    Ok(parts)
}

/// Returns the serialisation of a URL after its part was set.
fn set<'js>(
    scene: &Scene<'js>,
    href: &Value<'js>,
    part: usize,
    text: &Value<'js>,
) -> rquickjs::Result<JsString<'js>> {
    let text = Text::of(scene, text)?;
    let present = Text::of(scene, href)?;
    let _held = (held(scene, present.as_str()), held(scene, text.as_str()));
    let mut url = reparsed(scene, present.as_str())?;
    let Some(set) = SETTERS.get(part) else {
        return Err(Exception::throw_range(&scene.ctx, "there is no such part"));
    };
    set(&mut url, text.as_str());
    to_js(&scene.ctx, &url.serialized())
}

/// Returns a serialisation with another query, which is that of parameters: nothing in it has to be encoded. An empty one is
/// none.
fn replace_query<'js>(
    scene: &Scene<'js>,
    href: &Value<'js>,
    query: &Value<'js>,
) -> rquickjs::Result<JsString<'js>> {
    let (href, query) = (Text::of(scene, href)?, Text::of(scene, query)?);
    let (before, fragment) = match href.as_str().split_once('#') {
        Some((before, fragment)) => (before, Some(fragment)),
        None => (href.as_str(), None),
    };
    let before = before.split_once('?').map_or(before, |(before, _)| before);
    let _held = Held::new(
        &scene.host.memory,
        href.as_str().len() + query.as_str().len(),
    );
    let mut made = String::with_capacity(href.as_str().len() + query.as_str().len() + 1);
    made.push_str(before);
    let query = Some(query.as_str()).filter(|query| !query.is_empty());
    for (mark, part) in [('?', query), ('#', fragment)] {
        if let Some(part) = part {
            made.push(mark);
            made.push_str(part);
        }
    }
    to_js(&scene.ctx, &made)
}

/// Returns the names and values of a query, by turns. A question mark at its start is left out.
fn parse_query<'js>(scene: &Scene<'js>, text: &Value<'js>) -> rquickjs::Result<Array<'js>> {
    let text = Text::of(scene, text)?;
    let query = text.as_str();
    let query = query.strip_prefix('?').unwrap_or(query);
    let list = new_list(scene)?;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        list.set(list.len(), to_js(&scene.ctx, &name)?)?;
        list.set(list.len(), to_js(&scene.ctx, &value)?)?;
    }
    Ok(list)
}

/// Returns the query with the names and values of `list`.
fn serialize_query<'js>(scene: &Scene<'js>, list: &Array<'js>) -> rquickjs::Result<JsString<'js>> {
    let mut query = Serializer::new(String::new());
    let mut held = Vec::new();
    for index in (0..list.len()).step_by(2) {
        let name = Text::of(scene, &list.get(index)?)?;
        let value = Text::of(scene, &list.get(index + 1)?)?;
        let bytes = (name.as_str().len() + value.as_str().len()).saturating_mul(QUERY_BYTES);
        held.push(Held::new(&scene.host.memory, bytes));
        query.append_pair(name.as_str(), value.as_str());
    }
    to_js(&scene.ctx, &query.finish())
}

/// Returns `list` with its pairs sorted by the UTF-16 units of their names. Pairs of one name keep their order.
fn sorted<'js>(scene: &Scene<'js>, list: &Array<'js>) -> rquickjs::Result<Array<'js>> {
    let mut pairs: Vec<(Text<'_>, Value<'js>, Value<'js>)> = Vec::new();
    for index in (0..list.len()).step_by(2) {
        let (name, value) = (list.get(index)?, list.get(index + 1)?);
        pairs.push((Text::of(scene, &name)?, name, value));
    }
    let _held = Held::new(&scene.host.memory, size_of_val(pairs.as_slice()));
    pairs.sort_by(|(left, ..), (right, ..)| {
        let (left, right) = (left.as_str(), right.as_str());
        left.encode_utf16().cmp(right.encode_utf16())
    });
    let sorted = new_list(scene)?;
    for (_, name, value) in pairs {
        sorted.set(sorted.len(), name)?;
        sorted.set(sorted.len(), value)?;
    }
    Ok(sorted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            Just("//"),
            Just("/"),
            Just(":"),
            Just("@"),
            Just("?"),
            Just("#"),
            Just("."),
            Just(".."),
            Just("%2e"),
            Just("\\"),
            Just("["),
            Just("]"),
            Just("::1"),
            Just("0x7f.1"),
            Just("80"),
            Just("65536"),
            Just("a"),
            Just("xn--a"),
            Just("ß"),
            Just("\u{0}"),
            Just("\t"),
            Just(" "),
            Just("C|"),
            Just("file:"),
            Just("http:"),
            Just("web+x:"),
            Just("javascript:"),
            Just("\u{fdd0}"),
            Just("%"),
            Just("\u{200d}"),
        ];
        proptest::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// The glue holds nothing of a URL but its serialisation.
        #[test]
        fn a_serialisation_gives_the_same_url_again(
            base in text(), given in text(), sets in proptest::collection::vec((0..SETTERS.len(), text()), 0..4),
        ) {
            let base = parser::parse(&base, None);
            if let Some(mut url) = parser::parse(&given, base.as_ref()) {
                for (setter, value) in sets {
                    SETTERS[setter](&mut url, &value);
                    let text = url.serialized();
                    prop_assert!(text.is_ascii(), "{text}");
                    let again = parser::parse(&text, None);
                    prop_assert_eq!(again.as_ref(), Some(&url), "{}", text);
                }
                for part in PARTS {
                    part(&url);
                }
            }
        }

        #[test]
        fn what_is_charged_is_enough(given in text()) {
            if let Some(url) = parser::parse(&given, None) {
                let longest = given.len() * ENCODED_BYTES + "/.".len();
                prop_assert!(url.serialized().len() <= longest.max(16), "{}", url.serialized());
            }
        }
    }

    fn parsed(text: &str, base: Option<&str>) -> Option<String> {
        let base = base.map(|base| parser::parse(base, None).unwrap());
        Some(parser::parse(text, base.as_ref())?.serialized())
    }

    #[test]
    fn texts_become_urls_as_the_standard_says() {
        for (text, base, expected) in [
            (
                "HTTP://EXAMPLE.com:80/%7Efoo/../ä?ü#ö",
                None,
                "http://example.com/%C3%A4?%C3%BC#%C3%B6",
            ),
            ("//h/x", Some("https://a/b"), "https://h/x"),
            ("\\\\h\\x", Some("https://a/b"), "https://h/x"),
            (
                "?q",
                Some("https://u:p@a:8/b/c?d#e"),
                "https://u:p@a:8/b/c?q",
            ),
            ("#f", Some("mailto:x"), "mailto:x#f"),
            ("../../x", Some("file:///C:/a/b"), "file:///C:/x"),
            ("/x", Some("file:///C:/a/b"), "file:///C:/x"),
            ("file://localhost//a//../b", None, "file:////a/b"),
            ("file:C|/x", None, "file:///C:/x"),
            ("file://host/C:/x", None, "file://host/C:/x"),
            ("web+x:/..//p", None, "web+x:/.//p"),
            ("data:space   ?q", None, "data:space  %20?q"),
            ("http://u@v:p@h/", None, "http://u%40v:p@h/"),
            ("http://0x7f.1/", None, "http://127.0.0.1/"),
            ("http://4294967295", None, "http://255.255.255.255/"),
            ("http://[1:0:0:2::3]/", None, "http://[1:0:0:2::3]/"),
            ("http://[::127.0.0.1]", None, "http://[::7f00:1]/"),
            ("http://[0:0:1::]", None, "http://[0:0:1::]/"),
            ("http://xn--a/", None, "http://xn--a/"),
            ("http://faß.de/", None, "http://xn--fa-hia.de/"),
            ("x://ä b", None, ""),
            ("http://%zz/", None, ""),
            ("http://1.2.3.256/", None, ""),
            ("http://1.2.3.4.5/", None, ""),
            ("http://[1::2::3]", None, ""),
            ("http://a:65536/", None, ""),
            ("http://u@/x", None, ""),
            ("http:///", None, ""),
            ("//x", None, ""),
            ("x", Some("mailto:y"), ""),
        ] {
            let found = parsed(text, base);
            assert_eq!(found.unwrap_or_default(), expected, "{text} of {base:?}");
        }
    }

    #[test]
    fn a_part_that_cannot_be_set_changes_nothing() {
        for (url, setter, text, expected) in [
            ("http://a/", 0, "ftp", "ftp://a/"),
            ("http://a/", 0, "x", "http://a/"),
            ("http://u@a/", 0, "file", "http://u@a/"),
            ("https://a:80/", 0, "http", "http://a/"),
            ("file:///x", 1, "u", "file:///x"),
            ("http://a/", 3, "b:8x", "http://b:8/"),
            ("http://a/", 4, "b:8", "http://a/"),
            ("http://a/", 4, "", "http://a/"),
            ("http://a:1/", 5, "x", "http://a:1/"),
            ("mailto:x", 6, "y", "mailto:x"),
            ("x:/p", 6, "//q", "x:/.//q"),
            ("http://a/?q", 7, "", "http://a/"),
            ("http://a/", 7, "?'#", "http://a/?%27%23"),
            ("http://a/#f", 8, "#", "http://a/#"),
        ] {
            let mut record = parser::parse(url, None).unwrap();
            SETTERS[setter](&mut record, text);
            assert_eq!(record.serialized(), expected, "{url} {setter} {text}");
        }
    }
}

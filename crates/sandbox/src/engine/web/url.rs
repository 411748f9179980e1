//! The natives of `URL` and `URLSearchParams`: parsing and setting, by the crate `url`.
//!
//! The natives keep no state. A URL is its serialisation, which the glue holds: parsing it again gives the same URL.

use super::text::{Held, Text, new_list, to_js};
use super::{Tools, native};
use crate::engine::realm::Scene;
use rquickjs::{Array, Exception, Object, String as JsString, Value};
use url::form_urlencoded::{self, Serializer};
use url::{Url, quirks};

/// The parts of a URL in the order in which url.js takes them apart.
const PARTS: [fn(&Url) -> String; 10] = [
    |url| quirks::protocol(url).to_owned(),
    |url| quirks::username(url).to_owned(),
    |url| quirks::password(url).to_owned(),
    |url| quirks::host(url).to_owned(),
    |url| quirks::hostname(url).to_owned(),
    |url| quirks::port(url).to_owned(),
    |url| quirks::pathname(url).to_owned(),
    |url| quirks::search(url).to_owned(),
    |url| quirks::hash(url).to_owned(),
    quirks::origin,
];

/// The setters, in the same order. A setter that fails changes nothing, as the standard wants it.
const SETTERS: [fn(&mut Url, &str); 9] = [
    |url, text| _ = quirks::set_protocol(url, text).is_ok(),
    |url, text| _ = quirks::set_username(url, text).is_ok(),
    |url, text| _ = quirks::set_password(url, text).is_ok(),
    |url, text| _ = quirks::set_host(url, text).is_ok(),
    |url, text| _ = quirks::set_hostname(url, text).is_ok(),
    |url, text| _ = quirks::set_port(url, text).is_ok(),
    quirks::set_pathname,
    quirks::set_search,
    quirks::set_hash,
];

/// Memory that parsing takes for each byte of a text, at most: the text, its percent-encoded form, a copy.
const BYTES_PER_BYTE: usize = 7;

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

/// Returns the serialisation of a URL; `undefined` if `text` is none.
fn parse<'js>(
    scene: &Scene<'js>,
    text: &Value<'js>,
    base: &Value<'js>,
) -> rquickjs::Result<Value<'js>> {
    let text = Text::of(scene, text)?;
    let base = if base.is_undefined() {
        None
    } else {
        let base = Text::of(scene, base)?;
        let Ok(base) = parsed(scene, base.as_str(), None) else {
            return Ok(Value::new_undefined(scene.ctx.clone()));
        };
        Some(base)
    };
    match parsed(scene, text.as_str(), base.as_ref()) {
        Ok(url) => Ok(to_js(&scene.ctx, url.as_str())?.into_value()),
        Err(_) => Ok(Value::new_undefined(scene.ctx.clone())),
    }
}

fn parsed(scene: &Scene<'_>, text: &str, base: Option<&Url>) -> Result<Url, url::ParseError> {
    let _held = Held::new(
        &scene.host.memory,
        text.len().saturating_mul(BYTES_PER_BYTE),
    );
    Url::options().base_url(base).parse(text)
}

/// Returns the URL of a serialisation. Throws for any other text: the glue has none.
fn reparsed<'js>(scene: &Scene<'js>, href: &Value<'js>) -> rquickjs::Result<Url> {
    let text = Text::of(scene, href)?;
    parsed(scene, text.as_str(), None)
        .map_err(|_| Exception::throw_type(&scene.ctx, "a URL is needed"))
}

/// Returns the parts of a URL.
fn split<'js>(scene: &Scene<'js>, href: &Value<'js>) -> rquickjs::Result<Array<'js>> {
    let url = reparsed(scene, href)?;
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
    let mut url = reparsed(scene, href)?;
    let Some(set) = SETTERS.get(part) else {
        return Err(Exception::throw_range(&scene.ctx, "there is no such part"));
    };
    let bytes = text.as_str().len().saturating_add(url.as_str().len());
    let _held = Held::new(&scene.host.memory, bytes.saturating_mul(BYTES_PER_BYTE));
    set(&mut url, text.as_str());
    // A serialisation that could not be parsed again would be no URL any more.
    match parsed(scene, url.as_str(), None) {
        Ok(url) => to_js(&scene.ctx, url.as_str()),
        Err(_) => JsString::from_value(href.clone()),
    }
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
        let bytes = (name.as_str().len() + value.as_str().len()).saturating_mul(BYTES_PER_BYTE);
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
        #![proptest_config(ProptestConfig::with_cases(400))]

        /// A panic would end the job process, and the execution as crashed.
        #[test]
        fn no_text_and_no_setter_makes_the_crate_panic(
            base in text(), given in text(), sets in proptest::collection::vec((0..SETTERS.len(), text()), 0..4),
        ) {
            let base = Url::parse(&base).ok();
            if let Ok(mut url) = Url::options().base_url(base.as_ref()).parse(&given) {
                for (setter, value) in sets {
                    SETTERS[setter](&mut url, &value);
                    for part in PARTS {
                        part(&url);
                    }
                    match Url::parse(url.as_str()) {
                        Ok(parsed) => url = parsed,
                        Err(_) => break,
                    }
                }
            }
        }
    }
}

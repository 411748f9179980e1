//! The natives of `Blob`, `Headers`, `Request` and `Response`: line endings, and the checks of names and values.

use super::text::{Text, new_list, to_js};
use super::{Tools, native};
use crate::engine::clock::real_unix_millis;
use crate::engine::realm::Scene;
use rquickjs::{Array, Object, String as JsString, Value};

/// Characters that a name of a header may have besides letters and digits.
const NAME_MARKS: &str = "!#$%&'*+-.^_`|~";
/// Characters that are not part of a value of a header at its start or end.
const WHITESPACE: [char; 4] = ['\t', '\n', '\r', ' '];

pub(super) fn natives_of_blob<'js>(
    tools: &Tools<'js>,
    natives: &Object<'js>,
) -> rquickjs::Result<()> {
    let scene = tools.scene.clone();
    native(tools, natives, "withLineFeeds", move |text: Value<'js>| {
        let text = Text::of(&scene, &text)?;
        let text = text.as_str().replace("\r\n", "\n").replace('\r', "\n");
        to_js(&scene.ctx, &text)
    })?;
    let host = tools.scene.host.clone();
    native(tools, natives, "now", move || now(&host.clock))
}

/// Returns the time as `Date.now` does.
#[allow(clippy::cast_precision_loss)] // milliseconds since 1970 stay below 2^53 for 285,000 years
fn now(clock: &crate::engine::clock::Clock) -> f64 {
    if clock.is_virtual() {
        clock.virtual_unix_millis()
    } else {
        real_unix_millis() as f64
    }
}

pub(super) fn natives_of_headers<'js>(
    tools: &Tools<'js>,
    natives: &Object<'js>,
) -> rquickjs::Result<()> {
    let scene = tools.scene.clone();
    native(tools, natives, "isBytes", move |text: Value<'js>| {
        let text = Text::of(&scene, &text)?;
        Ok::<_, rquickjs::Error>(
            text.as_str()
                .chars()
                .all(|character| u8::try_from(character).is_ok()),
        )
    })?;
    let scene = tools.scene.clone();
    native(tools, natives, "nameOf", move |name: Value<'js>| {
        let name = Text::of(&scene, &name)?;
        let name = Some(name.as_str()).filter(|name| is_token(name));
        text_or_undefined(&scene, name.map(str::to_ascii_lowercase).as_deref())
    })?;
    let scene = tools.scene.clone();
    native(tools, natives, "valueOf", move |value: Value<'js>| {
        let value = Text::of(&scene, &value)?;
        let value = value.as_str().trim_matches(WHITESPACE);
        let is_forbidden = value.contains(['\0', '\n', '\r']);
        text_or_undefined(&scene, (!is_forbidden).then_some(value))
    })?;
    let scene = tools.scene.clone();
    native(tools, natives, "sortedNames", move |list: Array<'js>| {
        sorted_names(&scene, &list)
    })
}

pub(super) fn natives_of_responses<'js>(
    tools: &Tools<'js>,
    natives: &Object<'js>,
) -> rquickjs::Result<()> {
    let scene = tools.scene.clone();
    native(tools, natives, "isReason", move |text: Value<'js>| {
        let text = Text::of(&scene, &text)?;
        let is_allowed =
            |part: char| part == '\t' || (part >= ' ' && part != '\u{7f}' && part <= '\u{ff}');
        Ok::<_, rquickjs::Error>(text.as_str().chars().all(is_allowed))
    })
}

pub(super) fn natives_of_requests<'js>(
    tools: &Tools<'js>,
    natives: &Object<'js>,
) -> rquickjs::Result<()> {
    let scene = tools.scene.clone();
    native(tools, natives, "methodOf", move |method: Value<'js>| {
        let method = Text::of(&scene, &method)?;
        text_or_undefined(&scene, method_of(method.as_str()).as_deref())
    })
}

/// Returns a method of a request as it is sent; `None` for a text that is none, or that no script may use.
fn method_of(method: &str) -> Option<String> {
    const UPPER: [&str; 6] = ["DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT"];
    const FORBIDDEN: [&str; 3] = ["CONNECT", "TRACE", "TRACK"];
    let upper = method.to_ascii_uppercase();
    if !is_token(method) || FORBIDDEN.contains(&upper.as_str()) {
        return None;
    }
    Some(if UPPER.contains(&upper.as_str()) {
        upper
    } else {
        method.to_owned()
    })
}

fn is_token(text: &str) -> bool {
    let is_part = |part: char| part.is_ascii_alphanumeric() || NAME_MARKS.contains(part);
    !text.is_empty() && text.chars().all(is_part)
}

fn text_or_undefined<'js>(scene: &Scene<'js>, text: Option<&str>) -> rquickjs::Result<Value<'js>> {
    match text {
        Some(text) => to_js(&scene.ctx, text).map(JsString::into_value),
        None => Ok(Value::new_undefined(scene.ctx.clone())),
    }
}

/// Returns the names of a list of names and values, each once and sorted.
fn sorted_names<'js>(scene: &Scene<'js>, list: &Array<'js>) -> rquickjs::Result<Array<'js>> {
    let mut names = Vec::new();
    for index in (0..list.len()).step_by(2) {
        names.push(Text::of(scene, &list.get(index)?)?);
    }
    names.sort_by(|left, right| left.as_str().cmp(right.as_str()));
    names.dedup_by(|left, right| left.as_str() == right.as_str());
    let sorted = new_list(scene)?;
    for name in &names {
        sorted.set(sorted.len(), to_js(&scene.ctx, name.as_str())?)?;
    }
    Ok(sorted)
}

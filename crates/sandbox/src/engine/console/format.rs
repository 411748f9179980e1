//! Format strings, as the Console Standard has them: `%s`, `%d`, `%i`, `%f`, `%o`, `%O`, `%c` and `%%`.
//!
//! Guest code may run here (`toString` of an argument), inside the limits. What it throws stands in the text.

use super::super::convert::{self, Stop};
use super::super::realm::{self, Scene};
use super::thrown_text;
use rquickjs::convert::Coerced;
use rquickjs::{CString, FromJs, Value};

/// Returns the text of a format string with its arguments, and the arguments that it does not take; `None` if the first
/// value is no format string, or if there is nothing to put into it.
pub(super) fn formatted<'values, 'js>(
    scene: &Scene<'js>,
    values: &'values [Value<'js>],
) -> Result<Option<(String, &'values [Value<'js>])>, Stop> {
    let Some((first, mut rest)) = values.split_first() else {
        return Ok(None);
    };
    if rest.is_empty() || !first.is_string() {
        return Ok(None);
    }
    let room = scene.host.room_for_log_data();
    let format = text_of(scene, first)?;
    if !format.contains('%') {
        return Ok(None);
    }
    let mut text = String::with_capacity(format.len());
    let mut left = format.as_str();
    while let Some(position) = left.find('%') {
        text.push_str(&left[..position]);
        left = &left[position + 1..];
        let specifier = left.chars().next();
        match (specifier, rest) {
            (Some('%'), _) => text.push('%'),
            (Some(letter @ ('s' | 'd' | 'i' | 'f' | 'o' | 'O' | 'c')), [value, others @ ..]) => {
                text.push_str(&piece(scene, letter, value)?);
                rest = others;
            }
            _ => {
                text.push('%');
                continue;
            }
        }
        left = &left[1..];
        if text.len() > room {
            return Err(Stop::OverBudget);
        }
    }
    text.push_str(left);
    Ok(Some((text, rest)))
}

/// Returns the text of one value. A value that throws while it is read becomes the text that says so.
fn piece<'js>(scene: &Scene<'js>, letter: char, value: &Value<'js>) -> Result<String, Stop> {
    let made = match letter {
        'c' => Ok(String::new()),
        'o' | 'O' => convert::to_json(scene, value, scene.host.room_for_log_data()),
        _ if value.is_symbol() && letter != 's' => Ok("NaN".to_owned()),
        _ if value.is_symbol() => {
            let realm = &scene.realm;
            let text: rquickjs::Result<Value<'js>> = realm.call_with(&realm.symbol_text, value);
            text.map_err(Stop::from)
                .and_then(|text| text_of(scene, &text))
        }
        _ => {
            let text = <Coerced<rquickjs::String<'js>>>::from_js(&scene.ctx, value.clone());
            text.map_err(Stop::from).and_then(|text| match letter {
                's' => text_of(scene, text.0.as_value()),
                _ => number_text(scene, letter, text.0.into_value()),
            })
        }
    };
    match made {
        Err(Stop::Thrown) => thrown_text(scene),
        made => made,
    }
}

/// Returns the number at the begin of a text, as JavaScript writes numbers.
fn number_text<'js>(scene: &Scene<'js>, letter: char, text: Value<'js>) -> Result<String, Stop> {
    let is_whole = letter != 'f';
    let number: Value<'js> = realm::call(&scene.ctx, &scene.realm.number_text, (text, is_whole))?;
    text_of(scene, &number)
}

/// Returns a copy of a text, if it fits into a log entry.
fn text_of<'js>(scene: &Scene<'js>, value: &Value<'js>) -> Result<String, Stop> {
    let Some(text) = value.as_string() else {
        return Ok(String::new());
    };
    let copied = scene
        .host
        .memory
        .attempt(|| CString::from_string(text.clone()));
    let Ok(copied) = copied else {
        scene.ctx.catch();
        return Err(Stop::OverBudget);
    };
    let bytes: &[u8] = copied.as_ref();
    if bytes.len() > scene.host.room_for_log_data() {
        return Err(Stop::OverBudget);
    }
    Ok(convert::well_formed(bytes))
}

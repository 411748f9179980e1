//! Functions that take a locale. There is no `Intl` yet, so a locale or an option that would change the result throws:
//! without `Intl` the engine ignores both, and the result would be wrong.
//!
//! A call without a locale and without options works as before, and so does one that asks for what the engine does
//! anyway (`timeZone: "UTC"`).

use super::{call_original, prototype_of, replace};
use crate::engine::realm::Scene;
use rquickjs::function::Params;
use rquickjs::{Ctx, Exception, FromJs, Value};

/// The methods that take locales and options, by class: the position of the locales, then the name.
const METHODS: [(&str, usize, &str); 7] = [
    ("Number", 0, "toLocaleString"),
    ("BigInt", 0, "toLocaleString"),
    ("Array", 0, "toLocaleString"),
    ("Date", 0, "toLocaleString"),
    ("Date", 0, "toLocaleDateString"),
    ("Date", 0, "toLocaleTimeString"),
    ("String", 1, "localeCompare"),
];
/// Names of the only time zone that there is.
const UTC: [&str; 4] = ["UTC", "GMT", "Etc/UTC", "Etc/GMT"];
/// Languages whose letters have other upper or lower cases than Unicode's default.
const OWN_CASES: [&str; 4] = ["az", "el", "lt", "tr"];
/// Longest part of a locale or an option that a message repeats, characters.
const REPEATED_CHARS_MAX: usize = 40;

pub(super) fn install(scene: &Scene<'_>) -> rquickjs::Result<()> {
    let ctx = &scene.ctx;
    for (class, position, name) in METHODS {
        replace(&prototype_of(ctx, class)?, name, move |original, params| {
            check(&params, name, position)?;
            call_original(original, &params)
        })?;
    }
    let typed_arrays = prototype_of(ctx, "Uint8Array")?.get_prototype();
    if let Some(typed_arrays) = typed_arrays {
        const NAME: &str = "toLocaleString";
        replace(&typed_arrays, NAME, move |original, params| {
            check(&params, NAME, 0)?;
            call_original(original, &params)
        })?;
    }
    for name in ["toLocaleLowerCase", "toLocaleUpperCase"] {
        replace(
            &prototype_of(ctx, "String")?,
            name,
            move |original, params| {
                check_cases(&params, name)?;
                call_original(original, &params)
            },
        )?;
    }
    Ok(())
}

/// Throws if the locales at `position` or the options behind them would change the result.
fn check(params: &Params<'_, '_>, name: &str, position: usize) -> rquickjs::Result<()> {
    let ctx = params.ctx();
    if let Some(locale) = first_locale(ctx, params.arg(position), name)? {
        return Err(not_available(ctx, name, "locale", &locale));
    }
    let Some(options) = params.arg(position + 1) else {
        return Ok(());
    };
    if options.is_null() {
        return Err(Exception::throw_type(
            ctx,
            &format!("{name}: options cannot be null"),
        ));
    }
    let Some(options) = options.as_object() else {
        return Ok(());
    };
    for key in options.keys::<String>() {
        let key = key?;
        let value: Value<'_> = options.get(key.as_str())?;
        let changes_nothing = value.is_undefined() || (key == "timeZone" && is_utc(&value));
        if !changes_nothing {
            return Err(not_available(ctx, name, "option", &key));
        }
    }
    Ok(())
}

/// Throws if the locale has cases of letters of its own.
fn check_cases(params: &Params<'_, '_>, name: &str) -> rquickjs::Result<()> {
    let ctx = params.ctx();
    let Some(locale) = first_locale(ctx, params.arg(0), name)? else {
        return Ok(());
    };
    let language = locale.split('-').next().unwrap_or_default();
    let is_well_formed = (2..=8).contains(&language.len())
        && locale.split('-').all(|part| {
            (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
        });
    if !is_well_formed {
        let message = format!("{name}: \"{}\" is not a locale", repeated(&locale));
        return Err(Exception::throw_range(ctx, &message));
    }
    if OWN_CASES.contains(&language.to_ascii_lowercase().as_str()) {
        return Err(not_available(ctx, name, "locale", &locale));
    }
    Ok(())
}

/// Returns the first of the requested locales; `None` if the call leaves the choice to the engine.
fn first_locale<'js>(
    ctx: &Ctx<'js>,
    locales: Option<Value<'js>>,
    name: &str,
) -> rquickjs::Result<Option<String>> {
    let Some(locales) = locales.filter(|locales| !locales.is_undefined()) else {
        return Ok(None);
    };
    if locales.is_string() {
        return String::from_js(ctx, locales).map(Some);
    }
    if let Some(list) = locales.as_array() {
        let Some(first) = list.iter::<Value<'js>>().next() else {
            return Ok(None);
        };
        let first = first?;
        if first.is_string() {
            return String::from_js(ctx, first).map(Some);
        }
    }
    let message = format!("{name}: a locale must be a string or an array of strings");
    Err(Exception::throw_type(ctx, &message))
}

fn is_utc(value: &Value<'_>) -> bool {
    value
        .as_string()
        .and_then(|text| text.to_string().ok())
        .is_some_and(|zone| UTC.iter().any(|name| name.eq_ignore_ascii_case(&zone)))
}

fn not_available(ctx: &Ctx<'_>, name: &str, what: &str, given: &str) -> rquickjs::Error {
    let given = repeated(given);
    Exception::throw_range(
        ctx,
        &format!(
            "{name} cannot honour the {what} \"{given}\": Intl is not available. Without locale and options it works"
        ),
    )
}

fn repeated(text: &str) -> String {
    text.chars().take(REPEATED_CHARS_MAX).collect()
}

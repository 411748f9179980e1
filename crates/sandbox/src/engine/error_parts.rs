//! The properties of an error, and the errors inside it, as JSON of a bounded size.
//!
//! Out of scope: the texts of an error (`failure`). Guest getters may run while an error is read; what they throw is
//! ignored. Called by `failure`.

use super::convert;
use super::failure;
use super::realm::Scene;
use rquickjs::atom::PredefinedAtom;
use rquickjs::{Atom, CString, Object, Value};
use sandpiper_domain::JsonText;

/// Most keys of an error that are looked at.
const KEYS_MAX: usize = 1_000;
/// Most properties and most errors of an error that are reported, each.
const PARTS_MAX: usize = 100;
/// The properties of an error that have a field of their own in the API, and those that the engine adds.
const OWN_FIELDS: [&str; 8] = [
    "name",
    "message",
    "stack",
    "cause",
    "errors",
    "fileName",
    "lineNumber",
    "columnNumber",
];

/// Returns the own enumerable properties of an error that have no field of their own; `None` if there are none.
pub(super) fn properties<'js>(scene: &Scene<'js>, error: &Object<'js>) -> Option<JsonText> {
    let mut parts = Parts::new(scene, "{");
    for key in error.keys::<Atom<'js>>().take(KEYS_MAX) {
        let Ok(key) = key else {
            scene.ctx.catch();
            break;
        };
        let Ok(name) = key.to_js_string().and_then(CString::from_string) else {
            scene.ctx.catch();
            break;
        };
        let name = convert::well_formed(name.as_ref());
        if OWN_FIELDS.contains(&name.as_str()) {
            continue;
        }
        let value: rquickjs::Result<Value<'js>> = error.get(key);
        if !parts.add(Some(&name), value) {
            break;
        }
    }
    parts.closed("}")
}

/// Returns the errors of an AggregateError, or of an error that has an array of errors as one does.
pub(super) fn errors<'js>(scene: &Scene<'js>, error: &Object<'js>) -> Option<JsonText> {
    let errors: rquickjs::Result<Value<'js>> = error.get("errors");
    let Ok(errors) = errors else {
        scene.ctx.catch();
        return None;
    };
    let errors = errors.as_array()?;
    let length: Value<'js> = errors.as_object().get(PredefinedAtom::Length).ok()?;
    let mut parts = Parts::new(scene, "[");
    for index in 0..failure::as_count(&length).min(PARTS_MAX) {
        if !parts.add(None, errors.get(index)) {
            break;
        }
    }
    parts.closed("]")
}

/// The JSON of an object or an array that belongs to an error, as much of it as there is room for.
struct Parts<'scene, 'js> {
    scene: &'scene Scene<'js>,
    json: String,
    count: usize,
}

impl<'scene, 'js> Parts<'scene, 'js> {
    fn new(scene: &'scene Scene<'js>, opening: &str) -> Self {
        Self {
            scene,
            json: opening.to_owned(),
            count: 0,
        }
    }

    /// Adds a part. Returns false if there is no room for it.
    fn add(&mut self, name: Option<&str>, value: rquickjs::Result<Value<'js>>) -> bool {
        let value = match value {
            Ok(value) => failure::json_of(self.scene, &value),
            Err(_) => {
                self.scene.ctx.catch();
                JsonText::parse(failure::UNREADABLE.to_owned()).ok()
            }
        };
        let name = name.map(|name| serde_json::to_string(name).unwrap_or_default());
        let (Some(value), true) = (value, self.count < PARTS_MAX) else {
            return false;
        };
        let part = name.map_or_else(
            || value.as_str().to_owned(),
            |name| format!("{name}:{}", value.as_str()),
        );
        if self.json.len() + part.len() + 2 > failure::ERROR_VALUE_BYTES_MAX {
            return false;
        }
        if self.count > 0 {
            self.json.push(',');
        }
        self.json.push_str(&part);
        self.count += 1;
        true
    }

    /// Returns the whole; `None` if it has no part.
    fn closed(mut self, closing: &str) -> Option<JsonText> {
        if self.count == 0 {
            return None;
        }
        self.json.push_str(closing);
        JsonText::parse(self.json).ok()
    }
}

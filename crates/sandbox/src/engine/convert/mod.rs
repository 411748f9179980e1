//! JavaScript values as JSON.
//!
//! In scope: the form of every kind of value (docs/values.md has the table). Out of scope: the reaction to a text that
//! does not fit, or to guest code that throws while a value is read. The caller gets a [`Stop`] and decides. Called by
//! `console`, `failure` and `execution`. Guest code may run in here (getters, `toJSON`, proxy traps), always inside the
//! limits.

mod objects;
mod writer;

use super::realm::{Brand, Helper, Scene};
use rquickjs::{CString, Object, Value};
use sandpiper_domain::{Script, ValueType};
pub(super) use writer::well_formed;
pub(super) use writer::{JsonWriter, OverBudget};

/// Deepest nesting of arrays and objects that is written: the same as for an input, so that any input can be a result.
const DEPTH_MAX: usize = Script::JSON_DEPTH_MAX;

#[derive(Debug)]
pub(super) enum Stop {
    OverBudget,
    /// Guest code or the engine threw. The exception is pending in the context.
    Thrown,
}

impl From<OverBudget> for Stop {
    fn from(_: OverBudget) -> Self {
        Self::OverBudget
    }
}

impl From<rquickjs::Error> for Stop {
    fn from(_: rquickjs::Error) -> Self {
        Self::Thrown
    }
}

pub(super) struct Converter<'scene, 'js> {
    scene: &'scene Scene<'js>,
    writer: JsonWriter,
    /// The objects that are being written, outermost first.
    ancestors: Vec<Object<'js>>,
}

/// Returns `value` as JSON of at most `budget` bytes.
pub(super) fn to_json<'js>(
    scene: &Scene<'js>,
    value: &Value<'js>,
    budget: usize,
) -> Result<String, Stop> {
    let mut converter = Converter::new(scene, budget);
    converter.value(value)?;
    Ok(converter.into_text())
}

/// Returns the type of `value` before it becomes JSON.
pub(super) fn type_of<'js>(scene: &Scene<'js>, value: &Value<'js>) -> ValueType {
    if let Some(object) = value.as_object() {
        return type_of_object(scene, object);
    }
    if value.is_null() {
        ValueType::Null
    } else if value.is_bool() {
        ValueType::Boolean
    } else if value.is_number() {
        ValueType::Number
    } else if value.is_string() {
        ValueType::String
    } else if value.is_symbol() {
        ValueType::Symbol
    } else if value.is_big_int() {
        ValueType::Bigint
    } else {
        ValueType::Undefined
    }
}

fn type_of_object<'js>(scene: &Scene<'js>, object: &Object<'js>) -> ValueType {
    if object.is_function() {
        return ValueType::Function;
    }
    if object.is_promise() {
        return ValueType::Promise;
    }
    if object.is_array() {
        return ValueType::Array;
    }
    if object.is_error() {
        return ValueType::Error;
    }
    if object.is_proxy() {
        let is_array = scene.realm.call_with(&scene.realm.is_array, object);
        return match is_array {
            Ok(true) => ValueType::Array,
            _ => ValueType::Object,
        };
    }
    match scene.realm.brand_of(object) {
        Ok(Some((Brand::Date, _))) => ValueType::Date,
        Ok(Some((Brand::Map, _))) => ValueType::Map,
        Ok(Some((Brand::Set, _))) => ValueType::Set,
        Ok(Some((Brand::Regexp, _))) => ValueType::Regexp,
        Ok(Some((Brand::TypedArray, _))) => ValueType::TypedArray,
        Ok(Some((Brand::ArrayBuffer | Brand::DataView, _))) => ValueType::ArrayBuffer,
        Ok(Some((Brand::DomException, _))) => ValueType::Error,
        Ok(Some((Brand::Boxed | Brand::Weak, _)) | None) | Err(_) => ValueType::Object,
    }
}

impl<'scene, 'js> Converter<'scene, 'js> {
    pub(super) fn new(scene: &'scene Scene<'js>, budget: usize) -> Self {
        Self {
            scene,
            writer: JsonWriter::new(budget),
            ancestors: Vec::new(),
        }
    }

    pub(super) fn into_text(self) -> String {
        self.writer.into_text()
    }

    pub(super) fn raw(&mut self, text: &str) -> Result<(), Stop> {
        Ok(self.writer.raw(text)?)
    }

    pub(super) fn text(&mut self, text: &str) -> Result<(), Stop> {
        Ok(self.writer.string(text)?)
    }

    /// Returns the length of the text so far, for [`Converter::rewind`].
    pub(super) fn mark(&self) -> usize {
        self.writer.len()
    }

    /// Removes the text after `mark`, and forgets the objects that were being written.
    pub(super) fn rewind(&mut self, mark: usize) {
        self.writer.truncate(mark);
        self.ancestors.clear();
    }

    pub(super) fn value(&mut self, value: &Value<'js>) -> Result<(), Stop> {
        if let Some(object) = value.as_object() {
            return self.object(object);
        }
        self.primitive(value)
    }

    fn primitive(&mut self, value: &Value<'js>) -> Result<(), Stop> {
        let realm = &self.scene.realm;
        if let Some(integer) = value.as_int() {
            self.writer.integer(integer)?;
        } else if let Some(number) = value.as_number() {
            self.writer.number(number)?;
        } else if value.is_string() {
            self.string(value)?;
        } else if let Some(truth) = value.as_bool() {
            self.writer.raw(if truth { "true" } else { "false" })?;
        } else if value.is_big_int() {
            let text: Value<'js> = realm.call_with(&realm.bigint_text, value)?;
            self.string(&text)?;
        } else if value.is_symbol() {
            let text: Value<'js> = realm.call_with(&realm.symbol_text, value)?;
            self.string(&text)?;
        } else {
            self.writer.raw("null")?;
        }
        Ok(())
    }

    fn string(&mut self, value: &Value<'js>) -> Result<(), Stop> {
        let Some(string) = value.as_string() else {
            return Ok(self.writer.raw("null")?);
        };
        let host = &self.scene.host;
        let copied = host.memory.attempt(|| CString::from_string(string.clone()));
        if let Ok(text) = copied {
            return Ok(self.writer.string_from_engine(text.as_ref())?);
        }
        // There was no memory for a copy. A string that would not have fitted anyway exceeds the budget, which is the
        // better description. A check beforehand would cost one call for every string.
        self.scene.ctx.catch();
        let realm = &self.scene.realm;
        let length: usize = realm.call_with(&realm.string_length, value)?;
        if length <= self.writer.room() {
            host.finish_without_memory();
        }
        Err(Stop::OverBudget)
    }

    fn label(&mut self, helper: &Helper, value: &Value<'js>) -> Result<(), Stop> {
        let text: Value<'js> = self.scene.realm.call_with(helper, value)?;
        self.string(&text)
    }
}

//! JavaScript values as JSON.
//!
//! Its own: the form of every kind of value (docs/values.md has the table). Not its own: what happens when the text does
//! not fit or guest code throws while it is read; that is the caller's, who learns it as a [`Stop`]. Called by `console`,
//! `failure` and `execution`. Guest code may run in here (getters, `toJSON`, proxy traps), always inside the limits.

mod objects;
mod writer;

use super::realm::{Brand, Helper, Scene};
use rquickjs::{CString, Object, Value};
use sandpiper_domain::{Script, ValueType};
pub(super) use writer::well_formed;
use writer::{JsonWriter, OverBudget};

/// How deeply arrays and objects are followed: as deep as an input may be, so that what comes in can go out.
const DEPTH_MAX: usize = Script::JSON_DEPTH_MAX;

/// Why a conversion did not come to its end.
#[derive(Debug)]
pub(super) enum Stop {
    /// The text would be longer than its budget.
    OverBudget,
    /// Guest code threw, or the engine did; the exception is pending in the context.
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

/// One conversion.
pub(super) struct Converter<'scene, 'js> {
    scene: &'scene Scene<'js>,
    writer: JsonWriter,
    /// The objects being written, outermost first.
    ancestors: Vec<Object<'js>>,
}

/// `value` as JSON of at most `budget` bytes.
pub(super) fn to_json<'js>(
    scene: &Scene<'js>,
    value: &Value<'js>,
    budget: usize,
) -> Result<String, Stop> {
    let mut converter = Converter::new(scene, budget);
    converter.value(value)?;
    Ok(converter.into_text())
}

/// What `value` is, before it becomes JSON.
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
        let is_array = scene.realm.ask(&scene.realm.is_array, object);
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

    /// How far the text has come, for [`Converter::rewind`].
    pub(super) fn mark(&self) -> usize {
        self.writer.len()
    }

    /// Forgets what was written after `mark`, and the objects that were being written.
    pub(super) fn rewind(&mut self, mark: usize) {
        self.writer.truncate(mark);
        self.ancestors.clear();
    }

    /// Writes any value.
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
            let text: Value<'js> = realm.ask(&realm.bigint_text, value)?;
            self.string(&text)?;
        } else if value.is_symbol() {
            let text: Value<'js> = realm.ask(&realm.symbol_text, value)?;
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
        // There was no memory for a copy. A string that would not have fitted anyway is over the budget, which is the truer
        // answer; asking first would cost every string a call.
        self.scene.ctx.catch();
        let realm = &self.scene.realm;
        let length: usize = realm.ask(&realm.string_length, value)?;
        if length <= self.writer.room() {
            host.finish_without_memory();
        }
        Err(Stop::OverBudget)
    }

    fn label(&mut self, helper: &Helper, value: &Value<'js>) -> Result<(), Stop> {
        let text: Value<'js> = self.scene.realm.ask(helper, value)?;
        self.string(&text)
    }
}

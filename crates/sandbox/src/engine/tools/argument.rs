//! Arguments of calls as JSON, by the rules of `JSON.stringify`, without its silent losses: a value that JSON cannot express
//! is a TypeError with its path.
//!
//! Guest code may run in here (getters, `toJSON`, proxy traps), always inside the limits.

use super::replay::Helpers;
use super::steps::refuse;
use crate::engine::convert::{JsonWriter, OverBudget};
use crate::engine::failure;
use crate::engine::realm::{Brand, Scene};
use rquickjs::atom::PredefinedAtom;
use rquickjs::convert::Coerced;
use rquickjs::function::This;
use rquickjs::{Atom, CString, Ctx, FromJs, Function, Object, Value};
use sandpiper_domain::Script;
use sandpiper_domain::tools::{ToolName, write_number};
use std::collections::BTreeSet;

/// Longest path in a message, bytes.
const PATH_BYTES_MAX: usize = 512;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    TooLarge,
    /// The argument cannot be expressed, or guest code threw. The exception is pending in the context.
    Thrown,
}

impl From<OverBudget> for Fault {
    fn from(_: OverBudget) -> Self {
        Self::TooLarge
    }
}

impl From<rquickjs::Error> for Fault {
    fn from(_: rquickjs::Error) -> Self {
        Self::Thrown
    }
}

/// Returns the argument of a call of `name` as JSON of at most `most` bytes; `None` if there is none, or if it is
/// `undefined`.
pub(super) fn to_json<'js>(
    scene: &Scene<'js>,
    name: &ToolName,
    value: Option<&Value<'js>>,
    most: usize,
) -> Result<Option<String>, Fault> {
    let Some(value) = value else {
        return Ok(None);
    };
    let replay = scene.host.replay();
    let Some(helpers) = replay.and_then(|replay| replay.helpers.get()) else {
        return Err(Fault::Thrown);
    };
    let mut argument = Argument {
        scene,
        helpers,
        name,
        writer: JsonWriter::new(most),
        ancestors: Vec::new(),
        path: Vec::new(),
    };
    let value = argument.replaced(value.clone(), |ctx| rquickjs::String::from_str(ctx, ""))?;
    if value.is_undefined() {
        return Ok(None);
    }
    argument.value(&value)?;
    Ok(Some(argument.writer.into_text()))
}

struct Argument<'scene, 'js> {
    scene: &'scene Scene<'js>,
    helpers: &'scene Helpers,
    name: &'scene ToolName,
    writer: JsonWriter,
    /// The objects that are being written, outermost first.
    ancestors: Vec<Object<'js>>,
    /// The way to the value that is being written.
    path: Vec<String>,
}

impl<'js> Argument<'_, 'js> {
    /// Returns what the `toJSON` of a value says in its place, or the value.
    fn replaced(
        &self,
        value: Value<'js>,
        key: impl FnOnce(Ctx<'js>) -> rquickjs::Result<rquickjs::String<'js>>,
    ) -> Result<Value<'js>, Fault> {
        let ctx = &self.scene.ctx;
        if value.is_big_int() {
            let json = self.helpers.json_of_bigint.clone().restore(ctx)?;
            return Ok(json.call((value, key(ctx.clone())?))?);
        }
        let Some(object) = value.as_object() else {
            return Ok(value);
        };
        let to_json: Value<'js> = object.get(PredefinedAtom::ToJSON)?;
        match Function::from_value(to_json) {
            Ok(function) => Ok(function.call((This(value.clone()), key(ctx.clone())?))?),
            Err(_) => Ok(value),
        }
    }

    /// Returns the primitive that `JSON.rawJSON` made `object` of.
    fn raw(&self, object: &Object<'js>) -> Result<Option<Value<'js>>, Fault> {
        if object.get_prototype().is_some() {
            return Ok(None);
        }
        let raw = self.helpers.raw_json.clone().restore(&self.scene.ctx)?;
        let value: Value<'js> = raw.call((object.clone(),))?;
        Ok((!value.is_undefined()).then_some(value))
    }

    /// Returns the primitive of a boxed one. That of a number or a string comes from its methods, as in `JSON.stringify`.
    fn unboxed(&self, object: &Object<'js>, inside: Value<'js>) -> Result<Value<'js>, Fault> {
        let ctx = &self.scene.ctx;
        let boxed = object.clone().into_value();
        if inside.is_number() {
            let number = Coerced::<f64>::from_js(ctx, boxed)?;
            return Ok(Value::new_float(ctx.clone(), number.0));
        }
        if inside.is_string() {
            let text = Coerced::<rquickjs::String<'js>>::from_js(ctx, boxed)?;
            return Ok(text.0.into_value());
        }
        Ok(inside)
    }

    fn value(&mut self, value: &Value<'js>) -> Result<(), Fault> {
        if let Some(object) = value.as_object() {
            return self.object(object);
        }
        if let Some(number) = value.as_number() {
            if !number.is_finite() {
                let text = if number.is_nan() { "NaN" } else { "infinite" };
                return self.fail(text);
            }
            let mut text = String::new();
            write_number(&mut text, number);
            return Ok(self.writer.raw(&text)?);
        }
        if let Some(truth) = value.as_bool() {
            return Ok(self.writer.raw(if truth { "true" } else { "false" })?);
        }
        if let Some(string) = value.as_string() {
            let text = CString::from_string(string.clone())?;
            return Ok(self.writer.string_from_engine(text.as_ref())?);
        }
        if value.is_big_int() {
            return self.fail("a BigInt; pass a string or a number");
        }
        if value.is_symbol() {
            return self.fail("a symbol");
        }
        Ok(self.writer.raw("null")?)
    }

    fn object(&mut self, object: &Object<'js>) -> Result<(), Fault> {
        if object.is_function() {
            return self.fail("a function");
        }
        if object.is_promise() {
            return self.fail("a promise; await it first");
        }
        if self.ancestors.contains(object) {
            return self.fail("an object that contains itself");
        }
        if self.ancestors.len() >= Script::JSON_DEPTH_MAX {
            return self.fail("nested too deeply (100 levels)");
        }
        let realm = &self.scene.realm;
        let is_proxy = object.is_proxy();
        let branded = if is_proxy || object.is_array() {
            None
        } else {
            realm.brand_of(object)?
        };
        match branded {
            Some((Brand::TypedArray | Brand::ArrayBuffer | Brand::DataView, _)) => {
                return self.fail("bytes; pass a text, such as that of toBase64");
            }
            Some((Brand::Boxed, inside)) => {
                let inside = self.unboxed(object, inside)?;
                return self.value(&inside);
            }
            Some(_) => {}
            None if is_proxy || object.is_array() => {}
            None => {
                if let Some(raw) = self.raw(object)? {
                    return self.value(&raw);
                }
            }
        }
        let is_array =
            object.is_array() || (is_proxy && realm.call_with(&realm.is_array, object)?);
        self.ancestors.push(object.clone());
        if is_array {
            self.array(object)?;
        } else {
            self.members(object)?;
        }
        self.ancestors.pop();
        Ok(())
    }

    fn array(&mut self, array: &Object<'js>) -> Result<(), Fault> {
        let length: Value<'js> = array.get(PredefinedAtom::Length)?;
        self.writer.raw("[")?;
        for index in 0..failure::as_count(&length) {
            if index > 0 {
                self.writer.raw(",")?;
            }
            // No budget reaches further.
            let index = u32::try_from(index).map_err(|_| Fault::TooLarge)?;
            let item: Value<'js> = array.get(index)?;
            self.path.push(format!("[{index}]"));
            let item = self.replaced(item, |ctx| {
                rquickjs::String::from_str(ctx, &index.to_string())
            })?;
            if item.is_undefined() {
                self.writer.raw("null")?;
            } else {
                self.value(&item)?;
            }
            self.path.pop();
        }
        Ok(self.writer.raw("]")?)
    }

    fn members(&mut self, object: &Object<'js>) -> Result<(), Fault> {
        self.writer.raw("{")?;
        let mut is_first = true;
        // Names with U+FFFD: lone surrogates become that character, so two different names may become one.
        let mut replaced = BTreeSet::new();
        for key in object.keys::<Atom<'js>>() {
            let key = key?;
            let its_name = key.to_js_string()?;
            let name = CString::from_string(its_name.clone())?;
            let text = crate::engine::convert::well_formed(name.as_ref());
            if text.contains(char::REPLACEMENT_CHARACTER) && !replaced.insert(text.to_string()) {
                return self.fail("an object with two names that differ only in lone surrogates");
            }
            let value: Value<'js> = object.get(key)?;
            let value = self.replaced(value, |_| Ok(its_name))?;
            if value.is_undefined() {
                continue;
            }
            if !std::mem::take(&mut is_first) {
                self.writer.raw(",")?;
            }
            self.writer.string(&text)?;
            self.writer.raw(":")?;
            self.path.push(format!(".{text}"));
            self.value(&value)?;
            self.path.pop();
        }
        Ok(self.writer.raw("}")?)
    }

    fn fail(&self, what: &str) -> Result<(), Fault> {
        let mut path = self.path.concat();
        if path.len() > PATH_BYTES_MAX {
            path.truncate(path.floor_char_boundary(PATH_BYTES_MAX));
            path.push('…');
        }
        let message = format!("tools.{}: argument{path} is {what}", self.name);
        refuse(self.scene, &message).map_err(Fault::from)
    }
}

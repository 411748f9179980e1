//! The form of objects: plain objects and arrays are written here, built-in classes with the prelude's help.

use super::{Converter, DEPTH_MAX, Stop};
use crate::engine::failure;
use crate::engine::realm::{Brand, Helper};
use crate::engine::stack;
use rquickjs::atom::PredefinedAtom;
use rquickjs::{Array, Atom, CString, Function, Object, Value};
use std::rc::Rc;

/// The properties of an Error that are written first, enumerable or not.
const ERROR_PARTS: [&str; 3] = ["name", "message", "stack"];

impl<'js> Converter<'_, 'js> {
    pub(super) fn object(&mut self, object: &Object<'js>) -> Result<(), Stop> {
        self.object_once(object, true)
    }

    /// Writes an object. `calls_to_json` is false for the result of a `toJSON`, whose own `toJSON` is not called.
    fn object_once(&mut self, object: &Object<'js>, calls_to_json: bool) -> Result<(), Stop> {
        let is_proxy = object.is_proxy();
        if object.is_function() {
            if is_proxy {
                // Reading the name of a proxy would call a trap.
                return self.text("[Function (anonymous)]");
            }
            let realm = Rc::clone(&self.scene.realm);
            return self.label(&realm.function_text, object);
        }
        if object.is_promise() {
            return self.text("[Promise]");
        }
        if self.ancestors.contains(object) {
            return self.text("[Circular]");
        }
        if self.ancestors.len() >= DEPTH_MAX {
            return self.text("[Too deep]");
        }
        if calls_to_json && let Some(replacement) = self.own_to_json(object)? {
            self.ancestors.push(object.clone());
            let written = match replacement.as_object() {
                // `return this` is allowed and is no cycle.
                Some(same) if same == object => {
                    self.ancestors.pop();
                    return self.object_once(object, false);
                }
                Some(other) => self.object_once(other, false),
                None => self.value(&replacement),
            };
            self.ancestors.pop();
            return written;
        }
        self.ancestors.push(object.clone());
        self.by_class(object, is_proxy)?;
        self.ancestors.pop();
        Ok(())
    }

    /// Returns the result of the object's `toJSON`, if it has one. The built-in `toJSON` of dates is ignored: it calls
    /// `toISOString` by name and has no result for an invalid date.
    fn own_to_json(&self, object: &Object<'js>) -> Result<Option<Value<'js>>, Stop> {
        let to_json: Value<'js> = object.get(PredefinedAtom::ToJSON)?;
        if self.scene.realm.is_date_to_json(&to_json) {
            return Ok(None);
        }
        match Function::from_value(to_json) {
            Ok(function) => Ok(Some(
                function.call((rquickjs::function::This(object.clone()), ""))?,
            )),
            Err(_) => Ok(None),
        }
    }

    fn by_class(&mut self, object: &Object<'js>, is_proxy: bool) -> Result<(), Stop> {
        let realm = Rc::clone(&self.scene.realm);
        if let Some(array) = object.as_array() {
            return self.array(array);
        }
        if is_proxy {
            return if realm.call_with(&realm.is_array, object)? {
                let length: Value<'js> = object.get(PredefinedAtom::Length)?;
                self.indexed(object, failure::as_count(&length))
            } else {
                self.plain(object)
            };
        }
        if object.is_error() {
            return self.error(object);
        }
        let Some((brand, inside)) = realm.brand_of(object)? else {
            return self.plain(object);
        };
        match brand {
            Brand::Date | Brand::Regexp | Brand::Weak | Brand::Boxed => self.primitive(&inside),
            Brand::DomException => self.error(object),
            Brand::Map => self.entries(&inside, &realm.map_chunk, true),
            Brand::Set => self.entries(&inside, &realm.set_chunk, false),
            Brand::TypedArray | Brand::ArrayBuffer | Brand::DataView => {
                let length: usize = realm.call_with(&realm.typed_array_length, &inside)?;
                match inside.as_object() {
                    Some(numbers) => self.indexed(numbers, length),
                    None => self.plain(object),
                }
            }
        }
    }

    fn array(&mut self, array: &Array<'js>) -> Result<(), Stop> {
        // `Array::len` panics from 2^31 on.
        let length: Value<'js> = array.as_object().get(PredefinedAtom::Length)?;
        self.raw("[")?;
        for index in 0..failure::as_count(&length) {
            if index > 0 {
                self.raw(",")?;
            }
            let item: Value<'js> = array.get(index)?;
            self.value(&item)?;
        }
        self.raw("]")
    }

    /// Writes an array-like object that is no Array of this engine.
    fn indexed(&mut self, object: &Object<'js>, length: usize) -> Result<(), Stop> {
        self.raw("[")?;
        for index in 0..length {
            if index > 0 {
                self.raw(",")?;
            }
            let item: Value<'js> = match u32::try_from(index) {
                Ok(small) => object.get(small)?,
                // No budget reaches this far.
                Err(_) => return Err(Stop::OverBudget),
            };
            self.value(&item)?;
        }
        self.raw("]")
    }

    fn entries(
        &mut self,
        iterator: &Value<'js>,
        next_chunk: &Helper,
        in_pairs: bool,
    ) -> Result<(), Stop> {
        self.raw("[")?;
        let mut is_first = true;
        loop {
            let chunk: Array<'js> = self.scene.realm.call_with(next_chunk, iterator)?;
            if chunk.is_empty() {
                return self.raw("]");
            }
            for index in 0..chunk.len() {
                let item: Value<'js> = chunk.get(index)?;
                let opens = !in_pairs || index % 2 == 0;
                if opens && !std::mem::take(&mut is_first) {
                    self.raw(",")?;
                }
                match (in_pairs, opens) {
                    (false, _) => self.value(&item)?,
                    (true, true) => {
                        self.raw("[")?;
                        self.value(&item)?;
                    }
                    (true, false) => {
                        self.raw(",")?;
                        self.value(&item)?;
                        self.raw("]")?;
                    }
                }
            }
        }
    }

    fn plain(&mut self, object: &Object<'js>) -> Result<(), Stop> {
        self.raw("{")?;
        self.properties(object, &[], true)?;
        self.raw("}")
    }

    /// Writes the own enumerable properties with string keys, except `left_out`.
    fn properties(
        &mut self,
        object: &Object<'js>,
        left_out: &[&str],
        mut is_first: bool,
    ) -> Result<(), Stop> {
        for key in object.keys::<Atom<'js>>() {
            let key = key?;
            let name = CString::from_string(key.to_js_string()?)?;
            let name_bytes: &[u8] = name.as_ref();
            if left_out.iter().any(|out| out.as_bytes() == name_bytes) {
                continue;
            }
            if !std::mem::take(&mut is_first) {
                self.raw(",")?;
            }
            self.writer.string_from_engine(name_bytes)?;
            self.raw(":")?;
            let value: Value<'js> = object.get(key)?;
            self.value(&value)?;
        }
        Ok(())
    }

    fn error(&mut self, error: &Object<'js>) -> Result<(), Stop> {
        let mut is_first = true;
        self.raw("{")?;
        for part in ERROR_PARTS {
            if !std::mem::take(&mut is_first) {
                self.raw(",")?;
            }
            self.text(part)?;
            self.raw(":")?;
            let value: Value<'js> = error.get(part)?;
            if part == "stack" && value.is_string() {
                let shown = stack::for_the_user(&self.scene.host, &failure::clipped_text(&value));
                self.text(&shown)?;
            } else {
                self.value(&value)?;
            }
        }
        self.properties(
            error,
            &["name", "message", "stack", "cause", "errors"],
            false,
        )?;
        let cause: Value<'js> = error.get("cause")?;
        if !cause.is_undefined() {
            self.raw(",\"cause\":")?;
            self.value(&cause)?;
        }
        let errors: Value<'js> = error.get("errors")?;
        if errors.is_array() {
            self.raw(",\"errors\":")?;
            self.value(&errors)?;
        }
        Ok(self.writer.raw("}")?)
    }
}

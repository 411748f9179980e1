//! The handles the host keeps into the JavaScript world: primordials and helpers that guest code cannot change.
//!
//! Its own: evaluating the prelude and finding what it gave. Not its own: what is done with it (`convert`, `failure`,
//! `globals`). Called by `warm` once for the host functions and by `execution` once for the run.

use super::host::Host;
use rquickjs::context::EvalOptions;
use rquickjs::{Array, Ctx, FromJs, Function, Object, Value};
use std::rc::Rc;

const PRELUDE: &str = include_str!("prelude.js");

/// The file name of the prelude in stack traces, from which `failure` knows the frames to leave out.
pub(super) const PRELUDE_FILE_NAME: &str = "sandpiper:prelude";

/// A built-in class whose instances have a form of their own in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Brand {
    Date,
    Map,
    Set,
    Regexp,
    TypedArray,
    ArrayBuffer,
    DataView,
    Boxed,
    Weak,
    DomException,
}

/// In the order of `brands` in prelude.js.
const BRANDS: [Brand; 17] = [
    Brand::Date,
    Brand::Map,
    Brand::Set,
    Brand::Regexp,
    Brand::TypedArray,
    Brand::ArrayBuffer,
    Brand::ArrayBuffer,
    Brand::DataView,
    Brand::Boxed,
    Brand::Boxed,
    Brand::Boxed,
    Brand::Boxed,
    Brand::Boxed,
    Brand::Weak,
    Brand::Weak,
    Brand::Weak,
    Brand::DomException,
];

/// How far up a prototype chain a brand is looked for. Real chains have a handful of links; a hostile one has no end.
const PROTOTYPE_CHAIN_MAX: usize = 64;

/// Primordials and helpers, as the prelude took them.
pub(super) struct Realm<'js> {
    object_prototype: Object<'js>,
    branded: Vec<Object<'js>>,
    pub(super) date_to_json: Value<'js>,
    pub(super) map_chunk: Function<'js>,
    pub(super) set_chunk: Function<'js>,
    pub(super) typed_array_length: Function<'js>,
    pub(super) string_length: Function<'js>,
    pub(super) is_array: Function<'js>,
    pub(super) bigint_text: Function<'js>,
    pub(super) symbol_text: Function<'js>,
    pub(super) function_text: Function<'js>,
    pub(super) construct: Function<'js>,
    pub(super) install_virtual_date: Function<'js>,
    open: Function<'js>,
}

/// A context, the host behind it and the handles into it: what every part of the engine needs at hand.
#[derive(Clone)]
pub(super) struct Scene<'js> {
    pub(super) ctx: Ctx<'js>,
    pub(super) host: Rc<Host>,
    pub(super) realm: Rc<Realm<'js>>,
}

/// Evaluates the prelude. Its answer is what [`Realm::load`] reads.
pub(super) fn evaluate_prelude<'js>(ctx: &Ctx<'js>) -> rquickjs::Result<Object<'js>> {
    let mut options = EvalOptions::default();
    options.filename = Some(PRELUDE_FILE_NAME.to_owned());
    let prelude: Function<'js> = ctx.eval_with_options(PRELUDE, options)?;
    prelude.call(())
}

impl<'js> Realm<'js> {
    /// Reads what the prelude gave.
    pub(super) fn load(helpers: &Object<'js>) -> rquickjs::Result<Self> {
        let prototypes: Array<'js> = helpers.get("prototypes")?;
        Ok(Self {
            object_prototype: helpers.get("objectPrototype")?,
            branded: prototypes.iter().collect::<Result<_, _>>()?,
            date_to_json: helpers.get("dateToJSON")?,
            map_chunk: helpers.get("mapChunk")?,
            set_chunk: helpers.get("setChunk")?,
            typed_array_length: helpers.get("typedArrayLength")?,
            string_length: helpers.get("stringLength")?,
            is_array: helpers.get("isArray")?,
            bigint_text: helpers.get("bigintText")?,
            symbol_text: helpers.get("symbolText")?,
            function_text: helpers.get("functionText")?,
            construct: helpers.get("construct")?,
            install_virtual_date: helpers.get("installVirtualDate")?,
            open: helpers.get("open")?,
        })
    }

    /// What built-in class `object` belongs to and what stands inside it. Runs no guest code: a class is recognised by
    /// the prototype chain and then proved by the engine, and the search stops at a proxy.
    pub(super) fn brand_of(
        &self,
        object: &Object<'js>,
    ) -> rquickjs::Result<Option<(Brand, Value<'js>)>> {
        let mut prototype = object.get_prototype();
        for _ in 0..PROTOTYPE_CHAIN_MAX {
            let Some(link) = prototype else {
                return Ok(None);
            };
            if link == self.object_prototype {
                return Ok(None);
            }
            if let Some(index) = self.branded.iter().position(|known| *known == link) {
                let inside: Value<'js> = self.open.call((index, object.clone()))?;
                let brand = BRANDS.get(index).copied();
                return Ok(brand
                    .filter(|_| !inside.is_undefined())
                    .map(|brand| (brand, inside)));
            }
            if link.is_proxy() {
                return Ok(None);
            }
            prototype = link.get_prototype();
        }
        Ok(None)
    }

    /// Whether `object` is an error: an Error, or the DOMException that `atob` throws, which is a class of its own here.
    /// Runs no guest code; a proxy is not one.
    pub(super) fn is_error(&self, object: &Object<'js>) -> bool {
        if object.is_error() {
            return true;
        }
        !object.is_proxy() && matches!(self.brand_of(object), Ok(Some((Brand::DomException, _))))
    }

    /// Calls one of the helpers that take one value.
    pub(super) fn ask<R: FromJs<'js>>(
        &self,
        helper: &Function<'js>,
        value: &Value<'js>,
    ) -> rquickjs::Result<R> {
        helper.call((value.clone(),))
    }
}

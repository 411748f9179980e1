//! The host's handles into the JavaScript world: primordials and helpers that guest code cannot change.
//!
//! In scope: evaluating the prelude and loading its results. Out of scope: their use (`convert`, `failure`, `globals`).
//! Called by `warm` once for the host functions and by `execution` once for the run.

use super::host::Host;
use rquickjs::context::EvalOptions;
use rquickjs::function::IntoArgs;
use rquickjs::{Array, Ctx, FromJs, Function, Object, Persistent, Value};
use std::cell::RefCell;
use std::rc::Rc;

const PRELUDE: &str = include_str!("prelude.js");

/// The file name of the prelude in stack traces. `failure` removes its frames.
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

/// The brands, in the order of `brands` in prelude.js.
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

/// Longest prototype chain that is searched for a brand. Real chains have a handful of links; a hostile chain has no
/// end.
const PROTOTYPE_CHAIN_MAX: usize = 64;

/// A function of the prelude. It is kept without a reference from the context and restored only where it is used:
/// raising a reference count writes to the object's page, which costs a page copy after a fork.
pub(super) type Helper = Persistent<Function<'static>>;

/// Primordials and helpers, as the prelude captured them.
pub(super) struct Realm {
    object_prototype: Persistent<Object<'static>>,
    error_prototype: Persistent<Object<'static>>,
    branded: Vec<Persistent<Object<'static>>>,
    date_to_json: Persistent<Value<'static>>,
    pub(super) map_chunk: Helper,
    pub(super) set_chunk: Helper,
    pub(super) typed_array_length: Helper,
    pub(super) string_length: Helper,
    pub(super) is_array: Helper,
    pub(super) bigint_text: Helper,
    pub(super) symbol_text: Helper,
    pub(super) function_text: Helper,
    pub(super) number_text: Helper,
    pub(super) construct: Helper,
    pub(super) install_virtual_date: Helper,
    open: Helper,
    /// The function that asks the listeners of the global object, once there is one (`reports`).
    reporter: RefCell<Option<Helper>>,
}

/// A context, the host behind it and the handles into it: the common arguments of all parts of the engine.
#[derive(Clone)]
pub(super) struct Scene<'js> {
    pub(super) ctx: Ctx<'js>,
    pub(super) host: Rc<Host>,
    pub(super) realm: Rc<Realm>,
}

/// Evaluates the prelude. [`Realm::load`] reads the result.
pub(super) fn evaluate_prelude<'js>(ctx: &Ctx<'js>) -> rquickjs::Result<Object<'js>> {
    let mut options = EvalOptions::default();
    options.filename = Some(PRELUDE_FILE_NAME.to_owned());
    let prelude: Function<'js> = ctx.eval_with_options(PRELUDE, options)?;
    prelude.call(())
}

impl Realm {
    pub(super) fn load<'js>(ctx: &Ctx<'js>, helpers: &Object<'js>) -> rquickjs::Result<Self> {
        let helper = |name: &str| -> rquickjs::Result<Helper> {
            Ok(Persistent::save(
                ctx,
                helpers.get::<_, Function<'js>>(name)?,
            ))
        };
        let object_prototype: Object<'js> = helpers.get("objectPrototype")?;
        let error_prototype: Object<'js> = helpers.get("errorPrototype")?;
        let date_to_json: Value<'js> = helpers.get("dateToJSON")?;
        let prototypes: Array<'js> = helpers.get("prototypes")?;
        let branded = prototypes
            .iter::<Object<'js>>()
            .map(|prototype| Ok(Persistent::save(ctx, prototype?)));
        Ok(Self {
            object_prototype: Persistent::save(ctx, object_prototype),
            error_prototype: Persistent::save(ctx, error_prototype),
            branded: branded.collect::<rquickjs::Result<_>>()?,
            date_to_json: Persistent::save(ctx, date_to_json),
            map_chunk: helper("mapChunk")?,
            set_chunk: helper("setChunk")?,
            typed_array_length: helper("typedArrayLength")?,
            string_length: helper("stringLength")?,
            is_array: helper("isArray")?,
            bigint_text: helper("bigintText")?,
            symbol_text: helper("symbolText")?,
            function_text: helper("functionText")?,
            number_text: helper("numberText")?,
            construct: helper("construct")?,
            install_virtual_date: helper("installVirtualDate")?,
            open: helper("open")?,
            reporter: RefCell::default(),
        })
    }

    /// Returns whether the script has listeners of the global object.
    pub(super) fn has_reporter(&self) -> bool {
        self.reporter.borrow().is_some()
    }

    pub(super) fn reporter(&self) -> Option<Helper> {
        self.reporter.borrow().clone()
    }

    pub(super) fn set_reporter(&self, reporter: Helper) {
        self.reporter.replace(Some(reporter));
    }

    /// Returns the built-in class of `object` and the value inside it. Runs no guest code: the prototype chain names a
    /// candidate, the engine proves it, and the search stops at a proxy.
    pub(super) fn brand_of<'js>(
        &self,
        object: &Object<'js>,
    ) -> rquickjs::Result<Option<(Brand, Value<'js>)>> {
        let mut prototype = object.get_prototype();
        for _ in 0..PROTOTYPE_CHAIN_MAX {
            let Some(link) = prototype else {
                return Ok(None);
            };
            let kept = Persistent::save(object.ctx(), link.clone());
            if kept == self.object_prototype {
                return Ok(None);
            }
            if let Some(index) = self.branded.iter().position(|known| *known == kept) {
                let inside: Value<'js> = call(object.ctx(), &self.open, (index, object.clone()))?;
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

    /// Returns whether `object` is an Error, or the DOMException that `atob` throws, which is a class of its own here.
    /// Runs no guest code; a proxy is no error.
    pub(super) fn is_error(&self, object: &Object<'_>) -> bool {
        if object.is_error() {
            return true;
        }
        !object.is_proxy() && matches!(self.brand_of(object), Ok(Some((Brand::DomException, _))))
    }

    /// Returns whether `object` is a DOMException, whatever its prototype is. Runs no guest code.
    pub(super) fn is_dom_exception(&self, object: &Object<'_>) -> bool {
        if object.is_proxy() {
            return false;
        }
        let index = BRANDS
            .iter()
            .position(|brand| *brand == Brand::DomException);
        let inside: rquickjs::Result<Value<'_>> =
            call(object.ctx(), &self.open, (index, object.clone()));
        inside.is_ok_and(|inside| !inside.is_undefined())
    }

    /// Returns whether `object` is an error by its prototypes alone, as classes from before `class` make them. Runs no
    /// guest code: the search stops at a proxy.
    pub(super) fn inherits_from_error<'js>(&self, object: &Object<'js>) -> bool {
        let mut link = Some(object.clone());
        for _ in 0..PROTOTYPE_CHAIN_MAX {
            let Some(object) = link.filter(|object| !object.is_proxy()) else {
                return false;
            };
            let prototype = object.get_prototype();
            let is_found = prototype.as_ref().is_some_and(|prototype| {
                Persistent::save(object.ctx(), prototype.clone()) == self.error_prototype
            });
            if is_found {
                return true;
            }
            link = prototype;
        }
        false
    }

    /// Returns whether `function` is the original `toJSON` of dates.
    pub(super) fn is_date_to_json<'js>(&self, function: &Value<'js>) -> bool {
        Persistent::save(function.ctx(), function.clone()) == self.date_to_json
    }

    pub(super) fn call_with<'js, R: FromJs<'js>>(
        &self,
        helper: &Helper,
        value: &Value<'js>,
    ) -> rquickjs::Result<R> {
        call(value.ctx(), helper, (value.clone(),))
    }
}

pub(super) fn call<'js, R: FromJs<'js>>(
    ctx: &Ctx<'js>,
    helper: &Helper,
    arguments: impl IntoArgs<'js>,
) -> rquickjs::Result<R> {
    helper.clone().restore(ctx)?.call(arguments)
}

//! `Error.isError`, which does not know that a DOMException is an error.

use super::{call_original, replace};
use crate::engine::realm::Scene;
use rquickjs::{IntoJs, Object};
use std::rc::Rc;

pub(super) fn install<'js>(scene: &Scene<'js>) -> rquickjs::Result<()> {
    let error: Object<'js> = scene.ctx.globals().get("Error")?;
    let realm = Rc::clone(&scene.realm);
    replace(&error, "isError", move |original, params| {
        let given = params.arg(0);
        let object = given.as_ref().and_then(|given| given.as_object());
        if object.is_some_and(|object| realm.is_dom_exception(object)) {
            return true.into_js(params.ctx());
        }
        call_original(original, &params)
    })
}

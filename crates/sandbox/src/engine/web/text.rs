//! Strings of scripts as UTF-8, and memory that natives hold for a moment.

use crate::engine::allocator::MemoryAccount;
use crate::engine::convert::well_formed;
use crate::engine::realm::Scene;
use rquickjs::{Array, CString, Ctx, Exception, String as JsString, Value};

/// Memory that a native holds, charged to the execution until it is dropped.
pub(super) struct Held<'a> {
    account: &'a MemoryAccount,
    bytes: usize,
}

impl<'a> Held<'a> {
    /// Charges `bytes`. Ends the execution if that exceeds its limit.
    pub(super) fn new(account: &'a MemoryAccount, bytes: usize) -> Self {
        account.charge(bytes);
        Self { account, bytes }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.account.discharge(self.bytes);
    }
}

/// A string of a script as UTF-8, with U+FFFD for each lone surrogate.
pub(super) struct Text<'a> {
    text: String,
    _held: Held<'a>,
}

impl<'a> Text<'a> {
    /// Copies a string. Throws a TypeError if `value` is none: the glue has converted it.
    pub(super) fn of<'js>(scene: &'a Scene<'js>, value: &Value<'js>) -> rquickjs::Result<Self> {
        let Some(string) = value.as_string() else {
            return Err(Exception::throw_type(&scene.ctx, "a string is needed"));
        };
        // The exception of the engine is pending: there was no memory for the copy.
        let copied = CString::from_string(string.clone());
        let copied = copied.map_err(|_| rquickjs::Error::Exception)?;
        let bytes: &[u8] = copied.as_str().as_bytes();
        let held = Held::new(&scene.host.memory, bytes.len());
        Ok(Self {
            text: well_formed(bytes),
            _held: held,
        })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }
}

/// Returns `text` as a string of the engine.
pub(super) fn to_js<'js>(ctx: &Ctx<'js>, text: &str) -> rquickjs::Result<JsString<'js>> {
    JsString::from_str(ctx.clone(), text)
}

/// Returns an array without a prototype, whose elements no setter of guest code can intercept.
pub(super) fn new_list<'js>(scene: &Scene<'js>) -> rquickjs::Result<Array<'js>> {
    let list = Array::new(scene.ctx.clone())?;
    list.as_object().set_prototype(None)?;
    Ok(list)
}

//! Web APIs: `URL`, `TextDecoder`, `crypto` and the like, taken up when a script first uses one.
//!
//! In scope: the parts, their bytecode, and the global names that stand for them. Out of scope: the APIs themselves. Each
//! is a part: a file of JavaScript (the glue) with the shape of the interface, and natives in Rust for the work.
//!
//! A script that uses no part pays for none. The build script compiles the glue to bytecode, which lies outside the
//! engine's heap. In the zygote each name becomes an accessor of the global object. The first use of a name reads the
//! bytecode of its part, evaluates it, and puts a data property in the place of the accessor. For a few small parts that
//! many scripts use ([`WARM`]) the zygote is that first use; for all others a job process is.
//!
//! Guest code may have changed every built-in object before that first use. So the glue uses nothing but the primordials,
//! which primordials.js takes in the zygote. Neither the glue nor a native has a power that a guest does not have.

mod aes;
pub(super) mod bytecode;
mod bytes;
mod clone;
mod compression;
mod crypto;
mod curve25519;
mod der;
mod ec;
mod encoding;
mod events;
mod fetch;
mod multipart;
mod owned;
mod rsa;
mod rsakeys;
mod text;
mod url;

use self::bytecode::bytecode;
pub(super) use self::owned::OwnedBytes;
use super::realm::Scene;
use super::timers::Timers;
use rquickjs::function::IntoJsFunc;
use rquickjs::{Exception, Function, Object, Persistent, Value};
use std::cell::RefCell;
use std::rc::Rc;

const PRIMORDIALS: &[u8] = bytecode!("primordials");

/// The context and the state that natives use.
#[derive(Clone)]
struct Tools<'js> {
    scene: Scene<'js>,
    timers: Rc<Timers>,
}

type Natives = for<'js> fn(&Tools<'js>, &Object<'js>) -> rquickjs::Result<()>;

/// A part of the web APIs. Its names are taken up together.
struct Part {
    name: &'static str,
    /// The names that the part has on the global object.
    globals: &'static [&'static str],
    /// The glue: a function of the primordials, the natives and [`Web::exports`], which returns an object with the part's
    /// globals and with helpers for other parts.
    glue: &'static [u8],
    natives: Natives,
}

impl Part {
    const fn new(
        name: &'static str,
        globals: &'static [&'static str],
        glue: &'static [u8],
        natives: Natives,
    ) -> Self {
        Self {
            name,
            globals,
            glue,
            natives,
        }
    }
}

const PARTS: [Part; 40] = [
    Part::new("shared", &[], bytecode!("shared"), no_natives),
    Part::new(
        "url",
        &["URL", "URLSearchParams"],
        bytecode!("url"),
        url::natives,
    ),
    Part::new("patterns", &[], bytecode!("patterns"), no_natives),
    Part::new(
        "patterninit",
        &[],
        bytecode!("patterninit"),
        url::natives_of_patterns,
    ),
    Part::new(
        "urlpattern",
        &["URLPattern"],
        bytecode!("urlpattern"),
        no_natives,
    ),
    Part::new(
        "encoding",
        &["TextEncoder", "TextDecoder"],
        bytecode!("encoding"),
        encoding::natives,
    ),
    Part::new(
        "clone",
        &["structuredClone"],
        bytecode!("clone"),
        clone::natives,
    ),
    Part::new(
        "events",
        &["Event", "EventTarget", "CustomEvent", "Performance"],
        bytecode!("events"),
        no_natives,
    ),
    Part::new(
        "reports",
        &["ErrorEvent", "PromiseRejectionEvent", "reportError"],
        bytecode!("reports"),
        events::natives_of_reports,
    ),
    Part::new(
        "abort",
        &["AbortController", "AbortSignal"],
        bytecode!("abort"),
        events::natives_of_abort,
    ),
    Part::new(
        "crypto",
        &["crypto", "Crypto"],
        bytecode!("crypto"),
        crypto::natives,
    ),
    Part::new("keys", &[], bytecode!("keys"), crypto::natives_of_keys),
    Part::new(
        "subtle",
        &["SubtleCrypto", "CryptoKey"],
        bytecode!("subtle"),
        crypto::natives_of_subtle,
    ),
    Part::new("jwk", &[], bytecode!("jwk"), no_natives),
    Part::new(
        "symmetric",
        &[],
        bytecode!("symmetric"),
        crypto::natives_of_symmetric,
    ),
    Part::new("elliptic", &[], bytecode!("elliptic"), ec::natives),
    Part::new(
        "curve25519",
        &[],
        bytecode!("curve25519"),
        curve25519::natives,
    ),
    Part::new("rsa", &[], bytecode!("rsa"), rsa::natives),
    Part::new(
        "navigator",
        &["navigator", "Navigator"],
        bytecode!("navigator"),
        navigator,
    ),
    Part::new(
        "queues",
        &["ByteLengthQueuingStrategy", "CountQueuingStrategy"],
        bytecode!("queues"),
        no_natives,
    ),
    Part::new(
        "readable",
        &[
            "ReadableStream",
            "ReadableStreamDefaultReader",
            "ReadableStreamDefaultController",
        ],
        bytecode!("readable"),
        no_natives,
    ),
    Part::new("iteration", &[], bytecode!("iteration"), no_natives),
    Part::new(
        "bytestreams",
        &["ReadableByteStreamController"],
        bytecode!("bytestreams"),
        no_natives,
    ),
    Part::new(
        "byobrequest",
        &["ReadableStreamBYOBRequest"],
        bytecode!("byobrequest"),
        no_natives,
    ),
    Part::new("sources", &[], bytecode!("sources"), no_natives),
    Part::new(
        "writer",
        &["WritableStreamDefaultWriter"],
        bytecode!("writer"),
        no_natives,
    ),
    Part::new(
        "byobreader",
        &["ReadableStreamBYOBReader"],
        bytecode!("byobreader"),
        no_natives,
    ),
    Part::new("bytetee", &[], bytecode!("bytetee"), no_natives),
    Part::new("pipes", &[], bytecode!("pipes"), no_natives),
    Part::new(
        "writable",
        &["WritableStream", "WritableStreamDefaultController"],
        bytecode!("writable"),
        no_natives,
    ),
    Part::new(
        "transform",
        &["TransformStream", "TransformStreamDefaultController"],
        bytecode!("transform"),
        no_natives,
    ),
    Part::new(
        "textstreams",
        &["TextEncoderStream", "TextDecoderStream"],
        bytecode!("textstreams"),
        no_natives,
    ),
    Part::new(
        "blob",
        &["Blob", "File"],
        bytecode!("blob"),
        fetch::natives_of_blob,
    ),
    Part::new("forms", &["FormData"], bytecode!("forms"), no_natives),
    Part::new(
        "headers",
        &["Headers"],
        bytecode!("headers"),
        fetch::natives_of_headers,
    ),
    Part::new(
        "messages",
        &["MessageChannel", "MessageEvent", "MessagePort"],
        bytecode!("messages"),
        events::natives_of_messages,
    ),
    Part::new(
        "compression",
        &["CompressionStream", "DecompressionStream"],
        bytecode!("compression"),
        compression::natives,
    ),
    Part::new("bodies", &[], bytecode!("bodies"), multipart::natives),
    Part::new(
        "responses",
        &["Response"],
        bytecode!("responses"),
        fetch::natives_of_responses,
    ),
    Part::new(
        "requests",
        &["Request", "fetch"],
        bytecode!("requests"),
        fetch::natives_of_requests,
    ),
];

/// Parts that the zygote takes up. Their blocks lie apart from those that every execution writes to.
const WARM: [&str; 5] = ["shared", "url", "encoding", "clone", "crypto"];

fn no_natives<'js>(_: &Tools<'js>, _: &Object<'js>) -> rquickjs::Result<()> {
    Ok(())
}

fn navigator<'js>(tools: &Tools<'js>, natives: &Object<'js>) -> rquickjs::Result<()> {
    const USER_AGENT: &str = concat!("Sandpiper/", env!("CARGO_PKG_VERSION"));
    native(tools, natives, "userAgent", || USER_AGENT)
}

/// The parts of a context.
struct Web {
    /// The exports of each part that was taken up.
    taken: RefCell<[Option<Persistent<Object<'static>>>; PARTS.len()]>,
    primordials: RefCell<Option<Persistent<Object<'static>>>>,
}

impl Default for Web {
    fn default() -> Self {
        Self {
            taken: RefCell::new([const { None }; PARTS.len()]),
            primordials: RefCell::default(),
        }
    }
}

/// Takes the primordials, and defines the names of the parts on the global object. Returns the bytes of the parts that
/// the zygote takes up. They do not count against the memory of an execution, which may use none of them.
pub(super) fn install<'js>(scene: &Scene<'js>, timers: &Rc<Timers>) -> rquickjs::Result<usize> {
    let tools = Tools {
        scene: scene.clone(),
        timers: Rc::clone(timers),
    };
    let web = Rc::<Web>::default();
    let setup: Function<'js> = bytecode::read(&scene.ctx, PRIMORDIALS)?;
    let globals = Object::new_proto(scene.ctx.clone(), None)?;
    for (index, part) in PARTS.iter().enumerate() {
        for name in part.globals {
            globals.set(*name, index)?;
        }
    }
    let taken = Rc::clone(&web);
    let take = Function::new(scene.ctx.clone(), move |index: usize| {
        taken.exports(&tools, index)
    })?;
    let primordials: Object<'js> = setup.call((take, globals))?;
    let primordials = Persistent::save(&scene.ctx, primordials);
    web.primordials.replace(Some(primordials));
    let held = scene.host.memory.current();
    let names = PARTS
        .iter()
        .filter(|part| WARM.contains(&part.name))
        .flat_map(|part| part.globals);
    for name in names {
        scene.ctx.globals().get::<_, Value<'js>>(*name)?;
    }
    let uncounted = scene.host.memory.current().saturating_sub(held);
    scene.host.memory.discharge(uncounted);
    Ok(uncounted)
}

impl Web {
    /// Returns what the glue of a part returned. Evaluates the glue if this is the part's first use.
    fn exports<'js>(
        self: &Rc<Self>,
        tools: &Tools<'js>,
        index: usize,
    ) -> rquickjs::Result<Object<'js>> {
        let ctx = &tools.scene.ctx;
        let Some(part) = PARTS.get(index) else {
            return Err(Exception::throw_range(ctx, "there is no such part"));
        };
        let taken = self.taken.borrow()[index].clone();
        if let Some(exports) = taken {
            return exports.restore(ctx);
        }
        let primordials = self.primordials.borrow().clone();
        let Some(primordials) = primordials else {
            return Err(Exception::throw_range(ctx, "the parts are not installed"));
        };
        let natives = Object::new_proto(ctx.clone(), None)?;
        (part.natives)(tools, &natives)?;
        let glue: Function<'js> = bytecode::read(ctx, part.glue)?;
        let (web, tools_of_calls) = (Rc::clone(self), tools.clone());
        let other = move |name: String| {
            let index = PARTS.iter().position(|part| part.name == name);
            web.exports(&tools_of_calls, index.unwrap_or(usize::MAX))
        };
        let other = Function::new(ctx.clone(), other)?;
        let exports: Object<'js> = glue.call((primordials.restore(ctx)?, natives, other))?;
        let kept = Persistent::save(ctx, exports.clone());
        self.taken.borrow_mut()[index] = Some(kept);
        Ok(exports)
    }
}

/// Gives the glue a native. Natives are no constructors.
fn native<'js, P, F: IntoJsFunc<'js, P> + 'js>(
    tools: &Tools<'js>,
    natives: &Object<'js>,
    name: &'static str,
    act: F,
) -> rquickjs::Result<()> {
    let act = Function::new(tools.scene.ctx.clone(), act)?;
    natives.set(name, act.with_name(name)?)
}

#[cfg(test)]
mod tests;

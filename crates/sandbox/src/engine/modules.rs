//! Modules: which module an import means, and how its text becomes a module of the engine.
//!
//! In scope: the engine's resolver and loader, which the zygote installs and which know only the modules of the job. Out
//! of scope: running a module (`kinds`) and the places of imports in a text (`imports`). The engine calls both from the
//! compilation of a module that imports, and from the job of an `import()`.
//!
//! The engine frees a module that could not be compiled, although modules that import it may point to it (a circle).
//! So no module that was loaded together with a failed one is ever handed out: [`Loads`] refuses their names.

use super::host::Host;
use super::{imports, typescript};
use rquickjs::loader::{ImportAttributes, Loader, Resolver};
use rquickjs::module::Declared;
use rquickjs::object::Property;
use rquickjs::{Ctx, Error, Exception, Module, Runtime};
use sandpiper_domain::{ScriptKind, resolve_module};
use std::cell::RefCell;
use std::rc::Rc;

/// Longest specifier that is resolved, bytes. No name of a module is as long.
const SPECIFIER_BYTES_MAX: usize = 4096;
/// Most names of modules in a message.
const NAMES_SHOWN_MAX: usize = 10;
/// Longest part of a name in a message, bytes.
const NAME_SHOWN_BYTES_MAX: usize = 200;

/// Has the engine of this runtime load modules from `host`.
pub(super) fn install(runtime: &Runtime, host: &Rc<Host>) {
    let loads = Rc::new(Loads::default());
    let resolver = NameResolver {
        host: Rc::clone(host),
        loads: Rc::clone(&loads),
    };
    let loader = TextLoader {
        host: Rc::clone(host),
        loads,
    };
    runtime.set_loader(resolver, loader);
}

/// Makes a module of a text, with its name as `import.meta.url`. Loads the modules that it imports.
pub(super) fn declare<'js>(
    ctx: &Ctx<'js>,
    name: &str,
    text: &str,
) -> rquickjs::Result<Module<'js, Declared>> {
    let module = Module::declare(ctx.clone(), name, text)?;
    let url = Property::from(name).writable().enumerable().configurable();
    module.meta()?.prop("url", url)?;
    Ok(module)
}

struct NameResolver {
    host: Rc<Host>,
    loads: Rc<Loads>,
}

impl Resolver for NameResolver {
    fn resolve<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        importer: &str,
        specifier: &str,
        attributes: Option<ImportAttributes<'js>>,
    ) -> rquickjs::Result<String> {
        let refuse = |message: &str| Err(self.throw(ctx, message, importer, specifier));
        if attributes.is_some_and(|attributes| attributes.keys().next().is_some()) {
            return refuse("import attributes (`with { … }`) are not supported");
        }
        if specifier.len() > SPECIFIER_BYTES_MAX {
            return refuse(&self.not_found(importer, specifier, specifier));
        }
        let meant = resolve_module(importer, specifier);
        if let Some(failed) = self.loads.failure_of(&meant) {
            let message = if failed == meant {
                format!("the module \"{meant}\" could not be loaded before")
            } else {
                format!(
                    "the module \"{meant}\" is not available: it was loaded together with \"{failed}\", which failed"
                )
            };
            return refuse(&message);
        }
        if self.host.module(&meant).is_none() {
            return refuse(&self.not_found(importer, specifier, &meant));
        }
        Ok(meant)
    }
}

impl NameResolver {
    fn not_found(&self, importer: &str, specifier: &str, meant: &str) -> String {
        let (importer, shown) = (clipped(importer), clipped(specifier));
        let resolved = if meant == specifier {
            String::new()
        } else {
            format!(" (resolved to \"{}\")", clipped(meant))
        };
        let names = self.host.module_names();
        let count = names.len();
        let there_is = if count == 0 {
            "there are no modules; give them in `modules`".to_owned()
        } else {
            let first = names.take(NAMES_SHOWN_MAX);
            let list: Vec<String> = first.map(|name| format!("\"{}\"", clipped(name))).collect();
            let more = match count.saturating_sub(NAMES_SHOWN_MAX) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!("the modules are {}{more}", list.join(", "))
        };
        format!("cannot find module \"{shown}\"{resolved}, which {importer} imports: {there_is}")
    }

    /// Throws a TypeError at the import in the importer's text.
    fn throw<'js>(&self, ctx: &Ctx<'js>, message: &str, importer: &str, specifier: &str) -> Error {
        // The engine cuts a message that it is given after 255 bytes.
        Exception::throw_type(ctx, "");
        let thrown = ctx.catch();
        let text = self.host.source(importer);
        let place = text.and_then(|text| imports::place_of(text, specifier));
        let stack = place.map(|place| format!("    at {importer}:{place}"));
        let completed = thrown.as_object().map_or(Ok(()), |error| {
            error.prop("message", hidden(message))?;
            stack.map_or(Ok(()), |stack| error.prop("stack", hidden(stack)))
        });
        match completed {
            Ok(()) => ctx.throw(thrown),
            Err(error) => error,
        }
    }
}

fn hidden<T>(value: T) -> Property<T> {
    Property::from(value).writable().configurable()
}

struct TextLoader {
    host: Rc<Host>,
    loads: Rc<Loads>,
}

impl Loader for TextLoader {
    fn load<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        name: &str,
        _: Option<ImportAttributes<'js>>,
    ) -> rquickjs::Result<Module<'js, Declared>> {
        let Some(text) = self.host.module(name) else {
            // The resolver has found it.
            return Err(Error::new_loading(name));
        };
        self.loads.begin(name);
        let javascript = typescript::to_javascript(&self.host, name, text, ScriptKind::Module);
        let module = match javascript {
            Ok(javascript) => declare(ctx, name, &javascript),
            Err(refusal) => Err(refusal.throw(ctx, name, text)),
        };
        self.loads.end(name, module.is_ok());
        module
    }
}

/// The loads that go on, one inside the other, and the modules of failed ones.
#[derive(Default)]
struct Loads(RefCell<LoadState>);

#[derive(Default)]
struct LoadState {
    depth: usize,
    /// Modules of the outermost load that goes on.
    current: Vec<String>,
    /// The module that failed first in the outermost load that goes on.
    failing: Option<String>,
    /// Modules that are not handed out any more, each with the module that failed.
    failed: Vec<(String, String)>,
}

impl Loads {
    fn begin(&self, name: &str) {
        let mut state = self.0.borrow_mut();
        state.depth += 1;
        state.current.push(name.to_owned());
    }

    fn end(&self, name: &str, succeeded: bool) {
        let mut state = self.0.borrow_mut();
        state.depth -= 1;
        if !succeeded && state.failing.is_none() {
            state.failing = Some(name.to_owned());
        }
        if state.depth > 0 {
            return;
        }
        let loaded = std::mem::take(&mut state.current);
        if let Some(failing) = state.failing.take() {
            let failed = loaded.into_iter().map(|name| (name, failing.clone()));
            state.failed.extend(failed);
        }
    }

    /// Returns the module whose failure makes `name` unavailable.
    fn failure_of(&self, name: &str) -> Option<String> {
        let state = self.0.borrow();
        let found = state.failed.iter().find(|(failed, _)| failed == name);
        found.map(|(_, failing)| failing.clone())
    }
}

fn clipped(name: &str) -> &str {
    &name[..name.floor_char_boundary(NAME_SHOWN_BYTES_MAX)]
}

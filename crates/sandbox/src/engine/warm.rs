//! The engine, built in advance and used once.
//!
//! In scope: building the runtime and the context, all work that does not depend on the job, and the hand-over to
//! `execution` after the fork. Called by the zygote ([`WarmEngine::warm`]) and by the job process
//! ([`WarmEngine::run`]).

use super::allocator::{CountingAllocator, MemoryAccount};
use super::execution::Execution;
use super::host::Host;
use super::realm::{self, Realm, Scene};
use super::rejections::{REJECTION_BYTES, Rejections};
use super::timers::{self, Timers};
use super::{EngineJob, Output, console, globals, heap, mended, modules, stack_bound, tools, web};
use rquickjs::runtime::RejectionTracker;
use rquickjs::{Context, Ctx, Persistent, Runtime};
use sandpiper_domain::Limits;
use std::convert::Infallible;
use std::mem::ManuallyDrop;
use std::rc::Rc;

/// Garbage before the first collection, bytes: most executions end before it. A collection touches every object of the
/// warm heap, and each page that it touches is copied after a fork.
const FIRST_COLLECTION_AFTER_BYTES: usize = 4 * 1024 * 1024;

#[derive(Debug, thiserror::Error)]
#[error("could not build the JavaScript context: {0}")]
pub struct EngineError(String);

/// A QuickJS context with everything that every execution needs. It is forked and then used for exactly one execution.
pub struct WarmEngine {
    // The process ends with these three, undropped. Freeing a heap that guest code has shaped would be useless work and
    // an opportunity for guest code.
    runtime: ManuallyDrop<Runtime>,
    context: ManuallyDrop<Context>,
    realm: ManuallyDrop<Rc<Realm>>,
    host: Rc<Host>,
    timers: Rc<Timers>,
    rejections: Rc<Rejections>,
    /// Bytes of the engine that do not count against the memory of an execution.
    uncounted_bytes: usize,
}

impl std::fmt::Debug for WarmEngine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("WarmEngine").finish_non_exhaustive()
    }
}

impl WarmEngine {
    /// Builds the engine. Opens the time zone's file unless the environment has `TZ=UTC0`; nothing is opened later.
    pub fn warm() -> Result<Self, EngineError> {
        let memory = Rc::new(MemoryAccount::without_limit());
        let host = Rc::new(Host::new(Rc::clone(&memory)));
        // Every execution raises their reference counts, so they lie together, before the engine's own blocks.
        let (timers, rejections) = <(Rc<Timers>, Rc<Rejections>)>::default();
        let allocator = CountingAllocator::new(Rc::clone(&memory));
        let runtime = Runtime::new_with_alloc(allocator).map_err(no_context)?;
        runtime.set_max_stack_size(Limits::STACK_BYTES);
        let context = Context::full(&runtime).map_err(no_context)?;
        let (realm, uncounted_bytes) = context.with(|ctx| {
            install_host_functions(&ctx, &host, &timers).map_err(|error| {
                let thrown = ctx.catch();
                EngineError(format!("{error}: {thrown:?}"))
            })
        })?;
        modules::install(&runtime, &host);
        runtime.run_gc();
        let asked = Rc::clone(&host);
        runtime.set_interrupt_handler(Some(Box::new(move || asked.should_interrupt())));
        runtime.set_host_promise_rejection_tracker(Some(tracker(&host, &rejections)));
        heap::set_account(&memory);
        Ok(Self {
            runtime: ManuallyDrop::new(runtime),
            context: ManuallyDrop::new(context),
            realm: ManuallyDrop::new(realm),
            host,
            timers,
            rejections,
            uncounted_bytes,
        })
    }

    /// Evaluates `code` outside of any execution. Returns its value as text.
    #[cfg(test)]
    pub(super) fn evaluate_for_test(&self, code: &str) -> String {
        self.context.with(|ctx| {
            let value = ctx.eval::<rquickjs::convert::Coerced<String>, _>(code);
            let text = value.map_or_else(|_| format!("{:?}", ctx.catch()), |text| text.0);
            match self.rejections.oldest() {
                Some(oldest) => format!("rejected: {:?}", oldest.reason.restore(&ctx)),
                None => text,
            }
        })
    }

    /// Runs one job. Its time counts from here. Ends through [`Output::finish`].
    pub fn run(self, job: &EngineJob<'_>, output: Rc<dyn Output>) -> ! {
        self.host.start(job, output);
        let held = self.host.memory.current();
        let room = usize::try_from(job.limits.memory_bytes())
            .unwrap_or(usize::MAX)
            .saturating_sub(held);
        // The engine compares it with all that it holds.
        let held = held + self.uncounted_bytes;
        self.runtime
            .set_gc_threshold(held + FIRST_COLLECTION_AFTER_BYTES.min(room / 4));
        if job.tools.is_some() {
            let bytes = Limits::STACK_BYTES + stack_bound::MARGIN_BYTES;
            self.runtime.set_max_stack_size(bytes);
        }
        match self.context.with(|ctx| self.run_in(&ctx, job)) {}
    }

    fn run_in(&self, ctx: &Ctx<'_>, job: &EngineJob<'_>) -> Infallible {
        stack_bound::count_from_here(ctx);
        let begun = self.begin(ctx);
        match begun {
            Ok(scene) => {
                globals::define_data(&scene, job);
                let timers = Rc::clone(&self.timers);
                Execution::new(scene, timers, Rc::clone(&self.rejections)).run(job)
            }
            // Everything existed in the zygote, so memory is missing now.
            Err(_) => self.host.finish_without_memory(),
        }
    }

    fn begin<'js>(&self, ctx: &Ctx<'js>) -> rquickjs::Result<Scene<'js>> {
        let scene = Scene {
            ctx: ctx.clone(),
            host: Rc::clone(&self.host),
            realm: Rc::clone(&self.realm),
        };
        globals::prepare(&scene)?;
        if let Some(replay) = scene.host.replay() {
            tools::install(&scene, replay)?;
            let floor = stack_bound::position().saturating_sub(Limits::STACK_BYTES);
            scene.host.memory.guard(floor);
        }
        Ok(scene)
    }
}

/// Installs the host's functions in a new context, and triggers the engine's lazy initialisation.
fn install_host_functions<'js>(
    ctx: &Ctx<'js>,
    host: &Rc<Host>,
    timers: &Rc<Timers>,
) -> rquickjs::Result<(Rc<Realm>, usize)> {
    let helpers = realm::evaluate_prelude(ctx)?;
    let scene = Scene {
        ctx: ctx.clone(),
        host: Rc::clone(host),
        realm: Rc::new(Realm::load(ctx, &helpers)?),
    };
    console::install(&scene)?;
    timers::install(&scene, timers)?;
    globals::install(&scene)?;
    mended::install(&scene, &helpers)?;
    let uncounted_bytes = web::install(&scene, timers)?;
    // The first local time reads the time zone's file, which a job process may not open.
    ctx.eval::<(), _>(
        "new Date(2020, 6, 1).toString(), new Date().getTimezoneOffset(), undefined",
    )?;
    Ok((scene.realm, uncounted_bytes))
}

fn tracker(host: &Rc<Host>, rejections: &Rc<Rejections>) -> RejectionTracker {
    let (host, rejections) = (Rc::clone(host), Rc::clone(rejections));
    Box::new(move |ctx, promise, reason, is_handled| {
        let promise = Persistent::save(&ctx, promise);
        let is_interrupt = reason.is_uncatchable_error();
        let reason = Persistent::save(&ctx, reason);
        if is_handled {
            if rejections.remove(&promise) {
                host.memory.discharge(REJECTION_BYTES);
            } else if rejections.add_handled_late(promise, reason) {
                host.memory.charge(REJECTION_BYTES);
            }
            return;
        }
        host.memory.charge(REJECTION_BYTES);
        if is_interrupt {
            rejections.note_interrupt(reason.clone());
        }
        rejections.add(promise, reason);
    })
}

fn no_context(error: rquickjs::Error) -> EngineError {
    EngineError(error.to_string())
}

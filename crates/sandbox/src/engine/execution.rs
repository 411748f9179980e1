//! One execution: the sources in their order, the loop of microtasks and timers, and the end.
//!
//! In scope: when a source is complete, and when the execution is over (docs/values.md has the rule). Out of scope: the
//! meaning of a failure (`failure`) and the form of a value (`convert`). Called by `warm` after the fork.

use super::convert::{self, Stop};
use super::realm::Scene;
use super::rejections::Rejections;
use super::timers::Timers;
use super::{EngineJob, advice, failure, numbered, reports, tools, typescript};
use rquickjs::context::EvalOptions;
use rquickjs::promise::PromiseState;
use rquickjs::{Promise, Value};
use sandpiper_domain::ScriptKind;
use std::borrow::Cow;
use std::rc::Rc;

/// The engine's message about the name `await` where the language reserves it.
const AWAIT_IS_RESERVED: &str = "'await' is a reserved identifier";

pub(super) struct Execution<'js> {
    pub(super) scene: Scene<'js>,
    timers: Rc<Timers>,
    rejections: Rc<Rejections>,
}

pub(super) struct Completed<'js> {
    pub(super) value: Value<'js>,
    /// True if the source waited at its top level, or is a function.
    pub(super) awaited: bool,
}

impl<'js> Execution<'js> {
    pub(super) fn new(scene: Scene<'js>, timers: Rc<Timers>, rejections: Rc<Rejections>) -> Self {
        Self {
            scene,
            timers,
            rejections,
        }
    }

    pub(super) fn run(&self, job: &EngineJob<'_>) -> ! {
        let mut last = Completed {
            value: Value::new_undefined(self.scene.ctx.clone()),
            awaited: false,
        };
        for (index, (name, text)) in job.sources.iter().enumerate() {
            if index > 0 {
                // Each script starts with an empty microtask queue, as in a browser.
                self.run_microtasks(None);
            }
            let is_last = index + 1 == job.sources.len();
            let kind = if is_last {
                job.kind
            } else {
                ScriptKind::Script
            };
            let text = self.javascript_of(name, text, kind);
            last = match kind {
                ScriptKind::Function => self.run_function(name, &text),
                ScriptKind::Module => self.run_module(name, &text),
                ScriptKind::Script => self.run_source(name, &text),
            };
        }
        let value = self.settle(last);
        self.finish(&value)
    }

    fn javascript_of<'t>(&self, name: &str, text: &'t str, kind: ScriptKind) -> Cow<'t, str> {
        match typescript::to_javascript(&self.scene.host, name, text, kind) {
            Ok(Cow::Borrowed(text)) => Cow::Borrowed(text),
            // The engine cannot interrupt the parser.
            Ok(_) if self.scene.host.time_left().is_none() => self.time_out(),
            Ok(text) => text,
            Err(refusal) => refusal.fail(&self.scene, name, text),
        }
    }

    fn run_source(&self, name: &str, text: &str) -> Completed<'js> {
        if !text.contains("await") {
            return self.run_plainly(name, text);
        }
        if may_name_a_function_await(text) {
            self.check_reserved_names(name, text);
        }
        let promise: Value<'js> = match self.evaluate(name, text, true) {
            Ok(promise) => promise,
            Err(error) => {
                // `await` is an ordinary name in a script that does not use it to wait. A source that does not parse
                // has run nothing.
                let thrown = self.scene.ctx.catch();
                if !self.is_syntax_error(&thrown) {
                    self.scene.ctx.throw(thrown);
                    failure::fail_pending(&self.scene, &error);
                }
                return match self.evaluate(name, text, false) {
                    Ok(value) => Completed {
                        value,
                        awaited: false,
                    },
                    Err(_) => {
                        let second = self.scene.ctx.catch();
                        // Of two ways to parse a text, the one that gets further was meant.
                        let first_got_further = self.is_syntax_error(&second)
                            && self.place_of(&thrown) >= self.place_of(&second);
                        failure::fail(
                            &self.scene,
                            if first_got_further { &thrown } else { &second },
                        )
                    }
                };
            }
        };
        let Ok(promise) = Promise::from_value(promise) else {
            failure::fail_unsettled(&self.scene);
        };
        let awaited = promise.state() == PromiseState::Pending;
        let wrapped = if awaited {
            self.drive(&promise)
        } else {
            self.value_of(&promise)
        };
        // An asynchronous script returns its value in a wrapper, so that a promise in the wrapper is not awaited.
        let inside = wrapped.as_object().map(|wrapper| wrapper.get("value"));
        match inside {
            Some(Ok(value)) => Completed { value, awaited },
            Some(Err(error)) => failure::fail_pending(&self.scene, &error),
            None => Completed {
                value: wrapped,
                awaited,
            },
        }
    }

    fn run_plainly(&self, name: &str, text: &str) -> Completed<'js> {
        match self.evaluate(name, text, false) {
            Ok(value) => Completed {
                value,
                awaited: false,
            },
            Err(error) => failure::fail_pending(&self.scene, &error),
        }
    }

    fn evaluate(&self, name: &str, text: &str, promise: bool) -> rquickjs::Result<Value<'js>> {
        let mut options = EvalOptions::default();
        options.strict = false;
        options.promise = promise;
        options.filename = Some(name.to_owned());
        self.scene.ctx.eval_with_options(text, options)
    }

    /// Ends the execution if `text` has the name `await` where it is reserved whether the text waits at its top level or
    /// not, as in `(async function await() {})`. The engine's parser overlooks the name of such a function where `await`
    /// is a keyword, so the text is parsed as one without a top-level `await`.
    fn check_reserved_names(&self, name: &str, text: &str) {
        let ctx = &self.scene.ctx;
        if numbered::evaluate(ctx, name, text.to_owned(), 1, false).is_ok() {
            return;
        }
        let thrown = ctx.catch();
        let error = failure::describe(&self.scene, &thrown);
        if error.name == "SyntaxError" && error.message == AWAIT_IS_RESERVED {
            failure::fail(&self.scene, &thrown);
        }
    }

    /// Returns line and column of a syntax error. An error without a position comes from inside a literal that was
    /// itself parsed.
    fn place_of(&self, thrown: &Value<'js>) -> (u32, u32) {
        let error = failure::describe(&self.scene, thrown);
        let furthest = |position: Option<u32>| position.unwrap_or(u32::MAX);
        (furthest(error.line_number), furthest(error.column_number))
    }

    fn is_syntax_error(&self, thrown: &Value<'js>) -> bool {
        thrown.is_error() && failure::describe(&self.scene, thrown).name == "SyntaxError"
    }

    /// Applies the end rule. A promise, or a last source that waited at its top level, ends the execution by settling.
    /// Otherwise the execution ends when no work is left.
    fn settle(&self, last: Completed<'js>) -> Value<'js> {
        if let Ok(promise) = Promise::from_value(last.value.clone()) {
            return self.drive(&promise);
        }
        self.run_microtasks(None);
        if !last.awaited {
            while !self.timers.are_all_weak() && self.go_on() {
                self.run_microtasks(None);
            }
        }
        last.value
    }

    /// Runs microtasks and timers until `promise` is settled. Returns its value.
    pub(super) fn drive(&self, promise: &Promise<'js>) -> Value<'js> {
        loop {
            self.run_microtasks(Some(promise));
            if promise.state() != PromiseState::Pending {
                return self.value_of(promise);
            }
            if !self.go_on() {
                failure::fail_unsettled(&self.scene);
            }
        }
    }

    /// Does what comes next when no microtask is left: the next timer, and with tools the next record of the log. Returns
    /// false if nothing can happen any more.
    fn go_on(&self) -> bool {
        match self.scene.host.replay() {
            None => self.timers.run_next(&self.scene),
            Some(replay) => tools::step(&self.scene, replay, &self.timers),
        }
    }

    pub(super) fn value_of(&self, promise: &Promise<'js>) -> Value<'js> {
        match promise.result() {
            Some(Ok(value)) => value,
            Some(Err(error)) => failure::fail_pending(&self.scene, &error),
            None => failure::fail_unsettled(&self.scene),
        }
    }

    /// Empties the microtask queue, until the deadline at most, and reports rejections that nothing handles. The rejection
    /// of `awaited` is the caller's.
    fn run_microtasks(&self, awaited: Option<&Promise<'js>>) {
        let scene = &self.scene;
        loop {
            if scene.host.time_left().is_none() {
                self.time_out();
            }
            if scene.ctx.execute_pending_job() {
                continue;
            }
            // With tools they are judged once, at the end: a round may end before something handles them.
            if scene.host.replay().is_some() {
                return;
            }
            if !reports::next_rejection(scene, &self.rejections, awaited) {
                return;
            }
        }
    }

    /// Ends the execution at its deadline, with the position of the interrupt if the engine reported it.
    fn time_out(&self) -> ! {
        let interrupt = self.rejections.interrupt();
        match interrupt.and_then(|error| error.restore(&self.scene.ctx).ok()) {
            Some(error) => failure::fail(&self.scene, &error),
            None => self.scene.host.finish_timed_out(""),
        }
    }

    fn finish(&self, value: &Value<'js>) -> ! {
        let host = &self.scene.host;
        let value_type = convert::type_of(&self.scene, value);
        match convert::to_json(&self.scene, value, host.room_for_result()) {
            Ok(json) => {
                if let Some(replay) = host.replay() {
                    tools::judge_rejections(&self.scene, replay, &self.rejections);
                }
                let hint = advice::hint_for_value(host, value_type, &json);
                host.finish_succeeded(json, value_type, hint)
            }
            Err(Stop::OverBudget) => host.finish_result_too_long(),
            Err(Stop::Thrown) => failure::fail_pending(&self.scene, &rquickjs::Error::Exception),
        }
    }
}

/// Returns whether the text may have a function with the name `await`. A comment before the name hides it.
fn may_name_a_function_await(text: &str) -> bool {
    text.match_indices("await").any(|(at, _)| {
        let before = text[..at].trim_end_matches(|c: char| c.is_whitespace() || c == '*');
        before.ends_with("function")
    })
}

//! The kinds of scripts other than `script`: how a function's body and a module run, and what their results are.
//!
//! In scope: the wrapper of a function's body, and the default export of a module. Out of scope: the loop of microtasks
//! and timers (`execution`) and the import of modules (`modules`).

use super::execution::{Completed, Execution};
use super::{failure, modules, numbered};
use rquickjs::promise::PromiseState;
use rquickjs::{Function, Promise, Value};
use sandpiper_domain::ScriptError;

/// Number of the first line of a wrapper: the line of the user's text has the number 1.
const WRAPPER_FIRST_LINE: i32 = -1;
const UNBALANCED: &str = "the brackets of the code do not match: one is not closed, or one is closed that was not opened";

impl<'js> Execution<'js> {
    /// Runs `text` as the body of an async function. What the function returns is the value, once it is awaited.
    ///
    /// A text that closes the function and goes on must not run. Between the braces of a method of an object literal
    /// such a text would have to go on with `,` or `}`, and neither can follow the function in the second wrapper. So a
    /// text that parses in both is one body.
    pub(super) fn run_function(&self, name: &str, text: &str) -> Completed<'js> {
        let ctx = &self.scene.ctx;
        let checked = format!("\n({{async m(){{\n{text}\n}}}})");
        if let Err(error) = numbered::evaluate(ctx, name, checked, WRAPPER_FIRST_LINE, false) {
            self.fail_to_parse(name, text, &error);
        }
        let wrapped = format!("\n1?async function(){{\n{text}\n}}:0");
        let function = numbered::evaluate(ctx, name, wrapped, WRAPPER_FIRST_LINE, true);
        let function = match function {
            Ok(value) => value.and_then(|value| Function::from_value(value).ok()),
            Err(error) => self.fail_to_parse(name, text, &error),
        };
        let called = match function {
            Some(function) => function.call::<(), Value<'js>>(()),
            None => Err(rquickjs::Error::Unknown),
        };
        match called {
            Ok(value) => Completed {
                value,
                awaited: true,
            },
            Err(error) => failure::fail_pending(&self.scene, &error),
        }
    }

    /// Ends the execution because a function's body does not parse. An error behind the text becomes one at its end.
    fn fail_to_parse(&self, name: &str, text: &str, error: &rquickjs::Error) -> ! {
        let thrown = self.scene.ctx.catch();
        let described = failure::describe(&self.scene, &thrown);
        let line = described
            .line_number
            .and_then(|line| usize::try_from(line).ok());
        if described.name != "SyntaxError" || line.is_none_or(|line| line <= lines_most(text)) {
            self.scene.ctx.throw(thrown);
            failure::fail_pending(&self.scene, error);
        }
        let line = text.matches('\n').count() + 1;
        let last = text.rsplit('\n').next().unwrap_or_default();
        let column = last.encode_utf16().count() + 1;
        let mut unbalanced = ScriptError::of_service("SyntaxError", UNBALANCED);
        unbalanced.stack = format!("    at {name}:{line}:{column}");
        unbalanced.file_name = Some(name.to_owned());
        unbalanced.line_number = u32::try_from(line).ok();
        unbalanced.column_number = u32::try_from(column).ok();
        let outcome = sandpiper_domain::Outcome::Threw;
        self.scene.host.finish_failed(outcome, unbalanced)
    }

    /// Runs `text` as a module. The value is its default export, or, if that is a function, what the function returns
    /// for `input`, once it is awaited.
    pub(super) fn run_module(&self, name: &str, text: &str) -> Completed<'js> {
        let run = modules::declare(&self.scene.ctx, name, text).and_then(|module| module.eval());
        let (module, promise) = match run {
            Ok(run) => run,
            Err(error) => failure::fail_pending(&self.scene, &error),
        };
        let awaited = promise.state() == PromiseState::Pending;
        if awaited {
            self.drive(&promise);
        } else {
            self.value_of(&promise);
        }
        let exported: rquickjs::Result<Value<'js>> = module.get("default");
        let completed = exported.and_then(|value| match value.as_function() {
            None => Ok(Completed { value, awaited }),
            Some(function) => self.call_with_input(function),
        });
        match completed {
            Ok(completed) => completed,
            Err(error) => failure::fail_pending(&self.scene, &error),
        }
    }

    fn call_with_input(&self, function: &Function<'js>) -> rquickjs::Result<Completed<'js>> {
        let ctx = &self.scene.ctx;
        let input: Value<'js> = ctx.globals().get("input")?;
        let mut value: Value<'js> = function.call((input,))?;
        if value.is_object() && !value.is_promise() {
            // Resolved like the value of an `await`, which may be an object with a method `then`.
            let (promise, resolve, _) = Promise::new(ctx)?;
            resolve.call::<_, ()>((value,))?;
            value = promise.into_value();
        }
        Ok(Completed {
            value,
            awaited: true,
        })
    }
}

/// Returns the lines of a text, as the engine counts them at most.
fn lines_most(text: &str) -> usize {
    let ends = text.matches(['\n', '\r', '\u{2028}', '\u{2029}']).count();
    ends - text.matches("\r\n").count() + 1
}

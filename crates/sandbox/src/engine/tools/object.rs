//! The global `tools`, and its calls.
//!
//! Called by `warm` once, before any code of the script.

use super::argument::{self, Fault};
use super::replay::{Helpers, Noted, Pending, Replay};
use super::{ends, steps};
use crate::engine::console;
use crate::engine::realm::Scene;
use crate::engine::web::bytecode::{self, bytecode};
use rquickjs::function::Rest;
use rquickjs::object::Property;
use rquickjs::{Function, Object, Persistent, Promise, Value};
use sandpiper_domain::Script;
use sandpiper_domain::tools::{Refusal, ToolName};
use std::rc::Rc;

const GLUE: &[u8] = bytecode!("tools");

/// Most names in the message of an unknown one.
const NAMES_TOLD_MAX: usize = 10;

/// Defines `tools` on the global object, and replaces what would show more than the log has: randomness and weak
/// references.
pub(in crate::engine) fn install<'js>(
    scene: &Scene<'js>,
    replay: &Rc<Replay>,
) -> rquickjs::Result<()> {
    let ctx = &scene.ctx;
    let globals = ctx.globals();
    let setup: Function<'js> = bytecode::read(ctx, GLUE)?;
    let helpers: Object<'js> = setup.call(())?;
    let helper = |name: &str| -> rquickjs::Result<_> {
        let function: Function<'js> = helpers.get(name)?;
        Ok(Persistent::save(ctx, function))
    };
    // A second installation cannot happen: an engine runs one execution.
    let _ = replay.helpers.set(Helpers {
        tool_error: helper("toolError")?,
        type_error: helper("typeError")?,
        json_of_bigint: helper("jsonOfBigInt")?,
        raw_json: helper("rawJson")?,
    });
    let guard: Function<'js> = helpers.get("guard")?;

    let random = Rc::clone(replay);
    let random = Function::new(ctx.clone(), move || random.random_number())?;
    let math: Object<'js> = globals.get("Math")?;
    math.prop("random", hidden(random.with_name("random")?))?;

    let tools = Object::new_proto(ctx.clone(), None)?;
    let declared = &replay.given.tools;
    for (index, tool) in declared.iter().enumerate() {
        let Some(namespace) = tool.name.namespace() else {
            let function = caller(scene, replay, &tool.name)?;
            tools.prop(tool.name.as_str(), shown(function))?;
            continue;
        };
        let is_of_it = |name: &ToolName| name.namespace() == Some(namespace);
        if declared[..index].iter().any(|other| is_of_it(&other.name)) {
            continue;
        }
        let members = Object::new_proto(ctx.clone(), None)?;
        for member in declared.iter().filter(|other| is_of_it(&other.name)) {
            let function = caller(scene, replay, &member.name)?;
            members.prop(member.name.last_segment(), shown(function))?;
        }
        let refuse = refuser(scene, replay, Some(namespace))?;
        let guarded: Value<'js> = guard.call((members, refuse))?;
        tools.prop(namespace, shown(guarded))?;
    }
    let refuse = refuser(scene, replay, None)?;
    let guarded: Value<'js> = guard.call((tools, refuse))?;
    globals.prop(Script::TOOLS_GLOBAL, hidden(guarded))
}

/// Returns the function of one tool.
fn caller<'js>(
    scene: &Scene<'js>,
    replay: &Rc<Replay>,
    name: &ToolName,
) -> rquickjs::Result<Function<'js>> {
    let (scene_of_calls, replay, its_name) = (scene.clone(), Rc::clone(replay), name.clone());
    let call = move |values: Rest<Value<'js>>| call(&scene_of_calls, &replay, &its_name, &values.0);
    Function::new(scene.ctx.clone(), call)?
        .with_length(1)?
        .with_name(name.last_segment())
}

/// Makes a call: notes it, and returns its promise.
fn call<'js>(
    scene: &Scene<'js>,
    replay: &Replay,
    name: &ToolName,
    values: &[Value<'js>],
) -> rquickjs::Result<Value<'js>> {
    if values.len() > 1 {
        let message = format!("tools.{name} takes one argument; put several values into an object");
        return steps::refuse(scene, &message);
    }
    let most = usize::try_from(replay.limits().argument_bytes).unwrap_or(usize::MAX);
    let argument = match argument::to_json(scene, name, values.first(), most) {
        Ok(argument) => Ok(argument),
        Err(Fault::TooLarge) => Err(Refusal::ArgumentTooLarge),
        Err(Fault::Thrown) => return Err(rquickjs::Error::Exception),
    };
    let stack = console::stack_here(scene);
    let (promise, resolve, reject) = Promise::new(&scene.ctx)?;
    let value = promise.clone().into_value();
    let at_ms = replay.unix_ms_at(scene.host.clock.elapsed());
    match replay.note_call(name, argument, at_ms) {
        Ok(Noted::Call(seq)) => {
            let pending = Pending::new(promise, resolve, reject, stack);
            scene.host.memory.charge(pending.bytes());
            replay.pending.borrow_mut().insert(seq, pending);
        }
        Ok(Noted::TooMany) => ends::fail_of_calls(&scene.host),
        Err(divergence) => ends::diverge(&scene.host, replay, &divergence),
    }
    Ok(value)
}

/// Returns the function that throws for a name that no tool has.
fn refuser<'js>(
    scene: &Scene<'js>,
    replay: &Rc<Replay>,
    namespace: Option<&str>,
) -> rquickjs::Result<Function<'js>> {
    let (scene_of_calls, replay) = (scene.clone(), Rc::clone(replay));
    let namespace = namespace.map(str::to_owned);
    let refuse = move |name: String| -> rquickjs::Result<Value<'js>> {
        let message = unknown_name(&replay, namespace.as_deref(), &name);
        steps::refuse(&scene_of_calls, &message)
    };
    Function::new(scene.ctx.clone(), refuse)
}

fn unknown_name(replay: &Replay, namespace: Option<&str>, name: &str) -> String {
    let prefix = namespace.map_or_else(String::new, |namespace| format!("{namespace}."));
    let asked = format!("{prefix}{name}");
    let mut names: Vec<&str> = replay
        .given
        .tools
        .iter()
        .map(|tool| tool.name.as_str())
        .collect();
    // The distance of long names takes ten thousands of steps: once for each name.
    names.sort_by_cached_key(|known| (distance(known, &asked), *known));
    let more = names.len().saturating_sub(NAMES_TOLD_MAX);
    names.truncate(NAMES_TOLD_MAX);
    let names = names.join(", ");
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let shown: String = asked.chars().take(ToolName::BYTES_MAX).collect();
    format!("there is no tools.{shown} in this execution; there are {names}{more}")
}

/// Returns how many characters must be changed, added or left out to make one name of the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().take(ToolName::BYTES_MAX).collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, character) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], index + 1);
        for (column, against) in other.iter().enumerate() {
            let is_other = !character.eq_ignore_ascii_case(against);
            let changed = diagonal + usize::from(is_other);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

fn hidden<T>(value: T) -> Property<T> {
    Property::from(value).writable().configurable()
}

fn shown<T>(value: T) -> Property<T> {
    hidden(value).enumerable()
}

#[cfg(test)]
mod tests {
    use super::distance;

    #[test]
    fn the_distance_of_names_counts_changes() {
        assert_eq!(distance("getOrder", "getorder"), 0);
        assert_eq!(distance("getOrder", "getOrdr"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}

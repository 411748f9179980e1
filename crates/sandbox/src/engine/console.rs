//! `console`: the script's log entries, sent at once as structured values.
//!
//! In scope: the methods of the console, its counters and stopwatches. Out of scope: the form of values (`convert`),
//! format strings (`format`) and the budget (`host`). An entry that does not fit is counted and dropped.

mod format;

use super::convert::{Converter, Stop};
use super::failure;
use super::realm::Scene;
use super::stack;
use rquickjs::atom::PredefinedAtom;
use rquickjs::convert::Coerced;
use rquickjs::function::Rest;
use rquickjs::object::Property;
use rquickjs::{Exception, FromJs, Function, Object, Value};
use sandpiper_domain::LogKind;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

/// Cost of a counter or a stopwatch, bytes of the execution's memory, in addition to its label.
const LABEL_BYTES: usize = 64;

/// Counters and stopwatches by label.
#[derive(Default)]
struct Labels {
    counts: RefCell<HashMap<String, u64>>,
    started: RefCell<HashMap<String, Duration>>,
}

/// Defines `console` on the global object.
pub(super) fn install<'js>(scene: &Scene<'js>) -> rquickjs::Result<()> {
    let console = Object::new(scene.ctx.clone())?;
    console.set_prototype(Some(&Object::new(scene.ctx.clone())?))?;
    let tag = Property::from("console").configurable();
    console.prop(PredefinedAtom::SymbolToStringTag, tag)?;
    for (name, kind) in [
        ("log", LogKind::Log),
        ("info", LogKind::Info),
        ("warn", LogKind::Warn),
        ("error", LogKind::Error),
        ("debug", LogKind::Debug),
        ("dirxml", LogKind::Log),
    ] {
        method(scene, &console, name, move |scene, values| {
            write_formatted(scene, kind, &values, &[])
        })?;
    }
    method(scene, &console, "table", |scene, values| {
        write_entry(scene, LogKind::Table, &values, &[])
    })?;
    method(scene, &console, "clear", |scene, _| {
        scene.host.group_depth.set(0);
        Ok(())
    })?;
    method(scene, &console, "dir", |scene, mut values| {
        // The second argument is options, which have no use here.
        values.truncate(1);
        write_entry(scene, LogKind::Dir, &values, &[])
    })?;
    method(scene, &console, "trace", |scene, values| {
        let stack = stack_here(scene);
        write_formatted(scene, LogKind::Trace, &values, &[&stack])
    })?;
    method(scene, &console, "assert", assert)?;
    install_groups(scene, &console)?;
    install_counters(scene, &console, &Rc::new(Labels::default()))?;
    let property = Property::from(console).writable().configurable();
    scene.ctx.globals().prop("console", property)
}

fn install_groups<'js>(scene: &Scene<'js>, console: &Object<'js>) -> rquickjs::Result<()> {
    for name in ["group", "groupCollapsed"] {
        method(scene, console, name, |scene, values| {
            write_formatted(scene, LogKind::Group, &values, &[])?;
            let depth = &scene.host.group_depth;
            depth.set(depth.get().saturating_add(1));
            Ok(())
        })?;
    }
    method(scene, console, "groupEnd", |scene, _| {
        let depth = &scene.host.group_depth;
        depth.set(depth.get().saturating_sub(1));
        Ok(())
    })
}

fn install_counters<'js>(
    scene: &Scene<'js>,
    console: &Object<'js>,
    labels: &Rc<Labels>,
) -> rquickjs::Result<()> {
    let kept = Rc::clone(labels);
    method(scene, console, "count", move |scene, values| {
        let label = label_of(scene, &values)?;
        let count = kept.counts.borrow().get(&label).copied().unwrap_or(0) + 1;
        if count == 1 {
            charge_label(scene, &label);
        }
        let text = format!("{label}: {count}");
        kept.counts.borrow_mut().insert(label, count);
        write_entry(scene, LogKind::Count, &[], &[&text])
    })?;
    let kept = Rc::clone(labels);
    method(scene, console, "countReset", move |scene, values| {
        let label = label_of(scene, &values)?;
        if kept.counts.borrow_mut().remove(&label).is_some() {
            scene.host.memory.discharge(LABEL_BYTES + label.len());
            return Ok(());
        }
        warn(scene, &format!("Count for \"{label}\" does not exist"))
    })?;
    let kept = Rc::clone(labels);
    method(scene, console, "time", move |scene, values| {
        let label = label_of(scene, &values)?;
        if kept.started.borrow().contains_key(&label) {
            return warn(scene, &format!("Timer \"{label}\" already exists"));
        }
        charge_label(scene, &label);
        let now = scene.host.clock.elapsed();
        kept.started.borrow_mut().insert(label, now);
        Ok(())
    })?;
    let kept = Rc::clone(labels);
    method(scene, console, "timeLog", move |scene, values| {
        let label = label_of(scene, &values)?;
        let started = kept.started.borrow().get(&label).copied();
        log_time(scene, &label, started, values.get(1..).unwrap_or_default())
    })?;
    let kept = Rc::clone(labels);
    method(scene, console, "timeEnd", move |scene, values| {
        let label = label_of(scene, &values)?;
        let started = kept.started.borrow_mut().remove(&label);
        if started.is_some() {
            scene.host.memory.discharge(LABEL_BYTES + label.len());
        }
        log_time(scene, &label, started, &[])
    })
}

fn method<'js, F>(
    scene: &Scene<'js>,
    console: &Object<'js>,
    name: &str,
    act: F,
) -> rquickjs::Result<()>
where
    F: Fn(&Scene<'js>, Vec<Value<'js>>) -> rquickjs::Result<()> + 'js,
{
    let scene_of_calls = scene.clone();
    let call = move |values: Rest<Value<'js>>| act(&scene_of_calls, values.0);
    let function = Function::new(scene.ctx.clone(), call)?.with_name(name)?;
    console.set(name, function)
}

fn assert<'js>(scene: &Scene<'js>, mut values: Vec<Value<'js>>) -> rquickjs::Result<()> {
    let holds = match values.first() {
        Some(condition) => Coerced::<bool>::from_js(&scene.ctx, condition.clone())?.0,
        None => false,
    };
    if holds {
        return Ok(());
    }
    if values.len() > 1 {
        values.remove(0);
        return write_formatted(scene, LogKind::Assert, &values, &[]);
    }
    write_entry(scene, LogKind::Assert, &[], &["Assertion failed"])
}

fn log_time<'js>(
    scene: &Scene<'js>,
    label: &str,
    started: Option<Duration>,
    values: &[Value<'js>],
) -> rquickjs::Result<()> {
    let Some(started) = started else {
        return warn(scene, &format!("Timer \"{label}\" does not exist"));
    };
    let elapsed = scene.host.clock.elapsed().saturating_sub(started);
    let text = format!("{label}: {} ms", rounded_millis(elapsed));
    write(scene, LogKind::Time, |converter| {
        converter.text(&text)?;
        for value in values {
            converter.raw(",")?;
            argument(scene, converter, value)?;
        }
        Ok(())
    })
}

/// Returns milliseconds with at most three decimals.
fn rounded_millis(elapsed: Duration) -> f64 {
    (elapsed.as_secs_f64() * 1_000_000.0).round() / 1000.0
}

fn warn(scene: &Scene<'_>, text: &str) -> rquickjs::Result<()> {
    write_entry(scene, LogKind::Warn, &[], &[text])
}

/// Returns the first argument as a label; `default` if there is none.
fn label_of<'js>(scene: &Scene<'js>, values: &[Value<'js>]) -> rquickjs::Result<String> {
    let Some(label) = values.first().filter(|label| !label.is_undefined()) else {
        return Ok("default".to_owned());
    };
    let text = Coerced::<rquickjs::String<'js>>::from_js(&scene.ctx, label.clone())?;
    Ok(failure::clipped_text(text.0.as_value()))
}

fn charge_label(scene: &Scene<'_>, label: &str) {
    scene.host.memory.charge(LABEL_BYTES + label.len());
}

/// Returns the call stack of the script's code that is running.
pub(super) fn stack_here(scene: &Scene<'_>) -> String {
    // Only an error that is thrown gets a stack.
    drop(Exception::throw_message(&scene.ctx, "trace"));
    let thrown = scene.ctx.catch();
    let text: Option<Value<'_>> = thrown
        .as_object()
        .and_then(|error| error.get(PredefinedAtom::Stack).ok());
    text.map_or_else(String::new, |text| {
        stack::for_the_user(&scene.host, &failure::clipped_text(&text))
    })
}

/// Sends one entry whose first value may be a format string.
fn write_formatted<'js>(
    scene: &Scene<'js>,
    kind: LogKind,
    values: &[Value<'js>],
    texts: &[&str],
) -> rquickjs::Result<()> {
    match format::formatted(scene, values) {
        Ok(Some((text, rest))) => {
            let text = rquickjs::String::from_str(scene.ctx.clone(), &text)?.into_value();
            let values: Vec<Value<'js>> =
                std::iter::once(text).chain(rest.iter().cloned()).collect();
            write_entry(scene, kind, &values, texts)
        }
        Ok(None) => write_entry(scene, kind, values, texts),
        Err(Stop::OverBudget) => {
            scene.host.drop_log_entry();
            Ok(())
        }
        Err(Stop::Thrown) => Err(rquickjs::Error::Exception),
    }
}

/// Sends one entry: `values`, then `texts`.
fn write_entry<'js>(
    scene: &Scene<'js>,
    kind: LogKind,
    values: &[Value<'js>],
    texts: &[&str],
) -> rquickjs::Result<()> {
    write(scene, kind, |converter| {
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                converter.raw(",")?;
            }
            argument(scene, converter, value)?;
        }
        for (index, text) in texts.iter().enumerate() {
            if index > 0 || !values.is_empty() {
                converter.raw(",")?;
            }
            converter.text(text)?;
        }
        Ok(())
    })
}

fn write<'scene, 'js: 'scene>(
    scene: &'scene Scene<'js>,
    kind: LogKind,
    fill: impl FnOnce(&mut Converter<'scene, 'js>) -> Result<(), Stop>,
) -> rquickjs::Result<()> {
    let depth = scene.host.group_depth.get();
    let mut converter = Converter::new(scene, scene.host.room_for_log_data());
    let filled = converter
        .raw("[")
        .and_then(|()| fill(&mut converter))
        .and_then(|()| converter.raw("]"));
    match filled {
        Ok(()) => {
            scene.host.log(kind, depth, &converter.into_text());
            Ok(())
        }
        Err(Stop::OverBudget) => {
            scene.host.drop_log_entry();
            Ok(())
        }
        Err(Stop::Thrown) => Err(rquickjs::Error::Exception),
    }
}

/// Returns the text in place of a value that threw while it was read; passes on an exception that must end the execution.
fn thrown_text(scene: &Scene<'_>) -> Result<String, Stop> {
    let thrown = scene.ctx.catch();
    if failure::must_propagate(scene, &thrown) {
        scene.ctx.throw(thrown);
        return Err(Stop::Thrown);
    }
    let error = failure::describe(scene, &thrown);
    Ok(format!("[Thrown: {}]", error.message))
}

/// Writes one argument. Logging never throws because of an argument. If guest code throws while the argument is read,
/// the entry says so in its place.
fn argument<'js>(
    scene: &Scene<'js>,
    converter: &mut Converter<'_, 'js>,
    value: &Value<'js>,
) -> Result<(), Stop> {
    let mark = converter.mark();
    match converter.value(value) {
        Err(Stop::Thrown) => {}
        done => return done,
    }
    let text = thrown_text(scene)?;
    converter.rewind(mark);
    converter.text(&text)
}

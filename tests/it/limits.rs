//! The limits of one execution: each limit that is reached is named, values just below it succeed, and usage is
//! accurate.

use crate::support::{LATE_MS, PATIENT_MS, Service};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

const MIB: u64 = 1024 * 1024;
/// Cost of a log entry in `outputBytes`, without its data.
const ENTRY_BYTES: u64 = 64;

/// Runs `code` under `limits`. The execution must end as `outcome`, by the limit that belongs to it.
fn ends_as(service: &Service, code: &str, limits: &Value, outcome: &str) -> Value {
    let mut limits = limits.clone();
    if outcome != "timed_out" && limits["timeoutMs"].is_null() {
        limits["timeoutMs"] = json!(PATIENT_MS);
    }
    let execution = service.execute(&json!({"code": code, "limits": limits}));
    let limit_hit = match outcome {
        "timed_out" => json!("timeoutMs"),
        "memory_exceeded" => json!("memoryBytes"),
        "stack_exceeded" => json!("stackBytes"),
        "output_exceeded" => json!("outputBytes"),
        _ => Value::Null,
    };
    let status = if outcome == "succeeded" {
        "success"
    } else {
        "error"
    };
    let shown = [
        &execution["outcome"],
        &execution["limitHit"],
        &execution["status"],
    ];
    assert_eq!(
        shown,
        [&json!(outcome), &limit_hit, &json!(status)],
        "{code}: {execution}"
    );
    if outcome != "succeeded" {
        assert_eq!(
            [&execution["result"], &execution["resultType"]],
            [&Value::Null; 2],
            "{code}"
        );
    }
    execution
}

#[test]
fn the_answer_names_the_limits_it_was_held_to() {
    let service = Service::start();
    let defaults = json!({
        "timeoutMs": 2000, "memoryBytes": 32 * MIB, "stackBytes": 4 * MIB, "outputBytes": MIB
    });
    assert_eq!(service.execute(&json!({"code": "1"}))["limits"], defaults);
    let asked = json!({"timeoutMs": 100, "memoryBytes": 2 * MIB, "outputBytes": 1000});
    let mut granted = asked.clone();
    granted["stackBytes"] = json!(4 * MIB);
    assert_eq!(
        ends_as(&service, "1", &asked, "succeeded")["limits"],
        granted
    );
}

#[test]
fn time_that_is_up_is_a_timeout_with_the_log_and_the_place() {
    let service = Service::start();
    let code = "console.log('kept');\nfor (;;)\n  Math.max(1)";
    let request = json!({"code": code, "limits": {"timeoutMs": 100}});
    let execution = service.execute_until_interrupted(&request);
    assert_eq!(execution["outcome"], "timed_out");
    assert_eq!(execution["log"][0]["data"], json!(["kept"]));
    let error = &execution["error"];
    assert_eq!(error["name"], "TimeoutError");
    assert_eq!(
        error["message"],
        "stopped at its limit of 100 ms, in the loop of line 2"
    );
    assert_eq!(error["fileName"], "code");
    assert_eq!(error["lineNumber"], 2);
    let wall_ms = execution["usage"]["wallMs"].as_f64().unwrap();
    assert!((100.0..100.0 + LATE_MS).contains(&wall_ms), "{wall_ms}");
}

#[test]
fn a_script_that_has_to_be_killed_keeps_its_log_too() {
    let service = Service::start();
    let code = "console.log('kept'); console.warn([1]); Array.prototype.reverse.call({length: 2 ** 53 - 1})";
    let execution = ends_as(&service, code, &json!({"timeoutMs": 100}), "timed_out");
    assert_eq!(execution["log"][0]["data"], json!(["kept"]));
    assert_eq!(execution["log"][1]["data"], json!([[1]]));
    assert_eq!(
        execution["error"]["message"],
        "the script did not end within 100 ms and was killed"
    );
    assert_eq!(execution["usage"]["outputBytes"], 8 + 5 + 2 * ENTRY_BYTES);
    assert_eq!(execution["error"].get("lineNumber"), None);
    let wall_ms = execution["usage"]["wallMs"].as_f64().unwrap();
    assert!((350.0..350.0 + LATE_MS).contains(&wall_ms), "{wall_ms}");
    // Resident memory of the process, which is more than the heap of so small a script.
    let peak = execution["usage"]["peakMemoryBytes"].as_u64().unwrap();
    assert!((MIB..64 * MIB).contains(&peak), "{peak}");
}

#[test]
fn memory_that_runs_out_ends_the_script_whatever_it_catches() {
    let service = Service::start();
    let small = "const a = []; for (;;) a.push(new Uint8Array(1e5))";
    let large = "const a = []; for (;;) a.push(new Uint8Array(2e6))";
    for code in [
        small.to_owned(),
        large.to_owned(),
        "const a = []; for (;;) a.push({})".to_owned(),
        "let s = 'x'; const a = []; for (;;) a.push(s += 'y'.repeat(1e5))".to_owned(),
        "new Uint8Array(1e9)".to_owned(),
        format!("try {{ {large} }} catch (e) {{ throw e }}"),
        format!("(async () => {{ {small} }})()"),
        "const a = []; setInterval(() => a.push(new Uint8Array(1e6)))".to_owned(),
        format!("try {{ {small} }} catch {{}} 'went on'"),
        format!("try {{ {small} }} catch {{}} finally {{ console.log('went on') }}"),
        format!("try {{ {small} }} catch {{ throw new Error('mine') }}"),
        format!("(async () => {{ {small} }})().catch(() => 'went on')"),
        "let n = 0; for (let i = 0; i < 2; i++) try { new Uint8Array(1e9) } catch { n++ } n"
            .to_owned(),
    ] {
        let execution = ends_as(&service, &code, &json!({}), "memory_exceeded");
        assert_eq!(execution["error"]["name"], "MemoryLimitError", "{code}");
        assert_eq!(execution["log"], json!([]), "{code}");
    }
}

#[test]
fn one_large_refusal_is_the_scripts_to_catch() {
    let service = Service::start();
    let refused = "try { new Uint8Array(1e9) } catch";
    for (code, result) in [
        (format!("{refused} (e) {{ e.message }}"), "out of memory"),
        (
            "try { 'x'.repeat(4e7) } catch (e) { e.name }".to_owned(),
            "InternalError",
        ),
        (
            format!(
                "{refused} {{}} const a = []; for (let i = 0; i < 1e5; i++) a.push({{i}}); 'went on'"
            ),
            "went on",
        ),
    ] {
        assert_eq!(
            ends_as(&service, &code, &json!({}), "succeeded")["result"],
            result,
            "{code}"
        );
    }
    for (code, name) in [
        (format!("{refused} {{}} throw new Error('mine')"), "Error"),
        (format!("{refused} {{}} throw null"), "NonError"),
        (format!("{refused} {{}} null.x"), "TypeError"),
        (
            format!("{refused} {{}} await new Promise(() => {{}})"),
            "UnsettledPromise",
        ),
        ("throw null".to_owned(), "NonError"),
        (
            "throw new InternalError('out of memory')".to_owned(),
            "InternalError",
        ),
    ] {
        let execution = ends_as(&service, &code, &json!({}), "threw");
        assert_eq!(execution["error"]["name"], name, "{code}");
    }
    // The engine fails here without an exception.
    let silent = "const s = '\\u00e9'.repeat(7e5); s.normalize('NFD'); 1";
    let limits = json!({"memoryBytes": 6_000_000});
    ends_as(&service, silent, &limits, "memory_exceeded");
    // The error is not caught, and knows its line.
    let execution = ends_as(
        &service,
        "1;\nnew Uint8Array(1e9)",
        &json!({}),
        "memory_exceeded",
    );
    assert_eq!(execution["error"]["lineNumber"], 2, "{execution}");
}

/// Fills the heap with blocks of two sizes until it is full, frees a few of the smaller ones, and does something whose
/// allocations the engine does not all check.
#[test]
fn an_engine_that_has_no_memory_left_never_goes_on() {
    let service = Service::start();
    let acts = [
        "eval('switch (1) {' + 'case 2: break;'.repeat(60) + '}')",
        "new Function('if (0) {' + 'while (0) { continue }'.repeat(60) + '}')",
        "eval('(class { ' + 'static #p = 1; get q() { return 1 }'.repeat(1) + ' constructor() {} })')",
        "eval('try {' + '{let a = () => a}'.repeat(50) + '} finally {}')",
        "for (let i = 0; i < 200; i++) kept[i] = function () {}.bind()",
        "for (let i = 0; i < 200; i++) kept[i] = [i]",
        "for (let i = 0; i < 200; i++) kept[i] = {get x() { return 1 }, [Symbol()]: /x/.exec('x')}",
        "eval('`' + '${1}'.repeat(80) + '`')",
    ];
    for (index, act) in acts.iter().enumerate() {
        for freed in [1, 9, 30, 70] {
            let code = format!(
                "const act = () => {{ {act} }}, kept = new Array(300).fill(0), big = new Array(1500).fill(0), small = new Array(2000).fill(0);
                 let b = 0, s = 0;
                 try {{ for (;; b++) big[b] = new Uint8Array(1500) }} catch {{}}
                 try {{ for (;; s++) small[s] = 'y'.repeat(90) + s }} catch {{}}
                 for (let i = 0; i < {freed}; i++) small[--s] = 0;
                 try {{ act() }} catch {{}}
                 1"
            );
            let limits = json!({"memoryBytes": MIB + 100_000 * index as u64});
            ends_as(&service, &code, &limits, "memory_exceeded");
        }
    }
    assert_eq!(service.result("1 + 2"), 3);
}

#[test]
fn memory_that_the_kernel_refuses_ends_the_script_too() {
    let service = Service::start();
    // Blocks of one size after the other. Nearly all of each are freed; the remaining ones hold the pages of the rest.
    let code = "const kept = [];
        for (let size = 40; size < 400; size += 16) {
            const all = [];
            for (let bytes = 0; bytes < 8e6; bytes += size + 40) all.push('x'.repeat(size) + all.length);
            for (let i = 0; i < all.length; i += Math.floor(10_000 / (size + 40))) kept.push(all[i]);
        }
        kept.length";
    let limits = json!({"timeoutMs": 20_000});
    let execution = ends_as(&service, code, &limits, "memory_exceeded");
    let peak = execution["usage"]["peakMemoryBytes"].as_u64().unwrap();
    assert!(peak < 24 * MIB, "not the kernel's refusal: {peak}");
}

#[test]
fn memory_within_the_limit_is_given_and_beyond_it_is_not() {
    let service = Service::start();
    let take = |bytes: u64| format!("new Uint8Array({bytes}).fill(1).length");
    for (limit, inside, outside) in [
        (MIB, MIB / 2, MIB),
        (32 * MIB, 31 * MIB, 32 * MIB),
        (256 * MIB, 250 * MIB, 256 * MIB),
    ] {
        let limits = json!({"memoryBytes": limit, "timeoutMs": 10_000});
        ends_as(&service, &take(inside), &limits, "succeeded");
        ends_as(&service, &take(outside), &limits, "memory_exceeded");
    }
    let large_input =
        json!({"code": "1", "input": "x".repeat(1_500_000), "limits": {"memoryBytes": MIB}});
    assert_eq!(service.execute(&large_input)["outcome"], "memory_exceeded");
}

#[test]
fn what_timers_counters_and_stopwatches_keep_counts_as_memory() {
    let service = Service::start();
    let limits = json!({"memoryBytes": 2 * MIB, "timeoutMs": 10_000});
    for code in [
        "for (;;) setTimeout(() => {}, 1e6)",
        "const f = () => {}; const a = Array(1000).fill(1); for (;;) setTimeout(f, 1e6, ...a)",
        "for (let i = 0; ; i++) console.time('x'.repeat(1000) + i)",
    ] {
        ends_as(&service, code, &limits, "memory_exceeded");
    }
    let freed = "for (let i = 0; i < 50_000; i++) clearTimeout(setTimeout(() => {}, 1e6)); 1";
    ends_as(&service, freed, &limits, "succeeded");
}

#[test]
fn a_stack_that_overflows_is_named_and_can_be_caught() {
    let service = Service::start();
    for code in [
        "function f() { f() } f()",
        "const f = () => f(); f()",
        "const o = {get a() { return this.a }}; o.a",
    ] {
        let execution = ends_as(&service, code, &json!({}), "stack_exceeded");
        assert_eq!(execution["error"]["name"], "RangeError");
        assert_eq!(
            execution["error"]["message"],
            "Maximum call stack size exceeded"
        );
        assert_eq!(execution["error"]["fileName"], "code");
    }
    let said_so = "throw new RangeError('Maximum call stack size exceeded')";
    ends_as(&service, said_so, &json!({}), "stack_exceeded");
    let caught = "function f() { f() } let r; try { f() } catch (e) { r = e.name } r";
    assert_eq!(
        ends_as(&service, caught, &json!({}), "succeeded")["result"],
        "RangeError"
    );
    let deep = "function f(n) { return n === 0 ? 0 : 1 + f(n - 1) } f(1000)";
    assert_eq!(
        ends_as(&service, deep, &json!({}), "succeeded")["result"],
        1000
    );
}

#[test]
fn output_is_bounded_to_the_byte() {
    let service = Service::start();
    let limits = json!({"outputBytes": 256});
    for (code, outcome, used) in [
        ("'x'.repeat(254)", "succeeded", 256),
        ("'x'.repeat(255)", "output_exceeded", 0),
        ("'é'.repeat(127)", "succeeded", 256),
        ("'é'.repeat(128)", "output_exceeded", 0),
        ("'\\n'.repeat(127)", "succeeded", 256),
        ("'\\n'.repeat(128)", "output_exceeded", 0),
        ("Array(51).fill(null).concat('')", "output_exceeded", 0),
        // 64 for the entry, 4 for `[""]`, 4 for the result.
        ("console.log('x'.repeat(184))", "succeeded", 256),
        // The result takes the room that it needs from the log.
        ("console.log('x'.repeat(185))", "succeeded", 4),
        ("console.log('x'.repeat(189))", "succeeded", 4),
        (
            "console.log(1); console.log(2); console.log(3); 4",
            "succeeded",
            3 * 67 + 1,
        ),
        (
            "for (let i = 0; i < 4; i++) console.log(i)",
            "succeeded",
            3 * 67 + 4,
        ),
        (
            "({get a() { console.log('x'.repeat(150)); return 'y'.repeat(150) }})",
            "succeeded",
            158,
        ),
        // Sixteen times 256.
        (
            "for (let i = 0; i < 61; i++) console.log(0)",
            "succeeded",
            3 * 67 + 4,
        ),
        (
            "for (let i = 0; i < 62; i++) console.log(0)",
            "output_exceeded",
            3 * 67,
        ),
    ] {
        let execution = ends_as(&service, code, &limits, outcome);
        assert_eq!(
            execution["usage"]["outputBytes"], used,
            "{code}: {execution}"
        );
    }
}

#[test]
fn output_that_does_not_fit_is_reported_for_log_and_result_separately() {
    let service = Service::start();
    for (code, message) in [
        (
            "for (;;) console.log(1)",
            "the log came to more than 16 times the limit of 1000 bytes",
        ),
        (
            "Array(1e6).fill('x')",
            "the result did not fit into the limit of 1000 bytes",
        ),
    ] {
        let execution = ends_as(
            &service,
            code,
            &json!({"outputBytes": 1000}),
            "output_exceeded",
        );
        assert_eq!(execution["error"]["name"], "OutputLimitError");
        let reported = execution["error"]["message"].as_str().unwrap();
        assert!(reported.starts_with(message), "{reported}");
    }
    let execution = service.run("console.log('kept'); Array(1e6).fill('x')");
    assert_eq!(execution["log"][0]["data"], json!(["kept"]));
    assert_eq!(execution["logDropped"], 0);
}

/// Returns the numbers that a script logged, as far as they were retained.
fn numbers(execution: &Value) -> Vec<u64> {
    let log = execution["log"].as_array().unwrap();
    log.iter()
        .map(|entry| entry["data"][0].as_u64().unwrap())
        .collect()
}

#[test]
fn a_long_log_keeps_its_head_and_its_tail_however_the_script_ends() {
    let service = Service::start();
    let head: Vec<u64> = (100..107).collect();
    for (end, outcome, tail) in [
        ("'r'.repeat(50)", "succeeded", 194..200),
        ("throw 1", "threw", 193..200),
        ("for (;;);", "timed_out", 193..200),
        // The engine cannot be interrupted there, so its process is killed.
        (
            "'a'.repeat(8e6).indexOf('a'.repeat(4e6) + 'b')",
            "timed_out",
            193..200,
        ),
        ("(function f() { f() })()", "stack_exceeded", 193..200),
        ("'x'.repeat(2000)", "output_exceeded", 193..200),
    ] {
        let code = format!("for (let i = 100; i < 200; i++) console.log(i); {end}");
        let mut limits = json!({"outputBytes": 1000});
        if outcome == "timed_out" {
            limits["timeoutMs"] = json!(300);
        }
        let execution = ends_as(&service, &code, &limits, outcome);
        let kept: Vec<u64> = head.iter().copied().chain(tail).collect();
        assert_eq!(numbers(&execution), kept, "{end}");
        assert_eq!(
            execution["logDropped"].as_u64().unwrap(),
            100 - u64::try_from(kept.len()).unwrap(),
            "{end}"
        );
    }
}

#[test]
fn a_script_that_logs_without_end_keeps_its_head_and_its_last_entries() {
    let service = Service::start();
    let code = "for (let i = 100; ; i++) console.log(i)";
    let execution = ends_as(
        &service,
        code,
        &json!({"outputBytes": 1000}),
        "output_exceeded",
    );
    // 69 bytes each: 231 of them are less than sixteen times 1000.
    let kept: Vec<u64> = (100..107).chain(324..331).collect();
    assert_eq!(numbers(&execution), kept);
    assert_eq!(execution["logDropped"], 231 - 14);
}

#[test]
fn an_entry_that_cannot_fit_is_counted_and_the_script_goes_on() {
    let service = Service::start();
    let code = "console.log(1); console.log('x'.repeat(2e6)); console.log(2); 'went on'";
    let execution = ends_as(&service, code, &json!({}), "succeeded");
    assert_eq!(execution["result"], "went on");
    assert_eq!(numbers(&execution), [1, 2]);
    assert_eq!(execution["logDropped"], 1);
}

#[test]
fn usage_is_plausible() {
    let service = Service::start();
    let busy = service.run("const end = Date.now() + 200; while (Date.now() < end); 1");
    let wall_ms = busy["usage"]["wallMs"].as_f64().unwrap();
    let cpu = busy["usage"]["cpuMs"].as_f64().unwrap();
    assert!((199.0..199.0 + LATE_MS).contains(&wall_ms), "{wall_ms}");
    assert!(cpu < wall_ms + 20.0, "{cpu} of {wall_ms}");
    let whole = busy["executionTime"].as_f64().unwrap();
    assert!(
        whole.fract() == 0.0 && (whole - wall_ms).abs() <= 0.5,
        "{busy}"
    );
    let asleep = service.run("new Promise((done) => setTimeout(done, 200))");
    assert!(asleep["usage"]["wallMs"].as_f64().unwrap() >= 200.0);
    // Whatever share of a processor there was, the script that slept used less of it.
    assert!(
        asleep["usage"]["cpuMs"].as_f64().unwrap() < cpu,
        "{asleep} {busy}"
    );
}

#[test]
fn peak_memory_grows_with_what_the_script_holds() {
    let service = Service::start();
    let peak = |code: &str| {
        service.run(code)["usage"]["peakMemoryBytes"]
            .as_u64()
            .unwrap()
    };
    let nothing = peak("1");
    assert!((50_000..MIB).contains(&nothing), "{nothing}");
    let string = peak("'x'.repeat(10_000_000).length");
    assert!(
        (10_000_000..11_000_000).contains(&(string - nothing)),
        "{string}"
    );
    let freed = peak("for (let i = 0; i < 10; i++) 'x'.repeat(1_000_000).length");
    assert!(freed < 4_000_000, "{freed}");
}

#[test]
fn unhandled_rejections_count_as_memory() {
    let execution = Service::start().execute(&json!({
        "code": "for (;;) Promise.reject(1)",
        "limits": { "timeoutMs": 30_000, "memoryBytes": 64 * MIB },
    }));
    assert_eq!(execution["outcome"], "memory_exceeded", "{execution}");
}

/// Runs a script without a server. Returns the execution, and the processor time in milliseconds that the kernel counts
/// for the command and every process below it.
#[allow(unsafe_code, clippy::zombie_processes)] // the standard library does not tell what a child used: wait4 does
fn run_and_count(code: &str) -> (Value, f64) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sandpiper"))
        .args(["run", "-", "--timeout-ms", "30000"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    command
        .stdin
        .take()
        .unwrap()
        .write_all(code.as_bytes())
        .unwrap();
    let mut text = String::new();
    command
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    let mut status = 0;
    // SAFETY: `rusage` is plain numbers, for which all zeroes is a value.
    let mut used: libc::rusage = unsafe { std::mem::zeroed() };
    let pid = i32::try_from(command.id()).unwrap();
    // SAFETY: both pointers are to locals that live for the call; nobody else waits for this child.
    let reaped = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut used) };
    assert_eq!(reaped, pid);
    let millis = |time: libc::timeval| {
        Duration::from_secs(u64::try_from(time.tv_sec).unwrap())
            .saturating_add(Duration::from_micros(u64::try_from(time.tv_usec).unwrap()))
            .as_secs_f64()
            * 1000.0
    };
    (
        serde_json::from_str(&text).unwrap(),
        millis(used.ru_utime) + millis(used.ru_stime),
    )
}

#[test]
fn processor_time_is_what_the_kernel_counts() {
    let (idle, idle_ms) = run_and_count("1");
    assert_eq!(idle["outcome"], "succeeded");
    let (busy, busy_ms) = run_and_count("let s = 0; for (let i = 0; i < 2e7; i++) s += i; s");
    assert_eq!(busy["outcome"], "succeeded");
    let reported = busy["usage"]["cpuMs"].as_f64().unwrap();
    // The command's own time is in both figures.
    let counted = busy_ms - idle_ms;
    assert!(
        (reported - counted).abs() <= counted * 0.1 + 10.0,
        "reported {reported}, counted {counted}"
    );
    assert!(reported > 100.0, "{reported}");
}

#[test]
fn peak_memory_is_what_the_script_holds() {
    let service = Service::start();
    for megabytes in [5, 10, 20, 28] {
        let bytes = megabytes * 1_000_000;
        let execution = service.run(&format!(
            "const held = new Uint8Array({bytes}).fill(1); held.length"
        ));
        assert_eq!(execution["result"], bytes);
        let reported = execution["usage"]["peakMemoryBytes"].as_u64().unwrap();
        let context = 300_000;
        assert!(
            (bytes..=bytes + bytes / 10 + context).contains(&reported),
            "{bytes}: {reported}"
        );
    }
}

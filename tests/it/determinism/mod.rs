//! A seed governs everything that tells the time or is random: random scripts that use all of it have the same response,
//! byte for byte, on two nodes.
//!
//! The nodes differ in all that must not matter: the level of isolation, the time zone, the language, the program's memory
//! and the scripts that ran before.

mod pieces;
mod scripts;

use crate::support::{PATIENT_MS, Service};
use crate::table;
use serde_json::Value;
use std::ffi::OsString;
use std::process::Command;
use std::thread;

/// Scripts of a run. The variable has more for `make fuzz`.
const SCRIPTS: &str = "DETERMINISM_SCRIPTS";
const SCRIPTS_OTHERWISE: u64 = 60;
/// Number of the first script, to run one again.
const FIRST: &str = "DETERMINISM_FIRST";
/// A program to compare with, in place of the same program.
const PROGRAM: &str = "DETERMINISM_PROGRAM";

/// Fields that differ between two executions of the same script.
const VOLATILE: [&str; 6] = [
    "executionTime",
    "id",
    "timestamp",
    "wallMs",
    "cpuMs",
    "peakMemoryBytes",
];

#[test]
#[allow(clippy::disallowed_methods)] // variables of the test, and no options of the service
fn random_scripts_with_a_seed_have_the_same_response_on_every_node() {
    let number = |name, otherwise| {
        std::env::var(name).map_or(otherwise, |text: String| text.parse().unwrap())
    };
    let (first, count) = (number(FIRST, 0), number(SCRIPTS, SCRIPTS_OTHERWISE));
    let requests: Vec<Value> = (first..first + count).map(scripts::request).collect();
    let program = std::env::var_os(PROGRAM);
    let this = || OsString::from(env!("CARGO_BIN_EXE_sandpiper"));
    let highest = node(this(), &[], "Pacific/Apia", "de_DE.UTF-8");
    let lowest = node(
        program.unwrap_or_else(this),
        &["--max-isolation", "L2", "--zygote-executions", "7"],
        "America/St_Johns",
        "tr_TR.UTF-8",
    );
    let (forwards, mut backwards) = thread::scope(|scope| {
        let forwards = scope.spawn(|| responses(&highest, requests.iter()));
        let backwards = responses(&lowest, requests.iter().rev());
        (forwards.join().unwrap(), backwards)
    });
    backwards.reverse();
    let mut succeeded = 0;
    for (number, (one, other)) in (first..).zip(forwards.iter().zip(&backwards)) {
        assert!(
            one == other,
            "{FIRST}={number} {SCRIPTS}=1\n{}\n{one}\n{other}",
            scripts::request(number)
        );
        succeeded += u64::from(one.contains(r#""outcome":"succeeded""#));
    }
    assert!(
        succeeded * 2 > count,
        "only {succeeded} of {count} succeeded"
    );
}

/// The C library has variants of these functions for processors with fused multiply-add, which give another last digit.
#[test]
fn functions_of_math_have_the_same_digits_on_every_processor() {
    table::check(
        "
        Math.exp(15.050307784273521) ==> 3437681.3786856933 : number
        Math.sin(5.8580454877935892) ==> -0.41244815858894657 : number
        Math.cos(17.436264015224943) ==> 0.15685400887258769 : number
        Math.tan(-7.7941911498402572) ==> -16.705134543902105 : number
        Math.log(5.9204082755329388) ==> 1.7784054119795514 : number
        Math.log2(15.799092183751604) ==> 3.9817697583766622 : number
        Math.atan(-5.7511207335229528) ==> -1.398638408316971 : number
        Math.sinh(6.6817141408941012) ==> 398.84201605797045 : number
        Math.cosh(7.384123441335376) ==> 805.1081743454951 : number
        Math.tanh(0.1871519175867995) ==> 0.18499705189541119 : number
        Math.expm1(0.39246976607599038) ==> 0.48063309925570746 : number
        8.8163046239549026 ** 1.7 ==> 40.456396685690535 : number
        ",
    );
}

fn node(program: OsString, options: &[&str], time_zone: &str, language: &str) -> Service {
    let mut command = Command::new(program);
    command.env("TZ", time_zone).env("LC_ALL", language);
    Service::start_as(command, options)
}

fn responses<'r>(node: &Service, requests: impl Iterator<Item = &'r Value>) -> Vec<String> {
    let run = |request: &Value| {
        let mut request = request.clone();
        request["limits"] = serde_json::json!({ "timeoutMs": PATIENT_MS });
        let answer = node.post("/api/execute", &request);
        assert_eq!(answer.status, 200, "{}", answer.text);
        VOLATILE
            .iter()
            .fold(answer.text, |text, field| without(&text, field))
    };
    requests.map(run).collect()
}

/// Returns the text of a response without the values of a field, which have no commas in them.
fn without(text: &str, field: &str) -> String {
    let key = format!("\"{field}\":");
    let mut parts = text.split(&key);
    let mut rest = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find([',', '}']).unwrap_or(part.len());
        rest.push_str(&part[end..]);
    }
    rest
}

//! Forged reports of rounds: a taken-over engine that makes calls which no script has made, and answers them itself.
//!
//! The round that these forgers get declares the tool `f`. Its log has one call of it, and the answer is at hand.

use crate::forgeries::{done, finish, send, spin, success};
use sandpiper_sandbox::Channel;

const REPLAYED: u8 = 4;
const ROUND: u8 = 5;

/// Time at which the logged call was made, and at which its answer arrived, Unix milliseconds.
pub const CALLED_AT_MS: u64 = 1_800_000_000_000;
pub const ANSWERED_AT_MS: u64 = CALLED_AT_MS + 100;
/// The limits of these rounds.
pub const CALLS_MAX: u32 = 4;
pub const ARGUMENT_BYTES: u32 = 300;
pub const LOG_BYTES: u32 = 1_000;
pub const WAKES: u32 = 3;

/// The forgeries, each with a text that the executor's error must contain.
pub const ALL: &[(&str, &str)] = &[
    ("a_call_of_a_tool_that_was_not_declared", "not declared"),
    ("a_call_with_a_name_that_is_none", "not JSON"),
    ("a_call_with_a_gap_before_it", "have a gap"),
    ("a_call_with_a_number_of_the_log", "have a gap"),
    ("a_call_before_the_last_one", "go back in time"),
    ("a_call_behind_the_last_record", "behind the last record"),
    ("a_call_without_an_end", "not JSON"),
    ("a_call_with_a_field_too_many", "not JSON"),
    ("more_calls_than_allowed", "more calls than it may"),
    ("refused_calls_without_end", "without room for them"),
    (
        "an_argument_with_a_key_twice",
        "no JSON that a script can pass",
    ),
    (
        "an_argument_with_a_hidden_key_twice",
        "no JSON that a script can pass",
    ),
    (
        "an_argument_nested_too_deeply",
        "no JSON that a script can pass",
    ),
    ("an_argument_above_the_bound", "longer than it may be"),
    (
        "an_argument_longer_in_its_true_form",
        "longer than it may be",
    ),
    ("an_argument_that_is_said_to_be_too_large", "too large"),
    ("an_argument_beyond_a_full_log", "too large"),
    ("a_log_above_the_bound", "longer than it may be"),
    ("an_answer_that_is_not_at_hand", "not at hand"),
    ("an_answer_to_a_call_that_was_never_made", "never made"),
    ("an_answer_given_twice", "answered twice"),
    ("an_answer_at_another_time", "another time"),
    ("a_refusal_in_place_of_an_answer", "not at hand"),
    ("a_wake_in_the_future", "not now"),
    ("a_wake_in_the_past", "not now"),
    ("wakes_without_end", "more often than it may"),
    ("a_suspension_for_nothing", "waits for nothing"),
    ("a_suspension_without_end", "no timer has"),
    (
        "a_suspension_with_calls_before_the_end_of_the_log",
        "before it has reached the end",
    ),
    ("a_report_sent_twice", "reports twice"),
    ("a_replay_told_twice", "replays twice"),
    ("a_replay_with_a_payload", "cut short or malformed"),
    ("a_report_above_the_bound", "longer than the job may send"),
    ("a_report_of_log_entries_that_were_not_sent", "miscounted"),
    ("a_report_of_a_rejection_that_was_never_made", "never made"),
    ("a_success_without_a_report", "without a report"),
    ("a_success_before_the_end_of_the_log", "before its log does"),
    ("a_failure_before_the_end_of_the_log", "before its log does"),
];

pub(crate) fn act(forgery: &str, channel: Channel) {
    if !ALL.iter().any(|(known, _)| *known == forgery) {
        return;
    }
    forge(forgery, channel);
    spin();
}

/// Reports one honest call, and suspends: the control of the forgeries.
pub(crate) fn honest(channel: Channel) -> ! {
    replayed(channel);
    suspend(
        channel,
        &[call(1, "f", Some("[1]"), ANSWERED_AT_MS)],
        &[answer(0, ANSWERED_AT_MS)],
    );
    channel.wait_to_be_killed()
}

/// Reports one honest call, and goes on until it is killed.
pub(crate) fn slow(channel: Channel) -> ! {
    replayed(channel);
    let calls = [call(1, "f", Some("[1]"), ANSWERED_AT_MS)];
    let records = [answer(0, ANSWERED_AT_MS)];
    report(channel, &calls, &records, "", r#""ends""#);
    spin()
}

#[allow(clippy::too_many_lines)] // a table
fn forge(forgery: &str, channel: Channel) {
    let answered = || answer(0, ANSWERED_AT_MS);
    let calls = |calls: &[String]| {
        replayed(channel);
        suspend(channel, calls, &[answered()]);
    };
    let records = |records: &[String]| {
        replayed(channel);
        suspend(channel, &[call(1, "f", None, CALLED_AT_MS)], records);
    };
    let argument = |text: &str| calls(&[call(1, "f", Some(text), ANSWERED_AT_MS)]);
    match forgery {
        "a_call_of_a_tool_that_was_not_declared" => calls(&[call(1, "g", None, ANSWERED_AT_MS)]),
        "a_call_with_a_name_that_is_none" => calls(&[call(1, "a b", None, ANSWERED_AT_MS)]),
        "a_call_with_a_gap_before_it" => calls(&[call(2, "f", None, ANSWERED_AT_MS)]),
        "a_call_with_a_number_of_the_log" => calls(&[call(0, "f", None, ANSWERED_AT_MS)]),
        "a_call_before_the_last_one" => calls(&[call(1, "f", None, CALLED_AT_MS - 1)]),
        "a_call_behind_the_last_record" => calls(&[call(1, "f", None, ANSWERED_AT_MS + 1)]),
        "a_call_without_an_end" => send(channel, ROUND, br#"{"calls":[{"seq":1"#),
        "a_call_with_a_field_too_many" => {
            calls(&[r#"{"seq":1,"name":"f","at_ms":1800000000100,"owner":"me"}"#.to_owned()]);
        }
        "more_calls_than_allowed" => {
            let many: Vec<String> = (1..=CALLS_MAX)
                .map(|seq| call(seq, "f", None, ANSWERED_AT_MS))
                .collect();
            calls(&many);
        }
        "an_argument_with_a_key_twice" => argument(r#"{"amount":1,"amount":2}"#),
        "an_argument_with_a_hidden_key_twice" => argument(r#"[{"amount":1,"\u0061mount":2}]"#),
        "an_argument_nested_too_deeply" => {
            argument(&format!("{}{}", "[".repeat(101), "]".repeat(101)));
        }
        "an_argument_above_the_bound" => argument(&format!("\"{}\"", "a".repeat(299))),
        "an_argument_longer_in_its_true_form" => argument(&format!("[{}1e20]", "1e20,".repeat(20))),
        "an_argument_that_is_said_to_be_too_large" => {
            let refused = call(1, "f", Some("1"), ANSWERED_AT_MS);
            calls(&[refused.replace('}', r#","refused":"argument_too_large"}"#)]);
        }
        "an_argument_beyond_a_full_log" => {
            let refused = call(1, "f", Some("1"), ANSWERED_AT_MS);
            calls(&[refused.replace('}', r#","refused":"log_full"}"#)]);
        }
        "refused_calls_without_end" => {
            let many: Vec<String> = (1..=CALLS_MAX + 1_000)
                .map(|seq| {
                    let refused = if seq < CALLS_MAX {
                        "log_full"
                    } else {
                        "too_many_calls"
                    };
                    let refused = format!(r#","refused":"{refused}"}}"#);
                    call(seq, "f", None, ANSWERED_AT_MS).replace('}', &refused)
                })
                .collect();
            calls(&many);
        }
        "a_log_above_the_bound" => {
            let text = format!("\"{}\"", "a".repeat(190));
            let many: Vec<String> = (1..CALLS_MAX)
                .map(|seq| call(seq, "f", Some(&text), ANSWERED_AT_MS))
                .collect();
            calls(&many);
        }
        "an_answer_that_is_not_at_hand" => records(&[answer(1, CALLED_AT_MS)]),
        "an_answer_to_a_call_that_was_never_made" => records(&[answer(7, ANSWERED_AT_MS)]),
        "an_answer_given_twice" => records(&[answered(), answered()]),
        "an_answer_at_another_time" => records(&[answer(0, ANSWERED_AT_MS + 1)]),
        "a_refusal_in_place_of_an_answer" => {
            records(&[answered().replace("}}", r#","refused":"too_many_calls"}}"#)]);
        }
        "a_wake_in_the_future" => records(&[wake(ANSWERED_AT_MS + 3_600_000)]),
        "a_wake_in_the_past" => records(&[wake(CALLED_AT_MS - 1)]),
        "wakes_without_end" => records(&vec![wake(CALLED_AT_MS); 4]),
        "a_suspension_for_nothing" => {
            replayed(channel);
            suspend(channel, &[], &[answered()]);
        }
        "a_suspension_without_end" => {
            let end = r#"{"suspended":{"resume_at_ms":18446744073709551615}}"#;
            replayed(channel);
            report(channel, &[], &[answered()], "", end);
        }
        "a_suspension_with_calls_before_the_end_of_the_log" => {
            suspend(
                channel,
                &[call(1, "f", None, ANSWERED_AT_MS)],
                &[answered()],
            );
        }
        "a_report_sent_twice" => {
            replayed(channel);
            for _ in 0..2 {
                report(channel, &[], &[answered()], "", r#""ends""#);
            }
        }
        "a_replay_told_twice" => {
            replayed(channel);
            replayed(channel);
        }
        "a_replay_with_a_payload" => send(channel, REPLAYED, b"1"),
        "a_report_above_the_bound" => channel.write_all(&[255, 255, 255, 0, ROUND]),
        "a_report_of_log_entries_that_were_not_sent" => {
            replayed(channel);
            let more = r#""log_entries":3,"#;
            report(channel, &[], &[answered()], more, r#""ends""#);
            done(channel, 1);
        }
        "a_report_of_a_rejection_that_was_never_made" => {
            replayed(channel);
            let more = r#""unobserved":[9],"log_entries":0,"#;
            report(channel, &[], &[answered()], more, r#""ends""#);
            done(channel, 1);
        }
        "a_success_without_a_report" => {
            replayed(channel);
            done(channel, 1);
        }
        "a_success_before_the_end_of_the_log" => {
            report(channel, &[], &[], "", r#""ends""#);
            done(channel, 1);
        }
        "a_failure_before_the_end_of_the_log" => {
            let error = r#"{"name":"Error","message":"","stack":""}"#;
            let summary = success()
                .replace("succeeded", "threw")
                .replace("\"error\":null", &format!("\"error\":{error}"))
                .replace("\"number\"", "null");
            finish(channel, &summary, b"");
        }
        _ => {}
    }
}

fn call(seq: u32, name: &str, argument: Option<&str>, at_ms: u64) -> String {
    let argument = argument.map_or_else(String::new, |text| format!(r#""argument":{text},"#));
    format!(r#"{{"seq":{seq},"name":"{name}",{argument}"at_ms":{at_ms}}}"#)
}

fn answer(seq: u32, at_ms: u64) -> String {
    format!(r#"{{"answer":{{"seq":{seq},"at_ms":{at_ms}}}}}"#)
}

fn wake(at_ms: u64) -> String {
    format!(r#"{{"wake":{{"at_ms":{at_ms}}}}}"#)
}

fn replayed(channel: Channel) {
    send(channel, REPLAYED, b"");
}

fn suspend(channel: Channel, calls: &[String], records: &[String]) {
    let end = r#"{"suspended":{"resume_at_ms":null}}"#;
    report(channel, calls, records, "", end);
}

fn report(channel: Channel, calls: &[String], records: &[String], more: &str, end: &str) {
    let (calls, records) = (calls.join(","), records.join(","));
    let more = if more.is_empty() {
        r#""log_entries":0,"#
    } else {
        more
    };
    let text = format!(
        r#"{{"calls":[{calls}],"records":[{records}],{more}"log_digest":0,"own_micros":0,"replay_micros":0,"waited_micros":0,"peak_memory_bytes":0,"end":{end}}}"#
    );
    send(channel, ROUND, text.as_bytes());
}

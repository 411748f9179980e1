//! Forged frames. crates/sandbox-protocol/src/frames.rs describes the frames of an honest job process.

use sandpiper_sandbox::Channel;

const LOG: u8 = 1;
const DONE: u8 = 2;
const DROPPED: u8 = 3;

/// The forgeries, each with a text that the executor's error must contain.
pub const ALL: &[(&str, &str)] = &[
    ("a_frame_of_an_unknown_kind", "unknown kind"),
    ("a_frame_of_no_kind", "unknown kind"),
    ("a_frame_of_four_gigabytes", "longer than the job may send"),
    (
        "a_log_frame_above_the_bound",
        "longer than the job may send",
    ),
    ("log_frames_without_end", "longer than the job may send"),
    ("a_log_frame_that_is_cut_short", "cut short or malformed"),
    ("a_log_frame_that_is_no_array", "cut short or malformed"),
    ("a_log_frame_that_is_not_json", "not JSON"),
    ("a_log_frame_that_is_not_utf8", "not JSON"),
    ("a_log_kind_that_does_not_exist", "cut short or malformed"),
    (
        "a_completion_that_claims_a_crash",
        "not a script's to report",
    ),
    (
        "a_completion_that_claims_a_cancel",
        "not a script's to report",
    ),
    (
        "a_completion_longer_than_its_frame",
        "cut short or malformed",
    ),
    ("a_completion_with_a_field_too_many", "not JSON"),
    ("a_success_without_a_result", "cut short or malformed"),
    ("a_failure_with_a_result", "cut short or malformed"),
    ("a_result_above_the_bound", "longer than the job may send"),
    ("dropped_frames_without_end", "longer than the job may send"),
    ("a_dropped_frame_with_a_payload", "cut short or malformed"),
    ("a_report_without_tools", "unknown kind"),
    ("a_replay_without_tools", "unknown kind"),
    (
        "a_completion_that_claims_to_have_diverged",
        "not a script's to report",
    ),
    ("half_a_frame_and_an_exit", "ended by itself with code 3"),
    ("half_a_frame_and_silence", "timed out"),
    ("silence", "timed out"),
    ("an_exit_without_a_frame", "ended by itself with code 3"),
    ("a_segmentation_fault", "killed by signal 11"),
    ("a_look_at_the_zygotes_stack", "killed by signal 11"),
    // The C library first masks signals, which is forbidden.
    ("an_abort", "forbidden"),
];

/// The job's `outputBytes` in these tests.
const OUTPUT_BYTES: usize = 64 << 10;

/// Reads a byte at `address`.
pub(crate) fn look_at(address: usize) {
    // SAFETY: the read is unsafe on purpose.
    let _ = unsafe { std::ptr::with_exposed_provenance::<u8>(address).read_volatile() };
}

pub(crate) fn act(forgery: &str, channel: Channel) {
    let summary = |outcome: &str, rest: &str| {
        format!(
            r#"{{"outcome":"{outcome}","result_type":null,"error":null,"peak_memory_bytes":0{rest}}}"#
        )
    };
    match forgery {
        "a_frame_of_an_unknown_kind" => send(channel, 77, b""),
        "a_frame_of_no_kind" => send(channel, 0, b""),
        "a_frame_of_four_gigabytes" => channel.write_all(&[255, 255, 255, 255, LOG]),
        "a_log_frame_above_the_bound" => {
            log(
                channel,
                0,
                format!("[\"{}\"]", "a".repeat(OUTPUT_BYTES)).as_bytes(),
            );
        }
        "log_frames_without_end" => loop {
            log(channel, 0, b"[1]");
        },
        "a_log_frame_that_is_cut_short" => send(channel, LOG, &[0, 0, 0]),
        "a_log_frame_that_is_no_array" => log(channel, 0, b"1"),
        "a_log_frame_that_is_not_json" => log(channel, 0, b"[1,"),
        "a_log_frame_that_is_not_utf8" => log(channel, 0, b"[\"\xff\"]"),
        "a_log_kind_that_does_not_exist" => log(channel, 200, b"[1]"),
        "a_completion_that_claims_a_crash" => finish(channel, &summary("crashed", ""), b""),
        "a_completion_that_claims_a_cancel" => finish(channel, &summary("cancelled", ""), b""),
        "a_report_without_tools" => send(channel, 5, b"{}"),
        "a_replay_without_tools" => send(channel, 4, b""),
        "a_completion_that_claims_to_have_diverged" => {
            finish(channel, &summary("diverged", ""), b"");
        }
        "a_completion_longer_than_its_frame" => send(channel, DONE, &[255, 0, 0, 0, b'{', b'}']),
        "a_completion_with_a_field_too_many" => {
            let foreign = r#","id":"00000000-0000-7000-8000-000000000000""#;
            finish(channel, &summary("succeeded", foreign), b"1");
        }
        "a_success_without_a_result" => finish(channel, &summary("succeeded", ""), b""),
        "a_failure_with_a_result" => finish(channel, &summary("threw", ""), b"1"),
        "a_result_above_the_bound" => {
            let result = format!("\"{}\"", "a".repeat(OUTPUT_BYTES + (256 << 10)));
            finish(channel, &summary("succeeded", ""), result.as_bytes());
        }
        "dropped_frames_without_end" => loop {
            send(channel, DROPPED, b"");
        },
        "a_dropped_frame_with_a_payload" => send(channel, DROPPED, b"1"),
        "half_a_frame_and_an_exit" => {
            channel.write_all(&[100, 0, 0, 0, LOG, 0, 0]);
            exit();
        }
        "half_a_frame_and_silence" => {
            channel.write_all(&[100, 0, 0, 0, LOG, 0, 0]);
            spin();
        }
        "silence" => spin(),
        "an_exit_without_a_frame" => exit(),
        "a_segmentation_fault" => {
            // SAFETY: the write is unsafe on purpose.
            unsafe { std::ptr::without_provenance_mut::<u8>(16).write_volatile(1) }
        }
        "an_abort" => std::process::abort(),
        _ => {}
    }
    // A forger does not continue honestly.
    if ALL.iter().any(|(known, _)| *known == forgery) {
        spin();
    }
}

/// Returns the summary of a script that has succeeded with a number.
pub(crate) fn success() -> &'static str {
    r#"{"outcome":"succeeded","result_type":"number","error":null,"peak_memory_bytes":0}"#
}

/// Sends an honest final frame with a number as the result.
pub(crate) fn done(channel: Channel, result: i64) -> ! {
    finish(channel, success(), result.to_string().as_bytes());
    channel.wait_to_be_killed()
}

/// Sends its final frame, and then more final frames and halves of frames for the next execution, until it is killed.
pub(crate) fn write_after_the_final_frame(channel: Channel) -> ! {
    let summary =
        r#"{"outcome":"succeeded","result_type":"number","error":null,"peak_memory_bytes":0}"#;
    finish(channel, summary, b"1");
    loop {
        finish(channel, summary, b"666");
        channel.write_all(&[100, 0, 0, 0, LOG, 0, 0]);
    }
}

pub(crate) fn log_then_spin(channel: Channel) -> ! {
    log(channel, 0, b"[\"last words\"]");
    spin()
}

fn log(channel: Channel, kind: u8, data: &[u8]) {
    let mut payload = vec![kind, 0, 0, 0, 0];
    payload.extend_from_slice(&[0; 8]);
    payload.extend_from_slice(data);
    send(channel, LOG, &payload);
}

pub(crate) fn finish(channel: Channel, summary: &str, result: &[u8]) {
    let length = u32::try_from(summary.len()).unwrap_or_default();
    let mut payload = length.to_le_bytes().to_vec();
    payload.extend_from_slice(summary.as_bytes());
    payload.extend_from_slice(result);
    send(channel, DONE, &payload);
}

pub(crate) fn send(channel: Channel, kind: u8, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or_default();
    let mut frame = length.to_le_bytes().to_vec();
    frame.push(kind);
    frame.extend_from_slice(payload);
    channel.write_all(&frame);
}

fn exit() -> ! {
    // SAFETY: `_exit` has no precondition.
    unsafe { libc::_exit(3) }
}

pub(crate) fn spin() -> ! {
    loop {
        std::hint::spin_loop();
    }
}

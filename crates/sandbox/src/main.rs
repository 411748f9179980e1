//! `sandpiper-sandbox`: the program that the service starts as a zygote. It has no other use.

use sandpiper_sandbox::{EngineBody, enter_if_requested};
use std::io::{self, Write as _};
use std::process::ExitCode;

/// The exit code when the program is started by hand.
const EXIT_USAGE: u8 = 64;

fn main() -> ExitCode {
    enter_if_requested::<EngineBody>();
    let _ = writeln!(
        io::stderr(),
        "sandpiper-sandbox: the service starts this program; run `sandpiper` instead"
    );
    ExitCode::from(EXIT_USAGE)
}

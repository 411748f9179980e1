//! The program `sandpiper-ingress`: one function for each command.
#![forbid(unsafe_code)]

use clap::Parser as _;
use sandpiper_http_kit::log;
use sandpiper_ingress::config::{Command, CommandLine, HealthOptions, ServeOptions};
use sandpiper_ingress::{app, health, key_commands};
use std::error::Error;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let command_line = CommandLine::parse();
    let result = match command_line.command {
        None => serve(command_line.serve),
        Some(Command::Serve(options)) => serve(options),
        Some(Command::Key(command)) => key_commands::run(&command).map(|()| ExitCode::SUCCESS),
        Some(Command::Health(options)) => check_health(&options),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            // Without standard error there is no place for a report.
            let _ = writeln!(io::stderr(), "sandpiper-ingress: {error}");
            ExitCode::from(2)
        }
    }
}

fn serve(options: ServeOptions) -> Result<ExitCode, Box<dyn Error>> {
    log::start(&options.log, options.log_format).map_err(|error| format!("--log: {error}"))?;
    app::serve(options)?;
    Ok(ExitCode::SUCCESS)
}

/// Exits with status 0 if the ingress on this machine and the service behind it accept work, else with 1.
fn check_health(options: &HealthOptions) -> Result<ExitCode, Box<dyn Error>> {
    let timeout = Duration::from_millis(options.timeout_ms);
    let health = health::check(options.address(), timeout);
    writeln!(io::stdout(), "{}", health.report)?;
    Ok(if health.is_ready {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

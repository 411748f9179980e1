//! `sandpiper-ingress`: what it can be told to do.
#![forbid(unsafe_code)]

use clap::Parser as _;
use sandpiper_ingress::config::{
    Command, CommandLine, HealthOptions, KeyCommand, LogFormat, NewKeyOptions, ServeOptions,
};
use sandpiper_ingress::{app, health, keys};
use std::error::Error;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let command_line = CommandLine::parse();
    let done = match command_line.command {
        None => serve(command_line.serve),
        Some(Command::Serve(options)) => serve(options),
        Some(Command::Key(KeyCommand::New(options))) => new_key(&options),
        Some(Command::Health(options)) => ask_health(&options),
    };
    match done {
        Ok(code) => code,
        Err(trouble) => {
            // Where standard error is gone, nobody can be told.
            let _ = writeln!(io::stderr(), "sandpiper-ingress: {trouble}");
            ExitCode::from(2)
        }
    }
}

fn serve(options: ServeOptions) -> Result<ExitCode, Box<dyn Error>> {
    start_log(&options)?;
    app::serve(options)?;
    Ok(ExitCode::SUCCESS)
}

/// Exit status 0 when the ingress that runs here, and the service behind it, take work.
fn ask_health(options: &HealthOptions) -> Result<ExitCode, Box<dyn Error>> {
    let within = Duration::from_millis(options.timeout_ms);
    let health = health::ask(options.address(), within);
    writeln!(io::stdout(), "{}", health.said)?;
    Ok(if health.is_ready {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn new_key(options: &NewKeyOptions) -> Result<ExitCode, Box<dyn Error>> {
    let key = keys::write_new(&options.keys_file, options.new_key())?;
    writeln!(io::stdout(), "{key}")?;
    writeln!(
        io::stderr(),
        "added to {}; this is the only time that the key is shown",
        options.keys_file.display()
    )?;
    Ok(ExitCode::SUCCESS)
}

fn start_log(options: &ServeOptions) -> Result<(), Box<dyn Error>> {
    let filter = EnvFilter::try_new(&options.log).map_err(|error| format!("--log: {error}"))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // A log that nobody reads any more must not end the program: the report of a failed write would panic.
        .log_internal_errors(false)
        .with_writer(io::stderr);
    match options.log_format {
        LogFormat::Text => log.with_ansi(false).init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

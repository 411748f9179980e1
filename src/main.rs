//! The program `sandpiper`: its subcommands and its log.
#![forbid(unsafe_code)]

use clap::Parser as _;
use sandpiper::config::{Command, CommandLine, ServeOptions};
use sandpiper::{app, commands};
use sandpiper_http_kit::log;
use sandpiper_sandbox_client::map_large_blocks_separately;
use std::error::Error;
use std::io::{self, Write as _};
use std::process::ExitCode;

/// The exit code of a failure that is not the verdict of a script or of the isolation.
const EXIT_FAILURE: u8 = 2;

fn main() -> ExitCode {
    let command_line = CommandLine::parse();
    let done = match command_line.command {
        None => serve(&command_line.serve),
        Some(Command::Serve(options)) => serve(&options),
        Some(Command::Run(options)) => commands::run(&options).map_err(Into::into),
        Some(Command::Doctor(options)) => commands::doctor(&options).map_err(Into::into),
        Some(Command::Selftest(options)) => commands::selftest(&options).map_err(Into::into),
        Some(Command::Openapi(options)) => commands::openapi(&options).map_err(Into::into),
        Some(Command::DataKey) => commands::data_key().map_err(Into::into),
        Some(Command::Tenants(command)) => commands::tenants(&command).map_err(Into::into),
        Some(Command::Backup(options)) => commands::backup(&options).map_err(Into::into),
        Some(Command::Health(options)) => commands::health(&options).map_err(Into::into),
    };
    done.unwrap_or_else(|failure| {
        // A closed standard error cannot be reported anywhere.
        let _ = writeln!(io::stderr(), "sandpiper: {failure}");
        ExitCode::from(EXIT_FAILURE)
    })
}

fn serve(options: &ServeOptions) -> Result<ExitCode, Box<dyn Error>> {
    map_large_blocks_separately();
    log::start(&options.log, options.log_format).map_err(|error| format!("--log: {error}"))?;
    app::serve(options)?;
    Ok(ExitCode::SUCCESS)
}

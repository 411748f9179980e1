//! `sandpiper-ingress`: what it can be told to do.

use clap::Parser as _;
use sandpiper_ingress::config::{
    Command, CommandLine, KeyCommand, LogFormat, NewKeyOptions, ServeOptions,
};
use sandpiper_ingress::{app, keys};
use std::error::Error;
use std::io::{self, Write as _};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let command_line = CommandLine::parse();
    let done = match command_line.command {
        None => serve(&command_line.serve),
        Some(Command::Serve(options)) => serve(&options),
        Some(Command::Key(KeyCommand::New(options))) => new_key(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            // Where standard error is gone, nobody can be told.
            let _ = writeln!(io::stderr(), "sandpiper-ingress: {trouble}");
            ExitCode::from(2)
        }
    }
}

fn serve(options: &ServeOptions) -> Result<(), Box<dyn Error>> {
    start_log(options)?;
    Ok(app::serve(options)?)
}

fn new_key(options: &NewKeyOptions) -> Result<(), Box<dyn Error>> {
    let key = keys::write_new(&options.keys_file, options.new_key())?;
    writeln!(io::stdout(), "{key}")?;
    writeln!(
        io::stderr(),
        "added to {}; this is the only time that the key is shown",
        options.keys_file.display()
    )?;
    Ok(())
}

fn start_log(options: &ServeOptions) -> Result<(), Box<dyn Error>> {
    let filter = EnvFilter::try_new(&options.log).map_err(|error| format!("--log: {error}"))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    match options.log_format {
        LogFormat::Text => log.with_ansi(false).init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

//! The log, which both programs write to standard error, and its options.

use clap::ValueEnum;
use std::io;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// The format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line of text per event
    Text,
    /// One JSON object per line
    Json,
}

/// Starts the log of the process. `filter` is a value that [`parse_filter`] accepts.
pub fn start(filter: &str, format: LogFormat) -> Result<(), ParseError> {
    let log = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(filter)?)
        // The report of a failed write panics if standard error is closed, so failed writes are not reported.
        .log_internal_errors(false)
        .with_writer(io::stderr);
    match format {
        LogFormat::Text => log.with_ansi(false).init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

/// Validates a list of levels, each for all modules or for one.
///
/// The `tracing` crate takes a misspelt level for a module name and then logs nothing, so this function rejects it.
///
/// # Errors
///
/// The text for the command line.
pub fn parse_filter(text: &str) -> Result<String, String> {
    let is_level = |part: &str| !part.is_empty() && part.parse::<LevelFilter>().is_ok();
    let is_directive = |part: &str| match part.trim().split_once('=') {
        Some((module, level)) => !module.is_empty() && is_level(level),
        None => is_level(part.trim()),
    };
    if text.split(',').all(is_directive) {
        return Ok(text.to_owned());
    }
    Err("give off, error, warn, info, debug or trace, also by module as sandpiper=debug, with commas between".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_list_of_levels() {
        for text in [
            "info",
            "off",
            "INFO",
            "info,sandpiper=debug",
            "a::b=trace, warn",
        ] {
            assert_eq!(parse_filter(text).as_deref(), Ok(text));
        }
        for text in [
            "",
            ",",
            "info,",
            "inof",
            "sandpiper",
            "sandpiper=",
            "=info",
            "a=b",
        ] {
            assert!(parse_filter(text).is_err(), "{text}");
        }
    }
}

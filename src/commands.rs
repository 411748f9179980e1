//! The commands other than `serve`: run one script, report the isolation layers, run the selftest, print the API's
//! description, ask a running service for its health, change tenants, back up the database.

mod run;
mod tenants;

pub use run::run;
pub use tenants::tenants;

use crate::config::{
    BackupOptions, HealthOptions, IsolationOptions, OpenapiOptions, OptionConflict,
    SelftestOptions, StoreChoice,
};
use crate::http;
use crate::selftest::{self, Local, Remote, Selection, Target, TargetError};
use sandpiper_domain::{JobId, ScriptRefusal};
use sandpiper_sandbox_client::{
    IsolationLevel, LayerReport, Sandbox, SandboxError, SandboxProgram, remedy,
};
use sandpiper_store::{Address, BackupError, DataKeys, back_up};
use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;
use std::{fs, process::ExitCode};

#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error("{path} cannot be read: {cause}")]
    Unreadable { path: String, cause: io::Error },
    #[error("--input: {0}")]
    Input(#[from] sandpiper_domain::InvalidJson),
    #[error(transparent)]
    Script(#[from] ScriptRefusal),
    #[error(transparent)]
    OptionConflict(#[from] OptionConflict),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("--store: backup copies SQLite databases (sqlite:PATH) only; for Postgres use pg_dump")]
    NotSqlite,
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error("the execution cannot be written: {0}")]
    Json(#[from] serde_json::Error),
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

/// Prints the description of the API (`sandpiper openapi`).
pub fn openapi(options: &OpenapiOptions) -> Result<ExitCode, CommandError> {
    let ceiling = options.ceilings.ceiling();
    let defaults = options.limits.defaults(&ceiling)?;
    let document = http::openapi(&defaults, &ceiling, true);
    writeln!(io::stdout(), "{document:#}")?;
    Ok(ExitCode::SUCCESS)
}

/// Copies the database as of one moment (`sandpiper backup`).
pub fn backup(options: &BackupOptions) -> Result<ExitCode, CommandError> {
    let StoreChoice::Durable(Address::Sqlite(source)) = &options.store else {
        return Err(CommandError::NotSqlite);
    };
    if options.file.as_os_str() != "-" {
        back_up(source, &options.file)?;
        writeln!(io::stdout(), "{}", options.file.display())?;
        return Ok(ExitCode::SUCCESS);
    }
    // The copy goes next to the database: that folder is writable and has room.
    let temporary = source.with_extension(format!("backup-{}", JobId::generate()));
    back_up(source, &temporary)?;
    let file = fs::File::open(&temporary);
    // The open descriptor keeps the file until the copy is written. Nothing stays behind, however the command ends.
    fs::remove_file(&temporary)?;
    io::copy(&mut file?, &mut io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}

/// Prints a new data key (`sandpiper data-key`).
pub fn data_key() -> Result<ExitCode, CommandError> {
    let key = DataKeys::generate().map_err(io::Error::other)?;
    writeln!(io::stdout(), "{key}")?;
    Ok(ExitCode::SUCCESS)
}

/// Asks the service on this machine for its readiness (`sandpiper health`). Exit status 0 means that the service
/// accepts work, 1 that the service does not or did not respond.
pub fn health(options: &HealthOptions) -> Result<ExitCode, CommandError> {
    let address = options.address();
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_millis(options.timeout_ms)))
        .proxy(None)
        .build()
        .new_agent();
    let response = agent.get(format!("http://{address}/api/health/ready"));
    let result = response.call().and_then(|mut response| {
        let text = response.body_mut().read_to_string()?;
        Ok((response.status(), text))
    });
    let mut out = io::stdout().lock();
    let is_ready = match result {
        Ok((status, text)) => {
            writeln!(out, "{text}")?;
            status.is_success()
        }
        Err(error) => {
            writeln!(out, "http://{address} does not respond: {error}")?;
            false
        }
    };
    Ok(exit_code(is_ready))
}

fn exit_code(is_success: bool) -> ExitCode {
    if is_success {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn program() -> Result<SandboxProgram, SandboxError> {
    Ok(SandboxProgram::beside_this_program()?)
}

/// Reports every isolation layer (`sandpiper doctor`). Exit status 1 means that the layers do not reach the required
/// level.
pub fn doctor(options: &IsolationOptions) -> Result<ExitCode, CommandError> {
    options.check()?;
    let mut out = io::stdout().lock();
    // The report shows every layer, so the lowest level is accepted at first.
    let mut lowest = options.sandbox(program()?);
    lowest.min_isolation = IsolationLevel::L2;
    let sandbox = match Sandbox::start(lowest) {
        Ok(sandbox) => sandbox,
        Err(failure) => {
            writeln!(out, "nothing can run here: {failure}")?;
            if let SandboxError::LayerMissing { layer, .. } = &failure {
                write_remedy(&mut out, layer)?;
            }
            return Ok(ExitCode::FAILURE);
        }
    };
    let Some((level, layers)) = sandbox.isolation() else {
        writeln!(out, "nothing can run here: the zygote died")?;
        return Ok(ExitCode::FAILURE);
    };
    for layer in layers {
        write_layer(&mut out, layer)?;
    }
    let wanted = options.min_isolation;
    if level < wanted {
        writeln!(out, "isolation: {level}, below the required {wanted}")?;
        return Ok(ExitCode::FAILURE);
    }
    writeln!(out, "isolation: {level}")?;
    Ok(ExitCode::SUCCESS)
}

/// Runs the hostile scripts (`sandpiper selftest`). Exit status 1 means that a script did not end as expected.
pub fn selftest(options: &SelftestOptions) -> Result<ExitCode, CommandError> {
    options.isolation.check()?;
    let mut target: Box<dyn Target> = match &options.url {
        Some(url) => Box::new(Remote::new(url)),
        None => {
            let local = Local::start(options.isolation.sandbox(program()?))?;
            writeln!(
                io::stderr(),
                "testing the local sandbox, isolation {}",
                local.level()
            )?;
            Box::new(local)
        }
    };
    let selection = Selection {
        class: options.class.clone(),
        time_factor: options.time_factor,
    };
    let shows_progress = io::stderr().is_terminal();
    let report = selftest::run(&mut *target, &selection, |class, scripts| {
        if shows_progress {
            // Standard error may be closed. Progress is not worth a failure.
            let _ = write!(io::stderr(), "\r\x1b[K{class}: {}", scripts + 1);
        }
    })?;
    if shows_progress {
        write!(io::stderr(), "\r\x1b[K")?;
    }
    report.write(&mut io::stdout().lock())?;
    Ok(exit_code(report.is_clean()))
}

fn write_layer(out: &mut impl Write, layer: &LayerReport) -> io::Result<()> {
    let mark = match (layer.present, layer.required) {
        (true, _) => "present",
        (false, true) => "MISSING",
        (false, false) => "absent",
    };
    writeln!(out, "{mark:8} {:26} {}", layer.layer, layer.detail)?;
    if layer.present {
        return Ok(());
    }
    write_remedy(out, &layer.layer)
}

fn write_remedy(out: &mut impl Write, layer: &str) -> io::Result<()> {
    match remedy(layer) {
        Some(remedy) => writeln!(out, "{:35} to enable it: {remedy}", ""),
        None => Ok(()),
    }
}

//! The commands beside `serve`: one script behind the same walls, a look at the walls themselves, the API described,
//! a running service asked for its health.

use crate::config::{
    BackupOptions, HealthOptions, OpenapiOptions, RunOptions, SelftestOptions, StoreChoice, Unfit,
    WallOptions,
};
use crate::http::{self, execution_json};
use crate::selftest::{self, Local, Remote, Selection, Target, TargetError};
use crate::store::{Address, BackupError, back_up};
use sandpiper_domain::{JobId, JsonText, Outcome, Script, ScriptDraft, ScriptRefusal, Source};
use sandpiper_sandbox_client::{
    ExecutionHandle, IsolationLevel, Sandbox, SandboxError, SandboxProgram, WallReport, Work,
    remedy,
};
use std::io::{self, IsTerminal as _, Read as _, Write};
use std::path::Path;
use std::time::Duration;
use std::{fs, process::ExitCode};

/// Why there is nothing to print.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The script's file.
    #[error("{path} cannot be read: {cause}")]
    Unreadable {
        /// Which.
        path: String,
        /// Why.
        cause: io::Error,
    },
    /// `--input`.
    #[error("--input: {0}")]
    Input(#[from] sandpiper_domain::InvalidJson),
    /// The script.
    #[error(transparent)]
    Script(#[from] ScriptRefusal),
    /// The options.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// The walls.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// What the scripts are run against.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A store that is no file.
    #[error(
        "--store: only a database of SQLite (sqlite:PATH) is copied; for Postgres there is pg_dump"
    )]
    NoFile,
    /// A copy of the database.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The execution as JSON.
    #[error("the execution cannot be written: {0}")]
    Json(#[from] serde_json::Error),
    /// Standard output.
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
}

/// `sandpiper run`: success is exit status 0, a script's failure 1.
pub fn run(options: &RunOptions) -> Result<ExitCode, CommandError> {
    options.walls.check()?;
    let limits = options.limits.own()?;
    let script = Script::new(ScriptDraft {
        file: Some(read_source(&options.file)?),
        input: options.input.clone().map(JsonText::parse).transpose()?,
        seed: options.seed,
        ..ScriptDraft::default()
    })?;
    let mut sandbox = Sandbox::start(options.walls.sandbox(program()?))?;
    let work = Work::Script {
        script: &script,
        limits,
        entropy: rand::random(),
    };
    let execution = sandbox.run(JobId::generate(), &work, &ExecutionHandle::default())?;
    writeln!(io::stdout().lock(), "{}", execution_json(&execution)?)?;
    Ok(if execution.outcome == Outcome::Succeeded {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn read_source(path: &Path) -> Result<Source, CommandError> {
    let unreadable = |cause| CommandError::Unreadable {
        path: path.display().to_string(),
        cause,
    };
    let text = if path.as_os_str() == "-" {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(path)
    };
    let text = text.map_err(unreadable)?;
    if text.len() > Script::CODE_BYTES_MAX {
        return Err(ScriptRefusal::CodeTooLarge {
            field: Script::CODE_FILE_NAME,
            bytes: text.len(),
            most: Script::CODE_BYTES_MAX,
        }
        .into());
    }
    if text.contains('\0') {
        return Err(unreadable(io::Error::other("it has a NUL character")));
    }
    let file_name = path
        .file_name()
        .map_or_else(|| "script".to_owned(), |name| name.to_string_lossy().into());
    Ok(Source { file_name, text })
}

/// Prints what there is to know of the API.
pub fn openapi(options: &OpenapiOptions) -> Result<ExitCode, CommandError> {
    let ceiling = options.ceilings.ceiling();
    let defaults = options.limits.defaults(&ceiling)?;
    let document = http::openapi(&defaults, &ceiling, true);
    writeln!(io::stdout(), "{document:#}")?;
    Ok(ExitCode::SUCCESS)
}

/// `sandpiper backup`: a copy of the database, as it is at one moment.
pub fn backup(options: &BackupOptions) -> Result<ExitCode, CommandError> {
    let StoreChoice::Durable(Address::Sqlite(source)) = &options.store else {
        return Err(CommandError::NoFile);
    };
    if options.file.as_os_str() != "-" {
        back_up(source, &options.file)?;
        writeln!(io::stdout(), "{}", options.file.display())?;
        return Ok(ExitCode::SUCCESS);
    }
    // Beside the database, where there is room for it and where it may be written.
    let passing = source.with_extension(format!("backup-{}", JobId::generate()));
    back_up(source, &passing)?;
    let file = fs::File::open(&passing);
    // Gone with its descriptor, however the copying ends.
    fs::remove_file(&passing)?;
    io::copy(&mut file?, &mut io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}

/// `sandpiper health`: exit status 0 when the service that runs here takes work, 1 when not or when it says nothing.
pub fn health(options: &HealthOptions) -> Result<ExitCode, CommandError> {
    let address = options.address();
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_millis(options.timeout_ms)))
        .proxy(None)
        .build()
        .new_agent();
    let asked = agent.get(format!("http://{address}/api/health/ready"));
    let answered = asked.call().and_then(|mut answer| {
        let text = answer.body_mut().read_to_string()?;
        Ok((answer.status(), text))
    });
    let mut out = io::stdout().lock();
    let is_ready = match answered {
        Ok((status, text)) => {
            writeln!(out, "{text}")?;
            status.is_success()
        }
        Err(error) => {
            writeln!(out, "http://{address} does not answer: {error}")?;
            false
        }
    };
    Ok(if is_ready {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn program() -> Result<SandboxProgram, SandboxError> {
    Ok(SandboxProgram::beside_this_program()?)
}

/// `sandpiper doctor`: every wall, and exit status 1 when they do not add up to the level asked for.
pub fn doctor(options: &WallOptions) -> Result<ExitCode, CommandError> {
    options.check()?;
    let mut out = io::stdout().lock();
    // Whatever stands is to be seen, so nothing is refused yet.
    let mut tried = options.sandbox(program()?);
    tried.min_isolation = IsolationLevel::L2;
    let sandbox = match Sandbox::start(tried) {
        Ok(sandbox) => sandbox,
        Err(failure) => {
            writeln!(out, "nothing can run here: {failure}")?;
            if let SandboxError::WallMissing { wall, .. } = &failure {
                write_remedy(&mut out, wall)?;
            }
            return Ok(ExitCode::FAILURE);
        }
    };
    let Some((level, walls)) = sandbox.isolation() else {
        writeln!(out, "nothing can run here: the zygote ended")?;
        return Ok(ExitCode::FAILURE);
    };
    for wall in walls {
        write_wall(&mut out, wall)?;
    }
    let wanted = options.min_isolation;
    if level < wanted {
        writeln!(out, "isolation: {level}, below the {wanted} asked for")?;
        return Ok(ExitCode::FAILURE);
    }
    writeln!(out, "isolation: {level}")?;
    Ok(ExitCode::SUCCESS)
}

/// `sandpiper selftest`: exit status 1 when a script did not end as it must.
pub fn selftest(options: &SelftestOptions) -> Result<ExitCode, CommandError> {
    options.walls.check()?;
    let mut target: Box<dyn Target> = match &options.url {
        Some(url) => Box::new(Remote::new(url)),
        None => {
            let walls = Local::start(options.walls.sandbox(program()?))?;
            writeln!(io::stderr(), "against walls of its own, {}", walls.level())?;
            Box::new(walls)
        }
    };
    let selection = Selection {
        class: options.class.clone(),
        time_factor: options.time_factor,
    };
    let shows_progress = io::stderr().is_terminal();
    let report = selftest::run(&mut *target, &selection, |class, scripts| {
        if shows_progress {
            // Whoever watches may be gone.
            let _ = write!(io::stderr(), "\r\x1b[K{class}: {}", scripts + 1);
        }
    })?;
    if shows_progress {
        write!(io::stderr(), "\r\x1b[K")?;
    }
    report.write(&mut io::stdout().lock())?;
    Ok(if report.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn write_wall(out: &mut impl Write, wall: &WallReport) -> io::Result<()> {
    let mark = match (wall.present, wall.required) {
        (true, _) => "present",
        (false, true) => "MISSING",
        (false, false) => "absent",
    };
    writeln!(out, "{mark:8} {:26} {}", wall.wall, wall.detail)?;
    if wall.present {
        return Ok(());
    }
    write_remedy(out, &wall.wall)
}

fn write_remedy(out: &mut impl Write, wall: &str) -> io::Result<()> {
    match remedy(wall) {
        Some(remedy) => writeln!(out, "{:35} to have it: {remedy}", ""),
        None => Ok(()),
    }
}

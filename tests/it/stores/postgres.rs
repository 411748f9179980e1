//! A Postgres cluster in a folder, on a socket in that folder and without a port, removed with the test.

use super::Folder;
use crate::support::descendants_of;
use parking_lot::Mutex;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Far longer than any step takes.
const UP_WITHIN: Duration = Duration::from_secs(60);

pub(crate) struct Postgres {
    folder: Folder,
    server: Option<Child>,
    most_connections: u32,
}

/// A cluster that several tests share, each with a database of its own.
static SHARED: OnceLock<(Postgres, Child)> = OnceLock::new();

impl Postgres {
    /// Returns the address of a new, empty database in the shared cluster.
    pub(crate) fn shared_database() -> String {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let (postgres, _) = SHARED.get_or_init(|| {
            let postgres = Self::start_with(500);
            let end = end_with_this_process(&postgres);
            (postgres, end)
        });
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::SeqCst));
        // Two databases cannot be created at the same time.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock();
        postgres.ask(&format!("CREATE DATABASE {name}")).unwrap();
        postgres.url_of(&name)
    }

    pub(crate) fn start() -> Self {
        Self::start_with(100)
    }

    /// Starts a cluster that accepts this many connections.
    pub(crate) fn start_with(most_connections: u32) -> Self {
        let folder = Folder::new();
        // The user who runs Postgres must be able to reach and write the folder.
        let all = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(folder.path(""), all).unwrap();
        let data = folder.text("data");
        let made = as_user(&binary("initdb"))
            .args(["-D", &data, "-U", "sandpiper", "-A", "trust", "--no-sync"])
            .args(["-E", "UTF8", "--no-locale"])
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let mut postgres = Self {
            folder,
            server: None,
            most_connections,
        };
        postgres.up();
        postgres
    }

    /// Starts the server, and waits until it responds.
    pub(crate) fn up(&mut self) {
        let folder = self.folder.text("");
        let server = as_user(&binary("postgres"))
            .args(["-D", &self.folder.text("data"), "-k", &folder])
            .args(["-c", "listen_addresses=", "-c", "shared_buffers=32MB"])
            .args(["-c", &format!("max_connections={}", self.most_connections)])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.server = Some(server);
        let start = Instant::now();
        while self.ask("SELECT 1").as_deref() != Some("1") {
            assert!(start.elapsed() < UP_WITHIN, "Postgres did not start");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Returns whether a process is the server or one of its children.
    pub(crate) fn has_process(&self, pid: u32) -> bool {
        let server = self.server.as_ref().unwrap().id();
        pid == server || descendants_of(server).contains(&pid)
    }

    /// Ends the server at once, as a crash would.
    pub(crate) fn down(&mut self) {
        if let Some(mut server) = self.server.take() {
            let pid = nix::unistd::Pid::from_raw(server.id().try_into().unwrap());
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGQUIT);
            let _ = server.wait();
        }
    }

    pub(crate) fn url(&self) -> String {
        self.url_of("postgres")
    }

    fn url_of(&self, database: &str) -> String {
        let folder = self.folder.text("").trim_end_matches('/').to_owned();
        format!("postgres://sandpiper@localhost/{database}?host={folder}")
    }

    /// Opens a session that runs these statements and keeps its locks.
    pub(crate) fn session(&self, statements: &str) -> Session {
        let mut child = self
            .psql()
            .args(["-XAtq", "-v", "ON_ERROR_STOP=1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.as_mut().unwrap();
        writeln!(input, "{statements}; SELECT 'it is done';").unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let done = output.lines().map_while(Result::ok);
        assert!(done.into_iter().any(|line| line == "it is done"));
        Session(child)
    }

    fn psql(&self) -> Command {
        let mut command = Command::new(binary("psql"));
        command
            .args(["-h", &self.folder.text(""), "-U", "sandpiper"])
            .args(["-d", "postgres"]);
        command
    }

    /// Returns the first field of the first row.
    pub(crate) fn ask(&self, question: &str) -> Option<String> {
        let answer = self
            .psql()
            .args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", question])
            .stderr(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8(answer.stdout).unwrap();
        answer.status.success().then(|| text.trim().to_owned())
    }
}

/// A session of another client. Its locks are released when it ends.
pub(crate) struct Session(Child);

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.down();
    }
}

/// A static is never dropped, so another process must end the server: a shell that sees its input close when this
/// process ends.
fn end_with_this_process(postgres: &Postgres) -> Child {
    let server = postgres.server.as_ref().unwrap().id().to_string();
    Command::new("sh")
        .args(["-c", "cat; kill -QUIT \"$0\"; sleep 1; rm -rf \"$1\""])
        .args([&server, &postgres.folder.text("")])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Returns the newest Postgres that is installed; `make test` installs one.
fn binary(name: &str) -> PathBuf {
    let installed = Path::new("/usr/lib/postgresql");
    let versions = std::fs::read_dir(installed).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = versions
        .map(|version| version.path().join("bin").join(name))
        .filter(|path| path.exists())
        .collect();
    found.sort();
    found
        .pop()
        .unwrap_or_else(|| panic!("{name} is missing: `make tools-test` installs Postgres"))
}

/// Returns a command that runs as another user, because Postgres refuses to run as root.
fn as_user(program: &Path) -> Command {
    if !nix::unistd::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=postgres", "--regid=postgres", "--init-groups"])
        .arg(program);
    command
}

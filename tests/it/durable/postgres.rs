//! A Postgres of a test's own: a cluster in a folder, on a socket there and no port, gone with the test.

use super::Folder;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Far longer than it takes.
const UP_WITHIN: Duration = Duration::from_secs(60);

pub(super) struct Postgres {
    folder: Folder,
    server: Option<Child>,
    most_connections: u32,
}

impl Postgres {
    pub(super) fn start() -> Self {
        let folder = Folder::new();
        // Whoever runs it must be able to reach and write it.
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
            most_connections: 100,
        };
        postgres.up();
        postgres
    }

    /// Starts it, and waits until it answers.
    pub(super) fn up(&mut self) {
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

    /// Ends it at once, as a crash would.
    pub(super) fn down(&mut self) {
        if let Some(mut server) = self.server.take() {
            let pid = nix::unistd::Pid::from_raw(server.id().try_into().unwrap());
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGQUIT);
            let _ = server.wait();
        }
    }

    pub(super) fn url(&self) -> String {
        let folder = self.folder.text("").trim_end_matches('/').to_owned();
        format!("postgres://sandpiper@localhost/postgres?host={folder}")
    }

    /// The first field of the first row.
    pub(super) fn ask(&self, question: &str) -> Option<String> {
        let answer = Command::new(binary("psql"))
            .args([
                "-h",
                &self.folder.text(""),
                "-U",
                "sandpiper",
                "-d",
                "postgres",
            ])
            .args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", question])
            .stderr(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8(answer.stdout).unwrap();
        answer.status.success().then(|| text.trim().to_owned())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.down();
    }
}

/// The newest that is installed; `make test` installs one.
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

/// Postgres refuses to run as root.
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

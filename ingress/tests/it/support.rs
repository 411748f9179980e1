//! Starts an ingress for each test, and services behind it.

use serde_json::Value;
use std::collections::VecDeque;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// Timeout of every wait: longer than any step takes on a busy machine, so that a hang fails the test.
pub(crate) const WITHIN: Duration = Duration::from_secs(60);

/// A foreign program, killed at the end of its test.
pub(crate) struct Tool(pub(crate) Child);

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A service or an ingress, killed at the end of its test.
pub(crate) struct Running {
    child: Child,
    pub(crate) port: u16,
    log: Log,
}

/// The log of a process so far.
pub(crate) type Log = Arc<Mutex<String>>;

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// Starts `command` and reads its port from its log.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = child.stderr.take().unwrap();
        let log = Log::default();
        let kept = Arc::clone(&log);
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                kept.lock().unwrap().push_str(&format!("{line}\n"));
                let address = line.rsplit_once("listening on http://");
                let port = address.and_then(|(_, rest)| {
                    let end = rest.find([' ', '"']).unwrap_or(rest.len());
                    rest[..end].rsplit_once(':')?.1.parse().ok()
                });
                // The log is read until it ends, so that its writer never blocks.
                if let Some(port) = port {
                    let _ = sender.send(port);
                }
            }
        });
        let port = receiver.recv_timeout(WITHIN).unwrap_or_else(|_| {
            let ended = child.try_wait();
            let _ = child.kill();
            let _ = child.wait();
            let said = log.lock().unwrap();
            panic!("{command:?} did not start: {ended:?}; its log:\n{said}")
        });
        Self { child, port, log }
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Returns the exit status. Panics if the process does not end within this time.
    pub(crate) fn exit_within(&mut self, within: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < within, "it runs on after {within:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Returns the log so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::to(self.port)
    }

    /// Sends one request on a new connection.
    pub(crate) fn send(&self, method: &str, target: &str, headers: &[&str], body: &str) -> Answer {
        let mut connection = self.connect();
        connection.request(method, target, headers, body);
        connection.answer_to(method)
    }

    pub(crate) fn get(&self, target: &str) -> Answer {
        self.send("GET", target, &[], "")
    }

    pub(crate) fn execute(&self, code: &str) -> Answer {
        let body = serde_json::json!({ "code": code }).to_string();
        self.send(
            "POST",
            "/api/execute",
            &["content-type: application/json"],
            &body,
        )
    }
}

/// Starts an ingress in front of the service on this port.
pub(crate) fn ingress(api_port: u16, options: &[&str]) -> Running {
    ingress_with(api_port, options, &[])
}

/// Starts an ingress with additional environment variables.
pub(crate) fn ingress_with(
    api_port: u16,
    options: &[&str],
    variables: &[(&str, String)],
) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sandpiper-ingress"));
    command
        // Set by the environment, so that `options` can override it.
        .env("HOST", "127.0.0.1")
        .args(["--port", "0", "--api-port", &api_port.to_string()])
        .args(options)
        // A page that happens to be built is not served.
        .env("SANDPIPER_INGRESS_HTTP_WORKERS", "2")
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .current_dir(std::env::temp_dir());
    Running::start(command)
}

/// Starts the real service, which the tests of the workspace build beside the ingress.
pub(crate) fn service(options: &[&str]) -> Running {
    let ingress = Path::new(env!("CARGO_BIN_EXE_sandpiper-ingress"));
    let binary = ingress.with_file_name("sandpiper");
    assert!(binary.exists(), "build the service first: cargo build");
    let mut command = Command::new(binary);
    command
        // Set by the environment, so that `options` can override it.
        .env("SANDPIPER_EXECUTORS", "2")
        .env("SANDPIPER_STORE", "memory")
        .args(["serve", "--client-header", "sandpiper-client"])
        // A free port, unless `options` has another one.
        .env("PORT", "0")
        .args(options)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    Running::start(command)
}

/// Starts the real service. Returns its log too.
pub(crate) fn service_with_log(options: &[&str]) -> (Running, Log) {
    let service = service(options);
    let log = Arc::clone(&service.log);
    (service, log)
}

/// Returns the response of another port of this machine.
pub(crate) fn get_from(port: u16, target: &str) -> Answer {
    let mut connection = Connection::to(port);
    connection.request("GET", target, &[], "");
    connection.answer_to("GET")
}

/// Returns a port on which no program listens. It is below the kernel's ephemeral ports, so that it stays free.
pub(crate) fn free_port() -> u16 {
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let mut ports = std::iter::repeat_with(|| fastrand::u16(12_000..32_000));
    ports.find(is_free).unwrap()
}

/// An HTTP message, as received.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) first_line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Message {
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self
            .headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.headers
            .iter()
            .any(|(known, _)| known.eq_ignore_ascii_case(name))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

/// A response.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) message: Message,
}

impl Answer {
    fn of(message: Message) -> Self {
        let status = message.first_line.split(' ').nth(1);
        Self {
            status: status.and_then(|status| status.parse().ok()).unwrap(),
            message,
        }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.message.header(name)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.message.body)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.message.text()))
    }

    /// Returns the code of a problem.
    pub(crate) fn code(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{self:?}"
        );
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        problem["code"].as_str().unwrap().to_owned()
    }
}

/// One connection, on which the test writes raw bytes.
pub(crate) struct Connection(BufReader<TcpStream>);

impl Connection {
    pub(crate) fn to(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        Self::of(stream)
    }

    pub(crate) fn of(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(WITHIN)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        self.0.get_ref()
    }

    /// Writes bytes. Fails if the other end has closed.
    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.0.get_mut().write_all(bytes.as_ref())
    }

    pub(crate) fn request(&mut self, method: &str, target: &str, headers: &[&str], body: &str) {
        let mut head = format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\n");
        for header in headers {
            head.push_str(header);
            head.push_str("\r\n");
        }
        if !body.is_empty() {
            let is_typed = |header: &&str| header.to_ascii_lowercase().starts_with("content-type:");
            if !headers.iter().any(is_typed) {
                head.push_str("content-type: application/json\r\n");
            }
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        self.write(format!("{head}\r\n{body}")).unwrap();
    }

    pub(crate) fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// Reads a head.
    pub(crate) fn head(&mut self) -> io::Result<Message> {
        let first_line = self.line()?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        Ok(Message {
            first_line,
            headers,
            body: Vec::new(),
        })
    }

    pub(crate) fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads a chunk; empty at the end.
    pub(crate) fn chunk(&mut self) -> io::Result<Vec<u8>> {
        let length = self.line()?;
        let length = usize::from_str_radix(&length, 16).map_err(io::Error::other)?;
        let bytes = self.exactly(length)?;
        self.line()?;
        Ok(bytes)
    }

    /// Reads a message with its body.
    pub(crate) fn message(&mut self) -> io::Result<Message> {
        let mut message = self.head()?;
        if message
            .header("transfer-encoding")
            .eq_ignore_ascii_case("chunked")
        {
            loop {
                let chunk = self.chunk()?;
                if chunk.is_empty() {
                    break;
                }
                message.body.extend(chunk);
            }
        } else if let Ok(length) = message.header("content-length").parse() {
            message.body = self.exactly(length)?;
        }
        Ok(message)
    }

    pub(crate) fn answer(&mut self) -> Answer {
        self.answer_to("GET")
    }

    pub(crate) fn answer_to(&mut self, method: &str) -> Answer {
        let message = if method == "HEAD" {
            self.head()
        } else {
            self.message()
        };
        Answer::of(message.unwrap())
    }

    /// Returns the next response; `None` if none comes within this time or the other end closes.
    pub(crate) fn answer_within(&mut self, within: Duration) -> Option<Answer> {
        self.stream().set_read_timeout(Some(within)).unwrap();
        self.message().ok().map(Answer::of)
    }

    /// Reads until the other end closes.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // A reset counts as an end.
        let _ = self.0.read_to_end(&mut bytes);
        bytes
    }

    /// Returns true if the other end closes within this time without sending anything.
    pub(crate) fn closes_within(&mut self, within: Duration) -> bool {
        self.stream().set_read_timeout(Some(within)).unwrap();
        let mut byte = [0];
        match self.0.read(&mut byte) {
            Ok(count) => count == 0,
            Err(error) => !matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
            ),
        }
    }
}

/// A scripted service: a closure handles each connection.
pub(crate) struct Scripted {
    pub(crate) port: u16,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<VecDeque<Message>>>,
}

impl Scripted {
    /// Starts a service whose connections are handled by `act`, numbered from 0.
    pub(crate) fn start(act: impl Fn(Connection, usize) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let (act, counted) = (Arc::new(act), Arc::clone(&connections));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let number = counted.fetch_add(1, Ordering::SeqCst);
                let act = Arc::clone(&act);
                thread::spawn(move || act(Connection::of(stream), number));
            }
        });
        Self {
            port,
            connections,
            requests: Arc::default(),
        }
    }

    /// Starts a service that responds to every request with these bytes and records the request.
    pub(crate) fn answering(answer: &'static str) -> Self {
        Self::answering_by(move |_| answer.to_owned())
    }

    /// Starts a service that responds to every request with the result of `answer`.
    pub(crate) fn answering_by(
        answer: impl Fn(&Message) -> String + Send + Sync + 'static,
    ) -> Self {
        let requests: Arc<Mutex<VecDeque<Message>>> = Arc::default();
        let seen = Arc::clone(&requests);
        let mut scripted = Self::start(move |mut connection, _| {
            while let Ok(request) = connection.message() {
                let text = answer(&request);
                seen.lock().unwrap().push_back(request);
                if connection.write(text).is_err() {
                    return;
                }
            }
        });
        scripted.requests = requests;
        scripted
    }

    /// Returns the oldest recorded request that was not returned yet.
    pub(crate) fn request(&self) -> Message {
        self.requests.lock().unwrap().pop_front().unwrap()
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// A folder, removed at the end of its test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let path =
            std::env::temp_dir().join(format!("sandpiper-ingress-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn text_of(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut options = std::fs::OpenOptions::new();
        // Whatever the umask is, no other user may write the file: a keys file must be so.
        let options = options.write(true).create(true).truncate(true).mode(0o644);
        let mut file = options.open(path).unwrap();
        file.write_all(bytes.as_ref()).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs `sandpiper-ingress key` on the file `keys.json` of this folder.
pub(crate) fn key_command(folder: &Folder, command: &str, options: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sandpiper-ingress"))
        .args(["key", command, "--keys-file", &folder.text_of("keys.json")])
        .args(options)
        .output()
        .unwrap()
}

/// Runs `sandpiper-ingress key`, which must succeed. Returns standard output without its last line break.
pub(crate) fn key(folder: &Folder, command: &str, options: &[&str]) -> String {
    let output = key_command(folder, command, options);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout)
        .unwrap()
        .trim_end()
        .to_owned()
}

/// Creates a key.
pub(crate) fn new_key(folder: &Folder, options: &[&str]) -> String {
    key(folder, "new", &[&["--name", "a test"], options].concat())
}

/// Returns the id of a key.
pub(crate) fn id_of(key: &str) -> &str {
    key.split('_').nth(1).unwrap()
}

/// Waits until `holds` returns true.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < WITHIN, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

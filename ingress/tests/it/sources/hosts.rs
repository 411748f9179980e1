//! Hosts of scripts: a web server with a certificate, and a scripted name server.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;
use std::time::Duration;

/// The names in the certificate of every test host.
pub(crate) const NAMES: [&str; 2] = ["scripts.example", "other.example"];

/// One certificate authority for all tests, and a certificate of it.
static TLS: LazyLock<(String, Arc<ServerConfig>)> = LazyLock::new(|| {
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = NAMES.map(str::to_owned).to_vec();
    let certificate = CertificateParams::new(names)
        .unwrap()
        .signed_by(&key, &authority)
        .unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    (authority.pem(), Arc::new(config))
});

/// Writes the certificate authority for `--source-ca-file`.
pub(crate) fn write_authority(path: &Path) {
    std::fs::write(path, &TLS.0).unwrap();
}

/// The requests that a host got.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) head: String,
}

/// A connection to a host, after its handshake.
pub(crate) type Secure = StreamOwned<ServerConnection, TcpStream>;

/// A web server on an address of the loopback network.
pub(crate) struct Host {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Host {
    /// Starts a host that responds to each request with these bytes and closes.
    pub(crate) fn answering(answer: impl Fn(&Asked) -> String + Send + Sync + 'static) -> Self {
        Self::acting(move |asked, stream| {
            let _ = stream.write_all(answer(asked).as_bytes());
        })
    }

    /// Starts a host that handles each request with a closure and closes.
    pub(crate) fn acting(act: impl Fn(&Asked, &mut Secure) + Send + Sync + 'static) -> Self {
        Self::at((Ipv4Addr::new(127, 0, 0, 2), 0).into(), act)
    }

    /// Starts a host at this address.
    pub(crate) fn at(
        address: SocketAddr,
        act: impl Fn(&Asked, &mut Secure) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (act, counted, seen) = (Arc::new(act), Arc::clone(&connections), Arc::clone(&asked));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                counted.fetch_add(1, Ordering::SeqCst);
                let (act, seen) = (Arc::clone(&act), Arc::clone(&seen));
                thread::spawn(move || {
                    let connection = ServerConnection::new(Arc::clone(&TLS.1)).unwrap();
                    let mut stream = StreamOwned::new(connection, stream);
                    if let Some(asked) = read_request(&mut stream) {
                        seen.lock().unwrap().push(asked.clone());
                        act(&asked, &mut stream);
                    }
                    stream.conn.send_close_notify();
                    let _ = stream.flush();
                });
            }
        });
        Self {
            address,
            connections,
            asked,
        }
    }

    /// `https://NAME:PORT/PATH`
    pub(crate) fn url(&self, name: &str, path: &str) -> String {
        format!("https://{name}:{}{path}", self.address.port())
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn read_request(stream: &mut Secure) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let path = head.split(' ').nth(1)?.to_owned();
    Some(Asked { path, head })
}

/// Returns a response with this content and additional headers.
pub(crate) fn content(text: &str, headers: &[&str]) -> String {
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    format!(
        "HTTP/1.1 200 OK\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{text}",
        text.len()
    )
}

/// Returns a response without content.
pub(crate) fn status(line: &str, headers: &[&str]) -> String {
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    format!("HTTP/1.1 {line}\r\nconnection: close\r\n{headers}content-length: 0\r\n\r\n")
}

/// A name server whose records have a TTL of 0, and which counts queries.
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl NameServer {
    /// `addresses` gets the name and the number of earlier queries.
    pub(crate) fn start(addresses: impl Fn(&str, usize) -> Vec<Ipv4Addr> + Send + 'static) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        thread::spawn(move || {
            let mut packet = [0; 512];
            while let Ok((length, peer)) = socket.recv_from(&mut packet) {
                let Some((name, kind, end)) = question(&packet[..length]) else {
                    continue;
                };
                const A: u16 = 1;
                let found = match kind {
                    A => addresses(&name, counted.fetch_add(1, Ordering::SeqCst)),
                    _ => Vec::new(),
                };
                let _ = socket.send_to(&reply(&packet[..end], &found), peer);
            }
        });
        Self { address, asked }
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// Returns the name and type of the question, and its end (RFC 1035, 4.1.2).
fn question(packet: &[u8]) -> Option<(String, u16, usize)> {
    let mut at = 12;
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*packet.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8(packet.get(at..at + length)?.to_vec()).ok()?);
        at += length;
    }
    let kind = u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?);
    Some((labels.join("."), kind, at + 4))
}

fn reply(question: &[u8], addresses: &[Ipv4Addr]) -> Vec<u8> {
    const ANSWER_RECURSIVE: [u8; 2] = [0x81, 0x80];
    const NAME_OF_THE_QUESTION: [u8; 2] = [0xc0, 12];
    let mut packet = question.to_vec();
    packet[2..4].copy_from_slice(&ANSWER_RECURSIVE);
    packet[6..8].copy_from_slice(&u16::try_from(addresses.len()).unwrap().to_be_bytes());
    packet[8..12].fill(0);
    for address in addresses {
        packet.extend(NAME_OF_THE_QUESTION);
        // Type A, class IN, TTL 0 seconds, 4 bytes.
        packet.extend([0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        packet.extend(address.octets());
    }
    packet
}

/// Longer than every timeout of a fetch in these tests.
pub(crate) fn hold(stream: &Secure) {
    stream
        .sock
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let _ = stream.sock.peek(&mut [0]);
}

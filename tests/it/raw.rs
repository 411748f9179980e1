//! HTTP by hand: for what no client library would send, and for clients that hang up in the middle.

use crate::support::{Answer, Service};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;
use ureq::http::{HeaderMap, HeaderName, HeaderValue};

/// Silence for so long is a hang.
const ANSWER_WITHIN: Duration = crate::support::SOON;

impl Service {
    /// A connection on which `bytes` have been written. The service may have closed it meanwhile.
    pub(crate) fn send_raw(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(ANSWER_WITHIN)).unwrap();
        let _ = stream.write_all(bytes);
        stream
    }

    /// The answer to `bytes`, which must end the connection; `None` when it ended without one.
    pub(crate) fn exchange(&self, bytes: &[u8]) -> Option<Answer> {
        answer_on(self.send_raw(bytes))
    }

    /// `POST /api/execute` on a connection of its own, not waited for; dropping it is hanging up.
    pub(crate) fn begin_execute(&self, request: &Value) -> TcpStream {
        self.send_raw(&post("/api/execute", &[], request.to_string().as_bytes()))
    }
}

/// A whole `POST` of a JSON body, after which the service closes the connection.
pub(crate) fn post(path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    [head.as_bytes(), body].concat()
}

/// A whole request without a body, after which the service closes the connection.
pub(crate) fn bare(method: &str, target: &str) -> Vec<u8> {
    format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .into_bytes()
}

/// Everything that comes until the service closes the connection, as one answer.
pub(crate) fn answer_on(mut stream: TcpStream) -> Option<Answer> {
    let mut received = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => received.extend_from_slice(&chunk[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            // It was closed while bytes of ours were still unread; what came before counts.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("no answer, and no end: {error}"),
        }
    }
    let text = String::from_utf8(received).unwrap();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().unwrap();
    let headers: HeaderMap = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| {
            let name: HeaderName = name.parse().unwrap();
            let value: HeaderValue = value.parse().unwrap();
            (name, value)
        })
        .collect();
    Some(Answer {
        status,
        headers,
        text: body.to_owned(),
    })
}

//! HTTP by hand: for requests that no client library sends, and for clients that disconnect early.

use crate::support::{Answer, Service};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;
use ureq::http::{HeaderMap, HeaderName, HeaderValue};

/// Silence for this long is a hang.
const ANSWER_WITHIN: Duration = crate::support::SOON;

impl Service {
    /// Opens a connection and writes `bytes`. The service may have closed it meanwhile.
    pub(crate) fn send_raw(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(ANSWER_WITHIN)).unwrap();
        let _ = stream.write_all(bytes);
        stream
    }

    /// Returns the response to `bytes`, which must end the connection, or `None` if it ended without one.
    pub(crate) fn exchange(&self, bytes: &[u8]) -> Option<Answer> {
        answer_on(self.send_raw(bytes))
    }

    /// Sends `POST /api/execute` on a connection of its own, and does not wait. Dropping it disconnects.
    pub(crate) fn begin_execute(&self, request: &Value) -> TcpStream {
        self.send_raw(&post("/api/execute", &[], request.to_string().as_bytes()))
    }
}

/// Returns a whole `POST` of a JSON body, after which the service closes the connection.
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

/// Returns a whole request without a body, after which the service closes the connection.
pub(crate) fn bare(method: &str, target: &str) -> Vec<u8> {
    format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .into_bytes()
}

/// Reads until the service closes the connection, and returns it as one response.
pub(crate) fn answer_on(mut stream: TcpStream) -> Option<Answer> {
    let mut received = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => received.extend_from_slice(&chunk[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            // The connection was closed while some of our bytes were unread; the data before counts.
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

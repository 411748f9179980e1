//! The record of one request.

use super::route::{OTHER, Route, job_of_location, tenant_of_path};
use crate::gateway::Gateway;
use crate::keys::Key;
use crate::problem::Code;
use crate::proxy::ServiceNotes;
use crate::target::{Target, TargetError};
use crate::timestamp::with_millis;
use actix_web::HttpResponse;
use actix_web::dev::ServiceRequest;
use actix_web::http::Method;
use actix_web::http::header::{HeaderValue, LOCATION};
use actix_web::web::Data;
use serde::Serialize;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// The code of a refusal.
#[derive(Debug)]
enum Refusal {
    OfIngress(Code),
    OfService(hyper::header::HeaderValue),
}

#[derive(Debug)]
pub(super) struct Record {
    began: SystemTime,
    took: Duration,
    request_id: HeaderValue,
    /// The key with which the request came, if it is known.
    key: Option<Arc<Key>>,
    client: Option<IpAddr>,
    method: &'static str,
    route: Route,
    /// The tenant that the path names.
    target_tenant: Option<String>,
    /// The status of the response; `None` if the client left before.
    status: Option<u16>,
    refusal: Option<Refusal>,
    outcome: Option<hyper::header::HeaderValue>,
}

/// The form of a record in the log.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    time: String,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<IpAddr>,
    method: &'static str,
    route: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_tenant: Option<&'a str>,
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'a str>,
    duration_ms: u64,
}

impl Record {
    /// Appends the line of the record.
    pub(super) fn write(&self, lines: &mut Vec<u8>) {
        let key = self.key.as_deref();
        let line = Line {
            time: with_millis(self.began),
            request_id: self.request_id.to_str().unwrap_or_default(),
            key: key.map(|key| key.id().to_string()),
            tenant: key.map(Key::owner),
            client: self.client,
            method: self.method,
            route: self.route.template,
            job: self.route.job.map(|job| job.to_string()),
            target_tenant: self.target_tenant.as_deref(),
            status: self.status,
            code: self.refusal.as_ref().and_then(|refusal| match refusal {
                Refusal::OfIngress(code) => Some(code.name()),
                Refusal::OfService(code) => word(code),
            }),
            outcome: self.outcome.as_ref().and_then(word),
            duration_ms: u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
        };
        let before = lines.len();
        // A line of texts and numbers always serializes.
        if serde_json::to_writer(&mut *lines, &line).is_err() {
            lines.truncate(before);
        } else {
            lines.push(b'\n');
        }
    }
}

/// Returns the value of a header if it is a name such as `queue_full`.
fn word(value: &hyper::header::HeaderValue) -> Option<&str> {
    const BYTES_MAX: usize = 64;
    let text = value.to_str().ok()?;
    let is_word = (1..=BYTES_MAX).contains(&text.len())
        && (text.bytes()).all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_word.then_some(text)
}

/// The record of a request that is open. Dropping it writes its line.
#[derive(Debug)]
pub(crate) struct OpenRecord {
    gateway: Data<Gateway>,
    began: Instant,
    /// Taken when the line is written.
    record: Option<Record>,
}

impl OpenRecord {
    /// Opens the record of a request; `None` without an audit log, and for pages, health checks and preflights.
    pub(crate) fn of(
        request: &ServiceRequest,
        target: Result<Target, TargetError>,
        id: &HeaderValue,
    ) -> Option<Self> {
        let gateway = Gateway::of(request.request());
        gateway.audit.as_ref()?;
        let route = match target {
            Ok(Target::Api { .. }) => Route::of(request.uri().path()),
            // An ambiguous path, or a method that is never forwarded.
            Err(_) => Route::UNKNOWN,
            Ok(Target::Page | Target::Live | Target::Ready | Target::Preflight) => return None,
        };
        if route.is_health {
            return None;
        }
        let target_tenant = match route.template {
            OTHER => None,
            _ => tenant_of_path(request.uri().path()).map(str::to_owned),
        };
        let client = request.peer_addr().map(|peer| {
            let address = gateway.trust.client_address(peer.ip(), request.headers());
            address.to_canonical()
        });
        let record = Record {
            began: SystemTime::now(),
            took: Duration::ZERO,
            request_id: id.clone(),
            key: None,
            client,
            method: name_of(request.method()),
            target_tenant,
            route,
            status: None,
            refusal: None,
            outcome: None,
        };
        Some(Self {
            gateway: gateway.clone(),
            began: Instant::now(),
            record: Some(record),
        })
    }

    /// Sets the key with which the request came.
    pub(crate) fn set_key(&mut self, key: Option<&Arc<Key>>) {
        if let Some(record) = &mut self.record {
            record.key = key.cloned();
        }
    }

    /// Sets the status of the response, and how the request ended.
    pub(crate) fn set_response<B>(&mut self, response: &HttpResponse<B>) {
        let Some(record) = &mut self.record else {
            return;
        };
        record.status = Some(response.status().as_u16());
        if record.route.job.is_none() {
            let location = response.headers().get(LOCATION);
            let location = location.and_then(|location| location.to_str().ok());
            record.route.job = location.and_then(job_of_location);
        }
        let extensions = response.extensions();
        record.refusal = extensions.get().copied().map(Refusal::OfIngress);
        if let Some(notes) = extensions.get::<ServiceNotes>() {
            let of_service = || notes.problem.clone().map(Refusal::OfService);
            record.refusal = record.refusal.take().or_else(of_service);
            record.outcome = notes.outcome.clone();
        }
    }
}

impl Drop for OpenRecord {
    fn drop(&mut self) {
        if let (Some(mut record), Some(audit)) = (self.record.take(), &self.gateway.audit) {
            record.took = self.began.elapsed();
            audit.send(record);
        }
    }
}

/// Returns the name of a method that HTTP defines, else `other`: a client can write anything.
fn name_of(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::TRACE => "TRACE",
        Method::CONNECT => "CONNECT",
        _ => "other",
    }
}

#[cfg(test)]
pub(super) fn record_for_tests(number: u16) -> Record {
    Record {
        began: SystemTime::UNIX_EPOCH,
        took: Duration::from_millis(7),
        request_id: HeaderValue::from_static("an-id"),
        key: None,
        client: None,
        method: "GET",
        route: Route::of("/api/jobs/01890a5d-ac96-774b-bcce-b302099a8057"),
        status: Some(number),
        refusal: None,
        outcome: None,
        target_tenant: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_what_is_known_and_nothing_that_is_no_word() {
        let mut record = record_for_tests(200);
        let mut lines = Vec::new();
        record.write(&mut lines);
        assert_eq!(
            String::from_utf8(lines).unwrap(),
            "{\"time\":\"1970-01-01T00:00:00.000Z\",\"requestId\":\"an-id\",\"method\":\"GET\",\"route\":\"/api/jobs/{id}\",\
             \"job\":\"01890a5d-ac96-774b-bcce-b302099a8057\",\"status\":200,\"durationMs\":7}\n"
        );
        let value = hyper::header::HeaderValue::from_static;
        record.status = None;
        record.client = Some([203, 0, 113, 7].into());
        record.refusal = Some(Refusal::OfService(value("queue_full")));
        record.outcome = Some(value("<script>"));
        let mut lines = Vec::new();
        record.write(&mut lines);
        let line: serde_json::Value = serde_json::from_slice(&lines).unwrap();
        assert_eq!(line["status"], serde_json::Value::Null);
        assert_eq!(line["client"], "203.0.113.7");
        assert_eq!(line["code"], "queue_full");
        assert_eq!(line.get("outcome"), None);
    }
}

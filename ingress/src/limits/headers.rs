//! The response headers of rate limits: the fields of the IETF draft, and the older fields that many clients read.
//!
//! ```text
//!   RateLimit-Policy: "client-run";q=100;w=2      the burst, and the seconds until an empty bucket is full
//!   RateLimit: "client-run";r=99;t=1              what is left, and the seconds until the bucket is full
//!   X-RateLimit-Limit, -Remaining, -Reset         the same three numbers
//! ```
//!
//! The first two are lists. Items of the service's response stay in them, before those of the ingress.

use super::RateLimitStatus;
use crate::problem::whole_seconds;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

impl RateLimitStatus {
    /// Writes the headers into a response.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        let Self {
            policy,
            quota,
            remaining,
            ..
        } = self;
        let burst = quota.burst();
        let window = whole_seconds(quota.window());
        let reset = match burst.saturating_sub(*remaining) {
            0 => 0,
            missing => whole_seconds(quota.interval() * missing),
        };
        append(
            headers,
            POLICY,
            format!("\"{policy}\";q={burst};w={window}"),
        );
        append(
            headers,
            LIMIT,
            format!("\"{policy}\";r={remaining};t={reset}"),
        );
        for (name, number) in [
            (X_LIMIT, u64::from(burst)),
            (X_REMAINING, u64::from(*remaining)),
            (X_RESET, reset),
        ] {
            headers.insert(name, HeaderValue::from(number));
        }
    }

    pub(crate) fn policy(&self) -> &'static str {
        self.policy
    }
}

/// Appends an item to a list that may be in the headers. The list becomes one header line, because many clients read
/// only the first.
fn append(headers: &mut HeaderMap, name: HeaderName, item: String) {
    let lines = headers.get_all(&name);
    let lines = lines.filter_map(|line| line.to_str().ok()).map(str::trim);
    let mut list: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    list.push(&item);
    if let Ok(value) = HeaderValue::try_from(list.join(", ")) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_of_the_service_stay_before_those_of_the_ingress() {
        let status = RateLimitStatus {
            policy: "key-run",
            quota: "60/m:10".parse().unwrap(),
            remaining: 8,
        };
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_static;
        headers.append(POLICY, value("\"tenant-day\";q=1000;w=86400"));
        headers.append(POLICY, value("\"tenant-month\";q=9;w=2678400"));
        headers.append(LIMIT, value(" "));
        headers.append(X_LIMIT, value("1000"));
        status.write(&mut headers);
        let lines = |name| -> Vec<&str> {
            let lines = headers.get_all(name);
            lines.map(|line| line.to_str().unwrap()).collect()
        };
        assert_eq!(
            lines(POLICY),
            [
                "\"tenant-day\";q=1000;w=86400, \"tenant-month\";q=9;w=2678400, \"key-run\";q=10;w=10"
            ]
        );
        assert_eq!(lines(LIMIT), ["\"key-run\";r=8;t=2"]);
        assert_eq!(lines(X_LIMIT), ["10"]);
        assert_eq!(lines(X_REMAINING), ["8"]);
    }
}

//! The response headers of rate limits: the fields of the IETF draft, and the older fields that many clients read.
//!
//! ```text
//!   RateLimit-Policy: "client-run";q=100;w=2      the burst, and the seconds until an empty bucket is full
//!   RateLimit: "client-run";r=99;t=1              what is left, and the seconds until the bucket is full
//!   X-RateLimit-Limit, -Remaining, -Reset         the same three numbers
//! ```

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
        let mut insert = |name: HeaderName, text: String| {
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert(name, value);
            }
        };
        insert(POLICY, format!("\"{policy}\";q={burst};w={window}"));
        insert(LIMIT, format!("\"{policy}\";r={remaining};t={reset}"));
        insert(X_LIMIT, burst.to_string());
        insert(X_REMAINING, remaining.to_string());
        insert(X_RESET, reset.to_string());
    }

    pub(crate) fn policy(&self) -> &'static str {
        self.policy
    }
}

//! The id of a request, in the header `X-Request-ID`.

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");
const BYTES_MAX: usize = 128;

/// Returns the client's id if it is valid, else a new one: a UUID of version 7.
///
/// A valid id has 1 to 128 letters, digits and characters of `-_.:/+=`.
pub fn of(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(&HEADER).filter(|given| is_valid(given));
    given.cloned().unwrap_or_else(generate)
}

fn is_valid(given: &HeaderValue) -> bool {
    let bytes = given.as_bytes();
    (1..=BYTES_MAX).contains(&bytes.len())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte))
}

fn generate() -> HeaderValue {
    let mut text = Uuid::encode_buffer();
    let text = Uuid::now_v7().hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("unnamed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_for(given: &str) -> HeaderValue {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, HeaderValue::from_str(given).unwrap());
        of(&headers)
    }

    #[test]
    fn a_valid_id_is_taken_and_any_other_is_replaced() {
        for id in ["a", "A-_.:/+=9", &"x".repeat(128)] {
            assert_eq!(id_for(id), id);
        }
        for id in ["", "a b", "a\tb", "\"", "a,b", &"x".repeat(129)] {
            let replaced = id_for(id);
            assert_eq!(replaced.len(), 36, "{id}");
        }
        assert_ne!(of(&HeaderMap::new()), of(&HeaderMap::new()));
    }
}

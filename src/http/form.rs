//! `multipart/form-data`: the fields of a JSON body, one per part. A field that is not a string in JSON has JSON in its
//! part.

use super::fields::{FieldValue, Fields};
use super::problem::{Code, Problem};
use actix_web::web::Bytes;
use futures_util::stream;
use multer::Multipart;
use std::convert::Infallible;

/// Returns the fields of a form. The body is in memory already, and bounded.
pub(super) async fn fields(body: Bytes, boundary: String) -> Result<Fields, Problem> {
    let whole = stream::once(async move { Ok::<_, Infallible>(body) });
    let mut parts = Multipart::new(whole, boundary);
    let mut fields = Fields::default();
    while let Some(part) = parts.next_field().await.map_err(malformed)? {
        let Some(name) = part.name().map(str::to_owned) else {
            return Err(Problem::new(
                Code::InvalidBody,
                "a part of the form has no name",
            ));
        };
        let bytes = part.bytes().await.map_err(malformed)?;
        let text = String::from_utf8(bytes.into()).map_err(|_| {
            Problem::invalid_field(&name, format!("part `{name}` is not UTF-8 text"))
        })?;
        fields.set(&name, FieldValue::Text(text))?;
    }
    Ok(fields)
}

fn malformed(error: multer::Error) -> Problem {
    Problem::new(
        Code::InvalidBody,
        format!("the body is not a form: {error}"),
    )
}

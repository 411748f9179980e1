//! `multipart/form-data`: the same fields, each a part. What is not a string in JSON is JSON in its part.

use super::fields::{Fields, Given};
use super::problem::{Code, Problem};
use actix_web::web::Bytes;
use futures_util::stream;
use multer::Multipart;
use std::convert::Infallible;

/// The fields of a form whose body has been read, and bounded, already.
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
        fields.set(&name, Given::Text(text))?;
    }
    Ok(fields)
}

fn malformed(error: multer::Error) -> Problem {
    Problem::new(
        Code::InvalidBody,
        format!("the body is not a form: {error}"),
    )
}

//! The parts of `multipart/form-data`.

use crate::http::problem::{Code, Problem};
use actix_web::web::Bytes;
use futures_util::stream;
use multer::Multipart;
use std::convert::Infallible;

/// Returns the parts of a form, each as its name and its text. The body is in memory already, and bounded.
pub(super) async fn parts(body: Bytes, boundary: String) -> Result<Vec<(String, String)>, Problem> {
    let whole = stream::once(async move { Ok::<_, Infallible>(body) });
    let mut form = Multipart::new(whole, boundary);
    let mut parts = Vec::new();
    while let Some(part) = form.next_field().await.map_err(malformed)? {
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
        parts.push((name, text));
    }
    Ok(parts)
}

fn malformed(error: multer::Error) -> Problem {
    Problem::new(
        Code::InvalidBody,
        format!("the body is not a form: {error}"),
    )
}

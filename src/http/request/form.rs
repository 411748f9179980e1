//! The parts of `multipart/form-data`.

use crate::http::problem::{Code, Problem};
use actix_web::web::Bytes;
use futures_util::stream;
use multer::Multipart;
use sandpiper_domain::Source;
use std::convert::Infallible;

/// The name of the parts that are files of modules.
const MODULES: &str = "modules";

#[derive(Debug)]
pub(super) struct Part {
    pub(super) name: String,
    /// The name of the file that the part is.
    file_name: Option<String>,
    pub(super) text: String,
}

impl Part {
    /// Returns whether this part is the file of a module. A part `modules` without a file name is the object of a JSON
    /// request.
    pub(super) fn is_module(&self) -> bool {
        self.name == MODULES && self.file_name.as_ref().is_some_and(|name| !name.is_empty())
    }

    /// Makes a module of a file. Its name is the file's, behind `./`.
    pub(super) fn into_module(self) -> Source {
        let name = self.file_name.unwrap_or_default();
        let file_name = match name.strip_prefix("./") {
            Some(_) => name,
            None => format!("./{name}"),
        };
        Source {
            file_name,
            text: self.text,
        }
    }
}

/// Returns the parts of a form. The body is in memory already, and bounded.
pub(super) async fn parts(body: Bytes, boundary: String) -> Result<Vec<Part>, Problem> {
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
        let file_name = part.file_name().map(str::to_owned);
        let bytes = part.bytes().await.map_err(malformed)?;
        let text = String::from_utf8(bytes.into()).map_err(|_| {
            Problem::invalid_field(&name, format!("part `{name}` is not UTF-8 text"))
        })?;
        parts.push(Part {
            name,
            file_name,
            text,
        });
    }
    Ok(parts)
}

fn malformed(error: multer::Error) -> Problem {
    Problem::new(
        Code::InvalidBody,
        format!("the body is not a form: {error}"),
    )
}

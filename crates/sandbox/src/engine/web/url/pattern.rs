//! The canonical forms of the parts of a pattern, as <https://urlpattern.spec.whatwg.org/#canonicalization> makes them:
//! each is what the URL parser makes of the part in a URL of no importance.

use super::encode::{self, USERINFO};
use super::parser::{self, State};
use super::record::Record;

/// Makes a part canonical: of the part and of the protocol, if that is known. Returns `None` if the part is wrong.
type Canonical = fn(&str, Option<&str>) -> Option<String>;

/// The parts in the order of urlpattern.js.
pub(super) const CANONICAL: [Canonical; 10] = [
    |protocol, _| Some(parser::parse(&format!("{protocol}://dummy.invalid/"), None)?.scheme),
    |username, _| Some(encode::encoded(username, USERINFO)),
    |password, _| Some(encode::encoded(password, USERINFO)),
    |hostname, _| set(hostname, State::Hostname, dummy())?.host,
    |port, protocol| {
        let mut url = dummy();
        // In a pattern the protocol is not known, and the port may be a part of one: no port is a default.
        protocol.unwrap_or_default().clone_into(&mut url.scheme);
        Some(set(port, State::Port, url)?.port_text())
    },
    |pathname, _| pathname_of(pathname),
    |pathname, _| Some(set(pathname, State::OpaquePath, dummy())?.path),
    |search, _| set(search, State::Query, dummy())?.query,
    |hash, _| set(hash, State::Fragment, dummy())?.fragment,
    |address, _| ipv6_hostname(address),
];

fn dummy() -> Record {
    Record {
        scheme: "https".to_owned(),
        host: Some("dummy.invalid".to_owned()),
        ..Record::default()
    }
}

fn set(text: &str, part: State, mut url: Record) -> Option<Record> {
    parser::set(&mut url, text, part).then_some(url)
}

/// Returns the canonical form of a piece of a path. A piece may begin within a segment, so the parser must not put a slash
/// before the piece.
fn pathname_of(piece: &str) -> Option<String> {
    const START: &str = "/-";
    if piece.starts_with('/') {
        return Some(set(piece, State::PathStart, dummy())?.path);
    }
    let path = set(&format!("{START}{piece}"), State::PathStart, dummy())?.path;
    Some(path.get(START.len()..).unwrap_or_default().to_owned())
}

fn ipv6_hostname(address: &str) -> Option<String> {
    let is_allowed = |byte: u8| byte.is_ascii_hexdigit() || b"[]:".contains(&byte);
    address
        .bytes()
        .all(is_allowed)
        .then(|| address.to_ascii_lowercase())
}

//! The states of the URL parser for the authority: username and password, host and port.

use super::encode::{self, USERINFO};
use super::host;
use super::parser::{Parser, State, Step};
use super::record::default_port;

impl Parser<'_> {
    /// Reads username and password, if there are any.
    pub(super) fn authority(&mut self) -> Step {
        let start = self.at;
        let length = self.rest().iter();
        let end = start
            + length
                .take_while(|byte| !self.ends_authority(Some(**byte)))
                .count();
        let authority = &self.input[start.min(end)..end];
        let Some(sign) = authority.iter().rposition(|byte| *byte == b'@') else {
            return self.host_from(start, State::Host);
        };
        if start + sign + 1 == end {
            return Step::Failed;
        }
        let (userinfo, url) = (&authority[..sign], &mut self.url);
        let colon = userinfo.iter().position(|byte| *byte == b':');
        let username = &userinfo[..colon.unwrap_or(userinfo.len())];
        encode::push(&mut url.username, username, USERINFO);
        if let Some(colon) = colon {
            encode::push(&mut url.password, &userinfo[colon + 1..], USERINFO);
        }
        self.host_from(start + sign + 1, State::Host)
    }

    pub(super) fn host(&mut self, state: State, byte: Option<u8>) -> Step {
        if self.only.is_some() && self.url.scheme == "file" {
            return self.host_from(self.at, State::FileHost);
        }
        let is_empty = self.at == self.start;
        let is_port_next = byte == Some(b':') && !self.is_in_brackets;
        if !is_port_next && !self.ends_authority(byte) {
            match byte {
                Some(b'[') => self.is_in_brackets = true,
                Some(b']') => self.is_in_brackets = false,
                _ => {}
            }
            return Step::Next(state);
        }
        if is_port_next && (is_empty || self.only == Some(State::Hostname)) {
            return Step::Failed;
        }
        if !is_port_next && is_empty {
            let is_held = self.url.has_credentials() || self.url.port.is_some();
            if self.url.is_special() || (self.only.is_some() && is_held) {
                return Step::Failed;
            }
        }
        let is_opaque = !self.url.is_special();
        let Some(host) = host::parse(self.text(self.start, self.at), is_opaque) else {
            return Step::Failed;
        };
        self.url.host = Some(host);
        if is_port_next {
            return self.host_from(self.at + 1, State::Port);
        }
        if self.only.is_some() {
            return Step::Done;
        }
        Step::Again(State::PathStart)
    }

    pub(super) fn port(&mut self, byte: Option<u8>) -> Step {
        if byte.is_some_and(|byte| byte.is_ascii_digit()) {
            return Step::Next(State::Port);
        }
        if !self.ends_authority(byte) && self.only.is_none() {
            return Step::Failed;
        }
        let digits = self.text(self.start, self.at);
        if !digits.is_empty() {
            let digits = digits.trim_start_matches('0');
            let port = if digits.is_empty() { "0" } else { digits }.parse::<u16>();
            let Ok(port) = port else {
                return Step::Failed;
            };
            self.url.port = Some(port).filter(|port| default_port(&self.url.scheme) != Some(*port));
            if self.only.is_some() {
                return Step::Done;
            }
        }
        if self.only.is_some() {
            return Step::Failed;
        }
        Step::Again(State::PathStart)
    }
}

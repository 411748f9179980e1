//! The name of a tenant, to which a key belongs.

use std::fmt;
use std::str::FromStr;

/// A tenant's name: 1 to 64 letters, digits, `.`, `_` and `-`, of which the first is a letter or a digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantName(Box<str>);

impl TenantName {
    const BYTES_MAX: usize = 64;
    /// The tenant of requests without a key, at the service. No key belongs to it.
    const WITHOUT_KEYS: &str = "default";

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl FromStr for TenantName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let begins_well = text.starts_with(|first: char| first.is_ascii_alphanumeric());
        if !begins_well || text.len() > Self::BYTES_MAX || !text.bytes().all(is_inner) {
            return Err(format!(
                "the name of a tenant is 1 to {} letters, digits, `.`, `_` and `-`, and begins with a letter or a digit",
                Self::BYTES_MAX
            ));
        }
        if text == Self::WITHOUT_KEYS {
            return Err(format!(
                "the tenant `{text}` is that of requests without a key; give another name"
            ));
        }
        Ok(Self(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::KeyId;
    use sandpiper_domain::{ApiKeyId, Tenant};

    #[test]
    fn a_name_is_short_and_of_plain_characters() {
        let longest = "a".repeat(64);
        for name in ["a", "0", "acme", "Acme-7_b.c", "defaults", &longest] {
            assert_eq!(name.parse::<TenantName>().unwrap().as_str(), name);
        }
        let too_long = "a".repeat(65);
        for name in [
            "", "-a", ".a", "_a", "key:1", "a b", "a/b", "a,b", "a;b", "é", "a\n", "default",
            &too_long,
        ] {
            assert!(name.parse::<TenantName>().is_err(), "{name}");
        }
    }

    /// The ingress and the service share no code for keys. The service must accept what the ingress tells it.
    #[test]
    fn the_service_knows_the_same_names_and_ids() {
        let letters = ["a", "Z", "9", ".", "_", "-", ":", " ", "/", "é", "\n"];
        let pairs = letters.iter().flat_map(|first| {
            let second = letters.iter().chain(&[""]);
            second.map(move |second| format!("{first}{second}"))
        });
        let lengths = [0, 1, 63, 64, 65].map(|length| "a".repeat(length));
        for name in pairs.chain(lengths) {
            let of_service = name.parse::<Tenant>();
            assert_eq!(
                name.parse::<TenantName>().is_ok(),
                of_service.is_ok(),
                "{name}"
            );
        }
        assert_eq!(TenantName::WITHOUT_KEYS, Tenant::DEFAULT);
        for id in [
            "00000000000000ff",
            "80b0bcab28bcae82",
            "",
            "ff",
            "80B0BCAB28BCAE82",
        ] {
            let of_service = id.parse::<ApiKeyId>().map(|id| id.to_string());
            let id = id.parse::<KeyId>().map(|id| id.to_string());
            assert_eq!(id.ok(), of_service.ok());
        }
    }
}

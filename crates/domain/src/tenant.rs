//! Tenants: the owner of a job, and the jobs that a request may see.

use super::ClientKey;
use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

/// The name of a tenant: one or several API keys, or everybody where no keys are in use.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tenant(Arc<str>);

static DEFAULT: LazyLock<Tenant> = LazyLock::new(|| Tenant(Tenant::DEFAULT.into()));

/// Prefix of the client of a request with a key that has no tenant, and of that key's own tenant.
const KEY_PREFIX: &str = "key:";
/// Prefix of the client of a request with a key that has a tenant.
const TENANT_PREFIX: &str = "tenant:";

impl Tenant {
    /// The name of the tenant of requests without a key.
    pub const DEFAULT: &str = "default";
    pub const NAME_BYTES_MAX: usize = 64;
    /// The names as a regular expression, for descriptions.
    pub const PATTERN: &str = "^(key:[0-9a-f]{16}|[A-Za-z0-9][A-Za-z0-9._-]{0,63})$";
    pub(super) const CLIENT_PREFIXES: [&str; 2] = [KEY_PREFIX, TENANT_PREFIX];

    /// Returns a tenant that was stored before.
    #[must_use]
    pub fn stored(text: &str) -> Self {
        match text {
            Self::DEFAULT => Self::default(),
            text => Self(text.into()),
        }
    }

    /// Returns the tenant of a client: of jobs that were stored, and of requests that were sent, without a tenant.
    #[must_use]
    pub fn of_client(client: &ClientKey) -> Self {
        let client = client.as_str();
        let name = client.strip_prefix(TENANT_PREFIX);
        let name = name.filter(|name| is_name(name)).or_else(|| {
            let id = client.strip_prefix(KEY_PREFIX)?;
            ApiKeyId::from_str(id).is_ok().then_some(client)
        });
        name.map_or_else(Self::default, Self::stored)
    }

    /// Returns the client that all requests of this tenant count for; `None` for the tenant without keys, whose clients
    /// are told apart by their addresses.
    #[must_use]
    pub fn client(&self) -> Option<ClientKey> {
        match &*self.0 {
            Self::DEFAULT => None,
            name if name.starts_with(KEY_PREFIX) => Some(ClientKey::new(name)),
            name => Some(ClientKey::new(&format!("{TENANT_PREFIX}{name}"))),
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Tenant {
    fn default() -> Self {
        DEFAULT.clone()
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Serialize for Tenant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a tenant is 1 to {} letters, digits, dots, dashes and underscores, the first a letter or digit; or `key:` and the id of a key",
    Tenant::NAME_BYTES_MAX
)]
pub struct InvalidTenant;

impl FromStr for Tenant {
    type Err = InvalidTenant;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_key = |text: &str| {
            let id = text.strip_prefix(KEY_PREFIX);
            id.is_some_and(|id| ApiKeyId::from_str(id).is_ok())
        };
        if is_name(text) || is_key(text) {
            Ok(Self::stored(text))
        } else {
            Err(InvalidTenant)
        }
    }
}

fn is_name(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    text.len() <= Tenant::NAME_BYTES_MAX
        && text.bytes().all(is_allowed)
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
}

/// The id of an API key. The id is no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApiKeyId(u64);

impl fmt::Display for ApiKeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the id of a key is 16 lower-case hexadecimal digits")]
pub struct InvalidApiKeyId;

impl FromStr for ApiKeyId {
    type Err = InvalidApiKeyId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 16 || !text.bytes().all(is_digit) {
            return Err(InvalidApiKeyId);
        }
        let id = u64::from_str_radix(text, 16).map_err(|_| InvalidApiKeyId)?;
        Ok(Self(id))
    }
}

/// The tenant that a job belongs to, and the key that submitted the job.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Owner {
    pub tenant: Tenant,
    /// `None` where no keys are in use.
    pub key: Option<ApiKeyId>,
}

impl Owner {
    /// Returns the owner of a client: of jobs that were stored, and of requests that were sent, without a tenant.
    #[must_use]
    pub fn of_client(client: &ClientKey) -> Self {
        let id = client.as_str().strip_prefix(KEY_PREFIX);
        Self {
            tenant: Tenant::of_client(client),
            key: id.and_then(|id| id.parse().ok()),
        }
    }
}

/// The jobs that a request may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    All,
    Tenant(Tenant),
    /// The jobs that one key submitted, while the key belonged to this tenant.
    Key(Tenant, ApiKeyId),
}

impl Access {
    #[must_use]
    pub fn includes(&self, owner: &Owner) -> bool {
        match self {
            Self::All => true,
            Self::Tenant(tenant) => *tenant == owner.tenant,
            Self::Key(tenant, key) => *tenant == owner.tenant && Some(*key) == owner.key,
        }
    }

    /// Returns the tenant to which the jobs belong; `None` for all.
    #[must_use]
    pub fn tenant(&self) -> Option<&Tenant> {
        match self {
            Self::All => None,
            Self::Tenant(tenant) | Self::Key(tenant, _) => Some(tenant),
        }
    }

    /// Returns the key that submitted the jobs; `None` for any key.
    #[must_use]
    pub fn key(&self) -> Option<ApiKeyId> {
        match self {
            Self::All | Self::Tenant(_) => None,
            Self::Key(_, key) => Some(*key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "00000000000000ff";

    fn tenant(text: &str) -> Tenant {
        text.parse().unwrap()
    }

    #[test]
    fn a_tenant_is_a_short_plain_name_or_that_of_a_key() {
        let longest = "a".repeat(64);
        for name in ["a", "0", "acme", "Acme-1.x_y", longest.as_str(), "default"] {
            assert_eq!(tenant(name).as_str(), name);
        }
        assert_eq!(tenant(&format!("key:{ID}")).as_str(), format!("key:{ID}"));
        let too_long = "a".repeat(65);
        for text in [
            "",
            "-a",
            ".a",
            "a b",
            "a/b",
            "é",
            "key:",
            "key:1",
            "key:00000000000000FF",
            "tenant:a",
            "a\n",
            too_long.as_str(),
        ] {
            assert!(text.parse::<Tenant>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_tenant_and_its_client_lead_to_each_other() {
        for name in ["acme", "10.0.0.1", &format!("key:{ID}")] {
            let client = tenant(name).client().unwrap();
            assert_eq!(Tenant::of_client(&client), tenant(name), "{name}");
        }
        assert_eq!(Tenant::default().client(), None);
        for client in [
            "10.0.0.1",
            "river",
            "key:",
            "key:x",
            "tenant:",
            "tenant:a b",
        ] {
            let found = Tenant::of_client(&ClientKey::new(client));
            assert_eq!(found, Tenant::default(), "{client}");
        }
    }

    #[test]
    fn a_key_sees_its_own_jobs_and_a_tenant_those_of_all_its_keys() {
        let [first, second]: [ApiKeyId; 2] = [ID, "0000000000000001"].map(|id| id.parse().unwrap());
        let owned_by = |name: &str, key| Owner {
            tenant: tenant(name),
            key,
        };
        let own = owned_by("a", Some(first));
        let of_tenant = owned_by("a", Some(second));
        let without_key = owned_by("a", None);
        let of_other = owned_by("b", Some(first));
        let seen = |access: Access| {
            [&own, &of_tenant, &without_key, &of_other].map(|owner| access.includes(owner))
        };
        assert_eq!(
            seen(Access::Key(tenant("a"), first)),
            [true, false, false, false]
        );
        assert_eq!(seen(Access::Tenant(tenant("a"))), [true, true, true, false]);
        assert_eq!(seen(Access::All), [true; 4]);
    }
}

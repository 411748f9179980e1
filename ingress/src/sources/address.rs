//! The addresses that a script may be fetched from: the defence against SSRF and DNS rebinding.
//!
//! A name is resolved once, addresses that are not allowed are removed, and the connection is opened to one of the
//! rest. No second look-up could return another address.

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, LazyLock};

/// The special-purpose networks of the IANA registries, and the address at which Azure serves its virtual machines.
/// IPv6 addresses outside 2000::/3 are not public either.
const SPECIAL: [&str; 21] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.31.196.0/24",
    "192.52.193.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "192.175.48.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/3",
    "2001::/23",
    "2001:db8::/32",
    "3fff::/20",
];
/// IPv6 networks whose addresses embed an IPv4 address, with its offset in bits: 6to4 and NAT64.
const WITH_IPV4: [(&str, u32); 2] = [("2002::/16", 16), ("64:ff9b::/96", 96)];

static SPECIAL_NETWORKS: LazyLock<Vec<IpNet>> = LazyLock::new(|| {
    SPECIAL
        .iter()
        .filter_map(|text| text.parse().ok())
        .collect()
});

fn is_public(address: IpAddr) -> bool {
    let address = address.to_canonical();
    if SPECIAL_NETWORKS
        .iter()
        .any(|network| network.contains(&address))
    {
        return false;
    }
    match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(v6) => match embedded_ipv4(v6) {
            Some(v4) => is_public(v4),
            None => v6.segments()[0] >> 13 == 1,
        },
    }
}

fn embedded_ipv4(address: Ipv6Addr) -> Option<IpAddr> {
    WITH_IPV4.iter().find_map(|(network, bits)| {
        let network: IpNet = network.parse().ok()?;
        let low = u32::try_from(address.to_bits() << bits >> 96).ok()?;
        network
            .contains(&IpAddr::V6(address))
            .then(|| IpAddr::V4(low.into()))
    })
}

/// The allowed addresses: public ones, and those of `--source-networks`.
#[derive(Debug, Clone, Default)]
pub(super) struct AddressPolicy {
    networks: Vec<IpNet>,
}

impl AddressPolicy {
    pub(super) fn new(networks: Vec<IpNet>) -> Self {
        Self { networks }
    }

    pub(super) fn allows(&self, address: IpAddr) -> bool {
        let canonical = address.to_canonical();
        is_public(address)
            || self
                .networks
                .iter()
                .any(|network| network.contains(&canonical))
    }
}

/// No address of a host is allowed.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the host has no address that may be reached")]
pub(super) struct AddressNotAllowed;

/// A resolver that drops addresses which are not allowed.
#[derive(Clone)]
pub(super) struct GuardedResolver {
    resolver: Arc<TokioResolver>,
    policy: Arc<AddressPolicy>,
}

impl GuardedResolver {
    /// Uses the given name server, or else the machine's.
    pub(super) fn new(
        nameserver: Option<SocketAddr>,
        policy: AddressPolicy,
    ) -> Result<Self, String> {
        let mut builder = match nameserver {
            None => TokioResolver::builder_tokio().map_err(|error| {
                format!("the name servers of this machine are not known: {error}")
            })?,
            Some(address) => {
                let on_port = |mut connection: ConnectionConfig| {
                    connection.port = address.port();
                    connection
                };
                let server = NameServerConfig::new(
                    address.ip(),
                    true,
                    vec![
                        on_port(ConnectionConfig::udp()),
                        on_port(ConnectionConfig::tcp()),
                    ],
                );
                let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            }
        };
        builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        let resolver = builder.build().map_err(|error| error.to_string())?;
        Ok(Self {
            resolver: Arc::new(resolver),
            policy: Arc::new(policy),
        })
    }

    pub(super) fn allows(&self, address: IpAddr) -> bool {
        self.policy.allows(address)
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let found = guard.resolver.lookup_ip(absolute(name.as_str())).await?;
            let allowed: Vec<SocketAddr> = found
                .iter()
                .filter(|address| guard.allows(*address))
                .map(|address| SocketAddr::new(address, 0))
                .collect();
            if allowed.is_empty() {
                return Err(AddressNotAllowed.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Makes a name with a dot fully qualified, so that the machine's search domains do not apply.
fn absolute(name: &str) -> String {
    if name.contains('.') && !name.ends_with('.') {
        return format!("{name}.");
    }
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(policy: &AddressPolicy, text: &str) -> bool {
        policy.allows(text.parse().unwrap())
    }

    #[test]
    fn every_network_in_the_tables_is_valid() {
        assert_eq!(SPECIAL_NETWORKS.len(), SPECIAL.len());
        for (network, _) in WITH_IPV4 {
            assert!(network.parse::<IpNet>().is_ok());
        }
    }

    #[test]
    fn only_public_addresses_are_reached() {
        let nothing_more = AddressPolicy::default();
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "2a00:1450::1",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ] {
            assert!(allows(&nothing_more, public), "{public}");
        }
        for private in [
            "0.0.0.0",
            "127.0.0.1",
            "127.255.255.254",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "169.254.170.2",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "198.18.0.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "4000::1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:7f00:1::1",
            "2002:a9fe:a9fe::1",
        ] {
            assert!(!allows(&nothing_more, private), "{private}");
        }
    }

    #[test]
    fn a_listed_network_is_reached_and_no_other() {
        let policy = AddressPolicy::new(vec!["10.1.0.0/16".parse().unwrap()]);
        assert!(allows(&policy, "10.1.2.3"));
        assert!(allows(&policy, "::ffff:10.1.2.3"));
        assert!(!allows(&policy, "10.2.0.1"));
        assert!(!allows(&policy, "169.254.169.254"));
    }
}

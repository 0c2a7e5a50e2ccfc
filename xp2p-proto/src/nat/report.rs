//! What was found out.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// How a NAT chooses a mapping, or what it lets in (RFC 4787 sections 4.1 and 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// The same for all.
    EndpointIndependent,
    /// Depends on the other end's IP.
    AddressDependent,
    /// Depends on the other end's IP and port.
    AddressAndPortDependent,
    /// The server has one address only, so it cannot be told.
    Unknown,
}

impl fmt::Display for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EndpointIndependent => "endpoint-independent",
            Self::AddressDependent => "address-dependent",
            Self::AddressAndPortDependent => "address- and port-dependent",
            Self::Unknown => "unknown",
        })
    }
}

/// Result of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatReport {
    /// Where the server sees us. `None`: nothing came back.
    pub public: Option<SocketAddr>,
    /// Round-trip time to the server.
    pub rtt: Option<Duration>,
    /// Whether an address is translated on the way. `None`: not known.
    pub translated: Option<bool>,
    /// How mappings are chosen.
    pub mapping: Behaviour,
    /// What is let in.
    pub filtering: Behaviour,
    /// Whether the public port is the local one.
    pub keeps_port: Option<bool>,
}

impl NatReport {
    /// Whether nothing came back at all.
    pub fn is_blocked(&self) -> bool {
        self.public.is_none()
    }

    /// The familiar name of this kind of NAT.
    pub fn name(&self) -> &'static str {
        use Behaviour::{AddressDependent, EndpointIndependent, Unknown};
        match (self.public, self.translated, self.mapping, self.filtering) {
            (None, ..) => "UDP is blocked",
            (_, Some(false), _, EndpointIndependent) => "no NAT",
            (_, Some(false), _, Unknown) => "no NAT, perhaps a firewall",
            (_, Some(false), ..) => "no NAT, but a firewall",
            (_, _, EndpointIndependent, EndpointIndependent) => "full cone NAT",
            (_, _, EndpointIndependent, AddressDependent) => "address-restricted NAT",
            (_, _, EndpointIndependent, Unknown) => "cone NAT",
            (_, _, EndpointIndependent, _) => "port-restricted NAT",
            (_, _, Unknown, _) => "NAT of unknown kind",
            _ => "symmetric NAT",
        }
    }

    /// What it means for watching cameras, in a sentence.
    pub fn advice(&self) -> &'static str {
        use Behaviour::{EndpointIndependent, Unknown};
        if self.is_blocked() {
            return "Nothing came back. Is the server running, and is its UDP port open? If so, this network blocks UDP.";
        }
        match (self.translated, self.mapping) {
            (Some(false), _) | (_, EndpointIndependent) => {
                "Direct connections will work with most networks; only a symmetric NAT at the other end may need the relay."
            }
            (_, Unknown) => {
                "Direct connections usually work. To learn more, the server needs a second address (--listen-alt)."
            }
            _ => {
                "Direct connections work only if the other end is reachable from everywhere; otherwise the relay is used."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Behaviour::{AddressAndPortDependent, AddressDependent, EndpointIndependent, Unknown};
    use super::*;

    /// What a person is told: the name, and the beginning of the advice.
    fn told(
        translated: Option<bool>,
        mapping: Behaviour,
        filtering: Behaviour,
    ) -> (&'static str, &'static str) {
        let public = Some(SocketAddr::from(([203, 0, 113, 9], 40_000)));
        let report = NatReport { public, rtt: None, translated, mapping, filtering, keeps_port: None };
        assert!(!report.is_blocked());
        (report.name(), report.advice())
    }

    #[test]
    fn every_kind_has_its_familiar_name() {
        let named = |translated, mapping, filtering| told(translated, mapping, filtering).0;
        let restricted = [AddressDependent, AddressAndPortDependent];
        for mapping in [EndpointIndependent, AddressDependent, AddressAndPortDependent, Unknown] {
            assert_eq!(named(Some(false), mapping, EndpointIndependent), "no NAT");
            assert_eq!(named(Some(false), mapping, Unknown), "no NAT, perhaps a firewall");
            assert_eq!(restricted.map(|f| named(Some(false), mapping, f)), ["no NAT, but a firewall"; 2]);
        }
        // Whether addresses are translated may be unknown, as behind a tunnel; that the mapping is known shows a NAT.
        for translated in [Some(true), None] {
            let cone = |filtering| named(translated, EndpointIndependent, filtering);
            assert_eq!(cone(EndpointIndependent), "full cone NAT");
            assert_eq!(restricted.map(cone), ["address-restricted NAT", "port-restricted NAT"]);
            assert_eq!(cone(Unknown), "cone NAT");
            assert_eq!(restricted.map(|m| named(translated, m, Unknown)), ["symmetric NAT"; 2]);
            assert_eq!(named(translated, Unknown, AddressDependent), "NAT of unknown kind");
        }
    }

    #[test]
    fn the_advice_follows_from_what_peers_can_count_on() {
        let advice = |translated, mapping| told(translated, mapping, Unknown).1;
        assert!(advice(Some(false), AddressAndPortDependent).contains("will work"));
        assert!(advice(Some(true), EndpointIndependent).contains("will work"));
        assert!(advice(None, Unknown).contains("--listen-alt"));
        assert!(advice(Some(true), AddressDependent).contains("relay is used"));
        let blocked = NatReport {
            public: None,
            rtt: None,
            translated: None,
            mapping: Unknown,
            filtering: Unknown,
            keeps_port: None,
        };
        assert!(blocked.is_blocked());
        assert_eq!(blocked.name(), "UDP is blocked");
        assert!(blocked.advice().contains("Is the server running"));
    }
}

//! The networks that members live in.

use std::net::Ipv4Addr;

use xp2p_proto::swarm::NatClass;

use crate::sim::NatConfig;

/// The network of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// Public.
    Public,
    /// Full cone.
    Cone,
    /// Address-restricted cone.
    Restricted,
    /// Port-restricted cone.
    PortRestricted,
    /// Symmetric.
    Symmetric,
}

impl Home {
    /// A network of this class; of the two kinds of cones the one that `even` says.
    pub(super) fn of(class: NatClass, even: bool) -> Self {
        match class {
            NatClass::Public => Self::Public,
            NatClass::Cone if even => Self::Cone,
            NatClass::Cone => Self::Restricted,
            NatClass::Restricted => Self::PortRestricted,
            NatClass::Symmetric | NatClass::Unknown => Self::Symmetric,
        }
    }

    pub(super) fn nat(self, ip: Ipv4Addr) -> Option<NatConfig> {
        match self {
            Self::Public => None,
            Self::Cone => Some(NatConfig::full_cone(ip)),
            Self::Restricted => Some(NatConfig::address_restricted(ip)),
            Self::PortRestricted => Some(NatConfig::port_restricted(ip)),
            Self::Symmetric => Some(NatConfig::symmetric(ip)),
        }
    }

    /// What a member behind it would find out.
    pub fn class(self) -> NatClass {
        match self {
            Self::Public => NatClass::Public,
            Self::Cone | Self::Restricted => NatClass::Cone,
            Self::PortRestricted => NatClass::Restricted,
            Self::Symmetric => NatClass::Symmetric,
        }
    }
}

//! What the network does to UDP: NAT mapping and filtering behaviour, found out with STUN (RFC 5780).

mod prober;
mod report;

pub use self::prober::NatProber;
pub use self::report::{Behaviour, NatReport};

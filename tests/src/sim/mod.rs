//! A deterministic, packet-level network simulator for [`Machine`](xp2p_proto::machine::Machine)s.
//!
//! One [`Sim`] holds hosts of any machine type, the NATs in front of them and the links between. Time is virtual:
//! a simulated day takes as long as its packets take to compute. Equal seeds and equal calls give equal packets,
//! byte for byte, which [`Sim::trace_hash`] proves.
//!
//! The way of a datagram:
//!
//! ```text
//! machine -> firewall -> up link -> NAT(s) out -> core -> NAT(s) in -> down link -> firewall -> machine
//! ```
//!
//! Two hosts behind the same NAT that use each other's private address skip the links and take the LAN. IPv6
//! addresses are never translated: a host behind a NAT has its IPv6 addresses in the public network.
//!
//! TCP connections that machines ask for have the delay of the same links, and nothing else of them.
//!
//! The simulator is test equipment: wrong use (an unknown address, a removed host) and a machine that breaks its
//! contract panic with the name of the host, because that is what makes a test fail where the fault is.

mod host;
mod link;
mod nat;
mod queue;
mod rng;
mod route;
mod tcp;
#[cfg(test)]
mod tests;
mod time;
mod trace;
mod turn;
mod world;

pub use host::{AnyHost, Firewall, HostConfig, HostId};
pub use link::{GilbertElliott, LinkConfig, PipeConfig};
pub use nat::{Dependence, NatConfig, NatId, PortAllocation};
pub use trace::{Count, DropReason, TraceRecord, Traffic, Verdict};
pub use world::{Sim, TapAction, Tapped};

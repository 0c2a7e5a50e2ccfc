//! Asks the router to let the others in: PCP (RFC 6887), NAT-PMP (RFC 6886), or UPnP IGD (WANIPConnection), whichever it knows.
//!
//! A NAT that gives each destination another port, or lets in only whoever was sent something, keeps peers apart that no hole
//! punching brings together. Many home routers open a port for those inside who ask. A [`PortMapper`] asks for the port of a
//! socket, renews what it got at half of its lifetime, asks anew in another network, and gives it back at its end.
//!
//! Only the router is asked that packets to the internet go to anyway, and it is believed in one thing: an address and port of
//! its own, checked to be one that could be reached ([`PortMapping::external`]). A router that lies costs peers a few packets.
//!
//! * `task`: when to ask.
//! * `client`: whom and how to ask.
//! * `exchange`, `pcp`, `natpmp`: the protocols of few bytes; there is no kept library of PCP without a runtime of its own.
//! * `upnp`: that of many, by a library.
//! * `gateway`: where the router is.

mod client;
mod exchange;
mod gateway;
mod natpmp;
mod pcp;
mod task;
mod upnp;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use async_channel::{Receiver, Sender};
use xp2p_proto::machine::Machine;

use crate::handle::Handle;
use crate::runtime::Runtime;

/// Which protocol a router understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MappingProtocol {
    /// Port Control Protocol, RFC 6887.
    Pcp,
    /// NAT Port Mapping Protocol, RFC 6886.
    NatPmp,
    /// UPnP Internet Gateway Device, WANIPConnection.
    Upnp,
}

impl MappingProtocol {
    /// A word for machines: `pcp`, `nat-pmp`, `upnp`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcp => "pcp",
            Self::NatPmp => "nat-pmp",
            Self::Upnp => "upnp",
        }
    }
}

impl fmt::Display for MappingProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pcp => "PCP",
            Self::NatPmp => "NAT-PMP",
            Self::Upnp => "UPnP",
        })
    }
}

/// What is to be let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MappedTransport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

/// How it stands with a port of ours at the router.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PortMapping {
    /// Nobody asks: it is switched off, or the socket is one of loopback.
    Off,
    /// The router is being asked for the first time.
    Asking,
    /// The router lets everybody in.
    Mapped {
        /// At this address.
        external: SocketAddr,
        /// Because it was asked so.
        protocol: MappingProtocol,
    },
    /// The router lets everybody in, but at an address that is not one of the internet: there is another NAT in front of it.
    BehindNat {
        /// At this address.
        external: SocketAddr,
        /// Because it was asked so.
        protocol: MappingProtocol,
    },
    /// There is no NAT in front of this machine that could be asked.
    Unneeded,
    /// There is none; it is tried again, in minutes.
    Unavailable {
        /// Why.
        reason: String,
    },
}

impl PortMapping {
    /// The address where others reach us.
    pub const fn external(&self) -> Option<SocketAddr> {
        match self {
            Self::Mapped { external, .. } => Some(*external),
            _ => None,
        }
    }

    /// What a router's answer means.
    fn of(external: SocketAddr, protocol: MappingProtocol) -> Self {
        if is_of_the_internet(external) {
            Self::Mapped { external, protocol }
        } else {
            Self::BehindNat { external, protocol }
        }
    }
}

impl fmt::Display for PortMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("the router is not asked to let anybody in"),
            Self::Asking => f.write_str("the router is asked to let others in"),
            Self::Mapped { external, protocol } => {
                write!(f, "the router lets others in at {external} ({protocol})")
            }
            Self::BehindNat { external, protocol } => {
                write!(
                    f,
                    "the router lets others in at {external} ({protocol}), which is behind another NAT that it \
                     knows nothing of"
                )
            }
            Self::Unneeded => f.write_str("there is no NAT here to be asked"),
            Self::Unavailable { reason } => write!(f, "the router does not let others in: {reason}"),
        }
    }
}

/// Whether others may reach an address that a router calls its own. What is private, shared by a carrier (RFC 6598), or no
/// address of a host at all cannot be reached from elsewhere.
fn is_of_the_internet(addr: SocketAddr) -> bool {
    let IpAddr::V4(ip) = addr.ip().to_canonical() else { return false };
    addr.port() != 0 && !is_inside(ip) && !is_no_host(ip)
}

/// Private (RFC 1918), of a carrier's NAT (RFC 6598), or link-local (RFC 3927).
fn is_inside(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    ip.is_private() || ip.is_link_local() || (a == 100 && (64..128).contains(&b))
}

fn is_no_host(ip: Ipv4Addr) -> bool {
    let first = ip.octets()[0];
    first == 0 || first >= 224 || ip.is_loopback()
}

/// What everybody sees of a mapper.
#[derive(Debug)]
struct Shared {
    status: Mutex<PortMapping>,
    changed: event_listener::Event,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, PortMapping> {
        self.status.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn get(&self) -> PortMapping {
        self.lock().clone()
    }

    fn set(&self, status: PortMapping) {
        let old = std::mem::replace(&mut *self.lock(), status.clone());
        if old != status {
            tracing::debug!("port mapping: {status}");
            self.changed.notify(usize::MAX);
        }
    }

    async fn next(&self, known: &PortMapping) -> PortMapping {
        loop {
            let changed = self.changed.listen();
            let now = self.get();
            if now != *known {
                return now;
            }
            changed.await;
        }
    }
}

/// A port that the router is asked to let others in at, for as long as this or a clone of it exists.
#[derive(Debug, Clone)]
pub struct PortMapper {
    shared: Arc<Shared>,
    /// Closed when it is to end. Nothing is sent by it.
    wanted: Option<Sender<()>>,
    /// Closed when it has ended.
    over: Option<Receiver<()>>,
}

impl PortMapper {
    /// Asks for the port of a socket that is bound to `bound`. Nobody is asked for one of loopback.
    pub fn start<R: Runtime>(runtime: &R, transport: MappedTransport, bound: SocketAddr) -> Self {
        if bound.ip().to_canonical().is_loopback() || bound.port() == 0 {
            return Self::off();
        }
        let shared = Arc::new(Shared {
            status: Mutex::new(PortMapping::Asking),
            changed: event_listener::Event::new(),
        });
        let (wanted, unwanted) = async_channel::bounded(1);
        let (ended, over) = async_channel::bounded::<()>(1);
        let task = task::Task::new(runtime.clone(), transport, bound, shared.clone(), unwanted);
        runtime.spawn(Box::pin(async move {
            let _ended = ended;
            task.run().await;
        }));
        Self { shared, wanted: Some(wanted), over: Some(over) }
    }

    /// One that asks nobody.
    fn off() -> Self {
        let shared = Shared { status: Mutex::new(PortMapping::Off), changed: event_listener::Event::new() };
        Self { shared: Arc::new(shared), wanted: None, over: None }
    }

    /// The same for the socket of a machine, which is told what comes of it, by `tell`. Asks nobody unless `wanted`.
    pub(crate) fn start_for<R: Runtime, M: Machine + Send + Unpin + 'static>(
        runtime: &R,
        wanted: bool,
        machine: &Handle<M>,
        tell: fn(&mut M, Instant, Option<SocketAddr>),
    ) -> Self {
        if !wanted {
            return Self::off();
        }
        let mapper = Self::start(runtime, MappedTransport::Udp, machine.local_addr());
        let machine = machine.clone().downgrade();
        let Some(over) = mapper.over.clone() else { return mapper };
        let shared = mapper.shared.clone();
        runtime.spawn(Box::pin(async move {
            let mut known = PortMapping::Asking;
            loop {
                let ended = async {
                    // Nothing is ever sent.
                    let _ = over.recv().await;
                    None
                };
                let next = futures_lite::future::or(async { Some(shared.next(&known).await) }, ended);
                let (Some(next), Some(machine)) = (next.await, machine.upgrade()) else { return };
                let external = next.external();
                if external != known.external()
                    && machine.notify(move |machine, now| tell(machine, now, external)).await.is_err()
                {
                    return;
                }
                known = next;
            }
        }));
        mapper
    }

    /// How it stands.
    pub fn status(&self) -> PortMapping {
        self.shared.get()
    }

    /// Waits until it is otherwise than `known`.
    pub async fn changed(&self, known: &PortMapping) -> PortMapping {
        self.shared.next(known).await
    }

    /// Gives the port back, and waits until the router knows; not for long.
    pub async fn stop(&self) {
        if let (Some(wanted), Some(over)) = (&self.wanted, &self.over) {
            wanted.close();
            // Ends with an error, because nothing is ever sent.
            let _ = over.recv().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_others_can_reach_are_believed() {
        let mapped = |text: &str| PortMapping::of(text.parse().unwrap(), MappingProtocol::Pcp).external();
        for good in ["203.0.113.7:5000", "8.8.8.8:1", "100.128.0.1:5", "[::ffff:203.0.113.7]:5000"] {
            assert!(mapped(good).is_some(), "{good}");
        }
        for bad in [
            "10.0.0.1:5",
            "172.16.3.4:5",
            "192.168.1.1:5",
            "100.64.0.1:5",
            "100.127.255.255:5",
            "169.254.1.1:5",
            "127.0.0.1:5",
            "0.0.0.0:5",
            "0.1.2.3:5",
            "224.0.0.1:5",
            "255.255.255.255:5",
            "240.0.0.1:5",
            "8.8.8.8:0",
            "[2001:db8::1]:5",
            "[::1]:5",
        ] {
            assert_eq!(mapped(bad), None, "{bad}");
        }
    }
}

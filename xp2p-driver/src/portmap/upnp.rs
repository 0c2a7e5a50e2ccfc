//! UPnP Internet Gateway Device, service WANIPConnection or WANPPPConnection, by a library.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use igd_next::{AddPortError, Gateway, GatewayIpVersion, PortMappingProtocol, SearchOptions, search_gateway};

use super::exchange::Refusal;
use super::{MappedTransport, is_no_host};

/// How long to wait for the router to tell of itself, in all.
const SEARCH: Duration = Duration::from_secs(2);
/// How long to wait for one more to do so.
const SINGLE_SEARCH: Duration = Duration::from_secs(1);
/// Ports that are tried one after the other: others may have the first ones.
const PORTS: usize = 4;
/// Below are the ports of services, which routers often keep.
const FIRST_PORT: u16 = 1024;
/// What the router's owner sees in its list.
const DESCRIPTION: &str = "xp2p";

/// A router that can be asked again.
#[derive(Debug, Clone)]
pub(super) struct Router(Gateway);

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question {
    pub(super) transport: MappedTransport,
    pub(super) local: Ipv4Addr,
    pub(super) port: u16,
    /// What it got before, or would like to get.
    pub(super) wish: u16,
    /// Where to look if that is taken.
    pub(super) random: [u8; 12],
    pub(super) lifetime: Duration,
}

fn protocol(transport: MappedTransport) -> PortMappingProtocol {
    match transport {
        MappedTransport::Udp => PortMappingProtocol::UDP,
        MappedTransport::Tcp => PortMappingProtocol::TCP,
    }
}

fn refused(e: &impl std::fmt::Display) -> Refusal {
    Refusal::Refused(format!("the router answers by UPnP: {e}"))
}

impl Router {
    /// Looks for the router at `gateway`. Others in the network may answer, too, and are not asked for anything.
    pub(super) fn find(local: Ipv4Addr, gateway: Ipv4Addr) -> Result<Self, Refusal> {
        let mut options = SearchOptions::default();
        options.bind_addr = SocketAddr::new(local.into(), 0);
        options.timeout = Some(SEARCH);
        options.single_search_timeout = Some(SINGLE_SEARCH);
        options.gateway_ip_version = GatewayIpVersion::V4;
        let found = search_gateway(options)
            .map_err(|e| Refusal::Unknown(format!("the router cannot be asked by UPnP: {e}")))?;
        if found.addr.ip() == IpAddr::V4(gateway) {
            Ok(Self(found))
        } else {
            Err(Refusal::Unknown(format!("{} answers in the place of the router", found.addr.ip())))
        }
    }

    pub(super) fn ask(&self, question: &Question) -> Result<(SocketAddr, Duration), Refusal> {
        let ip = match self.0.get_external_ip() {
            Ok(IpAddr::V4(ip)) if !is_no_host(ip) => ip,
            Ok(ip) => return Err(Refusal::Refused(format!("the router names no usable address: {ip}"))),
            Err(e) => return Err(refused(&e)),
        };
        let others = question.random.chunks_exact(2).map(|pair| {
            pair.iter().fold(0, |port: u16, byte| (port << 8) | u16::from(*byte)).max(FIRST_PORT)
        });
        for port in std::iter::once(question.wish).chain(others).take(PORTS) {
            match self.add(question, port, question.lifetime) {
                Ok(()) => return Ok((SocketAddr::new(ip.into(), port), question.lifetime)),
                Err(AddPortError::PortInUse) => {}
                Err(AddPortError::OnlyPermanentLeasesSupported) => {
                    // It stays until it is given back, or the router restarts.
                    self.add(question, port, Duration::ZERO).map_err(|e| refused(&e))?;
                    return Ok((SocketAddr::new(ip.into(), port), question.lifetime));
                }
                Err(e) => return Err(refused(&e)),
            }
        }
        Err(Refusal::Refused("others have all ports that were asked for".to_owned()))
    }

    fn add(&self, question: &Question, port: u16, lifetime: Duration) -> Result<(), AddPortError> {
        let local = SocketAddr::new(question.local.into(), question.port);
        let seconds = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
        self.0.add_port(protocol(question.transport), port, local, seconds, DESCRIPTION)
    }

    pub(super) fn give_back(&self, transport: MappedTransport, port: u16) -> Result<(), Refusal> {
        self.0.remove_port(protocol(transport), port).map_err(|e| refused(&e))
    }
}

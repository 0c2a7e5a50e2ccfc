//! Whom and how to ask. All of it blocks: for a few seconds, if nobody answers.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::exchange::Refusal;
use super::{MappedTransport, MappingProtocol, gateway, natpmp, pcp, upnp};

/// How long a mapping shall last. It is renewed earlier; one that is left behind by a program that was killed is gone soon.
const LIFETIME: Duration = Duration::from_secs(600);

/// What a router has granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) external: SocketAddr,
    pub(super) protocol: MappingProtocol,
    pub(super) lifetime: Duration,
}

/// Who is asked, and what was granted.
#[derive(Debug)]
struct Held {
    gateway: Ipv4Addr,
    router: Router,
    external: SocketAddr,
}

/// A router by the protocol that it understands.
#[derive(Debug, Clone)]
enum Router {
    Pcp,
    NatPmp,
    Upnp(upnp::Router),
}

impl Router {
    fn protocol(&self) -> MappingProtocol {
        match self {
            Self::Pcp => MappingProtocol::Pcp,
            Self::NatPmp => MappingProtocol::NatPmp,
            Self::Upnp(_) => MappingProtocol::Upnp,
        }
    }
}

/// One port of this host.
#[derive(Debug)]
pub(super) struct Client {
    transport: MappedTransport,
    local: Ipv4Addr,
    port: u16,
    nonce: [u8; 12],
    held: Option<Held>,
}

impl Client {
    /// For `port` at this host's address `local`. `nonce`: random.
    pub(super) fn new(transport: MappedTransport, local: Ipv4Addr, port: u16, nonce: [u8; 12]) -> Self {
        Self { transport, local, port, nonce, held: None }
    }

    /// Asks for the port, or renews it.
    pub(super) fn map(&mut self) -> Result<Granted, String> {
        if let Some(held) = &self.held {
            let (gateway, router, external) = (held.gateway, held.router.clone(), held.external);
            if let Ok(granted) = self.ask(gateway, router, external) {
                return Ok(granted);
            }
        }
        // It has lost its memory, or speaks otherwise today.
        self.held = None;
        let gateway = gateway::find()?;
        let wish = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), self.port);
        let first = match self.ask(gateway, Router::Pcp, wish) {
            Ok(granted) => return Ok(granted),
            Err(refusal) => refusal,
        };
        let second = match self.ask(gateway, Router::NatPmp, wish) {
            Ok(granted) => return Ok(granted),
            Err(refusal) => refusal,
        };
        let last = upnp::Router::find(self.local, gateway)
            .and_then(|router| self.ask(gateway, Router::Upnp(router), wish));
        let third = match last {
            Ok(granted) => return Ok(granted),
            Err(refusal) => refusal,
        };
        tracing::debug!(?first, ?second, ?third, %gateway, "the router grants no port");
        // What somebody has said means more than that nobody answers.
        let all = [first, second, third];
        let said = all.iter().find(|refusal| matches!(refusal, Refusal::Refused(_))).cloned();
        Err(said.map_or_else(|| format!("{gateway} knows neither PCP nor NAT-PMP nor UPnP"), Refusal::text))
    }

    fn ask(&mut self, gateway: Ipv4Addr, router: Router, wish: SocketAddr) -> Result<Granted, Refusal> {
        let (external, lifetime) = self.exchange(gateway, &router, wish, LIFETIME)?;
        let protocol = router.protocol();
        self.held = Some(Held { gateway, router, external });
        Ok(Granted { external, protocol, lifetime })
    }

    /// Gives back what it has.
    pub(super) fn give_back(&mut self) {
        let Some(Held { gateway, router, external }) = self.held.take() else { return };
        if let Err(refusal) = self.exchange(gateway, &router, external, Duration::ZERO) {
            tracing::debug!("the port stays open for a while: {}", refusal.text());
        }
    }

    /// Asks for the port for so long, and tells what was granted. A lifetime of zero gives it back.
    fn exchange(
        &self,
        gateway: Ipv4Addr,
        router: &Router,
        wish: SocketAddr,
        lifetime: Duration,
    ) -> Result<(SocketAddr, Duration), Refusal> {
        let Self { transport, local, port, nonce, .. } = *self;
        match router {
            Router::Pcp => pcp::Question { nonce, transport, local, port, wish, lifetime }.ask(gateway),
            Router::NatPmp => {
                natpmp::Question { transport, local, port, wish: wish.port(), lifetime }.ask(gateway)
            }
            Router::Upnp(router) if lifetime.is_zero() => {
                router.give_back(transport, wish.port()).map(|()| (wish, lifetime))
            }
            Router::Upnp(router) => router.ask(&upnp::Question {
                transport,
                local,
                port,
                wish: wish.port(),
                random: nonce,
                lifetime,
            }),
        }
    }
}

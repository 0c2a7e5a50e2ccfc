//! Where the tracker is, and what the network in between does.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use async_channel::{Receiver, Sender};
use xp2p_proto::info::{Host, HostPort};
use xp2p_proto::nat::{Behaviour, NatReport};
use xp2p_proto::peer::Peer;
use xp2p_proto::swarm::NatClass;

use super::event::WatchEvent;
use crate::handle::WeakHandle;
use crate::probe::probe;
use crate::runtime::{Runtime, sleep};

/// A name is looked up again after this long, if nobody was found.
const RESOLVE_RETRY: Duration = Duration::from_secs(5);
/// A server that is lost may have moved: its name is looked up again, but not more often than this.
const RESOLVE_AGAIN: Duration = Duration::from_secs(30);

/// What the machine tells of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// It is seen there by the server.
    Seen(IpAddr),
    /// The server is lost.
    Lost,
}

/// The task that looks after the way to the tracker.
pub(super) struct Way<R> {
    pub(super) runtime: R,
    pub(super) server: HostPort,
    pub(super) peer: WeakHandle<Peer>,
    pub(super) events: Sender<WatchEvent>,
}

impl<R: Runtime> Way<R> {
    /// Looks up and probes, and does so again when the network or the server has moved.
    pub(super) async fn run(self, news: Receiver<News>) {
        loop {
            let addrs = self.look_up().await;
            let Some(first) = addrs.first().copied() else {
                sleep(&self.runtime, RESOLVE_RETRY).await;
                if self.peer.upgrade().is_none() {
                    return;
                }
                continue;
            };
            let Some(peer) = self.peer.upgrade() else { return };
            let told = peer.notify(move |peer, now| peer.set_server_addresses(now, &addrs)).await;
            drop(peer);
            if told.is_err() || !self.until_lost(first, &news).await {
                return;
            }
            sleep(&self.runtime, RESOLVE_AGAIN).await;
            // What was lost meanwhile is what is looked up now.
            while news.try_recv().is_ok() {}
        }
    }

    async fn look_up(&self) -> Vec<SocketAddr> {
        match (self.server.socket_addr(), &self.server.host) {
            (Some(addr), _) => vec![addr],
            (None, Host::Name(name)) => {
                match self.runtime.resolve(name.to_string(), self.server.port).await {
                    Ok(found) => found,
                    Err(e) => {
                        let reason = format!("cannot look up {name}: {e}");
                        // An application that does not listen loses the oldest, and then the channel itself.
                        let _ = self.events.force_send(WatchEvent::ServerLost { reason });
                        Vec::new()
                    }
                }
            }
            (None, Host::Ip(_)) => Vec::new(),
        }
    }

    /// Probes the network whenever the server sees us somewhere else. Returns false when the machine is gone.
    async fn until_lost(&self, server: SocketAddr, news: &Receiver<News>) -> bool {
        let mut seen = None;
        loop {
            match news.recv().await {
                Ok(News::Seen(ip)) if seen != Some(ip) => {
                    seen = Some(ip);
                    if !self.probe(server).await {
                        return false;
                    }
                }
                Ok(News::Seen(_)) => {}
                Ok(News::Lost) => return true,
                Err(_) => return false,
            }
        }
    }

    async fn probe(&self, server: SocketAddr) -> bool {
        if server.ip().is_loopback() {
            // Known without asking.
            return true;
        }
        match probe(&self.runtime, server).await {
            Ok(report) => {
                let class = class_of(&report);
                tracing::debug!(?class, "the network: {}", report.name());
                let Some(peer) = self.peer.upgrade() else { return false };
                peer.notify(move |peer, now| peer.set_nat(now, class)).await.is_ok()
            }
            Err(e) => {
                tracing::debug!("the network cannot be probed: {e}");
                true
            }
        }
    }
}

/// What is known of the network before anything was asked.
pub(super) fn class_at_start(server: Option<SocketAddr>) -> NatClass {
    // Nothing stands between the programs of one machine.
    if server.is_some_and(|s| s.ip().is_loopback()) { NatClass::Public } else { NatClass::Unknown }
}

/// What a report means for others who want to reach us. When the server has one address only, it cannot be told what is let
/// in: then the stricter kind is the safer guess.
pub(super) fn class_of(report: &NatReport) -> NatClass {
    use Behaviour::{AddressDependent, EndpointIndependent, Unknown};
    match (report.public, report.translated, report.mapping, report.filtering) {
        (None, ..) => NatClass::Unknown,
        (_, Some(false), _, EndpointIndependent) => NatClass::Public,
        (_, Some(false), _, AddressDependent) => NatClass::Cone,
        (_, Some(false), ..) => NatClass::Restricted,
        (_, _, EndpointIndependent, EndpointIndependent | AddressDependent) => NatClass::Cone,
        (_, _, EndpointIndependent, _) => NatClass::Restricted,
        (_, _, Unknown, _) => NatClass::Unknown,
        _ => NatClass::Symmetric,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_become_classes() {
        use Behaviour::{AddressAndPortDependent, AddressDependent, EndpointIndependent, Unknown};
        let class = |translated, mapping, filtering| {
            let public = Some("192.0.2.1:1".parse().unwrap());
            class_of(&NatReport { public, rtt: None, translated, mapping, filtering, keeps_port: None })
        };
        assert_eq!(class(Some(false), EndpointIndependent, EndpointIndependent), NatClass::Public);
        assert_eq!(class(Some(false), Unknown, Unknown), NatClass::Restricted);
        assert_eq!(class(Some(true), EndpointIndependent, AddressDependent), NatClass::Cone);
        assert_eq!(class(Some(true), EndpointIndependent, AddressAndPortDependent), NatClass::Restricted);
        assert_eq!(class(Some(true), EndpointIndependent, Unknown), NatClass::Restricted);
        assert_eq!(class(Some(true), AddressAndPortDependent, Unknown), NatClass::Symmetric);
        assert_eq!(class(Some(true), Unknown, Unknown), NatClass::Unknown);
        assert_eq!(class_at_start(Some("127.0.0.1:1".parse().unwrap())), NatClass::Public);
        assert_eq!(class_at_start(None), NatClass::Unknown);
    }
}

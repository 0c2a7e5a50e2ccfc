//! Finds out what the network does to UDP.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use xp2p_proto::link::Entropy;
use xp2p_proto::nat::{NatProber, NatReport};

use crate::event_loop::Role;
use crate::handle::Handle;
use crate::runtime::Runtime;

struct ProbeRole {
    report: async_channel::Sender<NatReport>,
    done: bool,
}

impl Role<NatProber> for ProbeRole {
    fn on_event(&mut self, _machine: &mut NatProber, _now: Instant, event: NatReport) {
        self.done = true;
        // Nobody waits any more: then nobody misses it.
        let _ = self.report.try_send(event);
    }

    fn shutdown(&mut self, _machine: &mut NatProber, _now: Instant) {
        self.done = true;
    }

    fn is_closed(&self, _machine: &NatProber) -> bool {
        self.done
    }
}

/// Probes the server at `server`, which takes up to 15 s behind a strict NAT.
///
/// # Errors
///
/// There is no socket, or no randomness.
pub async fn probe<R: Runtime>(runtime: &R, server: SocketAddr) -> io::Result<NatReport> {
    let (sender, reports) = async_channel::bounded(1);
    let entropy = Entropy::from_os(runtime.random()?);
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let handle = Handle::spawn(runtime, &[SocketAddr::new(any, 0)], |_, now| {
        Ok((NatProber::new(server, &entropy, now), ProbeRole { report: sender, done: false }))
    })?;
    let report = reports.recv().await.map_err(|_| io::Error::other("the probe ended without a report"));
    handle.shutdown().await;
    report
}

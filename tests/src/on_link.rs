//! Machines that are nothing but a [`Link`] and somebody who talks over it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use xp2p_proto::link::Link;
use xp2p_proto::machine::{Datagram, Machine, Transmit};

/// Who talks.
pub trait Role {
    /// Does what the events of the link ask for.
    fn turn(&mut self, link: &mut Link);
}

/// The machine.
#[derive(Debug)]
pub struct OnLink<R> {
    /// What it talks over.
    pub link: Link,
    /// Who talks.
    pub role: R,
}

impl<R: Role> Machine for OnLink<R> {
    type Event = ();

    fn handle_datagram(&mut self, now: Instant, datagram: Datagram) {
        self.link.handle_datagram(now, datagram);
        self.role.turn(&mut self.link);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.link.handle_timeout(now);
        self.role.turn(&mut self.link);
    }

    fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<Transmit> {
        self.link.poll_transmit(now, buf)
    }

    fn poll_event(&mut self) -> Option<()> {
        None
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.link.poll_timeout()
    }

    fn set_wall_clock(&mut self, _now: Instant, _unix: Duration) {}

    fn set_local_addresses(&mut self, now: Instant, addrs: &[SocketAddr]) {
        self.link.set_local_addresses(now, addrs);
    }
}

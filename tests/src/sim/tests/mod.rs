//! The simulator tested with a machine that only sends and answers.

mod faults;
mod nats;
mod paths;
mod repeat;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use xp2p_proto::machine::{Datagram, Machine, Transmit};

use super::{HostConfig, HostId, NatId, Sim};

/// What a [`Probe`] tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Note {
    /// A datagram came: local address, remote address, bytes.
    Got(SocketAddr, SocketAddr, Vec<u8>),
    /// The timer fired.
    Tick,
    /// The wall clock was set.
    Clock(Duration),
    /// The addresses were set.
    Addrs(Vec<SocketAddr>),
}

/// Sends what it is told to, answers `ping` with `pong`, and ticks.
#[derive(Debug, Default)]
pub(super) struct Probe {
    outbox: VecDeque<(Transmit, Vec<u8>)>,
    notes: VecDeque<Note>,
    /// When to tick.
    pub(super) tick_at: Option<Instant>,
    /// Ticks again after this long.
    pub(super) every: Option<Duration>,
}

impl Probe {
    pub(super) fn send(&mut self, remote: SocketAddr, bytes: &[u8]) {
        self.send_from(None, remote, bytes);
    }

    pub(super) fn send_from(&mut self, local: Option<SocketAddr>, remote: SocketAddr, bytes: &[u8]) {
        self.send_batch(local, remote, bytes, None);
    }

    pub(super) fn send_batch(
        &mut self,
        local: Option<SocketAddr>,
        remote: SocketAddr,
        bytes: &[u8],
        segment_size: Option<usize>,
    ) {
        let transmit = Transmit { local, remote, ecn: None, size: bytes.len(), segment_size };
        self.outbox.push_back((transmit, bytes.to_vec()));
    }
}

impl Machine for Probe {
    type Event = Note;

    fn handle_datagram(&mut self, _now: Instant, datagram: Datagram) {
        let Datagram { local, remote, payload, .. } = datagram;
        if payload == b"ping"[..] {
            self.send_from(Some(local), remote, b"pong");
        }
        self.notes.push_back(Note::Got(local, remote, payload.to_vec()));
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.tick_at.is_some_and(|at| at <= now) {
            self.notes.push_back(Note::Tick);
            self.tick_at = self.every.map(|every| now + every);
        }
    }

    fn poll_transmit(&mut self, _now: Instant, buf: &mut Vec<u8>) -> Option<Transmit> {
        let (transmit, bytes) = self.outbox.pop_front()?;
        buf.extend_from_slice(&bytes);
        Some(transmit)
    }

    fn poll_event(&mut self) -> Option<Note> {
        self.notes.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.tick_at
    }

    fn set_wall_clock(&mut self, _now: Instant, unix: Duration) {
        self.notes.push_back(Note::Clock(unix));
    }

    fn set_local_addresses(&mut self, _now: Instant, addrs: &[SocketAddr]) {
        self.notes.push_back(Note::Addrs(addrs.to_vec()));
    }
}

pub(super) type Id = HostId<Probe>;

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(super) fn ip4(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

pub(super) fn sa(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A public probe with port 1000; its first events are already taken.
pub(super) fn public(sim: &mut Sim, addr: &str) -> Id {
    add(sim, HostConfig::new(addr, ip(addr)).port(1000))
}

/// A probe behind a NAT with port 1000.
pub(super) fn private(sim: &mut Sim, nat: NatId, addr: &str) -> Id {
    add(sim, HostConfig::new(addr, ip(addr)).port(1000).behind(nat))
}

pub(super) fn add(sim: &mut Sim, config: HostConfig) -> Id {
    let host = sim.add_host(config, Probe::default());
    sim.events(host);
    host
}

pub(super) fn send(sim: &mut Sim, from: Id, to: SocketAddr, bytes: &[u8]) {
    sim.with(from, |probe, _| probe.send(to, bytes));
}

/// Sends and lets a second pass; tells whether the receiver got exactly this, and from where it seemed to come.
pub(super) fn reaches(sim: &mut Sim, from: Id, to: SocketAddr, receiver: Id) -> Option<SocketAddr> {
    sim.events(receiver);
    let mark = sim.elapsed().as_nanos().to_le_bytes();
    send(sim, from, to, &mark);
    sim.run_for(Duration::from_secs(1));
    sim.events(receiver).into_iter().find_map(|note| match note {
        Note::Got(_, remote, bytes) if bytes == mark => Some(remote),
        _ => None,
    })
}

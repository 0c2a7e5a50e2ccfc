//! Hosts: a machine with addresses, sockets and a link. Machines of different types live side by side, so they
//! are type-erased here and typed again by [`HostId`].

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use xp2p_proto::machine::{ByteStreamAction, ByteStreamId, Datagram, Machine, Transmit};

use super::link::{LinkConfig, Pipe};
use super::nat::NatId;
use super::rng::Dice;
use super::time::Nanos;
use super::trace::Traffic;

/// Events that a host may have waiting before the test is told that it forgot to drain them.
pub(crate) const MAX_EVENTS: usize = 1_000_000;

/// A host that runs an `M`.
pub struct HostId<M> {
    pub(crate) index: u32,
    machine: PhantomData<fn() -> M>,
}

impl<M> HostId<M> {
    pub(crate) fn new(index: u32) -> Self {
        Self { index, machine: PhantomData }
    }
}

impl<M> Clone for HostId<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for HostId<M> {}

impl<M> PartialEq for HostId<M> {
    fn eq(&self, other: &Self) -> bool {
        self.index == other.index
    }
}

impl<M> Eq for HostId<M> {}

impl<M> fmt::Debug for HostId<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostId({})", self.index)
    }
}

/// A host, whatever machine it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AnyHost(pub(crate) u32);

impl<M> From<HostId<M>> for AnyHost {
    fn from(id: HostId<M>) -> Self {
        Self(id.index)
    }
}

/// What UDP a host may exchange.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Firewall {
    /// Everything.
    #[default]
    Open,
    /// Only with these addresses, in both directions; port 0 stands for every port. Empty: no UDP at all.
    Only(Vec<SocketAddr>),
    /// Inbound only from endpoints that were sent to in the last two minutes, as home routers treat IPv6.
    Stateful,
}

/// How long a stateful firewall remembers an outbound packet.
const STATEFUL_TIMEOUT: Nanos = 120_000_000_000;

/// Remotes that a stateful firewall remembers; the oldest one is forgotten first.
const MAX_REMOTES: usize = 4096;

/// Description of a host.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// For messages.
    pub name: String,
    /// Its addresses. IPv4 ones are private if it is behind a NAT; IPv6 ones are always public.
    pub addrs: Vec<IpAddr>,
    /// Its sockets; the first is the main one. Every socket is bound to all addresses.
    pub ports: Vec<u16>,
    /// The NAT that it is behind.
    pub behind: Option<NatId>,
    /// Its access link.
    pub link: LinkConfig,
    /// Its firewall.
    pub firewall: Firewall,
}

impl HostConfig {
    /// A public host with one address, one socket on port 4433 and a perfect link.
    #[must_use]
    pub fn new(name: impl Into<String>, ip: impl Into<IpAddr>) -> Self {
        Self {
            name: name.into(),
            addrs: vec![ip.into()],
            ports: vec![4433],
            behind: None,
            link: LinkConfig::default(),
            firewall: Firewall::Open,
        }
    }

    /// Adds an address.
    #[must_use]
    pub fn addr(mut self, ip: impl Into<IpAddr>) -> Self {
        self.addrs.push(ip.into());
        self
    }

    /// Sets the main port.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.ports[0] = port;
        self
    }

    /// Adds a socket.
    #[must_use]
    pub fn extra_port(mut self, port: u16) -> Self {
        self.ports.push(port);
        self
    }

    /// Puts it behind a NAT.
    #[must_use]
    pub fn behind(mut self, nat: NatId) -> Self {
        self.behind = Some(nat);
        self
    }

    /// Sets the link.
    #[must_use]
    pub fn link(mut self, link: LinkConfig) -> Self {
        self.link = link;
        self
    }

    /// Sets the firewall.
    #[must_use]
    pub fn firewall(mut self, firewall: Firewall) -> Self {
        self.firewall = firewall;
        self
    }
}

/// A [`Machine`] without its event type.
pub(crate) trait Guest {
    fn handle_datagram(&mut self, now: Instant, datagram: Datagram);
    fn handle_timeout(&mut self, now: Instant);
    fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<Transmit>;
    /// Moves all events to the mailbox and tells how many there were and how many now wait.
    fn collect_events(&mut self, at: Nanos) -> (usize, usize);
    fn poll_timeout(&self) -> Option<Instant>;
    fn set_wall_clock(&mut self, now: Instant, unix: Duration);
    fn handle_stream_accepted(&mut self, now: Instant, remote: SocketAddr) -> Option<ByteStreamId>;
    fn handle_stream_opened(&mut self, now: Instant, stream: ByteStreamId);
    fn handle_stream_bytes(&mut self, now: Instant, stream: ByteStreamId, bytes: &[u8]);
    fn handle_stream_closed(&mut self, now: Instant, stream: ByteStreamId);
    fn poll_stream(&mut self) -> Option<ByteStreamAction>;
    fn poll_stream_bytes(&mut self, now: Instant, stream: ByteStreamId, buf: &mut Vec<u8>);
    fn set_local_addresses(&mut self, now: Instant, addrs: &[SocketAddr]);
    fn as_any(&self) -> &dyn Any;
    fn as_any_mut(&mut self) -> &mut dyn Any;
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

/// A machine and the events that the test has not taken yet.
pub(crate) struct Seat<M: Machine> {
    pub(crate) machine: M,
    pub(crate) mailbox: VecDeque<(Nanos, M::Event)>,
}

impl<M: Machine + 'static> Guest for Seat<M>
where
    M::Event: 'static,
{
    fn handle_datagram(&mut self, now: Instant, datagram: Datagram) {
        self.machine.handle_datagram(now, datagram);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.machine.handle_timeout(now);
    }

    fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<Transmit> {
        self.machine.poll_transmit(now, buf)
    }

    fn collect_events(&mut self, at: Nanos) -> (usize, usize) {
        let before = self.mailbox.len();
        while let Some(event) = self.machine.poll_event() {
            self.mailbox.push_back((at, event));
            if self.mailbox.len() > MAX_EVENTS {
                break;
            }
        }
        (self.mailbox.len() - before, self.mailbox.len())
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.machine.poll_timeout()
    }

    fn set_wall_clock(&mut self, now: Instant, unix: Duration) {
        self.machine.set_wall_clock(now, unix);
    }

    fn handle_stream_accepted(&mut self, now: Instant, remote: SocketAddr) -> Option<ByteStreamId> {
        self.machine.handle_stream_accepted(now, remote)
    }

    fn handle_stream_opened(&mut self, now: Instant, stream: ByteStreamId) {
        self.machine.handle_stream_opened(now, stream);
    }

    fn handle_stream_bytes(&mut self, now: Instant, stream: ByteStreamId, bytes: &[u8]) {
        self.machine.handle_stream_bytes(now, stream, bytes);
    }

    fn handle_stream_closed(&mut self, now: Instant, stream: ByteStreamId) {
        self.machine.handle_stream_closed(now, stream);
    }

    fn poll_stream(&mut self) -> Option<ByteStreamAction> {
        self.machine.poll_stream()
    }

    fn poll_stream_bytes(&mut self, now: Instant, stream: ByteStreamId, buf: &mut Vec<u8>) {
        self.machine.poll_stream_bytes(now, stream, buf);
    }

    fn set_local_addresses(&mut self, now: Instant, addrs: &[SocketAddr]) {
        self.machine.set_local_addresses(now, addrs);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// A host with its state.
pub(crate) struct Host {
    pub(crate) name: String,
    /// `None` while its machine is at work and after it was removed.
    pub(crate) guest: Option<Box<dyn Guest>>,
    pub(crate) addrs: Vec<IpAddr>,
    pub(crate) ports: Vec<u16>,
    pub(crate) behind: Option<NatId>,
    pub(crate) up: Pipe,
    pub(crate) down: Pipe,
    /// The host whose access link this one uses: itself, or another one in the same home.
    pub(crate) line: u32,
    pub(crate) cut: bool,
    pub(crate) firewall: Firewall,
    /// Endpoints sent to and when, for a stateful firewall.
    remotes: VecDeque<(SocketAddr, Nanos)>,
    pub(crate) dice: Dice,
    pub(crate) traffic: Traffic,
    /// The virtual millisecond that `turns` counts in.
    pub(crate) turns_at: Nanos,
    /// Calls of `handle_timeout` in that millisecond.
    pub(crate) turns: u32,
    /// Times that a timer was still due right after it was handled.
    pub(crate) rearms: u64,
}

impl Host {
    pub(crate) fn new(index: u32, config: HostConfig, guest: Box<dyn Guest>, dice: Dice) -> Self {
        Self {
            name: config.name,
            guest: Some(guest),
            addrs: config.addrs,
            ports: config.ports,
            behind: config.behind,
            up: Pipe::new(config.link.up),
            down: Pipe::new(config.link.down),
            line: index,
            cut: false,
            firewall: config.firewall,
            remotes: VecDeque::new(),
            dice,
            traffic: Traffic::default(),
            turns_at: 0,
            turns: 0,
            rearms: 0,
        }
    }

    /// The addresses that the machine is told: each with the main port.
    pub(crate) fn local_addresses(&self) -> Vec<SocketAddr> {
        self.addrs.iter().map(|ip| SocketAddr::new(*ip, self.ports[0])).collect()
    }

    /// Whether a packet to `remote` may leave.
    pub(crate) fn lets_out(&mut self, now: Nanos, remote: SocketAddr) -> bool {
        match &self.firewall {
            Firewall::Open => true,
            Firewall::Only(list) => on_list(list, remote),
            Firewall::Stateful => {
                match self.remotes.iter_mut().find(|(known, _)| *known == remote) {
                    Some((_, last)) => *last = now,
                    None => {
                        if self.remotes.len() == MAX_REMOTES {
                            self.remotes.pop_front();
                        }
                        self.remotes.push_back((remote, now));
                    }
                }
                true
            }
        }
    }

    /// Whether a packet from `remote` may enter.
    pub(crate) fn lets_in(&self, now: Nanos, remote: SocketAddr) -> bool {
        match &self.firewall {
            Firewall::Open => true,
            Firewall::Only(list) => on_list(list, remote),
            Firewall::Stateful => {
                self.remotes.iter().any(|(known, last)| *known == remote && now - last <= STATEFUL_TIMEOUT)
            }
        }
    }
}

fn on_list(list: &[SocketAddr], remote: SocketAddr) -> bool {
    list.iter().any(|known| known.ip() == remote.ip() && (known.port() == 0 || known.port() == remote.port()))
}

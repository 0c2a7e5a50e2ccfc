//! Network address translators, described in the terms of RFC 4787: how the mapping and the filter depend on the
//! remote endpoint.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::rng::Dice;
use super::time::{Nanos, nanos};
use super::trace::DropReason;

/// Sessions (mapping and remote endpoint) that a NAT keeps. Further ones are refused until old ones expire.
const MAX_SESSIONS: usize = 65_536;

/// Ports below are never given out.
const FIRST_PORT: u16 = 1024;

/// A NAT of a simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NatId(pub(crate) u32);

/// On what part of the remote endpoint a behaviour depends (RFC 4787 sections 4.1 and 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dependence {
    /// On nothing: the same for all remotes.
    Independent,
    /// On the remote IP.
    Address,
    /// On the remote IP and port.
    AddressPort,
}

impl Dependence {
    /// The part of `remote` that matters, the rest blanked out.
    fn of(self, remote: SocketAddr) -> SocketAddr {
        match self {
            Self::Independent => SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
            Self::Address => SocketAddr::new(remote.ip(), 0),
            Self::AddressPort => remote,
        }
    }
}

/// How a NAT picks the public port of a new mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortAllocation {
    /// The private port if it is free, otherwise the next free one.
    Preserving,
    /// Any free port from 1024 up.
    Random,
    /// The next free port after the last one that was given out.
    Sequential,
    /// Random within few ports.
    Pool {
        /// First port.
        first: u16,
        /// Number of ports.
        count: u16,
    },
}

/// Description of a NAT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatConfig {
    /// Its address outside.
    pub public_ip: Ipv4Addr,
    /// When two packets of one private endpoint share a public port.
    pub mapping: Dependence,
    /// Which packets from outside are let in.
    pub filtering: Dependence,
    /// How public ports are chosen.
    pub allocation: PortAllocation,
    /// A mapping (and the permission for a remote) dies this long after its last outbound packet.
    pub mapping_timeout: Duration,
    /// Whether hosts inside reach each other through the public address.
    pub hairpin: bool,
    /// One-way latency between hosts inside.
    pub lan_latency: Duration,
    /// The NAT that this one is itself behind (carrier-grade NAT). `None`: it is in the public network.
    pub behind: Option<NatId>,
}

impl NatConfig {
    fn new(public_ip: Ipv4Addr, mapping: Dependence, filtering: Dependence, ports: PortAllocation) -> Self {
        Self {
            public_ip,
            mapping,
            filtering,
            allocation: ports,
            mapping_timeout: Duration::from_secs(120),
            hairpin: false,
            lan_latency: Duration::from_micros(300),
            behind: None,
        }
    }

    /// One public port per private endpoint, open to everybody.
    #[must_use]
    pub fn full_cone(public_ip: Ipv4Addr) -> Self {
        Self::new(public_ip, Dependence::Independent, Dependence::Independent, PortAllocation::Random)
    }

    /// One public port per private endpoint, open to every IP that was sent to.
    #[must_use]
    pub fn address_restricted(public_ip: Ipv4Addr) -> Self {
        Self::new(public_ip, Dependence::Independent, Dependence::Address, PortAllocation::Random)
    }

    /// One public port per private endpoint, open to every IP and port that was sent to.
    #[must_use]
    pub fn port_restricted(public_ip: Ipv4Addr) -> Self {
        Self::new(public_ip, Dependence::Independent, Dependence::AddressPort, PortAllocation::Random)
    }

    /// A public port per private endpoint and destination, open to that destination only.
    #[must_use]
    pub fn symmetric(public_ip: Ipv4Addr) -> Self {
        Self::new(public_ip, Dependence::AddressPort, Dependence::AddressPort, PortAllocation::Random)
    }

    /// Sets the port allocation.
    #[must_use]
    pub fn allocation(mut self, allocation: PortAllocation) -> Self {
        self.allocation = allocation;
        self
    }

    /// Sets the mapping timeout.
    #[must_use]
    pub fn mapping_timeout(mut self, timeout: Duration) -> Self {
        self.mapping_timeout = timeout;
        self
    }

    /// Allows hairpinning.
    #[must_use]
    pub fn hairpin(mut self) -> Self {
        self.hairpin = true;
        self
    }

    /// Puts it behind another NAT.
    #[must_use]
    pub fn behind(mut self, nat: NatId) -> Self {
        self.behind = Some(nat);
        self
    }
}

#[derive(Debug, Clone, Copy)]
struct Mapping {
    inner: SocketAddr,
    remote: SocketAddr,
    port: u16,
    last_out: Nanos,
}

/// A NAT and its tables. Inbound packets never change them.
#[derive(Debug)]
pub(crate) struct Nat {
    pub(crate) config: NatConfig,
    timeout: Nanos,
    dice: Dice,
    /// (private endpoint, part of the remote that the mapping depends on) to the public port.
    by_key: BTreeMap<(SocketAddr, SocketAddr), u16>,
    by_port: BTreeMap<u16, Mapping>,
    /// (public port, part of the remote that the filter depends on) to the last outbound packet.
    sessions: BTreeMap<(u16, SocketAddr), Nanos>,
    next_port: u16,
}

impl Nat {
    /// # Panics
    /// If the port pool is empty or ends beyond 65535.
    pub(crate) fn new(config: NatConfig, mut dice: Dice) -> Self {
        if let PortAllocation::Pool { first, count } = config.allocation {
            assert!(count > 0 && first > 0, "NAT: a port pool needs ports, and port 0 is none");
            assert!(first.checked_add(count - 1).is_some(), "NAT: the port pool ends beyond 65535");
        }
        // Real ones have been running for a while, so a sequence starts anywhere.
        let next_port = FIRST_PORT + dice.up_to(u64::from(u16::MAX - FIRST_PORT)) as u16;
        Self {
            timeout: nanos(config.mapping_timeout),
            config,
            dice,
            by_key: BTreeMap::new(),
            by_port: BTreeMap::new(),
            sessions: BTreeMap::new(),
            next_port,
        }
    }

    pub(crate) fn public_ip(&self) -> IpAddr {
        IpAddr::V4(self.config.public_ip)
    }

    /// Translates a packet from `inner` to `remote` and returns its public source.
    pub(crate) fn outbound(
        &mut self,
        now: Nanos,
        inner: SocketAddr,
        remote: SocketAddr,
    ) -> Result<SocketAddr, DropReason> {
        let key = (inner, self.config.mapping.of(remote));
        let port = match self.live_port(now, &key) {
            Some(port) => port,
            None => {
                let port = self.allocate(now, inner.port()).ok_or(DropReason::NatExhausted)?;
                self.by_key.insert(key, port);
                self.by_port.insert(port, Mapping { inner, remote: key.1, port, last_out: now });
                port
            }
        };
        let session = (port, self.config.filtering.of(remote));
        if self.sessions.len() >= MAX_SESSIONS && !self.sessions.contains_key(&session) {
            self.purge(now);
            if self.sessions.len() >= MAX_SESSIONS {
                return Err(DropReason::NatExhausted);
            }
        }
        self.sessions.insert(session, now);
        if let Some(mapping) = self.by_port.get_mut(&port) {
            mapping.last_out = now;
        }
        Ok(SocketAddr::new(self.public_ip(), port))
    }

    /// Where a packet from `remote` to public `port` goes inside.
    pub(crate) fn inbound(
        &self,
        now: Nanos,
        remote: SocketAddr,
        port: u16,
    ) -> Result<SocketAddr, DropReason> {
        let mapping = self
            .by_port
            .get(&port)
            .filter(|mapping| self.fresh(now, mapping.last_out))
            .ok_or(DropReason::NatUnmapped)?;
        self.sessions
            .get(&(port, self.config.filtering.of(remote)))
            .filter(|last_out| self.fresh(now, **last_out))
            .ok_or(DropReason::NatFiltered)?;
        Ok(mapping.inner)
    }

    /// The public endpoint that `inner` has towards `remote`, if there is one now.
    pub(crate) fn peek(&self, now: Nanos, inner: SocketAddr, remote: SocketAddr) -> Option<SocketAddr> {
        let port = self.live_port(now, &(inner, self.config.mapping.of(remote)))?;
        Some(SocketAddr::new(self.public_ip(), port))
    }

    /// Forgets everything, as after a reboot.
    pub(crate) fn flush(&mut self) {
        self.by_key.clear();
        self.by_port.clear();
        self.sessions.clear();
    }

    /// Forgets the mappings of a private address.
    pub(crate) fn forget(&mut self, inner: IpAddr) {
        self.retain(|mapping| mapping.inner.ip() != inner);
    }

    fn fresh(&self, now: Nanos, last_out: Nanos) -> bool {
        now - last_out <= self.timeout
    }

    fn live_port(&self, now: Nanos, key: &(SocketAddr, SocketAddr)) -> Option<u16> {
        let port = *self.by_key.get(key)?;
        self.by_port
            .get(&port)
            .filter(|mapping| self.fresh(now, mapping.last_out))
            .map(|mapping| mapping.port)
    }

    fn purge(&mut self, now: Nanos) {
        let timeout = self.timeout;
        self.sessions.retain(|_, last_out| now - *last_out <= timeout);
        self.retain(|mapping| now - mapping.last_out <= timeout);
    }

    fn retain(&mut self, keep: impl Fn(&Mapping) -> bool) {
        let Self { by_key, by_port, sessions, .. } = self;
        by_port.retain(|_, mapping| keep(mapping));
        by_key.retain(|_, port| by_port.contains_key(port));
        sessions.retain(|(port, _), _| by_port.contains_key(port));
    }

    /// A free port, which is never one with a live mapping.
    fn allocate(&mut self, now: Nanos, wish: u16) -> Option<u16> {
        let (first, count) = match self.config.allocation {
            PortAllocation::Pool { first, count } => (first, u32::from(count)),
            _ => (FIRST_PORT, u32::from(u16::MAX - FIRST_PORT) + 1),
        };
        if self.by_port.len() as u32 >= count {
            self.purge(now);
            if self.by_port.len() as u32 >= count {
                return None;
            }
        }
        let start = match self.config.allocation {
            PortAllocation::Preserving => u32::from(wish.max(first) - first),
            PortAllocation::Sequential => u32::from(self.next_port - first),
            PortAllocation::Random | PortAllocation::Pool { .. } => {
                self.dice.up_to(u64::from(count - 1)) as u32
            }
        };
        for step in 0..count {
            let port = first + ((start + step) % count) as u16;
            let taken = self.by_port.get(&port).copied();
            match taken {
                Some(mapping) if self.fresh(now, mapping.last_out) => continue,
                Some(mapping) => self.release(&mapping),
                None => {}
            }
            self.next_port = if port == u16::MAX { FIRST_PORT } else { port + 1 };
            return Some(port);
        }
        None
    }

    fn release(&mut self, mapping: &Mapping) {
        self.by_port.remove(&mapping.port);
        let key = (mapping.inner, mapping.remote);
        if self.by_key.get(&key) == Some(&mapping.port) {
            self.by_key.remove(&key);
        }
        self.sessions.retain(|(port, _), _| *port != mapping.port);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nat(config: NatConfig) -> Nat {
        Nat::new(config, Dice::new(1, 0))
    }

    fn remote(n: u32) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::from(0x0b00_0000 + n), 1000))
    }

    const SECOND: Nanos = 1_000_000_000;

    #[test]
    fn a_full_session_table_refuses_until_old_sessions_expire() {
        let mut nat = nat(NatConfig::port_restricted(Ipv4Addr::new(198, 51, 100, 1)));
        let inner = SocketAddr::from(([192, 168, 1, 2], 1000));
        for n in 0..MAX_SESSIONS as u32 {
            assert!(nat.outbound(u64::from(n), inner, remote(n)).is_ok());
        }
        assert_eq!(nat.outbound(SECOND, inner, remote(1 << 20)), Err(DropReason::NatExhausted));
        assert!(nat.outbound(SECOND, inner, remote(0)).is_ok(), "known ones go on");
        assert_eq!(nat.sessions.len(), MAX_SESSIONS);
        assert!(nat.outbound(121 * SECOND, inner, remote(1 << 20)).is_ok());
        assert_eq!(nat.sessions.len(), 2, "that of remote 0 is 120 s old, all others are gone");
    }

    #[test]
    fn every_port_is_given_out_once_and_none_twice() {
        let mut nat = nat(NatConfig::symmetric(Ipv4Addr::new(198, 51, 100, 1)));
        let inner = SocketAddr::from(([192, 168, 1, 2], 1000));
        let all = u32::from(u16::MAX - FIRST_PORT) + 1;
        for n in 0..all {
            assert!(nat.outbound(0, inner, remote(n)).is_ok());
        }
        assert_eq!(nat.by_port.len() as u32, all);
        assert_eq!(nat.outbound(0, inner, remote(all)), Err(DropReason::NatExhausted));
        nat.forget(inner.ip());
        assert!(nat.by_key.is_empty() && nat.by_port.is_empty() && nat.sessions.is_empty());
    }

    #[test]
    fn a_taken_over_port_belongs_to_its_new_owner_alone() {
        let pool = PortAllocation::Pool { first: 5000, count: 1 };
        let mut nat = nat(NatConfig::full_cone(Ipv4Addr::new(198, 51, 100, 1)).allocation(pool));
        let old = SocketAddr::from(([192, 168, 1, 2], 1000));
        let new = SocketAddr::from(([192, 168, 1, 3], 1000));
        let mapped = nat.outbound(0, old, remote(1)).unwrap();
        assert_eq!(nat.outbound(0, new, remote(1)), Err(DropReason::NatExhausted));
        assert_eq!(nat.outbound(121 * SECOND, new, remote(1)), Ok(mapped));
        assert_eq!(nat.inbound(121 * SECOND, remote(2), 5000), Ok(new));
        assert_eq!(nat.peek(121 * SECOND, old, remote(1)), None);
        assert_eq!(nat.outbound(121 * SECOND, old, remote(1)), Err(DropReason::NatExhausted));
    }

    #[test]
    #[should_panic(expected = "ends beyond 65535")]
    fn a_pool_beyond_the_last_port_is_refused() {
        nat(NatConfig::symmetric(Ipv4Addr::LOCALHOST)
            .allocation(PortAllocation::Pool { first: 65_000, count: 1000 }));
    }
}

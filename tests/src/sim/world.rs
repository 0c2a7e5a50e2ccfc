//! The world: hosts, NATs, virtual time, and what a test may do with them.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use xp2p_proto::machine::Machine;

use super::host::{AnyHost, Firewall, Guest, Host, HostConfig, HostId, Seat};
use super::link::LinkConfig;
use super::nat::{Nat, NatConfig, NatId};
use super::queue::{PacketQueue, TimerIndex};
use super::rng::Dice;
use super::tcp::Tcp;
use super::time::{Clock, Nanos, nanos};
use super::trace::{Count, Trace, TraceRecord, Traffic};

/// Calls of `handle_timeout` that a host may need within a virtual millisecond, unless changed.
const DEFAULT_TURN_LIMIT: u32 = 10_000;

/// Steps in one instant. More of them means that machines answer each other without end over links without
/// latency, and time would stand still for ever.
const MAX_STEPS_AT_ONCE: u32 = 2_000_000;

/// Streams of randomness: hosts count from 0, NATs from here.
const NAT_STREAMS: u64 = 1 << 32;

/// The public address space. Every NAT has one of its own inside, numbered by the NAT plus one.
pub(crate) const PUBLIC: u32 = 0;

/// Who answers at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Host(u32),
    Nat(u32),
}

/// A datagram in the core, shown to a tap.
#[derive(Debug)]
pub struct Tapped<'a> {
    /// Simulated time since the start.
    pub at: Duration,
    /// The host that sent it; `None` if it was injected.
    pub sender: Option<AnyHost>,
    /// Source, after the NATs of the sender.
    pub src: SocketAddr,
    /// Destination, before the NATs of the receiver.
    pub dst: SocketAddr,
    /// The bytes, which the tap may change.
    pub payload: &'a mut BytesMut,
}

/// What a tap does with a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TapAction {
    /// Let it go on.
    Pass,
    /// Take it away.
    Drop,
}

/// One-way latency of the core between two public addresses.
pub(crate) type CoreDelay = Box<dyn Fn(IpAddr, IpAddr) -> Duration>;

/// A tap on the core.
pub(crate) type Tap = Box<dyn FnMut(Tapped<'_>) -> TapAction>;

/// A simulated network. See the [module](super) for how packets travel.
pub struct Sim {
    pub(crate) clock: Clock,
    seed: u64,
    pub(crate) hosts: Vec<Host>,
    pub(crate) nats: Vec<Nat>,
    /// (address space, address) to its owner.
    pub(crate) owners: BTreeMap<(u32, IpAddr), Owner>,
    pub(crate) queue: PacketQueue,
    pub(crate) timers: TimerIndex,
    pub(crate) tcp: Tcp,
    pub(crate) trace: Trace,
    /// (sender, receiver) to what was delivered.
    pub(crate) flows: BTreeMap<(u32, u32), Count>,
    pub(crate) core_latency: Nanos,
    pub(crate) core_delay: Option<CoreDelay>,
    pub(crate) tap: Option<Tap>,
    pub(crate) next_packet: u64,
    /// The buffer that machines write datagrams to.
    pub(crate) scratch: Vec<u8>,
    pub(crate) turn_limit: u32,
    /// Steps since time last moved.
    steps_at_once: u32,
}

impl Sim {
    /// An empty world. All randomness comes from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            clock: Clock::new(),
            seed,
            hosts: Vec::new(),
            nats: Vec::new(),
            owners: BTreeMap::new(),
            queue: PacketQueue::default(),
            timers: TimerIndex::default(),
            tcp: Tcp::default(),
            trace: Trace::new(),
            flows: BTreeMap::new(),
            core_latency: 0,
            core_delay: None,
            tap: None,
            next_packet: 0,
            scratch: Vec::with_capacity(64 * 1024),
            turn_limit: DEFAULT_TURN_LIMIT,
            steps_at_once: 0,
        }
    }

    // --- Building ---------------------------------------------------------------------------------------------

    /// Adds a NAT.
    ///
    /// # Panics
    /// If its public address is taken or its port pool makes no sense.
    pub fn add_nat(&mut self, config: NatConfig) -> NatId {
        let number = u32::try_from(self.nats.len()).expect("fewer than 2^32 NATs");
        let realm = config.behind.map_or(PUBLIC, inside);
        self.own(realm, IpAddr::V4(config.public_ip), Owner::Nat(number), "a NAT");
        self.nats.push(Nat::new(config, Dice::new(self.seed, NAT_STREAMS + u64::from(number))));
        NatId(number)
    }

    /// Adds a host and starts its machine: it is told the unix time and its addresses, then it takes its turn.
    ///
    /// # Panics
    /// If an address is taken, or without an address or a port.
    pub fn add_host<M>(&mut self, config: HostConfig, machine: M) -> HostId<M>
    where
        M: Machine + 'static,
        M::Event: 'static,
    {
        let index = u32::try_from(self.hosts.len()).expect("fewer than 2^32 hosts");
        assert!(!config.ports.is_empty(), "host `{}` needs a port", config.name);
        let guest: Box<dyn Guest> = Box::new(Seat { machine, mailbox: VecDeque::new() });
        self.claim(index, &config.name, config.behind, &config.addrs);
        self.hosts.push(Host::new(index, config, guest, Dice::new(self.seed, u64::from(index))));
        self.start(index);
        HostId::new(index)
    }

    /// Sets the one-way latency of the core between all access links. Default: none.
    pub fn set_core_latency(&mut self, latency: Duration) {
        self.core_latency = nanos(latency);
    }

    /// Sets the one-way latency of the core by the public addresses of sender and receiver, on top of
    /// [`set_core_latency`](Self::set_core_latency).
    pub fn set_core_delay(&mut self, delay: impl Fn(IpAddr, IpAddr) -> Duration + 'static) {
        self.core_delay = Some(Box::new(delay));
    }

    /// Lets `tap` see, change and take every datagram that crosses the public core.
    pub fn set_tap(&mut self, tap: impl FnMut(Tapped<'_>) -> TapAction + 'static) {
        self.tap = Some(Box::new(tap));
    }

    /// Removes the tap.
    pub fn remove_tap(&mut self) {
        self.tap = None;
    }

    /// How many times `handle_timeout` may run within a virtual millisecond before a host is stopped for being
    /// busy. Default: 10,000.
    pub fn set_turn_limit(&mut self, turns: u32) {
        self.turn_limit = turns;
    }

    // --- Machines ---------------------------------------------------------------------------------------------

    /// Calls into a machine; what it then has to send or tell is collected.
    ///
    /// # Panics
    /// If the host was removed.
    pub fn with<M, R>(&mut self, host: HostId<M>, f: impl FnOnce(&mut M, Instant) -> R) -> R
    where
        M: Machine + 'static,
        M::Event: 'static,
    {
        let now = self.clock.instant();
        let result = f(&mut self.seat_mut(host).machine, now);
        self.settle(host.index, false);
        result
    }

    /// Looks at a machine without giving it a turn.
    ///
    /// # Panics
    /// If the host was removed.
    #[must_use]
    pub fn machine<M>(&self, host: HostId<M>) -> &M
    where
        M: Machine + 'static,
        M::Event: 'static,
    {
        let host_ref = &self.hosts[host.index as usize];
        let guest = host_ref.guest.as_ref();
        let seat = guest.and_then(|guest| guest.as_any().downcast_ref::<Seat<M>>());
        &seat.unwrap_or_else(|| panic!("host `{}` was removed", host_ref.name)).machine
    }

    /// Takes the events that a host has told since the last time.
    ///
    /// # Panics
    /// If the host was removed.
    pub fn events<M>(&mut self, host: HostId<M>) -> Vec<M::Event>
    where
        M: Machine + 'static,
        M::Event: 'static,
    {
        self.seat_mut(host).mailbox.drain(..).map(|(_, event)| event).collect()
    }

    /// Like [`events`](Self::events), each with the simulated time since the start.
    ///
    /// # Panics
    /// If the host was removed.
    pub fn timed_events<M>(&mut self, host: HostId<M>) -> Vec<(Duration, M::Event)>
    where
        M: Machine + 'static,
        M::Event: 'static,
    {
        self.seat_mut(host).mailbox.drain(..).map(|(at, event)| (Duration::from_nanos(at), event)).collect()
    }

    /// Restarts a host with a new machine on the same addresses and ports. Events not yet taken and packets under
    /// way stay. Returns the old machine.
    ///
    /// # Panics
    /// If the host was removed.
    pub fn replace<M>(&mut self, host: HostId<M>, machine: M) -> M
    where
        M: Machine + 'static,
        M::Event: 'static,
    {
        let old = std::mem::replace(&mut self.seat_mut(host).machine, machine);
        self.reset_tcp(host.index);
        self.start(host.index);
        old
    }

    /// Like [`replace`](Self::replace), with other sockets; the first is the main one.
    ///
    /// # Panics
    /// If the host was removed or `ports` is empty.
    pub fn replace_on_ports<M>(&mut self, host: HostId<M>, machine: M, ports: &[u16]) -> M
    where
        M: Machine + 'static,
        M::Event: 'static,
    {
        assert!(!ports.is_empty(), "host `{}` needs a port", self.hosts[host.index as usize].name);
        self.hosts[host.index as usize].ports = ports.to_vec();
        self.replace(host, machine)
    }

    /// Takes a host out of the world and returns its machine. Packets to it go nowhere, those that it has sent
    /// travel on. Its counters stay readable.
    ///
    /// # Panics
    /// If the host was removed before.
    pub fn remove<M>(&mut self, host: HostId<M>) -> M
    where
        M: Machine + 'static,
        M::Event: 'static,
    {
        let index = host.index as usize;
        self.release(host.index);
        self.reset_tcp(host.index);
        self.timers.set(host.index, None);
        let guest = self.hosts[index].guest.take();
        let seat = guest.and_then(|guest| guest.into_any().downcast::<Seat<M>>().ok());
        seat.unwrap_or_else(|| panic!("host `{}` was removed", self.hosts[index].name)).machine
    }

    // --- Time -------------------------------------------------------------------------------------------------

    /// The current instant, as machines see it.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.clock.instant()
    }

    /// Simulated time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.clock.now())
    }

    /// The simulated unix time.
    #[must_use]
    pub fn unix_time(&self) -> Duration {
        self.clock.unix()
    }

    /// Makes the wall clocks of all hosts jump.
    ///
    /// # Panics
    /// If `unix` is less than the simulated time since the start.
    pub fn set_unix_time(&mut self, unix: Duration) {
        self.clock.set_unix(unix);
        for index in 0..self.hosts.len() as u32 {
            self.set_wall_clock(index, unix);
        }
    }

    /// Makes the wall clock of one host wrong (or right again). It keeps this until the next jump of all.
    pub fn set_unix_time_of(&mut self, host: impl Into<AnyHost>, unix: Duration) {
        self.set_wall_clock(host.into().0, unix);
    }

    /// Lets the world run for a while; what is due at the very end still happens.
    pub fn run_for(&mut self, duration: Duration) {
        let end = self.clock.now().saturating_add(nanos(duration));
        while self.step_before(end) {}
        self.clock.advance(end);
    }

    /// Runs until `done` says so, asked before the start and after every step, but no longer than `limit`. True if
    /// it was done; the time is then that of the step.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.clock.now().saturating_add(nanos(limit));
        loop {
            if done(self) {
                return true;
            }
            if !self.step_before(end) {
                self.clock.advance(end);
                return done(self);
            }
        }
    }

    /// Does the next thing at or before `end`. False if there is none.
    fn step_before(&mut self, end: Nanos) -> bool {
        let packet = self.queue.next_at();
        let timer = self.timers.next();
        if let Some(at) = self.tcp.next_at()
            && at <= end
            && packet.is_none_or(|packet| at <= packet)
            && timer.is_none_or(|(due, _)| at <= due)
        {
            self.advance(at);
            self.deliver_segment();
            return true;
        }
        // Packets that are there come before a timer of the same instant, as in a driver that reads its socket
        // before it looks at the clock.
        match (packet, timer) {
            (Some(at), timer) if at <= end && timer.is_none_or(|(due, _)| at <= due) => {
                let (at, packet) = self.queue.pop().expect("the queue was just seen to have a packet");
                self.advance(at);
                self.travel(packet);
                true
            }
            (_, Some((due, host))) if due <= end => {
                self.advance(due);
                self.fire(host);
                self.settle(host, true);
                true
            }
            _ => false,
        }
    }

    fn advance(&mut self, to: Nanos) {
        if to > self.clock.now() {
            self.clock.advance(to);
            self.steps_at_once = 0;
        }
        self.steps_at_once += 1;
        assert!(
            self.steps_at_once <= MAX_STEPS_AT_ONCE,
            "time stands still: {MAX_STEPS_AT_ONCE} steps in one instant; the last: {}",
            self.trace.tail().last().map(ToString::to_string).unwrap_or_default()
        );
    }

    // --- Disturbing -------------------------------------------------------------------------------------------

    /// Changes a link, for all who share it. Packets in flight keep the old one.
    pub fn set_link(&mut self, host: impl Into<AnyHost>, link: LinkConfig) {
        let line = self.line(host);
        let host = &mut self.hosts[line];
        host.up.configure(link.up);
        host.down.configure(link.down);
    }

    /// Lets a host use the access link of another one from now on, its queues included, as devices in one home do. It has
    /// none of its own any more.
    pub fn share_link(&mut self, host: impl Into<AnyHost>, with: impl Into<AnyHost>) {
        let line = self.hosts[with.into().0 as usize].line;
        self.hosts[host.into().0 as usize].line = line;
    }

    /// The host whose link this one uses.
    fn line(&self, host: impl Into<AnyHost>) -> usize {
        self.hosts[host.into().0 as usize].line as usize
    }

    /// Cuts a host off, or connects it again. Packets that are on its links are lost.
    pub fn cut(&mut self, host: impl Into<AnyHost>, cut: bool) {
        self.hosts[host.into().0 as usize].cut = cut;
    }

    /// Changes a firewall.
    pub fn set_firewall(&mut self, host: impl Into<AnyHost>, firewall: Firewall) {
        self.hosts[host.into().0 as usize].firewall = firewall;
    }

    /// Gives a host other addresses in the same network and tells its machine. Its NAT mappings die, and packets
    /// under way to the old addresses are lost.
    ///
    /// # Panics
    /// If an address is taken, or without any.
    pub fn change_address(&mut self, host: impl Into<AnyHost>, addrs: &[IpAddr]) {
        let index = host.into().0;
        self.relocate(index, self.hosts[index as usize].behind, addrs);
    }

    /// Moves a host to another network (behind a NAT or public) with other addresses and tells its machine, as a
    /// phone that leaves the Wi-Fi.
    ///
    /// # Panics
    /// If an address is taken, or without any.
    pub fn move_host(&mut self, host: impl Into<AnyHost>, behind: Option<NatId>, addrs: &[IpAddr]) {
        self.relocate(host.into().0, behind, addrs);
    }

    /// Changes the public address of a NAT, which loses its mappings. The hosts inside notice nothing.
    ///
    /// # Panics
    /// If the address is taken.
    pub fn change_nat_public_ip(&mut self, nat: NatId, ip: std::net::Ipv4Addr) {
        let table = &mut self.nats[nat.0 as usize];
        let realm = table.config.behind.map_or(PUBLIC, inside);
        let old = table.public_ip();
        table.config.public_ip = ip;
        table.flush();
        self.owners.remove(&(realm, old));
        self.own(realm, IpAddr::V4(ip), Owner::Nat(nat.0), "a NAT");
    }

    /// Makes a NAT forget its mappings, as after a reboot.
    pub fn flush_nat(&mut self, nat: NatId) {
        self.nats[nat.0 as usize].flush();
    }

    /// Puts a datagram with any source into the public core, as an attacker can.
    pub fn inject(&mut self, from: SocketAddr, to: SocketAddr, payload: &[u8]) {
        self.launch_injected(from, to, payload);
    }

    // --- Looking ----------------------------------------------------------------------------------------------

    /// The first address of a host, with its main port.
    #[must_use]
    pub fn addr(&self, host: impl Into<AnyHost>) -> SocketAddr {
        let host = &self.hosts[host.into().0 as usize];
        SocketAddr::new(host.addrs[0], host.ports[0])
    }

    /// How `remote` sees packets from the main socket of a host: the mapping in its own NAT (`None` if there is
    /// none now), or its address if it has no NAT.
    #[must_use]
    pub fn mapped_addr(&self, host: impl Into<AnyHost>, remote: SocketAddr) -> Option<SocketAddr> {
        let index = host.into();
        let inner = self.addr(index);
        match self.hosts[index.0 as usize].behind {
            Some(nat) if inner.is_ipv4() => self.nats[nat.0 as usize].peek(self.clock.now(), inner, remote),
            _ => Some(inner),
        }
    }

    /// How long what waits on the up link of a host takes to leave.
    #[must_use]
    pub fn up_backlog(&self, host: impl Into<AnyHost>) -> Duration {
        Duration::from_nanos(self.hosts[self.line(host)].up.backlog(self.clock.now()))
    }

    /// How long what waits on the down link of a host takes to arrive.
    #[must_use]
    pub fn down_backlog(&self, host: impl Into<AnyHost>) -> Duration {
        Duration::from_nanos(self.hosts[self.line(host)].down.backlog(self.clock.now()))
    }

    /// Counters of a host since its start.
    #[must_use]
    pub fn traffic(&self, host: impl Into<AnyHost>) -> Traffic {
        self.hosts[host.into().0 as usize].traffic
    }

    /// What `to` has received from `from`, on whatever path.
    #[must_use]
    pub fn bytes_between(&self, from: impl Into<AnyHost>, to: impl Into<AnyHost>) -> Count {
        self.flows.get(&(from.into().0, to.into().0)).copied().unwrap_or_default()
    }

    /// How often a machine still had a timer due right after that timer was handled. A machine that keeps its
    /// contract has 0.
    #[must_use]
    pub fn rearms(&self, host: impl Into<AnyHost>) -> u64 {
        self.hosts[host.into().0 as usize].rearms
    }

    /// Datagrams under way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.queue.len()
    }

    /// Hash (blake3, hex) over every datagram sent, delivered and dropped until now: time, number, addresses,
    /// bytes and verdict.
    #[must_use]
    pub fn trace_hash(&self) -> String {
        self.trace.hash()
    }

    /// Stops to record: long runs of many hosts are measured by other figures, and hashing every byte costs a tenth of the
    /// time.
    pub fn set_untraced(&mut self) {
        self.trace.off = true;
    }

    /// The latest few hundred records, oldest first; print them when a test fails.
    pub fn trace_tail(&self) -> impl Iterator<Item = &TraceRecord> {
        self.trace.tail()
    }

    // --- Within -----------------------------------------------------------------------------------------------

    fn seat_mut<M>(&mut self, host: HostId<M>) -> &mut Seat<M>
    where
        M: Machine + 'static,
        M::Event: 'static,
    {
        let Host { name, guest, .. } = &mut self.hosts[host.index as usize];
        let seat = guest.as_mut().and_then(|guest| guest.as_any_mut().downcast_mut::<Seat<M>>());
        seat.unwrap_or_else(|| panic!("host `{name}` was removed"))
    }

    fn start(&mut self, index: u32) {
        let now = self.clock.instant();
        let unix = self.clock.unix();
        let host = &mut self.hosts[index as usize];
        let addrs = host.local_addresses();
        if let Some(guest) = &mut host.guest {
            guest.set_wall_clock(now, unix);
            guest.set_local_addresses(now, &addrs);
        }
        self.settle(index, false);
    }

    fn set_wall_clock(&mut self, index: u32, unix: Duration) {
        let now = self.clock.instant();
        if let Some(guest) = &mut self.hosts[index as usize].guest {
            guest.set_wall_clock(now, unix);
            self.settle(index, false);
        }
    }

    fn relocate(&mut self, index: u32, behind: Option<NatId>, addrs: &[IpAddr]) {
        self.release(index);
        self.lose_tcp(index);
        let name = self.hosts[index as usize].name.clone();
        self.claim(index, &name, behind, addrs);
        let host = &mut self.hosts[index as usize];
        host.behind = behind;
        host.addrs = addrs.to_vec();
        let addrs = host.local_addresses();
        let now = self.clock.instant();
        if let Some(guest) = &mut host.guest {
            guest.set_local_addresses(now, &addrs);
            self.settle(index, false);
        }
    }

    fn claim(&mut self, index: u32, name: &str, behind: Option<NatId>, addrs: &[IpAddr]) {
        assert!(!addrs.is_empty(), "host `{name}` needs an address");
        for ip in addrs {
            self.own(realm_of(behind, *ip), *ip, Owner::Host(index), name);
        }
    }

    /// Takes the addresses of a host back, and its NAT mappings with them.
    fn release(&mut self, index: u32) {
        let host = &self.hosts[index as usize];
        for ip in &host.addrs {
            let key = (realm_of(host.behind, *ip), *ip);
            if self.owners.get(&key) == Some(&Owner::Host(index)) {
                self.owners.remove(&key);
            }
            if let Some(nat) = host.behind {
                self.nats[nat.0 as usize].forget(*ip);
            }
        }
    }

    fn own(&mut self, realm: u32, ip: IpAddr, owner: Owner, name: &str) {
        let before = self.owners.insert((realm, ip), owner);
        assert!(before.is_none(), "address {ip} of `{name}` is taken in its network by {before:?}");
    }
}

/// The address space inside a NAT.
pub(crate) fn inside(nat: NatId) -> u32 {
    nat.0 + 1
}

/// The address space that an address of a host is in.
pub(crate) fn realm_of(behind: Option<NatId>, ip: IpAddr) -> u32 {
    match behind {
        Some(nat) if ip.is_ipv4() => inside(nat),
        _ => PUBLIC,
    }
}

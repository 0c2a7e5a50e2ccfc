//! The way of a packet: from a machine over links and through NATs to another machine.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use xp2p_proto::machine::{Datagram, Transmit};

use super::host::{AnyHost, Guest};
use super::link::DEFAULT_MTU;
use super::nat::NatId;
use super::queue::{NOBODY, Packet, Stage};
use super::time::nanos;
use super::trace::{DropReason, Verdict};
use super::world::{Owner, PUBLIC, Sim, TapAction, Tapped, inside, realm_of};

/// Largest UDP payload over IPv4.
const MAX_PAYLOAD: usize = 65_507;

/// Batches that a machine may send in one turn. Beyond it, it does not stop at all.
const MAX_BATCHES: usize = 1_000_000;

/// NATs that a packet may pass.
const MAX_HOPS: usize = 16;

/// Size of the IP packet that carries `len` bytes of UDP payload.
fn ip_size(dst: SocketAddr, len: usize) -> usize {
    len + if dst.is_ipv4() { 28 } else { 48 }
}

impl Sim {
    pub(crate) fn drain_transmits(&mut self, index: u32, guest: &mut dyn Guest, buf: &mut Vec<u8>) {
        let now = self.clock.instant();
        for _ in 0..MAX_BATCHES {
            buf.clear();
            let Some(transmit) = guest.poll_transmit(now, buf) else { return };
            let name = &self.hosts[index as usize].name;
            assert_eq!(transmit.size, buf.len(), "host `{name}`: `size` is not what it wrote: {transmit:?}");
            assert_ne!(transmit.segment_size, Some(0), "host `{name}`: empty segments: {transmit:?}");
            let segment = transmit.segment_size.unwrap_or(buf.len());
            assert!(segment <= MAX_PAYLOAD, "host `{name}`: no UDP datagram is that large: {transmit:?}");
            if buf.is_empty() {
                self.launch(index, &transmit, &[]);
            }
            // `max` because chunks of 0 do not exist; an empty datagram was sent above.
            for datagram in buf.chunks(segment.max(1)) {
                self.launch(index, &transmit, datagram);
            }
        }
        panic!("host `{}` does not stop sending in one turn", self.hosts[index as usize].name);
    }

    /// Takes a datagram from a machine to the end of its up link.
    fn launch(&mut self, index: u32, transmit: &Transmit, payload: &[u8]) {
        let now = self.clock.now();
        let dst = transmit.remote;
        let src = self.source(index, transmit.local, dst);
        let host = &self.hosts[index as usize];
        let realm = realm_of(host.behind, dst.ip());
        let mut packet = Packet {
            id: self.next_packet,
            // A datagram without a source is only noted as dropped.
            src: src
                .unwrap_or_else(|_| transmit.local.unwrap_or(SocketAddr::new(host.addrs[0], host.ports[0]))),
            dst,
            payload: BytesMut::from(payload),
            ecn: transmit.ecn,
            from: index,
            to: NOBODY,
            realm,
            stage: Stage::Edge,
            lan: false,
        };
        self.next_packet += 1;
        self.trace.record(now, &packet, Verdict::Sent);
        let lan = host.behind.filter(|nat| realm == inside(*nat) && self.on_lan(*nat, dst.ip()));
        let lan = lan.map(|nat| self.nats[nat.0 as usize].config.lan_latency);
        let host = &mut self.hosts[index as usize];
        host.traffic.sent.add(payload.len());
        let size = ip_size(dst, payload.len());
        let passage = match src {
            Err(reason) => Err(reason),
            Ok(_) if !host.lets_out(now, dst) => Err(DropReason::Firewall),
            Ok(_) if host.cut => Err(DropReason::Cut),
            Ok(_) => match lan {
                Some(_) if size > DEFAULT_MTU => Err(DropReason::Mtu),
                Some(latency) => Ok((now + nanos(latency), false)),
                None => {
                    let line = host.line as usize;
                    let line = &mut self.hosts[line];
                    line.up.admit(now, size, &mut line.dice).map(|p| (p.at, p.duplicated))
                }
            },
        };
        match passage {
            Err(reason) => self.drop_packet(packet, reason),
            Ok((at, duplicated)) => {
                packet.lan = lan.is_some();
                self.enqueue(at, packet, duplicated);
            }
        }
    }

    pub(crate) fn launch_injected(&mut self, src: SocketAddr, dst: SocketAddr, payload: &[u8]) {
        let now = self.clock.now();
        let packet = Packet {
            id: self.next_packet,
            src,
            dst,
            payload: BytesMut::from(payload),
            ecn: None,
            from: NOBODY,
            to: NOBODY,
            realm: PUBLIC,
            stage: Stage::Edge,
            lan: false,
        };
        self.next_packet += 1;
        self.trace.record(now, &packet, Verdict::Sent);
        self.queue.push(now, packet);
    }

    /// The source address of a datagram, or why there is none.
    fn source(
        &self,
        index: u32,
        local: Option<SocketAddr>,
        dst: SocketAddr,
    ) -> Result<SocketAddr, DropReason> {
        let host = &self.hosts[index as usize];
        let port = local.map_or(0, |local| local.port());
        let port = if port == 0 { host.ports[0] } else { port };
        if !host.ports.contains(&port) {
            return Err(DropReason::NoSocket);
        }
        let ip = match local.map(|local| local.ip()).filter(|ip| !ip.is_unspecified()) {
            Some(ip) => host.addrs.contains(&ip).then_some(ip).filter(|ip| ip.is_ipv4() == dst.is_ipv4()),
            None => host.addrs.iter().copied().find(|ip| ip.is_ipv4() == dst.is_ipv4()),
        };
        Ok(SocketAddr::new(ip.ok_or(DropReason::NoAddress)?, port))
    }

    /// Whether `ip` is reached over the LAN behind `nat`: a host in it, or the router itself.
    fn on_lan(&self, nat: NatId, ip: IpAddr) -> bool {
        self.nats[nat.0 as usize].public_ip() == ip
            || matches!(self.owners.get(&(inside(nat), ip)), Some(Owner::Host(_)))
    }

    fn enqueue(&mut self, at: u64, packet: Packet, duplicated: bool) {
        let copy = duplicated.then(|| packet.clone());
        self.queue.push(at, packet);
        if let Some(copy) = copy {
            self.queue.push(at, copy);
        }
    }

    /// Moves a packet on whose time has come.
    pub(crate) fn travel(&mut self, packet: Packet) {
        match packet.stage {
            Stage::Edge | Stage::Crossed => self.route(packet),
            Stage::Deliver => self.deliver(packet),
        }
    }

    /// Takes a packet from where it is through all NATs up to the down link of its receiver.
    fn route(&mut self, mut packet: Packet) {
        let now = self.clock.now();
        // Once inside, a packet is only delivered; it never turns round and leaves again.
        let mut inward = false;
        for _ in 0..MAX_HOPS {
            let owner = self.owners.get(&(packet.realm, packet.dst.ip())).copied();
            let gateway = (packet.realm != PUBLIC).then(|| packet.realm - 1);
            if packet.realm == PUBLIC && packet.stage == Stage::Edge && !packet.lan {
                packet.stage = Stage::Crossed;
                if !self.pass_tap(&mut packet) {
                    return self.drop_packet(packet, DropReason::Tap);
                }
                let delay =
                    self.core_delay.as_ref().map_or(0, |d| nanos(d(packet.src.ip(), packet.dst.ip())));
                if self.core_latency + delay > 0 {
                    return self.queue.push(now + self.core_latency + delay, packet);
                }
            }
            let step = match (owner, gateway) {
                (Some(Owner::Host(to)), _) => {
                    packet.to = to;
                    return self.arrive(packet);
                }
                (Some(Owner::Nat(nat)), _) => self.enter(&mut packet, nat),
                (None, _) if inward => Err(DropReason::NoRoute),
                (None, Some(nat)) if self.nats[nat as usize].public_ip() == packet.dst.ip() => {
                    self.hairpin(&mut packet, nat)
                }
                (None, Some(nat)) => self.leave(&mut packet, nat).map(|()| false),
                (None, None) => Err(DropReason::NoRoute),
            };
            match step {
                Ok(entered) => inward |= entered,
                Err(reason) => return self.drop_packet(packet, reason),
            }
        }
        self.drop_packet(packet, DropReason::NoRoute);
    }

    fn pass_tap(&mut self, packet: &mut Packet) -> bool {
        let at = Duration::from_nanos(self.clock.now());
        let Some(tap) = &mut self.tap else { return true };
        let sender = (packet.from != NOBODY).then_some(AnyHost(packet.from));
        let tapped = Tapped { at, sender, src: packet.src, dst: packet.dst, payload: &mut packet.payload };
        tap(tapped) == TapAction::Pass
    }

    fn leave(&mut self, packet: &mut Packet, nat: u32) -> Result<(), DropReason> {
        let table = &mut self.nats[nat as usize];
        packet.src = table.outbound(self.clock.now(), packet.src, packet.dst)?;
        packet.realm = table.config.behind.map_or(PUBLIC, inside);
        Ok(())
    }

    fn enter(&mut self, packet: &mut Packet, nat: u32) -> Result<bool, DropReason> {
        packet.dst = self.nats[nat as usize].inbound(self.clock.now(), packet.src, packet.dst.port())?;
        packet.realm = inside(NatId(nat));
        Ok(true)
    }

    /// Out and in again at the same NAT. The receiver sees the public source ("external" hairpinning, RFC 4787
    /// section 6).
    fn hairpin(&mut self, packet: &mut Packet, nat: u32) -> Result<bool, DropReason> {
        let table = &mut self.nats[nat as usize];
        if !table.config.hairpin {
            return Err(DropReason::Hairpin);
        }
        let now = self.clock.now();
        packet.src = table.outbound(now, packet.src, packet.dst)?;
        packet.dst = table.inbound(now, packet.src, packet.dst.port())?;
        Ok(true)
    }

    /// Puts a packet on the down link of its receiver.
    fn arrive(&mut self, mut packet: Packet) {
        let now = self.clock.now();
        packet.stage = Stage::Deliver;
        if packet.lan {
            return self.deliver(packet);
        }
        let host = &self.hosts[packet.to as usize];
        let size = ip_size(packet.dst, packet.payload.len());
        let (cut, line) = (host.cut, host.line as usize);
        let line = &mut self.hosts[line];
        let passage = if cut { Err(DropReason::Cut) } else { line.down.admit(now, size, &mut line.dice) };
        match passage {
            Err(reason) => self.refuse_packet(packet, reason),
            Ok(passage) => self.enqueue(passage.at, packet, passage.duplicated),
        }
    }

    fn deliver(&mut self, packet: Packet) {
        let now = self.clock.now();
        let instant = self.clock.instant();
        let index = packet.to;
        let host = &mut self.hosts[index as usize];
        let refusal = if host.guest.is_none() {
            Some(DropReason::Gone)
        } else if host.cut {
            Some(DropReason::Cut)
        } else if !host.addrs.contains(&packet.dst.ip()) {
            Some(DropReason::NoAddress)
        } else if !host.lets_in(now, packet.src) {
            Some(DropReason::Firewall)
        } else if !host.ports.contains(&packet.dst.port()) {
            Some(DropReason::NoSocket)
        } else {
            None
        };
        if let Some(reason) = refusal {
            return self.refuse_packet(packet, reason);
        }
        self.trace.record(now, &packet, Verdict::Delivered);
        host.traffic.received.add(packet.payload.len());
        if packet.from != NOBODY {
            self.flows.entry((packet.from, index)).or_default().add(packet.payload.len());
        }
        if let Some(guest) = &mut host.guest {
            let Packet { src, dst, ecn, payload, .. } = packet;
            guest.handle_datagram(instant, Datagram { local: dst, remote: src, ecn, payload });
        }
        self.settle(index, false);
    }

    /// Drops a packet at the door of its receiver.
    fn refuse_packet(&mut self, packet: Packet, reason: DropReason) {
        self.hosts[packet.to as usize].traffic.count_refused(reason);
        self.drop_packet(packet, reason);
    }

    fn drop_packet(&mut self, packet: Packet, reason: DropReason) {
        self.trace.record(self.clock.now(), &packet, Verdict::Dropped(reason));
        if packet.from != NOBODY {
            self.hosts[packet.from as usize].traffic.count_dropped(reason);
        }
    }
}

//! The relay: which packets go where, and how many.
//!
//! It knows nothing of QUIC. A flow has two ends, the viewer's and the camera's, each with an id of its own that is
//! random, so that neither end can name the other's flows.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha12Rng;
use rand_core::Rng;

use super::cookie::Cookies;
use super::limits::{Bucket, PerSource};
use crate::keys::Ticket;
use crate::link::AMPLIFICATION;
use crate::wire::{Cookie, FlowId, OPEN_HEADER_LEN, RefuseReason};

/// A flow without traffic ends after this long.
pub const IDLE: Duration = Duration::from_secs(60);
/// A flow whose viewer has not proven that it receives what is sent to it ends after this long: whoever means it does so within
/// a round trip.
const UNPROVEN: Duration = Duration::from_secs(10);
/// This part of what a camera may get is for packets of such flows, all together: a flood of them takes nothing from those who watch.
const STRANGERS: u64 = 4;
/// A first packet shorter than this is not passed on. New connections begin with at least 1,200 bytes (RFC 9000 section
/// 14.1); a shorter packet is of a connection that goes on over a new flow. The camera would answer that with a path
/// challenge of 1,200 bytes, the amplification limit would drop it, and QUIC would give the new path up. Once the
/// viewer has proven its address with its next packet, there is no limit.
const FULL_PACKET: usize = 1_000;
/// Bytes of an OPENED frame at most.
const OPENED_LEN: u64 = 1 + 16 + 8 + 1 + 16 + 2;
/// Seconds worth of a rate limit that may pass at once.
const BURST_SECONDS: u64 = 4;
/// Least burst of a rate limit, so that a limit below one packet still lets packets through.
const MIN_BURST: u64 = 64 * 1024;

/// Limits of a [`Relay`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayConfig {
    /// Most flows. Default 20,000.
    pub max_flows: usize,
    /// Most flows to one camera: its viewers keep theirs as a way back. At most half of them may be of one IP address. Default 512.
    pub max_flows_per_camera: usize,
    /// Most bytes per second of one flow, both ways together. Default 1,000,000.
    pub flow_rate: Option<u64>,
    /// Most bytes per second of all flows of one camera. Default 2,000,000.
    pub camera_rate: Option<u64>,
    /// Most new flows per second from one IP address, behind which there may be many people; three times as many at once.
    /// Default 50.
    pub opens_per_source: u32,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            max_flows: 20_000,
            max_flows_per_camera: 512,
            flow_rate: Some(1_000_000),
            camera_rate: Some(2_000_000),
            opens_per_source: 50,
        }
    }
}

/// What to do with an OPEN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenOutcome {
    /// Send the packet to the camera.
    Forward {
        /// Its address.
        to: SocketAddr,
        /// The flow as the camera knows it.
        flow: FlowId,
        /// Tell the viewer this id.
        opened: FlowId,
    },
    /// The flow is open, but do not pass the packet on.
    Opened {
        /// Tell the viewer this id.
        opened: FlowId,
    },
    /// Tell the viewer why not.
    Refuse(RefuseReason),
    /// Drop the packet.
    Drop,
}

/// What to do with a FORWARD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardOutcome {
    /// Send the packet to the other end.
    Forward {
        /// Its address.
        to: SocketAddr,
        /// The flow as that end knows it.
        flow: FlowId,
    },
    /// The flow is known, the address is not: ask it to prove itself.
    SendCookie {
        /// The proof to ask for.
        cookie: Cookie,
    },
    /// There is no such flow.
    UnknownFlow,
    /// Drop the packet.
    Drop,
}

/// Counters of a relay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RelayStats {
    /// Packets passed on.
    pub forwarded_datagrams: u64,
    /// Their bytes, without our header.
    pub forwarded_bytes: u64,
    /// Packets dropped because of a limit.
    pub dropped: u64,
    /// Flows refused.
    pub refused: u64,
    /// Flows opened.
    pub opened: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Viewer,
    Camera,
}

#[derive(Debug)]
struct Flow {
    ticket: Ticket,
    viewer: SocketAddr,
    /// Where the viewer really was when it opened it, and when that was.
    ip: IpAddr,
    opened: Instant,
    /// Where the camera has proven to be with a cookie since it registered.
    camera: Option<SocketAddr>,
    viewer_id: FlowId,
    camera_id: FlowId,
    /// The viewer has used its id, which it can know only if it receives what is sent to it.
    proven: bool,
    /// Bytes from and to the viewer until then.
    received: u64,
    sent: u64,
    bucket: Option<Bucket>,
    last_used: Instant,
    expires: Instant,
}

#[derive(Debug)]
struct Camera {
    addr: SocketAddr,
    bucket: Option<Bucket>,
    /// For flows that are not proven yet.
    strangers: Option<Bucket>,
}

/// The relay.
#[derive(Debug)]
pub struct Relay {
    config: RelayConfig,
    rng: ChaCha12Rng,
    cookies: Cookies,
    cameras: BTreeMap<Ticket, Camera>,
    flows: BTreeMap<u64, Flow>,
    next_flow: u64,
    by_id: BTreeMap<FlowId, (u64, End)>,
    by_source: BTreeMap<(SocketAddr, Ticket), u64>,
    by_camera: BTreeSet<(Ticket, u64)>,
    expiries: BTreeSet<(Instant, u64)>,
    sources: PerSource,
    draining: bool,
    stats: RelayStats,
}

impl Relay {
    /// An empty relay.
    pub fn new(config: RelayConfig, mut rng: ChaCha12Rng, now: Instant) -> Self {
        let mut key = [0; 32];
        rng.fill_bytes(&mut key);
        Self {
            config,
            rng,
            cookies: Cookies::new(key, now),
            cameras: BTreeMap::new(),
            flows: BTreeMap::new(),
            next_flow: 0,
            by_id: BTreeMap::new(),
            by_source: BTreeMap::new(),
            by_camera: BTreeSet::new(),
            expiries: BTreeSet::new(),
            sources: PerSource::new(config.opens_per_source),
            draining: false,
            stats: RelayStats::default(),
        }
    }

    /// Counters so far.
    pub fn stats(&self) -> RelayStats {
        self.stats
    }

    /// Flows at present.
    pub fn flows(&self) -> usize {
        self.flows.len()
    }

    /// Takes no new flows any more.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// The camera of `ticket` is at `addr` now; it has proven that. Its flows go there from now on.
    pub fn set_camera(&mut self, now: Instant, ticket: Ticket, addr: SocketAddr) {
        let rate = self.config.camera_rate;
        self.cameras.entry(ticket).and_modify(|camera| camera.addr = addr).or_insert_with(|| Camera {
            addr,
            bucket: rate.map(|r| bucket(r, now)),
            strangers: rate.map(|r| bucket(r / STRANGERS, now)),
        });
        for (_, index) in self.by_camera.range((ticket, 0)..=(ticket, u64::MAX)) {
            if let Some(flow) = self.flows.get_mut(index) {
                flow.camera = None;
            }
        }
    }

    /// The camera of `ticket` is gone, with all its flows. Its viewers learn it when they send.
    pub fn remove_camera(&mut self, _now: Instant, ticket: &Ticket) {
        self.cameras.remove(ticket);
        let flows: Vec<u64> =
            self.by_camera.range((*ticket, 0)..=(*ticket, u64::MAX)).map(|(_, index)| *index).collect();
        flows.into_iter().for_each(|index| self.remove(index));
    }

    /// A viewer at `source` wants to reach the camera of `ticket`, with a first packet of `len` bytes.
    pub fn open(&mut self, now: Instant, source: SocketAddr, ticket: Ticket, len: usize) -> OpenOutcome {
        self.open_from(now, source, source.ip(), ticket, len)
    }

    /// The same for a viewer whose address stands for something else: `ip` is where it really is, and what its attempts
    /// are counted by.
    pub fn open_from(
        &mut self,
        now: Instant,
        source: SocketAddr,
        ip: IpAddr,
        ticket: Ticket,
        len: usize,
    ) -> OpenOutcome {
        let known = self.by_source.get(&(source, ticket)).copied();
        let index = match known {
            Some(index) => index,
            None => match self.new_flow(now, source, ip, ticket) {
                Ok(index) => index,
                Err(refusal) => {
                    self.stats.refused += 1;
                    return refusal;
                }
            },
        };
        let Some(flow) = self.flows.get_mut(&index) else { return OpenOutcome::Drop };
        flow.received = flow.received.saturating_add((OPEN_HEADER_LEN + len) as u64);
        // The answer to an open counts as well, or opens without much in them would be multiplied.
        flow.sent += OPENED_LEN;
        flow.last_used = now;
        let (camera_id, viewer_id) = (flow.camera_id, flow.viewer_id);
        if len < FULL_PACKET && !flow.proven {
            return OpenOutcome::Opened { opened: viewer_id };
        }
        match self.pass(now, index, len) {
            Some(to) => OpenOutcome::Forward { to, flow: camera_id, opened: viewer_id },
            // Once it knows its id it can prove itself, and counts among strangers no longer.
            None => OpenOutcome::Opened { opened: viewer_id },
        }
    }

    fn new_flow(
        &mut self,
        now: Instant,
        source: SocketAddr,
        ip: IpAddr,
        ticket: Ticket,
    ) -> Result<u64, OpenOutcome> {
        let refuse = |reason| Err(OpenOutcome::Refuse(reason));
        // Also what is refused counts, or refusals themselves could be used for a flood; past the limit there is no
        // answer at all.
        if !self.sources.take(now, ip) {
            return Err(OpenOutcome::Drop);
        }
        if self.draining {
            return refuse(RefuseReason::Draining);
        }
        if !self.cameras.contains_key(&ticket) {
            return refuse(RefuseReason::UnknownTicket);
        }
        if self.flows.len() >= self.config.max_flows {
            return refuse(RefuseReason::ServerFull);
        }
        let count = self.flows_to(&ticket).count();
        let most = self.config.max_flows_per_camera;
        if count >= most.div_ceil(2) && self.flows_from(&ticket, ip) >= most.div_ceil(2) {
            return refuse(RefuseReason::RateLimited);
        }
        if count >= most && !self.make_room(&ticket) {
            return refuse(RefuseReason::CameraFull);
        }
        let index = self.next_flow;
        self.next_flow += 1;
        let (viewer_id, camera_id) = (self.fresh_id(), self.fresh_id());
        let expires = now + UNPROVEN;
        self.flows.insert(
            index,
            Flow {
                ticket,
                viewer: source,
                ip,
                opened: now,
                camera: None,
                viewer_id,
                camera_id,
                proven: false,
                received: 0,
                sent: 0,
                bucket: self.config.flow_rate.map(|r| bucket(r, now)),
                last_used: now,
                expires,
            },
        );
        self.by_id.insert(viewer_id, (index, End::Viewer));
        self.by_id.insert(camera_id, (index, End::Camera));
        self.by_source.insert((source, ticket), index);
        self.by_camera.insert((ticket, index));
        self.expiries.insert((expires, index));
        self.stats.opened += 1;
        Ok(index)
    }

    /// Flows to a camera from one IP address.
    fn flows_from(&self, ticket: &Ticket, ip: IpAddr) -> usize {
        self.flows_to(ticket).filter(|index| self.flows.get(index).is_some_and(|f| f.ip == ip)).count()
    }

    fn flows_to(&self, ticket: &Ticket) -> impl Iterator<Item = u64> {
        self.by_camera.range((*ticket, 0)..=(*ticket, u64::MAX)).map(|(_, index)| *index)
    }

    /// The oldest flow to a camera that has proven nothing gives way to a new one: whoever means it has proven itself long before
    /// its turn comes. `false`: all have.
    fn make_room(&mut self, ticket: &Ticket) -> bool {
        let unproven = self.flows_to(ticket).find(|index| self.flows.get(index).is_some_and(|f| !f.proven));
        unproven.inspect(|index| self.remove(*index)).is_some()
    }

    fn fresh_id(&mut self) -> FlowId {
        loop {
            let id = FlowId(self.rng.next_u64());
            if !self.by_id.contains_key(&id) {
                return id;
            }
        }
    }

    /// Charges a packet to flow and camera. Returns the camera's address if it may go on.
    fn pass(&mut self, now: Instant, index: u64, len: usize) -> Option<SocketAddr> {
        let flow = self.flows.get_mut(&index)?;
        let camera = self.cameras.get_mut(&flow.ticket)?;
        let strangers = camera.strangers.as_mut().filter(|_| !flow.proven);
        let fits = strangers.is_none_or(|b| b.take(now, len as u64))
            && flow.bucket.as_mut().is_none_or(|b| b.take(now, len as u64))
            && camera.bucket.as_mut().is_none_or(|b| b.take(now, len as u64));
        if !fits {
            self.stats.dropped += 1;
            return None;
        }
        self.stats.forwarded_datagrams += 1;
        self.stats.forwarded_bytes += len as u64;
        Some(flow.camera.unwrap_or(camera.addr))
    }

    /// A packet of `len` bytes came from `source` for flow `id`.
    pub fn forward(&mut self, now: Instant, source: SocketAddr, id: FlowId, len: usize) -> ForwardOutcome {
        let Some(&(index, end)) = self.by_id.get(&id) else { return ForwardOutcome::UnknownFlow };
        let Some(flow) = self.flows.get_mut(&index) else { return ForwardOutcome::UnknownFlow };
        let Some(camera) = self.cameras.get(&flow.ticket) else { return ForwardOutcome::UnknownFlow };
        match end {
            End::Viewer if flow.viewer != source => {
                ForwardOutcome::SendCookie { cookie: self.cookies.make(now, id, source) }
            }
            End::Camera if flow.camera.unwrap_or(camera.addr) != source => {
                ForwardOutcome::SendCookie { cookie: self.cookies.make(now, id, source) }
            }
            End::Viewer => {
                flow.proven = true;
                flow.last_used = now;
                let flow_id = flow.camera_id;
                match self.pass(now, index, len) {
                    Some(to) => ForwardOutcome::Forward { to, flow: flow_id },
                    None => ForwardOutcome::Drop,
                }
            }
            End::Camera => {
                flow.last_used = now;
                if !flow.proven && flow.sent + len as u64 > flow.received * AMPLIFICATION as u64 {
                    self.stats.dropped += 1;
                    return ForwardOutcome::Drop;
                }
                flow.sent += len as u64;
                let (to, flow_id) = (flow.viewer, flow.viewer_id);
                match self.pass(now, index, len) {
                    Some(_) => ForwardOutcome::Forward { to, flow: flow_id },
                    None => ForwardOutcome::Drop,
                }
            }
        }
    }

    /// `source` has sent back a cookie for flow `id`. If it is good, that end of the flow moves there. For the viewer's
    /// end, ticket and id are returned so that it can be told its new address; a camera hears of it when it registers.
    pub fn cookie_echo(
        &mut self,
        now: Instant,
        source: SocketAddr,
        id: FlowId,
        cookie: &Cookie,
    ) -> Option<(Ticket, FlowId)> {
        let &(index, end) = self.by_id.get(&id)?;
        if !self.cookies.check(now, id, source, cookie) {
            return None;
        }
        let flow = self.flows.get_mut(&index)?;
        if end == End::Camera {
            // Only this flow: where the camera itself is, its registration tells.
            flow.camera = Some(source);
            return None;
        }
        let (old, ticket) = (flow.viewer, flow.ticket);
        flow.viewer = source;
        flow.proven = true;
        flow.last_used = now;
        if self.by_source.get(&(old, ticket)) == Some(&index) {
            self.by_source.remove(&(old, ticket));
        }
        // A flow that was opened from the new address meanwhile stays reachable by its id, and expires by itself.
        self.by_source.insert((source, ticket), index);
        Some((ticket, id))
    }

    fn remove(&mut self, index: u64) {
        let Some(flow) = self.flows.remove(&index) else { return };
        self.by_id.remove(&flow.viewer_id);
        self.by_id.remove(&flow.camera_id);
        if self.by_source.get(&(flow.viewer, flow.ticket)) == Some(&index) {
            self.by_source.remove(&(flow.viewer, flow.ticket));
        }
        self.by_camera.remove(&(flow.ticket, index));
        self.expiries.remove(&(flow.expires, index));
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let expiry = self.expiries.first().map(|(at, _)| *at);
        [expiry, self.sources.next()].into_iter().flatten().min()
    }

    /// Ends flows that were idle for too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(&(at, index)) = self.expiries.first() {
            if at > now {
                break;
            }
            self.expiries.pop_first();
            let Some(flow) = self.flows.get_mut(&index) else { continue };
            // Packets do not move the expiry, which would cost each of them; it is found out here whether there were any.
            let due = if flow.proven { flow.last_used + IDLE } else { flow.opened + UNPROVEN };
            if due > now {
                flow.expires = due;
                self.expiries.insert((due, index));
            } else {
                self.remove(index);
            }
        }
        self.sources.handle_timeout(now);
    }
}

fn bucket(rate: u64, now: Instant) -> Bucket {
    // Every session begins over the relay with a keyframe and what came after it, at full speed.
    Bucket::new(rate, rate.saturating_mul(BURST_SECONDS).max(MIN_BURST), now)
}

#[cfg(test)]
mod tests;

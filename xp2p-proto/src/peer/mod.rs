//! A member of a swarm over the network: one watched stream, shared with others.
//!
//! A [`Peer`] is driven as [`Machine`] says. It reads the origin through its driver ([`PeerEvent::OpenOrigin`],
//! [`Peer::handle_origin_tag`]) and gives the player a fresh stream of tags ([`PeerEvent::Tag`]), whoever they came from.
//!
//! * `config`, `event`: what goes in, what comes out.
//! * `filled`: pieces that the server fills in. `tracking`: the stream to the tracker. `contact`: how others reach us.
//! * `meeting`: how two members reach each other. `session`: one connection to another member. `neighbours`: all of them.
//! * `carrier`: what the scheduler and they say to each other. `outflow`: when a piece has left.
//! * `token`: what proves that a member is one. `membership`: what such a proof is worth.
//! * `batches`: digests, checked. `origin`: its tags, on their way to pieces. `player`: what is shown.
//! * `wire`: the bytes of all this. `misconduct`: what simulations make of it.
//!
//! The way to another member begins where the server sees it or, if that is of no use, through the server, as that of a viewer to
//! a camera. Nothing but the handshake goes that way: the scheduler hears of the other side only once there is a direct path, and the connection ends when there is none any
//! more.

mod batches;
mod carrier;
mod config;
pub(crate) mod contact;
mod event;
mod filled;
#[cfg(feature = "sim")]
mod fuzzing;
mod meeting;
mod membership;
#[cfg(feature = "sim")]
mod misconduct;
mod neighbours;
mod origin;
mod outflow;
mod player;
mod session;
mod token;
mod tracking;
pub(crate) mod wire;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand_chacha::ChaCha12Rng;
use rand_core::Rng;

pub use self::config::{PeerConfig, PeerError, PeerServer};
pub use self::event::{NeighbourInfo, PeerEvent, PeerStats};
#[cfg(feature = "sim")]
pub use self::fuzzing::{read_frames, reprint_handshake};
#[cfg(feature = "sim")]
pub use self::misconduct::Misconduct;
pub use self::token::{DoorTag, MembershipToken, TOKEN_LEN, TokenError};

use self::batches::Batches;
use self::contact::Contact;
use self::filled::Filled;
use self::meeting::{Meetings, nat_with_mapping};
use self::membership::Membership;
use self::neighbours::{MAX_CONNECTIONS, Neighbours};
use self::origin::Origin;
use self::outflow::Outflow;
use self::player::Player;
use self::tracking::Talk;
use crate::flv::{Item, Tag};
use crate::keys::{PublicKey, Ticket, TicketNonce};
use crate::link::{Link, LinkConfig, LinkStats};
use crate::machine::{Datagram, Machine, Transmit};
use crate::register::PEER_PRODUCT;
use crate::registration::{Registrant, Registration};
use crate::swarm::{
    Action, FromTracker, Member, MemberConfig, NatClass, PeerId, Snapshot, StreamId, ToTracker, Trust,
};

/// Application protocol between members of a swarm.
pub const PEER_ALPN: &[u8] = b"xp2p-swarm/1";
/// Close code: nothing is wrong.
pub const CLOSE_OK: u32 = 0;
/// Close code: the member leaves.
pub const CLOSE_LEAVING: u32 = 1;
/// Close code: no direct path, and media does not go through a relay.
pub const CLOSE_NO_PATH: u32 = 2;
/// Close code: the other side broke the protocol, or is not wanted.
pub const CLOSE_MISBEHAVED: u32 = 3;
/// Close code: there is another connection between the two.
pub const CLOSE_TWICE: u32 = 4;
/// Close code: the other side has not proven that it is a member, or is one no longer.
pub const CLOSE_NO_MEMBER: u32 = 5;

/// Tickets of members do not change: a fresh identity is cheap.
const EPOCH: u32 = 0;
/// How often round-trip times and memberships are looked at.
const CHECK: Duration = Duration::from_secs(1);
/// Bytes that a neighbour may have sent and we have not read: all streams that it may have open, full, and messages.
const RECEIVE_WINDOW: u32 = 1024 * 1024;
/// Most streams that a neighbour may have open: its messages, and pieces on their way.
const MAX_STREAMS: u32 = 33;
/// What a round trip to another member is taken for at first, 50 ms less than elsewhere: a lost packet among the dozen that set
/// up a direct path costs three of it, a newcomer has 800 ms in all, and few round trips are so long that what was not lost is
/// sent again.
const INITIAL_RTT: Duration = Duration::from_millis(100);
/// Paths to another member: one through the server, one that works, and some that are tried.
const MAX_PATHS: u32 = 4;
/// A neighbour that is not heard of for so long is lost, whatever the scheduler thinks.
const IDLE: Duration = Duration::from_secs(8);

/// A member of a swarm.
#[derive(Debug)]
pub struct Peer {
    config: PeerConfig,
    id: PeerId,
    link: Link,
    rng: ChaCha12Rng,
    registration: Registration,
    talk: Option<Talk>,
    membership: Membership,
    filled: Filled,
    /// When the tracker may be asked again that has ended the conversation.
    talk_after: Option<Instant>,
    member: Member<Bytes>,
    neighbours: Neighbours,
    meetings: Meetings,
    outflow: Outflow,
    batches: Batches,
    origin: Origin,
    player: Player,
    /// What the tracker has said of who signs.
    trust: Option<Trust>,
    events: VecDeque<PeerEvent>,
    next_check: Instant,
    /// What others are told of our network.
    told_nat: NatClass,
    stats: PeerStats,
    closing: bool,
    #[cfg(feature = "sim")]
    misconduct: Option<Misconduct>,
}

impl Peer {
    /// Makes a member that begins to register at its server at once.
    ///
    /// # Errors
    ///
    /// When the configuration is not allowed, or TLS refuses the key.
    pub fn new(config: PeerConfig, now: Instant) -> Result<Self, PeerError> {
        config.check()?;
        let mut link = LinkConfig::new(config.secret.clone(), config.entropy.clone());
        link.accept = vec![PEER_ALPN];
        // One more for the server, and one for the server after a change of the network.
        link.max_connections = MAX_CONNECTIONS + 2;
        link.max_relay_flows = MAX_CONNECTIONS;
        link.receive_window = RECEIVE_WINDOW;
        link.max_uni_streams = MAX_STREAMS;
        link.max_bidi_streams = 1;
        link.idle_timeout = IDLE;
        // Members have many short connections: probing each for larger packets costs more bytes than these would save.
        link.path_mtu_discovery = false;
        link.offer_early = true;
        link.bursts = true;
        link.max_paths = MAX_PATHS;
        link.initial_rtt = INITIAL_RTT;
        let link = Link::new(link).map_err(PeerError::Link)?;
        let mut rng = config.entropy.rng("peer");
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        let key = config.secret.public();
        let ticket = Ticket::new(&key, &TicketNonce::of_epoch(&config.secret, EPOCH));
        let id = PeerId::of(&key);
        let mut member = MemberConfig::new(id, seed);
        member.nat = config.nat;
        member.contact = Contact { key, ticket, addr: None }.encode();
        member.uplink = config.uplink;
        member.upload_limit = config.upload_limit;
        member.share = config.share;
        member.use_peers = config.use_peers;
        member.may_pull = config.may_pull;
        member.target = config.target;
        let mut peer = Self {
            id,
            link,
            rng,
            registration: Registration::new(0, now),
            talk: None,
            membership: Membership::default(),
            filled: Filled::default(),
            talk_after: None,
            member: Member::new(member, now),
            neighbours: Neighbours::default(),
            meetings: Meetings::default(),
            outflow: Outflow::new(config.uplink),
            batches: Batches::new(config.stream, config.signers.clone()),
            origin: Origin::new(config.tracks),
            player: Player::new(config.target),
            trust: None,
            events: VecDeque::new(),
            next_check: now + CHECK,
            told_nat: config.nat,
            stats: PeerStats::default(),
            closing: false,
            #[cfg(feature = "sim")]
            misconduct: None,
            config,
        };
        peer.turn(now);
        Ok(peer)
    }

    /// Its key.
    pub fn key(&self) -> PublicKey {
        self.config.secret.public()
    }

    /// Its name in the swarm.
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// The stream that it watches.
    pub fn stream(&self) -> StreamId {
        self.config.stream
    }

    /// Takes the next tag of the origin, and how many bytes it took on the wire.
    pub fn handle_origin_tag(&mut self, now: Instant, tag: &Tag, bytes: u64) {
        if self.origin.is_open() {
            self.origin.wire_bytes += bytes;
            self.origin.push(now, tag, &mut self.player);
            self.turn(now);
        }
    }

    /// The connection to the origin has ended, or could not be made.
    pub fn origin_closed(&mut self, now: Instant, _reason: &str) {
        if self.origin.is_open() {
            self.origin.close();
            self.member.origin_closed(now);
            self.turn(now);
        }
    }

    /// Begins or stops to pass pieces on. From a stop on, no byte of a piece is sent.
    pub fn set_sharing(&mut self, now: Instant, share: bool) {
        self.member.set_sharing(now, share);
        if self.talk.is_some() {
            // Whether a member may read the origin for others the tracker learns when it joins; a member that it has elected
            // already it replaces at once only when that one leaves.
            if !share {
                self.act(now, Action::Tracker(ToTracker::Leave));
                self.member.handle_tracker(now, FromTracker::Demote);
            }
            self.member.tracker_back(now);
        }
        self.turn(now);
    }

    /// Begins or stops to take pieces from others; without them it stays with the origin.
    pub fn set_use_peers(&mut self, now: Instant, on: bool) {
        self.member.set_use_peers(now, on);
        self.turn(now);
    }

    /// Changes the upload limit, in bit/s over any second; `None`: no limit.
    pub fn set_upload_limit(&mut self, now: Instant, limit: Option<u64>) {
        self.member.set_upload_limit(now, limit);
        self.turn(now);
    }

    /// Tells what its network lets others do, once that is known, or again later.
    pub fn set_nat(&mut self, now: Instant, nat: NatClass) {
        self.config.nat = nat;
        self.tell_nat(now);
        self.turn(now);
    }

    /// Replaces the address at which a router lets everybody in to us, which peers then try first. `None`: there is none. Whoever
    /// drives the machine asks the router (PCP, NAT-PMP, UPnP). If the server sees us at just that address, others are told that
    /// they can reach us, whatever the network does otherwise; if only the IP address is the same, that our NAT is a cone.
    pub fn set_mapped_address(&mut self, now: Instant, addr: Option<SocketAddr>) {
        self.link.set_mapped_address(now, addr);
        self.review_nat(now);
        self.turn(now);
    }

    /// The address that [`set_mapped_address`](Self::set_mapped_address) has told.
    pub fn mapped_address(&self) -> Option<SocketAddr> {
        self.link.mapped_address()
    }

    /// What our network lets others do, as far as it is known.
    fn nat(&self) -> NatClass {
        nat_with_mapping(self.config.nat, self.link.mapped_address(), self.link.observed_addresses())
    }

    fn tell_nat(&mut self, now: Instant) {
        self.told_nat = self.nat();
        self.member.set_nat(now, self.told_nat);
        if self.talk.is_some() {
            // The tracker learns it when the member joins, which it may do again.
            self.member.tracker_back(now);
        }
    }

    /// Tells it if a port that was mapped, or an address at which a server sees us, has changed it.
    fn review_nat(&mut self, now: Instant) {
        if self.nat() != self.told_nat {
            self.tell_nat(now);
        }
    }

    /// Tells the addresses of the server, once its name is resolved, or again later.
    pub fn set_server_addresses(&mut self, now: Instant, addrs: &[SocketAddr]) {
        self.config.server.addrs = addrs.to_vec();
        self.registration.hurry(now);
        self.turn(now);
    }

    /// Says goodbye to everybody. Drain the machine after it.
    pub fn leave(&mut self, now: Instant) {
        if std::mem::replace(&mut self.closing, true) {
            return;
        }
        self.member.leave(now);
        self.turn(now);
        for conn in self.neighbours.conns() {
            self.neighbours.remove(conn);
            self.link.close(now, conn, CLOSE_LEAVING, "the member leaves");
        }
        self.talk = None;
        self.registration.stop(now, &mut self.link);
        self.link.shutdown(now, CLOSE_LEAVING, "the member leaves");
    }

    /// Whether nothing is left to do after [`leave`](Self::leave).
    pub fn is_closed(&self) -> bool {
        self.closing && self.link.connections() == 0
    }

    /// What it has done so far.
    pub fn stats(&mut self) -> PeerStats {
        let link = &mut self.link;
        let present = self.neighbours.iter().map(|s| link.totals(s.conn));
        PeerStats {
            swarm: self.member.stats(),
            origin_wire_bytes: self.origin.wire_bytes,
            batches: self.batches.verified,
            bad_batches: self.batches.refused,
            unplaced_pieces: self.origin.unplaced(),
            unreadable_pieces: self.player.unreadable,
            output_skips: self.player.skips(),
            paths: present.fold(self.stats.paths, |all, some| all + some),
            ..self.stats
        }
    }

    /// How it is at this moment.
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        self.member.snapshot(now)
    }

    /// Those that it is connected to, or tries to be.
    pub fn neighbours(&mut self) -> Vec<NeighbourInfo> {
        let link = &mut self.link;
        self.neighbours
            .iter()
            .map(|s| NeighbourInfo {
                peer: s.peer,
                outgoing: s.outgoing,
                direct: s.up,
                paths: link.paths(s.conn),
                totals: link.totals(s.conn),
            })
            .collect()
    }

    /// What the link dropped and why.
    pub fn link_stats(&self) -> LinkStats {
        self.link.stats()
    }

    fn registrant(config: &mut PeerConfig) -> Registrant<'_> {
        Registrant {
            secret: &config.secret,
            epoch: EPOCH,
            product: PEER_PRODUCT,
            name: "",
            key: &mut config.server.key,
            addrs: &config.server.addrs,
            // Whom UDP does not reach has nothing to give to others, and gets all of it from the origin anyway.
            tcp: None,
            app_key: config.server.app_key.as_ref(),
            allow_transit: false,
        }
    }

    /// Lets all parts act on what is new, until there is nothing more.
    fn turn(&mut self, now: Instant) {
        loop {
            let mut idle = true;
            while let Some((conn, event)) = self.link.poll_event() {
                idle = false;
                self.handle_link_event(now, conn, event);
            }
            while let Some((info, content)) = self.origin.poll(&self.batches) {
                idle = false;
                self.member.handle_origin_piece(now, info, content);
            }
            self.origin.observe(self.trust == Some(Trust::Quorum) && self.member.reads_for_others());
            while let Some(pieces) = self.origin.observed(now) {
                self.tell_tracker(now, &ToTracker::Observed(pieces));
            }
            while let Some((to, no)) = self.outflow.left(now) {
                idle = false;
                self.member.piece_sent(now, to, no);
            }
            while let Some(candidate) = self.neighbours.next_waiting(now) {
                idle = false;
                self.connect(now, candidate);
            }
            while let Some(action) = self.member.poll_action() {
                idle = false;
                self.act(now, action);
            }
            while let Some(played) = self.member.poll_played() {
                idle = false;
                self.play(now, played);
            }
            if idle {
                break;
            }
        }
        if !self.closing {
            let registrant = Self::registrant(&mut self.config);
            self.registration.run(now, &mut self.link, &registrant, &mut self.rng);
        }
        while let Some(item) = self.player.poll() {
            self.events.push_back(match item {
                Item::Header(header) => PeerEvent::Header(header),
                Item::Tag(tag) => PeerEvent::Tag(tag),
            });
        }
    }
}

impl Machine for Peer {
    type Event = PeerEvent;

    fn handle_datagram(&mut self, now: Instant, datagram: Datagram) {
        self.link.handle_datagram(now, datagram);
        self.turn(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.link.handle_timeout(now);
        self.member.handle_timeout(now);
        self.origin.handle_timeout(now, &mut self.player);
        self.player.release(now);
        for conn in self.neighbours.late(now) {
            self.too_late(now, conn);
        }
        self.check_meetings(now);
        if !self.closing && self.next_check <= now {
            self.next_check = now + CHECK;
            self.check_round_trips();
            self.meetings.forget_knocks();
            self.check_memberships(now);
            self.review_nat(now);
        }
        if self.talk_after.is_some_and(|at| at <= now) {
            self.talk_after = None;
            self.open_talk(now);
        }
        self.turn(now);
    }

    fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<Transmit> {
        self.link.poll_transmit(now, buf)
    }

    fn poll_event(&mut self) -> Option<PeerEvent> {
        self.events.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        [
            self.link.poll_timeout(),
            self.member.poll_timeout(),
            self.origin.next(),
            self.player.next(),
            self.registration.next(self.closing),
            self.neighbours.next(),
            self.next_meeting(),
            self.outflow.next(),
            self.talk_after,
            (!self.closing).then_some(self.next_check),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn set_wall_clock(&mut self, _now: Instant, _unix: Duration) {
        // What expires here does so by the clock of the server.
    }

    fn set_local_addresses(&mut self, now: Instant, addrs: &[SocketAddr]) {
        if self.link.set_local_addresses(now, addrs) {
            self.network_changed(now);
        }
        self.turn(now);
    }
}

//! The trackers of all streams, and the streams of registered members that talk to them.
//!
//! A member is who its connection has proven to be: its [`PeerId`] follows from the key, and two keys with the same id cannot
//! both be in a swarm. Who may be in it `doors` says.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand_chacha::ChaCha12Rng;
use rand_core::Rng;

use super::config::TrackingConfig;
use super::doors::{self, Door, Doors};
use super::event::ServerEvent;
use super::filling::Filling;
use super::limits::Bucket;
use super::registrations::TrackNews;
use super::store::Store;
use crate::info::Capability;
use crate::keys::{PublicKey, SecretKey};
use crate::link::stream::{ReadEnd, WriteEnd, end, read, stop, write};
use crate::link::{ConnId, Link, LinkEvent, StreamId as QuicStream};
use crate::peer::contact::seen_at;
use crate::peer::wire::{FrameReader, Hello, MAX_SIGNERS, MAX_TO_TRACKER, Refusal, Said, Terms};
use crate::swarm::constants::MAX_BATCHES;
use crate::swarm::{
    Batch, FromTracker, PeerId, PieceNo, Quorum, StreamId, ToTracker, Tracker, TrackerConfig, Trust,
};

/// How often trackers are given the time.
const TICK: Duration = Duration::from_millis(100);
/// A stream without members is forgotten after this long.
const EMPTY: Duration = Duration::from_secs(60);
/// A signer that has said nothing for so long may have ended.
const SIGNER_SILENT: Duration = Duration::from_secs(2);
/// Bytes that are read from one member before others get their turn.
const READ_SLICE: usize = 16 * 1024;
/// Close code of a tracker stream: the member said what makes no sense, or does not listen.
const MISBEHAVED: u32 = 2;
/// Seconds worth of the message rate that may come at once.
const BURST_SECONDS: u32 = 4;

/// One stream and its tracker.
#[derive(Debug)]
struct Swarm {
    tracker: Tracker,
    members: BTreeMap<PeerId, (ConnId, PublicKey)>,
    empty_since: Option<Instant>,
    /// An address that the stream's id follows from has been told to the driver.
    url_known: bool,
}

/// One connection that talks to a tracker.
#[derive(Debug)]
struct Talk {
    peer: PublicKey,
    id: PeerId,
    quic: QuicStream,
    reader: FrameReader,
    /// Known after the hello.
    stream: Option<StreamId>,
    /// What it has shown to be let in.
    capability: Option<Capability>,
    /// When it is to get a new proof of its membership.
    renew_at: Option<Instant>,
    outbox: VecDeque<Bytes>,
    queued: usize,
    bucket: Bucket,
    filling: Filling,
}

/// Who signs a stream.
#[derive(Debug)]
struct Signer {
    trust: Trust,
    keys: Vec<PublicKey>,
    /// Its latest batches while nobody watches, and when they came: the first member can be of use at once.
    recent: VecDeque<(Instant, Arc<Batch>)>,
    /// Its newest pieces.
    store: Store,
}

/// All trackers.
#[derive(Debug)]
pub(super) struct Tracking {
    config: TrackingConfig,
    rng: ChaCha12Rng,
    doors: Doors,
    swarms: BTreeMap<StreamId, Swarm>,
    talks: BTreeMap<ConnId, Talk>,
    signers: BTreeMap<StreamId, Signer>,
    /// Those streams that nobody signs, if members may agree on them.
    quorums: BTreeMap<StreamId, Quorum>,
    /// Signs what members agree on.
    quorum_key: SecretKey,
    next_tick: Option<Instant>,
    /// When memberships are looked at.
    next_check: Option<Instant>,
    drops: u64,
    filled_bytes: u64,
}

/// What becomes of a talk after something was read.
enum Verdict {
    GoesOn,
    /// It ends in order.
    Over,
    Misbehaved,
    Refused(Refusal),
}

impl Tracking {
    pub(super) fn new(config: TrackingConfig, identity: SecretKey, rng: ChaCha12Rng) -> Self {
        Self {
            config,
            rng,
            quorum_key: identity.for_streams(),
            doors: Doors::new(identity),
            swarms: BTreeMap::new(),
            talks: BTreeMap::new(),
            signers: BTreeMap::new(),
            quorums: BTreeMap::new(),
            next_tick: None,
            next_check: None,
            drops: 0,
            filled_bytes: 0,
        }
    }

    pub(super) fn streams(&self) -> usize {
        self.swarms.len()
    }

    pub(super) fn members(&self) -> usize {
        self.swarms.values().map(|s| s.members.len()).sum()
    }

    pub(super) fn drops(&self) -> u64 {
        self.drops
    }

    pub(super) fn filled_bytes(&self) -> u64 {
        self.filled_bytes
    }

    pub(super) fn tracker(&self, stream: &StreamId) -> Option<&Tracker> {
        self.swarms.get(stream).map(|s| &s.tracker)
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.next_tick
    }

    /// Whether `stream` of `conn` is one of ours.
    pub(super) fn owns(&self, conn: ConnId, stream: QuicStream) -> bool {
        self.talks.get(&conn).is_some_and(|t| t.quic == stream || t.filling.owns(stream))
    }

    /// Says who signs `stream`; without keys nobody does any more. Returns whether there was room to remember it.
    pub(super) fn set_signer(
        &mut self,
        link: &mut Link,
        stream: StreamId,
        trust: Trust,
        keys: &[PublicKey],
    ) -> bool {
        let known = self.signers.contains_key(&stream);
        if !known && self.signers.len() >= self.config.max_streams {
            return false;
        }
        let keys: Vec<PublicKey> = keys.iter().take(MAX_SIGNERS).copied().collect();
        let (recent, store) = self.signers.remove(&stream).map(|s| (s.recent, s.store)).unwrap_or_default();
        let is_signed = !keys.is_empty();
        self.signers.insert(stream, Signer { trust, keys, recent, store });
        if is_signed {
            self.quorums.remove(&stream);
        }
        if let Some(swarm) = self.swarms.get_mut(&stream) {
            swarm.tracker.set_trust(trust);
        }
        self.tell_terms(link, stream);
        true
    }

    /// Tells all members of `stream` who signs it.
    fn tell_terms(&mut self, link: &mut Link, stream: StreamId) {
        let terms = Said::Terms(self.terms(&stream)).encode();
        let members = self.swarms.get(&stream).into_iter().flat_map(|s| s.members.values());
        let conns: Vec<ConnId> = members.map(|(conn, _)| *conn).collect();
        conns.into_iter().for_each(|conn| self.say(link, conn, terms.clone()));
    }

    /// Forgets who signs `stream`.
    pub(super) fn forget_signer(&mut self, link: &mut Link, stream: StreamId) {
        let trust = self.config.trust;
        if self.set_signer(link, stream, trust, &[]) {
            self.signers.remove(&stream);
        }
    }

    /// Says who may be a member of `stream`. Returns false if there is no room to remember it.
    pub(super) fn set_door(
        &mut self,
        now: Instant,
        link: &mut Link,
        stream: StreamId,
        door: Option<Door>,
    ) -> bool {
        let Some(changed) = self.doors.set(stream, door) else { return false };
        if changed {
            self.review(now, link, |talk| talk.stream == Some(stream));
        }
        true
    }

    /// Takes in what the clock shows.
    pub(super) fn set_wall_clock(&mut self, now: Instant, link: &mut Link, unix: Duration) {
        if self.doors.set_clock(now, unix) {
            self.review(now, link, |talk| talk.stream.is_some());
        }
    }

    /// Looks at members as if they came now: they get a new proof, or have to go.
    fn review(&mut self, now: Instant, link: &mut Link, which: impl Fn(&Talk) -> bool) {
        let conns: Vec<ConnId> = self.talks.iter().filter(|(_, t)| which(t)).map(|(c, _)| *c).collect();
        for conn in conns {
            let Some((talk, stream)) = self.talks.get(&conn).and_then(|t| Some((t, t.stream?))) else {
                continue;
            };
            match self.doors.admit(now, &stream, talk.capability.as_ref()) {
                Ok(()) => self.grant(now, link, conn),
                Err(refusal) => self.refuse(now, link, conn, refusal),
            }
        }
    }

    /// Gives the member of `conn` a proof that it is one.
    fn grant(&mut self, now: Instant, link: &mut Link, conn: ConnId) {
        let Some(talk) = self.talks.get_mut(&conn) else { return };
        let Some(stream) = talk.stream else { return };
        let said = self.doors.membership(now, &stream, &talk.peer, talk.capability.as_ref());
        // Before the time is known there is none; then all get theirs.
        talk.renew_at = said.as_ref().map(|_| now + doors::RENEW);
        if let Some(said) = said {
            self.say(link, conn, said.encode());
        }
    }

    /// Renews proofs, and ends the membership of those whose capability has expired.
    fn check_memberships(&mut self, now: Instant, link: &mut Link) {
        if self.next_check.is_some_and(|at| at > now) {
            return;
        }
        self.next_check = Some(now + doors::CHECK);
        let mut expired = Vec::new();
        let mut due = Vec::new();
        for (conn, talk) in &self.talks {
            let Some(stream) = &talk.stream else { continue };
            if talk.capability.as_ref().is_some_and(|c| self.doors.is_expired(now, stream, c)) {
                expired.push(*conn);
            } else if talk.renew_at.is_some_and(|at| at <= now) {
                due.push(*conn);
            }
        }
        expired.into_iter().for_each(|conn| self.refuse(now, link, conn, Refusal::WrongCapability));
        due.into_iter().for_each(|conn| self.grant(now, link, conn));
    }

    fn terms(&self, stream: &StreamId) -> Terms {
        match (self.signers.get(stream), self.quorums.get(stream)) {
            (Some(signer), _) => Terms { trust: signer.trust, keys: signer.keys.clone() },
            (None, Some(quorum)) => Terms { trust: Trust::Quorum, keys: vec![quorum.key()] },
            (None, None) => Terms { trust: self.config.trust, keys: Vec::new() },
        }
    }

    /// Takes in a digest batch of a signer.
    pub(super) fn handle_batch(
        &mut self,
        now: Instant,
        link: &mut Link,
        stream: StreamId,
        batch: Arc<Batch>,
    ) {
        if let Some(swarm) = self.swarms.get_mut(&stream) {
            swarm.tracker.handle_batch(now, batch);
            self.flush(now, link, stream);
        } else if let Some(signer) = self.signers.get_mut(&stream) {
            if signer.recent.len() >= MAX_BATCHES {
                signer.recent.pop_front();
            }
            signer.recent.push_back((now, batch));
        }
    }

    /// Keeps a piece of a signer.
    pub(super) fn handle_piece(&mut self, now: Instant, stream: StreamId, no: PieceNo, content: Bytes) {
        if let Some(signer) = self.signers.get_mut(&stream) {
            signer.store.push(now, no, content);
        }
    }

    /// Follows what happened to the connections of members.
    pub(super) fn handle_news(
        &mut self,
        now: Instant,
        link: &mut Link,
        news: TrackNews,
        events: &mut VecDeque<ServerEvent>,
    ) {
        match news {
            TrackNews::Opened { conn, peer, stream } => {
                if self.talks.contains_key(&conn) {
                    // One swarm for each connection.
                    if let Some(quic) = link.quic(conn) {
                        stop(quic, stream, MISBEHAVED);
                        end(quic, stream, Some(MISBEHAVED));
                    }
                    return;
                }
                let rate = u64::from(self.config.message_rate);
                let talk = Talk {
                    peer,
                    id: PeerId::of(&peer),
                    quic: stream,
                    reader: FrameReader::new(MAX_TO_TRACKER),
                    stream: None,
                    capability: None,
                    renew_at: None,
                    outbox: VecDeque::new(),
                    queued: 0,
                    bucket: Bucket::new(rate, rate * u64::from(BURST_SECONDS), now),
                    filling: Filling::default(),
                };
                self.talks.insert(conn, talk);
                self.receive(now, link, conn, events);
            }
            TrackNews::Gone(conn) => self.forget(now, link, conn),
        }
    }

    /// Handles what happens on a stream of ours.
    pub(super) fn handle(
        &mut self,
        now: Instant,
        link: &mut Link,
        conn: ConnId,
        event: LinkEvent,
        events: &mut VecDeque<ServerEvent>,
    ) {
        let (LinkEvent::Writable(stream) | LinkEvent::Finished(stream) | LinkEvent::Stopped(stream, _)) =
            event
        else {
            return self.receive(now, link, conn, events);
        };
        if let Some(talk) = self.talks.get_mut(&conn).filter(|t| t.filling.owns(stream)) {
            match event {
                LinkEvent::Writable(_) => talk.filling.writable(link, conn, stream),
                LinkEvent::Stopped(..) => talk.filling.done(link, conn, stream, true),
                _ => talk.filling.done(link, conn, stream, false),
            }
            self.filled_bytes += talk.filling.take_bytes();
            return;
        }
        match event {
            LinkEvent::Writable(_) => self.pump(now, link, conn),
            LinkEvent::Stopped(..) => self.forget(now, link, conn),
            _ => {}
        }
    }

    /// A member takes more streams.
    pub(super) fn available(&mut self, link: &mut Link, conn: ConnId) {
        if let Some(talk) = self.talks.get_mut(&conn) {
            talk.filling.pump(link, conn);
            self.filled_bytes += talk.filling.take_bytes();
        }
    }

    /// Sends the pieces that the tracker lets a member have, as far as they are here.
    fn fill(&mut self, link: &mut Link, conn: ConnId, stream: &StreamId, from: PieceNo, to: PieceNo) {
        if let (Some(talk), Some(signer)) = (self.talks.get_mut(&conn), self.signers.get(stream)) {
            talk.filling.send(link, conn, signer.store.range(from, to));
            self.filled_bytes += talk.filling.take_bytes();
        }
    }

    /// The member of `conn` is gone.
    fn forget(&mut self, now: Instant, link: &mut Link, conn: ConnId) {
        let Some(talk) = self.talks.remove(&conn) else { return };
        let Some(stream) = talk.stream else { return };
        let Some(swarm) = self.swarms.get_mut(&stream) else { return };
        // It may have come back on another connection before this one was missed.
        if swarm.members.get(&talk.id).is_some_and(|(c, _)| *c == conn) {
            swarm.members.remove(&talk.id);
            swarm.tracker.lost(now, talk.id);
            if swarm.members.is_empty() {
                swarm.empty_since = Some(now);
            }
            self.flush(now, link, stream);
        }
    }

    fn finish(&mut self, now: Instant, link: &mut Link, conn: ConnId, code: Option<u32>) {
        if let Some(talk) = self.talks.get(&conn)
            && let Some(quic) = link.quic(conn)
        {
            end(quic, talk.quic, code);
            stop(quic, talk.quic, code.unwrap_or(0));
        }
        self.forget(now, link, conn);
    }

    /// Says why a member is none, or none any more.
    fn refuse(&mut self, now: Instant, link: &mut Link, conn: ConnId, refusal: Refusal) {
        self.say(link, conn, Said::Refusal(refusal).encode());
        self.finish(now, link, conn, None);
    }

    fn receive(&mut self, now: Instant, link: &mut Link, conn: ConnId, events: &mut VecDeque<ServerEvent>) {
        let verdict = loop {
            let Some(talk) = self.talks.get_mut(&conn) else { return };
            let Some(quic) = link.quic(conn) else { return };
            let reader = &mut talk.reader;
            let ended = read(quic, talk.quic, READ_SLICE, |data| reader.push(&data));
            let verdict = self.handle_frames(now, link, conn, events);
            match (verdict, ended) {
                (Verdict::GoesOn, ReadEnd::Limit) => {}
                (Verdict::GoesOn, ReadEnd::Blocked) => return,
                (Verdict::GoesOn, _) => break Verdict::Over,
                (verdict, _) => break verdict,
            }
        };
        match verdict {
            Verdict::GoesOn => {}
            Verdict::Over => self.finish(now, link, conn, None),
            Verdict::Misbehaved => {
                self.drops += 1;
                self.finish(now, link, conn, Some(MISBEHAVED));
            }
            Verdict::Refused(refusal) => self.refuse(now, link, conn, refusal),
        }
    }

    fn handle_frames(
        &mut self,
        now: Instant,
        link: &mut Link,
        conn: ConnId,
        events: &mut VecDeque<ServerEvent>,
    ) -> Verdict {
        loop {
            let Some(talk) = self.talks.get_mut(&conn) else { return Verdict::GoesOn };
            let frame = match talk.reader.next() {
                Ok(Some(frame)) => frame,
                Ok(None) => return Verdict::GoesOn,
                Err(_) => return Verdict::Misbehaved,
            };
            let Some(stream) = talk.stream else {
                let Ok(hello) = Hello::parse(&frame) else { return Verdict::Misbehaved };
                if let Err(refusal) = self.enter(now, link, conn, &hello, events) {
                    return Verdict::Refused(refusal);
                }
                continue;
            };
            let id = talk.id;
            if !talk.bucket.take(now, 1) {
                self.drops += 1;
                continue;
            }
            let Ok(mut message) = ToTracker::parse(&frame) else { return Verdict::Misbehaved };
            let Some(addr) = link.seen_address(conn) else { return Verdict::Over };
            if let ToTracker::Join { contact, .. } = &mut message {
                *contact = seen_at(contact, addr);
            }
            if let Some(swarm) = self.swarms.get_mut(&stream) {
                if let (ToTracker::Observed(pieces), Some(quorum)) = (&message, self.quorums.get_mut(&stream))
                    && swarm.tracker.is_puller(id)
                {
                    quorum.observe(now, id, region(addr), pieces);
                    pass_agreed(now, quorum, &mut swarm.tracker);
                }
                let joins = matches!(message, ToTracker::Join { .. });
                swarm.tracker.handle(now, id, region(addr), message);
                if let Some(rtt) = joins.then(|| link.rtt(conn)).flatten() {
                    swarm.tracker.set_rtt(id, rtt);
                }
                self.flush(now, link, stream);
            }
        }
    }

    /// A member says which stream it is about.
    fn enter(
        &mut self,
        now: Instant,
        link: &mut Link,
        conn: ConnId,
        hello: &Hello,
        events: &mut VecDeque<ServerEvent>,
    ) -> Result<(), Refusal> {
        let Some(talk) = self.talks.get_mut(&conn) else { return Ok(()) };
        let stream = hello.stream;
        let url = StreamId::of_url(&hello.url).is_ok_and(|id| id == stream).then(|| hello.url.clone());
        if self.config.max_streams == 0 {
            return Err(Refusal::NoTracker);
        }
        self.doors.admit(now, &stream, hello.capability.as_ref())?;
        let known = self.swarms.contains_key(&stream);
        if !known && self.swarms.len() >= self.config.max_streams {
            return Err(Refusal::Full);
        }
        let (config, rng, signers) = (&self.config, &mut self.rng, &mut self.signers);
        if config.quorum
            && !known
            && !signers.contains_key(&stream)
            && let Some(unix) = self.doors.unix(now)
        {
            // Larger than what was signed before the last start.
            let chain = u64::try_from(unix.as_millis()).unwrap_or(u64::MAX);
            let new = || Quorum::new(self.quorum_key.clone(), stream, chain);
            self.quorums.entry(stream).or_insert_with(new);
        }
        let unsigned = if self.quorums.contains_key(&stream) { Trust::Quorum } else { config.trust };
        let trust = signers.get(&stream).map_or(unsigned, |s| s.trust);
        let swarm = self.swarms.entry(stream).or_insert_with(|| {
            let mut seed = [0; 32];
            rng.fill_bytes(&mut seed);
            let mut config_of_tracker = TrackerConfig::new(seed, trust);
            config_of_tracker.max_members = config.max_members;
            let recent = signers.get_mut(&stream).map(|s| std::mem::take(&mut s.recent)).unwrap_or_default();
            let lives =
                recent.back().is_some_and(|(at, _)| now.saturating_duration_since(*at) < SIGNER_SILENT);
            let recent = if lives { recent } else { VecDeque::new() };
            let mut tracker = Tracker::new(config_of_tracker, recent.front().map_or(now, |(at, _)| *at));
            recent.into_iter().for_each(|(at, batch)| tracker.handle_batch(at, batch));
            Swarm { tracker, members: BTreeMap::new(), empty_since: Some(now), url_known: false }
        });
        match swarm.members.get(&talk.id) {
            Some((_, key)) if *key != talk.peer => return Err(Refusal::Collision),
            None if swarm.members.len() >= config.max_members => return Err(Refusal::Full),
            _ => {}
        }
        swarm.members.insert(talk.id, (conn, talk.peer));
        swarm.empty_since = None;
        talk.stream = Some(stream);
        talk.capability = hello.capability.clone();
        if !known || (url.is_some() && !swarm.url_known) {
            swarm.url_known = url.is_some();
            events.push_back(ServerEvent::StreamWanted { stream, url });
        }
        self.next_tick.get_or_insert(now + TICK);
        let terms = Said::Terms(self.terms(&stream)).encode();
        self.say(link, conn, terms);
        self.grant(now, link, conn);
        Ok(())
    }

    /// Gives the trackers the time, and forgets streams that nobody watches.
    pub(super) fn handle_timeout(
        &mut self,
        now: Instant,
        link: &mut Link,
        events: &mut VecDeque<ServerEvent>,
    ) {
        if self.next_tick.is_none_or(|at| at > now) {
            return;
        }
        let streams: Vec<StreamId> = self.swarms.keys().copied().collect();
        for stream in streams {
            let Some(swarm) = self.swarms.get_mut(&stream) else { continue };
            if swarm.empty_since.is_some_and(|at| now.saturating_duration_since(at) >= EMPTY) {
                self.swarms.remove(&stream);
                self.quorums.remove(&stream);
                events.push_back(ServerEvent::StreamUnwanted { stream });
                continue;
            }
            swarm.tracker.handle_timeout(now);
            if let Some(quorum) = self.quorums.get_mut(&stream) {
                let here = |peer: &PeerId| swarm.tracker.is_puller(*peer);
                quorum.keep(here);
                for liar in quorum.review(now) {
                    quorum.lost(liar);
                    swarm.tracker.distrust(now, liar);
                }
                swarm.tracker.set_disagreement(quorum.wants_another(now));
                pass_agreed(now, quorum, &mut swarm.tracker);
            }
            self.flush(now, link, stream);
        }
        self.check_memberships(now, link);
        self.next_tick = (!self.swarms.is_empty()).then(|| now + TICK);
    }

    /// Sends what the tracker of `stream` has to say.
    fn flush(&mut self, now: Instant, link: &mut Link, stream: StreamId) {
        let mut deaf = Vec::new();
        while let Some(swarm) = self.swarms.get_mut(&stream)
            && let Some((peer, message)) = swarm.tracker.poll_action()
        {
            let Some(&(conn, _)) = swarm.members.get(&peer) else { continue };
            if !self.tell(link, conn, &message) && !deaf.contains(&conn) {
                deaf.push(conn);
            }
            if let FromTracker::Fill { from, to } = message {
                self.fill(link, conn, &stream, from, to);
            }
        }
        for conn in deaf {
            self.finish(now, link, conn, Some(MISBEHAVED));
        }
    }

    /// Returns false if too much waits for the member already.
    fn tell(&mut self, link: &mut Link, conn: ConnId, message: &FromTracker) -> bool {
        let mut body = Vec::with_capacity(64);
        message.encode(&mut body);
        self.say(link, conn, Said::Message(body.into()).encode());
        self.talks.get(&conn).is_none_or(|t| t.queued <= self.config.max_queued)
    }

    fn say(&mut self, link: &mut Link, conn: ConnId, frame: Bytes) {
        let Some(talk) = self.talks.get_mut(&conn) else { return };
        if talk.queued > self.config.max_queued {
            self.drops += 1;
            return;
        }
        talk.queued += frame.len();
        talk.outbox.push_back(frame);
        talk.pump(link, conn);
    }

    fn pump(&mut self, now: Instant, link: &mut Link, conn: ConnId) {
        let gone = self.talks.get_mut(&conn).is_some_and(|t| t.pump(link, conn) == WriteEnd::Stopped);
        if gone {
            self.forget(now, link, conn);
        }
    }
}

impl Talk {
    /// Writes what the connection takes.
    fn pump(&mut self, link: &mut Link, conn: ConnId) -> WriteEnd {
        let Some(quic) = link.quic(conn) else { return WriteEnd::Stopped };
        while let Some(first) = self.outbox.front_mut() {
            let mut chunk = [std::mem::take(first)];
            let (written, end) = write(quic, self.quic, &mut chunk);
            self.queued = self.queued.saturating_sub(written);
            let [rest] = chunk;
            if end != WriteEnd::Done {
                *first = rest;
                return end;
            }
            self.outbox.pop_front();
        }
        WriteEnd::Done
    }
}

/// Gives the tracker what members have agreed on.
fn pass_agreed(now: Instant, quorum: &mut Quorum, tracker: &mut Tracker) {
    while let Some(batch) = quorum.poll(now) {
        tracker.handle_batch(now, batch);
    }
}

/// The group of networks that an address belongs to: near enough, and no more than that is kept.
fn region(addr: SocketAddr) -> u32 {
    match addr.ip().to_canonical() {
        IpAddr::V4(ip) => ip.to_bits() >> 16,
        // The upper 32 bits: what a registry gives to a provider.
        IpAddr::V6(ip) => (ip.to_bits() >> 96) as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_a_group_of_networks() {
        let of = |text: &str| region(text.parse().expect("an address"));
        assert_eq!(of("198.51.100.7:1"), of("198.51.7.9:2"));
        assert_ne!(of("198.51.100.7:1"), of("198.52.100.7:1"));
        assert_eq!(of("[::ffff:198.51.100.7]:1"), of("198.51.1.1:1"));
        assert_eq!(of("[2001:db8:1::1]:1"), of("[2001:db8:2::1]:1"));
        assert_ne!(of("[2001:db8::1]:1"), of("[2001:db9::1]:1"));
    }
}

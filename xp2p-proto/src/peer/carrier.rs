//! Between the scheduler and the network: who said what, and what is to be done.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::batches::Checked;
use super::neighbours::{Keep, Neighbours};
use super::session::{Heard, Session};
use super::tracking::Talk;
use super::wire::{Hello, Said, Terms};
use super::{
    CLOSE_LEAVING, CLOSE_MISBEHAVED, CLOSE_NO_PATH, CLOSE_OK, CLOSE_TWICE, PEER_ALPN, Peer, PeerEvent,
};
use crate::keys::PublicKey;
use crate::link::{ConnId, Dir, LinkEvent, LostReason, PathKind};
use crate::registration::RegistrationNews;
use crate::swarm::codec::{Parsed, ParsedFromTracker};
use crate::swarm::{Action, Batch, FromTracker, Message, PeerId, Played, ToTracker, Trust};

/// A tracker that has ended the conversation is asked again after this long.
const TALK_PAUSE: Duration = Duration::from_secs(2);
/// One that does not want us is asked again after this long.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);

impl Peer {
    /// What the scheduler wants done.
    pub(super) fn act(&mut self, now: Instant, action: Action<Bytes>) {
        match action {
            Action::Send { to, message } => {
                let Some(session) = self.neighbours.up(to) else { return };
                let conn = session.conn;
                if !session.say(&mut self.link, &message) {
                    self.end(now, conn, CLOSE_OK, "it does not listen");
                }
            }
            Action::SendPiece { to, head, payload } => {
                #[cfg(feature = "sim")]
                let Some(payload) = self.tamper(payload) else {
                    self.member.piece_sent(now, to, head.no);
                    return;
                };
                let (session, len) = (self.neighbours.up(to), payload.len());
                if session.is_some_and(|s| s.send_piece(&mut self.link, head, payload)) {
                    self.outflow.set_rate(self.member.piece_rate());
                    self.outflow.sent(now, to, head.no, len);
                } else {
                    self.member.piece_sent(now, to, head.no);
                }
            }
            Action::CancelPiece { to, no } => {
                if let Some(session) = self.neighbours.up(to) {
                    session.cancel_piece(&mut self.link, no);
                }
                self.outflow.cancelled(to, no);
                self.member.piece_sent(now, to, no);
            }
            Action::Tracker(message) => self.tell_tracker(now, &message),
            Action::Connect(candidate) => self.neighbours.wait(candidate),
            Action::Disconnect { peer } => {
                if let Some(session) = self.neighbours.of(peer) {
                    let conn = session.conn;
                    self.forget(conn, "it is not needed");
                    self.link.close(now, conn, CLOSE_OK, "goodbye");
                }
            }
            Action::OpenOrigin => {
                self.origin.open(now, &self.batches, self.player.tracks());
                self.events.push_back(PeerEvent::OpenOrigin);
            }
            Action::CloseOrigin => {
                self.origin.close();
                self.events.push_back(PeerEvent::CloseOrigin);
            }
        }
    }

    /// What the scheduler gives to the player.
    pub(super) fn play(&mut self, now: Instant, played: Played<Bytes>) {
        match played {
            Played::Piece { info, payload } => {
                let clock = self.batches.clock(info.no);
                self.player.piece(now, clock, &info, &payload);
            }
            // The reader sees by the numbers that some are missing.
            Played::Skip => {}
        }
    }

    // ----- Others.

    /// Ends a connection of ours; the scheduler is told.
    pub(super) fn end(&mut self, now: Instant, conn: ConnId, code: u32, reason: &str) {
        self.link_totals(conn);
        self.link.close(now, conn, code, reason);
        self.lost(now, conn, reason);
    }

    /// A connection is gone; the scheduler is told.
    fn lost(&mut self, now: Instant, conn: ConnId, reason: &str) {
        let Some(session) = self.neighbours.remove(conn) else { return };
        let peer = session.peer;
        self.outflow.forget(peer);
        if session.up {
            self.events.push_back(PeerEvent::NeighbourGone { peer, reason: reason.to_owned() });
            self.member.peer_lost(now, peer);
        } else if session.wanted {
            self.stats.unreachable += 1;
            self.member.connect_failed(now, peer);
        }
    }

    /// Forgets a connection that the scheduler has forgotten already.
    fn forget(&mut self, conn: ConnId, reason: &str) {
        self.link_totals(conn);
        let Some(session) = self.neighbours.remove(conn) else { return };
        self.outflow.forget(session.peer);
        if session.up {
            self.events.push_back(PeerEvent::NeighbourGone { peer: session.peer, reason: reason.to_owned() });
        }
    }

    /// Keeps the byte counts of a connection that is about to go.
    fn link_totals(&mut self, conn: ConnId) {
        if self.neighbours.get_mut(conn).is_some() {
            self.stats.paths = self.stats.paths + self.link.totals(conn);
        }
    }

    /// Somebody broke the protocol, or sent what nobody has signed.
    fn ban(&mut self, now: Instant, conn: ConnId, reason: &str) {
        self.ban_with(now, conn, CLOSE_MISBEHAVED, reason);
    }

    /// The same with another close code.
    pub(super) fn ban_with(&mut self, now: Instant, conn: ConnId, code: u32, reason: &str) {
        if let Some(session) = self.neighbours.get_mut(conn) {
            let peer = session.peer;
            self.stats.banned += 1;
            self.neighbours.ban(peer);
            self.end(now, conn, code, reason);
        }
    }

    /// Handles what happens on a connection.
    pub(super) fn handle_link_event(&mut self, now: Instant, conn: ConnId, event: LinkEvent) {
        if self.handle_talk_event(now, conn, &event) || self.handle_filled(now, conn, &event) {
            return;
        }
        if self.registration.owns(conn) {
            let mut registrant = Self::registrant(&mut self.config);
            let news = self.registration.handle(now, &mut self.link, &mut registrant, &mut self.rng, event);
            news.into_iter().for_each(|n| self.registration_news(now, n));
            // The tracker hears of us as soon as it may, without a round trip for the registration in between.
            if self.talk.is_none() && self.talk_after.is_none() {
                self.open_talk(now);
            }
            return;
        }
        match event {
            LinkEvent::Connected { peer, alpn } => self.connected(now, conn, peer, &alpn),
            LinkEvent::Lost(LostReason::Closed { code, .. }) if code == u64::from(CLOSE_TWICE) => {
                // The other one of the two is on its way; the scheduler waits for that.
                if let Some(session) = self.neighbours.get_mut(conn) {
                    session.wanted = false;
                }
                self.link_totals(conn);
                self.lost(now, conn, "there is another connection");
            }
            LinkEvent::Lost(reason) => {
                self.link_totals(conn);
                self.lost(now, conn, &words(&reason));
            }
            LinkEvent::Path(PathKind::Direct) => self.direct(now, conn),
            LinkEvent::Path(PathKind::Relay | PathKind::RelayTcp) | LinkEvent::DirectLost => {
                // A connection begins with the relay. One that falls back to it ends before a byte of a piece goes that way.
                if self.neighbours.get_mut(conn).is_some_and(|s| s.is_direct()) {
                    self.end(now, conn, CLOSE_NO_PATH, "the direct path is gone");
                }
            }
            LinkEvent::RelayRefused(reason) => {
                if self.neighbours.get_mut(conn).is_some_and(|s| !s.is_direct()) {
                    self.end(now, conn, CLOSE_NO_PATH, &format!("the server refuses: {reason:?}"));
                }
            }
            event => self.handle_stream_event(now, conn, event),
        }
    }

    fn handle_stream_event(&mut self, now: Instant, conn: ConnId, event: LinkEvent) {
        let Some(session) = self.neighbours.get_mut(conn) else { return };
        let mut heard = Vec::new();
        match event {
            LinkEvent::Opened(Dir::Uni) => heard = session.accept(now, &mut self.link),
            LinkEvent::Opened(Dir::Bi) => session.refuse_bidi(&mut self.link),
            LinkEvent::Readable(stream) => session.read(now, &mut self.link, stream, &mut heard),
            LinkEvent::Writable(_) => session.writable(&mut self.link),
            LinkEvent::Finished(stream) => heard.extend(session.sent(&mut self.link, stream, false)),
            LinkEvent::Stopped(stream, _) => heard.extend(session.sent(&mut self.link, stream, true)),
            LinkEvent::Available(Dir::Uni) => session.available(&mut self.link),
            _ => {}
        }
        self.heard(now, conn, heard);
    }

    /// A handshake is complete.
    fn connected(&mut self, now: Instant, conn: ConnId, key: PublicKey, alpn: &Bytes) {
        if let Some(session) = self.neighbours.get_mut(conn) {
            session.handshaking = false;
            self.present(conn, key);
            return;
        }
        let peer = PeerId::of(&key);
        let mut session = Session::new(conn, peer, false, self.config.stream, now);
        if let Some((candidate, wanted)) = self.meetings.arrived(peer) {
            session.nat = candidate.nat;
            session.wanted = wanted;
        }
        if alpn.as_ref() != PEER_ALPN || peer == self.id || self.neighbours.is_banned(peer) {
            self.link.close(now, conn, CLOSE_MISBEHAVED, "not wanted");
            return;
        }
        if self.closing {
            self.link.close(now, conn, CLOSE_LEAVING, "the member leaves");
            return;
        }
        if let Some(old) = self.neighbours.of(peer) {
            if Neighbours::keep(self.id, old, now) == Keep::Old {
                self.link.close(now, conn, CLOSE_TWICE, "there is another connection");
                return;
            }
            let (old, up) = (old.conn, old.up);
            if up {
                self.end(now, old, CLOSE_TWICE, "there is another connection");
            } else if let Some(old) = self.neighbours.remove(old) {
                session.nat = old.nat;
                session.wanted |= old.wanted;
                self.stats.paths = self.stats.paths + self.link.totals(old.conn);
                self.link.close(now, old.conn, CLOSE_TWICE, "there is another connection");
            }
        }
        if !self.neighbours.has_room() {
            self.stats.refused_connections += 1;
            self.link.close(now, conn, CLOSE_OK, "no room");
            return;
        }
        self.neighbours.insert(session);
        self.present(conn, key);
        self.link.seek_direct(now, conn);
    }

    /// A direct path works.
    fn direct(&mut self, now: Instant, conn: ConnId) {
        let Some(session) = self.neighbours.get_mut(conn).filter(|s| !s.is_direct()) else { return };
        self.stats.direct += 1;
        session.reached(now);
        self.open(now, conn);
    }

    /// What another member has said.
    pub(super) fn heard(&mut self, now: Instant, conn: ConnId, heard: Vec<Heard>) {
        let Some(peer) = self.neighbours.get_mut(conn).map(|s| s.peer) else { return };
        for heard in heard {
            match heard {
                Heard::Token(token) => {
                    if !self.shown(now, conn, token) {
                        return;
                    }
                }
                Heard::Message(Parsed::Message(message)) => self.member.handle_message(now, peer, message),
                Heard::Message(Parsed::Batch(raw)) => match self.batches.check(now, &raw) {
                    Checked::New(batch) => {
                        self.member.handle_message(now, peer, Message::Batch(batch.clone()));
                        self.origin.batch(now, &batch, &mut self.player);
                    }
                    Checked::Known(batch) => {
                        self.member.handle_message(now, peer, Message::Batch(batch));
                    }
                    Checked::Useless => {}
                    Checked::Bad => {
                        self.ban(now, conn, "a digest batch that nobody signed");
                        return;
                    }
                },
                Heard::Piece(head, content) => self.member.handle_piece(now, peer, head, content),
                Heard::Sent(no) => {
                    if self.outflow.acknowledged(peer, no) {
                        self.member.piece_sent(now, peer, no);
                    }
                }
                Heard::Fault(fault) => {
                    self.ban(now, conn, fault);
                    return;
                }
            }
        }
    }

    pub(super) fn check_round_trips(&mut self) {
        let up: Vec<(ConnId, PeerId)> =
            self.neighbours.iter().filter(|s| s.up).map(|s| (s.conn, s.peer)).collect();
        for (conn, peer) in up {
            if let Some(rtt) = self.link.rtt(conn) {
                self.member.set_rtt(peer, rtt);
            }
        }
    }

    // ----- Server and tracker.

    fn registration_news(&mut self, now: Instant, news: RegistrationNews) {
        match news {
            RegistrationNews::ServerKey { key, .. } => self.events.push_back(PeerEvent::ServerKey { key }),
            RegistrationNews::Registered { observed, .. } => {
                self.events.push_back(PeerEvent::Registered { observed });
                self.review_nat(now);
                self.open_talk(now);
            }
            RegistrationNews::Lost { reason, .. } => {
                self.end_talk(now);
                self.events.push_back(PeerEvent::ServerLost { reason });
            }
            RegistrationNews::Refused { reason, .. } => {
                self.end_talk(now);
                self.events.push_back(PeerEvent::RegistrationRefused { reason });
            }
        }
    }

    pub(super) fn open_talk(&mut self, now: Instant) {
        let Some(conn) = self.registration.connected().filter(|_| !self.closing) else { return };
        if self.talk.as_ref().is_some_and(|t| t.conn == conn && !t.deaf) {
            return;
        }
        self.end_talk(now);
        self.talk_after = None;
        let hello = Hello {
            stream: self.config.stream,
            capability: self.config.capability.clone(),
            url: self.config.url.clone(),
        };
        self.talk = Talk::open(&mut self.link, conn, &hello);
        if self.talk.is_some() {
            self.member.tracker_back(now);
        } else {
            self.talk_after = Some(now + TALK_PAUSE);
        }
    }

    /// The conversation with the tracker is over, for now.
    fn end_talk(&mut self, now: Instant) {
        if self.talk.take().is_some() {
            self.filled.clear();
            self.membership.tracker_lost();
            self.member.tracker_lost(now);
        }
    }

    pub(super) fn tell_tracker(&mut self, now: Instant, message: &ToTracker) {
        let told = self.talk.as_mut().map(|talk| talk.say(&mut self.link, message));
        match told {
            Some(true) => {}
            // When it can be reached again, the member joins again.
            None => self.stats.tracker_drops += 1,
            Some(false) => {
                self.stats.tracker_drops += 1;
                if let Some(talk) = &self.talk {
                    talk.close(&mut self.link);
                }
                self.end_talk(now);
                self.talk_after = Some(now + TALK_PAUSE);
            }
        }
    }

    /// Handles an event if it is of the stream to the tracker.
    fn handle_talk_event(&mut self, now: Instant, conn: ConnId, event: &LinkEvent) -> bool {
        let Some(talk) = &mut self.talk else { return false };
        let (LinkEvent::Readable(stream) | LinkEvent::Writable(stream) | LinkEvent::Stopped(stream, _)) =
            *event
        else {
            return false;
        };
        if !talk.owns(conn, stream) {
            return false;
        }
        match event {
            LinkEvent::Readable(_) => {
                let read = talk.read(&mut self.link);
                self.stats.bad_tracker_messages += read.bad;
                read.said.into_iter().for_each(|said| self.tracker_said(now, said));
                if read.over {
                    self.end_talk(now);
                    self.talk_after.get_or_insert(now + TALK_PAUSE);
                }
            }
            LinkEvent::Writable(_) => {
                talk.pump(&mut self.link);
            }
            _ => {
                talk.deaf = true;
                self.talk_after.get_or_insert(now + TALK_PAUSE);
            }
        }
        true
    }

    /// Handles an event if it is of pieces that the server sends.
    fn handle_filled(&mut self, now: Instant, conn: ConnId, event: &LinkEvent) -> bool {
        if self.talk.as_ref().is_none_or(|t| t.conn != conn) {
            return false;
        }
        let pieces = match *event {
            LinkEvent::Opened(Dir::Uni) => self.filled.accept(&mut self.link, conn),
            LinkEvent::Readable(stream) if self.filled.owns(stream) => {
                self.filled.read(&mut self.link, conn, stream).into_iter().collect()
            }
            _ => return false,
        };
        pieces.into_iter().for_each(|(no, content)| self.member.handle_filled_piece(now, no, content));
        true
    }

    fn tracker_said(&mut self, now: Instant, said: Said) {
        match said {
            Said::Terms(terms) => self.take_terms(now, terms),
            Said::Membership { unix, token } => self.granted(now, unix, token),
            Said::Refusal(refusal) => {
                if let Some(talk) = &self.talk {
                    talk.close(&mut self.link);
                }
                self.events.push_back(PeerEvent::TrackerRefused { reason: refusal.text().to_owned() });
                self.end_talk(now);
                self.talk_after = Some(now + REFUSED_PAUSE);
            }
            Said::Message(bytes) => match ParsedFromTracker::parse(&bytes) {
                Ok(ParsedFromTracker::Message(FromTracker::Meet { begin, candidate })) => {
                    self.meet(now, begin, candidate);
                }
                Ok(ParsedFromTracker::Message(message)) => self.member.handle_tracker(now, message),
                Ok(ParsedFromTracker::Batch(raw)) => match self.batches.check(now, &raw) {
                    Checked::New(batch) => self.tracker_batch(now, batch),
                    Checked::Known(batch) => self.member.handle_tracker(now, FromTracker::Batch(batch)),
                    Checked::Useless | Checked::Bad => {}
                },
                Err(_) => self.stats.bad_tracker_messages += 1,
            },
        }
    }

    fn tracker_batch(&mut self, now: Instant, batch: Arc<Batch>) {
        self.member.handle_tracker(now, FromTracker::Batch(batch.clone()));
        self.origin.batch(now, &batch, &mut self.player);
    }

    /// Who signs, as the tracker says.
    fn take_terms(&mut self, now: Instant, terms: Terms) {
        let Terms { trust, keys } = terms;
        if self.config.signers.is_empty() {
            self.batches.set_keys(now, keys);
        }
        // Keys that were given in another way are those of the source.
        let trust = if self.config.signers.is_empty() { trust } else { Trust::Source };
        self.trust = Some(trust);
        self.events.push_back(PeerEvent::Tracked { trust, signers: self.batches.signers() });
    }

    /// The host has moved to another network: all paths are gone, and everybody has to learn where we are now.
    pub(super) fn network_changed(&mut self, now: Instant) {
        for conn in self.neighbours.conns() {
            self.end(now, conn, CLOSE_NO_PATH, "the network has changed");
        }
        self.end_talk(now);
        self.registration.renew(now, &mut self.link);
    }
}

fn words(reason: &LostReason) -> String {
    match reason {
        LostReason::Closed { code: 0, .. } => "it left".to_owned(),
        other => other.to_string(),
    }
}

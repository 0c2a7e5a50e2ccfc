//! The connections to other members, at most one for each that stays.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::session::Session;
use crate::link::ConnId;
use crate::swarm::constants::{CONNECT_TIMEOUT_MS, MAX_NEIGHBOURS};
use crate::swarm::{Candidate, PeerId};

/// Most connections that have no direct path yet and were begun by others.
pub(super) const MAX_ARRIVING: usize = 32;
/// Most connections at a time.
pub(super) const MAX_CONNECTIONS: usize = MAX_NEIGHBOURS + 2 * MAX_ARRIVING;
/// How long a connection may take to become direct.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_millis(CONNECT_TIMEOUT_MS as u64);
/// Most members that are remembered as banned; the oldest are forgotten.
const MAX_BANNED: usize = 256;

/// Most handshakes that we have begun and that are under way: each takes 3 kB of the uplink, and with many at a time the first
/// neighbour would come as late as the last.
const MAX_HANDSHAKES: usize = 6;
/// A handshake that takes longer than this does not keep others waiting: nobody may be there.
const HANDSHAKE_PATIENCE: Duration = Duration::from_millis(600);

/// Which of two connections to the same member stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    Old,
    New,
}

/// All connections to other members.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    sessions: BTreeMap<ConnId, Session>,
    by_peer: BTreeMap<PeerId, ConnId>,
    banned: VecDeque<PeerId>,
    /// Those that are connected to when others are done.
    waiting: VecDeque<Candidate>,
}

impl Neighbours {
    pub(super) fn get_mut(&mut self, conn: ConnId) -> Option<&mut Session> {
        self.sessions.get_mut(&conn)
    }

    pub(super) fn of(&mut self, peer: PeerId) -> Option<&mut Session> {
        self.sessions.get_mut(self.by_peer.get(&peer)?)
    }

    /// The connection to `peer`, if it is direct.
    pub(super) fn up(&mut self, peer: PeerId) -> Option<&mut Session> {
        self.of(peer).filter(|s| s.up)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Session> {
        self.sessions.values()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Session> {
        self.sessions.values_mut()
    }

    /// Whether there is room for one more that somebody else began.
    pub(super) fn has_room(&self) -> bool {
        self.sessions.values().filter(|s| !s.up && !s.outgoing).count() < MAX_ARRIVING
            && self.sessions.len() < MAX_CONNECTIONS
    }

    pub(super) fn insert(&mut self, session: Session) {
        self.by_peer.insert(session.peer, session.conn);
        self.sessions.insert(session.conn, session);
    }

    pub(super) fn remove(&mut self, conn: ConnId) -> Option<Session> {
        let session = self.sessions.remove(&conn)?;
        if self.by_peer.get(&session.peer) == Some(&conn) {
            self.by_peer.remove(&session.peer);
        }
        Some(session)
    }

    pub(super) fn ban(&mut self, peer: PeerId) {
        if !self.is_banned(peer) {
            if self.banned.len() >= MAX_BANNED {
                self.banned.pop_front();
            }
            self.banned.push_back(peer);
        }
    }

    pub(super) fn is_banned(&self, peer: PeerId) -> bool {
        self.banned.contains(&peer)
    }

    /// Which connection stays when `old` is there and the same member begins a new one. Both sides have to find the same.
    pub(super) fn keep(own: PeerId, old: &Session, now: Instant) -> Keep {
        // Whoever connects again after so long has lost the old one.
        let simultaneous = now.saturating_duration_since(old.began) < CONNECT_TIMEOUT;
        if simultaneous && old.outgoing && own < old.peer { Keep::Old } else { Keep::New }
    }

    /// Connections that had their time and have no direct path, or have not shown that the other side is a member.
    pub(super) fn late(&self, now: Instant) -> Vec<ConnId> {
        self.sessions
            .values()
            .filter(|s| s.deadline(CONNECT_TIMEOUT).is_some_and(|at| at <= now))
            .map(|s| s.conn)
            .collect()
    }

    /// When [`late`](Self::late) has something next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.sessions.values().filter_map(|s| s.deadline(CONNECT_TIMEOUT)).min()
    }

    /// Somebody is to be connected to, soon.
    pub(super) fn wait(&mut self, candidate: Candidate) {
        // The scheduler has no more neighbours than this, those it waits for included.
        if self.waiting.len() < MAX_NEIGHBOURS {
            self.waiting.push_back(candidate);
        }
    }

    /// The next one to connect to, if not too many are being connected to already.
    pub(super) fn next_waiting(&mut self, now: Instant) -> Option<Candidate> {
        self.waiting.front()?;
        let recent = |s: &&Session| now.saturating_duration_since(s.began) < HANDSHAKE_PATIENCE;
        let busy = self.sessions.values().filter(|s| s.handshaking).filter(recent).count();
        if busy < MAX_HANDSHAKES { self.waiting.pop_front() } else { None }
    }

    pub(super) fn conns(&self) -> Vec<ConnId> {
        self.sessions.keys().copied().collect()
    }
}

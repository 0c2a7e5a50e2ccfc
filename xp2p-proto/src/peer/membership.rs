//! Who is a member: our own proof, and what those of others are worth at a time.
//!
//! Time is that of the server, which says it with each proof. Nobody's own clock matters, so none needs to be right.

use std::time::{Duration, Instant};

use super::token::{DoorTag, MembershipToken};
use super::{CLOSE_NO_MEMBER, CLOSE_NO_PATH, Peer, PeerEvent};
use crate::keys::PublicKey;
use crate::link::ConnId;

/// How long something of the tracker may be on its way: so much later than the others a member may learn of a change.
pub(super) const LEEWAY: Duration = Duration::from_secs(10);
/// A tracker that was away is found again by all members within this time: they try at least every 15 s, with 6 s for each try.
const SETTLE: Duration = Duration::from_secs(60);
/// While the tracker is away nobody can get a new proof: for so long those of neighbours count after they have expired.
const OUTAGE: Duration = Duration::from_secs(600);

/// What a proof is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is that of a member.
    Good,
    /// It was that of a member.
    Lapsed,
    /// The tracker will tell, or has told the other side something that we do not know yet.
    Unclear,
}

/// Our proof and what follows from it.
#[derive(Debug)]
struct Own {
    token: MembershipToken,
    /// What the server's clock showed, unix ms, and when we heard it.
    clock: (Instant, u64),
    /// The door before this one, which others may not know to be the old one yet.
    previous: Option<DoorTag>,
    /// From when on all others have had the time to learn what we know.
    settled: Instant,
}

/// What this member knows of memberships.
#[derive(Debug, Default)]
pub(super) struct Membership {
    own: Option<Own>,
    /// The tracker is away: there was an answer of it, and there will be no other.
    away: bool,
}

impl Membership {
    /// Our proof, if we have one.
    pub(super) fn token(&self) -> Option<&MembershipToken> {
        self.own.as_ref().map(|own| &own.token)
    }

    /// The tracker says that we are a member. `unix` is its time in ms.
    pub(super) fn granted(&mut self, now: Instant, unix: u64, token: MembershipToken) {
        let old = self.own.take();
        let was_away = std::mem::replace(&mut self.away, false);
        let (mut previous, mut settled) = (None, now);
        if let Some(old) = old {
            let changed = old.token.door() != token.door();
            previous = if changed { Some(old.token.door()) } else { old.previous };
            // Its clock was set: the others hear of that now, too.
            let stepped = old.unix(now).abs_diff(Duration::from_millis(unix)) > LEEWAY;
            let patience = match (was_away, changed || stepped) {
                (true, _) => SETTLE,
                (false, true) => LEEWAY,
                (false, false) => Duration::ZERO,
            };
            settled = old.settled.max(now + patience);
        }
        self.own = Some(Own { token, clock: (now, unix), previous, settled });
    }

    /// The tracker does not talk to us any more.
    pub(super) fn tracker_lost(&mut self) {
        self.away = true;
    }

    /// What a token is worth that the server has signed for whoever shows it. `since`: when it was shown, if its holder is a
    /// neighbour; `None`: it is shown now, by somebody new.
    pub(super) fn standing(&self, now: Instant, token: &MembershipToken, since: Option<Instant>) -> Standing {
        // Before the tracker has answered, neither time nor door are known.
        let Some(own) = &self.own else { return Standing::Unclear };
        let settling = now < own.settled;
        if settling && since.is_some() {
            return Standing::Good;
        }
        if token.door() != own.token.door() {
            let stays = match since {
                // It may have heard of the tracker before us.
                Some(at) => self.away || now < at + LEEWAY,
                None => (self.away || settling) && own.previous == Some(token.door()),
            };
            if !stays {
                return if since.is_some() { Standing::Lapsed } else { Standing::Unclear };
            }
        }
        let grace = if self.away && since.is_some() { OUTAGE } else { LEEWAY };
        if own.unix(now) < Duration::from_secs(token.expiry()).saturating_add(grace) {
            Standing::Good
        } else {
            Standing::Lapsed
        }
    }

    /// Whether `new` is to count instead of what a neighbour has shown before. Old ones shown again and again prove nothing.
    pub(super) fn replaces(&self, new: &MembershipToken, old: &MembershipToken) -> bool {
        new.expiry() > old.expiry()
            || (new.door() != old.door() && self.token().is_some_and(|own| own.door() == new.door()))
    }
}

impl Own {
    /// The server's time.
    fn unix(&self, now: Instant) -> Duration {
        let (at, unix) = self.clock;
        Duration::from_millis(unix).saturating_add(now.saturating_duration_since(at))
    }
}

impl Peer {
    /// The other side has proven its key: it is shown that we are a member.
    pub(super) fn present(&mut self, conn: ConnId, key: PublicKey) {
        let Some(session) = self.neighbours.get_mut(conn) else { return };
        session.key = Some(key);
        if let Some(token) = self.membership.token() {
            session.present(&mut self.link, token);
        }
    }

    /// The tracker says that we are a member.
    pub(super) fn granted(&mut self, now: Instant, unix: u64, token: MembershipToken) {
        if !self.is_genuine(&token, &self.key()) {
            self.stats.bad_tracker_messages += 1;
            return;
        }
        for session in self.neighbours.iter_mut() {
            session.present(&mut self.link, &token);
        }
        self.membership.granted(now, unix, token);
        // Some may have shown what we can judge only now.
        self.check_memberships(now);
    }

    /// The other side shows that it is a member. Returns whether the connection goes on.
    pub(super) fn shown(&mut self, now: Instant, conn: ConnId, token: MembershipToken) -> bool {
        let Some(key) = self.neighbours.get_mut(conn).and_then(|s| s.key) else { return false };
        let Some(session) = self.neighbours.get_mut(conn) else { return false };
        if session.shown.as_ref().is_some_and(|(old, _)| !self.membership.replaces(&token, old)) {
            // Not even looked at: that costs us more than it costs the other side.
            return true;
        }
        if !self.is_genuine(&token, &key) {
            self.ban_with(now, conn, CLOSE_NO_MEMBER, "what it shows is no proof that it is a member");
            return false;
        }
        if let Some(session) = self.neighbours.get_mut(conn) {
            session.shown = Some((token, now));
        }
        self.check_membership(now, conn)
    }

    /// Whether the server has signed `token` for `member`. Without the server's key nobody can be told from anybody.
    fn is_genuine(&self, token: &MembershipToken, member: &PublicKey) -> bool {
        self.config.server.key.is_some_and(|key| token.is_signed_by(&key, &self.config.stream, member))
    }

    /// Lets those go who are members no longer.
    pub(super) fn check_memberships(&mut self, now: Instant) {
        for conn in self.neighbours.conns() {
            self.check_membership(now, conn);
        }
    }

    fn check_membership(&mut self, now: Instant, conn: ConnId) -> bool {
        let Some(session) = self.neighbours.get_mut(conn) else { return false };
        let Some((token, at)) = &session.shown else { return true };
        let since = session.admitted.then_some(*at);
        match self.membership.standing(now, token, since) {
            Standing::Good if !session.admitted => {
                session.admitted = true;
                self.open(now, conn);
            }
            Standing::Good | Standing::Unclear => {}
            // It may come back with a newer proof.
            Standing::Lapsed => self.end(now, conn, CLOSE_NO_MEMBER, "its membership has ended"),
        }
        self.neighbours.get_mut(conn).is_some()
    }

    /// Lets the scheduler know of a neighbour, and hears it, as far as there is all that it takes.
    pub(super) fn open(&mut self, now: Instant, conn: ConnId) {
        let Some(session) = self.neighbours.get_mut(conn) else { return };
        if session.may_begin() {
            let (peer, nat) = (session.peer, session.nat);
            session.begin(&mut self.link);
            let rtt = self.link.rtt(conn).unwrap_or_default();
            self.events.push_back(PeerEvent::NeighbourConnected { peer });
            self.member.peer_connected(now, peer, nat, rtt);
        }
        let Some(session) = self.neighbours.get_mut(conn) else { return };
        let heard = session.resume(now, &mut self.link);
        self.heard(now, conn, heard);
    }

    /// A connection had its time and is of no use.
    pub(super) fn too_late(&mut self, now: Instant, conn: ConnId) {
        match self.neighbours.get_mut(conn) {
            Some(session) if session.is_direct() => {
                self.end(now, conn, CLOSE_NO_MEMBER, "it does not show that it is a member");
            }
            _ => self.end(now, conn, CLOSE_NO_PATH, "no direct path"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SecretKey;
    use crate::swarm::StreamId;

    const UNIX: u64 = 1_800_000_000;

    fn token(epoch: Option<u32>, expiry: u64) -> MembershipToken {
        let key = SecretKey::from_bytes([1; 32]);
        let door = epoch.map_or(DoorTag::OPEN, |epoch| DoorTag::of(&key.public(), epoch));
        MembershipToken::issue(&key, &StreamId::from_bytes([7; 16]), &key.public(), door, expiry)
    }

    /// A member that has heard of the tracker at the beginning, and the instant so many seconds later.
    fn member() -> (Membership, impl Fn(u64) -> Instant) {
        #[expect(clippy::disallowed_methods, reason = "a test needs some first instant")]
        let start = Instant::now();
        let mut member = Membership::default();
        member.granted(start, UNIX * 1000, token(Some(1), UNIX + 300));
        (member, move |seconds| start + Duration::from_secs(seconds))
    }

    #[test]
    fn nothing_is_known_before_the_tracker_has_answered() {
        let (_, at) = member();
        let nobody = Membership::default();
        assert_eq!(nobody.standing(at(0), &token(None, UNIX + 300), None), Standing::Unclear);
    }

    #[test]
    fn a_token_holds_until_it_expires_by_the_clock_of_the_server() {
        let (mut member, at) = member();
        let other = token(Some(1), UNIX + 100);
        for neighbour in [None, Some(at(0))] {
            assert_eq!(member.standing(at(109), &other, neighbour), Standing::Good);
            assert_eq!(member.standing(at(110), &other, neighbour), Standing::Lapsed);
        }
        // When the clock of the server is set, that counts as soon as all have heard of it.
        member.granted(at(20), (UNIX + 3_600) * 1000, token(Some(1), UNIX + 3_900));
        assert_eq!(member.standing(at(29), &other, Some(at(0))), Standing::Good);
        assert_eq!(member.standing(at(30), &other, Some(at(0))), Standing::Lapsed);
    }

    #[test]
    fn an_outage_of_the_tracker_takes_nobody_away() {
        let (mut member, at) = member();
        let other = token(Some(1), UNIX + 100);
        member.tracker_lost();
        assert_eq!(member.standing(at(699), &other, Some(at(0))), Standing::Good);
        assert_eq!(member.standing(at(200), &other, None), Standing::Lapsed, "but nobody new comes with it");
        assert_eq!(member.standing(at(700), &other, Some(at(0))), Standing::Lapsed, "not for ever");
        // When it is back, the others may need a minute to find it.
        member.granted(at(400), (UNIX + 400) * 1000, token(Some(1), UNIX + 700));
        assert_eq!(member.standing(at(459), &other, Some(at(0))), Standing::Good);
        assert_eq!(member.standing(at(460), &other, Some(at(0))), Standing::Lapsed);
        member.granted(at(550), (UNIX + 550) * 1000, token(Some(1), UNIX + 850));
        assert_eq!(member.standing(at(551), &other, Some(at(0))), Standing::Lapsed, "a renewal is no return");
    }

    #[test]
    fn a_changed_door_is_for_those_who_came_through_it() {
        let (mut member, at) = member();
        let (old, new, open) =
            (token(Some(1), UNIX + 300), token(Some(2), UNIX + 400), token(None, UNIX + 300));
        assert_eq!(member.standing(at(99), &new, None), Standing::Unclear, "it may know more than we do");
        assert_eq!(member.standing(at(99), &open, None), Standing::Unclear);
        member.granted(at(100), (UNIX + 100) * 1000, new.clone());
        for neighbour in [None, Some(at(0))] {
            assert_eq!(member.standing(at(109), &old, neighbour), Standing::Good, "it may not know yet");
            assert_eq!(member.standing(at(109), &new, neighbour), Standing::Good);
            assert_eq!(member.standing(at(110), &new, neighbour), Standing::Good);
        }
        assert_eq!(member.standing(at(110), &old, Some(at(0))), Standing::Lapsed);
        assert_eq!(member.standing(at(110), &old, None), Standing::Unclear);
        assert_eq!(member.standing(at(105), &open, None), Standing::Unclear, "it was never open");
        assert_eq!(
            member.standing(at(118), &open, Some(at(109))),
            Standing::Good,
            "we may be the last to know"
        );
        assert_eq!(member.standing(at(119), &open, Some(at(109))), Standing::Lapsed);
        assert!(member.replaces(&new, &token(Some(1), UNIX + 500)) && member.replaces(&new, &old));
        assert!(
            !member.replaces(&old, &new) && !member.replaces(&old, &old) && !member.replaces(&open, &old)
        );
        // A renewal does not change this.
        member.granted(at(106), (UNIX + 106) * 1000, new);
        assert_eq!(member.standing(at(109), &old, Some(at(0))), Standing::Good);
        assert_eq!(member.standing(at(111), &old, Some(at(0))), Standing::Lapsed);
    }

    #[test]
    fn a_server_that_has_forgotten_its_doors_does_not_part_the_members() {
        let (mut member, at) = member();
        let old = token(Some(1), UNIX + 300);
        member.tracker_lost();
        member.granted(at(20), (UNIX + 20) * 1000, token(None, UNIX + 320));
        assert_eq!(member.standing(at(25), &old, Some(at(0))), Standing::Good);
        member.granted(at(30), (UNIX + 30) * 1000, token(Some(1), UNIX + 330));
        for neighbour in [None, Some(at(0))] {
            assert_eq!(member.standing(at(31), &old, neighbour), Standing::Good);
            assert_eq!(member.standing(at(79), &token(None, UNIX + 320), neighbour), Standing::Good);
        }
        assert_eq!(member.standing(at(80), &token(None, UNIX + 320), Some(at(0))), Standing::Lapsed);
    }
}

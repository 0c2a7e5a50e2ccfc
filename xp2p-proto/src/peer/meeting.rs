//! How two members reach each other.
//!
//! The tracker tells both sides at the same moment where it sees the other one. One of them begins the connection at that
//! address; the other one knocks there, so that the NAT in front of it lets the beginning in. Behind most pairs of NATs that
//! works, and takes one round trip; where nothing comes of it, the connection begins through the server instead, as that to a
//! camera does.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::contact::Contact;
use super::session::Session;
use super::{CLOSE_NO_PATH, PEER_ALPN, Peer};
use crate::link::ConnId;
use crate::swarm::constants::MAX_NEIGHBOURS;
use crate::swarm::{Candidate, NatClass, PeerId};

/// What comes of the addresses that the tracker told comes within this time: the first packet can be lost and sent again (after
/// three times the round trip that is assumed at first), and few round trips are as long as the rest.
const PATIENCE: Duration = Duration::from_millis(600);
/// Most knocks in a second. A member that everybody is led to gets as many newcomers; nobody has that many.
const MAX_KNOCKS: u32 = 100;
/// Most members that are expected at a time; the oldest are forgotten.
const MAX_EXPECTED: usize = 2 * MAX_NEIGHBOURS;

/// A member that is about to connect to us.
#[derive(Debug)]
struct Expected {
    candidate: Candidate,
    until: Instant,
    /// The scheduler waits for it.
    wanted: bool,
}

/// Those that are about to connect to us, and how often we knocked.
#[derive(Debug, Default)]
pub(super) struct Meetings {
    expected: Vec<Expected>,
    knocks: u32,
}

impl Meetings {
    fn expect(&mut self, now: Instant, candidate: Candidate, wanted: bool) {
        let known = self.expected.iter_mut().find(|e| e.candidate.peer == candidate.peer);
        if let Some(expected) = known {
            expected.wanted |= wanted;
            return;
        }
        if self.expected.len() >= MAX_EXPECTED {
            self.expected.remove(0);
        }
        self.expected.push(Expected { candidate, until: now + PATIENCE, wanted });
    }

    /// `peer` has come. Tells what is known of it and whether the scheduler waits for it.
    pub(super) fn arrived(&mut self, peer: PeerId) -> Option<(Candidate, bool)> {
        let at = self.expected.iter().position(|e| e.candidate.peer == peer)?;
        let expected = self.expected.remove(at);
        Some((expected.candidate, expected.wanted))
    }

    /// The next one that should have come.
    fn missed(&mut self, now: Instant) -> Option<(Candidate, bool)> {
        let at = self.expected.iter().position(|e| e.until <= now)?;
        let expected = self.expected.remove(at);
        Some((expected.candidate, expected.wanted))
    }

    /// When somebody is missed next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.expected.iter().map(|e| e.until).min()
    }

    /// Another second begins.
    pub(super) fn forget_knocks(&mut self) {
        self.knocks = 0;
    }
}

/// What a network of that class lets others do if its router lets everybody in at `mapped`, for a member whom its server sees at
/// `observed`.
pub(super) fn nat_with_mapping(
    class: NatClass,
    mapped: Option<SocketAddr>,
    observed: &[SocketAddr],
) -> NatClass {
    match mapped {
        // Others connect to where the server sees us.
        Some(mapped) if observed.contains(&mapped) => NatClass::Public,
        // There they do not get in unless we knock, but if that is of no use they learn of the other port over the relay.
        Some(mapped) if observed.iter().any(|seen| seen.ip() == mapped.ip()) => class.min(NatClass::Cone),
        // A router may name any address, or stand behind another NAT.
        _ => class,
    }
}

impl Peer {
    /// The scheduler wants to be connected to `candidate`.
    pub(super) fn connect(&mut self, now: Instant, candidate: Candidate) {
        let peer = candidate.peer;
        if let Some(session) = self.neighbours.of(peer) {
            session.nat = candidate.nat;
            session.wanted = true;
            if session.up {
                let (conn, nat) = (session.conn, session.nat);
                let rtt = self.link.rtt(conn).unwrap_or_default();
                self.member.peer_connected(now, peer, nat, rtt);
            }
            return;
        }
        let Some(contact) = self.contact_of(&candidate) else {
            self.member.connect_failed(now, peer);
            return;
        };
        match self.address_of(&contact) {
            Some(addr) if candidate.nat.must_begin(self.nat()) => {
                self.knock(addr);
                self.meetings.expect(now, candidate, true);
            }
            Some(addr) if self.connect_at(now, &candidate, &contact, addr, true) => {}
            _ => self.connect_through_server(now, &candidate, &contact),
        }
    }

    /// Another member has been told of us.
    pub(super) fn meet(&mut self, now: Instant, begin: bool, candidate: Candidate) {
        if self.neighbours.of(candidate.peer).is_some() {
            return;
        }
        let Some(contact) = self.contact_of(&candidate) else { return };
        let Some(addr) = self.address_of(&contact) else { return };
        if begin {
            self.connect_at(now, &candidate, &contact, addr, false);
        } else {
            self.knock(addr);
            self.meetings.expect(now, candidate, false);
        }
    }

    /// Goes on through the server where the addresses were of no use.
    pub(super) fn check_meetings(&mut self, now: Instant) {
        while let Some((candidate, wanted)) = self.meetings.missed(now) {
            if wanted && self.neighbours.of(candidate.peer).is_none() {
                self.fall_back(now, &candidate);
            }
        }
        let stuck: Vec<ConnId> =
            self.neighbours.iter().filter(|s| is_stuck(s, now)).map(|s| s.conn).collect();
        for conn in stuck {
            let Some(session) = self.neighbours.remove(conn) else { continue };
            self.stats.paths = self.stats.paths + self.link.totals(conn);
            self.link.close(now, conn, CLOSE_NO_PATH, "nothing comes back");
            if let Some(candidate) = session.fallback.filter(|_| session.wanted) {
                self.fall_back(now, &candidate);
            }
        }
    }

    /// When [`check_meetings`](Self::check_meetings) is due.
    pub(super) fn next_meeting(&self) -> Option<Instant> {
        let stuck = self.neighbours.iter().filter(|s| is_hopeful(s)).map(|s| s.began + PATIENCE);
        stuck.chain(self.meetings.next()).min()
    }

    /// Where the server sees a member. Those behind our own NAT are not reached at that address.
    fn address_of(&self, contact: &Contact) -> Option<SocketAddr> {
        let addr = contact.addr?;
        let ours = self.link.observed_addresses().iter().any(|own| own.ip() == addr.ip());
        (!ours).then_some(addr)
    }

    /// How to reach a member that we may connect to.
    fn contact_of(&self, candidate: &Candidate) -> Option<Contact> {
        let wanted = !self.closing && !self.neighbours.is_banned(candidate.peer) && candidate.peer != self.id;
        Contact::parse(&candidate.contact, candidate.peer).filter(|_| wanted)
    }

    fn knock(&mut self, addr: SocketAddr) {
        if self.meetings.knocks < MAX_KNOCKS {
            self.meetings.knocks += 1;
            self.link.knock(addr);
        }
    }

    /// Connects to a member where the server sees it. Returns whether there is any sense in it.
    fn connect_at(
        &mut self,
        now: Instant,
        candidate: &Candidate,
        contact: &Contact,
        addr: SocketAddr,
        wanted: bool,
    ) -> bool {
        let Ok(conn) = self.link.connect_direct(now, contact.key, addr, PEER_ALPN) else { return false };
        self.begun(now, conn, candidate, wanted, Some(candidate.clone()));
        true
    }

    /// The address was of no use.
    fn fall_back(&mut self, now: Instant, candidate: &Candidate) {
        match self.contact_of(candidate) {
            Some(contact) => self.connect_through_server(now, candidate, &contact),
            None => self.member.connect_failed(now, candidate.peer),
        }
    }

    fn connect_through_server(&mut self, now: Instant, candidate: &Candidate, contact: &Contact) {
        let servers = &self.config.server.addrs;
        match self.link.connect_relayed(now, contact.key, contact.ticket, servers, PEER_ALPN) {
            Ok(conn) => self.begun(now, conn, candidate, true, None),
            Err(_) => self.member.connect_failed(now, candidate.peer),
        }
    }

    fn begun(
        &mut self,
        now: Instant,
        conn: ConnId,
        candidate: &Candidate,
        wanted: bool,
        fallback: Option<Candidate>,
    ) {
        self.stats.connects += 1;
        let mut session = Session::new(conn, candidate.peer, true, self.config.stream, now);
        session.nat = candidate.nat;
        session.wanted = wanted;
        session.fallback = fallback;
        self.neighbours.insert(session);
    }
}

/// Whether a connection was begun at an address that may be the wrong one.
fn is_hopeful(session: &Session) -> bool {
    session.handshaking && session.fallback.is_some()
}

fn is_stuck(session: &Session, now: Instant) -> bool {
    is_hopeful(session) && session.began + PATIENCE <= now
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn candidate(n: u64) -> Candidate {
        Candidate { peer: PeerId(n), nat: NatClass::Cone, origin_fed: false, contact: Bytes::new() }
    }

    #[test]
    fn a_port_that_the_router_has_opened_makes_a_network_better_if_it_is_where_the_server_sees_us() {
        use NatClass::{Cone, Public, Restricted, Symmetric, Unknown};
        let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
        let seen = [addr("[2001:db8::1]:9"), addr("192.0.2.1:5000")];
        let with = |class, mapped| nat_with_mapping(class, Some(addr(mapped)), &seen);
        assert_eq!(with(Symmetric, "192.0.2.1:5000"), Public);
        for (class, better) in
            [(Public, Public), (Cone, Cone), (Restricted, Cone), (Symmetric, Cone), (Unknown, Cone)]
        {
            assert_eq!(with(class, "192.0.2.1:5001"), better, "another port");
            assert_eq!(with(class, "192.0.2.2:5000"), class, "somebody else's address");
            assert_eq!(nat_with_mapping(class, None, &seen), class);
            assert_eq!(nat_with_mapping(class, Some(addr("192.0.2.1:5000")), &[]), class, "not seen yet");
        }
    }

    #[test]
    fn who_is_expected_comes_or_is_missed_once() {
        #[expect(clippy::disallowed_methods, reason = "a test needs some first instant")]
        let now = Instant::now();
        let mut meetings = Meetings::default();
        meetings.expect(now, candidate(1), false);
        meetings.expect(now, candidate(2), false);
        meetings.expect(now, candidate(1), true);
        assert_eq!(meetings.next(), Some(now + PATIENCE));
        assert_eq!(meetings.arrived(PeerId(1)), Some((candidate(1), true)), "wanted by now");
        assert_eq!(meetings.arrived(PeerId(1)), None);
        assert_eq!(meetings.missed(now + PATIENCE / 2), None);
        assert_eq!(meetings.missed(now + PATIENCE), Some((candidate(2), false)));
        assert_eq!(meetings.next(), None);
    }

    #[test]
    fn no_more_are_expected_than_may_be() {
        #[expect(clippy::disallowed_methods, reason = "a test needs some first instant")]
        let now = Instant::now();
        let mut meetings = Meetings::default();
        (0..=MAX_EXPECTED as u64).for_each(|n| meetings.expect(now, candidate(n), true));
        assert_eq!(meetings.expected.len(), MAX_EXPECTED);
        assert_eq!(meetings.arrived(PeerId(0)), None, "the oldest one");
    }
}

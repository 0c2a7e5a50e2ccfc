//! Ports of a peer that nobody can know, guessed: knocks around the port that a server has seen.
//!
//! Two NATs keep peers apart when one of them gives each destination another port (symmetric) and the other one lets in only
//! whoever was sent something (port-restricted). The probes of the first come from a port that the second has never sent
//! anything to. But many of the first kind count their ports up, or have few: then it is near the one that the server has
//! seen. So whoever is behind the second kind sends knocks to the ports around that one, one byte each. The right one opens
//! its own NAT for the probes that come from there, and QUIC's NAT traversal does the rest.
//!
//! Nobody knows for sure behind which kind it is. Whose NAT keeps the port of its socket is hardly behind a symmetric one, and
//! begins; the others follow when that has had its time, because their knocks use up ports of their own NATs.
//!
//! It takes a session whose ends have proven their keys, and goes to addresses only that are probed anyway. There is a limit for
//! each session, and one for all together: a peer that names somebody else's address gets less sent there than it has to
//! send to us for it.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::addr::is_private;

/// How far from a known port others are guessed, up and down.
const REACH: u16 = 64;
/// Most knocks of one attempt.
const MAX_KNOCKS: usize = 128;
/// Knocks that go out together, and the pause after them: 200 in a second.
const BATCH: usize = 4;
/// See [`BATCH`].
const PAUSE: Duration = Duration::from_millis(20);
/// Attempts in the life of a connection, as long as the peer's addresses stay the same.
const MAX_ATTEMPTS: usize = 2;
/// When to begin if our NAT keeps ports, from the first probe on: the second round of hole punching has just begun, and will go on
/// for as long as this takes.
const SOON: Duration = Duration::from_millis(2_050);
/// When to begin otherwise: with the third round.
const LATE: Duration = Duration::from_millis(7_050);
/// From one attempt to the next: that is within the fourth round.
const AGAIN: Duration = Duration::from_secs(15);
/// Most addresses of a peer around which ports are guessed.
const MAX_CENTRES: usize = 2;
/// Below are the ports of services, which no NAT gives away.
const FIRST_PORT: u16 = 1024;
/// For how long after an attempt a knock from the peer's address means something.
const LISTEN: Duration = Duration::from_secs(5);
/// Most knocks of the peer that are answered in one attempt.
const MAX_HEARD: usize = 4;
/// Attempts of all connections together within [`WINDOW`].
const MAX_IN_WINDOW: usize = 8;
/// See [`MAX_IN_WINDOW`].
const WINDOW: Duration = Duration::from_secs(30);

/// What all connections of a link may do together.
#[derive(Debug, Default)]
pub(super) struct Allowance(VecDeque<Instant>);

impl Allowance {
    fn take(&mut self, now: Instant) -> bool {
        while self.0.front().is_some_and(|at| now.saturating_duration_since(*at) >= WINDOW) {
            self.0.pop_front();
        }
        let free = self.0.len() < MAX_IN_WINDOW;
        if free {
            self.0.push_back(now);
        }
        free
    }
}

/// The guesses of one connection.
#[derive(Debug, Default)]
pub(super) struct Guess {
    /// The peer's addresses outside of our network that were probed. Never those that we only guess.
    centres: Vec<SocketAddr>,
    attempts: usize,
    next: Option<Instant>,
    waiting: VecDeque<SocketAddr>,
    listen_until: Option<Instant>,
    heard: usize,
}

impl Guess {
    /// QUIC has probed an address of the peer, or used it. `keeps_port`: our own NAT keeps the port of our socket.
    pub(super) fn probed(&mut self, now: Instant, addr: SocketAddr, keeps_port: bool) {
        let known = self.centres.contains(&addr) || self.centres.len() >= MAX_CENTRES;
        if known || !addr.is_ipv4() || is_private(addr) {
            return;
        }
        self.centres.push(addr);
        if self.centres.len() == 1 {
            self.next = Some(now + if keeps_port { SOON } else { LATE });
        }
    }

    /// The peer is elsewhere, or we are: what was guessed no longer counts.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// There is a direct path: nothing is to be guessed.
    pub(super) fn stop(&mut self) {
        self.next = None;
        self.waiting.clear();
        self.listen_until = None;
    }

    /// When [`due`](Self::due) has something to do.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Whom to send knocks now.
    pub(super) fn due(&mut self, now: Instant, allowance: &mut Allowance) -> Vec<SocketAddr> {
        if self.next.is_none_or(|at| at > now) {
            return Vec::new();
        }
        if self.waiting.is_empty() {
            if self.attempts >= MAX_ATTEMPTS {
                self.next = None;
                return Vec::new();
            }
            if !allowance.take(now) {
                self.next = Some(now + AGAIN);
                return Vec::new();
            }
            self.attempts += 1;
            self.heard = 0;
            self.waiting = around(&self.centres);
        }
        let batch = self.waiting.drain(..BATCH.min(self.waiting.len())).collect();
        self.listen_until = Some(now + LISTEN);
        self.next = Some(now + if self.waiting.is_empty() { AGAIN } else { PAUSE });
        batch
    }

    /// Whether a knock from `addr` means that there is a way through both NATs. Anybody can forge one: few of them count, and only
    /// from where the peer is thought to be.
    pub(super) fn heard(&mut self, now: Instant, addr: SocketAddr) -> bool {
        let listening = self.listen_until.is_some_and(|until| now < until) && self.heard < MAX_HEARD;
        let theirs = listening && self.centres.iter().any(|centre| centre.ip() == addr.ip());
        self.heard += usize::from(theirs);
        theirs
    }
}

/// The ports around those that are known, the nearest first.
fn around(centres: &[SocketAddr]) -> VecDeque<SocketAddr> {
    let mut seen: BTreeSet<SocketAddr> = centres.iter().copied().collect();
    let mut out = VecDeque::new();
    for distance in 1..=REACH {
        for centre in centres {
            let port = centre.port();
            // Up first: NATs that count count up.
            for guess in [port.checked_add(distance), port.checked_sub(distance)].into_iter().flatten() {
                let addr = SocketAddr::new(centre.ip(), guess);
                if guess >= FIRST_PORT && out.len() < MAX_KNOCKS && seen.insert(addr) {
                    out.push_back(addr);
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[allow(clippy::disallowed_methods)] // any instant will do
    fn start() -> Instant {
        Instant::now()
    }

    /// All knocks until `end`, with their times.
    fn run(guess: &mut Guess, allowance: &mut Allowance, end: Instant) -> Vec<(Instant, SocketAddr)> {
        let mut out = Vec::new();
        while let Some(at) = guess.next().filter(|at| *at <= end) {
            out.extend(guess.due(at, allowance).into_iter().map(|knock| (at, knock)));
        }
        out
    }

    #[test]
    fn knocks_go_around_the_known_port_of_the_peer_and_nowhere_else() {
        let (now, mut guess) = (start(), Guess::default());
        for private in ["192.168.1.2:5000", "[2001:db8::1]:5000"] {
            guess.probed(now, addr(private), true);
        }
        assert_eq!(guess.next(), None, "what is in no NAT's hands is not guessed");
        guess.probed(now, addr("203.0.113.1:40000"), true);
        let knocks = run(&mut guess, &mut Allowance::default(), now + Duration::from_secs(10));
        assert_eq!(knocks.len(), MAX_KNOCKS);
        let ports: BTreeSet<u16> = knocks.iter().map(|(_, k)| k.port()).collect();
        assert!(knocks.iter().all(|(_, k)| k.ip() == addr("203.0.113.1:1").ip()));
        assert_eq!(ports.len(), MAX_KNOCKS, "each once");
        assert!((40_001..=40_064).chain(39_936..=39_999).all(|port| ports.contains(&port)));
        assert_eq!(knocks[0], (now + SOON, addr("203.0.113.1:40001")));
        let time = knocks[MAX_KNOCKS - 1].0 - knocks[0].0;
        assert_eq!(time, PAUSE * (MAX_KNOCKS / BATCH - 1) as u32, "at a rate");
    }

    #[test]
    fn attempts_are_few_and_end_with_a_direct_path() {
        let (now, mut allowance) = (start(), Allowance::default());
        let hour = now + Duration::from_secs(3600);
        let mut guess = Guess::default();
        guess.probed(now, addr("203.0.113.1:40000"), false);
        assert_eq!(guess.next(), Some(now + LATE));
        assert_eq!(run(&mut guess, &mut allowance, hour).len(), MAX_ATTEMPTS * MAX_KNOCKS);
        assert_eq!(guess.next(), None);
        guess.forget();
        guess.probed(now, addr("203.0.113.1:40001"), true);
        let first = guess.next().unwrap();
        assert_eq!(guess.due(first, &mut Allowance::default()).len(), BATCH);
        guess.stop();
        assert!(run(&mut guess, &mut Allowance::default(), hour).is_empty());
    }

    #[test]
    fn many_sessions_together_may_not_do_more_than_a_few() {
        let (now, mut allowance) = (start(), Allowance::default());
        let begun = (0..100).filter(|n| {
            let mut guess = Guess::default();
            guess.probed(now, addr(&format!("203.0.113.{n}:40000")), true);
            !guess.due(now + SOON, &mut allowance).is_empty()
        });
        assert_eq!(begun.count(), MAX_IN_WINDOW);
        let mut later = Guess::default();
        later.probed(now, addr("203.0.113.200:40000"), true);
        assert!(!later.due(now + SOON + WINDOW, &mut allowance).is_empty());
    }

    #[test]
    fn only_few_knocks_from_where_the_peer_is_mean_anything() {
        let (now, mut guess) = (start(), Guess::default());
        guess.probed(now, addr("203.0.113.1:40000"), true);
        assert!(!guess.heard(now, addr("203.0.113.1:40001")), "nobody has knocked there");
        let begun = now + SOON;
        guess.due(begun, &mut Allowance::default());
        assert!(!guess.heard(begun, addr("203.0.113.2:40001")), "somebody else");
        let heard = (0..100).filter(|n| guess.heard(begun, addr(&format!("203.0.113.1:{}", 41_000 + n))));
        assert_eq!(heard.count(), MAX_HEARD);
        assert!(!guess.heard(begun + LISTEN, addr("203.0.113.1:40001")), "too late");
    }

    #[test]
    fn ports_at_the_ends_are_no_trouble() {
        for port in [1, 1024, 65_535] {
            let around = around(&[SocketAddr::new(addr("203.0.113.1:1").ip(), port)]);
            assert!(around.iter().all(|a| a.port() >= FIRST_PORT && a.port() != port), "{port}");
        }
        let two = around(&[addr("203.0.113.1:40000"), addr("203.0.113.1:40010")]);
        assert_eq!(two.len(), MAX_KNOCKS);
    }
}

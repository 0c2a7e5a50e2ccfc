//! Two links face to face, in virtual time, over a wire that loses nothing.

use std::time::Duration;

use super::*;
use crate::keys::SecretKey;

const ALPN: &[u8] = b"test/1";

struct Pair {
    now: Instant,
    /// One way.
    delay: Duration,
    ends: [(Link, SocketAddr); 2],
    flying: VecDeque<(Instant, usize, Vec<u8>)>,
    events: [Vec<LinkEvent>; 2],
    hash: blake3::Hasher,
}

impl Pair {
    fn new(seed: u64) -> Self {
        Self::with(seed, |_| ())
    }

    /// The same with a change of both configurations.
    fn with(seed: u64, change: impl Fn(&mut LinkConfig)) -> Self {
        let link = |n: u8, accept: Vec<&'static [u8]>| {
            let entropy = Entropy::seeded(seed * 2 + u64::from(n));
            let mut config = LinkConfig::new(SecretKey::from_bytes([n; 32]), entropy);
            config.accept = accept;
            change(&mut config);
            Link::new(config).unwrap()
        };
        Self {
            #[expect(clippy::disallowed_methods, reason = "a test needs some first instant")]
            now: Instant::now(),
            delay: Duration::from_millis(10),
            ends: [
                (link(1, Vec::new()), "10.0.0.1:1000".parse().unwrap()),
                (link(2, vec![ALPN]), "10.0.0.2:2000".parse().unwrap()),
            ],
            flying: VecDeque::new(),
            events: Default::default(),
            hash: blake3::Hasher::new(),
        }
    }

    fn drain(&mut self) {
        for at in 0..2 {
            let mut buf = Vec::new();
            while let Some(t) = self.ends[at].0.poll_transmit(self.now, &mut buf) {
                self.hash.update(&buf);
                let to = self.ends.iter().position(|(_, addr)| *addr == t.remote).unwrap();
                for datagram in buf[..t.size].chunks(t.segment_size.unwrap_or(t.size)) {
                    self.flying.push_back((self.now + self.delay, to, datagram.to_vec()));
                }
                buf.clear();
            }
            while let Some((_, event)) = self.ends[at].0.poll_event() {
                self.events[at].push(event);
            }
            assert!(self.ends[at].0.poll_timeout().is_none_or(|t| t > self.now), "a timer in the past");
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.drain();
        loop {
            let timers = self.ends.iter().filter_map(|(l, _)| l.poll_timeout());
            let next = timers.chain(self.flying.front().map(|f| f.0)).min();
            let Some(next) = next.filter(|at| *at <= end) else { break };
            self.now = next;
            while self.flying.front().is_some_and(|f| f.0 <= next) {
                let (_, to, data) = self.flying.pop_front().unwrap();
                let (local, remote) = (self.ends[to].1, self.ends[1 - to].1);
                let payload = BytesMut::from(&data[..]);
                self.ends[to].0.handle_datagram(next, Datagram { local, remote, ecn: None, payload });
            }
            for (link, _) in &mut self.ends {
                link.handle_timeout(next);
            }
            self.drain();
        }
        self.now = end;
    }
}

fn key(n: u8) -> PublicKey {
    SecretKey::from_bytes([n; 32]).public()
}

#[test]
fn both_ends_prove_their_keys() {
    let mut pair = Pair::new(1);
    let to = pair.ends[1].1;
    let now = pair.now;
    pair.ends[0].0.connect_server(now, Some(key(2)), to, ALPN).unwrap();
    pair.run(Duration::from_secs(1));
    let alpn = Bytes::from_static(ALPN);
    assert_eq!(pair.events[0][0], LinkEvent::Connected { peer: key(2), alpn: alpn.clone() });
    assert_eq!(pair.events[1][0], LinkEvent::Connected { peer: key(1), alpn });
}

#[test]
fn a_wrong_key_ends_the_handshake_with_its_reason() {
    let mut pair = Pair::new(2);
    let to = pair.ends[1].1;
    let now = pair.now;
    pair.ends[0].0.connect_server(now, Some(key(3)), to, ALPN).unwrap();
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.events[0], [LinkEvent::Lost(LostReason::WrongKey)]);
    assert_eq!(pair.events[1], [LinkEvent::Lost(LostReason::WrongKey)]);
}

#[test]
fn one_seed_gives_one_run() {
    let run = |seed| {
        let mut pair = Pair::new(seed);
        let (now, to) = (pair.now, pair.ends[1].1);
        pair.ends[0].0.connect_server(now, Some(key(2)), to, ALPN).unwrap();
        pair.run(Duration::from_secs(5));
        pair.hash.finalize()
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn a_restarted_peer_resets_old_connections() {
    let mut pair = Pair::new(3);
    let (now, to) = (pair.now, pair.ends[1].1);
    pair.ends[0].0.connect_server(now, Some(key(2)), to, ALPN).unwrap();
    pair.run(Duration::from_secs(1));
    let fresh = Pair::new(30);
    let [_, second] = fresh.ends;
    pair.ends[1] = second;
    pair.events = Default::default();
    pair.run(Duration::from_secs(4));
    assert_eq!(pair.events[0], [LinkEvent::Lost(LostReason::Reset)]);
}

#[test]
fn a_host_that_was_cut_off_has_moved_when_it_is_back() {
    let mut link = Pair::new(9).ends.into_iter().next().unwrap().0;
    #[expect(clippy::disallowed_methods, reason = "a test needs some first instant")]
    let now = Instant::now();
    let addrs = |text: &[&str]| text.iter().map(|t| t.parse().unwrap()).collect::<Vec<SocketAddr>>();
    let own = ["127.0.0.1:5", "[::1]:5"];
    assert!(
        !link.set_local_addresses(now, &addrs(&["127.0.0.1:5", "[::1]:5", "10.0.0.1:5"])),
        "the first ones"
    );
    assert!(link.set_local_addresses(now, &addrs(&own)), "cut off");
    assert!(
        link.set_local_addresses(now, &addrs(&["127.0.0.1:5", "[::1]:5", "10.9.0.1:5"])),
        "back, elsewhere"
    );
    assert!(
        !link.set_local_addresses(now, &addrs(&["127.0.0.1:5", "[::1]:5", "10.9.0.1:5", "10.8.0.1:5"])),
        "one more is no move"
    );
}

#[test]
fn only_addresses_of_a_family_of_ours_may_be_reached() {
    let mut link = Pair::new(10).ends.into_iter().next().unwrap().0;
    #[expect(clippy::disallowed_methods, reason = "a test needs some first instant")]
    let now = Instant::now();
    let (v4, v6, own) = ("192.0.2.1:5", "[2001:db8::1]:5", "[::1]:5");
    let may = |link: &Link, text: &str| link.may_reach(text.parse().unwrap());
    assert!(may(&link, v4) && may(&link, v6), "nothing is known yet");
    link.set_local_addresses(now, &["[::1]:5".parse().unwrap(), "10.0.0.1:5".parse().unwrap()]);
    assert!(may(&link, v4) && !may(&link, v6), "loopback leads nowhere else");
    assert!(may(&link, own) && !may(&link, "127.0.0.1:5"));
}

/// Found by fuzzing: who had connected and said nothing yet kept a camera from closing.
#[test]
fn a_handshake_does_not_outlive_the_end_and_nobody_new_is_let_in() {
    let mut pair = Pair::new(4);
    let (now, to) = (pair.now, pair.ends[1].1);
    pair.ends[0].0.connect_server(now, Some(key(2)), to, ALPN).unwrap();
    // The first packet has arrived; what it is answered with has not.
    pair.run(Duration::from_millis(15));
    assert_eq!((pair.ends[1].0.connections(), pair.events[1].len()), (1, 0));
    let now = pair.now;
    pair.ends[1].0.shutdown(now, 1, "it ends");
    pair.run(Duration::from_secs(3));
    assert_eq!(pair.ends[1].0.connections(), 0);
    let now = pair.now;
    pair.ends[0].0.connect_server(now, Some(key(2)), to, ALPN).unwrap();
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.ends[1].0.connections(), 0);
    assert_eq!(pair.ends[1].0.stats().refused_connections, 1);
}

#[test]
fn a_mapped_address_comes_before_what_servers_see_and_must_be_one_that_a_peer_can_use() {
    let mut link = Pair::new(11).ends.into_iter().next().unwrap().0;
    #[expect(clippy::disallowed_methods, reason = "a test needs some first instant")]
    let now = Instant::now();
    let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
    for seen in ["203.0.113.1:1", "203.0.113.1:2", "203.0.113.1:3", "203.0.113.1:4"] {
        link.add_observed_address(now, addr(seen));
    }
    link.set_mapped_address(now, Some(addr("203.0.113.1:9")));
    let newest = ["203.0.113.1:9", "203.0.113.1:4", "203.0.113.1:3", "203.0.113.1:2"].map(addr);
    assert_eq!(link.outside, newest);
    link.set_mapped_address(now, Some(addr("203.0.113.1:4")));
    assert_eq!(link.outside, ["203.0.113.1:4", "203.0.113.1:3", "203.0.113.1:2", "203.0.113.1:1"].map(addr));
    for bad in ["127.0.0.1:5", "0.0.0.0:5", "224.0.0.1:5", "169.254.1.1:5", "203.0.113.1:0", "[100::5]:1"] {
        link.set_mapped_address(now, Some(addr(bad)));
        assert_eq!(link.mapped_address(), None, "{bad}");
    }
    // The mapping belongs to the router: only whoever asks it knows when it is gone.
    link.set_mapped_address(now, Some(addr("203.0.113.1:9")));
    link.network_changed(now);
    assert_eq!(link.outside, [addr("203.0.113.1:9")]);
    link.set_mapped_address(now, None);
    assert!(link.outside.is_empty());
}

/// Found by fuzzing: a camera was not closed half a minute after it was told to be, because an answer had once taken 5 s.
#[test]
fn a_connection_over_a_slow_path_is_forgotten_in_time() {
    let mut pair = Pair::new(5);
    pair.delay = Duration::from_secs(4);
    let (now, to) = (pair.now, pair.ends[1].1);
    pair.ends[0].0.connect_server(now, Some(key(2)), to, ALPN).unwrap();
    pair.run(Duration::from_secs(20));
    assert!(
        pair.events.iter().all(|e| matches!(e[..], [LinkEvent::Connected { .. }, ..])),
        "{:?}",
        pair.events
    );
    let now = pair.now;
    pair.ends[1].0.shutdown(now, 1, "it ends");
    pair.run(Duration::from_secs(5));
    assert_eq!(pair.ends[1].0.connections(), 1, "the peer may not have heard of it yet");
    pair.run(Duration::from_secs(6));
    assert_eq!(pair.ends[1].0.connections(), 0);
    let lost = LostReason::Closed { code: 1, reason: "it ends".to_owned() };
    assert_eq!(pair.events[0].last(), Some(&LinkEvent::Lost(lost)));
    pair.run(Duration::from_secs(5));
    assert_eq!(pair.ends[0].0.connections(), 0);
}

#[test]
fn the_oldest_stranger_gives_way_when_all_places_are_taken() {
    let mut pair = Pair::with(6, |config| (config.max_connections, config.strangers_give_way) = (6, true));
    let connect = |pair: &mut Pair| {
        let (now, to) = (pair.now, pair.ends[1].1);
        // The other end has to have room for those that are on their way out.
        pair.ends[0].0.config.max_connections = 100;
        pair.ends[0].0.connect_server(now, Some(key(2)), to, ALPN).unwrap();
        pair.run(Duration::from_millis(200));
    };
    let ids = |pair: &Pair| {
        let live = pair.ends[1].0.conns.iter().flatten().filter(|c| !c.closed);
        live.map(|c| c.id).collect::<BTreeSet<ConnId>>()
    };
    (0..6).for_each(|_| connect(&mut pair));
    let first: Vec<ConnId> = ids(&pair).into_iter().collect();
    let oldest = *first.iter().min_by_key(|id| id.generation).unwrap();
    pair.ends[1].0.vouch(oldest);
    (0..3).for_each(|_| connect(&mut pair));
    let now = ids(&pair);
    assert!(now.len() == 6 && now.contains(&oldest), "{now:?} of {first:?}");
    let displaced = |e: &&LinkEvent| matches!(e, LinkEvent::Lost(LostReason::Displaced));
    assert_eq!(pair.events[1].iter().filter(displaced).count(), 3);
    assert_eq!(pair.ends[1].0.stats().displaced_strangers, 3);
    // Nobody gives way to anybody once all have shown a right to be there.
    now.iter().for_each(|id| pair.ends[1].0.vouch(*id));
    connect(&mut pair);
    assert_eq!((ids(&pair), pair.ends[1].0.stats().refused_connections), (now, 1));
}

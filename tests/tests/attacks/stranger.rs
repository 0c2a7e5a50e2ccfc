//! Somebody who connects to a camera or server and says what it likes. It is written on the link, because a
//! [`Viewer`](xp2p_proto::viewer::Viewer) cannot be made to say such things.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use xp2p_proto::keys::{PublicKey, SecretKey, Ticket};
use xp2p_proto::link::stream::{WriteEnd, end, read, write};
use xp2p_proto::link::{ConnId, Dir, Entropy, Link, LinkConfig, LinkEvent, StreamId};
use xp2p_proto::machine::{Datagram, Machine, Transmit};
use xp2p_proto::request::{HeadReader, ResponseHead};

/// How often it goes on with what it has begun.
const TICK: Duration = Duration::from_millis(10);

/// What it listens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ear {
    /// Everything.
    Open,
    /// A Retry, so that it proves its address, and nothing more.
    Retries,
    /// Nothing: what it has begun stays as it is.
    Deaf,
}

impl Ear {
    fn hears(self, payload: &[u8]) -> bool {
        match self {
            Self::Open => true,
            // A long header of type 3 (RFC 9000 section 17.2.5).
            Self::Retries => payload.first().is_some_and(|b| b & 0xb0 == 0xb0),
            Self::Deaf => false,
        }
    }
}

/// The stranger.
pub(crate) struct Stranger {
    link: Link,
    pub(crate) ear: Ear,
    pub(crate) conns: Vec<ConnId>,
    pub(crate) connected: Vec<ConnId>,
    pub(crate) lost: Vec<String>,
    /// What has come on each stream.
    pub(crate) heard: BTreeMap<(ConnId, StreamId), Vec<u8>>,
    /// Streams whose rest is not wanted.
    pub(crate) stopped: Vec<(ConnId, StreamId)>,
    /// Streams that it writes to without an end, what it writes, and how many bytes were taken.
    endless: BTreeMap<(ConnId, StreamId), (Bytes, u64)>,
    /// Connections on which it begins another round of hole punching all the time.
    pub(crate) punching: Vec<ConnId>,
    next: Instant,
}

impl Stranger {
    pub(crate) fn new(secret: SecretKey, seed: u64, now: Instant) -> Self {
        let mut config = LinkConfig::new(secret, Entropy::seeded(seed));
        config.max_connections = 100_000;
        config.max_relay_flows = 100_000;
        Self {
            link: Link::new(config).expect("a link"),
            ear: Ear::Open,
            conns: Vec::new(),
            connected: Vec::new(),
            lost: Vec::new(),
            heard: BTreeMap::new(),
            stopped: Vec::new(),
            endless: BTreeMap::new(),
            punching: Vec::new(),
            next: now + TICK,
        }
    }

    /// Connects to a camera through its server.
    pub(crate) fn connect(
        &mut self,
        now: Instant,
        camera: PublicKey,
        ticket: Ticket,
        server: SocketAddr,
    ) -> ConnId {
        let alpn = xp2p_proto::camera::VIEWER_ALPN;
        let conn = self.link.connect_relayed(now, camera, ticket, &[server], alpn).expect("a connection");
        self.conns.push(conn);
        conn
    }

    /// Connects to a camera or server at its address.
    pub(crate) fn connect_at(
        &mut self,
        now: Instant,
        peer: PublicKey,
        at: SocketAddr,
        alpn: &[u8],
    ) -> ConnId {
        let conn = self.link.connect_server(now, Some(peer), at, alpn).expect("a connection");
        self.conns.push(conn);
        conn
    }

    /// Says something on a stream of its own; `whole`: and nothing more.
    pub(crate) fn say(&mut self, conn: ConnId, bytes: impl Into<Bytes>, whole: bool) -> Option<StreamId> {
        let quic = self.link.quic(conn)?;
        let stream = quic.streams().open(Dir::Bi)?;
        let (_, took) = write(quic, stream, &mut [bytes.into()]);
        assert_eq!(took, WriteEnd::Done, "what fits into a window");
        if whole {
            end(quic, stream, None);
        }
        self.heard.insert((conn, stream), Vec::new());
        Some(stream)
    }

    /// Begins with `first` and goes on with `more` for ever.
    pub(crate) fn never_end(
        &mut self,
        conn: ConnId,
        first: impl Into<Bytes>,
        more: impl Into<Bytes>,
    ) -> Option<StreamId> {
        let stream = self.say(conn, first, false)?;
        self.endless.insert((conn, stream), (more.into(), 0));
        Some(stream)
    }

    /// Bytes without an end that were taken.
    pub(crate) fn poured(&self) -> u64 {
        self.endless.values().map(|(_, taken)| taken).sum()
    }

    /// The answer to what was said on `stream`.
    pub(crate) fn answer(&self, conn: ConnId, stream: StreamId) -> Option<ResponseHead> {
        let mut reader = HeadReader::<ResponseHead>::new();
        reader.push(self.heard.get(&(conn, stream))?).expect("an answer").map(|(head, _)| head)
    }

    /// Bytes that both ends of a connection know.
    pub(crate) fn export(&self, conn: ConnId, label: &[u8]) -> [u8; 32] {
        self.link.export(conn, label).expect("a connection")
    }

    fn hear(&mut self, conn: ConnId, stream: StreamId) {
        let Some(quic) = self.link.quic(conn) else { return };
        let heard = self.heard.entry((conn, stream)).or_default();
        read(quic, stream, usize::MAX, |chunk| heard.extend_from_slice(&chunk));
    }

    fn turn(&mut self) {
        while let Some((conn, event)) = self.link.poll_event() {
            match event {
                LinkEvent::Connected { .. } => self.connected.push(conn),
                LinkEvent::Lost(reason) => self.lost.push(reason.to_string()),
                LinkEvent::Readable(stream) => self.hear(conn, stream),
                LinkEvent::Stopped(stream, _) => {
                    self.stopped.push((conn, stream));
                }
                _ => {}
            }
        }
    }

    fn punch(&mut self, now: Instant) {
        for conn in self.punching.clone() {
            if let Some(quic) = self.link.quic(conn) {
                // An error says that the peer does not do that at all.
                let _ = quic.initiate_nat_traversal_round(now);
            }
        }
    }

    fn pour(&mut self) {
        for ((conn, stream), (more, taken)) in &mut self.endless {
            let Some(quic) = self.link.quic(*conn) else { continue };
            *taken += write(quic, *stream, &mut [more.clone()]).0 as u64;
        }
    }
}

impl Machine for Stranger {
    type Event = ();

    fn handle_datagram(&mut self, now: Instant, datagram: Datagram) {
        if self.ear.hears(&datagram.payload) {
            self.link.handle_datagram(now, datagram);
            self.turn();
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.link.handle_timeout(now);
        self.turn();
        if self.next <= now {
            self.next = now + TICK;
            self.pour();
            self.punch(now);
        }
    }

    fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<Transmit> {
        self.link.poll_transmit(now, buf)
    }

    fn poll_event(&mut self) -> Option<()> {
        None
    }

    fn poll_timeout(&self) -> Option<Instant> {
        [self.link.poll_timeout(), Some(self.next)].into_iter().flatten().min()
    }

    fn set_wall_clock(&mut self, _now: Instant, _unix: Duration) {}

    fn set_local_addresses(&mut self, now: Instant, addrs: &[SocketAddr]) {
        self.link.set_local_addresses(now, addrs);
    }
}

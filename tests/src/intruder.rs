//! Somebody who knows a member and wants its pieces. It is written on the link, because a [`Peer`](xp2p_proto::peer::Peer)
//! connects to nobody whom the tracker has not named.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use xp2p_proto::keys::{PublicKey, SecretKey, Ticket};
use xp2p_proto::link::stream::{read, write};
use xp2p_proto::link::{ConnId, Dir, Entropy, Link, LinkConfig, LinkEvent, LostReason, PathKind};
use xp2p_proto::machine::{Datagram, Machine, Transmit};
use xp2p_proto::peer::PEER_ALPN;
use xp2p_proto::swarm::{Message, StreamId};

/// How long it waits with what it wants, at first.
const TICK: Duration = Duration::from_millis(500);
/// Parts of a stream that one subscribes to.
const LANES: u8 = 8;

/// The intruder.
#[derive(Debug)]
pub struct Intruder {
    link: Link,
    conn: ConnId,
    head: Bytes,
    direct: bool,
    next: Option<Instant>,
    /// Bytes that came on streams, messages included.
    pub got: u64,
    /// The code with which the member has closed the connection.
    pub closed: Option<u64>,
}

impl Intruder {
    /// One that connects to a member and shows `token`, whatever it is.
    pub fn new(
        secret: SecretKey,
        entropy: Entropy,
        server: SocketAddr,
        victim: (PublicKey, Ticket),
        stream: StreamId,
        token: &[u8],
        now: Instant,
    ) -> Self {
        let mut config = LinkConfig::new(secret, entropy);
        config.accept = vec![PEER_ALPN];
        let mut link = Link::new(config).expect("a link");
        let conn = link.connect_relayed(now, victim.0, victim.1, &[server], PEER_ALPN).expect("a connection");
        let head = [&[1][..], stream.as_bytes(), token].concat().into();
        Self { link, conn, head, direct: false, next: None, got: 0, closed: None }
    }

    /// Whether it has reached the member directly.
    pub fn is_direct(&self) -> bool {
        self.direct
    }

    /// Asks for all of the stream.
    fn ask(&mut self) {
        let Some(quic) = self.link.quic(self.conn) else { return };
        let Some(stream) = quic.streams().open(Dir::Uni) else { return };
        let mut all = vec![self.head.clone()];
        for lane in 0..LANES {
            let mut frame = vec![0, 0];
            Message::Subscribe { lane, from: 0, value: 90 }.encode(&mut frame);
            let len = (frame.len() - 2) as u16;
            frame[..2].copy_from_slice(&len.to_be_bytes());
            all.push(frame.into());
        }
        write(quic, stream, &mut all);
    }

    fn listen(&mut self) {
        while let Some(stream) = self.link.quic(self.conn).and_then(|q| q.streams().accept(Dir::Uni)) {
            self.hear(stream);
        }
    }

    fn hear(&mut self, stream: xp2p_proto::link::StreamId) {
        let Some(quic) = self.link.quic(self.conn) else { return };
        let got = &mut self.got;
        read(quic, stream, usize::MAX, |chunk| *got += chunk.len() as u64);
    }

    fn turn(&mut self, now: Instant) {
        while let Some((conn, event)) = self.link.poll_event() {
            if conn != self.conn {
                continue;
            }
            match event {
                LinkEvent::Path(PathKind::Direct) if !std::mem::replace(&mut self.direct, true) => {
                    self.next = Some(now + TICK);
                }
                LinkEvent::Opened(Dir::Uni) => self.listen(),
                LinkEvent::Readable(stream) => self.hear(stream),
                LinkEvent::Lost(LostReason::Closed { code, .. }) => self.closed = Some(code),
                _ => {}
            }
        }
    }
}

impl Machine for Intruder {
    type Event = ();

    fn handle_datagram(&mut self, now: Instant, datagram: Datagram) {
        self.link.handle_datagram(now, datagram);
        self.turn(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.link.handle_timeout(now);
        self.turn(now);
        if self.next.is_some_and(|at| at <= now) {
            self.next = None;
            self.ask();
        }
    }

    fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<Transmit> {
        self.link.poll_transmit(now, buf)
    }

    fn poll_event(&mut self) -> Option<()> {
        None
    }

    fn poll_timeout(&self) -> Option<Instant> {
        [self.link.poll_timeout(), self.next].into_iter().flatten().min()
    }

    fn set_wall_clock(&mut self, _now: Instant, _unix: Duration) {}

    fn set_local_addresses(&mut self, now: Instant, addrs: &[SocketAddr]) {
        self.link.set_local_addresses(now, addrs);
    }
}

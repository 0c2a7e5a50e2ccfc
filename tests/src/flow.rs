//! A flow as others have them on the same line: one QUIC stream that sends as much as its congestion control lets it, for ever.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use xp2p_proto::keys::{PublicKey, SecretKey};
use xp2p_proto::link::stream::{WriteEnd, read, write};
use xp2p_proto::link::{Congestion, ConnId, Dir, Entropy, Link, LinkConfig, LinkEvent, StreamId};
use xp2p_proto::machine::{Datagram, Machine, Transmit};

const ALPN: &[u8] = b"flow/1";
/// What is sent, over and over.
const CHUNK: usize = 64 * 1024;

/// One end of a flow.
#[derive(Debug)]
pub struct Flow {
    link: Link,
    /// The sending end: its connection, and the stream once there is one.
    conn: Option<ConnId>,
    stream: Option<StreamId>,
    /// Bytes of the stream that have come, at the receiving end.
    received: u64,
}

impl Flow {
    /// The receiving end.
    pub fn sink(secret: SecretKey, entropy: Entropy) -> Self {
        let mut config = LinkConfig::new(secret, entropy);
        config.accept = vec![ALPN];
        Self { link: Link::new(config).expect("a link"), conn: None, stream: None, received: 0 }
    }

    /// The sending end, which connects to the receiving end `peer` at `remote`.
    pub fn source(
        secret: SecretKey,
        entropy: Entropy,
        congestion: Congestion,
        peer: PublicKey,
        remote: SocketAddr,
        now: Instant,
    ) -> Self {
        let mut config = LinkConfig::new(secret, entropy);
        config.congestion = congestion;
        let mut link = Link::new(config).expect("a link");
        let conn = link.connect_server(now, Some(peer), remote, ALPN).expect("a connection");
        Self { link, conn: Some(conn), stream: None, received: 0 }
    }

    /// Bytes of the stream that have come, at the receiving end.
    pub fn received(&self) -> u64 {
        self.received
    }

    fn send(&mut self, conn: ConnId) {
        let Some(quic) = self.link.quic(conn) else { return };
        if self.stream.is_none() {
            self.stream = quic.streams().open(Dir::Uni);
        }
        let Some(stream) = self.stream else { return };
        let chunk = Bytes::from_static(&[0x5a; CHUNK]);
        while write(quic, stream, &mut [chunk.clone()]).1 == WriteEnd::Done {}
    }

    fn hear(&mut self, conn: ConnId, stream: StreamId) {
        let Some(quic) = self.link.quic(conn) else { return };
        let received = &mut self.received;
        read(quic, stream, usize::MAX, |chunk| *received += chunk.len() as u64);
    }

    fn turn(&mut self) {
        while let Some((conn, event)) = self.link.poll_event() {
            match event {
                LinkEvent::Connected { .. } | LinkEvent::Writable(_) if self.conn == Some(conn) => {
                    self.send(conn)
                }
                LinkEvent::Opened(dir) => {
                    while let Some(stream) = self.link.quic(conn).and_then(|q| q.streams().accept(dir)) {
                        self.hear(conn, stream);
                    }
                }
                LinkEvent::Readable(stream) => self.hear(conn, stream),
                _ => {}
            }
        }
    }
}

impl Machine for Flow {
    type Event = ();

    fn handle_datagram(&mut self, now: Instant, datagram: Datagram) {
        self.link.handle_datagram(now, datagram);
        self.turn();
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.link.handle_timeout(now);
        self.turn();
    }

    fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<Transmit> {
        self.link.poll_transmit(now, buf)
    }

    fn poll_event(&mut self) -> Option<()> {
        None
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.link.poll_timeout()
    }

    fn set_wall_clock(&mut self, _now: Instant, _unix: Duration) {}

    fn set_local_addresses(&mut self, now: Instant, addrs: &[SocketAddr]) {
        self.link.set_local_addresses(now, addrs);
    }
}

//! A flow as others have them on the same line: one QUIC stream that sends as much as its congestion control lets it, for ever.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use xp2p_proto::keys::{PublicKey, SecretKey};
use xp2p_proto::link::stream::{WriteEnd, read, write};
use xp2p_proto::link::{Congestion, ConnId, Dir, Entropy, Link, LinkConfig, LinkEvent, StreamId};

use crate::on_link::{OnLink, Role};

const ALPN: &[u8] = b"flow/1";
/// What is sent, over and over.
const CHUNK: usize = 64 * 1024;

/// One end of a flow.
#[derive(Debug)]
pub struct Flow {
    /// The sending end: its connection, and the stream once there is one.
    conn: Option<ConnId>,
    stream: Option<StreamId>,
    /// Bytes of the stream that have come, at the receiving end.
    received: u64,
}

impl Flow {
    /// The receiving end.
    pub fn sink(secret: SecretKey, entropy: Entropy) -> OnLink<Self> {
        let mut config = LinkConfig::new(secret, entropy);
        config.accept = vec![ALPN];
        let role = Self { conn: None, stream: None, received: 0 };
        OnLink { link: Link::new(config).expect("a link"), role }
    }

    /// The sending end, which connects to the receiving end `peer` at `remote`.
    pub fn source(
        secret: SecretKey,
        entropy: Entropy,
        congestion: Congestion,
        peer: PublicKey,
        remote: SocketAddr,
        now: Instant,
    ) -> OnLink<Self> {
        let mut config = LinkConfig::new(secret, entropy);
        config.congestion = congestion;
        let mut link = Link::new(config).expect("a link");
        let conn = link.connect_server(now, Some(peer), remote, ALPN).expect("a connection");
        OnLink { link, role: Self { conn: Some(conn), stream: None, received: 0 } }
    }

    /// Bytes of the stream that have come, at the receiving end.
    pub fn received(&self) -> u64 {
        self.received
    }

    fn send(&mut self, link: &mut Link, conn: ConnId) {
        let Some(quic) = link.quic(conn) else { return };
        if self.stream.is_none() {
            self.stream = quic.streams().open(Dir::Uni);
        }
        let Some(stream) = self.stream else { return };
        let chunk = Bytes::from_static(&[0x5a; CHUNK]);
        while write(quic, stream, &mut [chunk.clone()]).1 == WriteEnd::Done {}
    }

    fn hear(&mut self, link: &mut Link, conn: ConnId, stream: StreamId) {
        let Some(quic) = link.quic(conn) else { return };
        let received = &mut self.received;
        read(quic, stream, usize::MAX, |chunk| *received += chunk.len() as u64);
    }
}

impl Role for Flow {
    fn turn(&mut self, link: &mut Link) {
        while let Some((conn, event)) = link.poll_event() {
            match event {
                LinkEvent::Connected { .. } | LinkEvent::Writable(_) if self.conn == Some(conn) => {
                    self.send(link, conn)
                }
                LinkEvent::Opened(dir) => {
                    while let Some(stream) = link.quic(conn).and_then(|q| q.streams().accept(dir)) {
                        self.hear(link, conn, stream);
                    }
                }
                LinkEvent::Readable(stream) => self.hear(link, conn, stream),
                _ => {}
            }
        }
    }
}

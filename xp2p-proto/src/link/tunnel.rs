//! A tunnel: datagrams over a byte stream, inside TLS.
//!
//! TLS is there to get through networks that let nothing else pass, and so that whoever listens there learns no more than
//! that a server is used. What protects the contents is the QUIC inside. Datagrams keep their nature: when the stream is
//! slower than what is to be sent, the oldest are dropped, and QUIC slows down as it does for any loss.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::sync::Arc;

use bytes::BytesMut;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};
use thiserror::Error;

use super::tls::TLS_NAME;
use crate::wire::{Deframer, FramingError, frame_length};

/// Most bytes of datagrams that wait in one tunnel: a keyframe and what comes after it within a second.
const MAX_WAITING: usize = 192 * 1024;
/// Plain bytes that are encrypted at a time.
const CHUNK: usize = 14 * 1024;

/// Why a tunnel broke.
#[derive(Debug, Error)]
pub(crate) enum TunnelError {
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Framing(#[from] FramingError),
    #[error("the other end has closed it")]
    Closed,
}

/// One end of a tunnel.
pub(crate) struct Tunnel {
    tls: Connection,
    incoming: Deframer,
    waiting: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Whether [`fill`](Self::fill) is expected.
    announced: bool,
    dropped: u64,
}

impl std::fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tunnel").field("waiting", &self.bytes).finish_non_exhaustive()
    }
}

impl Tunnel {
    pub(super) fn client(config: Arc<ClientConfig>) -> Result<Self, rustls::Error> {
        let name = ServerName::try_from(TLS_NAME).map_err(|e| rustls::Error::General(e.to_string()))?;
        Ok(Self::new(ClientConnection::new(config, name)?.into()))
    }

    pub(crate) fn server(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        Ok(Self::new(ServerConnection::new(config)?.into()))
    }

    fn new(tls: Connection) -> Self {
        let incoming = Deframer::default();
        Self { tls, incoming, waiting: VecDeque::new(), bytes: 0, announced: false, dropped: 0 }
    }

    /// Whether the other end has not proven its key yet.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// Datagrams that were dropped because too many waited, since the last call.
    pub(crate) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// Takes in bytes of the stream and gives out datagrams.
    pub(crate) fn receive(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(BytesMut),
    ) -> Result<(), TunnelError> {
        let mut plain = [0; 4096];
        while !bytes.is_empty() {
            if self.tls.read_tls(&mut bytes)? == 0 {
                return Err(TunnelError::Closed);
            }
            self.tls.process_new_packets()?;
            loop {
                match self.tls.reader().read(&mut plain) {
                    Ok(0) => return Err(TunnelError::Closed),
                    // `n` is at most the buffer.
                    Ok(n) => self.incoming.push(&plain[..n], &mut each)?,
                    Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => break,
                    Err(e) => return Err(e.into()),
                }
            }
        }
        Ok(())
    }

    /// Adds a datagram behind those that wait; the oldest make room. One that is longer than any may be is dropped.
    pub(crate) fn push(&mut self, datagram: &[u8]) {
        let Some(length) = frame_length(datagram) else {
            self.dropped += 1;
            return;
        };
        while self.bytes + datagram.len() > MAX_WAITING
            && let Some(oldest) = self.waiting.pop_front()
        {
            self.bytes -= oldest.len();
            self.dropped += 1;
        }
        let framed = [&length[..], datagram].concat();
        self.bytes += framed.len();
        self.waiting.push_back(framed);
    }

    /// Whether there is something to send that nobody was told of. It then counts as told.
    pub(crate) fn announce(&mut self) -> bool {
        let sends = self.tls.wants_write() || (!self.is_handshaking() && !self.waiting.is_empty());
        sends && !std::mem::replace(&mut self.announced, true)
    }

    /// Appends the next bytes of the stream, if there are any; else the next ones are announced.
    pub(crate) fn fill(&mut self, buf: &mut Vec<u8>) -> Result<(), TunnelError> {
        let before = buf.len();
        while self.tls.wants_write() {
            self.tls.write_tls(buf)?;
        }
        if buf.len() == before && !self.is_handshaking() {
            // Many small datagrams in one record: a record of its own for each would cost more than the datagram.
            let mut chunk = Vec::new();
            while chunk.len() < CHUNK
                && let Some(next) = self.waiting.pop_front()
            {
                self.bytes -= next.len();
                chunk.extend_from_slice(&next);
            }
            self.tls.writer().write_all(&chunk)?;
            while self.tls.wants_write() {
                self.tls.write_tls(buf)?;
            }
        }
        self.announced = buf.len() > before;
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::keys::{PublicKey, SecretKey};
    use crate::link::tls::{Tls, system_provider};

    fn tls(n: u8) -> Tls {
        Tls::new(system_provider(), &SecretKey::from_bytes([n; 32])).unwrap()
    }

    /// The client's end of a tunnel to the holder of `server`.
    pub(crate) fn client(server: Option<PublicKey>) -> Tunnel {
        Tunnel::client(Arc::new(tls(9).tunnel_client(server).unwrap())).unwrap()
    }

    /// The configuration of a server that holds key `n`.
    pub(crate) fn server_config(n: u8) -> Arc<ServerConfig> {
        Arc::new(tls(n).tunnel_server().unwrap())
    }

    /// Carries bytes from one end to the other until there are none, in pieces of `piece` bytes.
    fn carry(
        from: &mut Tunnel,
        to: &mut Tunnel,
        piece: usize,
        got: &mut Vec<Vec<u8>>,
    ) -> Result<bool, TunnelError> {
        let mut moved = false;
        loop {
            let mut bytes = Vec::new();
            from.fill(&mut bytes)?;
            if bytes.is_empty() {
                return Ok(moved);
            }
            moved = true;
            for piece in bytes.chunks(piece) {
                to.receive(piece, |d| got.push(d.to_vec()))?;
            }
        }
    }

    fn shake(a: &mut Tunnel, b: &mut Tunnel) -> Result<(), TunnelError> {
        let mut none = Vec::new();
        while carry(a, b, 100, &mut none)? | carry(b, a, 100, &mut none)? {}
        assert!(none.is_empty());
        Ok(())
    }

    #[test]
    fn datagrams_go_both_ways_whole_and_in_order() {
        let mut a = client(Some(SecretKey::from_bytes([2; 32]).public()));
        let mut b = Tunnel::server(server_config(2)).unwrap();
        // What is to be sent before TLS is ready waits for it.
        a.push(b"early");
        assert!(a.announce() && !a.announce(), "told once");
        let mut got = Vec::new();
        while carry(&mut a, &mut b, 7, &mut got).unwrap() | carry(&mut b, &mut a, 7, &mut Vec::new()).unwrap()
        {
        }
        assert!(!a.is_handshaking() && !b.is_handshaking());
        let sent: Vec<Vec<u8>> = (1..200usize).map(|n| vec![n as u8; n * 7]).collect();
        sent.iter().for_each(|d| b.push(d));
        assert!(b.announce());
        let mut back = Vec::new();
        carry(&mut b, &mut a, 1000, &mut back).unwrap();
        assert_eq!(got, [b"early"]);
        assert_eq!(back, sent);
        assert!(!b.announce(), "nothing more to send");
    }

    #[test]
    fn only_the_server_that_was_asked_for_will_do() {
        let mut a = client(Some(SecretKey::from_bytes([3; 32]).public()));
        let mut b = Tunnel::server(server_config(2)).unwrap();
        assert!(matches!(shake(&mut a, &mut b), Err(TunnelError::Tls(_))));
        let mut a = client(None);
        let mut b = Tunnel::server(server_config(2)).unwrap();
        shake(&mut a, &mut b).unwrap();
    }

    #[test]
    fn what_waits_for_a_slow_stream_is_bounded_and_the_newest_is_kept() {
        let mut a = client(None);
        let mut b = Tunnel::server(server_config(2)).unwrap();
        shake(&mut a, &mut b).unwrap();
        let total = 10_000u32;
        for n in 0..total {
            b.push(&[&n.to_be_bytes()[..], &[0; 1200]].concat());
            assert!(b.bytes <= MAX_WAITING);
        }
        b.push(&[0; 5000]);
        let dropped = b.take_dropped();
        let mut got = Vec::new();
        carry(&mut b, &mut a, 4096, &mut got).unwrap();
        assert_eq!(got.len() as u64 + dropped, u64::from(total) + 1);
        assert!(got.len() > 100);
        let numbers: Vec<u32> = got.iter().map(|d| u32::from_be_bytes(d[..4].try_into().unwrap())).collect();
        assert_eq!(numbers, (total - got.len() as u32..total).collect::<Vec<_>>());
    }

    #[test]
    fn bytes_that_are_no_tls_break_it() {
        let mut b = Tunnel::server(server_config(2)).unwrap();
        assert!(b.receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", |_| {}).is_err());
    }
}

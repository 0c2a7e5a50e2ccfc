//! Pieces that the server sends to fill in what was missing when this member began to read the origin for others.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};

use super::wire::{MAX_PIECE_STREAM, PIECE};
use crate::link::stream::{ReadEnd, read, stop};
use crate::link::{ConnId, Dir, Link, StreamId as QuicStream};
use crate::swarm::PieceNo;
use crate::swarm::codec::piece_head;

/// Bytes that are read from a stream at a time.
const READ_SLICE: usize = 16 * 1024;
/// Code with which streams are refused that make no sense.
const REFUSED: u32 = 3;

/// Streams of the server. How many there can be at a time QUIC limits.
#[derive(Debug, Default)]
pub(super) struct Filled {
    streams: BTreeMap<QuicStream, BytesMut>,
}

impl Filled {
    /// Takes the streams that the server has opened. Returns pieces that are whole already.
    pub(super) fn accept(&mut self, link: &mut Link, conn: ConnId) -> Vec<(PieceNo, Bytes)> {
        let mut pieces = Vec::new();
        while let Some(stream) = link.quic(conn).and_then(|q| q.streams().accept(Dir::Uni)) {
            self.streams.insert(stream, BytesMut::new());
            pieces.extend(self.read(link, conn, stream));
        }
        pieces
    }

    pub(super) fn owns(&self, stream: QuicStream) -> bool {
        self.streams.contains_key(&stream)
    }

    /// Reads what has come. Returns the piece once it is whole; what is none is passed over.
    pub(super) fn read(
        &mut self,
        link: &mut Link,
        conn: ConnId,
        stream: QuicStream,
    ) -> Option<(PieceNo, Bytes)> {
        loop {
            let content = self.streams.get_mut(&stream)?;
            let quic = link.quic(conn)?;
            let ended = read(quic, stream, READ_SLICE, |data| {
                if content.len() <= MAX_PIECE_STREAM {
                    content.put_slice(&data);
                }
            });
            if content.len() > MAX_PIECE_STREAM {
                stop(quic, stream, REFUSED);
                self.streams.remove(&stream);
                return None;
            }
            match ended {
                ReadEnd::Limit => {}
                ReadEnd::Blocked => return None,
                ReadEnd::Finished => return self.streams.remove(&stream).and_then(whole),
                ReadEnd::Reset(_) | ReadEnd::Closed => {
                    self.streams.remove(&stream);
                    return None;
                }
            }
        }
    }

    /// The connection is gone.
    pub(super) fn clear(&mut self) {
        self.streams.clear();
    }
}

/// What a stream held: kind, head, content.
fn whole(bytes: BytesMut) -> Option<(PieceNo, Bytes)> {
    let bytes = bytes.freeze();
    let (PIECE, rest) = bytes.split_first().map(|(kind, _)| *kind).zip(bytes.get(1..))? else { return None };
    let (head, content) = piece_head(&bytes.slice_ref(rest)).ok()?;
    Some((head.no, content))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::{Path, PieceHead};

    #[test]
    fn only_pieces_are_taken() {
        let mut bytes = vec![PIECE];
        PieceHead { no: 1000, pushed: false, path: Path::EMPTY }.encode(&mut bytes);
        bytes.extend_from_slice(b"content");
        assert_eq!(whole(bytes[..].into()), Some((1000, Bytes::from_static(b"content"))));
        assert_eq!(whole(bytes[..2].into()), None);
        assert_eq!(whole(BytesMut::new()), None);
        bytes[0] = 1;
        assert_eq!(whole(bytes[..].into()), None);
    }
}

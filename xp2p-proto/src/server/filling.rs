//! Pieces on their way to a member that the tracker lets fill in what it lacks: each on a stream of its own, as between
//! members, behind everything else that the connection carries.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::link::stream::{WriteEnd, end, write};
use crate::link::{ConnId, Dir, Link, StreamId as QuicStream};
use crate::peer::wire::PIECE;
use crate::swarm::constants::MAX_FILL;
use crate::swarm::{Path, PieceHead, PieceNo};

/// Most pieces that wait for one member. What it is granted next replaces what it has not got yet of this.
const MAX_WAITING: usize = MAX_FILL as usize;
/// Most streams that are open at a time; the member allows about as many.
const MAX_OPEN: usize = 32;
/// Behind the stream of the tracker, which has priority 0.
const PRIORITY: i32 = -1;
/// Code with which a piece is given up.
const CANCELLED: u32 = 1;

/// Pieces for one member.
#[derive(Debug, Default)]
pub(super) struct Filling {
    waiting: VecDeque<(PieceNo, Bytes)>,
    /// Streams that are open, with what the connection has not taken yet.
    open: BTreeMap<QuicStream, [Bytes; 2]>,
    /// Bytes handed to the connection, since they were last asked for.
    bytes: u64,
}

impl Filling {
    /// Sends these pieces; what waits of an earlier grant is given up.
    pub(super) fn send(
        &mut self,
        link: &mut Link,
        conn: ConnId,
        pieces: impl Iterator<Item = (PieceNo, Bytes)>,
    ) {
        self.waiting = pieces.take(MAX_WAITING).collect();
        self.pump(link, conn);
    }

    /// Whether `stream` is one of these.
    pub(super) fn owns(&self, stream: QuicStream) -> bool {
        self.open.contains_key(&stream)
    }

    /// `stream` takes more.
    pub(super) fn writable(&mut self, link: &mut Link, conn: ConnId, stream: QuicStream) {
        if let (Some(chunks), Some(quic)) = (self.open.get_mut(&stream), link.quic(conn)) {
            let (written, ended) = write(quic, stream, chunks);
            self.bytes += written as u64;
            match ended {
                WriteEnd::Done => end(quic, stream, None),
                WriteEnd::Blocked => {}
                WriteEnd::Stopped => {
                    self.open.remove(&stream);
                }
            }
        }
    }

    /// The member has got all of `stream`, or does not want it.
    pub(super) fn done(&mut self, link: &mut Link, conn: ConnId, stream: QuicStream, stopped: bool) {
        if self.open.remove(&stream).is_some()
            && stopped
            && let Some(quic) = link.quic(conn)
        {
            end(quic, stream, Some(CANCELLED));
        }
        self.pump(link, conn);
    }

    /// Opens as many streams as there may be.
    pub(super) fn pump(&mut self, link: &mut Link, conn: ConnId) {
        while self.open.len() < MAX_OPEN
            && !self.waiting.is_empty()
            && let Some(quic) = link.quic(conn)
            && let Some(stream) = quic.streams().open(Dir::Uni)
        {
            // Fails only for a stream that has ended.
            let _ = quic.send_stream(stream).set_priority(PRIORITY);
            let Some((no, content)) = self.waiting.pop_front() else { return };
            let mut head = vec![PIECE];
            PieceHead { no, pushed: false, path: Path::EMPTY }.encode(&mut head);
            self.open.insert(stream, [Bytes::from(head), content]);
            self.writable(link, conn, stream);
        }
    }

    /// Bytes handed to the connection since this was last called.
    pub(super) fn take_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.bytes)
    }
}

//! One connection to another member: messages on one stream each way, and each piece on a stream of its own, so that a piece
//! can be given up without holding up others.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};

use super::wire::{CONTROL, FrameReader, MAX_CONTROL, MAX_PIECE_STREAM, PIECE, frame};
use crate::link::stream::{ReadEnd, WriteEnd, end, read, stop, write};
use crate::link::{ConnId, Dir, Link, StreamId as QuicStream};
use crate::swarm::codec::{Parsed, piece_head};
use crate::swarm::{Candidate, Message, NatClass, PeerId, PieceHead, PieceNo, StreamId};

/// Most bytes of messages that wait: more than all digest batches that a neighbour may ask for at once.
const MAX_QUEUED: usize = 256 * 1024;
/// Most pieces that wait because the other side takes no more streams; the scheduler hands over only a few at a time.
const MAX_WAITING: usize = 64;
/// Bytes that are read from a stream at a time.
const READ_SLICE: usize = 16 * 1024;
/// Messages are small, and everything else depends on them.
const CONTROL_PRIORITY: i32 = i32::MAX;
/// So many pieces newer a piece may be that was asked for, and still goes before one that was merely subscribed to: about a
/// second's worth, by which requests are due earlier.
const REQUEST_LEAD: i32 = 32;
/// Code with which a piece is given up.
const CANCELLED: u32 = 1;
/// Code with which streams are refused that make no sense.
const REFUSED: u32 = 3;

/// What came from another member.
#[derive(Debug)]
pub(super) enum Heard {
    /// A message.
    Message(Parsed),
    /// A piece.
    Piece(PieceHead, Bytes),
    /// A piece that was handed over has left, or was given up.
    Sent(PieceNo),
    /// It breaks the protocol.
    Fault(&'static str),
}

/// A stream of the other side.
#[derive(Debug)]
enum Incoming {
    /// Nothing has come yet.
    New,
    /// The rest of the head of a control stream, then messages.
    Control { head: BytesMut, reader: FrameReader },
    /// A piece so far.
    Piece(BytesMut),
}

/// A connection to another member.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) conn: ConnId,
    pub(super) peer: PeerId,
    pub(super) nat: NatClass,
    pub(super) outgoing: bool,
    /// We began it and its handshake is not complete.
    pub(super) handshaking: bool,
    /// The scheduler waits to hear what became of it.
    pub(super) wanted: bool,
    /// It was begun at the address that the tracker told; if that is of no use, there is a way through the server.
    pub(super) fallback: Option<Candidate>,
    pub(super) began: Instant,
    /// A direct path works: the scheduler knows of it.
    pub(super) up: bool,
    /// The other side has said something.
    heard: bool,
    relay_dropped: bool,
    stream: StreamId,
    control: Option<QuicStream>,
    outbox: VecDeque<Bytes>,
    queued: usize,
    /// Pieces on their way.
    sending: BTreeMap<QuicStream, PieceNo>,
    waiting: VecDeque<(PieceHead, Bytes)>,
    incoming: BTreeMap<QuicStream, Incoming>,
    has_control: bool,
}

impl Session {
    pub(super) fn new(conn: ConnId, peer: PeerId, outgoing: bool, stream: StreamId, now: Instant) -> Self {
        Self {
            conn,
            peer,
            nat: NatClass::Unknown,
            outgoing,
            handshaking: outgoing,
            wanted: false,
            fallback: None,
            began: now,
            up: false,
            heard: false,
            relay_dropped: false,
            stream,
            control: None,
            outbox: VecDeque::new(),
            queued: 0,
            sending: BTreeMap::new(),
            waiting: VecDeque::new(),
            incoming: BTreeMap::new(),
            has_control: false,
        }
    }

    /// A direct path works: messages may flow. Returns what has come before.
    pub(super) fn begin(&mut self, now: Instant, link: &mut Link) -> Vec<Heard> {
        self.up = true;
        let Some(quic) = link.quic(self.conn) else { return Vec::new() };
        if let Some(control) = quic.streams().open(Dir::Uni) {
            // Fails only for a stream that has ended.
            let _ = quic.send_stream(control).set_priority(CONTROL_PRIORITY);
            self.control = Some(control);
            let mut head = vec![CONTROL];
            head.extend_from_slice(self.stream.as_bytes());
            self.outbox.push_front(Bytes::from(head));
        }
        self.pump(link);
        let streams: Vec<QuicStream> = self.incoming.keys().copied().collect();
        let mut heard = Vec::new();
        for stream in streams {
            self.read(now, link, stream, &mut heard);
        }
        heard
    }

    /// How long it may still take until there is a direct path.
    pub(super) fn deadline(&self, patience: Duration) -> Option<Instant> {
        (!self.up).then(|| self.began + patience)
    }

    /// Says something. Returns false if the other side does not take it.
    pub(super) fn say(&mut self, link: &mut Link, message: &Message) -> bool {
        let bytes = frame(|out| message.encode(out));
        if self.queued + bytes.len() > MAX_QUEUED {
            return false;
        }
        self.queued += bytes.len();
        self.outbox.push_back(bytes);
        self.pump(link);
        true
    }

    /// Sends a piece, or keeps it until a stream is free. Returns false if it was dropped.
    pub(super) fn send_piece(&mut self, link: &mut Link, head: PieceHead, content: Bytes) -> bool {
        if self.waiting.len() >= MAX_WAITING {
            return false;
        }
        self.waiting.push_back((head, content));
        self.pump_pieces(link);
        true
    }

    /// Gives a piece up. Returns whether it was on its way or waiting.
    pub(super) fn cancel_piece(&mut self, link: &mut Link, no: PieceNo) -> bool {
        let waiting = self.waiting.len();
        self.waiting.retain(|(head, _)| head.no != no);
        let streams: Vec<QuicStream> =
            self.sending.iter().filter(|(_, n)| **n == no).map(|(s, _)| *s).collect();
        for stream in &streams {
            self.sending.remove(stream);
            if let Some(quic) = link.quic(self.conn) {
                end(quic, *stream, Some(CANCELLED));
            }
        }
        self.pump_pieces(link);
        waiting != self.waiting.len() || !streams.is_empty()
    }

    fn pump(&mut self, link: &mut Link) {
        let (Some(control), Some(quic)) = (self.control, link.quic(self.conn)) else { return };
        while let Some(first) = self.outbox.front_mut() {
            let mut chunk = [std::mem::take(first)];
            let (written, end) = write(quic, control, &mut chunk);
            self.queued = self.queued.saturating_sub(written);
            let [rest] = chunk;
            if end != WriteEnd::Done {
                *first = rest;
                return;
            }
            self.outbox.pop_front();
        }
    }

    fn pump_pieces(&mut self, link: &mut Link) {
        if !self.up {
            return;
        }
        let Some(quic) = link.quic(self.conn) else { return };
        while !self.waiting.is_empty()
            && let Some(stream) = quic.streams().open(Dir::Uni)
        {
            let Some((head, content)) = self.waiting.pop_front() else { return };
            // Fails only for a stream that has ended.
            let _ = quic.send_stream(stream).set_priority(priority(&head));
            let mut first = vec![PIECE];
            head.encode(&mut first);
            let mut chunks = [Bytes::from(first), content];
            let (_, written) = write(quic, stream, &mut chunks);
            if written == WriteEnd::Done {
                end(quic, stream, None);
            } else {
                // The other side reads too slowly for a whole piece: it has more than enough of ours already.
                end(quic, stream, Some(CANCELLED));
            }
            self.sending.insert(stream, head.no);
        }
    }

    /// More streams may be opened.
    pub(super) fn available(&mut self, link: &mut Link) {
        self.pump_pieces(link);
    }

    /// The control stream takes data again.
    pub(super) fn writable(&mut self, link: &mut Link) {
        self.pump(link);
    }

    /// A stream of ours is done with.
    pub(super) fn sent(&mut self, link: &mut Link, stream: QuicStream, stopped: bool) -> Option<Heard> {
        if self.control == Some(stream) {
            return Some(Heard::Fault("it does not want to hear anything"));
        }
        let no = self.sending.remove(&stream)?;
        if stopped && let Some(quic) = link.quic(self.conn) {
            end(quic, stream, Some(CANCELLED));
        }
        self.pump_pieces(link);
        Some(Heard::Sent(no))
    }

    /// Takes the streams that the other side has opened. How many there can be at a time QUIC limits.
    pub(super) fn accept(&mut self, now: Instant, link: &mut Link) -> Vec<Heard> {
        let mut heard = Vec::new();
        while let Some(stream) = link.quic(self.conn).and_then(|q| q.streams().accept(Dir::Uni)) {
            self.incoming.insert(stream, Incoming::New);
            self.read(now, link, stream, &mut heard);
        }
        heard
    }

    /// Refuses streams that have no meaning between members.
    pub(super) fn refuse_bidi(&self, link: &mut Link) {
        while let Some(quic) = link.quic(self.conn)
            && let Some(stream) = quic.streams().accept(Dir::Bi)
        {
            stop(quic, stream, REFUSED);
            end(quic, stream, Some(REFUSED));
        }
    }

    /// Reads stream `stream`, as far as there is a direct path: before that the scheduler does not know the other side.
    pub(super) fn read(&mut self, now: Instant, link: &mut Link, stream: QuicStream, heard: &mut Vec<Heard>) {
        if !self.up {
            return;
        }
        while let Some(incoming) = self.incoming.get_mut(&stream) {
            let Some(quic) = link.quic(self.conn) else { return };
            let mut chunks = Vec::new();
            let ended = read(quic, stream, READ_SLICE, |data| chunks.push(data));
            for chunk in chunks {
                if let Err(fault) = incoming.take(&chunk, self.stream, &mut self.has_control, heard) {
                    heard.push(Heard::Fault(fault));
                    self.incoming.remove(&stream);
                    stop(quic, stream, REFUSED);
                    return;
                }
            }
            match ended {
                ReadEnd::Limit => {}
                ReadEnd::Blocked => break,
                ReadEnd::Finished => {
                    heard.extend(self.incoming.remove(&stream).map(Incoming::finish));
                }
                ReadEnd::Reset(_) | ReadEnd::Closed => {
                    if matches!(self.incoming.remove(&stream), Some(Incoming::Control { .. })) {
                        heard.push(Heard::Fault("it has ended its messages"));
                    }
                }
            }
        }
        if self.has_control && !std::mem::replace(&mut self.heard, true) {
            self.drop_relay(now, link);
        }
    }

    /// Gives the relay up once both sides have a direct path. One of them is enough to do so, and the other has shown that it
    /// has one by saying something.
    fn drop_relay(&mut self, now: Instant, link: &mut Link) {
        if self.up && self.outgoing && !std::mem::replace(&mut self.relay_dropped, true) {
            link.drop_relay(now, self.conn);
        }
    }
}

/// Pieces go out in the order in which they are due: an older one first.
fn priority(head: &PieceHead) -> i32 {
    // Numbers of a swarm at one time are near each other; once a year the order is wrong for a second.
    let age = -((head.no & 0x3fff_ffff) as i32);
    if head.pushed { age } else { age + REQUEST_LEAD }
}

impl Incoming {
    /// Takes in what has come.
    fn take(
        &mut self,
        mut data: &[u8],
        stream: StreamId,
        has_control: &mut bool,
        heard: &mut Vec<Heard>,
    ) -> Result<(), &'static str> {
        if matches!(self, Self::New) {
            let Some((kind, rest)) = data.split_first() else { return Ok(()) };
            *self = match *kind {
                CONTROL if !std::mem::replace(has_control, true) => {
                    Self::Control { head: BytesMut::new(), reader: FrameReader::new(MAX_CONTROL) }
                }
                PIECE => Self::Piece(BytesMut::new()),
                _ => return Err("a stream of an unknown kind"),
            };
            data = rest;
        }
        match self {
            Self::New => Ok(()),
            Self::Control { head, reader } => {
                let missing = StreamId::LEN.saturating_sub(head.len()).min(data.len());
                let (first, rest) = data.split_at(missing);
                head.put_slice(first);
                if head.len() < StreamId::LEN {
                    return Ok(());
                }
                if head[..] != stream.as_bytes()[..] {
                    return Err("it watches another stream");
                }
                reader.push(rest);
                loop {
                    match reader.next() {
                        Ok(Some(frame)) => match Parsed::parse(&frame) {
                            Ok(parsed) => heard.push(Heard::Message(parsed)),
                            Err(_) => return Err("a malformed message"),
                        },
                        Ok(None) => return Ok(()),
                        Err(_) => return Err("a message that is too long"),
                    }
                }
            }
            Self::Piece(content) => {
                if content.len() + data.len() > MAX_PIECE_STREAM {
                    return Err("a piece that is too long");
                }
                content.put_slice(data);
                Ok(())
            }
        }
    }

    /// Nothing more comes.
    fn finish(self) -> Heard {
        match self {
            Self::New => Heard::Fault("an empty stream"),
            Self::Control { .. } => Heard::Fault("it has ended its messages"),
            Self::Piece(content) => match piece_head(&content.freeze()) {
                Ok((head, content)) => Heard::Piece(head, content),
                Err(_) => Heard::Fault("a malformed piece"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::Path;
    use crate::swarm::constants::MAX_PIECE;

    const STREAM: StreamId = StreamId::from_bytes([7; 16]);

    fn take(incoming: &mut Incoming, data: &[u8]) -> (Result<(), &'static str>, Vec<Heard>) {
        let (mut has_control, mut heard) = (false, Vec::new());
        let result = incoming.take(data, STREAM, &mut has_control, &mut heard);
        (result, heard)
    }

    #[test]
    fn messages_come_out_whole_however_they_are_cut() {
        let mut bytes = vec![CONTROL];
        bytes.extend_from_slice(STREAM.as_bytes());
        let sent = [Message::Request { piece: 7, slack: 300 }, Message::Bye];
        sent.iter().for_each(|m| bytes.extend_from_slice(&frame(|out| m.encode(out))));
        let (mut incoming, mut has_control, mut heard) = (Incoming::New, false, Vec::new());
        for byte in bytes {
            incoming.take(&[byte], STREAM, &mut has_control, &mut heard).unwrap();
        }
        let got: Vec<_> = heard
            .into_iter()
            .map(|h| match h {
                Heard::Message(Parsed::Message(m)) => m,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(got, sent);
    }

    #[test]
    fn what_breaks_the_protocol_is_told() {
        let mut bytes = vec![CONTROL];
        bytes.extend_from_slice(&[8; 16]);
        assert!(take(&mut Incoming::New, &bytes).0.is_err(), "another stream");
        assert!(take(&mut Incoming::New, &[9]).0.is_err(), "an unknown kind");
        let (mut has_control, mut heard) = (true, Vec::new());
        assert!(
            Incoming::New.take(&[CONTROL], STREAM, &mut has_control, &mut heard).is_err(),
            "a second one"
        );
        let mut piece = Incoming::New;
        let fits = vec![PIECE; MAX_PIECE_STREAM];
        assert!(take(&mut piece, &fits).0.is_ok());
        assert!(take(&mut piece, &[0, 0]).0.is_err(), "too long");
        assert!(matches!(Incoming::Piece(BytesMut::new()).finish(), Heard::Fault(_)));
    }

    #[test]
    fn a_piece_comes_back() {
        let head = PieceHead { no: 70_000, pushed: true, path: Path::from_hops(&[1; 20]).unwrap() };
        let mut bytes = vec![PIECE];
        head.encode(&mut bytes);
        bytes.extend_from_slice(&[5; MAX_PIECE]);
        assert!(bytes.len() <= MAX_PIECE_STREAM);
        let mut incoming = Incoming::New;
        assert!(take(&mut incoming, &bytes).0.is_ok());
        let Heard::Piece(got, content) = incoming.finish() else { panic!() };
        assert_eq!((got, &content[..]), (head, &[5; MAX_PIECE][..]));
    }

    #[test]
    fn older_pieces_go_first_and_requests_before_both() {
        let head = |no, pushed| PieceHead { no, pushed, path: Path::EMPTY };
        assert!(priority(&head(5, true)) > priority(&head(6, true)));
        assert!(priority(&head(20, false)) > priority(&head(5, true)));
        assert!(priority(&head(u64::MAX, false)) < CONTROL_PRIORITY);
    }
}

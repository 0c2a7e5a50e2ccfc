//! One connection to another member: messages on one stream each way, and each piece on a stream of its own, so that a piece
//! can be given up without holding up others.
//!
//! The stream of messages begins, as soon as the handshake is complete, with the proof that we are a member. Nothing that the
//! other side sends is looked at before its own proof was found good.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};

use super::token::MembershipToken;
use super::wire::{
    CONTROL, CONTROL_HEAD, FrameReader, MAX_CONTROL, MAX_PIECE_STREAM, PIECE, control_head, frame,
    parse_control_head, parse_renewal, renewal,
};
use crate::keys::PublicKey;
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
    /// It shows that it is a member.
    Token(MembershipToken),
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
    /// The key of the other side, once it has proven it.
    pub(super) key: Option<PublicKey>,
    /// What it has shown last to prove that it is a member, and when.
    pub(super) shown: Option<(MembershipToken, Instant)>,
    /// That was good enough: what it says is heard, and it may have pieces.
    pub(super) admitted: bool,
    /// Since when a direct path works.
    direct_since: Option<Instant>,
    /// The scheduler knows of it.
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
            key: None,
            shown: None,
            admitted: false,
            direct_since: None,
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

    /// Shows that we are a member, if the other side has shown who it is; again when there is a newer proof.
    pub(super) fn present(&mut self, link: &mut Link, token: &MembershipToken) {
        if self.key.is_none() {
            return;
        }
        if self.control.is_some() {
            let bytes = renewal(token);
            self.queued += bytes.len();
            self.outbox.push_back(bytes);
        } else if let Some(quic) = link.quic(self.conn)
            && let Some(control) = quic.streams().open(Dir::Uni)
        {
            // Fails only for a stream that has ended.
            let _ = quic.send_stream(control).set_priority(CONTROL_PRIORITY);
            self.control = Some(control);
            self.outbox.push_front(control_head(&self.stream, token));
        }
        self.pump(link);
    }

    /// A direct path works.
    pub(super) fn reached(&mut self, now: Instant) {
        self.direct_since.get_or_insert(now);
    }

    /// Whether a direct path has worked.
    pub(super) fn is_direct(&self) -> bool {
        self.direct_since.is_some()
    }

    /// Whether the scheduler may know of it now. Whom we have connected to, the tracker has named a member just before: there is
    /// no need to wait for its proof with what we have to say.
    pub(super) fn may_begin(&self) -> bool {
        !self.up && self.is_direct() && (self.admitted || self.outgoing)
    }

    /// Messages may flow.
    pub(super) fn begin(&mut self, link: &mut Link) {
        self.up = true;
        self.pump(link);
    }

    /// Takes in what has come before it might be heard.
    pub(super) fn resume(&mut self, now: Instant, link: &mut Link) -> Vec<Heard> {
        let mut heard = Vec::new();
        let streams: Vec<QuicStream> = self.incoming.keys().copied().collect();
        for stream in streams {
            if self.take(link, stream, &[], &mut heard) {
                self.read(now, link, stream, &mut heard);
            }
        }
        heard
    }

    /// Whether what the other side sends may be heard.
    fn is_open(&self) -> bool {
        self.up && self.admitted
    }

    /// Until when it must have a direct path, and then have shown that it is a member.
    pub(super) fn deadline(&self, patience: Duration) -> Option<Instant> {
        (!self.is_open()).then(|| self.direct_since.unwrap_or(self.began) + patience)
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
        if !self.admitted || self.waiting.len() >= MAX_WAITING {
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

    /// Reads stream `stream`. Before the other side may be heard, that is no more than what it must show for that.
    pub(super) fn read(&mut self, now: Instant, link: &mut Link, stream: QuicStream, heard: &mut Vec<Heard>) {
        let is_open = self.is_open();
        while let Some(incoming) = self.incoming.get(&stream) {
            let limit = if is_open { READ_SLICE } else { 1 };
            if !is_open && !incoming.is_head() {
                break;
            }
            let Some(quic) = link.quic(self.conn) else { return };
            let mut chunks = Vec::new();
            let ended = read(quic, stream, limit, |data| chunks.push(data));
            for chunk in chunks {
                if !self.take(link, stream, &chunk, heard) {
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
        let said = heard.iter().any(|h| matches!(h, Heard::Message(_)));
        if said && !std::mem::replace(&mut self.heard, true) {
            self.drop_relay(now, link);
        }
    }

    /// Takes in what has come on a stream. Returns false if it breaks the protocol.
    fn take(&mut self, link: &mut Link, stream: QuicStream, data: &[u8], heard: &mut Vec<Heard>) -> bool {
        let is_open = self.is_open();
        let Some(incoming) = self.incoming.get_mut(&stream) else { return false };
        let Err(fault) = incoming.take(data, &self.stream, is_open, &mut self.has_control, heard) else {
            return true;
        };
        heard.push(Heard::Fault(fault));
        self.incoming.remove(&stream);
        if let Some(quic) = link.quic(self.conn) {
            stop(quic, stream, REFUSED);
        }
        false
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
    /// Whether it may still hold what the other side has to show before it is heard.
    fn is_head(&self) -> bool {
        match self {
            Self::New => true,
            Self::Control { head, .. } => head.len() < CONTROL_HEAD,
            Self::Piece(_) => false,
        }
    }

    /// Takes in what has come. Messages wait until the other side may be heard.
    fn take(
        &mut self,
        mut data: &[u8],
        stream: &StreamId,
        is_open: bool,
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
                let missing = CONTROL_HEAD.saturating_sub(head.len()).min(data.len());
                let (first, rest) = data.split_at(missing);
                head.put_slice(first);
                let Ok(whole) = <&[u8; CONTROL_HEAD]>::try_from(&head[..]) else { return Ok(()) };
                if !first.is_empty() {
                    let token = parse_control_head(whole, stream);
                    heard.push(Heard::Token(token.ok_or("it watches another stream, or shows no proof")?));
                }
                reader.push(rest);
                if !is_open {
                    return Ok(());
                }
                loop {
                    match reader.next() {
                        Ok(Some(frame)) => heard.push(message(&frame)?),
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

/// What a frame of another member holds.
fn message(frame: &Bytes) -> Result<Heard, &'static str> {
    if let Some(token) = parse_renewal(frame) {
        return token.map(Heard::Token).map_err(|_| "a malformed proof");
    }
    Parsed::parse(frame).map(Heard::Message).map_err(|_| "a malformed message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SecretKey;
    use crate::peer::token::DoorTag;
    use crate::swarm::Path;
    use crate::swarm::constants::MAX_PIECE;

    const STREAM: StreamId = StreamId::from_bytes([7; 16]);

    fn token(expiry: u64) -> MembershipToken {
        let key = SecretKey::from_bytes([1; 32]);
        MembershipToken::issue(&key, &STREAM, &key.public(), DoorTag::OPEN, expiry)
    }

    fn take(incoming: &mut Incoming, data: &[u8]) -> (Result<(), &'static str>, Vec<Heard>) {
        let (mut has_control, mut heard) = (false, Vec::new());
        let result = incoming.take(data, &STREAM, true, &mut has_control, &mut heard);
        (result, heard)
    }

    /// A stream with proofs and messages, and what they are in words.
    fn control() -> (Vec<u8>, Vec<String>) {
        let mut bytes = control_head(&STREAM, &token(9)).to_vec();
        let mut words = vec![format!("{:?}", token(9))];
        for message in [Message::Request { piece: 7, slack: 300 }, Message::Bye] {
            bytes.extend_from_slice(&frame(|out| message.encode(out)));
            bytes.extend_from_slice(&renewal(&token(10)));
            words.extend([format!("{message:?}"), format!("{:?}", token(10))]);
        }
        (bytes, words)
    }

    fn words(heard: Vec<Heard>) -> Vec<String> {
        let word = |heard| match heard {
            Heard::Message(Parsed::Message(m)) => format!("{m:?}"),
            Heard::Token(t) => format!("{t:?}"),
            other => panic!("{other:?}"),
        };
        heard.into_iter().map(word).collect()
    }

    #[test]
    fn messages_come_out_whole_however_they_are_cut() {
        let (bytes, expected) = control();
        let (mut incoming, mut has_control, mut heard) = (Incoming::New, false, Vec::new());
        for byte in bytes {
            incoming.take(&[byte], &STREAM, true, &mut has_control, &mut heard).unwrap();
        }
        assert_eq!(words(heard), expected);
    }

    #[test]
    fn messages_wait_until_their_sender_may_be_heard() {
        let (bytes, expected) = control();
        let (mut incoming, mut has_control, mut heard) = (Incoming::New, false, Vec::new());
        assert!(incoming.is_head());
        incoming.take(&bytes, &STREAM, false, &mut has_control, &mut heard).unwrap();
        assert!(!incoming.is_head());
        assert_eq!(words(std::mem::take(&mut heard)), expected[..1]);
        incoming.take(&[], &STREAM, false, &mut has_control, &mut heard).unwrap();
        assert!(heard.is_empty());
        incoming.take(&[], &STREAM, true, &mut has_control, &mut heard).unwrap();
        assert_eq!(words(heard), expected[1..]);
    }

    #[test]
    fn what_breaks_the_protocol_is_told() {
        let other = StreamId::from_bytes([8; 16]);
        let bytes = control_head(&other, &token(9));
        assert!(take(&mut Incoming::New, &bytes).0.is_err(), "another stream");
        let mut bytes = control_head(&STREAM, &token(9)).to_vec();
        bytes[17] = 9;
        assert!(take(&mut Incoming::New, &bytes).0.is_err(), "no proof");
        let bytes = [&control_head(&STREAM, &token(9))[..], &frame(|out| out.push(32))].concat();
        assert!(take(&mut Incoming::New, &bytes).0.is_err(), "no proof later");
        assert!(take(&mut Incoming::New, &[9]).0.is_err(), "an unknown kind");
        let (mut has_control, mut heard) = (true, Vec::new());
        assert!(
            Incoming::New.take(&[CONTROL], &STREAM, true, &mut has_control, &mut heard).is_err(),
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

//! A member of a swarm that sends well-formed pieces with wrong content. It is written on the link, because a
//! [`Peer`](xp2p_proto::peer::Peer) cannot be made to do that.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use xp2p_proto::keys::{PublicKey, SecretKey, Ticket, TicketNonce};
use xp2p_proto::link::stream::{end, read, write};
use xp2p_proto::link::{ConnId, Dir, Entropy, Link, LinkConfig, LinkEvent, PathKind, StreamId as QuicStream};
use xp2p_proto::machine::{Datagram, Machine, Transmit};
use xp2p_proto::peer::{PEER_ALPN, TOKEN_LEN};
use xp2p_proto::register::{BINDING_LABEL, ClientOutcome, Introduction, RegisterClient, SERVER_ALPN};
use xp2p_proto::swarm::codec::Parsed;
use xp2p_proto::swarm::{
    HaveMap, LaneStatus, Message, NatClass, Path, PeerId, PieceHead, Report, Status, StreamId, ToTracker,
};

/// How often it lies.
const TICK: Duration = Duration::from_millis(200);
/// Bytes of a stream of messages before the first one: kind, stream id, token.
const HEAD: usize = 1 + StreamId::LEN + TOKEN_LEN;
/// Bytes of a wrong piece.
const WRONG: usize = 4_000;

#[derive(Debug)]
struct Victim {
    control: QuicStream,
    /// What came on each of its streams.
    incoming: BTreeMap<QuicStream, BytesMut>,
    subscribed: bool,
}

/// The poisoner.
#[derive(Debug)]
pub struct Poisoner {
    secret: SecretKey,
    server: SocketAddr,
    stream: StreamId,
    link: Link,
    uplink: ConnId,
    register: Option<(QuicStream, RegisterClient)>,
    victims: BTreeMap<ConnId, Victim>,
    newest: u64,
    /// The stream to the tracker.
    tracker: Option<QuicStream>,
    /// What came on it.
    told: BytesMut,
    /// With this it shows others that it is a member.
    token: Bytes,
    next: Instant,
    /// Wrong pieces sent so far.
    pub sent: u64,
    /// It says nothing by itself, only what a test tells it to.
    pub told_only: bool,
    /// It does not even say that it has anything, so that nobody wants to be fed by it.
    pub quiet: bool,
    /// What it says to each member that it reaches, before anything else.
    pub greeting: Option<Bytes>,
}

fn frame(body: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut out = vec![0, 0];
    body(&mut out);
    let len = (out.len() - 2) as u16;
    out[..2].copy_from_slice(&len.to_be_bytes());
    out.into()
}

fn as_told(bytes: &[u8], framed: bool) -> Bytes {
    if framed { frame(|out| out.extend_from_slice(bytes)) } else { Bytes::copy_from_slice(bytes) }
}

/// Takes whole frames out of what has come.
fn frames(buffer: &mut BytesMut) -> Vec<BytesMut> {
    let mut frames = Vec::new();
    while let Some(head) = buffer.first_chunk::<2>() {
        let len = usize::from(u16::from_be_bytes(*head));
        if buffer.len() < 2 + len {
            break;
        }
        frames.push(buffer.split_to(2 + len).split_off(2));
    }
    frames
}

impl Poisoner {
    /// One that begins at once.
    pub fn new(
        secret: SecretKey,
        entropy: Entropy,
        server: (SocketAddr, PublicKey),
        stream: StreamId,
        now: Instant,
    ) -> Self {
        let mut config = LinkConfig::new(secret.clone(), entropy);
        config.accept = vec![PEER_ALPN];
        let mut link = Link::new(config).expect("a link");
        let uplink = link.connect_server(now, Some(server.1), server.0, SERVER_ALPN).expect("a connection");
        Self {
            secret,
            server: server.0,
            stream,
            link,
            uplink,
            register: None,
            victims: BTreeMap::new(),
            newest: 0,
            tracker: None,
            told: BytesMut::new(),
            token: Bytes::new(),
            next: now + TICK,
            sent: 0,
            told_only: false,
            quiet: false,
            greeting: None,
        }
    }

    fn id(&self) -> PeerId {
        PeerId::of(&self.secret.public())
    }

    fn path(&self) -> Path {
        Path::EMPTY.with(self.id()).expect("room")
    }

    fn handle_server(&mut self, now: Instant, event: LinkEvent) {
        match event {
            LinkEvent::Connected { peer, .. } => {
                let binding = self.link.export(self.uplink, BINDING_LABEL).expect("a handshake");
                let quic = self.link.quic(self.uplink).expect("a connection");
                let stream = quic.streams().open(Dir::Bi).expect("a stream");
                let (client, hello) =
                    RegisterClient::new(Introduction::of_peer(&self.secret, None), peer, &binding);
                write(quic, stream, &mut [hello.into()]);
                self.register = Some((stream, client));
            }
            LinkEvent::Readable(stream) => {
                let Some((own, client)) = &mut self.register else { return };
                let Some(quic) = self.link.quic(self.uplink) else { return };
                let mut data = Vec::new();
                read(quic, stream, usize::MAX, |chunk| data.extend_from_slice(&chunk));
                if *own != stream {
                    self.told.extend_from_slice(&data);
                    for frame in frames(&mut self.told) {
                        if let [4, unix_and_token @ ..] = &frame[..] {
                            self.token = Bytes::copy_from_slice(&unix_and_token[8..]);
                        }
                    }
                    return;
                }
                match client.receive(&data).expect("a server in its senses").pop() {
                    Some(ClientOutcome::Registered { observed, .. }) => {
                        self.link.set_relay_server(self.server, true);
                        self.link.add_observed_address(now, observed);
                        self.join();
                    }
                    Some(other) => panic!("{other:?}"),
                    None => {}
                }
            }
            _ => {}
        }
    }

    fn join(&mut self) {
        let key = self.secret.public();
        let ticket = Ticket::new(&key, &TicketNonce::of_epoch(&self.secret, 0));
        let contact = [&[1][..], key.as_bytes(), ticket.as_bytes()].concat();
        let hello = frame(|out| {
            out.extend_from_slice(&[1, 1]);
            out.extend_from_slice(self.stream.as_bytes());
            out.push(0);
        });
        // It must not be elected: that it does not read the origin is another story.
        let join =
            ToTracker::Join { nat: NatClass::Public, slots: 90, may_pull: false, contact: contact.into() };
        let quic = self.link.quic(self.uplink).expect("a connection");
        let stream = quic.streams().open(Dir::Bi).expect("a stream");
        write(quic, stream, &mut [hello, frame(|out| join.encode(out))]);
        self.tracker = Some(stream);
        self.report();
    }

    /// To the tracker it says the same.
    fn report(&mut self) {
        let report = Report { slots: 90, spare: [90; 8], depth: [1; 8], origin_fed: true, lag: 50, ahead: 0 };
        if let (Some(stream), Some(quic)) = (self.tracker, self.link.quic(self.uplink)) {
            write(quic, stream, &mut [frame(|out| ToTracker::Report(report).encode(out))]);
        }
    }

    fn say(&mut self, conn: ConnId, message: &Message) {
        let Some(victim) = self.victims.get(&conn) else { return };
        if let Some(quic) = self.link.quic(conn) {
            write(quic, victim.control, &mut [frame(|out| message.encode(out))]);
        }
    }

    /// The members that it reaches directly.
    pub fn victims(&self) -> Vec<ConnId> {
        self.victims.keys().copied().collect()
    }

    /// Says anything on the stream with messages to a member; `framed`: as one message.
    pub fn say_bytes(&mut self, conn: ConnId, bytes: &[u8], framed: bool) {
        let Some(victim) = self.victims.get(&conn) else { return };
        if let Some(quic) = self.link.quic(conn) {
            write(quic, victim.control, &mut [as_told(bytes, framed)]);
        }
    }

    /// Sends anything to a member on a stream of its own.
    pub fn send_bytes(&mut self, conn: ConnId, bytes: &[u8], close: bool) {
        let Some(quic) = self.link.quic(conn) else { return };
        let Some(stream) = quic.streams().open(Dir::Uni) else { return };
        write(quic, stream, &mut [Bytes::copy_from_slice(bytes)]);
        if close {
            end(quic, stream, None);
        }
    }

    /// Says anything to the tracker; `framed`: as one message.
    pub fn tell_tracker(&mut self, bytes: &[u8], framed: bool) {
        if let (Some(stream), Some(quic)) = (self.tracker, self.link.quic(self.uplink)) {
            write(quic, stream, &mut [as_told(bytes, framed)]);
        }
    }

    /// It has everything, is next to the origin and has room for all.
    fn lie(&mut self, conn: ConnId) {
        let lane = LaneStatus { lag: 1, depth: 1, spare: 90, min_value: 0 };
        let have = HaveMap::from_parts(self.newest + 3, u128::MAX);
        let status = Status { have, batch: 0, backlog: 0, origin_fed: true, lanes: [lane; 8] };
        self.say(conn, &Message::Status(Box::new(status)));
    }

    fn poison(&mut self, conn: ConnId, no: u64, pushed: bool) {
        let head = PieceHead { no, pushed, path: self.path() };
        let Some(quic) = self.link.quic(conn) else { return };
        let Some(stream) = quic.streams().open(Dir::Uni) else { return };
        let mut first = vec![2];
        head.encode(&mut first);
        write(quic, stream, &mut [first.into(), Bytes::from(vec![no as u8; WRONG])]);
        end(quic, stream, None);
        self.sent += 1;
    }

    fn handle_peer(&mut self, now: Instant, conn: ConnId, event: LinkEvent) {
        match event {
            LinkEvent::Connected { .. } => self.link.seek_direct(now, conn),
            LinkEvent::Path(PathKind::Direct) => {
                let Some(quic) = self.link.quic(conn) else { return };
                let control = quic.streams().open(Dir::Uni).expect("a stream");
                let head = [&[1][..], self.stream.as_bytes(), &self.token].concat();
                write(quic, control, &mut [head.into()]);
                self.victims.insert(conn, Victim { control, incoming: BTreeMap::new(), subscribed: false });
                if let Some(greeting) = self.greeting.clone() {
                    self.say_bytes(conn, &greeting, true);
                }
                if !self.quiet {
                    self.lie(conn);
                }
            }
            LinkEvent::Lost(_) => {
                self.victims.remove(&conn);
            }
            LinkEvent::Opened(Dir::Uni) => {
                while let Some(stream) = self.link.quic(conn).and_then(|q| q.streams().accept(Dir::Uni)) {
                    self.listen(conn, stream);
                }
            }
            LinkEvent::Readable(stream) => self.listen(conn, stream),
            _ => {}
        }
    }

    fn listen(&mut self, conn: ConnId, stream: QuicStream) {
        let Some(quic) = self.link.quic(conn) else { return };
        let Some(victim) = self.victims.get_mut(&conn) else { return };
        let buffer = victim.incoming.entry(stream).or_default();
        read(quic, stream, usize::MAX, |chunk| buffer.extend_from_slice(&chunk));
        if buffer.first() != Some(&1) || buffer.len() < HEAD {
            return;
        }
        let mut rest = buffer.split_off(HEAD);
        let messages = frames(&mut rest);
        buffer.unsplit(rest);
        for message in messages {
            match Parsed::parse(&message.freeze()) {
                Ok(Parsed::Message(Message::Status(status))) => {
                    self.newest = self.newest.max(status.have.end());
                }
                Ok(Parsed::Message(Message::Subscribe { lane, .. })) => {
                    self.say(conn, &Message::Accept { lane, path: self.path() });
                    if let Some(victim) = self.victims.get_mut(&conn) {
                        victim.subscribed = true;
                    }
                }
                Ok(Parsed::Message(Message::Request { piece, .. })) => self.poison(conn, piece, false),
                _ => {}
            }
        }
    }

    fn turn(&mut self, now: Instant) {
        while let Some((conn, event)) = self.link.poll_event() {
            if conn == self.uplink {
                self.handle_server(now, event);
            } else {
                self.handle_peer(now, conn, event);
            }
        }
    }
}

impl Machine for Poisoner {
    type Event = ();

    fn handle_datagram(&mut self, now: Instant, datagram: Datagram) {
        self.link.handle_datagram(now, datagram);
        self.turn(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.link.handle_timeout(now);
        self.turn(now);
        if self.next <= now {
            self.next = now + TICK;
            if self.told_only {
                return;
            }
            self.report();
            let victims: Vec<_> = self.victims.iter().map(|(c, v)| (*c, v.subscribed)).collect();
            for (conn, subscribed) in victims {
                self.lie(conn);
                if subscribed {
                    (0..2).for_each(|i| self.poison(conn, self.newest + i, true));
                }
            }
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

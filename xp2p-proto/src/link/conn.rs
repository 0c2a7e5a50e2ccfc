//! One connection of a link: its QUIC state, its candidates and its hole-punching rounds.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use bytes::Bytes;
use noq_proto::crypto::rustls::HandshakeData;
use noq_proto::n0_nat_traversal::Event as NatEvent;
use noq_proto::{
    Connection, ConnectionError, Event, FourTuple, NetworkChangeHint, PathEvent, PathId, PathStatus, Side,
    StreamEvent, TransportErrorCode, VarInt,
};
use rustls::pki_types::CertificateDer;

use super::addr::{from_quic, is_advertisable, to_quic, virtual_index};
use super::guess::Guess;
use super::paths::{Outcome, PathKind, Paths};
use super::{ConnId, LinkEvent, LostReason, MAX_CANDIDATES};
use crate::keys::PublicKey;

/// Pauses between hole-punching rounds while there is no direct path. The last one repeats: networks change, and a
/// round costs a few dozen small packets.
const ROUND_PAUSES: [Duration; 4] =
    [Duration::from_secs(2), Duration::from_secs(5), Duration::from_secs(10), Duration::from_secs(30)];
/// Datagrams of a GSO batch on a path of any speed, and on the fastest: 32 of 1,500 bytes are below the 64 KiB that a system takes in
/// one call, with room for the headers of a relay.
const BATCH: (usize, usize) = (10, 32);
/// Bytes of the smallest full datagram (RFC 9000 section 14).
const DATAGRAM: u128 = 1200;
/// What the path carries in so long goes out together.
const BATCH_TIME: Duration = Duration::from_millis(1);
/// A connection that has ended is forgotten after this long at the latest. QUIC wants to wait for three times what an answer may
/// take (RFC 9000 section 10.2), which a slow path, or a peer by what it says of itself, can make minutes.
const MAX_CLOSING: Duration = Duration::from_secs(10);
/// Most packets at once to addresses that are on no path, and how many more every second: probes of what the peer names as its
/// addresses. A round is at most 9 to each of 8, and the rounds that we begin by ourselves stay below this.
const MAX_PROBES: u32 = 150;
const PROBES_PER_SECOND: u32 = 5;
/// Longest text of a peer's close reason that is kept.
const MAX_REASON: usize = 200;

pub(super) struct Conn {
    pub(super) id: ConnId,
    pub(super) quic: Connection,
    pub(super) paths: Paths,
    /// Whether the session runs over this machine's loopback only, where loopback candidates make sense.
    pub(super) loopback: bool,
    pub(super) handshaking: bool,
    /// Something has come for it.
    pub(super) heard: bool,
    /// Closed by us: nothing more is reported.
    pub(super) closed: bool,
    /// Whether our addresses may be told to the peer.
    pub(super) seek_direct: bool,
    /// Whether it keeps its place when others want one.
    pub(super) vouched: bool,
    pub(super) dirty: bool,
    /// Has had a packet since it was last asked for news.
    pub(super) touched: bool,
    /// When the last datagram came for it.
    pub(super) last_datagram: Instant,
    pub(super) timer: Option<Instant>,
    /// When it is forgotten, once it has ended.
    forget_at: Option<Instant>,
    pub(super) observed: Option<SocketAddr>,
    pub(super) reported: Option<SocketAddr>,
    /// The kind of path that was reported last.
    told: Option<PathKind>,
    pub(super) relay_path: bool,
    /// Whether what goes through the server goes there over TCP.
    pub(super) over_tcp: bool,
    /// Where the last packet went that was on a path.
    on_path: Option<SocketAddr>,
    /// Packets that may go elsewhere, and when that was counted.
    probes: (u32, Instant),
    offered: Vec<SocketAddr>,
    next_round: Option<Instant>,
    rounds: usize,
    pub(super) guess: Guess,
}

/// The relay path outlives any change of our own addresses; direct ones do not.
#[derive(Debug)]
struct RelayRecovers;

impl NetworkChangeHint for RelayRecovers {
    fn is_path_recoverable(&self, _path: PathId, network_path: FourTuple) -> bool {
        virtual_index(network_path.remote()).is_some()
    }
}

impl Conn {
    pub(super) fn new(now: Instant, id: ConnId, quic: Connection, loopback: bool) -> Self {
        let relay_path =
            quic.network_path(PathId::ZERO).is_ok_and(|path| virtual_index(path.remote()).is_some());
        Self {
            id,
            quic,
            paths: Paths::default(),
            loopback,
            handshaking: true,
            heard: false,
            closed: false,
            seek_direct: false,
            vouched: false,
            dirty: false,
            touched: false,
            last_datagram: now,
            timer: None,
            forget_at: None,
            observed: None,
            reported: None,
            told: None,
            relay_path,
            over_tcp: false,
            on_path: None,
            probes: (MAX_PROBES, now),
            offered: Vec::new(),
            next_round: None,
            rounds: 0,
            guess: Guess::default(),
        }
    }

    /// Whether a packet may go to a real address. To those that the peer merely names only if it may know ours, which it learns by
    /// what comes, and not too many: they may be anybody's.
    pub(super) fn may_send_to(&mut self, now: Instant, destination: SocketAddr) -> bool {
        if self.on_path == Some(destination) {
            return true;
        }
        let quic = &self.quic;
        if quic
            .paths()
            .into_iter()
            .any(|p| quic.network_path(p).is_ok_and(|path| path.remote() == destination))
        {
            self.on_path = Some(destination);
            return true;
        }
        if !self.is_client() && !self.seek_direct {
            return false;
        }
        let (left, since) = &mut self.probes;
        let passed = now.saturating_duration_since(*since).as_millis() * u128::from(PROBES_PER_SECOND) / 1000;
        if passed > 0 {
            *left = u32::try_from(passed).unwrap_or(u32::MAX).saturating_add(*left).min(MAX_PROBES);
            *since = now;
        }
        let may = *left > 0;
        *left = left.saturating_sub(1);
        may
    }

    pub(super) fn is_client(&self) -> bool {
        self.quic.side() == Side::Client
    }

    /// Collects what QUIC has to tell.
    pub(super) fn poll_events(
        &mut self,
        now: Instant,
        own: &[SocketAddr],
        outside: &[SocketAddr],
        out: &mut VecDeque<(ConnId, LinkEvent)>,
    ) {
        let mut punch = false;
        while let Some(event) = self.quic.poll() {
            let news = match event {
                Event::HandshakeDataReady | Event::HandshakeConfirmed => continue,
                Event::Connected => {
                    self.handshaking = false;
                    let outcome = self.paths.established(now, &mut self.quic, PathId::ZERO);
                    if self.relay_path {
                        // The way of last resort stays open for as long as the connection lives.
                        let _ = self.quic.set_path_max_idle_timeout(now, PathId::ZERO, None);
                    }
                    match self.identity() {
                        Some((peer, alpn)) => {
                            self.emit(out, LinkEvent::Connected { peer, alpn });
                            self.report(outcome, out);
                            if self.is_client() && self.relay_path {
                                self.seek_direct = true;
                            }
                            self.update_candidates(now, own, outside, false);
                        }
                        // Both sides demand raw keys, so this cannot happen; if it does, nobody is there to talk to.
                        None => self.emit(out, LinkEvent::Lost(LostReason::WrongKey)),
                    }
                    continue;
                }
                Event::ConnectionLost { reason } => LinkEvent::Lost(lost_reason(reason)),
                Event::Stream(stream) => match stream {
                    StreamEvent::Opened { dir } => LinkEvent::Opened(dir),
                    StreamEvent::Readable { id } => LinkEvent::Readable(id),
                    StreamEvent::Writable { id } => LinkEvent::Writable(id),
                    StreamEvent::Finished { id } => LinkEvent::Finished(id),
                    StreamEvent::Stopped { id, error_code } => {
                        LinkEvent::Stopped(id, error_code.into_inner())
                    }
                    StreamEvent::Available { dir } => LinkEvent::Available(dir),
                },
                Event::DatagramReceived | Event::DatagramsUnblocked => continue,
                Event::Path(path) => {
                    self.handle_path(now, path, out);
                    continue;
                }
                Event::NatTraversal(NatEvent::AddressAdded(_)) => {
                    punch = true;
                    continue;
                }
                Event::NatTraversal(NatEvent::AddressRemoved(_)) => continue,
            };
            self.emit(out, news);
        }
        if punch && self.seek_direct {
            self.guess.forget();
            self.rounds = 0;
            self.punch(now);
        }
    }

    fn emit(&self, out: &mut VecDeque<(ConnId, LinkEvent)>, event: LinkEvent) {
        // Packets that came together may each have brought something for one stream. Whoever reads takes all of it, its end included, and
        // must not be sent there again.
        let told = |id| {
            out.iter().any(|(conn, e)| *conn == self.id && matches!(e, LinkEvent::Readable(i) if *i == id))
        };
        if matches!(event, LinkEvent::Readable(id) if told(id)) {
            return;
        }
        if !self.closed {
            out.push_back((self.id, event));
        }
    }

    fn report(&mut self, outcome: Outcome, out: &mut VecDeque<(ConnId, LinkEvent)>) {
        if outcome.switched {
            self.tell_kind(out);
        }
        if outcome.lost_direct {
            self.guess.forget();
            self.emit(out, LinkEvent::DirectLost);
        }
    }

    /// Most datagrams of the next batch. A slow path gets small ones, between which others get their turn; on a fast one each call
    /// to the system should carry much. Linux sizes the bursts of TCP by the same rule (`tcp_tso_autosize`).
    pub(super) fn batch(&self) -> NonZeroUsize {
        let (least, most) = BATCH;
        let path = self.paths.selected();
        let carries =
            path.and_then(|id| Some((self.quic.congestion_state(id)?.window(), self.quic.rtt(id)?)));
        let datagrams = carries.map_or(0, |(window, rtt)| {
            let bytes = u128::from(window) * BATCH_TIME.as_nanos() / rtt.as_nanos().max(1);
            bytes / DATAGRAM
        });
        let datagrams = usize::try_from(datagrams).unwrap_or(most).clamp(least, most);
        NonZeroUsize::new(datagrams).unwrap_or(NonZeroUsize::MIN)
    }

    /// The kind of path that data goes by.
    pub(super) fn kind(&self) -> Option<PathKind> {
        self.paths.selected_kind().map(|kind| kind.over(self.over_tcp))
    }

    /// Tells the kind of path if it is another one. From one direct path to another is no news: both are direct.
    fn tell_kind(&mut self, out: &mut VecDeque<(ConnId, LinkEvent)>) {
        if let Some(kind) = self.kind()
            && self.told.replace(kind) != Some(kind)
        {
            self.emit(out, LinkEvent::Path(kind));
        }
    }

    /// Notes by which way the server is reached.
    pub(super) fn set_over_tcp(&mut self, tcp: bool, out: &mut VecDeque<(ConnId, LinkEvent)>) {
        if std::mem::replace(&mut self.over_tcp, tcp) != tcp && self.told.is_some() {
            self.tell_kind(out);
        }
    }

    /// UDP gets through again: direct paths may, too.
    pub(super) fn punch_again(&mut self, now: Instant) {
        if self.seek_direct && !self.paths.has_direct() {
            self.rounds = 0;
            self.punch(now);
        }
    }

    fn handle_path(&mut self, now: Instant, event: PathEvent, out: &mut VecDeque<(ConnId, LinkEvent)>) {
        match event {
            PathEvent::Established { id, .. } if id != PathId::ZERO => {
                let outcome = self.paths.established(now, &mut self.quic, id);
                self.report(outcome, out);
                if self.paths.has_direct() {
                    self.next_round = None;
                    self.guess.stop();
                }
            }
            PathEvent::Abandoned { id, .. } => {
                let outcome = self.paths.abandoned(now, &mut self.quic, id);
                self.report(outcome, out);
                self.after_loss(now, outcome);
            }
            PathEvent::Discarded { id, path_stats, .. } => {
                let kind =
                    if id == PathId::ZERO && self.relay_path { PathKind::Relay } else { PathKind::Direct };
                self.paths.discarded(kind, &path_stats);
            }
            PathEvent::ObservedAddr { addr, .. } => self.observed = Some(from_quic(addr)),
            _ => {}
        }
    }

    fn after_loss(&mut self, now: Instant, outcome: Outcome) {
        if outcome.lost_direct && self.is_client() {
            self.rounds = 0;
            self.next_round = Some(now + Duration::from_millis(100));
        }
    }

    /// The addresses to offer.
    fn candidates(&self, own: &[SocketAddr], outside: &[SocketAddr]) -> Vec<SocketAddr> {
        let mut wanted: Vec<SocketAddr> = Vec::new();
        for &addr in outside.iter().chain(own) {
            if is_advertisable(addr, self.loopback)
                && !wanted.contains(&addr)
                && wanted.len() < usize::from(MAX_CANDIDATES)
            {
                wanted.push(addr);
            }
        }
        wanted
    }

    /// Offers our addresses with the answer to the first packet of a peer that comes through a relay, a round trip
    /// before its handshake is complete.
    pub(super) fn offer_early(&mut self, own: &[SocketAddr], outside: &[SocketAddr]) {
        if !self.relay_path || self.is_client() {
            return;
        }
        self.seek_direct = true;
        let wanted = self.candidates(own, outside);
        // Fails as long as QUIC has not seen what the peer can; then they are offered with the handshake complete.
        if wanted.iter().all(|addr| self.quic.add_nat_traversal_address(*addr).is_ok()) {
            self.offered = wanted;
        }
    }

    /// Tells QUIC which addresses to offer. `changed`: our own network is another one than before.
    pub(super) fn update_candidates(
        &mut self,
        now: Instant,
        own: &[SocketAddr],
        outside: &[SocketAddr],
        changed: bool,
    ) {
        if self.handshaking || self.quic.is_closed() || !self.relay_path {
            return;
        }
        if changed {
            self.guess.forget();
        }
        if changed && self.is_client() {
            self.quic.handle_network_change(Some(&RelayRecovers), now);
        }
        if !self.seek_direct {
            return;
        }
        let wanted = self.candidates(own, outside);
        if wanted == self.offered {
            return;
        }
        for &old in self.offered.iter().filter(|a| !wanted.contains(a)) {
            // Fails only if the peer knows no NAT traversal, and then nothing was offered either.
            let _ = self.quic.remove_nat_traversal_address(old);
        }
        for &new in wanted.iter().filter(|a| !self.offered.contains(a)) {
            // Fails for a peer that takes fewer addresses than we have; the first ones matter most.
            let _ = self.quic.add_nat_traversal_address(new);
        }
        self.offered = wanted;
        if self.is_client() {
            self.rounds = 0;
            self.punch(now);
        }
    }

    /// Starts a hole-punching round (viewer side only) and plans the next one.
    fn punch(&mut self, now: Instant) {
        if !self.is_client() || self.handshaking || self.quic.is_closed() {
            return;
        }
        // Without a candidate of the peer there is nothing to do yet: its ADD_ADDRESS will bring us here again.
        if self.quic.initiate_nat_traversal_round(now).is_ok_and(|probed| !probed.is_empty()) {
            let pause = ROUND_PAUSES[self.rounds.min(ROUND_PAUSES.len() - 1)];
            self.rounds += 1;
            self.next_round = Some(now + pause);
        } else {
            self.next_round = None;
        }
    }

    /// Whether all still goes through the server, although the peer may know where we are.
    pub(super) fn is_looking_for_a_path(&self) -> bool {
        self.relay_path && self.seek_direct && !self.over_tcp && !self.handshaking && !self.paths.has_direct()
    }

    /// Tries a path to where the peer seems to be. Only whoever has opened the connection can.
    pub(super) fn try_path(&mut self, now: Instant, addr: SocketAddr) -> bool {
        let path = FourTuple::from_remote(to_quic(addr));
        // What else can fail is a lack of numbers for more paths, and then there are others.
        self.is_client() && self.quic.open_path_ensure(path, PathStatus::Backup, now).is_ok()
    }

    /// Closes the path through the server, if there is another one.
    pub(super) fn drop_relay(&mut self, now: Instant) {
        if self.relay_path && self.paths.has_direct() && !self.quic.is_closed() {
            // Fails only if it is closed already, or the peer has just closed the other one.
            let _ = self.quic.close_path(now, PathId::ZERO, VarInt::from_u32(0));
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, out: &mut VecDeque<(ConnId, LinkEvent)>) {
        self.quic.handle_timeout(now);
        if !self.quic.is_closed() && !self.handshaking {
            let outcome = self.paths.check(now, &mut self.quic);
            self.report(outcome, out);
            self.after_loss(now, outcome);
            if self.over_tcp || self.paths.has_direct() {
                self.guess.stop();
            }
            if self.next_round.is_some_and(|at| at <= now) {
                if self.paths.has_direct() {
                    self.next_round = None;
                } else {
                    self.punch(now);
                }
            }
        }
    }

    /// Whether it has ended long enough ago to be forgotten, whatever QUIC still waits for.
    pub(super) fn is_forgotten(&mut self, now: Instant) -> bool {
        self.quic.is_closed() && *self.forget_at.get_or_insert(now + MAX_CLOSING) <= now
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let ours = if self.quic.is_closed() || self.handshaking {
            None
        } else {
            [self.paths.next_check(), self.next_round, self.guess.next()].into_iter().flatten().min()
        };
        [self.quic.poll_timeout(), ours, self.forget_at].into_iter().flatten().min()
    }

    /// The key that the peer has proven, and the protocol.
    fn identity(&self) -> Option<(PublicKey, Bytes)> {
        let session = self.quic.crypto_session();
        let certs = session.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
        let peer = PublicKey::from_spki_der(certs.first()?).ok()?;
        let data = session.handshake_data()?.downcast::<HandshakeData>().ok()?;
        Some((peer, Bytes::from(data.protocol.unwrap_or_default())))
    }
}

fn lost_reason(error: ConnectionError) -> LostReason {
    // TLS alerts travel as QUIC error 0x100 + alert: 42 bad_certificate ... 49 access_denied, 51 decrypt_error.
    let is_key_alert = |code: TransportErrorCode| {
        let code = u64::from(code);
        (0x100 + 42..=0x100 + 51).contains(&code) || code == 0x100 + 116
    };
    let is_crypto = |code: TransportErrorCode| {
        (0x100..0x200).contains(&u64::from(code)) || code == TransportErrorCode::AEAD_LIMIT_REACHED
    };
    match error {
        ConnectionError::ApplicationClosed(close) => {
            LostReason::Closed { code: close.error_code.into_inner(), reason: printable(&close.reason) }
        }
        ConnectionError::ConnectionClosed(close) if is_key_alert(close.error_code) => LostReason::WrongKey,
        ConnectionError::ConnectionClosed(close)
            if close.error_code == TransportErrorCode::CONNECTION_REFUSED =>
        {
            LostReason::Refused
        }
        ConnectionError::ConnectionClosed(close) if is_crypto(close.error_code) => {
            LostReason::Encryption(printable(&close.reason))
        }
        ConnectionError::ConnectionClosed(close) => LostReason::Protocol(printable(&close.reason)),
        ConnectionError::TransportError(e) if is_key_alert(e.code) => LostReason::WrongKey,
        ConnectionError::TransportError(e) if is_crypto(e.code) => {
            LostReason::Decryption(printable(e.to_string().as_bytes()))
        }
        ConnectionError::TimedOut => LostReason::TimedOut,
        ConnectionError::Reset => LostReason::Reset,
        other => LostReason::Protocol(printable(other.to_string().as_bytes())),
    }
}

/// A peer's words, short and without anything that could confuse a terminal or a reader.
pub(super) fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .take(MAX_REASON)
        .map(|c| if crate::wire::printable(c) { c } else { '\u{fffd}' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use noq_proto::{ConnectionClose, TransportError};

    fn ours(code: TransportErrorCode) -> ConnectionError {
        TransportError::new(code, String::from("why")).into()
    }

    fn theirs(code: TransportErrorCode) -> ConnectionError {
        ConnectionError::ConnectionClosed(ConnectionClose {
            error_code: code,
            frame_type: noq_proto::MaybeFrame::None,
            reason: Bytes::from_static(b"why"),
        })
    }

    #[test]
    fn failures_of_tls_are_told_apart_by_who_could_not_read_and_from_wrong_keys() {
        let handshake_failure = TransportErrorCode::crypto(40);
        assert_eq!(lost_reason(theirs(handshake_failure)), LostReason::Encryption("why".to_owned()));
        assert!(matches!(lost_reason(ours(handshake_failure)), LostReason::Decryption(_)));
        let limit = TransportErrorCode::AEAD_LIMIT_REACHED;
        assert!(matches!(lost_reason(ours(limit)), LostReason::Decryption(_)));
        let bad_certificate = TransportErrorCode::crypto(42);
        assert_eq!(lost_reason(ours(bad_certificate)), LostReason::WrongKey);
        assert_eq!(lost_reason(theirs(bad_certificate)), LostReason::WrongKey);
        assert!(matches!(lost_reason(ours(TransportErrorCode::FLOW_CONTROL_ERROR)), LostReason::Protocol(_)));
    }
}

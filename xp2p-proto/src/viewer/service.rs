//! One camera as a viewer sees it: the connection, the streams on it, and how it comes back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::config::{ServiceConfig, ViewerConfig, ViewerError};
use super::event::{CommandKey, MessageKey, ServiceId, StreamKey, StreamStats, ViewerEvent};
use super::exchanges::Exchanges;
use super::fetch::{Fetch, Resume};
use super::nearby::Nearby;
use super::show::Show;
use super::stream::{State, Stream};
use super::talk::Talk;
use crate::camera::{CLOSE_OK, CLOSE_REVOKED, VIEWER_ALPN};
use crate::error::ErrorCode;
use crate::flv::Tag;
use crate::link::stream::{ReadEnd, end, read, stop, write};
use crate::link::{ConnId, ConnectError, Dir, Link, LinkEvent, LostReason, PathTotals, StreamId};
use crate::live::{LATE, MAX_HEAD, StreamHead, StreamKind};
use crate::request::{Command, Download, HeadReader, Live as LiveRequest, Playback, Request, Voice};
use crate::wire::RefuseReason;

/// Pauses between attempts to come back. The last one repeats.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];
/// An attempt that has not connected after this long makes room for the next, which asks all servers again.
const ATTEMPT: Duration = Duration::from_secs(8);
/// A server that does not know a camera gets this long until it is believed: the camera may be registering.
const UNKNOWN_GRACE: Duration = Duration::from_secs(3);
/// A stream that has been silent for this long makes us ask whether the way to the camera still works.
const QUIET: Duration = Duration::from_millis(500);
/// When nothing at all was heard for this long, a second connection is tried beside the first: the camera may have
/// restarted without a word that reached us. Whichever works first is kept.
const STALE: Duration = Duration::from_secs(4);
/// The same for a connection that has no way through a server to fall back on: who leaves the camera's network hears nothing.
const STALE_NEARBY: Duration = Duration::from_millis(500);
/// How often it is then asked for a sign of life, which takes a few milliseconds to come.
const QUIET_NEARBY: Duration = Duration::from_millis(250);
/// Bytes that QUIC may hold unacknowledged: enough for a video call over a long way, and not so much that what is
/// said would be old before it is sent.
const SEND_WINDOW: u64 = 256 * 1024;
/// Bytes that are read from one stream before others get their turn.
const READ_SLICE: usize = 64 * 1024;

/// A unidirectional stream of the camera.
#[derive(Debug)]
enum Uni {
    /// Its head is not whole.
    Head(Vec<u8>),
    /// Media of a stream of ours.
    Media { stream: u64, kind: StreamKind, number: u64 },
}

#[derive(Debug)]
pub(super) struct Service {
    id: ServiceId,
    config: ServiceConfig,
    viewer: ViewerConfig,
    conn: Option<ConnId>,
    connected: bool,
    started: Instant,
    /// Since when there is no connection.
    down_since: Option<Instant>,
    attempt_until: Option<Instant>,
    retry_at: Option<Instant>,
    retries: usize,
    refused: Option<(RefuseReason, Instant)>,
    ever_connected: bool,
    over: bool,
    streams: BTreeMap<u64, Stream>,
    exchanges: Exchanges,
    next_stream: u64,
    uni: BTreeMap<StreamId, Uni>,
    /// Streams with data that was not read because too much is held.
    unread: BTreeSet<StreamId>,
    /// Bytes of connections that are gone.
    past: PathTotals,
    /// Time of the last input.
    now: Instant,
    /// When to ask for a sign of life unless something comes.
    quiet_at: Option<Instant>,
    /// Signs of life so far on this connection, and when they last grew.
    heard: (u64, Instant),
    /// A second connection, tried while the first is silent.
    spare: Option<ConnId>,
    /// Where the camera may be in our own network, and the attempts to connect there.
    nearby: Nearby,
    /// The connection goes straight to the camera, past all servers.
    is_nearby: bool,
}

impl Service {
    pub(super) fn new(id: ServiceId, config: ServiceConfig, viewer: &ViewerConfig, now: Instant) -> Self {
        Self {
            id,
            config,
            viewer: viewer.clone(),
            conn: None,
            connected: false,
            started: now,
            down_since: Some(now),
            attempt_until: None,
            retry_at: None,
            retries: 0,
            refused: None,
            ever_connected: false,
            over: false,
            streams: BTreeMap::new(),
            exchanges: Exchanges::new(id),
            next_stream: 0,
            uni: BTreeMap::new(),
            unread: BTreeSet::new(),
            past: PathTotals::default(),
            now,
            quiet_at: None,
            heard: (0, now),
            spare: None,
            nearby: Nearby::default(),
            is_nearby: false,
        }
    }

    pub(super) fn conn(&self) -> Option<ConnId> {
        self.conn
    }

    /// Whether events of `conn` are for this service.
    pub(super) fn owns(&self, conn: ConnId) -> bool {
        self.conn == Some(conn) || self.spare == Some(conn) || self.nearby.is_trying(conn)
    }

    pub(super) fn totals(&self, link: &mut Link) -> PathTotals {
        let now = self.conn.map(|c| link.totals(c)).unwrap_or_default();
        self.past + now
    }

    pub(super) fn stream_stats(&self, key: StreamKey) -> Option<StreamStats> {
        match self.streams.get(&key.number) {
            Some(live) => Some(live.stats()),
            None => {
                let show = self.exchanges.shows.get(&key.number)?;
                Some(StreamStats { received: show.received, ..StreamStats::default() })
            }
        }
    }

    /// Bytes of talk that wait.
    pub(super) fn send_queue(&self) -> usize {
        self.exchanges.talks.values().map(Talk::queued).sum()
    }

    pub(super) fn connect(
        &mut self,
        now: Instant,
        link: &mut Link,
        _events: &mut VecDeque<ViewerEvent>,
    ) -> Result<(), ConnectError> {
        self.now = now;
        let info = &self.config.info;
        let servers = &self.config.servers;
        // Without any server the camera may still be in our own network.
        if !(self.viewer.lan && servers.is_empty()) {
            self.conn =
                Some(link.connect_relayed(now, *info.camera(), *info.ticket(), servers, VIEWER_ALPN)?);
        }
        // Where it may be there is tried at the same time; whichever works first is kept.
        self.nearby.connect(now, link, info.camera());
        self.connected = false;
        self.attempt_until = Some(now + ATTEMPT);
        self.retry_at = None;
        Ok(())
    }

    /// The camera may be at these addresses of our own network.
    pub(super) fn add_nearby(&mut self, now: Instant, link: &mut Link, addrs: &[SocketAddr]) {
        self.now = now;
        let new = self.nearby.add(addrs);
        if new && !self.over && !self.connected {
            self.nearby.connect(now, link, self.config.info.camera());
        }
    }

    /// The addresses of the servers, once their names are resolved.
    pub(super) fn set_servers(&mut self, now: Instant, link: &mut Link, addrs: &[SocketAddr]) {
        self.now = now;
        let waiting = self.config.servers.is_empty();
        self.config.servers = addrs.to_vec();
        // Those who wait for it go on at once; others have been using addresses that work, or will try these next.
        if waiting && !self.over && !self.connected && self.conn.is_none() {
            let info = &self.config.info;
            let conn = link.connect_relayed(now, *info.camera(), *info.ticket(), addrs, VIEWER_ALPN);
            // Too many connections at this moment: the next attempt tries again.
            self.conn = conn.ok();
            self.attempt_until = Some(now + ATTEMPT);
            self.retry_at = None;
        }
    }

    pub(super) fn close(&mut self, now: Instant, link: &mut Link, reason: &str) {
        for conn in [self.conn.take(), self.spare.take()].into_iter().flatten() {
            link.close(now, conn, CLOSE_OK, reason);
        }
        self.nearby.stop(now, link, reason);
        self.over = true;
    }

    pub(super) fn start_live(
        &mut self,
        now: Instant,
        link: &mut Link,
        request: LiveRequest,
        events: &mut VecDeque<ViewerEvent>,
    ) -> Result<StreamKey, ViewerError> {
        let key = self.new_stream(now)?;
        let stream = Stream::new(key, request, &self.viewer);
        stream.head(&self.viewer, None)?;
        self.streams.insert(key.number, stream);
        self.ask(link, events);
        Ok(key)
    }

    fn new_stream(&mut self, now: Instant) -> Result<StreamKey, ViewerError> {
        if self.over {
            return Err(ViewerError::NoService);
        }
        if self.streams.len() + self.exchanges.streams() >= self.viewer.max_streams {
            return Err(ViewerError::TooMany);
        }
        self.now = now;
        let key = StreamKey { service: self.id, number: self.next_stream };
        self.next_stream += 1;
        Ok(key)
    }

    pub(super) fn start_playback(
        &mut self,
        now: Instant,
        link: &mut Link,
        request: Playback,
        events: &mut VecDeque<ViewerEvent>,
    ) -> Result<StreamKey, ViewerError> {
        Request::Playback(request.clone()).to_head()?;
        let key = self.new_stream(now)?;
        self.exchanges.shows.insert(key.number, Show::new(key, request, self.viewer.limits));
        self.ask(link, events);
        Ok(key)
    }

    pub(super) fn start_download(
        &mut self,
        now: Instant,
        link: &mut Link,
        request: Download,
        resume: Resume,
        events: &mut VecDeque<ViewerEvent>,
    ) -> Result<StreamKey, ViewerError> {
        Request::Download(request.clone()).to_head()?;
        let key = self.new_stream(now)?;
        self.exchanges.fetches.insert(key.number, Fetch::new(key, request, resume));
        self.ask(link, events);
        Ok(key)
    }

    pub(super) fn start_voice(
        &mut self,
        now: Instant,
        link: &mut Link,
        request: Voice,
        events: &mut VecDeque<ViewerEvent>,
    ) -> Result<StreamKey, ViewerError> {
        let key = self.new_stream(now)?;
        self.exchanges.talks.insert(key.number, Talk::new(key, request));
        self.ask(link, events);
        Ok(key)
    }

    pub(super) fn send_command(
        &mut self,
        now: Instant,
        link: &mut Link,
        command: Command,
        deadline: Instant,
        events: &mut VecDeque<ViewerEvent>,
    ) -> Result<CommandKey, ViewerError> {
        if self.over {
            return Err(ViewerError::NoService);
        }
        if self.exchanges.commands() >= self.viewer.max_commands {
            return Err(ViewerError::TooMany);
        }
        let mut head = Request::Command(command.clone()).to_head()?;
        head.headers.capability = self.config.info.capability().cloned();
        self.now = now;
        let key = self.exchanges.command(&command, &head, deadline);
        self.ask(link, events);
        Ok(key)
    }

    pub(super) fn release(
        &mut self,
        now: Instant,
        link: &mut Link,
        stream: StreamKey,
        bytes: usize,
        events: &mut VecDeque<ViewerEvent>,
    ) {
        self.now = now;
        let fetch = self.exchanges.fetches.get_mut(&stream.number);
        if fetch.is_some_and(|f| f.release(bytes))
            && let Some(quic) = self.conn.and_then(|c| link.quic(c))
        {
            self.exchanges.read_fetch(quic, stream.number, events);
        }
    }

    pub(super) fn take_download_hasher(&mut self, stream: StreamKey) -> Option<blake3::Hasher> {
        self.exchanges.fetches.get_mut(&stream.number)?.take_hasher()
    }

    pub(super) fn finish_download(
        &mut self,
        now: Instant,
        stream: StreamKey,
        digest: [u8; blake3::OUT_LEN],
        events: &mut VecDeque<ViewerEvent>,
    ) -> bool {
        self.now = now;
        self.exchanges.finish_fetch(stream.number, digest, events)
    }

    pub(super) fn push_voice(
        &mut self,
        now: Instant,
        link: &mut Link,
        stream: StreamKey,
        tag: &Tag,
        events: &mut VecDeque<ViewerEvent>,
    ) -> Result<(), ViewerError> {
        self.now = now;
        let talk = self.exchanges.talks.get_mut(&stream.number).filter(|t| !t.is_ended());
        let talk = talk.ok_or(ViewerError::NoStream)?;
        if !talk.push(tag) {
            return Err(ViewerError::TalkFull);
        }
        if let Some(quic) = self.conn.and_then(|c| link.quic(c)) {
            talk.pump(quic, events);
        }
        Ok(())
    }

    pub(super) fn end_voice(
        &mut self,
        now: Instant,
        link: &mut Link,
        stream: StreamKey,
        events: &mut VecDeque<ViewerEvent>,
    ) {
        self.now = now;
        if let Some(talk) = self.exchanges.talks.get_mut(&stream.number) {
            talk.end();
            if let Some(quic) = self.conn.and_then(|c| link.quic(c)) {
                talk.pump(quic, events);
            }
        }
    }

    pub(super) fn reply_message(
        &mut self,
        link: &mut Link,
        message: MessageKey,
        reply: bytes::Bytes,
    ) -> bool {
        let conn = self.conn.and_then(|c| link.quic(c));
        self.exchanges.reply(conn, message, reply)
    }

    pub(super) fn stop_stream(&mut self, link: &mut Link, key: StreamKey) {
        let quic = self.conn.and_then(|c| link.quic(c));
        if self.exchanges.stop(quic, key.number) {
            return;
        }
        let Some(stream) = self.streams.remove(&key.number) else { return };
        let Some(quic) = self.conn.and_then(|c| link.quic(c)) else { return };
        if let Some(id) = stream.stream_id() {
            stop(quic, id, CLOSE_OK);
        }
        let gone: Vec<StreamId> = self
            .uni
            .iter()
            .filter(|(_, u)| matches!(u, Uni::Media { stream, .. } if *stream == key.number))
            .map(|(&id, _)| id)
            .collect();
        for id in gone {
            stop(quic, id, CLOSE_OK);
            self.uni.remove(&id);
            self.unread.remove(&id);
        }
    }

    /// Sends the requests that wait.
    fn ask(&mut self, link: &mut Link, events: &mut VecDeque<ViewerEvent>) {
        if !self.connected {
            return;
        }
        let Some(quic) = self.conn.and_then(|c| link.quic(c)) else { return };
        for stream in self.streams.values_mut().filter(|s| matches!(s.state, State::Waiting)) {
            let Some(id) = quic.streams().open(Dir::Bi) else { break };
            // Checked when the stream was started.
            let Ok(head) = stream.head(&self.viewer, self.config.info.capability().cloned()) else {
                continue;
            };
            let head = head.to_bytes();
            // A head of at most 16 KiB fits into the windows of a new connection.
            let _ = write(quic, id, &mut [bytes::Bytes::from(head)]);
            end(quic, id, None);
            stream.state = State::Asked(id, HeadReader::new());
            events.push_back(ViewerEvent::Request { stream: stream.key });
        }
        self.exchanges.pump(quic, self.config.info.capability(), events);
        if !self.streams.is_empty() || self.exchanges.is_active() {
            self.quiet_at.get_or_insert(self.now + QUIET);
        }
    }

    pub(super) fn handle(
        &mut self,
        now: Instant,
        link: &mut Link,
        conn: ConnId,
        event: LinkEvent,
        events: &mut VecDeque<ViewerEvent>,
    ) {
        self.now = now;
        if self.spare == Some(conn) {
            match event {
                LinkEvent::Connected { .. } => self.switch(now, link, conn, events),
                LinkEvent::Lost(_) => {
                    self.spare = None;
                    self.heard.1 = now;
                    return;
                }
                _ => return,
            }
        } else if self.nearby.is_trying(conn) {
            match event {
                LinkEvent::Connected { .. } => self.adopt(now, link, conn, events),
                LinkEvent::Lost(reason) => return self.nearby.lost(conn, &reason),
                _ => return,
            }
        }
        match event {
            LinkEvent::Connected { .. } => {
                self.nearby.stop(now, link, "connected already");
                self.heard = (0, now);
                self.connected = true;
                self.ever_connected = true;
                self.down_since = None;
                self.attempt_until = None;
                self.retry_at = None;
                self.refused = None;
                self.retries = 0;
                if let Some(quic) = self.conn.and_then(|c| link.quic(c)) {
                    quic.set_send_window(SEND_WINDOW);
                }
                let rtt = self.conn.and_then(|c| link.rtt(c)).unwrap_or_default();
                events.push_back(ViewerEvent::Connected { service: self.id, rtt });
                self.ask(link, events);
            }
            LinkEvent::Lost(reason) => self.lost(now, link, reason, events),
            LinkEvent::RelayRefused(reason) if !self.connected => {
                self.refused.get_or_insert((reason, now)).0 = reason;
            }
            LinkEvent::Path(kind) => events.push_back(ViewerEvent::Path { service: self.id, kind }),
            LinkEvent::Available(Dir::Bi) | LinkEvent::Writable(_) => self.ask(link, events),
            LinkEvent::Stopped(id, _) => {
                if let Some(quic) = self.conn.and_then(|c| link.quic(c)) {
                    self.exchanges.inbox.stopped(quic, id);
                }
            }
            LinkEvent::Opened(Dir::Uni) => self.accept(link, events),
            LinkEvent::Opened(Dir::Bi) => {
                // Messages.
                if let Some(quic) = self.conn.and_then(|c| link.quic(c)) {
                    while let Some(id) = quic.streams().accept(Dir::Bi) {
                        self.exchanges.inbox.opened(id);
                        self.exchanges.readable(quic, id, events);
                    }
                }
            }
            LinkEvent::Readable(id) => {
                self.quiet_at = Some(now + QUIET);
                match id.dir() {
                    Dir::Uni => self.read_uni(link, id, events),
                    Dir::Bi => {
                        let quic = self.conn.and_then(|c| link.quic(c));
                        if !quic.is_some_and(|quic| self.exchanges.readable(quic, id, events)) {
                            self.read_response(link, id, events);
                        }
                    }
                }
            }
            _ => {}
        }
    }

    fn lost(
        &mut self,
        now: Instant,
        link: &mut Link,
        reason: LostReason,
        events: &mut VecDeque<ViewerEvent>,
    ) {
        if let Some(conn) = self.conn.take() {
            self.past = self.past + link.totals(conn);
        }
        if let Some(spare) = self.spare.take() {
            link.close(now, spare, CLOSE_OK, "trying anew");
        }
        self.is_nearby = false;
        self.reset_streams(&reason.to_string(), events);
        match reason {
            LostReason::WrongKey => self.give_up(
                events,
                ErrorCode::Xp2pInfoInvalid,
                "the camera could not prove that it holds the key in the xp2pInfo; get a new xp2pInfo from its owner"
                    .to_owned(),
            ),
            // A second attempt would fail in the same way.
            LostReason::Encryption(text) => self.give_up(events, ErrorCode::EncryptionFailed, text),
            LostReason::Decryption(text) => self.give_up(events, ErrorCode::DecryptionFailed, text),
            LostReason::Closed { code, reason } if code == u64::from(CLOSE_REVOKED) => {
                let text = format!("the camera ended the session: {reason}; get a new xp2pInfo from its owner");
                self.give_up(events, ErrorCode::Xp2pInfoInvalid, text);
            }
            reason => {
                let since = *self.down_since.get_or_insert(now);
                let text = reason.to_string();
                if now.saturating_duration_since(since) >= self.viewer.patience {
                    self.give_up(events, ErrorCode::StreamStartFailed, format!("the connection is lost: {text}"));
                } else {
                    let pause = PAUSES[self.retries.min(PAUSES.len() - 1)];
                    self.retries += 1;
                    self.retry_at = Some(now + pause);
                    self.attempt_until = None;
                    events.push_back(ViewerEvent::Reconnecting { service: self.id, reason: text });
                }
            }
        }
        if self.over {
            self.nearby.stop(now, link, "the service is over");
        }
    }

    /// The camera has answered in our own network, before its server did, or while the connection that there was is silent.
    fn adopt(&mut self, now: Instant, link: &mut Link, new: ConnId, events: &mut VecDeque<ViewerEvent>) {
        self.nearby.take(new);
        if self.connected {
            self.switch(now, link, new, events);
        } else if let Some(slow) = self.conn.replace(new) {
            self.past = self.past + link.totals(slow);
            link.close(now, slow, CLOSE_OK, "connected already");
        }
        if let Some(spare) = self.spare.take() {
            link.close(now, spare, CLOSE_OK, "connected already");
        }
        self.is_nearby = true;
    }

    /// The second connection works, the first is still silent: the camera has forgotten it.
    fn switch(&mut self, now: Instant, link: &mut Link, new: ConnId, events: &mut VecDeque<ViewerEvent>) {
        if let Some(old) = self.conn.replace(new) {
            self.past = self.past + link.totals(old);
            link.close(now, old, CLOSE_OK, "connected anew");
        }
        if self.spare == Some(new) {
            self.spare = None;
        }
        let reason = if std::mem::take(&mut self.is_nearby) {
            "the camera is no longer reached in the local network"
        } else {
            "the camera has forgotten the connection"
        };
        let reason = reason.to_owned();
        self.reset_streams(&reason, events);
        events.push_back(ViewerEvent::Reconnecting { service: self.id, reason });
    }

    /// Asks for a sign of life when streams are silent, and looks for another way when none comes.
    fn check_silence(&mut self, now: Instant, link: &mut Link) {
        let waiting =
            self.exchanges.is_active() || self.streams.values().any(|s| !matches!(s.state, State::Waiting));
        let Some(conn) = self.conn.filter(|_| waiting && self.connected) else {
            self.quiet_at = None;
            return;
        };
        self.quiet_at = Some(now + if self.is_nearby { QUIET_NEARBY } else { QUIET });
        link.ping(now, conn);
        let heard = link.heard(conn);
        if heard != self.heard.0 {
            self.heard = (heard, now);
            if let Some(spare) = self.spare.take() {
                link.close(now, spare, CLOSE_OK, "the first connection works again");
            }
            self.nearby.stop(now, link, "the first connection works again");
        } else if now.saturating_duration_since(self.heard.1) >= self.stale() {
            let info = &self.config.info;
            let servers = &self.config.servers;
            // Also at addresses that were heard of since: the camera may have come back with another.
            self.nearby.connect(now, link, info.camera());
            if self.spare.is_none() {
                // Too many connections at this moment: the next check tries again.
                self.spare =
                    link.connect_relayed(now, *info.camera(), *info.ticket(), servers, VIEWER_ALPN).ok();
            }
        }
    }

    /// For how long a connection may be silent until another is tried beside it.
    fn stale(&self) -> Duration {
        if self.is_nearby { STALE_NEARBY } else { STALE }
    }

    fn reset_streams(&mut self, reason: &str, events: &mut VecDeque<ViewerEvent>) {
        self.exchanges.lost(reason, events);
        self.connected = false;
        self.quiet_at = None;
        self.uni.clear();
        self.unread.clear();
        for stream in self.streams.values_mut() {
            stream.restart(&self.viewer);
        }
    }

    /// Gives up for a reason from outside, unless the camera was ever connected. Returns whether the service goes on.
    pub(super) fn fail(
        &mut self,
        now: Instant,
        link: &mut Link,
        code: ErrorCode,
        reason: String,
        events: &mut VecDeque<ViewerEvent>,
    ) -> bool {
        if !self.ever_connected && !self.over {
            self.give_up_attempt(now, link);
            self.give_up(events, code, reason);
        }
        !self.over
    }

    fn give_up(&mut self, events: &mut VecDeque<ViewerEvent>, code: ErrorCode, reason: String) {
        self.over = true;
        self.retry_at = None;
        self.attempt_until = None;
        self.refused = None;
        self.down_since = None;
        for stream in std::mem::take(&mut self.streams).into_values() {
            events.push_back(ViewerEvent::Close { stream: stream.key, reason: reason.clone() });
        }
        self.exchanges.give_up(&reason, events);
        events.push_back(ViewerEvent::Disconnect { service: self.id, code, reason });
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(super) fn next(&self) -> Option<Instant> {
        if self.over {
            return None;
        }
        let refused = self.refused.map(|(_, at)| at + UNKNOWN_GRACE);
        let patience = self.down_since.map(|at| at + self.viewer.patience);
        let commands = self.exchanges.next();
        [self.retry_at, self.attempt_until, refused, patience, self.quiet_at, commands]
            .into_iter()
            .flatten()
            .min()
    }

    pub(super) fn handle_timeout(
        &mut self,
        now: Instant,
        link: &mut Link,
        events: &mut VecDeque<ViewerEvent>,
    ) {
        if self.next().is_none_or(|at| at > now) {
            return;
        }
        self.now = now;
        let quic = self.conn.and_then(|c| link.quic(c));
        self.exchanges.expire(now, quic, events);
        if self.quiet_at.is_some_and(|at| at <= now) {
            self.check_silence(now, link);
        }
        let patience_over = self.down_since.is_some_and(|at| at + self.viewer.patience <= now);
        let refused = self.refused.filter(|(_, at)| *at + UNKNOWN_GRACE <= now);
        // A camera that was there a moment ago may be restarting; one that never was is not there.
        if patience_over || (refused.is_some() && !self.ever_connected) {
            self.give_up_attempt(now, link);
            let (code, reason) = match self.refused {
                Some((RefuseReason::UnknownTicket, _)) => {
                    (ErrorCode::Xp2pInfoInvalid, RefuseReason::UnknownTicket.to_string())
                }
                Some((reason, _)) => (ErrorCode::StreamStartFailed, reason.to_string()),
                None => (
                    ErrorCode::StreamStartFailed,
                    format!(
                        "neither the camera nor its server answered for {} s; check the network, and that both run",
                        self.viewer.patience.as_secs()
                    ),
                ),
            };
            self.give_up(events, code, reason);
            return;
        }
        if refused.is_some() {
            self.refused = None;
        }
        if self.attempt_until.is_some_and(|at| at <= now) {
            self.give_up_attempt(now, link);
            self.attempt_until = None;
            self.retry_at = Some(now);
        }
        if self.retry_at.is_some_and(|at| at <= now)
            && let Err(e) = self.connect(now, link, events)
        {
            // Too many connections at this moment: later.
            self.retry_at = Some(now + PAUSES[PAUSES.len() - 1]);
            events.push_back(ViewerEvent::Reconnecting { service: self.id, reason: e.to_string() });
        }
    }

    /// Closes the connections that have not come about in time.
    fn give_up_attempt(&mut self, now: Instant, link: &mut Link) {
        if let Some(conn) = self.conn.take() {
            self.past = self.past + link.totals(conn);
            link.close(now, conn, CLOSE_OK, "no answer");
        }
        self.nearby.stop(now, link, "no answer");
    }

    fn accept(&mut self, link: &mut Link, events: &mut VecDeque<ViewerEvent>) {
        let mut new = Vec::new();
        if let Some(quic) = self.conn.and_then(|c| link.quic(c)) {
            while let Some(id) = quic.streams().accept(Dir::Uni) {
                new.push(id);
            }
        }
        for &id in &new {
            self.uni.insert(id, Uni::Head(Vec::new()));
        }
        for id in new {
            self.read_uni(link, id, events);
        }
    }

    fn read_uni(&mut self, link: &mut Link, id: StreamId, events: &mut VecDeque<ViewerEvent>) {
        let Some(quic) = self.conn.and_then(|c| link.quic(c)) else { return };
        self.unread.remove(&id);
        loop {
            let Some(uni) = self.uni.get_mut(&id) else { return };
            let failed;
            let ended;
            match uni {
                Uni::Head(bytes) => {
                    ended = read(quic, id, MAX_HEAD.saturating_sub(bytes.len()).max(1), |data| {
                        bytes.extend_from_slice(&data);
                    });
                    match StreamHead::parse(bytes) {
                        Ok(Some((head, len))) => {
                            let rest = bytes::Bytes::from(bytes.split_off(len));
                            match self.open(id, head) {
                                Some((stream, rest_of)) => {
                                    failed = rest_of.data(head.kind, head.number, rest).err();
                                    self.uni.insert(
                                        id,
                                        Uni::Media { stream, kind: head.kind, number: head.number },
                                    );
                                }
                                None => {
                                    self.uni.remove(&id);
                                    stop(quic, id, LATE);
                                    return;
                                }
                            }
                        }
                        Ok(None)
                            if bytes.len() < MAX_HEAD
                                && matches!(ended, ReadEnd::Blocked | ReadEnd::Limit) =>
                        {
                            if ended == ReadEnd::Blocked {
                                return;
                            }
                            continue;
                        }
                        Ok(None) | Err(_) => {
                            self.uni.remove(&id);
                            stop(quic, id, CLOSE_OK);
                            for stream in self.streams.values_mut() {
                                stream.receiver.lost_stream();
                            }
                            return;
                        }
                    }
                }
                Uni::Media { stream, kind, number } => {
                    let (key, kind, number) = (*stream, *kind, *number);
                    let Some(stream) = self.streams.get_mut(&key) else { return };
                    if !stream.receiver.wants(kind, number) {
                        self.unread.insert(id);
                        return;
                    }
                    let mut error = None;
                    ended = read(quic, id, READ_SLICE, |data| {
                        if error.is_none() {
                            error = stream.receiver.data(kind, number, data).err();
                        }
                    });
                    failed = error;
                }
            }
            if let Some(error) = failed {
                self.protocol_error(link, id, &error.to_string(), events);
                return;
            }
            match ended {
                ReadEnd::Limit => {}
                ReadEnd::Blocked => return,
                ReadEnd::Finished | ReadEnd::Closed => return self.uni_over(id, false),
                ReadEnd::Reset(_) => return self.uni_over(id, true),
            }
        }
    }

    fn open(&mut self, id: StreamId, head: StreamHead) -> Option<(u64, &mut crate::live::Receiver)> {
        let stream =
            self.streams.values_mut().find(|s| s.stream_id().is_some_and(|i| i.index() == head.request))?;
        stream.receiver.open(id, head).then_some((stream.key.number, &mut stream.receiver))
    }

    fn uni_over(&mut self, id: StreamId, reset: bool) {
        if let Some(Uni::Media { stream, kind, number }) = self.uni.remove(&id)
            && let Some(stream) = self.streams.get_mut(&stream)
        {
            stream.receiver.end(kind, number, reset);
        }
    }

    /// The camera sends nonsense on one stream of a request: that request is over.
    fn protocol_error(
        &mut self,
        link: &mut Link,
        id: StreamId,
        text: &str,
        events: &mut VecDeque<ViewerEvent>,
    ) {
        if let Some(&Uni::Media { stream, .. }) = self.uni.get(&id) {
            let key = StreamKey { service: self.id, number: stream };
            self.stop_stream(link, key);
            let reason = format!("the camera broke the protocol: {text}");
            events.push_back(ViewerEvent::Close { stream: key, reason });
        }
    }

    fn read_response(&mut self, link: &mut Link, id: StreamId, events: &mut VecDeque<ViewerEvent>) {
        let Some(quic) = self.conn.and_then(|c| link.quic(c)) else { return };
        let Some(stream) = self.streams.values_mut().find(|s| s.stream_id() == Some(id)) else { return };
        let key = stream.key;
        let mut failed = None;
        let mut refused = None;
        let ended = loop {
            let ended = read(quic, id, READ_SLICE, |data| {
                stream.note_byte(self.started, self.now);
                if failed.is_some() || refused.is_some() {
                    return;
                }
                match stream.response(&data) {
                    Ok(None) => {}
                    Ok(Some(head)) => {
                        if !head.is_success() {
                            let reason = head.headers.reason.as_ref().map_or("", |r| r.as_str());
                            refused = Some(format!("the camera answers {}: {reason}", head.status()));
                        }
                        events.push_back(ViewerEvent::Parsed { stream: key, head: Box::new(head) });
                    }
                    Err(text) => failed = Some(format!("the camera broke the protocol: {text}")),
                }
            });
            if ended != ReadEnd::Limit {
                break ended;
            }
        };
        let reason = failed.or(refused).or_else(|| match ended {
            ReadEnd::Reset(code) => Some(format!("the camera ended the stream with code {code}")),
            ReadEnd::Closed => Some("the stream is closed".to_owned()),
            ReadEnd::Finished if !matches!(stream.state, State::Open(_)) => {
                Some("the camera ended the stream without an answer".to_owned())
            }
            _ => None,
        });
        if let Some(reason) = reason {
            self.stop_stream(link, key);
            events.push_back(ViewerEvent::Close { stream: key, reason });
            return;
        }
        // What came before the head may be read now.
        self.read_unread(link, events);
    }

    fn read_unread(&mut self, link: &mut Link, events: &mut VecDeque<ViewerEvent>) {
        for id in std::mem::take(&mut self.unread) {
            self.read_uni(link, id, events);
        }
    }

    /// The next piece of media of any stream.
    pub(super) fn poll_media(
        &mut self,
        link: &mut Link,
        events: &mut VecDeque<ViewerEvent>,
    ) -> Option<ViewerEvent> {
        loop {
            let complete = !self.uni.values().any(|u| matches!(u, Uni::Head(_)));
            let (started, now) = (self.started, self.now);
            let mut finished = None;
            for stream in self.streams.values_mut() {
                if let Some(item) = stream.poll(started, now, complete) {
                    return Some(ViewerEvent::Media { stream: stream.key, item });
                }
                if stream.receiver.is_finished() {
                    finished = Some(stream.key);
                }
                if let Some(quic) = self.conn.and_then(|c| link.quic(c)) {
                    for id in stream.receiver.take_unwanted() {
                        stop(quic, id, LATE);
                        self.uni.remove(&id);
                    }
                }
            }
            if let Some(key) = finished {
                self.stop_stream(link, key);
                return Some(ViewerEvent::Eof { stream: key });
            }
            // Room has been made: read what was left, and look again if that helped.
            let bytes = |s: &Self| s.streams.values().map(|s| s.receiver.stats().bytes).sum::<u64>();
            let before = bytes(self);
            self.read_unread(link, events);
            if before == bytes(self) {
                return events.pop_front();
            }
        }
    }
}

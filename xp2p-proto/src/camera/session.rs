//! One viewer's connection: its requests, whether they are allowed, and what it watches.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use noq_proto::congestion::ControllerMetrics;

use super::config::CameraConfig;
use super::event::{CameraEvent, MessageId, RequestId, ViewerId, ViewerInfo, Watermark};
use super::live::{FeedIndex, FeedPush, Feeds};
use super::playback::Playback;
use super::talk::{Talk, TalkEnd};
use super::upload::Upload;
use super::{CLOSE_OK, CLOSE_REVOKED};
use crate::exchange::{Asker, Done, Flow, Outbox};
use crate::info::{Capability, Right};
use crate::keys::PublicKey;
use crate::link::stream::{ReadEnd, end, read, stop, write};
use crate::link::{ConnId, Dir, Link, LinkEvent, StreamId};
use crate::live::{Pace, Sender, SenderConfig};
use crate::request::{
    Download, HeadReader, Live as LiveRequest, MAX_HEAD, Playback as PlaybackRequest, Quality, Request,
    RequestHead, ResponseHead, Status, Voice,
};

/// A request head must be whole after this long.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that was never allowed anything is closed after this long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// Least bytes that QUIC may hold unacknowledged for one viewer.
const MIN_SEND_WINDOW: u64 = 16 * 1024;
/// How much more than a round trip's worth QUIC may hold for one viewer.
const MAX_HELD: Duration = Duration::from_millis(400);
/// How long a new stream may learn what its path takes.
const LEARNING: Duration = Duration::from_secs(1);
/// Latency budgets that viewers may ask for.
const BUDGETS: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(10);

/// What a session may look at while it handles an event.
pub(super) struct Context<'a> {
    pub(super) now: Instant,
    pub(super) unix: Option<u64>,
    pub(super) link: &'a mut Link,
    pub(super) config: &'a CameraConfig,
    pub(super) feeds: &'a Feeds,
    pub(super) load: &'a Load,
    pub(super) events: &'a mut VecDeque<CameraEvent>,
}

/// What all sessions do together.
#[derive(Debug, Default)]
pub(super) struct Load {
    /// Apps that use the camera.
    pub(super) apps: usize,
    /// Viewers that watch something.
    pub(super) watching: usize,
    /// Live streams by quality.
    pub(super) by_quality: BTreeMap<Quality, usize>,
    pub(super) playbacks: usize,
    pub(super) downloads: usize,
    /// Servers that watch for others.
    pub(super) transits: usize,
    /// Who talks.
    pub(super) talking: Option<ConnId>,
}

/// What a request is allowed by; checked again while it runs.
#[derive(Debug, Clone)]
pub(super) struct Grant {
    pub(super) capability: Capability,
    pub(super) right: Right,
}

#[derive(Debug)]
struct Asking {
    since: Instant,
    reader: HeadReader<RequestHead>,
    read: usize,
}

#[derive(Debug)]
struct Live {
    feed: FeedIndex,
    request: LiveRequest,
    sender: Sender,
    grant: Grant,
    since: Instant,
}

#[derive(Debug)]
pub(super) struct Session {
    conn: ConnId,
    peer: PublicKey,
    since: Instant,
    asking: BTreeMap<StreamId, Asking>,
    lives: BTreeMap<StreamId, Live>,
    /// Commands that the application has not answered yet.
    pub(super) asks: BTreeSet<StreamId>,
    /// Answers on their way.
    pub(super) replies: BTreeMap<StreamId, Outbox>,
    pub(super) playbacks: BTreeMap<StreamId, Playback>,
    pub(super) downloads: BTreeMap<StreamId, Upload>,
    pub(super) talk: Option<Talk>,
    messages: Asker,
    message_ids: BTreeMap<u64, MessageId>,
    /// When a playback has something to send.
    wake: Option<Instant>,
    watermark: Watermark,
    /// A request was allowed at some time.
    allowed: bool,
    /// It counts as an app that uses the camera.
    pub(super) counted: bool,
    /// It is a server's, which watches for others, and takes no place of viewers and apps.
    transit: bool,
}

/// Why a request gets another answer than it hoped for.
pub(super) struct Refusal {
    pub(super) status: Status,
    pub(super) reason: String,
}

impl Refusal {
    pub(super) fn new(status: Status, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into() }
    }
}

impl Session {
    pub(super) fn new(conn: ConnId, peer: PublicKey, now: Instant) -> Self {
        Self {
            conn,
            peer,
            since: now,
            asking: BTreeMap::new(),
            lives: BTreeMap::new(),
            asks: BTreeSet::new(),
            replies: BTreeMap::new(),
            playbacks: BTreeMap::new(),
            downloads: BTreeMap::new(),
            talk: None,
            messages: Asker::default(),
            message_ids: BTreeMap::new(),
            wake: None,
            watermark: Watermark::default(),
            allowed: false,
            counted: false,
            transit: false,
        }
    }

    pub(super) fn id(&self, stream: StreamId) -> RequestId {
        RequestId { conn: self.conn, stream }
    }

    /// The viewer's key.
    pub(super) fn peer(&self) -> &PublicKey {
        &self.peer
    }

    /// Adds what this session does.
    pub(super) fn count(&self, load: &mut Load) {
        if self.transit {
            load.transits += usize::from(self.is_watching());
            return;
        }
        load.apps += usize::from(self.counted);
        load.watching += usize::from(self.is_watching());
        for live in self.lives.values() {
            *load.by_quality.entry(live.request.quality).or_default() += 1;
        }
        load.playbacks += self.playbacks.len();
        load.downloads += self.downloads.len();
        if self.talk.is_some() {
            load.talking = Some(self.conn);
        }
    }

    /// Whether messages may be sent to this viewer: it watches, plays or talks.
    pub(super) fn is_listening(&self) -> bool {
        self.is_watching() || !self.playbacks.is_empty() || self.talk.is_some()
    }

    fn queued(&self) -> usize {
        self.lives.values().map(|l| l.sender.stats().queued_bytes).sum()
    }

    fn bandwidth(&self, link: &mut Link) -> Option<u64> {
        path_state(link, self.conn, None)?.bandwidth_estimate
    }

    pub(super) fn conn(&self) -> ConnId {
        self.conn
    }

    fn viewer(&self) -> ViewerId {
        ViewerId(self.conn)
    }

    pub(super) fn is_watching(&self) -> bool {
        !self.lives.is_empty()
    }

    pub(super) fn info(&self, link: &mut Link) -> ViewerInfo {
        ViewerInfo {
            viewer: self.viewer(),
            peer: self.peer,
            path: link.path_kind(self.conn),
            rtt: link.rtt(self.conn),
            queued: self.queued(),
            bandwidth: self.bandwidth(link),
            playbacks: self.playbacks.len(),
            downloads: self.downloads.len(),
            talking: self.talk.is_some(),
            lives: self
                .lives
                .values()
                .map(|l| (l.request.channel, l.request.quality, l.sender.stats()))
                .collect(),
        }
    }

    pub(super) fn handle(&mut self, context: &mut Context<'_>, event: LinkEvent) {
        match event {
            LinkEvent::Opened(Dir::Bi) => {
                while let Some(stream) = self.accept(context.link, Dir::Bi) {
                    self.asking
                        .insert(stream, Asking { since: context.now, reader: HeadReader::new(), read: 0 });
                    self.read_request(context, stream);
                }
            }
            LinkEvent::Opened(Dir::Uni) => {
                // Viewers have nothing to say on such streams.
                while let Some(stream) = self.accept(context.link, Dir::Uni) {
                    if let Some(quic) = context.link.quic(self.conn) {
                        stop(quic, stream, CLOSE_OK);
                    }
                }
            }
            LinkEvent::Readable(stream) if self.messages.owns(stream) => {
                let done = context.link.quic(self.conn).and_then(|quic| self.messages.readable(quic, stream));
                self.messages_done(done, context.events);
            }
            LinkEvent::Readable(stream) if self.talk.as_ref().is_some_and(|t| t.id.stream == stream) => {
                self.read_talk(context.link, context.events);
            }
            LinkEvent::Readable(stream) => self.read_request(context, stream),
            LinkEvent::Writable(_) | LinkEvent::Available(_) => {
                self.pump(context.now, context.link, context.events);
            }
            LinkEvent::Finished(stream) => self.stream_over(context, stream, false),
            LinkEvent::Stopped(stream, _) => self.stream_over(context, stream, true),
            LinkEvent::Path(kind) => {
                context.events.push_back(CameraEvent::Path { viewer: self.viewer(), kind });
            }
            _ => {}
        }
    }

    fn accept(&self, link: &mut Link, dir: Dir) -> Option<StreamId> {
        link.quic(self.conn)?.streams().accept(dir)
    }

    fn read_request(&mut self, context: &mut Context<'_>, stream: StreamId) {
        let Some(asking) = self.asking.get_mut(&stream) else { return };
        let Some(quic) = context.link.quic(self.conn) else { return };
        let room = (MAX_HEAD + 1).saturating_sub(asking.read);
        let mut head = Ok(None);
        // What follows the head: only talk has that.
        let mut body = Vec::new();
        let ended = read(quic, stream, room, |mut data| {
            asking.read += data.len();
            if matches!(head, Ok(None)) {
                head = asking.reader.push(&data);
                if let Ok(Some((_, used))) = &head {
                    body.push(data.split_off((*used).min(data.len())));
                }
            } else {
                body.push(data);
            }
        });
        let refusal = match head {
            Ok(Some((head, _))) => {
                self.asking.remove(&stream);
                match self.answer(context, stream, &head, body) {
                    Ok(()) => return,
                    Err(refusal) => refusal,
                }
            }
            Ok(None) => match ended {
                ReadEnd::Blocked | ReadEnd::Limit => return,
                ReadEnd::Reset(_) | ReadEnd::Closed => {
                    self.asking.remove(&stream);
                    if let Some(quic) = context.link.quic(self.conn) {
                        end(quic, stream, Some(CLOSE_OK));
                    }
                    return;
                }
                ReadEnd::Finished => {
                    Refusal::new(Status::BadRequest, "the request ends before its head is whole")
                }
            },
            Err(e) => Refusal::new(e.status(), e.to_string()),
        };
        self.asking.remove(&stream);
        self.refuse(context.link, context.events, stream, refusal);
    }

    pub(super) fn refuse(
        &mut self,
        link: &mut Link,
        events: &mut VecDeque<CameraEvent>,
        stream: StreamId,
        refusal: Refusal,
    ) {
        let head = Bytes::from(ResponseHead::refusal(refusal.status, &refusal.reason).to_bytes());
        if let Some(quic) = link.quic(self.conn) {
            // A head fits into any send window of a stream that was not written to yet.
            let _ = write(quic, stream, &mut [head]);
            end(quic, stream, None);
            stop(quic, stream, CLOSE_OK);
        }
        events.push_back(CameraEvent::Refused {
            viewer: self.viewer(),
            status: refusal.status.number(),
            reason: refusal.reason,
        });
    }

    fn answer(
        &mut self,
        context: &mut Context<'_>,
        stream: StreamId,
        head: &RequestHead,
        body: Vec<Bytes>,
    ) -> Result<(), Refusal> {
        // First who asks, then what: nobody without a capability learns what there is.
        let capability = head.headers.capability.as_ref().ok_or_else(|| {
            Refusal::new(
                Status::Unauthorized,
                "the request carries no capability; use an xp2pInfo that holds one",
            )
        })?;
        let request = Request::from_head(head);
        // A malformed request still has to show a genuine capability before it hears what is wrong with it.
        let right = request.as_ref().map_or(Right::Live, |r| r.right());
        capability
            .verify(&context.config.secret.public(), context.config.epoch, context.unix, right)
            .map_err(|e| Refusal::new(Status::from(&e), e.to_string()))?;
        let request = request.map_err(|e| Refusal::new(e.status(), e.to_string()))?;
        if let Some(server) = context.config.server_of(capability) {
            // No bearer token: what a server holds is of use to nobody else.
            if !context.config.allow_transit || *server != self.peer {
                let reason =
                    "this capability is for a server of the camera alone, as long as that is allowed";
                return Err(Refusal::new(Status::Forbidden, reason));
            }
            self.transit = true;
        }
        let grant = Grant { capability: capability.clone(), right };
        if let Request::Command(command) = request {
            return self.start_command(context, stream, command);
        }
        self.check_apps(context)?;
        match request {
            Request::Live(live) => self.start_live(context, stream, head, grant, live)?,
            Request::Playback(playback) => self.start_playback(context, stream, head, grant, playback)?,
            Request::Download(download) => self.start_download(context, stream, grant, download)?,
            Request::Voice(voice) => self.start_talk(context, stream, grant, voice, body)?,
            Request::Command(_) => {}
        }
        self.allow(context);
        self.pump(context.now, context.link, context.events);
        Ok(())
    }

    /// Whether one more app may use the camera.
    pub(super) fn check_apps(&self, context: &Context<'_>) -> Result<(), Refusal> {
        let most = context.config.max_connect_num;
        if !self.transit && !self.counted && context.load.apps >= most {
            return Err(Refusal::new(
                Status::TooManyApps,
                format!("{most} apps use this camera already, and no more are allowed"),
            ));
        }
        Ok(())
    }

    /// Something was allowed.
    pub(super) fn allow(&mut self, context: &mut Context<'_>) {
        self.allowed = true;
        if !std::mem::replace(&mut self.counted, true) {
            // Only now: our addresses tell where the camera stands.
            context.link.seek_direct(context.now, self.conn);
        }
    }

    /// Whether it has ever been allowed anything.
    pub(super) fn is_allowed(&self) -> bool {
        self.allowed
    }

    /// Something was answered, without a claim on anything.
    pub(super) fn answered(&mut self) {
        self.allowed = true;
    }

    /// Why this session cannot watch in `quality` at present.
    pub(super) fn check_live(&self, context: &Context<'_>, quality: Quality) -> Result<(), Refusal> {
        let (load, config) = (context.load, context.config);
        if self.transit {
            return match self.is_watching() || load.transits == 0 {
                true => Ok(()),
                false => Err(Refusal::new(
                    Status::TooManyViewers,
                    "a server has the one place for servers already",
                )),
            };
        }
        if !self.is_watching() && load.watching >= config.max_viewers {
            return Err(Refusal::new(
                Status::TooManyViewers,
                format!("{} viewers are watching already, and no more are allowed", load.watching),
            ));
        }
        let limit = config.quality_limits.iter().find(|(q, _)| *q == quality).map(|(_, limit)| *limit);
        let watching = load.by_quality.get(&quality).copied().unwrap_or(0);
        if limit.is_some_and(|limit| watching >= limit) {
            return Err(Refusal::new(
                Status::TooManyViewers,
                format!(
                    "{watching} viewers have quality {quality} already, and no more are allowed; ask for another"
                ),
            ));
        }
        Ok(())
    }

    fn start_live(
        &mut self,
        context: &mut Context<'_>,
        stream: StreamId,
        head: &RequestHead,
        grant: Grant,
        request: LiveRequest,
    ) -> Result<(), Refusal> {
        let found = context.feeds.find(request.channel, request.quality);
        let (index, feed) = found.and_then(|i| Some((i, context.feeds.get(i)?))).ok_or_else(|| {
            let reason = format!("there is no channel {} in quality {}", request.channel, request.quality);
            Refusal::new(Status::NotFound, reason)
        })?;
        self.check_live(context, request.quality)?;
        let budget = head
            .headers
            .latency
            .map_or(context.config.sender.budget, |b| b.clamp(*BUDGETS.start(), *BUDGETS.end()));
        let config = SenderConfig { budget, ..context.config.sender };
        let response = Bytes::from(ResponseHead::media().to_bytes());
        let sender = Sender::new(context.now, config, stream, response, feed, request.audio_only);
        context.events.push_back(CameraEvent::LiveStarted {
            viewer: self.viewer(),
            channel: request.channel,
            quality: request.quality,
            requester: request.requester.clone(),
            user_args: request.user_args.clone(),
        });
        self.lives.insert(stream, Live { feed: index, request, sender, grant, since: context.now });
        Ok(())
    }

    fn start_playback(
        &mut self,
        context: &mut Context<'_>,
        stream: StreamId,
        head: &RequestHead,
        grant: Grant,
        request: PlaybackRequest,
    ) -> Result<(), Refusal> {
        let most = context.config.max_playbacks;
        if context.load.playbacks >= most {
            let reason = format!("{most} recordings are played already, and no more at a time are allowed");
            return Err(Refusal::new(Status::TooManyViewers, reason));
        }
        if self.playbacks.values().any(|p| p.request.channel == request.channel) {
            let reason = "this app plays a recording of this channel already; seek in it, or stop it first";
            return Err(Refusal::new(Status::TooManyViewers, reason));
        }
        let id = self.id(stream);
        let from = head.headers.position.unwrap_or(0);
        let playback = Playback::new(id, request.clone(), grant, from, head.headers.paused);
        self.playbacks.insert(stream, playback);
        context.events.push_back(CameraEvent::PlaybackWanted { request: id, playback: request });
        Ok(())
    }

    fn start_download(
        &mut self,
        context: &mut Context<'_>,
        stream: StreamId,
        grant: Grant,
        download: Download,
    ) -> Result<(), Refusal> {
        let most = context.config.max_downloads;
        if context.load.downloads >= most {
            let reason = format!("{most} downloads are running already, and no more at a time are allowed");
            return Err(Refusal::new(Status::TooManyViewers, reason));
        }
        let id = self.id(stream);
        self.downloads.insert(stream, Upload::new(id, download.clone(), grant));
        context.events.push_back(CameraEvent::DownloadWanted { request: id, download });
        Ok(())
    }

    fn start_talk(
        &mut self,
        context: &mut Context<'_>,
        stream: StreamId,
        grant: Grant,
        voice: Voice,
        body: Vec<Bytes>,
    ) -> Result<(), Refusal> {
        if !context.config.talk {
            return Err(Refusal::new(Status::NotFound, "nobody listens at this camera"));
        }
        if context.load.talking.is_some() {
            return Err(Refusal::new(Status::TalkBusy, "somebody talks to this camera already; try later"));
        }
        let id = self.id(stream);
        context.events.push_back(CameraEvent::VoiceStarted { request: id, voice });
        let talk = self.talk.insert(Talk::new(id, grant));
        for piece in body {
            if talk.push(piece, context.events).is_err() {
                self.end_talk(context.link, context.events, false);
                return Ok(());
            }
        }
        self.read_talk(context.link, context.events);
        Ok(())
    }

    fn read_talk(&mut self, link: &mut Link, events: &mut VecDeque<CameraEvent>) {
        let (Some(talk), Some(quic)) = (&mut self.talk, link.quic(self.conn)) else { return };
        match talk.read(quic, events) {
            TalkEnd::Open => {}
            TalkEnd::Complete => {
                let request = talk.id;
                self.talk = None;
                events.push_back(CameraEvent::VoiceEnded { request, complete: true });
            }
            TalkEnd::Broken => self.end_talk(link, events, false),
        }
    }

    fn end_talk(&mut self, link: &mut Link, events: &mut VecDeque<CameraEvent>, complete: bool) {
        let Some(mut talk) = self.talk.take() else { return };
        if let Some(quic) = link.quic(self.conn) {
            talk.abort(quic);
        }
        events.push_back(CameraEvent::VoiceEnded { request: talk.id, complete });
    }

    /// The application wants no more of a talk.
    pub(super) fn stop_talk(
        &mut self,
        link: &mut Link,
        events: &mut VecDeque<CameraEvent>,
        stream: StreamId,
    ) {
        if self.talk.as_ref().is_some_and(|t| t.id.stream == stream) {
            self.end_talk(link, events, false);
        }
    }

    /// The application has taken bytes of a talk.
    pub(super) fn voice_taken(
        &mut self,
        link: &mut Link,
        events: &mut VecDeque<CameraEvent>,
        stream: StreamId,
        bytes: usize,
    ) {
        let Some(talk) = self.talk.as_mut().filter(|t| t.id.stream == stream) else { return };
        talk.heard(bytes);
        if talk.is_unread() {
            self.read_talk(link, events);
        }
    }

    /// Sends a message; its end comes as an event.
    pub(super) fn send_message(
        &mut self,
        now: Instant,
        link: &mut Link,
        events: &mut VecDeque<CameraEvent>,
        message: (MessageId, Bytes, Instant),
    ) {
        let (id, head, deadline) = message;
        let number = self.messages.ask(head, deadline);
        self.message_ids.insert(number, id);
        self.pump(now, link, events);
    }

    pub(super) fn messages(&self) -> usize {
        self.messages.len()
    }

    fn messages_done(&mut self, done: impl IntoIterator<Item = Done>, events: &mut VecDeque<CameraEvent>) {
        for (number, outcome) in done {
            if let Some(message) = self.message_ids.remove(&number) {
                events.push_back(CameraEvent::MessageReply { message, viewer: self.viewer(), outcome });
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(super) fn next(&self) -> Option<Instant> {
        [self.wake, self.messages.next_deadline()].into_iter().flatten().min()
    }

    pub(super) fn handle_timeout(
        &mut self,
        now: Instant,
        link: &mut Link,
        events: &mut VecDeque<CameraEvent>,
    ) {
        if self.messages.next_deadline().is_some_and(|at| at <= now) {
            let done = self.messages.expire(now, link.quic(self.conn));
            self.messages_done(done, events);
        }
        if self.wake.is_some_and(|at| at <= now) {
            self.pump(now, link, events);
        }
    }

    /// Sends a new tag of `feed` to this viewer if it watches that.
    pub(super) fn push(
        &mut self,
        now: Instant,
        link: &mut Link,
        events: &mut VecDeque<CameraEvent>,
        feed: FeedIndex,
        push: &FeedPush,
    ) {
        let mut any = false;
        for live in self.lives.values_mut().filter(|l| l.feed == feed) {
            if let Some((id, record)) = &push.pushed.config {
                live.sender.configure(*id, record.clone(), push.video_changed);
            }
            if let Some(packet) = &push.pushed.packet {
                live.sender.push(now, packet);
            }
            any = true;
        }
        if any {
            self.pump(now, link, events);
        }
    }

    pub(super) fn end_feed(
        &mut self,
        now: Instant,
        link: &mut Link,
        events: &mut VecDeque<CameraEvent>,
        feed: FeedIndex,
    ) {
        for live in self.lives.values_mut().filter(|l| l.feed == feed) {
            live.sender.finish();
        }
        self.pump(now, link, events);
    }

    /// Drops what waits but for the newest group's beginning, so that this viewer is up to date at the next keyframe.
    pub(super) fn drop_to_keyframe(
        &mut self,
        now: Instant,
        link: &mut Link,
        events: &mut VecDeque<CameraEvent>,
    ) {
        if let Some(quic) = link.quic(self.conn) {
            for live in self.lives.values_mut() {
                live.sender.drop_to_keyframe(quic);
            }
        }
        self.pump(now, link, events);
    }

    pub(super) fn pump(&mut self, now: Instant, link: &mut Link, events: &mut VecDeque<CameraEvent>) {
        // Pictures wait here, where they can be dropped, and not in QUIC, where they cannot: it gets enough to fill
        // the path and to find out whether the path takes more.
        let path = path_state(link, self.conn, Some(now));
        let window = path.as_ref().map_or(0, |p| p.congestion_window);
        let rtt = link.rtt(self.conn).unwrap_or_default();
        let mut held = window.saturating_mul(2);
        // At first the estimate is that of a handshake, and the first picture must not wait for a better one.
        let known = self.lives.values().all(|l| now.saturating_duration_since(l.since) > LEARNING);
        if let Some(rate) = path.as_ref().and_then(|p| p.bandwidth_estimate).filter(|_| known) {
            // The window alone may be far more than a slow path takes in the time that a viewer waits.
            let rate = rate / 8;
            held = held.min((rate as f64 * (rtt + MAX_HELD).as_secs_f64()) as u64);
        }
        let held = held.max(MIN_SEND_WINDOW);
        let pace = path.as_ref().and_then(|p| p.bandwidth_estimate).map(|bits| Pace {
            rate: bits / 8,
            held: held.saturating_sub(window),
            rtt,
        });
        self.wake = None;
        let Some(quic) = link.quic(self.conn) else { return };
        quic.set_send_window(held);
        self.replies.retain(|&stream, outbox| outbox.pump(quic, stream) == Flow::Blocked);
        self.messages.pump(quic);
        if let Some(talk) = &mut self.talk {
            talk.pump(quic);
        }
        for live in self.lives.values_mut() {
            live.sender.pump(now, quic, pace);
        }
        if !self.playbacks.is_empty() || !self.downloads.is_empty() {
            // Files take what is left: they may not fill what live pictures would need the moment they come.
            quic.set_send_window((window + window / 4).max(MIN_SEND_WINDOW));
            for playback in self.playbacks.values_mut() {
                let (_, wake) = playback.pump(now, quic, events);
                self.wake = [self.wake, wake].into_iter().flatten().min();
            }
            for upload in self.downloads.values_mut() {
                upload.pump(quic, events);
            }
            quic.set_send_window(held);
        }
        let queued = self.queued();
        let watermark = Watermark::of(queued);
        if watermark != self.watermark {
            self.watermark = watermark;
            let bandwidth = self.bandwidth(link);
            events.push_back(CameraEvent::Congestion { viewer: self.viewer(), watermark, queued, bandwidth });
        }
    }

    /// Ends the recordings that the viewer wants no more, of which QUIC tells only behind what came with that: whoever goes from one
    /// recording to another says both in one packet.
    pub(super) fn end_stopped(&mut self, context: &mut Context<'_>) {
        let Some(quic) = context.link.quic(self.conn) else { return };
        let stopped = |stream: &StreamId| !matches!(quic.send_stream(*stream).stopped(), Ok(None));
        let over: Vec<StreamId> = self.playbacks.keys().copied().filter(stopped).collect();
        for stream in over {
            self.stream_over(context, stream, true);
        }
    }

    fn stream_over(&mut self, context: &mut Context<'_>, stream: StreamId, stopped: bool) {
        if let Some(mut live) = self.lives.remove(&stream) {
            // The viewer has everything, or wants no more.
            if stopped && let Some(quic) = context.link.quic(self.conn) {
                live.sender.abort(quic, CLOSE_OK);
            }
            context.events.push_back(stopped_event(self.viewer(), &live));
            return;
        }
        let id = self.id(stream);
        if stopped {
            // The viewer waits no longer.
            let known = self.asks.remove(&stream) | self.replies.remove(&stream).is_some();
            if (known || self.playbacks.contains_key(&stream) || self.downloads.contains_key(&stream))
                && let Some(quic) = context.link.quic(self.conn)
            {
                end(quic, stream, Some(CLOSE_OK));
            }
            if self.talk.as_ref().is_some_and(|t| t.id == id) {
                self.end_talk(context.link, context.events, false);
            }
        }
        if self.playbacks.remove(&stream).is_some() {
            context.events.push_back(CameraEvent::PlaybackEnded { request: id });
        }
        if self.downloads.remove(&stream).is_some() {
            context.events.push_back(CameraEvent::DownloadEnded { request: id, complete: !stopped });
        }
        let Some(quic) = context.link.quic(self.conn) else { return };
        for live in self.lives.values_mut() {
            if live.sender.stream_over(quic, stream, stopped) {
                break;
            }
        }
        self.pump(context.now, context.link, context.events);
    }

    /// Reports the end of everything that is watched, because the connection ends.
    pub(super) fn stop_all(&mut self, events: &mut VecDeque<CameraEvent>) {
        let viewer = self.viewer();
        events.extend(self.lives.values().map(|live| stopped_event(viewer, live)));
        self.lives.clear();
        events.extend(self.playbacks.keys().map(|&s| CameraEvent::PlaybackEnded { request: self.id(s) }));
        let ended = |&s| CameraEvent::DownloadEnded { request: self.id(s), complete: false };
        events.extend(self.downloads.keys().map(ended));
        self.playbacks.clear();
        self.downloads.clear();
        if let Some(talk) = self.talk.take() {
            events.push_back(CameraEvent::VoiceEnded { request: talk.id, complete: false });
        }
        let done = self.messages.fail("the viewer is gone");
        self.messages_done(done, events);
    }

    /// Looks whether the session may go on. `Some`: close it with this code and reason.
    pub(super) fn check(
        &mut self,
        now: Instant,
        link: &mut Link,
        config: &CameraConfig,
        unix: Option<u64>,
        events: &mut VecDeque<CameraEvent>,
    ) -> Option<(u32, String)> {
        let old: Vec<StreamId> = self
            .asking
            .iter()
            .filter(|(_, a)| now.saturating_duration_since(a.since) > HEAD_TIMEOUT)
            .map(|(&stream, _)| stream)
            .collect();
        for stream in old {
            self.asking.remove(&stream);
            if let Some(quic) = link.quic(self.conn) {
                stop(quic, stream, CLOSE_OK);
                end(quic, stream, Some(CLOSE_OK));
            }
        }
        let grants = self.lives.values().map(|l| &l.grant);
        let grants = grants.chain(self.playbacks.values().map(|p| &p.grant));
        let grants = grants.chain(self.downloads.values().map(|d| &d.grant));
        for grant in grants.chain(self.talk.iter().map(|t| &t.grant)) {
            let still = grant.capability.recheck(config.epoch, unix, grant.right);
            if let Err(e) = still {
                return Some((CLOSE_REVOKED, e.to_string()));
            }
        }
        if !self.allowed && now.saturating_duration_since(self.since) > IDLE_TIMEOUT {
            return Some((CLOSE_OK, "nothing was asked for".to_owned()));
        }
        self.pump(now, link, events);
        None
    }
}

/// What congestion control knows of the path that data goes by. Of one that is new at `now` it only knows what probes and the first
/// packets have shown, and the path with the largest window is the better guess. Later that one may be the path that nothing goes by
/// any more, of which nothing new is learned.
fn path_state(link: &mut Link, conn: ConnId, now: Option<Instant>) -> Option<ControllerMetrics> {
    let is_known = |since| now.is_none_or(|now| now.saturating_duration_since(since) > LEARNING);
    let selected = link.selected_path(conn).filter(|(_, since)| is_known(*since));
    let quic = link.quic(conn)?;
    if let Some(state) = selected.and_then(|(path, _)| quic.congestion_state(path)) {
        return Some(state.metrics());
    }
    let metrics = quic.paths().into_iter().filter_map(|path| Some(quic.congestion_state(path)?.metrics()));
    metrics.max_by_key(|m| m.congestion_window)
}

fn stopped_event(viewer: ViewerId, live: &Live) -> CameraEvent {
    CameraEvent::LiveStopped { viewer, channel: live.request.channel, quality: live.request.quality }
}

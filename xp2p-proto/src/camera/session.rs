//! One viewer's connection: its requests, whether they are allowed, and what it watches.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::config::CameraConfig;
use super::event::{CameraEvent, ViewerId, ViewerInfo};
use super::live::{FeedIndex, FeedPush, Feeds};
use super::{CLOSE_OK, CLOSE_REVOKED};
use crate::info::{Capability, Right};
use crate::keys::PublicKey;
use crate::link::stream::{ReadEnd, end, read, stop, write};
use crate::link::{ConnId, Dir, Link, LinkEvent, StreamId};
use crate::live::{Sender, SenderConfig};
use crate::request::{HeadReader, Live as LiveRequest, MAX_HEAD, Request, RequestHead, ResponseHead, Status};

/// A request head must be whole after this long.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that was never allowed anything is closed after this long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// Least bytes that QUIC may hold unacknowledged for one viewer.
const MIN_SEND_WINDOW: u64 = 64 * 1024;
/// Latency budgets that viewers may ask for.
const BUDGETS: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(10);

/// What a session may look at while it handles an event.
pub(super) struct Context<'a> {
    pub(super) now: Instant,
    pub(super) unix: Option<u64>,
    pub(super) link: &'a mut Link,
    pub(super) config: &'a CameraConfig,
    pub(super) feeds: &'a Feeds,
    /// Viewers that watch something, over all sessions.
    pub(super) watching: usize,
    pub(super) events: &'a mut VecDeque<CameraEvent>,
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
    /// What it is allowed by; checked again while it runs.
    capability: Capability,
}

#[derive(Debug)]
pub(super) struct Session {
    conn: ConnId,
    peer: PublicKey,
    since: Instant,
    asking: BTreeMap<StreamId, Asking>,
    lives: BTreeMap<StreamId, Live>,
    /// A request was allowed at some time.
    allowed: bool,
}

/// Why a request gets another answer than it hoped for.
struct Refusal {
    status: Status,
    reason: String,
}

impl Session {
    pub(super) fn new(conn: ConnId, peer: PublicKey, now: Instant) -> Self {
        Self { conn, peer, since: now, asking: BTreeMap::new(), lives: BTreeMap::new(), allowed: false }
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
            LinkEvent::Readable(stream) => self.read_request(context, stream),
            LinkEvent::Writable(_) | LinkEvent::Available(Dir::Uni) => self.pump(context.now, context.link),
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
        let ended = read(quic, stream, room, |data| {
            asking.read += data.len();
            // What follows the head is not wanted: none of these requests has a body.
            if matches!(head, Ok(None)) {
                head = asking.reader.push(&data);
            }
        });
        let refusal = match head {
            Ok(Some((head, _))) => {
                self.asking.remove(&stream);
                match self.answer(context, stream, &head) {
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
                ReadEnd::Finished => Refusal {
                    status: Status::BadRequest,
                    reason: "the request ends before its head is whole".to_owned(),
                },
            },
            Err(e) => Refusal { status: e.status(), reason: e.to_string() },
        };
        self.asking.remove(&stream);
        self.refuse(context, stream, refusal);
    }

    fn refuse(&mut self, context: &mut Context<'_>, stream: StreamId, refusal: Refusal) {
        let head = Bytes::from(ResponseHead::refusal(refusal.status, &refusal.reason).to_bytes());
        if let Some(quic) = context.link.quic(self.conn) {
            // A head fits into any send window of a stream that was not written to yet.
            let _ = write(quic, stream, &mut [head]);
            end(quic, stream, None);
            stop(quic, stream, CLOSE_OK);
        }
        context.events.push_back(CameraEvent::Refused {
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
    ) -> Result<(), Refusal> {
        // First who asks, then what: nobody without a capability learns what there is.
        let capability = head.headers.capability.as_ref().ok_or_else(|| Refusal {
            status: Status::Unauthorized,
            reason: "the request carries no capability; use an xp2pInfo that holds one".to_owned(),
        })?;
        let request = Request::from_head(head);
        // A malformed request still has to show a genuine capability before it hears what is wrong with it.
        let right = request.as_ref().map_or(Right::Live, |r| r.right());
        capability
            .verify(&context.config.secret.public(), context.config.epoch, context.unix, right)
            .map_err(|e| Refusal { status: Status::from(&e), reason: e.to_string() })?;
        let request = request.map_err(|e| Refusal { status: e.status(), reason: e.to_string() })?;
        match request {
            Request::Live(live) => self.start_live(context, stream, head, capability.clone(), live),
            Request::Command(_) => Err(Refusal {
                status: Status::CommandUnsupported,
                reason: "this camera knows no such command".to_owned(),
            }),
            Request::Playback(_) | Request::Download(_) | Request::Voice(_) => Err(Refusal {
                status: Status::NotFound,
                reason: "this camera does not offer that".to_owned(),
            }),
        }
    }

    fn start_live(
        &mut self,
        context: &mut Context<'_>,
        stream: StreamId,
        head: &RequestHead,
        capability: Capability,
        request: LiveRequest,
    ) -> Result<(), Refusal> {
        let found = context.feeds.find(request.channel, request.quality);
        let (index, feed) = found.and_then(|i| Some((i, context.feeds.get(i)?))).ok_or_else(|| Refusal {
            status: Status::NotFound,
            reason: format!("there is no channel {} in quality {}", request.channel, request.quality),
        })?;
        if !self.is_watching() && context.watching >= context.config.max_viewers {
            return Err(Refusal {
                status: Status::TooManyViewers,
                reason: format!("{} viewers are watching already, and no more are allowed", context.watching),
            });
        }
        let budget = head
            .headers
            .latency
            .map_or(context.config.sender.budget, |b| b.clamp(*BUDGETS.start(), *BUDGETS.end()));
        let config = SenderConfig { budget, ..context.config.sender };
        let response = Bytes::from(ResponseHead::new(Status::Ok).to_bytes());
        let sender = Sender::new(context.now, config, stream, response, feed, request.audio_only);
        context.events.push_back(CameraEvent::LiveStarted {
            viewer: self.viewer(),
            channel: request.channel,
            quality: request.quality,
            requester: request.requester.clone(),
            user_args: request.user_args.clone(),
        });
        self.lives.insert(stream, Live { feed: index, request, sender, capability });
        self.allowed = true;
        // Only now: our addresses tell where the camera stands.
        context.link.seek_direct(context.now, self.conn);
        self.pump(context.now, context.link);
        Ok(())
    }

    /// Sends a new tag of `feed` to this viewer if it watches that.
    pub(super) fn push(&mut self, now: Instant, link: &mut Link, feed: FeedIndex, push: &FeedPush) {
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
            self.pump(now, link);
        }
    }

    pub(super) fn end_feed(&mut self, now: Instant, link: &mut Link, feed: FeedIndex) {
        for live in self.lives.values_mut().filter(|l| l.feed == feed) {
            live.sender.finish();
        }
        self.pump(now, link);
    }

    fn pump(&mut self, now: Instant, link: &mut Link) {
        if self.lives.is_empty() {
            return;
        }
        let Some(quic) = link.quic(self.conn) else { return };
        // Pictures wait here, where they can be dropped, and not in QUIC, where they cannot: it gets enough to fill
        // the path and to find out whether the path takes more.
        let window = quic
            .paths()
            .into_iter()
            .filter_map(|path| quic.congestion_state(path).map(|c| c.window()))
            .max()
            .unwrap_or(0);
        quic.set_send_window(window.saturating_mul(2).max(MIN_SEND_WINDOW));
        for live in self.lives.values_mut() {
            live.sender.pump(now, quic);
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
        let Some(quic) = context.link.quic(self.conn) else { return };
        for live in self.lives.values_mut() {
            if live.sender.stream_over(quic, stream, stopped) {
                break;
            }
        }
        self.pump(context.now, context.link);
    }

    /// Reports the end of everything that is watched, because the connection ends.
    pub(super) fn stop_all(&mut self, events: &mut VecDeque<CameraEvent>) {
        let viewer = self.viewer();
        events.extend(self.lives.values().map(|live| stopped_event(viewer, live)));
        self.lives.clear();
    }

    /// Looks whether the session may go on. `Some`: close it with this code and reason.
    pub(super) fn check(
        &mut self,
        now: Instant,
        link: &mut Link,
        config: &CameraConfig,
        unix: Option<u64>,
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
        for live in self.lives.values() {
            let still = live.capability.recheck(config.epoch, unix, Right::Live);
            if let Err(e) = still {
                return Some((CLOSE_REVOKED, e.to_string()));
            }
        }
        if !self.allowed && now.saturating_duration_since(self.since) > IDLE_TIMEOUT {
            return Some((CLOSE_OK, "nothing was asked for".to_owned()));
        }
        self.pump(now, link);
        None
    }
}

fn stopped_event(viewer: ViewerId, live: &Live) -> CameraEvent {
    CameraEvent::LiveStopped { viewer, channel: live.request.channel, quality: live.request.quality }
}

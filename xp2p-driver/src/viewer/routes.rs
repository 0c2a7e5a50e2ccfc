//! Where the events of a viewer go.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use async_channel::Sender;
use bytes::Bytes;
use xp2p_proto::command::CommandOutcome;
use xp2p_proto::error::ErrorCode;
use xp2p_proto::link::PathKind;
use xp2p_proto::live::LiveItem;
use xp2p_proto::request::Headers;
use xp2p_proto::viewer::{CommandKey, MessageKey, ServiceId, StreamKey, Viewer, ViewerEvent};

use super::digest::Undigested;
use crate::event_loop::Role;
use crate::handle::WeakHandle;
use crate::player::Hub;

/// News of a service. Media goes to the hubs, files and talk to their own handles.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServiceEvent {
    /// Connected, for the first time or again.
    Connected {
        /// First round-trip time.
        rtt: Duration,
    },
    /// Data comes another way.
    Path(PathKind),
    /// The connection is gone; the service tries to come back.
    Reconnecting(String),
    /// The service is over. Last event.
    Disconnect {
        /// The documented code that fits best.
        code: ErrorCode,
        /// Why.
        reason: String,
    },
    /// A request went out.
    Request {
        /// Of which stream.
        stream: StreamKey,
    },
    /// The camera has answered a request.
    Parsed {
        /// Of which stream.
        stream: StreamKey,
        /// Status.
        status: u16,
        /// Header fields; the reason of a refusal is one of them.
        headers: Box<Headers>,
    },
    /// A playback has jumped.
    Seeked {
        /// Which stream.
        stream: StreamKey,
        /// Milliseconds after the start of the playback.
        progress: u64,
    },
    /// A stream has ended in order.
    Eof {
        /// Which stream.
        stream: StreamKey,
    },
    /// A stream has ended otherwise.
    Close {
        /// Which stream.
        stream: StreamKey,
        /// Why.
        reason: String,
    },
    /// The camera sends a message. Answer it with [`reply_message`](super::ViewerHandle::reply_message).
    Message {
        /// Which message.
        message: MessageKey,
        /// Its text.
        text: String,
    },
}

/// News of a download.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DownloadEvent {
    /// The camera has answered (`onHeadersReceived`); again after a reconnection.
    Headers {
        /// Status.
        status: u16,
        /// Bytes that are still to come, if the camera sends the file.
        left: Option<u64>,
        /// Names this content of the file.
        etag: Option<String>,
    },
    /// The next bytes (`onChunkReceived`).
    Data {
        /// Place of the first in the file.
        offset: u64,
        /// The bytes.
        data: Bytes,
    },
    /// Everything is there, and the digest is the camera's (`onSuccess`). Last event.
    Done {
        /// Bytes of the whole file.
        size: u64,
        /// BLAKE3 of the whole file.
        digest: [u8; 32],
    },
    /// It has failed. Last event.
    Failed {
        /// 400 to 599 where the camera refused (`onFailure`); else the connection or the file was lost (`onError`).
        status: Option<u16>,
        /// Why.
        reason: String,
    },
}

/// News of a talk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TalkEvent {
    Accepted,
    Ready,
    Complete,
    Failed { status: Option<u16>, reason: String },
}

#[derive(Default)]
pub(super) struct Routes {
    pub(super) hubs: BTreeMap<StreamKey, Hub>,
    pub(super) events: BTreeMap<ServiceId, Sender<ServiceEvent>>,
    pub(super) commands: BTreeMap<CommandKey, Sender<CommandOutcome>>,
    pub(super) downloads: BTreeMap<StreamKey, Sender<Undigested>>,
    pub(super) talks: BTreeMap<StreamKey, Sender<TalkEvent>>,
    /// Status of a refusal, until the stream is closed for it.
    refused: BTreeMap<StreamKey, u16>,
    /// What nobody wants any more, to be stopped in the next turn. Each was started before, which bounds them.
    orphans: Vec<Started>,
}

/// Something that a viewer was asked to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Started {
    Service(ServiceId),
    Stream(StreamKey),
}

/// What is open in a viewer, as its handle sees it: all zero when everything that was started has ended or was stopped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Open {
    /// Services.
    pub services: usize,
    /// Live streams and recordings.
    pub streams: usize,
    /// Commands without an answer.
    pub commands: usize,
    /// Downloads.
    pub downloads: usize,
    /// Talks.
    pub talks: usize,
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routes").field("streams", &self.hubs.len()).finish_non_exhaustive()
    }
}

/// Shared between the machine's task and its handles. Held for moments only.
#[derive(Debug, Clone, Default)]
pub(super) struct SharedRoutes(Arc<Mutex<Routes>>);

impl SharedRoutes {
    pub(super) fn lock(&self) -> MutexGuard<'_, Routes> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// Stops something unless it is taken: whoever asked for it may be gone before there is an answer, or leave later without
/// a word.
#[derive(Debug)]
pub(super) struct Claim {
    started: Option<Started>,
    routes: SharedRoutes,
    handle: WeakHandle<Viewer>,
}

impl Claim {
    pub(super) fn new(started: Started, routes: &SharedRoutes, handle: &WeakHandle<Viewer>) -> Self {
        Self { started: Some(started), routes: routes.clone(), handle: handle.clone() }
    }

    /// It has an owner now, or has ended.
    pub(super) fn take(mut self) {
        self.started = None;
    }

    pub(super) fn release(&mut self) {
        self.started = None;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(started) = self.started {
            self.routes.lock().orphans.push(started);
            // Only wakes the machine's task, which looks after each turn. If there is no room for this in its queue, it has
            // enough to do to have a turn anyway.
            self.handle.notify_soon(|_, _| {});
        }
    }
}

impl Routes {
    pub(super) fn open(&self) -> Open {
        Open {
            services: self.events.len(),
            streams: self.hubs.len(),
            commands: self.commands.len(),
            downloads: self.downloads.len(),
            talks: self.talks.len(),
        }
    }

    /// A service is over or was stopped.
    pub(super) fn forget(&mut self, id: ServiceId) {
        self.events.remove(&id);
        self.commands.retain(|key, _| key.service != id);
        self.downloads.retain(|key, _| key.service != id);
        self.talks.retain(|key, _| key.service != id);
        self.refused.retain(|key, _| key.service != id);
        self.hubs.retain(|key, hub| {
            if key.service == id {
                hub.end();
            }
            key.service != id
        });
    }

    /// A stream was stopped.
    pub(super) fn forget_stream(&mut self, stream: StreamKey) {
        self.downloads.remove(&stream);
        self.talks.remove(&stream);
        self.refused.remove(&stream);
        if let Some(hub) = self.hubs.remove(&stream) {
            hub.end();
        }
    }

    fn news(&mut self, service: ServiceId, news: ServiceEvent) {
        tracing::debug!(?service, ?news, "viewer");
        let over = matches!(news, ServiceEvent::Disconnect { .. });
        if let Some(sender) = self.events.get(&service) {
            // An application that does not listen loses the oldest, and then the channel itself.
            let _ = sender.force_send(news);
        }
        if over {
            self.forget(service);
        }
    }

    fn download(&mut self, stream: StreamKey, event: DownloadEvent) {
        self.undigested(stream, Undigested::Event(event));
    }

    fn undigested(&mut self, stream: StreamKey, news: Undigested) {
        if let Some(sender) = self.downloads.get(&stream) {
            // Unbounded; the camera's window bounds it. Fails only when nobody wants the file any more.
            let _ = sender.try_send(news);
        }
    }

    fn talk(&mut self, stream: StreamKey, event: TalkEvent) {
        if let Some(sender) = self.talks.get(&stream) {
            let _ = sender.try_send(event);
        }
    }

    fn end(&mut self, stream: StreamKey, end: Result<(), String>) {
        let status = self.refused.remove(&stream);
        if let Some(hub) = self.hubs.remove(&stream) {
            hub.end();
        }
        match end {
            Ok(()) => {
                self.talk(stream, TalkEvent::Complete);
                self.news(stream.service, ServiceEvent::Eof { stream });
            }
            Err(reason) => {
                self.talk(stream, TalkEvent::Failed { status, reason: reason.clone() });
                self.download(stream, DownloadEvent::Failed { status, reason: reason.clone() });
                self.news(stream.service, ServiceEvent::Close { stream, reason });
            }
        }
        self.talks.remove(&stream);
        self.downloads.remove(&stream);
    }

    fn handle(&mut self, event: ViewerEvent) {
        match event {
            ViewerEvent::Media { stream, item } => {
                if let Some(hub) = self.hubs.get(&stream) {
                    match item {
                        LiveItem::Config(config) => hub.configure(&config),
                        LiveItem::Tag(tag) => hub.push(&tag),
                    }
                }
            }
            ViewerEvent::DownloadData { stream, offset, data } => {
                self.download(stream, DownloadEvent::Data { offset, data });
            }
            ViewerEvent::DownloadDigestWanted { stream } => {
                self.undigested(stream, Undigested::DigestWanted);
            }
            ViewerEvent::Downloaded { stream, size, digest } => {
                self.download(stream, DownloadEvent::Done { size, digest });
                self.downloads.remove(&stream);
            }
            ViewerEvent::VoiceReady { stream } => self.talk(stream, TalkEvent::Ready),
            ViewerEvent::CommandDone { command, outcome } => {
                if let Some(sender) = self.commands.remove(&command) {
                    // Fails only when nobody waits for it any more.
                    let _ = sender.try_send(outcome);
                }
            }
            ViewerEvent::Connected { service, rtt } => self.news(service, ServiceEvent::Connected { rtt }),
            ViewerEvent::Path { service, kind } => self.news(service, ServiceEvent::Path(kind)),
            ViewerEvent::Reconnecting { service, reason } => {
                self.hubs.iter().filter(|(k, _)| k.service == service).for_each(|(_, hub)| hub.interrupt());
                self.news(service, ServiceEvent::Reconnecting(reason));
            }
            ViewerEvent::Disconnect { service, code, reason } => {
                self.news(service, ServiceEvent::Disconnect { code, reason });
            }
            ViewerEvent::Request { stream } => self.news(stream.service, ServiceEvent::Request { stream }),
            ViewerEvent::Parsed { stream, head } => {
                let status = head.status();
                if head.is_success() {
                    self.talk(stream, TalkEvent::Accepted);
                } else {
                    self.refused.insert(stream, status);
                }
                let length = head.headers.content_length.filter(|_| head.is_success());
                let left = length.map(|l| l.saturating_sub(blake3::OUT_LEN as u64));
                let etag = head.headers.etag.clone();
                self.download(stream, DownloadEvent::Headers { status, left, etag });
                let headers = Box::new(head.headers);
                self.news(stream.service, ServiceEvent::Parsed { stream, status, headers });
            }
            ViewerEvent::Seeked { stream, progress } => {
                if let Some(hub) = self.hubs.get(&stream) {
                    hub.interrupt();
                }
                self.news(stream.service, ServiceEvent::Seeked { stream, progress });
            }
            ViewerEvent::Message { message, text } => {
                self.news(message.service, ServiceEvent::Message { message, text });
            }
            ViewerEvent::Eof { stream } => self.end(stream, Ok(())),
            ViewerEvent::Close { stream, reason } => self.end(stream, Err(reason)),
            _ => {}
        }
    }
}

pub(super) struct ViewerRole {
    pub(super) routes: SharedRoutes,
}

impl Role<Viewer> for ViewerRole {
    fn on_event(&mut self, _machine: &mut Viewer, _now: Instant, event: ViewerEvent) {
        self.routes.lock().handle(event);
    }

    fn on_turn(&mut self, machine: &mut Viewer, now: Instant) {
        let mut routes = self.routes.lock();
        for started in std::mem::take(&mut routes.orphans) {
            match started {
                Started::Service(id) => {
                    machine.stop_service(now, id);
                    routes.forget(id);
                }
                Started::Stream(stream) => {
                    machine.stop_stream(stream);
                    routes.forget_stream(stream);
                }
            }
        }
    }

    fn shutdown(&mut self, machine: &mut Viewer, now: Instant) {
        machine.shutdown(now);
        let mut routes = self.routes.lock();
        routes.hubs.values().for_each(Hub::end);
        *routes = Routes::default();
    }

    fn is_closed(&self, machine: &Viewer) -> bool {
        machine.is_closed()
    }
}

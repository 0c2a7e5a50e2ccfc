//! One live stream of a service: its request, its response head and its media.

use std::time::{Duration, Instant};

use super::config::ViewerConfig;
use super::event::{StreamKey, StreamStats};
use crate::info::Capability;
use crate::link::StreamId;
use crate::live::{LiveItem, Receiver};
use crate::request::{HeadReader, Live as LiveRequest, Request, RequestError, RequestHead, ResponseHead};

/// Where a stream stands on the present connection.
#[derive(Debug)]
pub(super) enum State {
    /// The request waits for a connection, or for a stream on it.
    Waiting,
    /// The request is out; what has come of the response head.
    Asked(StreamId, HeadReader<ResponseHead>),
    /// Media comes.
    Open(StreamId),
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) key: StreamKey,
    pub(super) request: LiveRequest,
    pub(super) state: State,
    pub(super) receiver: Receiver,
    /// Counters of the connections before this one.
    past: StreamStats,
    first_byte: Option<Duration>,
    first_keyframe: Option<Duration>,
}

impl Stream {
    pub(super) fn new(key: StreamKey, request: LiveRequest, config: &ViewerConfig) -> Self {
        Self {
            key,
            request,
            state: State::Waiting,
            receiver: Receiver::new(config.latency, config.limits),
            past: StreamStats::default(),
            first_byte: None,
            first_keyframe: None,
        }
    }

    pub(super) fn stream_id(&self) -> Option<StreamId> {
        match self.state {
            State::Waiting => None,
            State::Asked(id, _) | State::Open(id) => Some(id),
        }
    }

    /// The connection is gone: ask again on the next one.
    pub(super) fn restart(&mut self, config: &ViewerConfig) {
        self.past = self.stats();
        self.state = State::Waiting;
        self.receiver = Receiver::new(config.latency, config.limits);
    }

    /// The head to send.
    ///
    /// # Errors
    ///
    /// A parameter of the request is not allowed.
    pub(super) fn head(
        &self,
        config: &ViewerConfig,
        capability: Option<Capability>,
    ) -> Result<RequestHead, RequestError> {
        let mut head = Request::Live(self.request.clone()).to_head()?;
        head.headers.capability = capability;
        head.headers.latency = Some(config.latency);
        Ok(head)
    }

    pub(super) fn note_byte(&mut self, started: Instant, now: Instant) {
        self.first_byte.get_or_insert(now.saturating_duration_since(started));
    }

    /// The next item, once the camera said yes. `now` is the time of the machine's last input.
    pub(super) fn poll(&mut self, started: Instant, now: Instant, complete: bool) -> Option<LiveItem> {
        if !matches!(self.state, State::Open(_)) {
            return None;
        }
        let item = self.receiver.poll(complete)?;
        if self.first_keyframe.is_none()
            && let LiveItem::Tag(tag) = &item
            && tag.is_keyframe()
        {
            self.first_keyframe = Some(now.saturating_duration_since(started));
        }
        Some(item)
    }

    pub(super) fn stats(&self) -> StreamStats {
        let (past, new) = (self.past.received, self.receiver.stats());
        StreamStats {
            first_byte: self.first_byte,
            first_keyframe: self.first_keyframe,
            received: crate::live::ReceiverStats {
                bytes: past.bytes + new.bytes,
                tags: past.tags + new.tags,
                keyframes: past.keyframes + new.keyframes,
                skipped_gops: past.skipped_gops + new.skipped_gops,
            },
        }
    }

    /// Takes in bytes of the response. Returns the head when it is whole, and whether it is a success.
    ///
    /// # Errors
    ///
    /// A text about what the camera did wrong.
    pub(super) fn response(&mut self, data: &[u8]) -> Result<Option<ResponseHead>, String> {
        match &mut self.state {
            State::Waiting => Ok(None),
            State::Open(_) => {
                self.receiver.response(data).map_err(|e| e.to_string())?;
                Ok(None)
            }
            State::Asked(id, reader) => {
                let Some((head, used)) = reader.push(data).map_err(|e| e.to_string())? else {
                    return Ok(None);
                };
                if head.is_success() {
                    self.state = State::Open(*id);
                    self.receiver.accept();
                    self.receiver
                        .response(data.get(used..).unwrap_or_default())
                        .map_err(|e| e.to_string())?;
                }
                Ok(Some(head))
            }
        }
    }
}

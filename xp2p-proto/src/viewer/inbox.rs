//! Messages that cameras send.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use noq_proto::{Connection, StreamId};

use super::event::{MessageKey, ServiceId, ViewerEvent};
use crate::camera::CLOSE_OK;
use crate::exchange::{Flow, Outbox};
use crate::link::stream::{ReadEnd, end, read, stop};
use crate::request::{HeadReader, MAX_HEAD, RequestHead, ResponseHead, Status, message_text};

#[derive(Debug)]
enum Message {
    /// Its head is not whole; bytes so far.
    Head(HeadReader<RequestHead>, usize),
    /// The application has it.
    Shown(u64),
    /// The answer is on its way.
    Answered(Outbox),
}

/// The messages on one connection; QUIC bounds how many there can be.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    messages: BTreeMap<StreamId, Message>,
    next: u64,
}

impl Inbox {
    pub(super) fn opened(&mut self, stream: StreamId) {
        self.messages.insert(stream, Message::Head(HeadReader::new(), 0));
    }

    /// The connection is gone.
    pub(super) fn clear(&mut self) {
        self.messages.clear();
    }

    pub(super) fn owns(&self, stream: StreamId) -> bool {
        self.messages.contains_key(&stream)
    }

    /// The camera waits no longer.
    pub(super) fn stopped(&mut self, conn: &mut Connection, stream: StreamId) {
        if self.messages.remove(&stream).is_some() {
            stop(conn, stream, CLOSE_OK);
            end(conn, stream, Some(CLOSE_OK));
        }
    }

    pub(super) fn readable(
        &mut self,
        conn: &mut Connection,
        service: ServiceId,
        stream: StreamId,
        events: &mut VecDeque<ViewerEvent>,
    ) {
        let Some(Message::Head(reader, taken)) = self.messages.get_mut(&stream) else { return };
        let mut head = Ok(None);
        let room = (MAX_HEAD + 1).saturating_sub(*taken);
        let ended = read(conn, stream, room, |piece| {
            *taken += piece.len();
            if matches!(head, Ok(None)) {
                head = reader.push(&piece);
            }
        });
        let text = match head {
            Ok(None) if matches!(ended, ReadEnd::Blocked | ReadEnd::Limit) => return,
            Ok(None) => Err((Status::BadRequest, "the message is cut short".to_owned())),
            Ok(Some((head, _))) => message_text(&head).map_err(|e| (e.status(), e.to_string())),
            Err(e) => Err((e.status(), e.to_string())),
        };
        match text {
            Ok(text) => {
                let number = self.next;
                self.next += 1;
                self.messages.insert(stream, Message::Shown(number));
                events.push_back(ViewerEvent::Message { message: MessageKey { service, number }, text });
            }
            Err((status, reason)) => {
                let head = ResponseHead::refusal(status, &reason);
                self.respond(conn, stream, &head, Bytes::new());
            }
        }
    }

    /// Answers a message. Returns whether the camera still waits.
    pub(super) fn reply(&mut self, conn: Option<&mut Connection>, number: u64, body: Bytes) -> bool {
        let is_it = |m: &Message| matches!(m, Message::Shown(n) if *n == number);
        let stream = self.messages.iter().find(|(_, m)| is_it(m)).map(|(&stream, _)| stream);
        let (Some(stream), Some(conn)) = (stream, conn) else { return false };
        let mut head = ResponseHead::new(Status::Ok);
        head.headers.content_length = Some(body.len() as u64);
        self.respond(conn, stream, &head, body);
        true
    }

    fn respond(&mut self, conn: &mut Connection, stream: StreamId, head: &ResponseHead, body: Bytes) {
        let mut outbox = Outbox::default();
        outbox.push(Bytes::from(head.to_bytes()));
        outbox.push(body);
        outbox.finish();
        self.messages.insert(stream, Message::Answered(outbox));
        self.pump(conn);
    }

    pub(super) fn pump(&mut self, conn: &mut Connection) {
        self.messages.retain(|&stream, message| match message {
            Message::Answered(outbox) => outbox.pump(conn, stream) == Flow::Blocked,
            _ => true,
        });
    }
}

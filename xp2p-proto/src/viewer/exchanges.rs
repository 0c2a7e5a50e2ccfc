//! Everything between a service and its camera but live streams: commands, messages, recordings, files, talk.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use bytes::Bytes;
use noq_proto::Connection;

use super::event::{CommandKey, MessageKey, ServiceId, StreamKey, ViewerEvent};
use super::fetch::{Fetch, FetchEnd};
use super::inbox::Inbox;
use super::show::{Show, ShowEnd};
use super::talk::{Talk, TalkEnd};
use crate::command::{BuiltIn, CommandOutcome};
use crate::exchange::{Asker, Done};
use crate::info::Capability;
use crate::link::StreamId;
use crate::request::{Command, RequestError, RequestHead};

/// What a command does to a playback of ours.
#[derive(Debug, Clone, Copy)]
enum Effect {
    Jump(u64),
    Pause(u64, bool),
}

#[derive(Debug)]
pub(super) struct Exchanges {
    service: ServiceId,
    commands: Asker,
    effects: BTreeMap<u64, Effect>,
    pub(super) inbox: Inbox,
    pub(super) shows: BTreeMap<u64, Show>,
    pub(super) fetches: BTreeMap<u64, Fetch>,
    pub(super) talks: BTreeMap<u64, Talk>,
}

impl Exchanges {
    pub(super) fn new(service: ServiceId) -> Self {
        Self {
            service,
            commands: Asker::default(),
            effects: BTreeMap::new(),
            inbox: Inbox::default(),
            shows: BTreeMap::new(),
            fetches: BTreeMap::new(),
            talks: BTreeMap::new(),
        }
    }

    /// Streams, commands left out.
    pub(super) fn streams(&self) -> usize {
        self.shows.len() + self.fetches.len() + self.talks.len()
    }

    pub(super) fn commands(&self) -> usize {
        self.commands.len()
    }

    /// Whether anything waits for the camera.
    pub(super) fn is_active(&self) -> bool {
        self.streams() > 0 || self.commands.len() > 0
    }

    pub(super) fn command(&mut self, command: &Command, head: &RequestHead, deadline: Instant) -> CommandKey {
        let number = self.commands.ask(Bytes::from(head.to_bytes()), deadline);
        if let Ok(Some(builtin)) = BuiltIn::from_command(command)
            && let Some(show) = self.shows.values_mut().find(|s| s.request.channel == command.channel)
        {
            let key = show.key.number;
            let effect = match builtin {
                BuiltIn::PlaybackSeek(_) | BuiltIn::PlaybackRewind { .. } => {
                    // What is on its way already lies before the jump.
                    show.jumps += 1;
                    Some(Effect::Jump(key))
                }
                BuiltIn::PlaybackPause => Some(Effect::Pause(key, true)),
                BuiltIn::PlaybackResume => Some(Effect::Pause(key, false)),
                _ => None,
            };
            self.effects.extend(effect.map(|effect| (number, effect)));
        }
        CommandKey { service: self.service, number }
    }

    /// Asks what waits, and sends what waits.
    pub(super) fn pump(
        &mut self,
        conn: &mut Connection,
        capability: Option<&Capability>,
        events: &mut VecDeque<ViewerEvent>,
    ) {
        let finish = |head: Result<RequestHead, RequestError>| {
            // The requests were checked when they were made.
            head.ok().map(|mut head| {
                head.headers.capability = capability.cloned();
                head
            })
        };
        for show in self.shows.values_mut() {
            if show.state.is_waiting()
                && let Some(head) = finish(show.head())
                && show.state.ask(conn, &head, &mut show.outbox)
            {
                show.outbox.finish();
                events.push_back(ViewerEvent::Request { stream: show.key });
            }
            if let Some(id) = show.state.stream() {
                show.outbox.pump(conn, id);
            }
        }
        for talk in self.talks.values_mut() {
            if talk.state.is_waiting()
                && let Some(head) = finish(talk.head())
                && talk.ask(conn, &head)
            {
                events.push_back(ViewerEvent::Request { stream: talk.key });
            }
            talk.pump(conn, events);
        }
        for fetch in self.fetches.values_mut() {
            if fetch.has_to_ask()
                && let Some(head) = finish(fetch.head())
                && fetch.state.ask(conn, &head, &mut fetch.outbox)
            {
                fetch.outbox.finish();
                events.push_back(ViewerEvent::Request { stream: fetch.key });
            }
            if let Some(id) = fetch.state.stream() {
                fetch.outbox.pump(conn, id);
            }
        }
        self.inbox.pump(conn);
        self.commands.pump(conn);
    }

    /// Reads what has come. Returns whether the stream is one of these.
    pub(super) fn readable(
        &mut self,
        conn: &mut Connection,
        id: StreamId,
        events: &mut VecDeque<ViewerEvent>,
    ) -> bool {
        if self.commands.owns(id) {
            let done = self.commands.readable(conn, id);
            self.done(done, events);
            // A stream may have become free.
            self.commands.pump(conn);
        } else if self.inbox.owns(id) {
            self.inbox.readable(conn, self.service, id, events);
        } else if let Some(key) = find(&self.shows, |s| s.state.stream() == Some(id)) {
            self.read_show(conn, key, events);
        } else if let Some(key) = find(&self.fetches, |f| f.state.stream() == Some(id)) {
            self.read_fetch(conn, key, events);
        } else if let Some(key) = find(&self.talks, |t| t.state.stream() == Some(id)) {
            self.read_talk(conn, key, events);
        } else {
            return false;
        }
        true
    }

    fn read_show(&mut self, conn: &mut Connection, key: u64, events: &mut VecDeque<ViewerEvent>) {
        let Some(show) = self.shows.get_mut(&key) else { return };
        let stream = show.key;
        match show.read(conn, events) {
            ShowEnd::Open => {}
            ShowEnd::Again => show.restart(),
            ShowEnd::Eof => {
                self.shows.remove(&key);
                events.push_back(ViewerEvent::Eof { stream });
            }
            ShowEnd::Failed(reason) => {
                show.state.abandon(Some(conn));
                self.shows.remove(&key);
                events.push_back(close(stream, reason, events));
            }
        }
    }

    pub(super) fn read_fetch(&mut self, conn: &mut Connection, key: u64, events: &mut VecDeque<ViewerEvent>) {
        let Some(fetch) = self.fetches.get_mut(&key) else { return };
        let end = fetch.read(conn, events);
        self.end_fetch(Some(conn), key, end, events);
    }

    /// The digest that a download has asked its caller for. Returns whether one has.
    pub(super) fn finish_fetch(
        &mut self,
        key: u64,
        digest: [u8; blake3::OUT_LEN],
        events: &mut VecDeque<ViewerEvent>,
    ) -> bool {
        let Some(end) = self.fetches.get_mut(&key).and_then(|f| f.finish_with(digest)) else { return false };
        self.end_fetch(None, key, end, events);
        true
    }

    fn end_fetch(
        &mut self,
        conn: Option<&mut Connection>,
        key: u64,
        end: FetchEnd,
        events: &mut VecDeque<ViewerEvent>,
    ) {
        let Some(fetch) = self.fetches.get_mut(&key) else { return };
        let stream = fetch.key;
        match end {
            FetchEnd::Open => {}
            FetchEnd::Again => fetch.restart(),
            FetchEnd::Complete { size, digest } => {
                self.fetches.remove(&key);
                events.push_back(ViewerEvent::Downloaded { stream, size, digest });
            }
            FetchEnd::Failed(reason) => {
                fetch.state.abandon(conn);
                self.fetches.remove(&key);
                events.push_back(close(stream, reason, events));
            }
        }
    }

    fn read_talk(&mut self, conn: &mut Connection, key: u64, events: &mut VecDeque<ViewerEvent>) {
        let Some(talk) = self.talks.get_mut(&key) else { return };
        let stream = talk.key;
        match talk.read(conn, events) {
            TalkEnd::Open => {}
            TalkEnd::Complete => {
                self.talks.remove(&key);
                events.push_back(ViewerEvent::Eof { stream });
            }
            TalkEnd::Failed(reason) => {
                talk.state.abandon(Some(conn));
                self.talks.remove(&key);
                events.push_back(close(stream, reason, events));
            }
        }
    }

    /// Ends a stream. Returns whether it was one of these.
    pub(super) fn stop(&mut self, mut conn: Option<&mut Connection>, key: u64) -> bool {
        let mut any = false;
        if let Some(mut show) = self.shows.remove(&key) {
            show.state.abandon(conn.as_deref_mut());
            any = true;
        }
        if let Some(mut fetch) = self.fetches.remove(&key) {
            fetch.state.abandon(conn.as_deref_mut());
            any = true;
        }
        if let Some(mut talk) = self.talks.remove(&key) {
            talk.state.abandon(conn);
            any = true;
        }
        any
    }

    /// The connection is gone, another may come.
    pub(super) fn lost(&mut self, reason: &str, events: &mut VecDeque<ViewerEvent>) {
        let done = self.commands.lost(reason);
        self.done(done, events);
        self.inbox.clear();
        self.shows.values_mut().for_each(Show::restart);
        self.fetches.values_mut().for_each(Fetch::restart);
        // What was said since then is lost, and nobody wants to hear it later.
        self.talks.retain(|_, talk| {
            let gone = !talk.state.is_waiting();
            if gone {
                let reason = format!("the connection was lost ({reason})");
                events.push_back(ViewerEvent::Close { stream: talk.key, reason });
            }
            !gone
        });
    }

    /// No connection will come any more.
    pub(super) fn give_up(&mut self, reason: &str, events: &mut VecDeque<ViewerEvent>) {
        let done = self.commands.fail(reason);
        self.done(done, events);
        let shows = std::mem::take(&mut self.shows).into_values().map(|s| s.key);
        let fetches = std::mem::take(&mut self.fetches).into_values().map(|f| f.key);
        let talks = std::mem::take(&mut self.talks).into_values().map(|t| t.key);
        let keys: Vec<StreamKey> = shows.chain(fetches).chain(talks).collect();
        events
            .extend(keys.into_iter().map(|stream| ViewerEvent::Close { stream, reason: reason.to_owned() }));
    }

    /// When [`expire`](Self::expire) is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.commands.next_deadline()
    }

    pub(super) fn expire(
        &mut self,
        now: Instant,
        conn: Option<&mut Connection>,
        events: &mut VecDeque<ViewerEvent>,
    ) {
        if self.next().is_some_and(|at| at <= now) {
            let done = self.commands.expire(now, conn);
            self.done(done, events);
        }
    }

    fn done(&mut self, done: impl IntoIterator<Item = Done>, events: &mut VecDeque<ViewerEvent>) {
        for (number, outcome) in done {
            let success = matches!(outcome, CommandOutcome::Success { .. });
            match self.effects.remove(&number) {
                Some(Effect::Jump(key)) if !success => {
                    // There will be no jump, as far as we know; one that comes all the same does no harm.
                    if let Some(show) = self.shows.get_mut(&key) {
                        show.jumps = show.jumps.saturating_sub(1);
                    }
                }
                Some(Effect::Pause(key, paused)) if success => {
                    if let Some(show) = self.shows.get_mut(&key) {
                        show.paused = paused;
                    }
                }
                _ => {}
            }
            let command = CommandKey { service: self.service, number };
            #[cfg(planted_fault = "command")]
            events.push_back(ViewerEvent::CommandDone { command, outcome: outcome.clone() });
            events.push_back(ViewerEvent::CommandDone { command, outcome });
        }
    }

    pub(super) fn reply(&mut self, conn: Option<&mut Connection>, message: MessageKey, body: Bytes) -> bool {
        self.inbox.reply(conn, message.number, body)
    }
}

fn find<T>(map: &BTreeMap<u64, T>, is_it: impl Fn(&T) -> bool) -> Option<u64> {
    map.iter().find(|(_, item)| is_it(item)).map(|(&key, _)| key)
}

/// The last event of a stream that was refused or has failed. What the camera says in a refusal has just been parsed.
fn close(stream: StreamKey, reason: String, events: &VecDeque<ViewerEvent>) -> ViewerEvent {
    let refusal = match events.back() {
        Some(ViewerEvent::Parsed { stream: parsed, head }) if *parsed == stream && !head.is_success() => {
            let text = head.headers.reason.as_ref().map_or_else(|| head.phrase(), |r| r.as_str());
            Some(format!("the camera answers {}: {text}", head.status()))
        }
        _ => None,
    };
    ViewerEvent::Close { stream, reason: refusal.unwrap_or(reason) }
}

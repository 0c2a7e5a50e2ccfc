//! What a camera owes to one viewer, and what it gives up when the network is slower than the picture.
//!
//! Groups of pictures go out in order while all of them are in time, since a player shows them in order. The moment
//! one of them is late, its rest is worth nothing any more: everything older than the newest group is reset, and the
//! newest goes first. If the newest itself is late, its keyframe still goes out, the pictures behind it do not, and
//! the next keyframe starts afresh. Sound is only ever thinned out by whole tags.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use noq_proto::{Connection, Dir, StreamId};

use super::feed::{Feed, Packet};
use super::wire::{LATE, Record, StreamHead, StreamKind};
use crate::flv::TagKind;
use crate::link::stream::{WriteEnd, end, write};

/// What one viewer may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderConfig {
    /// Age at which a picture or sound that has not been sent is late. Default 2 s (decision 12).
    pub budget: Duration,
    /// Most bytes that wait for this viewer; past it the newest group counts as late. Default 8 MiB.
    pub max_queue: usize,
}

impl Default for SenderConfig {
    fn default() -> Self {
        Self { budget: Duration::from_secs(2), max_queue: 8 * 1024 * 1024 }
    }
}

/// What is known of the path to a viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Bytes per second that it takes.
    pub rate: u64,
    /// Bytes that QUIC has not sent yet when it takes no more.
    pub held: u64,
    /// Round-trip time, the queues on the way included: a little more than what a byte needs to arrive.
    pub rtt: Duration,
}

/// Counters of one viewer's stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SenderStats {
    /// Bytes handed to QUIC.
    pub sent_bytes: u64,
    /// Tags handed to QUIC.
    pub sent_tags: u64,
    /// Tags dropped because they were late.
    pub dropped_tags: u64,
    /// Groups of pictures that were reset or cut short.
    pub late_gops: u64,
    /// Bytes that wait.
    pub queued_bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    packet: Packet,
}

/// One unidirectional stream and what is still to be written to it.
#[derive(Debug)]
struct Outgoing {
    kind: StreamKind,
    config: u64,
    stream: Option<StreamId>,
    /// Of the stream head and the tag that is being written.
    partial: VecDeque<Bytes>,
    partial_since: Option<Instant>,
    queue: VecDeque<Waiting>,
    /// Nothing more will be queued.
    complete: bool,
    /// All is handed to QUIC, the end included.
    finished: bool,
    key_sent: bool,
    newest: Instant,
}

impl Outgoing {
    fn new(now: Instant, kind: StreamKind, config: u64) -> Self {
        Self {
            kind,
            config,
            stream: None,
            partial: VecDeque::new(),
            partial_since: None,
            queue: VecDeque::new(),
            complete: false,
            finished: false,
            key_sent: false,
            newest: now,
        }
    }

    fn push(&mut self, since: Instant, packet: Packet) {
        self.newest = since;
        self.queue.push_back(Waiting { since, packet });
    }

    /// When the oldest tag was queued that QUIC has not got whole.
    fn oldest(&self) -> Option<Instant> {
        self.partial_since.or_else(|| self.queue.front().map(|w| w.since))
    }

    /// Bytes that QUIC has not got.
    fn waiting(&self) -> usize {
        self.partial.iter().map(Bytes::len).sum::<usize>()
            + self.queue.iter().map(|w| w.packet.len()).sum::<usize>()
    }

    /// Bytes of the tag in front that QUIC has not got.
    fn front(&self) -> usize {
        if self.partial_since.is_some() {
            return self.partial.iter().map(Bytes::len).sum();
        }
        self.queue.front().map_or(0, |w| w.packet.len())
    }

    fn clear_queue(&mut self, stats: &mut SenderStats) {
        stats.dropped_tags += self.queue.len() as u64;
        stats.queued_bytes -= self.queue.iter().map(|w| w.packet.len()).sum::<usize>();
        self.queue.clear();
    }
}

/// The live stream to one viewer.
#[derive(Debug)]
pub struct Sender {
    config: SenderConfig,
    /// The request's stream, on which the response goes.
    response: StreamId,
    records: VecDeque<Bytes>,
    gops: VecDeque<Outgoing>,
    audio: VecDeque<Outgoing>,
    config_id: u64,
    /// Streams opened so far, pictures and sound: their numbers.
    opened: Opened,
    /// No picture is sent until the next keyframe.
    wait_key: bool,
    audio_only: bool,
    ending: bool,
    end_queued: bool,
    prioritised: bool,
    ended: bool,
    stats: SenderStats,
}

impl Sender {
    /// Begins to answer the request on stream `response` with `head` (the response head), followed by all that `feed`
    /// has cached.
    pub fn new(
        now: Instant,
        config: SenderConfig,
        response: StreamId,
        head: Bytes,
        feed: &Feed,
        audio_only: bool,
    ) -> Self {
        let (config_id, record) = feed.config();
        let mut sender = Self {
            config,
            response,
            records: VecDeque::from([head, record.clone()]),
            gops: VecDeque::new(),
            audio: VecDeque::new(),
            config_id,
            opened: Opened::default(),
            wait_key: true,
            audio_only,
            ending: false,
            end_queued: false,
            prioritised: false,
            ended: false,
            stats: SenderStats::default(),
        };
        for packet in feed.cached() {
            sender.push(now, packet);
        }
        sender
    }

    /// The stream of the request.
    pub fn response(&self) -> StreamId {
        self.response
    }

    /// Counters so far.
    pub fn stats(&self) -> SenderStats {
        self.stats
    }

    /// The configuration has changed.
    pub fn configure(&mut self, id: u64, record: Bytes, video_changed: bool) {
        self.config_id = id;
        self.records.push_back(record);
        if video_changed {
            self.wait_key = true;
            if let Some(gop) = self.gops.back_mut() {
                gop.complete = true;
            }
        }
        if let Some(audio) = self.audio.back_mut() {
            audio.complete = true;
        }
    }

    /// Queues the next tag of the feed.
    pub fn push(&mut self, now: Instant, packet: &Packet) {
        if self.ending {
            return;
        }
        match packet.tag.kind {
            TagKind::Video if self.audio_only => return,
            TagKind::Video => {
                if packet.key {
                    if let Some(gop) = self.gops.back_mut() {
                        gop.complete = true;
                    }
                    self.wait_key = false;
                    self.gops.push_back(Outgoing::new(now, StreamKind::Video, self.config_id));
                } else if self.wait_key {
                    self.stats.dropped_tags += 1;
                    return;
                }
                // Without a keyframe before it `wait_key` is true, so there is a group.
                let Some(gop) = self.gops.back_mut() else { return };
                gop.push(now, packet.clone());
            }
            TagKind::Audio | TagKind::Script => {
                if self.audio.back().is_none_or(|a| a.complete || a.config != self.config_id) {
                    if let Some(audio) = self.audio.back_mut() {
                        audio.complete = true;
                    }
                    self.audio.push_back(Outgoing::new(now, StreamKind::Audio, self.config_id));
                }
                let Some(audio) = self.audio.back_mut() else { return };
                audio.push(now, packet.clone());
            }
        }
        self.stats.queued_bytes += packet.len();
    }

    /// The feed has ended: what is queued still goes out, then the request's stream ends.
    pub fn finish(&mut self) {
        if self.ending {
            return;
        }
        self.ending = true;
        for out in self.gops.iter_mut().chain(&mut self.audio) {
            out.complete = true;
        }
    }

    /// Whether everything was handed to QUIC after [`finish`](Self::finish).
    pub fn is_done(&self) -> bool {
        self.ended
    }

    /// Drops all pictures that wait, and the groups that are on their way: the viewer goes on with the next keyframe.
    pub fn drop_to_keyframe(&mut self, conn: &mut Connection) {
        let any = self.gops.iter().any(|g| !g.finished);
        while let Some(mut gop) = self.gops.pop_front() {
            gop.clear_queue(&mut self.stats);
            if let Some(stream) = gop.stream.filter(|_| !gop.finished) {
                end(conn, stream, Some(LATE));
            }
            self.stats.late_gops += u64::from(!gop.finished);
        }
        self.wait_key |= any;
    }

    /// Gives everything up at once, with reset `code` on all streams.
    pub fn abort(&mut self, conn: &mut Connection, code: u32) {
        for stream in self.gops.iter().chain(&self.audio).filter_map(|o| o.stream) {
            end(conn, stream, Some(code));
        }
        end(conn, self.response, Some(code));
        self.gops.clear();
        self.audio.clear();
        self.records.clear();
        self.stats.queued_bytes = 0;
        self.ended = true;
    }

    /// A stream has been acknowledged whole, or the peer does not want it any more. Returns whether it was one of
    /// this sender's media streams.
    pub fn stream_over(&mut self, conn: &mut Connection, stream: StreamId, stopped: bool) -> bool {
        let is_it = |o: &Outgoing| o.stream == Some(stream);
        let Some(out) = self.gops.iter().chain(&self.audio).find(|o| is_it(o)) else { return false };
        let newest = self.gops.back().is_some_and(is_it);
        if stopped {
            end(conn, stream, Some(LATE));
            self.stats.late_gops += 1;
            // A stopped stream must not take what is still to come for it.
            self.wait_key |= newest && !out.complete;
        }
        for lane in [&mut self.gops, &mut self.audio] {
            if let Some(at) = lane.iter().position(is_it)
                && let Some(mut out) = lane.remove(at)
            {
                out.clear_queue(&mut self.stats);
            }
        }
        true
    }

    /// Drops what is late, then hands as much to QUIC as it takes. Call after pushes, when a stream becomes writable
    /// and when streams become available.
    ///
    /// With a `pace`, what cannot arrive within the budget any more is dropped before it delays what still can.
    pub fn pump(&mut self, now: Instant, conn: &mut Connection, pace: Option<Pace>) {
        if self.ended {
            return;
        }
        self.expire(now, conn, pace);
        // Without the response head the viewer could do nothing with the rest.
        if !self.write_records(conn) {
            return;
        }
        let request = self.response.index();
        // Older groups first: they are shown first, and what is too old has been dropped above.
        for out in self.audio.iter_mut().chain(&mut self.gops) {
            if !send(conn, out, request, &mut self.opened, &mut self.stats) {
                break;
            }
        }
        // A finished group stays until it is acknowledged, so that it can still be reset.
        if self.ending && self.gops.iter().chain(&self.audio).all(|o| o.finished) {
            if !self.end_queued {
                self.end_queued = true;
                self.records.push_back(Record::encode_end(self.opened.video + self.opened.audio));
            }
            if self.write_records(conn) {
                end(conn, self.response, None);
                self.ended = true;
            }
        }
    }

    /// Returns whether all records are written.
    fn write_records(&mut self, conn: &mut Connection) -> bool {
        if !std::mem::replace(&mut self.prioritised, true) {
            // Nothing can be shown before the head and the configuration. Fails only for a stream that is closed.
            let _ = conn.send_stream(self.response).set_priority(i32::MAX);
        }
        let (n, result) = write(conn, self.response, self.records.make_contiguous());
        self.stats.sent_bytes += n as u64;
        match result {
            WriteEnd::Stopped => self.records.clear(),
            WriteEnd::Done | WriteEnd::Blocked => self.records.retain(|r| !r.is_empty()),
        }
        self.records.is_empty()
    }

    fn expire(&mut self, now: Instant, conn: &mut Connection, pace: Option<Pace>) {
        let budget = self.config.budget;
        let age = |at: Instant| now.saturating_duration_since(at);
        let late = |at: Instant| age(at) > budget;
        // How long the path needs for so many bytes after those that QUIC holds.
        let needs = |bytes: usize| match pace {
            Some(Pace { rate, held, rtt }) if rate > 0 => {
                rtt + Duration::from_secs_f64((bytes as u64).saturating_add(held) as f64 / rate as f64)
            }
            _ => Duration::ZERO,
        };
        let overfull = self.stats.queued_bytes > self.config.max_queue;
        let older = self.gops.len().saturating_sub(1);
        // Estimates count only where something really waits.
        let jam = budget / 4;
        // And they are rough.
        let aim = budget - budget / 8;
        let will_be_late = |gop: &Outgoing| {
            gop.oldest().is_some_and(|at| late(at) || (age(at) > jam && age(at) + needs(gop.front()) > aim))
        };
        // What QUIC holds unacknowledged for longer than the budget is late as well.
        let older_late = self
            .gops
            .iter()
            .take(older)
            .any(|g| overfull || will_be_late(g) || (g.oldest().is_none() && late(g.newest)));
        // A keyframe that would come too late after what waits before it.
        let jammed = self.gops.iter().take(older).any(|g| g.oldest().is_some_and(|at| age(at) > jam));
        let key_late = jammed
            && self.gops.back().is_some_and(|gop| {
                let ahead: usize = self.gops.iter().take(older).map(Outgoing::waiting).sum();
                let key = gop.oldest().filter(|_| !gop.key_sent);
                key.is_some_and(|at| age(at) + needs(ahead + gop.front()) > aim)
            });
        if older_late || key_late {
            while self.gops.len() > 1 {
                let Some(mut gop) = self.gops.pop_front() else { break };
                gop.clear_queue(&mut self.stats);
                if let Some(stream) = gop.stream {
                    end(conn, stream, Some(LATE));
                }
                self.stats.late_gops += 1;
            }
        }
        if let Some(gop) = self.gops.back_mut()
            && (overfull
                || gop
                    .oldest()
                    .is_some_and(|at| late(at) || (age(at) > jam && age(at) + needs(gop.front()) > aim)))
        {
            let key = if gop.key_sent || gop.partial_since.is_some() { None } else { gop.queue.pop_front() };
            if !gop.queue.is_empty() {
                gop.clear_queue(&mut self.stats);
                self.stats.late_gops += 1;
                self.wait_key |= !gop.complete;
                gop.complete = true;
            }
            gop.queue.extend(key);
        }
        for audio in &mut self.audio {
            while audio.queue.front().is_some_and(|w| overfull || late(w.since)) {
                if let Some(dropped) = audio.queue.pop_front() {
                    self.stats.dropped_tags += 1;
                    self.stats.queued_bytes -= dropped.packet.len();
                }
            }
        }
    }
}

/// How many streams of each kind were opened.
#[derive(Debug, Default)]
struct Opened {
    video: u64,
    audio: u64,
}

/// Writes as much of one stream as QUIC takes. Returns whether there is room for more.
fn send(
    conn: &mut Connection,
    out: &mut Outgoing,
    request: u64,
    opened: &mut Opened,
    stats: &mut SenderStats,
) -> bool {
    if out.finished || (out.queue.is_empty() && !out.complete && out.partial_since.is_none()) {
        return true;
    }
    let stream = match out.stream {
        Some(stream) => stream,
        None => {
            let Some(stream) = conn.streams().open(Dir::Uni) else { return false };
            let (count, top) = match out.kind {
                StreamKind::Video => (&mut opened.video, i32::MAX - 2),
                StreamKind::Audio => (&mut opened.audio, i32::MAX - 1),
            };
            let number = *count;
            *count += 1;
            let older = if out.kind == StreamKind::Video { i32::try_from(number).unwrap_or(top) } else { 0 };
            // Fails only for a stream that is closed already.
            let _ = conn.send_stream(stream).set_priority(top - older);
            out.partial
                .push_front(StreamHead { kind: out.kind, request, number, config: out.config }.encode());
            out.stream = Some(stream);
            stream
        }
    };
    loop {
        let (n, result) = write(conn, stream, out.partial.make_contiguous());
        stats.sent_bytes += n as u64;
        while out.partial.front().is_some_and(|b| b.is_empty()) {
            out.partial.pop_front();
        }
        match result {
            WriteEnd::Done => {}
            WriteEnd::Blocked => return false,
            // The event about it will come, and remove this stream.
            WriteEnd::Stopped => return true,
        }
        if out.partial_since.take().is_some() {
            stats.sent_tags += 1;
            out.key_sent = true;
        }
        match out.queue.pop_front() {
            Some(waiting) => {
                stats.queued_bytes -= waiting.packet.len();
                out.partial.extend([waiting.packet.header, waiting.packet.tag.body]);
                out.partial_since = Some(waiting.since);
            }
            None => {
                if out.complete {
                    end(conn, stream, None);
                    out.finished = true;
                }
                return true;
            }
        }
    }
}

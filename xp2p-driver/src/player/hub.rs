//! One stream, many receivers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use xp2p_proto::flv::{Config, GopCache, GopLimits, Muxer, Tag, TagKind, Timeline, TimelineConfig};

/// Most bytes that wait for one receiver; past it old groups of pictures are left out, then everything up to the next
/// keyframe.
pub const MAX_QUEUE: usize = 8 << 20;
/// Most tags that wait for one receiver.
const MAX_TAGS: usize = 4096;

/// Counters of a hub.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HubStats {
    /// Receivers at present.
    pub receivers: usize,
    /// Tags taken in.
    pub tags: u64,
    /// Tags left out for receivers that were too slow.
    pub dropped: u64,
    /// Bytes that wait for the slowest receiver at present.
    pub queued: usize,
}

#[derive(Debug)]
struct Receiver {
    /// What the first tag of the queue needs, which may have changed before the receiver begins. None: the newest.
    config: Option<Arc<Config>>,
    queue: VecDeque<Tag>,
    bytes: usize,
    wait_key: bool,
    waker: Option<Waker>,
}

impl Receiver {
    fn has_room(&self, tag: &Tag) -> bool {
        self.bytes + tag.wire_len() <= MAX_QUEUE && self.queue.len() < MAX_TAGS
    }

    /// Leaves out the groups before the newest, or all of them if a new one begins. Returns how many tags that were.
    fn drop_old_groups(&mut self, new_group: bool) -> u64 {
        let newest = if new_group { None } else { self.queue.iter().rposition(Tag::is_keyframe) };
        let before = self.queue.len();
        let mut index = 0;
        self.queue.retain(|tag| {
            index += 1;
            // Decoders need their configuration whatever is left out.
            newest.is_some_and(|newest| index > newest) || tag.is_sequence_header()
        });
        self.bytes = self.queue.iter().map(Tag::wire_len).sum();
        (before - self.queue.len()) as u64
    }
}

#[derive(Debug)]
struct Inner {
    cache: GopCache,
    config: Option<Arc<Config>>,
    receivers: BTreeMap<u64, Receiver>,
    next: u64,
    ended: bool,
    stats: HubStats,
}

/// A stream that any number can receive. Clones are the same hub.
#[derive(Debug, Clone)]
pub struct Hub(Arc<Mutex<Inner>>);

impl Default for Hub {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Inner {
            cache: GopCache::new(GopLimits::default()),
            config: None,
            receivers: BTreeMap::new(),
            next: 0,
            ended: false,
            stats: HubStats::default(),
        })))
    }
}

impl Hub {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics half-way, so what a poisoned lock holds is whole.
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// What decoders need from here on.
    pub fn configure(&self, config: &Arc<Config>) {
        let mut inner = self.lock();
        let tags: Vec<Tag> = {
            let known = inner.config.as_ref();
            // Only what has changed, and nothing to those who have not begun: they get it all.
            config
                .tags()
                .filter(|t| !known.is_some_and(|k| k.tags().any(|old| old.body == t.body)))
                .cloned()
                .collect()
        };
        let restart = inner.config.is_some();
        inner.config = Some(config.clone());
        let timestamp = inner.cache.gop().last().map_or(0, |t| t.timestamp);
        for mut tag in config.tags().cloned() {
            tag.timestamp = timestamp;
            inner.cache.push(&tag);
        }
        if restart {
            for mut tag in tags {
                tag.timestamp = timestamp;
                inner.give(&tag);
            }
        }
        inner.wake();
    }

    /// Takes in the next tag and gives it to all receivers, sharing its body.
    pub fn push(&self, tag: &Tag) {
        let mut inner = self.lock();
        inner.stats.tags += 1;
        inner.cache.push(tag);
        inner.give(tag);
    }

    /// The stream is over: receivers get what waits for them, then the end.
    pub fn end(&self) {
        let mut inner = self.lock();
        inner.ended = true;
        inner.wake();
    }

    /// Whether the stream is over.
    pub fn is_ended(&self) -> bool {
        self.lock().ended
    }

    /// The stream has a gap, after which it may begin with anything: receivers wait for a keyframe.
    pub fn interrupt(&self) {
        self.lock().cache.clear();
    }

    /// Counters.
    pub fn stats(&self) -> HubStats {
        let inner = self.lock();
        let queued = inner.receivers.values().map(|r| r.bytes).max().unwrap_or_default();
        HubStats { receivers: inner.receivers.len(), queued, ..inner.stats }
    }

    /// Begins to receive, with the newest picture.
    pub fn subscribe(&self) -> Subscription {
        self.subscribe_with(Some(Timeline::new(TimelineConfig::default())))
    }

    /// The same with the tags as they were pushed: all receivers see the same timestamps.
    pub fn subscribe_unchanged(&self) -> Subscription {
        self.subscribe_with(None)
    }

    fn subscribe_with(&self, timeline: Option<Timeline>) -> Subscription {
        let mut inner = self.lock();
        let id = inner.next;
        inner.next += 1;
        let queue: VecDeque<Tag> = inner.cache.gop().cloned().collect();
        let bytes = queue.iter().map(Tag::wire_len).sum();
        let wait_key = !inner.cache.has_picture();
        let config = inner.config.clone().filter(|_| !queue.is_empty());
        inner.receivers.insert(id, Receiver { config, queue, bytes, wait_key, waker: None });
        Subscription {
            hub: self.clone(),
            id,
            timeline,
            muxer: Muxer::new(),
            started: false,
            parts: VecDeque::new(),
        }
    }
}

impl Inner {
    fn give(&mut self, tag: &Tag) {
        let has_video = self.config.as_ref().is_none_or(|c| c.header.has_video);
        let key = tag.is_keyframe();
        for receiver in self.receivers.values_mut() {
            if key {
                receiver.wait_key = false;
            }
            // Without pictures there is nothing to wait for.
            if receiver.wait_key && has_video && tag.kind == TagKind::Video && !tag.is_sequence_header() {
                continue;
            }
            if !receiver.has_room(tag) {
                self.stats.dropped += receiver.drop_old_groups(key);
                if !receiver.has_room(tag) {
                    // What is left is one group: its beginning is worth more than its end.
                    receiver.wait_key = has_video;
                    self.stats.dropped += 1;
                    continue;
                }
            }
            if receiver.config.is_none() && !tag.is_sequence_header() {
                receiver.config = self.config.clone();
            }
            receiver.bytes += tag.wire_len();
            receiver.queue.push_back(tag.clone());
            if let Some(waker) = receiver.waker.take() {
                waker.wake();
            }
        }
    }

    fn wake(&mut self) {
        for waker in self.receivers.values_mut().filter_map(|r| r.waker.take()) {
            waker.wake();
        }
    }
}

/// One receiver of a hub. It gets an FLV file in pieces: header, configuration, tags, with timestamps from 0 on that never
/// run backwards, unless it wants them [unchanged](Hub::subscribe_unchanged).
#[derive(Debug)]
pub struct Subscription {
    hub: Hub,
    id: u64,
    timeline: Option<Timeline>,
    muxer: Muxer,
    started: bool,
    parts: VecDeque<Bytes>,
}

impl Subscription {
    /// The next tag, with its own time. `None`: the stream is over.
    pub fn poll_tag(&mut self, cx: &mut Context<'_>) -> Poll<Option<Tag>> {
        let mut inner = self.hub.lock();
        let ended = inner.ended;
        let Some(receiver) = inner.receivers.get_mut(&self.id) else { return Poll::Ready(None) };
        match receiver.queue.pop_front() {
            Some(tag) => {
                receiver.bytes -= tag.wire_len();
                Poll::Ready(Some(match &mut self.timeline {
                    Some(timeline) => timeline.apply(tag),
                    None => tag,
                }))
            }
            None if ended => Poll::Ready(None),
            None => {
                receiver.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// The next piece of the FLV file. `None`: it is over.
    pub fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if let Some(part) = self.parts.pop_front() {
                return Poll::Ready(Some(part));
            }
            if !self.started {
                let mut inner = self.hub.lock();
                let ended = inner.ended;
                let own = inner.receivers.get(&self.id).and_then(|r| r.config.clone());
                let Some(config) = own.or_else(|| inner.config.clone()) else {
                    if ended {
                        return Poll::Ready(None);
                    }
                    if let Some(receiver) = inner.receivers.get_mut(&self.id) {
                        receiver.waker = Some(cx.waker().clone());
                    }
                    return Poll::Pending;
                };
                // Unchanged times begin anywhere, and the configuration must not make them jump.
                let first = match self.timeline {
                    Some(_) => None,
                    None => inner.receivers.get(&self.id).and_then(|r| r.queue.front()).map(|t| t.timestamp),
                };
                drop(inner);
                self.started = true;
                self.parts.push_back(self.muxer.header(config.header));
                for tag in config.tags() {
                    let mut tag = tag.clone();
                    tag.timestamp = first.unwrap_or_default();
                    self.parts.extend(self.muxer.tag(&tag));
                }
                continue;
            }
            match self.poll_tag(cx) {
                Poll::Ready(Some(tag)) => self.parts.extend(self.muxer.tag(&tag)),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// What decoders need for the tag that came first, or for the newest; of use once a tag has come.
    pub(crate) fn config(&self) -> Option<Arc<Config>> {
        let inner = self.hub.lock();
        let own = inner.receivers.get(&self.id).and_then(|r| r.config.clone());
        own.or_else(|| inner.config.clone())
    }

    /// Waits for the next tag.
    pub async fn next_tag(&mut self) -> Option<Tag> {
        std::future::poll_fn(|cx| self.poll_tag(cx)).await
    }

    /// Waits for the next piece of the FLV file.
    pub async fn next_bytes(&mut self) -> Option<Bytes> {
        std::future::poll_fn(|cx| self.poll_bytes(cx)).await
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.lock().receivers.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};
    use xp2p_proto::flv::{Demuxer, FileHeader, Item, Limits};

    fn video(timestamp: u32, key: bool, size: usize) -> Tag {
        let mut body = vec![if key { 0x17 } else { 0x27 }, 1, 0, 0, 0];
        body.resize(size.max(5), 0);
        Tag { kind: TagKind::Video, timestamp, body: body.into() }
    }

    fn config() -> Arc<Config> {
        let sequence =
            Tag { kind: TagKind::Video, timestamp: 0, body: Bytes::from_static(&[0x17, 0, 0, 0, 0, 1]) };
        Arc::new(Config {
            header: FileHeader { has_audio: false, has_video: true },
            video: Some(sequence),
            ..Config::default()
        })
    }

    fn read(subscription: &mut Subscription) -> Vec<Item> {
        let mut demuxer = Demuxer::new(Limits::default());
        let mut items = Vec::new();
        while let Some(Some(bytes)) = block_on(poll_once(subscription.next_bytes())) {
            demuxer.push(bytes).unwrap();
            while let Some(item) = demuxer.poll().unwrap() {
                items.push(item);
            }
        }
        items
    }

    fn times(items: &[Item]) -> Vec<u32> {
        let tag = |item: &Item| match item {
            Item::Tag(tag) if !tag.is_sequence_header() => Some(tag.timestamp),
            _ => None,
        };
        items.iter().filter_map(tag).collect()
    }

    #[test]
    fn a_late_receiver_begins_with_the_newest_keyframe_and_time_0() {
        let hub = Hub::default();
        hub.configure(&config());
        for (i, key) in [true, false, true, false].into_iter().enumerate() {
            hub.push(&video(90_000 + i as u32 * 40, key, 100));
        }
        let mut late = hub.subscribe();
        let items = read(&mut late);
        assert_eq!(items[0], Item::Header(FileHeader { has_audio: false, has_video: true }));
        assert!(matches!(&items[1], Item::Tag(tag) if tag.is_sequence_header()));
        assert!(matches!(&items[2], Item::Tag(tag) if tag.is_keyframe()));
        assert_eq!(times(&items), [0, 40]);
        hub.push(&video(90_160, false, 100));
        let mut demuxed = Vec::new();
        while let Some(Some(bytes)) = block_on(poll_once(late.next_bytes())) {
            demuxed.push(bytes);
        }
        assert_eq!(demuxed.len(), 3, "header, body, length");
    }

    #[test]
    fn unchanged_times_are_those_of_the_source_from_the_configuration_on() {
        let hub = Hub::default();
        hub.configure(&config());
        for (i, key) in [true, false].into_iter().enumerate() {
            hub.push(&video(90_000 + i as u32 * 40, key, 100));
        }
        let mut late = hub.subscribe_unchanged();
        let items = read(&mut late);
        assert!(matches!(&items[1], Item::Tag(tag) if tag.is_sequence_header() && tag.timestamp == 90_000));
        assert_eq!(times(&items), [90_000, 90_040]);
    }

    /// It used to begin with the newest configuration, and what waited could not be decoded with it.
    #[test]
    fn what_waits_is_preceded_by_the_configuration_it_was_coded_under() {
        let hub = Hub::default();
        let mut receiver = hub.subscribe();
        let changed = |version| {
            let mut next = Config::clone(&config());
            next.video.as_mut().unwrap().body = Bytes::copy_from_slice(&[0x17, 0, 0, 0, 0, version]);
            Arc::new(next)
        };
        for version in [1, 2] {
            hub.configure(&changed(version));
            hub.push(&video(u32::from(version) * 40, true, 100));
        }
        let order: Vec<(bool, u8)> = read(&mut receiver)
            .iter()
            .filter_map(|item| match item {
                Item::Tag(tag) => Some((tag.is_keyframe(), tag.body[5])),
                _ => None,
            })
            .collect();
        assert_eq!(order, [(false, 1), (true, 0), (false, 2), (true, 0)]);
    }

    #[test]
    fn a_receiver_that_is_too_slow_goes_on_with_a_keyframe() {
        let hub = Hub::default();
        hub.configure(&config());
        let mut slow = hub.subscribe();
        let mut fast = hub.subscribe();
        let mut fast_tags = 0;
        for i in 0..40u32 {
            hub.push(&video(i * 40, i % 10 == 0, 1 << 20));
            while block_on(poll_once(fast.next_tag())).flatten().is_some() {
                fast_tags += 1;
            }
        }
        assert_eq!(fast_tags, 40, "a slow receiver does not slow another");
        assert!(hub.stats().dropped > 0);
        let mut kept = Vec::new();
        while let Some(tag) = block_on(poll_once(slow.next_tag())).flatten() {
            kept.push(tag.is_keyframe());
        }
        assert!(kept[0], "it begins with a keyframe");
        assert!(
            kept.len() > 4 && kept[1..].iter().all(|key| !key),
            "and goes on with the newest group: {kept:?}"
        );
    }

    #[test]
    fn the_end_comes_after_what_waits() {
        let hub = Hub::default();
        hub.configure(&config());
        let mut receiver = hub.subscribe();
        hub.push(&video(0, true, 100));
        hub.end();
        assert!(block_on(receiver.next_tag()).is_some());
        assert!(block_on(receiver.next_tag()).is_none());
        drop(receiver);
        assert_eq!(hub.stats().receivers, 0);
    }

    #[test]
    fn bodies_are_shared_and_not_copied() {
        let hub = Hub::default();
        hub.configure(&config());
        let (mut a, mut b) = (hub.subscribe(), hub.subscribe());
        let tag = video(0, true, 1000);
        hub.push(&tag);
        for receiver in [&mut a, &mut b] {
            assert_eq!(block_on(receiver.next_tag()).unwrap().body.as_ptr(), tag.body.as_ptr());
        }
    }
}

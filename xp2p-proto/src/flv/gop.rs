//! What a viewer who joins late needs: the stream's configuration and the newest group of pictures.

use std::collections::VecDeque;

use super::tag::{FileHeader, Tag, TagKind};

/// What has to come before the first picture or sound: file header, metadata, sequence headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Which tracks there are. [`update`](Self::update) sets a flag at the first tag of a track.
    pub header: FileHeader,
    /// The newest `onMetaData` tag.
    pub metadata: Option<Tag>,
    /// The newest video sequence header.
    pub video: Option<Tag>,
    /// The newest audio sequence header.
    pub audio: Option<Tag>,
}

impl Config {
    /// The tags of the configuration in the order to send them: metadata, video, audio.
    pub fn tags(&self) -> impl Iterator<Item = &Tag> {
        [&self.metadata, &self.video, &self.audio].into_iter().flatten()
    }

    /// Takes over what `tag` says about the configuration. Returns whether anything changed; a sequence header
    /// that is sent again with another timestamp changes nothing.
    ///
    /// Of a multitrack stream only track 0 counts.
    pub fn update(&mut self, tag: &Tag) -> bool {
        let (slot, flag) = match tag.kind {
            TagKind::Audio => (&mut self.audio, Some(&mut self.header.has_audio)),
            TagKind::Video => (&mut self.video, Some(&mut self.header.has_video)),
            TagKind::Script => (&mut self.metadata, None),
        };
        let appeared = flag.is_some_and(|f| !std::mem::replace(f, true));
        let configures = match tag.kind {
            TagKind::Script => tag.is_metadata(),
            _ => tag.is_sequence_header() && !is_side_track(tag),
        };
        let changed = configures && slot.as_ref().is_none_or(|old| old.body != tag.body);
        if changed {
            *slot = Some(tag.clone());
        }
        appeared || changed
    }
}

/// Whether a tag belongs to a track other than the main one.
fn is_side_track(tag: &Tag) -> bool {
    let track = match tag.kind {
        TagKind::Audio => tag.audio_head().ok().and_then(|h| h.track),
        TagKind::Video => tag.video_head().ok().and_then(|h| h.track),
        TagKind::Script => None,
    };
    track.is_some_and(|t| t.id != 0)
}

/// What a [`GopCache`] may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GopLimits {
    /// Bytes of tags, headers included. 16 MiB by default: 4 s of 32 Mbit/s.
    pub max_bytes: usize,
    /// Number of tags. 4,096 by default: about 40 s of 50 pictures and 50 sounds per second.
    pub max_tags: usize,
    /// While there is no keyframe to start from (audio only, or the group outgrew the limits), the newest audio
    /// tags of so many milliseconds are kept. 1,000 by default.
    pub audio_window: u32,
}

impl Default for GopLimits {
    fn default() -> Self {
        Self { max_bytes: 16 << 20, max_tags: 4096, audio_window: 1000 }
    }
}

/// Keeps the configuration and the newest group of pictures of a live stream, so that a new viewer sees a picture
/// at once.
///
/// A group runs from a keyframe on and has all audio and video tags in the order they came. A group that outgrows
/// the limits is dropped whole (part of it could not be decoded), and the cache is without picture up to the next
/// keyframe.
#[derive(Clone, Debug)]
pub struct GopCache {
    limits: GopLimits,
    config: Config,
    tags: VecDeque<Tag>,
    bytes: usize,
    /// `tags` begins with a keyframe. Otherwise it holds recent audio.
    has_picture: bool,
    gops: u64,
    outgrown: u64,
}

impl GopCache {
    /// An empty cache.
    pub fn new(limits: GopLimits) -> Self {
        Self {
            limits,
            config: Config::default(),
            tags: VecDeque::new(),
            bytes: 0,
            has_picture: false,
            gops: 0,
            outgrown: 0,
        }
    }

    /// Takes in the next tag of the stream. The body is shared, not copied. Returns whether the configuration
    /// changed.
    pub fn push(&mut self, tag: &Tag) -> bool {
        let changed = self.config.update(tag);
        if tag.kind == TagKind::Script {
            return changed;
        }
        if tag.is_sequence_header() && !is_side_track(tag) {
            if changed {
                // What was coded under the old configuration cannot be decoded with the new one.
                match tag.kind {
                    TagKind::Video => self.clear(),
                    _ => self.drop_audio(),
                }
            }
            return changed;
        }
        if tag.is_keyframe() && !is_side_track(tag) {
            self.clear();
            self.has_picture = true;
            self.gops += 1;
        } else if !self.has_picture && tag.kind == TagKind::Video {
            return changed;
        }
        self.bytes += tag.wire_len();
        self.tags.push_back(tag.clone());
        if !self.has_picture {
            self.trim_window(tag.timestamp);
        } else if self.bytes > self.limits.max_bytes || self.tags.len() > self.limits.max_tags {
            self.outgrown += 1;
            self.clear();
        }
        changed
    }

    fn trim_window(&mut self, now: u32) {
        while let Some(first) = self.tags.front() {
            // A jump back in time makes a huge difference, and old audio is dropped, as it should be.
            let old = now.wrapping_sub(first.timestamp) > self.limits.audio_window;
            if !old && self.bytes <= self.limits.max_bytes && self.tags.len() <= self.limits.max_tags {
                break;
            }
            self.bytes -= first.wire_len();
            self.tags.pop_front();
        }
    }

    fn drop_audio(&mut self) {
        self.tags.retain(|t| t.kind != TagKind::Audio);
        self.bytes = self.tags.iter().map(Tag::wire_len).sum();
    }

    /// Drops the group of pictures and keeps the configuration, for example when the source starts anew.
    pub fn clear(&mut self) {
        self.tags.clear();
        self.bytes = 0;
        self.has_picture = false;
    }

    /// The configuration as known so far.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether [`start`](Self::start) begins with a picture.
    pub fn has_picture(&self) -> bool {
        self.has_picture
    }

    /// The newest group of pictures from its keyframe on, or recent audio.
    pub fn gop(&self) -> impl ExactSizeIterator<Item = &Tag> {
        self.tags.iter()
    }

    /// Everything a new viewer needs up to now: the configuration, with the timestamps of what follows so that time
    /// does not jump, then the newest group of pictures.
    pub fn start(&self) -> impl Iterator<Item = Tag> + '_ {
        let timestamp = self.tags.front().map(|t| t.timestamp);
        let config = self.config.tags().cloned().map(move |mut tag| {
            tag.timestamp = timestamp.unwrap_or(tag.timestamp);
            tag
        });
        config.chain(self.tags.iter().cloned())
    }

    /// Bytes held in tags of the group, headers included.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Number of groups begun so far; names the newest one.
    pub fn gops(&self) -> u64 {
        self.gops
    }

    /// Groups that were dropped because they outgrew the limits.
    pub fn outgrown(&self) -> u64 {
        self.outgrown
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::flv::testing::{aac_config, avc_config, inter, key, metadata, sound, tag};

    fn cache() -> GopCache {
        GopCache::new(GopLimits::default())
    }

    fn push(cache: &mut GopCache, tags: &[Tag]) {
        for tag in tags {
            cache.push(tag);
        }
    }

    fn gop(cache: &GopCache) -> Vec<Tag> {
        cache.gop().cloned().collect()
    }

    fn start(cache: &GopCache) -> Vec<Tag> {
        cache.start().collect()
    }

    /// Enhanced H.264, one track of this number: a keyframe, or the configuration.
    fn track(id: u8, timestamp: u32, configures: bool) -> Tag {
        let packet = if configures { 0 } else { 3 };
        tag(TagKind::Video, timestamp, &[0x96, packet, b'a', b'v', b'c', b'1', id, 1, 2, 3])
    }

    #[test]
    fn a_config_tells_what_changed() {
        let mut config = Config::default();
        assert!(config.update(&avc_config(0, 1)), "new");
        assert_eq!(config.header, FileHeader { has_audio: false, has_video: true });
        assert!(!config.update(&avc_config(900, 1)), "the same again");
        assert_eq!(config.video, Some(avc_config(0, 1)));
        assert!(config.update(&avc_config(1000, 2)), "another");
        assert_eq!(config.video, Some(avc_config(1000, 2)));
        assert!(!config.update(&key(1000, 5)));
        assert!(config.update(&sound(1000)), "a track that needs no configuration appears");
        assert_eq!(config.header, FileHeader { has_audio: true, has_video: true });
        assert!(!config.update(&sound(1020)));
        assert!(config.update(&aac_config(1020, 1)));
        assert!(!config.update(&tag(TagKind::Script, 0, b"\x02\x00\x09onCuePoint")));
        assert!(config.update(&metadata(0, 1)));
        assert!(config.update(&metadata(0, 2)));
        let tags: Vec<&Tag> = config.tags().collect();
        assert_eq!(tags, [&metadata(0, 2), &avc_config(1000, 2), &aac_config(1020, 1)]);
    }

    #[test]
    fn a_config_is_that_of_the_main_track() {
        let mut config = Config::default();
        config.update(&track(0, 0, true));
        assert!(!config.update(&track(1, 0, true)));
        assert_eq!(config.video, Some(track(0, 0, true)));
    }

    #[test]
    fn a_viewer_starts_with_configuration_and_keyframe() {
        let mut cache = cache();
        push(&mut cache, &[metadata(0, 1), avc_config(0, 1), aac_config(0, 1), inter(10, 1), sound(10)]);
        assert!(!cache.has_picture());
        assert_eq!(gop(&cache), [sound(10)], "a picture that cannot be decoded is not kept");
        push(&mut cache, &[key(2000, 9), sound(2010), inter(2040, 9)]);
        assert!(cache.has_picture());
        assert_eq!(cache.gops(), 1);
        let config = [metadata(2000, 1), avc_config(2000, 1), aac_config(2000, 1)];
        let want = [&config[..], &[key(2000, 9), sound(2010), inter(2040, 9)]].concat();
        assert_eq!(start(&cache), want, "with the time of what follows");
        push(&mut cache, &[key(4000, 9)]);
        assert_eq!(gop(&cache), [key(4000, 9)]);
        assert_eq!((cache.gops(), cache.bytes()), (2, key(0, 9).wire_len()));
    }

    #[test]
    fn the_body_is_shared() {
        let mut cache = cache();
        let picture = key(0, 1000);
        cache.push(&picture);
        assert_eq!(gop(&cache)[0].body.as_ptr(), picture.body.as_ptr());
    }

    #[test]
    fn an_empty_cache_starts_with_the_configuration_as_it_came() {
        let mut cache = cache();
        assert_eq!(start(&cache), []);
        push(&mut cache, &[avc_config(70, 1)]);
        assert_eq!(start(&cache), [avc_config(70, 1)]);
    }

    #[test]
    fn a_new_picture_configuration_drops_what_was_coded_before_it() {
        let mut cache = cache();
        push(&mut cache, &[avc_config(0, 1), key(0, 9), sound(5), inter(40, 9)]);
        assert!(!cache.push(&avc_config(50, 1)), "the same again");
        assert_eq!(cache.gop().len(), 3);
        assert!(cache.push(&avc_config(60, 2)));
        assert_eq!((cache.gop().len(), cache.bytes(), cache.has_picture()), (0, 0, false));
        assert_eq!(cache.config().video, Some(avc_config(60, 2)));
        push(&mut cache, &[inter(80, 9)]);
        assert_eq!(cache.gop().len(), 0);
    }

    #[test]
    fn a_new_sound_configuration_drops_the_sound_only() {
        let mut cache = cache();
        push(&mut cache, &[aac_config(0, 1), key(0, 9), sound(5), inter(40, 9), sound(45)]);
        assert!(cache.push(&aac_config(50, 2)));
        push(&mut cache, &[sound(60)]);
        assert_eq!(gop(&cache), [key(0, 9), inter(40, 9), sound(60)]);
        assert_eq!(cache.bytes(), gop(&cache).iter().map(Tag::wire_len).sum::<usize>());
    }

    #[test]
    fn a_group_that_outgrows_its_bytes_is_dropped_whole() {
        let size = key(0, 9).wire_len();
        let mut cache = GopCache::new(GopLimits { max_bytes: 3 * size, ..GopLimits::default() });
        push(&mut cache, &[key(0, 9), inter(40, 9), inter(80, 9)]);
        assert_eq!((cache.gop().len(), cache.outgrown()), (3, 0), "the limit itself is allowed");
        push(&mut cache, &[inter(120, 9)]);
        assert_eq!((cache.gop().len(), cache.bytes(), cache.outgrown()), (0, 0, 1));
        push(&mut cache, &[inter(160, 9), sound(160)]);
        assert_eq!((gop(&cache), cache.has_picture()), (vec![sound(160)], false));
        push(&mut cache, &[key(200, 9)]);
        assert_eq!((gop(&cache), cache.has_picture()), (vec![key(200, 9)], true));
    }

    #[test]
    fn a_group_that_outgrows_its_number_of_tags_is_dropped_whole() {
        let mut cache = GopCache::new(GopLimits { max_tags: 3, ..GopLimits::default() });
        push(&mut cache, &[key(0, 9), inter(40, 9), inter(80, 9)]);
        assert_eq!(cache.gop().len(), 3);
        push(&mut cache, &[inter(120, 9)]);
        assert_eq!((cache.gop().len(), cache.outgrown()), (0, 1));
    }

    #[test]
    fn of_sound_only_the_newest_second_is_kept() {
        let mut cache = cache();
        push(&mut cache, &[aac_config(0, 1)]);
        for i in 0..500 {
            push(&mut cache, &[sound(i * 20)]);
        }
        assert!(!cache.has_picture());
        let tags = gop(&cache);
        assert_eq!((tags.len(), tags[0].timestamp, tags[50].timestamp), (51, 8980, 9980));
        assert_eq!(cache.bytes(), tags.len() * sound(0).wire_len());
        assert_eq!(start(&cache)[0], aac_config(8980, 1));
        push(&mut cache, &[sound(3)]);
        assert_eq!(gop(&cache), [sound(3)], "after a jump back");
    }

    #[test]
    fn the_window_of_sound_goes_over_the_wrap() {
        let mut cache = cache();
        push(&mut cache, &[sound(u32::MAX - 1500), sound(u32::MAX - 99), sound(100)]);
        assert_eq!(gop(&cache), [sound(u32::MAX - 99), sound(100)]);
    }

    #[test]
    fn the_window_of_sound_keeps_the_limits() {
        let mut cache = GopCache::new(GopLimits { max_tags: 4, ..GopLimits::default() });
        (0..10).for_each(|i| push(&mut cache, &[sound(i)]));
        assert_eq!(gop(&cache), [sound(6), sound(7), sound(8), sound(9)]);
        let mut cache = GopCache::new(GopLimits { max_bytes: 5, ..GopLimits::default() });
        push(&mut cache, &[sound(0)]);
        assert_eq!((cache.gop().len(), cache.bytes()), (0, 0), "not even one fits");
    }

    #[test]
    fn clear_keeps_the_configuration() {
        let mut cache = cache();
        push(&mut cache, &[avc_config(0, 1), key(0, 9)]);
        cache.clear();
        assert_eq!(start(&cache), [avc_config(0, 1)]);
        assert!(!cache.has_picture());
    }

    /// A keyframe of another track began a group, without a picture of the main track to start from.
    #[test]
    fn a_keyframe_of_a_side_track_begins_no_group() {
        let mut cache = cache();
        push(&mut cache, &[track(0, 0, true), track(1, 0, true), track(1, 10, false)]);
        assert!(!cache.has_picture());
        let group = [track(0, 20, false), track(1, 30, false), track(1, 60, false)];
        push(&mut cache, &group);
        assert_eq!((gop(&cache), cache.gops()), (group.to_vec(), 1));
    }

    proptest! {
        #[test]
        fn the_limits_hold_and_a_group_begins_with_its_keyframe(
            kinds in prop::collection::vec((0..7_u8, 0..3_u8, 0..200_usize, 0..400_u32), 0..200),
            max_bytes in 0..3000_usize,
            max_tags in 0..30_usize,
        ) {
            let mut cache = GopCache::new(GopLimits { max_bytes, max_tags, ..GopLimits::default() });
            let mut now = 0;
            for (kind, id, len, step) in kinds {
                now += step;
                let tag = match kind {
                    0 => key(now, len),
                    1 => avc_config(now, id),
                    2 => aac_config(now, id),
                    3 => metadata(now, id),
                    4 => sound(now),
                    5 => tag(TagKind::Audio, now, &vec![0x72; len]),
                    _ => inter(now, len),
                };
                let before = cache.config().clone();
                let changed = cache.push(&tag);
                prop_assert_eq!(changed, before != *cache.config());
                let tags = gop(&cache);
                prop_assert_eq!(cache.bytes(), tags.iter().map(Tag::wire_len).sum::<usize>());
                prop_assert!(cache.bytes() <= max_bytes && tags.len() <= max_tags);
                let keys = tags.iter().filter(|t| t.is_keyframe()).count();
                prop_assert_eq!(keys, usize::from(cache.has_picture()));
                if cache.has_picture() {
                    prop_assert!(tags[0].is_keyframe());
                } else {
                    let newest = tags.last().map_or(0, |t| t.timestamp);
                    prop_assert!(tags.iter().all(|t| t.kind == TagKind::Audio && newest - t.timestamp <= 1000));
                }
            }
        }
    }
}

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
        if tag.is_keyframe() {
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

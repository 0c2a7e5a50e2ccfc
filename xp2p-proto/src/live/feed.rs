//! A camera's side of one channel in one quality: what every viewer of it shares.

use bytes::Bytes;
use thiserror::Error;

use super::wire::Record;
use crate::flv::{Config, GopCache, GopLimits, Tag, TagKind, VideoCodec};

/// A tag, ready to be written to any number of streams without a copy.
#[derive(Debug, Clone)]
pub struct Packet {
    /// The 11 bytes of the tag's header.
    pub header: Bytes,
    /// The tag.
    pub tag: Tag,
    /// Whether decoding can start here.
    pub key: bool,
}

impl Packet {
    fn new(tag: &Tag) -> Self {
        Self { header: Bytes::copy_from_slice(&tag.header()), tag: tag.clone(), key: tag.is_keyframe() }
    }

    /// Bytes on the wire.
    pub fn len(&self) -> usize {
        self.header.len() + self.tag.body.len()
    }

    /// Never true: a packet has at least its header.
    pub fn is_empty(&self) -> bool {
        false
    }
}

/// Why a tag was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PushError {
    /// Time may not run backwards.
    #[error(
        "the {kind:?} tag at {timestamp} ms comes after one at {last} ms; timestamps must not run backwards"
    )]
    Backwards {
        /// Sound or picture.
        kind: TagKind,
        /// Its time.
        timestamp: u32,
        /// The time of the one before.
        last: u32,
    },
    /// The first picture cannot be decoded.
    #[error("the first picture is not a keyframe with its parameter sets before it; it was left out")]
    NotKeyframe,
    /// The channel and quality were not declared.
    #[error("no such channel and quality")]
    NoFeed,
}

/// What a pushed tag turned into.
#[derive(Debug, Clone, Default)]
pub struct Pushed {
    /// The configuration is another one from here on: its id and its record.
    pub config: Option<(u64, Bytes)>,
    /// To be sent to all viewers.
    pub packet: Option<Packet>,
}

/// The newest tags of a live feed and its configuration.
#[derive(Debug)]
pub struct Feed {
    cache: GopCache,
    cached: Vec<Packet>,
    config_id: u64,
    config_record: Bytes,
    last: [Option<u32>; 2],
    /// A picture that can be decoded has come since the configuration.
    has_key: bool,
}

impl Feed {
    /// A feed that holds at most what `limits` say.
    pub fn new(limits: GopLimits) -> Self {
        Self {
            cache: GopCache::new(limits),
            cached: Vec::new(),
            config_id: 0,
            config_record: Record::encode_config(0, &Config::default()),
            last: [None; 2],
            has_key: false,
        }
    }

    /// Takes in the next tag of the source.
    ///
    /// # Errors
    ///
    /// [`PushError`]; the tag is then left out, and the feed goes on.
    pub fn push(&mut self, tag: &Tag) -> Result<Pushed, PushError> {
        if tag.kind == TagKind::Script && !tag.is_metadata() {
            return Ok(Pushed { config: None, packet: Some(Packet::new(tag)) });
        }
        let configures = tag.is_sequence_header() || tag.is_metadata();
        if !configures {
            self.check(tag)?;
        }
        let mut pushed = Pushed::default();
        let video = self.cache.config().video.clone();
        if self.cache.push(tag) {
            // A flag that appears with the first tag of a track is news too, but what was cached stays valid.
            if self.cache.config().video != video {
                self.has_key = false;
            }
            self.config_id += 1;
            self.config_record = Record::encode_config(self.config_id, self.cache.config());
            pushed.config = Some((self.config_id, self.config_record.clone()));
            self.rebuild();
        }
        if configures {
            return Ok(pushed);
        }
        let packet = Packet::new(tag);
        if packet.key {
            self.has_key = true;
            self.cached.clear();
        }
        if self.cache.gop().len() == self.cached.len() + 1 {
            self.cached.push(packet.clone());
        } else {
            self.rebuild();
        }
        pushed.packet = Some(packet);
        Ok(pushed)
    }

    /// Makes the prepared packets those of the cache, sharing their bodies.
    fn rebuild(&mut self) {
        self.cached.clear();
        self.cached.extend(self.cache.gop().map(Packet::new));
    }

    fn check(&mut self, tag: &Tag) -> Result<(), PushError> {
        let track = usize::from(tag.kind == TagKind::Video);
        if let Some(last) = self.last[track]
            // The shorter way around the 32-bit wrap tells the direction.
            && (tag.timestamp.wrapping_sub(last) as i32) < 0
        {
            return Err(PushError::Backwards { kind: tag.kind, timestamp: tag.timestamp, last });
        }
        if tag.kind == TagKind::Video && !self.has_key && !(tag.is_keyframe() && self.can_decode(tag)) {
            return Err(PushError::NotKeyframe);
        }
        self.last[track] = Some(tag.timestamp);
        Ok(())
    }

    /// Whether the parameter sets that the codec of `tag` needs are there.
    fn can_decode(&self, tag: &Tag) -> bool {
        let needs = tag.video_head().is_ok_and(|h| {
            matches!(h.codec, VideoCodec::Avc | VideoCodec::Hevc | VideoCodec::Av1 | VideoCodec::Vp9)
        });
        !needs || self.cache.config().video.is_some()
    }

    /// The source starts anew: timestamps may begin again.
    pub fn restart(&mut self) {
        self.cache.clear();
        self.cached.clear();
        self.last = [None; 2];
        self.has_key = false;
    }

    /// Id and record of the present configuration.
    pub fn config(&self) -> (u64, &Bytes) {
        (self.config_id, &self.config_record)
    }

    /// The present configuration itself.
    pub fn media(&self) -> &Config {
        self.cache.config()
    }

    /// What a new viewer gets at once: everything since the last keyframe.
    pub fn cached(&self) -> &[Packet] {
        &self.cached
    }
}

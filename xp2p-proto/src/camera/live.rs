//! The feeds of a camera by channel and quality.

use std::collections::BTreeMap;

use super::config::FeedConfig;
use crate::flv::{Frame, FrameError, FrameLimits, FrameMuxer, GopLimits, Tag};
use crate::live::{Feed, PushError, Pushed};
use crate::request::Quality;

/// Names a feed within its camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FeedIndex(usize);

/// A pushed tag and whether it brought new parameter sets for pictures.
#[derive(Debug)]
pub(super) struct FeedPush {
    pub(super) pushed: Pushed,
    pub(super) video_changed: bool,
}

#[derive(Debug)]
pub(super) struct Feeds {
    feeds: Vec<Feed>,
    /// One for each feed, for sources that push frames.
    muxers: Vec<FrameMuxer>,
    by_name: BTreeMap<(u32, Quality), FeedIndex>,
}

impl Feeds {
    pub(super) fn new(configs: &[FeedConfig], limits: GopLimits) -> Self {
        let by_name = configs
            .iter()
            .enumerate()
            .flat_map(|(i, f)| f.qualities.iter().map(move |&q| ((f.channel, q), FeedIndex(i))))
            .collect();
        Self {
            feeds: configs.iter().map(|_| Feed::new(limits)).collect(),
            muxers: configs.iter().map(|_| FrameMuxer::new(FrameLimits::default())).collect(),
            by_name,
        }
    }

    pub(super) fn find(&self, channel: u32, quality: Quality) -> Option<FeedIndex> {
        self.by_name.get(&(channel, quality)).copied()
    }

    pub(super) fn get(&self, index: FeedIndex) -> Option<&Feed> {
        self.feeds.get(index.0)
    }

    pub(super) fn push(&mut self, index: FeedIndex, tag: &Tag) -> Result<FeedPush, PushError> {
        let feed = self.feeds.get_mut(index.0).ok_or(PushError::NoFeed)?;
        let before = feed.media().video.clone();
        let pushed = feed.push(tag)?;
        let video_changed = feed.media().video != before;
        Ok(FeedPush { pushed, video_changed })
    }

    /// Makes tags of a frame. An index that [`find`](Self::find) did not give makes none.
    pub(super) fn mux(&mut self, index: FeedIndex, frame: &Frame) -> Result<Vec<Tag>, FrameError> {
        self.muxers.get_mut(index.0).map_or(Ok(Vec::new()), |muxer| muxer.push(frame))
    }

    pub(super) fn restart(&mut self, index: FeedIndex) {
        if let Some(muxer) = self.muxers.get_mut(index.0) {
            muxer.restart();
        }
        if let Some(feed) = self.feeds.get_mut(index.0) {
            feed.restart();
        }
    }
}

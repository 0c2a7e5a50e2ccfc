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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flv::{FrameKind, VideoKind};

    #[test]
    fn frames_become_tags_of_their_own_feed_until_it_begins_anew() {
        let config = |channel| FeedConfig { channel, name: String::new(), qualities: vec![Quality::High] };
        let mut feeds = Feeds::new(&[config(0), config(1)], GopLimits::default());
        let [first, second] = [0, 1].map(|channel| feeds.find(channel, Quality::High).unwrap());
        let video = FrameKind::Video(VideoKind::H264);
        let key: &[u8] =
            &[0, 0, 1, 0x67, 77, 0x40, 31, 0xe8, 0x80, 0, 0, 1, 0x68, 0xce, 0, 0, 1, 0x65, 0x88, 1];
        let key = Frame::new(video, 40, key);
        let inter = Frame::new(video, 80, &[0, 0, 1, 0x41, 0x9a][..]);
        let tags = feeds.mux(first, &key).unwrap();
        assert!(feeds.push(first, &tags[0]).unwrap().video_changed);
        assert!(feeds.push(first, &tags[1]).unwrap().pushed.packet.unwrap().key);
        assert_eq!(feeds.mux(second, &inter), Err(FrameError::NotKeyframe));
        let tags = feeds.mux(first, &inter).unwrap();
        assert!(feeds.push(first, &tags[0]).unwrap().pushed.packet.is_some());
        feeds.restart(first);
        assert_eq!(feeds.mux(first, &inter), Err(FrameError::NotKeyframe));
        let tags = feeds.mux(first, &key).unwrap();
        assert!(tags.iter().all(|tag| feeds.push(first, tag).is_ok()), "time begins again");
    }
}

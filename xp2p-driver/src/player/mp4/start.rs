//! Waits until it is known what the MP4 of a stream has.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use xp2p_proto::flv::{Tag, TagKind};

use super::body::Mp4Body;
use super::notice::Notice;
use super::shape::{Part, Shape};
use crate::player::hub::Subscription;

/// Milliseconds of the stream in which a track must show what it is if the stream's header says that there is one.
const PICTURE_WAIT: u32 = 5_000;
const SOUND_WAIT: u32 = 1_000;
/// The same if the header does not say so. Headers are often made before the first tag of a track.
const UNSAID_WAIT: u32 = 300;
/// Tags and bytes that may wait: more than a hub gives at once.
const MAX_WAITING: usize = 8_192;
const MAX_WAITING_BYTES: usize = 32 << 20;

/// An MP4 that can begin.
#[derive(Debug)]
pub(in crate::player) struct Mp4Start {
    pub(in crate::player) body: Mp4Body,
    /// Its type, with the parameter `codecs` (RFC 6381).
    pub(in crate::player) content_type: String,
    /// What it does not have.
    pub(in crate::player) notices: Vec<Notice>,
}

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::player) enum NoMp4 {
    /// Nothing of the stream can be in it.
    #[error("nothing of this stream can be played as MP4{}; take ipc.flv", said(.0))]
    Nothing(Vec<Notice>),
    /// It ended.
    #[error("the stream ended before its configuration came")]
    Ended,
    /// The boxes could not be written.
    #[error("the configuration of this stream cannot be written as MP4; take ipc.flv")]
    Boxes,
}

/// Notices behind what they are about.
fn said(notices: &[Notice]) -> String {
    notices.iter().map(|n| format!("; {n}")).collect()
}

/// Waits for the configuration of a subscription that nothing has been read from.
pub(in crate::player) async fn begin(subscription: Subscription) -> Result<Mp4Start, NoMp4> {
    let mut waiting = Waiting {
        subscription,
        shape: Shape::default(),
        tags: VecDeque::new(),
        bytes: 0,
        first: None,
        newest: 0,
        seen: [false; 2],
        fixed: [false; 2],
        over: false,
    };
    std::future::poll_fn(|cx| waiting.poll(cx)).await;
    waiting.finish()
}

#[derive(Debug)]
struct Waiting {
    subscription: Subscription,
    shape: Shape,
    tags: VecDeque<Tag>,
    bytes: usize,
    /// Times of the first and the newest tag.
    first: Option<u32>,
    newest: u32,
    /// Whether there are tags of sound, of pictures.
    seen: [bool; 2],
    /// Whether the configuration under which the first sound, the first picture is coded is known. Another one is for
    /// later.
    fixed: [bool; 2],
    over: bool,
}

fn index(kind: TagKind) -> Option<usize> {
    match kind {
        TagKind::Audio => Some(0),
        TagKind::Video => Some(1),
        TagKind::Script => None,
    }
}

impl Waiting {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.tags.len() < MAX_WAITING && self.bytes < MAX_WAITING_BYTES {
            match self.subscription.poll_tag(cx) {
                Poll::Ready(Some(tag)) => self.take(tag),
                Poll::Ready(None) => {
                    self.over = true;
                    break;
                }
                Poll::Pending if self.is_ready() => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        if self.first.is_none() {
            self.configure();
        }
        Poll::Ready(())
    }

    /// What the hub knows now, or knew when the first tag was pushed.
    fn configure(&mut self) {
        self.shape = Shape::default();
        if let Some(config) = self.subscription.config() {
            for tag in config.tags() {
                self.shape.learn(tag);
            }
        }
    }

    fn take(&mut self, tag: Tag) {
        let Some(index) = index(tag.kind) else { return };
        if self.first.is_none() {
            self.configure();
            self.first = Some(tag.timestamp);
        }
        self.newest = tag.timestamp;
        let configures = tag.is_sequence_header();
        // `index` is 0 or 1.
        if !self.fixed[index] {
            self.shape.learn(&tag);
            if configures {
                return;
            }
            self.seen[index] = true;
            self.fixed[index] =
                if index == 0 { self.shape.audio.is_known() } else { self.shape.video.is_known() };
        }
        self.bytes += tag.wire_len();
        self.tags.push_back(tag);
    }

    fn is_ready(&mut self) -> bool {
        let Some(config) = self.subscription.config() else { return false };
        let Some(first) = self.first else {
            // Without any tag the configuration is all there is to go by.
            self.configure();
            return self.shape.video.is_known() && self.shape.audio.is_known();
        };
        let span = self.newest.wrapping_sub(first);
        let wait = |said, most| if said { most } else { UNSAID_WAIT };
        let picture = wait(config.header.has_video, PICTURE_WAIT);
        let sound = wait(config.header.has_audio, SOUND_WAIT);
        (self.shape.video.is_known() || span >= picture) && (self.shape.audio.is_known() || span >= sound)
    }

    fn finish(mut self) -> Result<Mp4Start, NoMp4> {
        let [sound, picture] = self.seen;
        if picture && !self.shape.video.is_known() {
            self.shape.video = Part::LeftOut(Notice::NoPictureConfig);
        }
        if sound && !self.shape.audio.is_known() {
            self.shape.audio = Part::LeftOut(Notice::NoSoundConfig);
        }
        let notices = self.shape.notices();
        let codecs = self.shape.codecs();
        if codecs.is_empty() {
            return Err(if self.over && notices.is_empty() { NoMp4::Ended } else { NoMp4::Nothing(notices) });
        }
        let kind = if self.shape.video.track().is_some() { "video" } else { "audio" };
        let content_type = format!("{kind}/mp4; codecs=\"{codecs}\"");
        let body = Mp4Body::new(self.subscription, self.shape, self.tags).map_err(|e| {
            tracing::debug!("cannot begin an MP4: {e}");
            NoMp4::Boxes
        })?;
        Ok(Mp4Start { body, content_type, notices })
    }
}

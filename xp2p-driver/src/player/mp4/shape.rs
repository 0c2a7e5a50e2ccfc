//! What the tags of a stream say about its tracks.

use bytes::Bytes;
use xp2p_proto::flv::{AudioCodec, AudioHead, AudioPacket, Tag, TagKind, VideoHead, VideoPacket};
use xp2p_proto::voice::{Decoded, VoiceDecoder};

use super::audio::{AudioTrack, Coding};
use super::notice::Notice;
use super::video::{VideoTrack, kind};

/// What is known of a track.
#[derive(Clone, Debug, Default)]
pub(super) enum Part<T> {
    /// Nothing yet.
    #[default]
    Unknown,
    Plays(T),
    LeftOut(Notice),
}

impl<T> Part<T> {
    pub(super) fn track(&self) -> Option<&T> {
        match self {
            Self::Plays(track) => Some(track),
            _ => None,
        }
    }

    pub(super) fn notice(&self) -> Option<Notice> {
        match self {
            Self::LeftOut(notice) => Some(*notice),
            _ => None,
        }
    }

    pub(super) fn is_known(&self) -> bool {
        !matches!(self, Self::Unknown)
    }
}

/// What a tag did to a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Nothing,
    /// A track is coded in the same way with another configuration: a new init segment tells players.
    Config,
    /// A track has come, gone or changed its coding: players have to begin anew.
    Kind,
    /// Something is left out that was not there before. Nobody has to do anything.
    LeftOut(Notice),
}

/// The tracks of a stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Shape {
    pub(super) video: Part<VideoTrack>,
    pub(super) audio: Part<AudioTrack>,
}

impl Shape {
    /// Takes in what a tag says.
    pub(super) fn learn(&mut self, tag: &Tag) -> Change {
        match tag.kind {
            TagKind::Video => match tag.video_head() {
                Ok(head) if head.track.is_none_or(|t| t.id == 0) => self.learn_video(tag, &head),
                _ => Change::Nothing,
            },
            TagKind::Audio => match tag.audio_head() {
                Ok(head) if head.track.is_none_or(|t| t.id == 0) => self.learn_audio(tag, &head),
                _ => Change::Nothing,
            },
            TagKind::Script => Change::Nothing,
        }
    }

    fn learn_video(&mut self, tag: &Tag, head: &VideoHead) -> Change {
        let configures = head.packet == VideoPacket::SequenceStart;
        if !configures && head.packet != VideoPacket::CodedFrames {
            return Change::Nothing;
        }
        let Some(kind) = kind(head.codec) else {
            return change(&mut self.video, Part::LeftOut(Notice::PictureCodec(head.codec)), |_, _| false);
        };
        let record = payload(tag, head.payload);
        if !configures || self.video.track().is_some_and(|v| v.kind == kind && v.record == record) {
            return Change::Nothing;
        }
        let part = VideoTrack::read(kind, record).map_or(Part::LeftOut(Notice::PictureConfig), Part::Plays);
        change(&mut self.video, part, |old, new| old.kind == new.kind)
    }

    fn learn_audio(&mut self, tag: &Tag, head: &AudioHead) -> Change {
        let part = match (head.codec, head.packet) {
            (AudioCodec::Aac, AudioPacket::SequenceStart) => {
                let config = payload(tag, head.payload);
                let same =
                    |a: &AudioTrack| matches!(&a.coding, Coding::Aac { config: own, .. } if *own == config);
                if self.audio.track().is_some_and(same) {
                    return Change::Nothing;
                }
                AudioTrack::aac(config).map_or(Part::LeftOut(Notice::SoundConfig), Part::Plays)
            }
            (AudioCodec::Aac, _) => return Change::Nothing,
            (
                AudioCodec::PcmLe | AudioCodec::PcmPlatform | AudioCodec::G711A | AudioCodec::G711U,
                AudioPacket::CodedFrames,
            ) => {
                let Ok(Decoded::Samples { rate, channels, samples }) = VoiceDecoder::default().decode(tag)
                else {
                    return Change::Nothing;
                };
                let len = samples.len() / usize::from(channels.max(1));
                if len == 0 || self.audio.track().is_some_and(|a| a.takes_samples(rate, channels)) {
                    return Change::Nothing;
                }
                AudioTrack::samples(rate, channels, len)
                    .map_or(Part::LeftOut(Notice::SoundConfig), Part::Plays)
            }
            (codec, AudioPacket::CodedFrames | AudioPacket::SequenceStart) => {
                Part::LeftOut(Notice::SoundCodec(codec))
            }
            _ => return Change::Nothing,
        };
        change(&mut self.audio, part, AudioTrack::is_like)
    }

    /// The `codecs` parameter of the tracks that play.
    pub(super) fn codecs(&self) -> String {
        let video = self.video.track().map(|v| v.codecs.as_str());
        let audio = self.audio.track().map(|a| a.codecs.as_str());
        video.into_iter().chain(audio).collect::<Vec<_>>().join(",")
    }

    /// What is left out.
    pub(super) fn notices(&self) -> Vec<Notice> {
        self.video.notice().into_iter().chain(self.audio.notice()).collect()
    }
}

fn change<T>(part: &mut Part<T>, new: Part<T>, alike: impl Fn(&T, &T) -> bool) -> Change {
    let change = match (&*part, &new) {
        (Part::Unknown, Part::LeftOut(notice)) => Change::LeftOut(*notice),
        // A stranger could fill the log with one new reason after the other.
        (Part::LeftOut(_), Part::LeftOut(_)) => Change::Nothing,
        (Part::Plays(old), Part::Plays(new)) if alike(old, new) => Change::Config,
        _ => Change::Kind,
    };
    *part = new;
    change
}

/// The body behind its head.
pub(super) fn payload(tag: &Tag, at: usize) -> Bytes {
    // The head is no longer than the body, as its reader promises; the `min` makes this whole without it.
    tag.body.slice(at.min(tag.body.len())..)
}

//! From one access unit to tags.

use bytes::Bytes;

use super::sets::{NalKind, ParameterSets, SetKind};
use super::{Clock, FrameError, FrameLimits, MAX_PARAMETER_SET, VideoKind, annexb, avc, hevc};
use crate::flv::{MAX_BODY, Tag, TagKind};

/// Composition times are signed and have 24 bits.
const MAX_COMPOSITION: u32 = 0x7f_ffff;

/// Pictures of one codec.
#[derive(Debug)]
pub(super) struct VideoTrack {
    pub(super) kind: VideoKind,
    /// Those that decoding needs by now.
    sets: ParameterSets,
    /// Those that came since the last picture.
    news: ParameterSets,
    /// The record in the last sequence header; a picture has come since there is one.
    sent: Option<Vec<u8>>,
}

impl VideoTrack {
    pub(super) fn new(kind: VideoKind) -> Self {
        let none = ParameterSets::default();
        Self { kind, sets: none.clone(), news: none, sent: None }
    }

    /// Takes in one access unit.
    pub(super) fn push(
        &mut self,
        data: &[u8],
        pts: u32,
        dts: u32,
        clock: &mut Clock,
        limits: &FrameLimits,
    ) -> Result<Vec<Tag>, FrameError> {
        if data.len() > limits.max_video {
            return Err(FrameError::TooLong { len: data.len(), max: limits.max_video });
        }
        clock.check(TagKind::Video, dts)?;
        let composition = pts.wrapping_sub(dts);
        if composition > MAX_COMPOSITION {
            return Err(FrameError::Composition { pts, dts });
        }
        let mut unit = AccessUnit::parse(self.kind, data, limits)?;
        self.news.merge(&unit.sets)?;
        if !unit.has_picture {
            return Ok(Vec::new());
        }
        let mut tags = Vec::new();
        if unit.key {
            let mut sets = self.sets.clone();
            if self.kind.needs().iter().all(|&kind| self.news.count(kind) > 0) {
                // Encoders that count ids up at each keyframe would pile up sets that nothing refers to.
                sets = ParameterSets::default();
            }
            sets.merge(&self.news)?;
            let record = match self.kind {
                VideoKind::H264 => avc::record(&sets),
                VideoKind::H265 => hevc::record(&sets),
            }?;
            if self.sent.as_ref() != Some(&record) {
                tags.push(self.tag(dts, true, 0, 0, &record));
                self.sent = Some(record);
            }
            self.sets = sets;
        } else {
            if self.sent.is_none() {
                return Err(FrameError::NotKeyframe);
            }
            // Before a keyframe, a new sequence header would make decoders start anew: the sets stay with the picture.
            self.news.remove_known(&self.sets);
            let mut body = Vec::new();
            self.news.all().for_each(|nal| append(&mut body, nal));
            body.append(&mut unit.body);
            unit.body = body;
            self.sets.merge(&self.news)?;
        }
        self.news = ParameterSets::default();
        let tag = self.tag(dts, unit.key, 1, composition, &unit.body);
        if tag.body.len() > MAX_BODY {
            return Err(FrameError::TooLong { len: tag.body.len(), max: MAX_BODY });
        }
        clock.set(dts);
        tags.push(tag);
        Ok(tags)
    }

    /// A tag with the classic head (Annex E.4.3.1; codec id 12 is what devices write for H.265).
    fn tag(&self, timestamp: u32, key: bool, packet: u8, composition: u32, data: &[u8]) -> Tag {
        let codec = match self.kind {
            VideoKind::H264 => 7,
            VideoKind::H265 => 12,
        };
        let [_, c2, c1, c0] = composition.to_be_bytes();
        let first = if key { 0x10 } else { 0x20 } | codec;
        let body = [&[first, packet, c2, c1, c0], data].concat();
        Tag { kind: TagKind::Video, timestamp, body: Bytes::from(body) }
    }
}

/// Appends a NAL unit behind its length of four bytes.
fn append(body: &mut Vec<u8>, nal: &[u8]) {
    // Limits are far below 2^32.
    body.extend_from_slice(&(nal.len() as u32).to_be_bytes());
    body.extend_from_slice(nal);
}

/// An access unit, taken apart.
#[derive(Debug, Default)]
struct AccessUnit {
    sets: ParameterSets,
    /// All but parameter sets, delimiters and padding.
    body: Vec<u8>,
    has_picture: bool,
    key: bool,
}

impl AccessUnit {
    fn parse(codec: VideoKind, data: &[u8], limits: &FrameLimits) -> Result<Self, FrameError> {
        let mut unit = Self::default();
        for nal in annexb::split(data, limits.max_nals)? {
            let kind = match codec {
                VideoKind::H264 => avc::kind(nal.first),
                VideoKind::H265 => hevc::kind(nal.data).ok_or(FrameError::ShortNal { offset: nal.offset })?,
            };
            match kind {
                NalKind::Delimiter if unit.has_picture => {
                    return Err(FrameError::SecondPicture { offset: nal.offset });
                }
                NalKind::Delimiter | NalKind::Padding => {}
                NalKind::Set(kind) => {
                    let len = nal.data.len();
                    if len > MAX_PARAMETER_SET {
                        return Err(FrameError::TooLong { len, max: MAX_PARAMETER_SET });
                    }
                    let id = match codec {
                        VideoKind::H264 => avc::set_id(kind, nal.data),
                        VideoKind::H265 => hevc::set_id(kind, nal.data),
                    }?;
                    unit.sets.put(kind, id, nal.data)?;
                }
                NalKind::Slice { key } => {
                    unit.has_picture = true;
                    unit.key |= key;
                    append(&mut unit.body, nal.data);
                }
                NalKind::Other => append(&mut unit.body, nal.data),
            }
        }
        Ok(unit)
    }
}

impl VideoKind {
    /// The parameter sets without which nothing can be decoded.
    fn needs(self) -> &'static [SetKind] {
        match self {
            Self::H264 => &[SetKind::Sps, SetKind::Pps],
            Self::H265 => &SetKind::ALL,
        }
    }
}

//! The head of a video body: classic (Annex E.4.3.1, and codec id 12 for HEVC) and enhanced.

use super::ex::{Cursor, HeadError, TrackId, parse_ex, parse_modex};

/// How a picture depends on others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameType {
    /// 1: a keyframe; decoding can start here.
    Key,
    /// 2: needs earlier pictures.
    Inter,
    /// 3: as `Inter`, and no other picture needs it (H.263 only in the classic form).
    Disposable,
    /// 4: a keyframe that a server made.
    GeneratedKey,
    /// 5: no picture but a command or information.
    Command,
    /// Reserved values.
    Other(u8),
}

impl FrameType {
    fn from_id(id: u8) -> Self {
        match id {
            1 => Self::Key,
            2 => Self::Inter,
            3 => Self::Disposable,
            4 => Self::GeneratedKey,
            5 => Self::Command,
            other => Self::Other(other),
        }
    }

    /// Whether decoding can start at a frame of this type.
    pub fn is_key(self) -> bool {
        matches!(self, Self::Key | Self::GeneratedKey)
    }
}

/// The coding of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VideoCodec {
    /// Classic id 1: one JPEG per tag (what MJPEG devices send).
    Jpeg,
    /// Classic id 2: Sorenson H.263.
    H263,
    /// Classic id 3 or 6: screen video.
    Screen,
    /// Classic id 4 or 5: On2 VP6, without or with alpha.
    Vp6,
    /// Classic id 7 or FourCC `avc1`: H.264.
    Avc,
    /// Classic id 12 or FourCC `hvc1`: H.265.
    Hevc,
    /// FourCC `vvc1`: H.266.
    Vvc,
    /// FourCC `av01`.
    Av1,
    /// FourCC `vp08`.
    Vp8,
    /// FourCC `vp09`.
    Vp9,
    /// Another classic id.
    OtherId(u8),
    /// Another FourCC.
    OtherFourCc([u8; 4]),
}

impl VideoCodec {
    fn from_id(id: u8) -> Self {
        match id {
            1 => Self::Jpeg,
            2 => Self::H263,
            3 | 6 => Self::Screen,
            4 | 5 => Self::Vp6,
            7 => Self::Avc,
            12 => Self::Hevc,
            other => Self::OtherId(other),
        }
    }

    fn from_four_cc(four_cc: [u8; 4]) -> Self {
        match &four_cc {
            b"avc1" => Self::Avc,
            b"hvc1" => Self::Hevc,
            b"vvc1" => Self::Vvc,
            b"av01" => Self::Av1,
            b"vp08" => Self::Vp8,
            b"vp09" => Self::Vp9,
            _ => Self::OtherFourCc(four_cc),
        }
    }

    /// Whether pictures may be shown in another order than they are sent, so that coded frames name a
    /// composition time.
    fn has_composition_time(self) -> bool {
        matches!(self, Self::Avc | Self::Hevc | Self::Vvc)
    }
}

/// What a video body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VideoPacket {
    /// The decoder's configuration record.
    SequenceStart,
    /// Coded pictures. Classic codecs without packet types have only these.
    CodedFrames,
    /// The end of the sequence; no payload.
    SequenceEnd,
    /// AMF data about the pictures, such as HDR colour information (enhanced).
    Metadata,
    /// AV1 configuration as an MPEG-2 TS descriptor (enhanced).
    Mpeg2TsSequenceStart,
    /// Frame type 5: a command, whose number is the first byte of the payload if there is one.
    Command,
    /// A packet type that is not defined.
    Other(u8),
}

/// The head of a video body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VideoHead {
    /// How the picture depends on others.
    pub frame_type: FrameType,
    /// The coding. For a command in the enhanced form, which names none, `OtherFourCc([0; 4])`.
    pub codec: VideoCodec,
    /// What the body is.
    pub packet: VideoPacket,
    /// Milliseconds to add to the tag's timestamp for the time of presentation; may be negative.
    pub composition_time: i32,
    /// Nanoseconds to add to that, 0 to 999,999 (enhanced).
    pub nanos: u32,
    /// Offset of the payload in the body; at most the body's length.
    pub payload: usize,
    /// Whether the head is in the enhanced form.
    pub enhanced: bool,
    /// Which track, if the body is multitrack.
    pub track: Option<TrackId>,
}

impl VideoHead {
    const MULTITRACK: u8 = 6;
    const MODEX: u8 = 7;

    /// Reads the head of a video tag's body.
    ///
    /// # Errors
    ///
    /// When the body ends inside its head or an enhanced head contradicts itself.
    ///
    /// ```
    /// use xp2p_proto::flv::{FrameType, VideoCodec, VideoHead, VideoPacket};
    ///
    /// let head = VideoHead::parse(&[0x17, 1, 0, 0, 40, 0, 0, 0, 1, 0x65])?;
    /// assert_eq!((head.frame_type, head.codec), (FrameType::Key, VideoCodec::Avc));
    /// assert_eq!((head.packet, head.composition_time, head.payload), (VideoPacket::CodedFrames, 40, 5));
    /// # Ok::<(), xp2p_proto::flv::HeadError>(())
    /// ```
    pub fn parse(body: &[u8]) -> Result<Self, HeadError> {
        let mut c = Cursor::new(body);
        let first = c.u8()?;
        if first & 0x80 != 0 {
            return Self::parse_enhanced(c, first);
        }
        let mut head = Self {
            frame_type: FrameType::from_id(first >> 4),
            codec: VideoCodec::from_id(first & 0x0f),
            packet: VideoPacket::CodedFrames,
            composition_time: 0,
            nanos: 0,
            payload: 0,
            enhanced: false,
            track: None,
        };
        if head.frame_type == FrameType::Command {
            head.packet = VideoPacket::Command;
        } else if head.codec.has_composition_time() {
            head.packet = match c.u8()? {
                0 => VideoPacket::SequenceStart,
                1 => VideoPacket::CodedFrames,
                2 => VideoPacket::SequenceEnd,
                other => VideoPacket::Other(other),
            };
            head.composition_time = c.i24()?;
        }
        head.payload = c.offset();
        Ok(head)
    }

    fn parse_enhanced(mut c: Cursor<'_>, first: u8) -> Result<Self, HeadError> {
        let frame_type = FrameType::from_id(first >> 4 & 0x07);
        let mut packet_type = first & 0x0f;
        let nanos = parse_modex(&mut c, &mut packet_type, Self::MODEX)?;
        if frame_type == FrameType::Command && packet_type != 4 {
            // One byte of command and neither FourCC nor body.
            let payload = c.offset();
            c.u8()?;
            return Ok(Self {
                frame_type,
                codec: VideoCodec::OtherFourCc([0; 4]),
                packet: VideoPacket::Command,
                composition_time: 0,
                nanos,
                payload,
                enhanced: true,
                track: None,
            });
        }
        let ex = parse_ex(&mut c, packet_type, Self::MODEX, Self::MULTITRACK)?;
        let codec = VideoCodec::from_four_cc(ex.four_cc);
        let mut composition_time = 0;
        let packet = match ex.packet_type {
            0 => VideoPacket::SequenceStart,
            1 => {
                if codec.has_composition_time() {
                    composition_time = c.i24()?;
                }
                VideoPacket::CodedFrames
            }
            2 => VideoPacket::SequenceEnd,
            // CodedFramesX: as 1, but the composition time is 0 and left out.
            3 => VideoPacket::CodedFrames,
            4 => VideoPacket::Metadata,
            5 => VideoPacket::Mpeg2TsSequenceStart,
            other => VideoPacket::Other(other),
        };
        Ok(Self {
            frame_type,
            codec,
            packet,
            composition_time,
            nanos,
            payload: c.offset(),
            enhanced: true,
            track: ex.track,
        })
    }
}

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::flv::MAX_MODEX;

    /// Parses a head with a payload behind it, and proves that each shorter part is refused where it ends.
    fn parse(head: &[u8]) -> VideoHead {
        let parsed = VideoHead::parse(&[head, &[0xee; 40]].concat()).unwrap();
        assert_eq!(parsed.payload, head.len());
        for n in 0..head.len() {
            assert_eq!(VideoHead::parse(&head[..n]), Err(HeadError::Truncated { offset: n }));
        }
        let exact = VideoHead::parse(head).unwrap();
        assert_eq!((exact.payload, exact.packet), (head.len(), parsed.packet), "a payload may be empty");
        parsed
    }

    fn enhanced(first: u8, four_cc: &[u8; 4], rest: &[u8]) -> Vec<u8> {
        [&[0x80 | first][..], four_cc, rest].concat()
    }

    #[test]
    fn avc_has_packets_and_composition_times() {
        let head = VideoHead {
            frame_type: FrameType::Key,
            codec: VideoCodec::Avc,
            packet: VideoPacket::SequenceStart,
            composition_time: 0,
            nanos: 0,
            payload: 5,
            enhanced: false,
            track: None,
        };
        assert_eq!(parse(&[0x17, 0, 0, 0, 0]), head);
        let coded = VideoHead { packet: VideoPacket::CodedFrames, ..head };
        assert_eq!(parse(&[0x17, 1, 0, 0, 80]), VideoHead { composition_time: 80, ..coded });
        let inter = VideoHead { frame_type: FrameType::Inter, ..coded };
        assert_eq!(parse(&[0x27, 1, 0xff, 0xff, 0xd8]), VideoHead { composition_time: -40, ..inter });
        assert_eq!(parse(&[0x27, 1, 0x80, 0, 0]), VideoHead { composition_time: -0x80_0000, ..inter });
        assert_eq!(parse(&[0x27, 1, 0x7f, 0xff, 0xff]), VideoHead { composition_time: 0x7f_ffff, ..inter });
        assert_eq!(parse(&[0x17, 2, 0, 0, 0]), VideoHead { packet: VideoPacket::SequenceEnd, ..head });
        assert_eq!(parse(&[0x17, 3, 0, 0, 0]), VideoHead { packet: VideoPacket::Other(3), ..head });
    }

    #[test]
    fn hevc_has_the_classic_id_12() {
        let head = parse(&[0x1c, 0, 0, 0, 0]);
        assert_eq!(
            (head.codec, head.packet, head.enhanced),
            (VideoCodec::Hevc, VideoPacket::SequenceStart, false)
        );
        let head = parse(&[0x2c, 1, 0, 0, 7]);
        assert_eq!((head.frame_type, head.composition_time), (FrameType::Inter, 7));
    }

    #[test]
    fn classic_codecs_without_packets_are_one_byte() {
        let codecs = [
            (0, VideoCodec::OtherId(0)),
            (1, VideoCodec::Jpeg),
            (2, VideoCodec::H263),
            (3, VideoCodec::Screen),
            (4, VideoCodec::Vp6),
            (5, VideoCodec::Vp6),
            (6, VideoCodec::Screen),
            (8, VideoCodec::OtherId(8)),
            (15, VideoCodec::OtherId(15)),
        ];
        let types = [
            (0, FrameType::Other(0)),
            (1, FrameType::Key),
            (2, FrameType::Inter),
            (3, FrameType::Disposable),
            (4, FrameType::GeneratedKey),
            (6, FrameType::Other(6)),
            (7, FrameType::Other(7)),
        ];
        for (id, codec) in codecs {
            for (kind, frame_type) in types {
                let head = parse(&[kind << 4 | id]);
                assert_eq!((head.codec, head.frame_type), (codec, frame_type));
                assert_eq!((head.packet, head.composition_time), (VideoPacket::CodedFrames, 0));
                assert_eq!(frame_type.is_key(), kind == 1 || kind == 4);
            }
        }
    }

    #[test]
    fn a_classic_command_is_no_picture() {
        let head = parse(&[0x57]);
        assert_eq!((head.frame_type, head.packet), (FrameType::Command, VideoPacket::Command));
        assert!(!head.frame_type.is_key());
    }

    #[test]
    fn enhanced_codecs_are_told_by_their_four_cc() {
        let codecs = [
            (b"avc1", VideoCodec::Avc, true),
            (b"hvc1", VideoCodec::Hevc, true),
            (b"vvc1", VideoCodec::Vvc, true),
            (b"av01", VideoCodec::Av1, false),
            (b"vp08", VideoCodec::Vp8, false),
            (b"vp09", VideoCodec::Vp9, false),
            (b"zzzz", VideoCodec::OtherFourCc(*b"zzzz"), false),
        ];
        for (four_cc, codec, has_time) in codecs {
            let head = parse(&enhanced(0x10, four_cc, &[]));
            let want = VideoHead {
                frame_type: FrameType::Key,
                codec,
                packet: VideoPacket::SequenceStart,
                composition_time: 0,
                nanos: 0,
                payload: 5,
                enhanced: true,
                track: None,
            };
            assert_eq!(head, want);
            let (time, millis) = if has_time { (&[0xff, 0xff, 0xfe][..], -2) } else { (&[][..], 0) };
            let head = parse(&enhanced(0x21, four_cc, time));
            assert_eq!((head.frame_type, head.packet), (FrameType::Inter, VideoPacket::CodedFrames));
            assert_eq!(head.composition_time, millis);
            let packets = [
                (2, VideoPacket::SequenceEnd),
                (3, VideoPacket::CodedFrames),
                (4, VideoPacket::Metadata),
                (5, VideoPacket::Mpeg2TsSequenceStart),
                (8, VideoPacket::Other(8)),
                (15, VideoPacket::Other(15)),
            ];
            for (id, packet) in packets {
                let head = parse(&enhanced(0x10 | id, four_cc, &[]));
                assert_eq!((head.codec, head.packet, head.composition_time), (codec, packet, 0));
            }
        }
    }

    #[test]
    fn an_enhanced_command_has_neither_codec_nor_body() {
        let head = VideoHead::parse(&[0xd0, 1]).unwrap();
        assert_eq!((head.frame_type, head.packet), (FrameType::Command, VideoPacket::Command));
        assert_eq!((head.codec, head.payload), (VideoCodec::OtherFourCc([0; 4]), 1));
        assert_eq!(VideoHead::parse(&[0xd0]), Err(HeadError::Truncated { offset: 1 }));
        let metadata = parse(&enhanced(0x54, b"hvc1", &[]));
        assert_eq!((metadata.codec, metadata.packet), (VideoCodec::Hevc, VideoPacket::Metadata));
    }

    #[test]
    fn a_multitrack_body_is_described_by_its_first_track() {
        let track = |id, more| Some(TrackId { id, more });
        // One track, with a composition time.
        let head = parse(&[&[0x96, 0x01][..], b"hvc1", &[3, 0, 0, 9]].concat());
        assert_eq!((head.track, head.composition_time), (track(3, false), 9));
        // Many tracks of one codec: 40 bytes follow, the first track has 30 of them.
        let head = parse(&[&[0x96, 0x10][..], b"avc1", &[0, 0, 0, 30]].concat());
        assert_eq!((head.track, head.packet), (track(0, true), VideoPacket::SequenceStart));
        // Many tracks of many codecs, but only one is there.
        let head = parse(&[&[0x96, 0x23][..], b"av01", &[1, 0, 0, 40]].concat());
        assert_eq!((head.track, head.codec), (track(1, false), VideoCodec::Av1));
    }

    #[test]
    fn multitrack_inside_multitrack_is_refused() {
        let body = |byte| [&[0x96, byte][..], b"avc1", &[0; 20]].concat();
        assert_eq!(VideoHead::parse(&body(0x06)), Err(HeadError::BadNesting { offset: 1, found: 6 }));
        assert_eq!(VideoHead::parse(&body(0x17)), Err(HeadError::BadNesting { offset: 1, found: 7 }));
        assert_eq!(VideoHead::parse(&body(0x31)), Err(HeadError::BadMultitrack { offset: 1, found: 3 }));
    }

    #[test]
    fn modifiers_are_read_and_unknown_ones_skipped() {
        // Nanoseconds 500,000, then coded frames of AV1.
        let head = parse(&[&[0x97, 2, 0x07, 0xa1, 0x20, 0x01][..], b"av01"].concat());
        assert_eq!(
            (head.nanos, head.packet, head.frame_type),
            (500_000, VideoPacket::CodedFrames, FrameType::Key)
        );
        assert_eq!(parse(&[&[0x97, 2, 0xff, 0xff, 0xff, 0x01][..], b"av01"].concat()).nanos, 999_999);
        // A modifier of an unknown type, then nanoseconds, then a multitrack body.
        let head = parse(&[&[0xa7, 0, 1, 0x57, 2, 0, 0, 9, 0x06, 0x00][..], b"vp09", &[4]].concat());
        assert_eq!(
            (head.nanos, head.codec, head.track),
            (9, VideoCodec::Vp9, Some(TrackId { id: 4, more: false }))
        );
        // Nanoseconds in too few bytes say nothing.
        assert_eq!(parse(&[&[0x97, 1, 9, 9, 0x01][..], b"av01"].concat()).nanos, 0);
    }

    #[test]
    fn a_modifier_may_be_long() {
        for len in [255_usize, 256, 300] {
            let size =
                if len < 256 { vec![254] } else { [&[255][..], &(len as u16 - 1).to_be_bytes()].concat() };
            let head = parse(&[&[0x97][..], &size, &vec![7; len], &[0x11], b"vp08"].concat());
            assert_eq!((head.codec, head.nanos), (VideoCodec::Vp8, 0));
        }
    }

    #[test]
    fn too_many_modifiers_are_refused() {
        let modifiers = |n: usize| {
            let mut body = vec![0x97];
            for i in 1..=n {
                body.extend_from_slice(&[0, 0xaa, if i == n { 0x10 } else { 0x17 }]);
            }
            [&body[..], b"av01"].concat()
        };
        assert_eq!(parse(&modifiers(MAX_MODEX)).codec, VideoCodec::Av1);
        let offset = 1 + 3 * MAX_MODEX;
        let many = modifiers(MAX_MODEX + 1);
        assert_eq!(VideoHead::parse(&many), Err(HeadError::TooManyModifiers { offset }));
    }

    proptest! {
        #[test]
        fn any_body_is_answered(
            first in prop_oneof![any::<u8>(), 0x80..=0xff_u8, Just(0x97)],
            mut body in prop::collection::vec(prop_oneof![any::<u8>(), 0..8_u8], 0..60),
            more in prop::collection::vec(any::<u8>(), 0..30),
        ) {
            if !body.is_empty() {
                body[0] = first;
            }
            let longer = VideoHead::parse(&[&body[..], &more].concat());
            match VideoHead::parse(&body) {
                Ok(head) => {
                    prop_assert!(head.payload <= body.len());
                    prop_assert!(head.nanos <= 999_999);
                    prop_assert!((-0x80_0000..0x80_0000).contains(&head.composition_time));
                    let mut longer = longer.unwrap();
                    if let (Some(track), Some(own)) = (&mut longer.track, head.track) {
                        track.more = own.more; // more data may be another track
                    }
                    prop_assert_eq!(longer, head);
                }
                Err(HeadError::Truncated { offset }) => prop_assert_eq!(offset, body.len()),
                Err(error) => prop_assert_eq!(longer, Err(error)),
            }
        }
    }
}

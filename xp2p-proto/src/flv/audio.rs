//! The head of an audio body: classic (Annex E.4.2.1) and enhanced.

use super::ex::{Cursor, HeadError, TrackId, parse_ex, parse_modex};

/// The coding of sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AudioCodec {
    /// Format 0: linear PCM in the byte order of the machine that made it; taken as little-endian.
    PcmPlatform,
    /// Format 1: ADPCM.
    Adpcm,
    /// Format 2 or 14 (8 kHz) or FourCC `.mp3`.
    Mp3,
    /// Format 3: linear PCM, little-endian. 8-bit samples are unsigned, 16-bit samples signed.
    PcmLe,
    /// Format 4, 5 or 6: Nellymoser.
    Nellymoser,
    /// Format 7: G.711 A-law.
    G711A,
    /// Format 8: G.711 mu-law.
    G711U,
    /// Format 10 or FourCC `mp4a`.
    Aac,
    /// Format 11: Speex, 16 kHz mono.
    Speex,
    /// FourCC `Opus`.
    Opus,
    /// FourCC `fLaC`.
    Flac,
    /// FourCC `ac-3`.
    Ac3,
    /// FourCC `ec-3`.
    Eac3,
    /// Another classic format.
    OtherId(u8),
    /// Another FourCC.
    OtherFourCc([u8; 4]),
}

impl AudioCodec {
    fn from_id(id: u8) -> Self {
        match id {
            0 => Self::PcmPlatform,
            1 => Self::Adpcm,
            2 | 14 => Self::Mp3,
            3 => Self::PcmLe,
            4..=6 => Self::Nellymoser,
            7 => Self::G711A,
            8 => Self::G711U,
            10 => Self::Aac,
            11 => Self::Speex,
            other => Self::OtherId(other),
        }
    }

    fn from_four_cc(four_cc: [u8; 4]) -> Self {
        match &four_cc {
            b"Opus" => Self::Opus,
            b"mp4a" => Self::Aac,
            b".mp3" => Self::Mp3,
            b"fLaC" => Self::Flac,
            b"ac-3" => Self::Ac3,
            b"ec-3" => Self::Eac3,
            _ => Self::OtherFourCc(four_cc),
        }
    }
}

/// What an audio body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AudioPacket {
    /// The decoder's configuration: AudioSpecificConfig, Opus ID header, FLAC stream info.
    SequenceStart,
    /// Coded sound. Classic codecs other than AAC have only this.
    CodedFrames,
    /// The end of the sequence; no payload.
    SequenceEnd,
    /// The order of more than two channels (enhanced).
    MultichannelConfig,
    /// A packet type that is not defined.
    Other(u8),
}

/// The head of an audio body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioHead {
    /// The coding.
    pub codec: AudioCodec,
    /// What the body is.
    pub packet: AudioPacket,
    /// Samples per second as the classic head tells: 5,512 to 44,100, or what the format fixes (G.711 8,000,
    /// Speex 16,000, MP3 8 kHz). Means nothing for AAC (writers should say 44,100), whose rate is in the
    /// AudioSpecificConfig. 0 in the enhanced form, which tells it in the sequence start.
    ///
    /// PCM and ADPCM at 8 kHz cannot be told by the classic head at all; devices that send it write 5,512.
    pub rate: u32,
    /// Bits per sample before coding: 8 or 16 (G.711 16); 0 in the enhanced form.
    pub bits: u8,
    /// Channels: 1 or 2; 0 in the enhanced form. Means nothing for AAC (writers should say 2).
    pub channels: u8,
    /// Nanoseconds to add to the tag's time, 0 to 999,999 (enhanced).
    pub nanos: u32,
    /// Offset of the payload in the body; at most the body's length.
    pub payload: usize,
    /// Whether the head is in the enhanced form.
    pub enhanced: bool,
    /// Which track, if the body is multitrack.
    pub track: Option<TrackId>,
}

impl AudioHead {
    const EX_FORMAT: u8 = 9;
    const MULTITRACK: u8 = 5;
    const MODEX: u8 = 7;

    /// Reads the head of an audio tag's body.
    ///
    /// # Errors
    ///
    /// When the body ends inside its head or an enhanced head contradicts itself.
    ///
    /// ```
    /// use xp2p_proto::flv::{AudioCodec, AudioHead, AudioPacket};
    ///
    /// let head = AudioHead::parse(&[0xaf, 0, 0x12, 0x10])?;
    /// assert_eq!((head.codec, head.packet, head.payload), (AudioCodec::Aac, AudioPacket::SequenceStart, 2));
    /// # Ok::<(), xp2p_proto::flv::HeadError>(())
    /// ```
    pub fn parse(body: &[u8]) -> Result<Self, HeadError> {
        let mut c = Cursor::new(body);
        let first = c.u8()?;
        let format = first >> 4;
        if format == Self::EX_FORMAT {
            let mut packet_type = first & 0x0f;
            let nanos = parse_modex(&mut c, &mut packet_type, Self::MODEX)?;
            let ex = parse_ex(&mut c, packet_type, Self::MODEX, Self::MULTITRACK)?;
            let packet = match ex.packet_type {
                0 => AudioPacket::SequenceStart,
                1 => AudioPacket::CodedFrames,
                2 => AudioPacket::SequenceEnd,
                4 => AudioPacket::MultichannelConfig,
                other => AudioPacket::Other(other),
            };
            return Ok(Self {
                codec: AudioCodec::from_four_cc(ex.four_cc),
                packet,
                rate: 0,
                bits: 0,
                channels: 0,
                nanos,
                payload: c.offset(),
                enhanced: true,
                track: ex.track,
            });
        }
        let codec = AudioCodec::from_id(format);
        let rate = match format {
            4 | 11 => 16_000,
            5 | 7 | 8 | 14 => 8_000,
            _ => 44_100 >> (3 - (first >> 2 & 0x03)),
        };
        let bits =
            if first & 0x02 != 0 || matches!(codec, AudioCodec::G711A | AudioCodec::G711U) { 16 } else { 8 };
        let packet = match codec {
            AudioCodec::Aac => match c.u8()? {
                0 => AudioPacket::SequenceStart,
                1 => AudioPacket::CodedFrames,
                other => AudioPacket::Other(other),
            },
            _ => AudioPacket::CodedFrames,
        };
        Ok(Self {
            codec,
            packet,
            rate,
            bits,
            // Speex and Nellymoser of a fixed rate are mono, whatever the flag says (Annex E.4.2.1).
            channels: if matches!(format, 4 | 5 | 11) { 1 } else { 1 + (first & 0x01) },
            nanos: 0,
            payload: c.offset(),
            enhanced: false,
            track: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Parses a head with a payload behind it, and proves that each shorter part is refused where it ends.
    fn parse(head: &[u8]) -> AudioHead {
        let parsed = AudioHead::parse(&[head, &[0xee; 40]].concat()).unwrap();
        assert_eq!(parsed.payload, head.len());
        for n in 0..head.len() {
            assert_eq!(AudioHead::parse(&head[..n]), Err(HeadError::Truncated { offset: n }));
        }
        let exact = AudioHead::parse(head).unwrap();
        assert_eq!((exact.payload, exact.packet), (head.len(), parsed.packet), "a payload may be empty");
        parsed
    }

    #[test]
    fn aac_has_packets() {
        let head = AudioHead {
            codec: AudioCodec::Aac,
            packet: AudioPacket::SequenceStart,
            rate: 44_100,
            bits: 16,
            channels: 2,
            nanos: 0,
            payload: 2,
            enhanced: false,
            track: None,
        };
        assert_eq!(parse(&[0xaf, 0]), head);
        assert_eq!(parse(&[0xaf, 1]), AudioHead { packet: AudioPacket::CodedFrames, ..head });
        assert_eq!(parse(&[0xaf, 2]), AudioHead { packet: AudioPacket::Other(2), ..head });
    }

    #[test]
    fn the_classic_codecs_tell_rate_width_and_channels() {
        let codecs = [
            (0x72, AudioCodec::G711A, 8_000, 16, 1),
            (0x7e, AudioCodec::G711A, 8_000, 16, 1),
            (0x70, AudioCodec::G711A, 8_000, 16, 1),
            (0x82, AudioCodec::G711U, 8_000, 16, 1),
            (0x83, AudioCodec::G711U, 8_000, 16, 2),
            (0x30, AudioCodec::PcmLe, 5_512, 8, 1),
            (0x36, AudioCodec::PcmLe, 11_025, 16, 1),
            (0x3a, AudioCodec::PcmLe, 22_050, 16, 1),
            (0x3f, AudioCodec::PcmLe, 44_100, 16, 2),
            (0x0d, AudioCodec::PcmPlatform, 44_100, 8, 2),
            (0x1f, AudioCodec::Adpcm, 44_100, 16, 2),
            (0x2f, AudioCodec::Mp3, 44_100, 16, 2),
            (0x2a, AudioCodec::Mp3, 22_050, 16, 1),
            (0xee, AudioCodec::Mp3, 8_000, 16, 1),
            (0x42, AudioCodec::Nellymoser, 16_000, 16, 1),
            (0x52, AudioCodec::Nellymoser, 8_000, 16, 1),
            (0x6f, AudioCodec::Nellymoser, 44_100, 16, 2),
            (0xb2, AudioCodec::Speex, 16_000, 16, 1),
            (0xbe, AudioCodec::Speex, 16_000, 16, 1),
            (0xc0, AudioCodec::OtherId(12), 5_512, 8, 1),
            (0xff, AudioCodec::OtherId(15), 44_100, 16, 2),
        ];
        for (first, codec, rate, bits, channels) in codecs {
            let want = AudioHead {
                codec,
                packet: AudioPacket::CodedFrames,
                rate,
                bits,
                channels,
                nanos: 0,
                payload: 1,
                enhanced: false,
                track: None,
            };
            assert_eq!(parse(&[first]), want, "{first:#x}");
        }
    }

    /// The flag was believed.
    #[test]
    fn speex_and_nellymoser_of_a_fixed_rate_are_mono() {
        for first in [0xb3, 0xbf, 0x43, 0x53] {
            assert_eq!(parse(&[first]).channels, 1, "{first:#x}");
        }
    }

    #[test]
    fn enhanced_codecs_are_told_by_their_four_cc() {
        let codecs = [
            (b"Opus", AudioCodec::Opus),
            (b"mp4a", AudioCodec::Aac),
            (b".mp3", AudioCodec::Mp3),
            (b"fLaC", AudioCodec::Flac),
            (b"ac-3", AudioCodec::Ac3),
            (b"ec-3", AudioCodec::Eac3),
            (b"opus", AudioCodec::OtherFourCc(*b"opus")),
        ];
        let packets = [
            (0, AudioPacket::SequenceStart),
            (1, AudioPacket::CodedFrames),
            (2, AudioPacket::SequenceEnd),
            (3, AudioPacket::Other(3)),
            (4, AudioPacket::MultichannelConfig),
            (6, AudioPacket::Other(6)),
            (15, AudioPacket::Other(15)),
        ];
        for (four_cc, codec) in codecs {
            for (id, packet) in packets {
                let want = AudioHead {
                    codec,
                    packet,
                    rate: 0,
                    bits: 0,
                    channels: 0,
                    nanos: 0,
                    payload: 5,
                    enhanced: true,
                    track: None,
                };
                assert_eq!(parse(&[&[0x90 | id][..], four_cc].concat()), want);
            }
        }
    }

    #[test]
    fn multitrack_and_modifiers_are_as_in_video_with_another_number() {
        let head = parse(&[&[0x95, 0x01][..], b"Opus", &[2]].concat());
        assert_eq!(
            (head.track, head.packet),
            (Some(TrackId { id: 2, more: false }), AudioPacket::CodedFrames)
        );
        let head = parse(&[&[0x97, 2, 0, 0, 5, 0x05, 0x10][..], b"Opus", &[0, 0, 0, 39]].concat());
        assert_eq!((head.track, head.nanos), (Some(TrackId { id: 0, more: true }), 5));
        let body = |byte| [&[0x95, byte][..], b"Opus", &[0; 20]].concat();
        assert_eq!(AudioHead::parse(&body(0x05)), Err(HeadError::BadNesting { offset: 1, found: 5 }));
        assert_eq!(AudioHead::parse(&body(0x07)), Err(HeadError::BadNesting { offset: 1, found: 7 }));
        assert_eq!(AudioHead::parse(&body(0xf0)), Err(HeadError::BadMultitrack { offset: 1, found: 15 }));
    }

    proptest! {
        #[test]
        fn any_body_is_answered(
            first in prop_oneof![any::<u8>(), 0x90..=0x9f_u8, Just(0x97)],
            mut body in prop::collection::vec(prop_oneof![any::<u8>(), 0..8_u8], 0..60),
            more in prop::collection::vec(any::<u8>(), 0..30),
        ) {
            if !body.is_empty() {
                body[0] = first;
            }
            let longer = AudioHead::parse(&[&body[..], &more].concat());
            match AudioHead::parse(&body) {
                Ok(head) => {
                    prop_assert!(head.payload <= body.len());
                    prop_assert!(head.nanos <= 999_999);
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

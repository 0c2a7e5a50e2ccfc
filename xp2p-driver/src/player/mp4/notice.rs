//! What is left out of the MP4, in words for a person.

use std::fmt;

use xp2p_proto::flv::{AudioCodec, VideoCodec};

/// Something of the stream that its MP4 does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::player) enum Notice {
    /// The coding of the pictures has no place here.
    PictureCodec(VideoCodec),
    /// What decoders need of the pictures cannot be read.
    PictureConfig,
    /// What decoders need of the pictures has not come.
    NoPictureConfig,
    /// The coding of the sound has no place here.
    SoundCodec(AudioCodec),
    /// What decoders need of the sound cannot be read, or browsers cannot play it.
    SoundConfig,
    /// What decoders need of the sound has not come.
    NoSoundConfig,
}

/// The bytes of a stranger's FourCC are not repeated: these words go into a header.
impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PictureCodec(VideoCodec::OtherFourCc(_)) => {
                f.write_str("the picture is left out: its coding is unknown")
            }
            Self::PictureCodec(codec) => {
                write!(f, "the picture is left out: its coding ({codec:?}) is not converted to MP4")
            }
            Self::PictureConfig => f.write_str("the picture is left out: its configuration cannot be read"),
            Self::NoPictureConfig => f.write_str("the picture is left out: its configuration did not come"),
            Self::SoundCodec(AudioCodec::OtherFourCc(_)) => {
                f.write_str("the sound is left out: its coding is unknown")
            }
            Self::SoundCodec(codec) => {
                write!(f, "the sound is left out: its coding ({codec:?}) is not converted to MP4")
            }
            Self::SoundConfig => f.write_str("the sound is left out: its configuration cannot be used"),
            Self::NoSoundConfig => f.write_str("the sound is left out: its configuration did not come"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_words_fit_into_a_header() {
        for notice in [
            Notice::PictureCodec(VideoCodec::OtherFourCc([b'\n', 0, 0xff, b'x'])),
            Notice::PictureCodec(VideoCodec::OtherId(9)),
            Notice::PictureConfig,
            Notice::NoPictureConfig,
            Notice::SoundCodec(AudioCodec::Speex),
            Notice::SoundCodec(AudioCodec::OtherFourCc([0; 4])),
            Notice::SoundConfig,
            Notice::NoSoundConfig,
        ] {
            let words = notice.to_string();
            assert!(hyper::header::HeaderValue::from_str(&words).is_ok() && words.is_ascii(), "{words}");
        }
    }
}

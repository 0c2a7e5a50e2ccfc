//! What can be wrong with a frame.

use super::{MAX_SETS, SetKind};
use crate::flv::tag::TagKind;

/// Why a frame was left out. An `offset` counts bytes from the start of the buffer; a `bit` counts bits of a parameter
/// set after its NAL header, without emulation prevention bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The buffer has no data.
    #[error("the frame is empty")]
    Empty,
    /// More than the limits allow.
    #[error("{len} bytes are too many; at most {max} are taken")]
    TooLong {
        /// How many there are.
        len: usize,
        /// How many may be.
        max: usize,
    },
    /// Time may not run backwards.
    #[error(
        "the {kind:?} frame at {timestamp} ms comes after one at {last} ms; timestamps must not run backwards"
    )]
    Backwards {
        /// Sound or picture.
        kind: TagKind,
        /// Its time (of decoding).
        timestamp: u32,
        /// The time of the one before.
        last: u32,
    },
    /// A picture cannot be shown before it is decoded, nor hours after it.
    #[error("a picture decoded at {dts} ms cannot be shown at {pts} ms")]
    Composition {
        /// When it is to be shown.
        pts: u32,
        /// When it is to be decoded.
        dts: u32,
    },
    /// The first picture cannot be decoded.
    #[error("the first picture must be a keyframe with its parameter sets; this one is no keyframe")]
    NotKeyframe,
    /// A keyframe without parameter sets in it or before it.
    #[error("the first picture must be a keyframe with its parameter sets; it has no {missing}")]
    NoParameterSets {
        /// What is not there.
        missing: SetKind,
    },
    /// More ids than any stream needs.
    #[error("more than {MAX_SETS} parameter sets of the kind {kind}")]
    TooManySets {
        /// Of which kind.
        kind: SetKind,
    },
    /// The buffer is not in the form of Annex B.
    #[error("byte {offset} should begin a start code (00 00 01 or 00 00 00 01)")]
    NoStartCode {
        /// Where.
        offset: usize,
    },
    /// Two start codes with nothing between, or one at the end.
    #[error("there is no NAL unit behind the start code before byte {offset}")]
    EmptyNal {
        /// Where it should be.
        offset: usize,
    },
    /// A NAL unit of H.265 that is shorter than its header.
    #[error("the NAL unit at byte {offset} ends inside its header")]
    ShortNal {
        /// Where it begins.
        offset: usize,
    },
    /// The first bit of a NAL unit must be 0.
    #[error("the NAL unit at byte {offset} begins with a 1 bit, which is forbidden")]
    ForbiddenBit {
        /// Where it begins.
        offset: usize,
    },
    /// More than the limits allow.
    #[error("more than {max} NAL units in one frame")]
    TooManyNals {
        /// How many may be.
        max: usize,
    },
    /// An access unit delimiter after a slice.
    #[error("a second picture begins at byte {offset}; push one access unit at a time")]
    SecondPicture {
        /// Where its delimiter is.
        offset: usize,
    },
    /// A parameter set is cut off.
    #[error("the {what} ends at bit {bit}, before all that is needed of it")]
    ParameterSetEnds {
        /// Which one.
        what: &'static str,
        /// Where it ends.
        bit: usize,
    },
    /// A field of a parameter set is out of its bounds.
    #[error("{field} at bit {bit} of the {what} is out of its bounds")]
    BadField {
        /// Which parameter set.
        what: &'static str,
        /// The name of the field in the standard.
        field: &'static str,
        /// Where it begins.
        bit: usize,
    },
    /// The AudioSpecificConfig is too short or names no object type or rate.
    #[error("the AudioSpecificConfig is not valid at byte {offset}")]
    AudioConfig {
        /// Where.
        offset: usize,
    },
    /// A raw frame of AAC, and nobody told its configuration.
    #[error("a raw AAC frame needs its AudioSpecificConfig before it; or push ADTS frames")]
    NoAudioConfig,
    /// An ADTS frame that is damaged or of a kind that FLV cannot carry.
    #[error("the ADTS frame at byte {offset} cannot be taken: {field}")]
    Adts {
        /// Where it begins.
        offset: usize,
        /// The field of its header that says so.
        field: &'static str,
    },
}

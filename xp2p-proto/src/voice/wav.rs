//! RIFF WAVE: the header to write, and a reader for what other programs write.

use super::decode::pcm_le;
use super::{MAX_RATE, MIN_RATE, VoiceCodec, g711};

/// Bytes of the header that [`wav_header`] makes.
pub const WAV_HEADER_LEN: usize = 44;

/// The longest format chunk that is read, in bytes. Real ones have 16, 18 or 40.
pub const MAX_FORMAT_CHUNK: u32 = 1_024;

/// Bytes that may come before the samples, all headers and skipped chunks counted: 16 MiB, room for a cover
/// picture in the tags of a music file. It also limits the number of chunks.
pub const MAX_BEFORE_DATA: u64 = 16 << 20;

/// The size that tools write when they do not know it yet.
const UNKNOWN_SIZE: u32 = u32::MAX;

/// `RIFF`, size, `WAVE`.
const RIFF_HEADER: usize = 12;

/// Name and size.
const CHUNK_HEADER: usize = 8;

/// Bytes of the format chunk that mean something: those of WAVEFORMATEXTENSIBLE.
const EXTENSIBLE_LEN: usize = 40;

/// The GUID of a sub-format behind its first two bytes, which are a format tag.
const GUID_TAIL: [u8; 14] = [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71];

/// The header of a WAV file of 16-bit linear PCM, right before its samples.
///
/// `data_len` is the length of the samples in bytes. `None` writes 0xffffffff for both sizes, as streaming tools
/// do: readers then read until the end. A length whose file would not fit into 32 bits gets the same size of
/// the file.
///
/// ```
/// use xp2p_proto::voice::wav_header;
///
/// let header = wav_header(8_000, 1, Some(320));
/// assert_eq!(header[..12], *b"RIFF\x64\x01\0\0WAVE");
/// ```
pub fn wav_header(rate: u32, channels: u8, data_len: Option<u32>) -> [u8; WAV_HEADER_LEN] {
    let frame = u16::from(channels) * 2;
    let data_len = data_len.unwrap_or(UNKNOWN_SIZE);
    let riff_len = data_len.saturating_add((WAV_HEADER_LEN - 8) as u32);
    let mut header = [0; WAV_HEADER_LEN];
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        // The parts below are 44 bytes together.
        header[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    put(b"RIFF");
    put(&riff_len.to_le_bytes());
    put(b"WAVEfmt ");
    put(&16_u32.to_le_bytes());
    put(&1_u16.to_le_bytes());
    put(&u16::from(channels).to_le_bytes());
    put(&rate.to_le_bytes());
    put(&rate.saturating_mul(u32::from(frame)).to_le_bytes());
    put(&frame.to_le_bytes());
    put(&16_u16.to_le_bytes());
    put(b"data");
    put(&data_len.to_le_bytes());
    header
}

/// What a WAV file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WavFormat {
    /// How the file codes its samples. [`WavReader`] gives them decoded.
    pub codec: VoiceCodec,
    /// Samples per second in each channel, between [`MIN_RATE`] and [`MAX_RATE`].
    pub rate: u32,
    /// 1, or 2 interleaved.
    pub channels: u8,
}

/// How a WAV file ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WavEnd {
    /// Frames (one sample for each channel) that were given.
    pub frames: u64,
    /// Bytes of samples that the header promised and that did not come. 0 if it did not tell the length.
    pub missing: u64,
    /// Bytes at the end that were no whole frame and were dropped; below 4.
    pub partial: usize,
}

/// Why a WAV file could not be read. Offsets count bytes from the start of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WavError {
    /// The input does not begin with `RIFF`, so it is something else: headerless samples, perhaps.
    ///
    /// To read it as that, take `before` and then the whole piece that was given to the failing call.
    #[error("the input is no WAV file: it does not begin with \"RIFF\"")]
    NotRiff {
        /// What was pushed before the call that failed; at most 3 bytes.
        before: Vec<u8>,
    },
    /// RIFF, but another kind of it, such as AVI.
    #[error("the RIFF file is no WAV file: its kind at byte 8 is \"{}\"", .found.escape_ascii())]
    NotWave {
        /// The kind.
        found: [u8; 4],
    },
    /// Samples before the format.
    #[error("the WAV file has its samples (chunk at byte {offset}) before their format")]
    DataBeforeFormat {
        /// Where the data chunk begins.
        offset: u64,
    },
    /// A second format chunk before the samples.
    #[error("the WAV file has a second format chunk at byte {offset}")]
    SecondFormat {
        /// Where it begins.
        offset: u64,
    },
    /// A format chunk of a size that no format has.
    #[error(
        "the format chunk at byte {offset} has {size} bytes; at least 16 and at most {MAX_FORMAT_CHUNK} are read"
    )]
    FormatSize {
        /// Where the chunk begins.
        offset: u64,
        /// Its size.
        size: u32,
    },
    /// A coding that is not read.
    #[error(
        "the WAV file has format {format} with {bits} bits (chunk at byte {offset}); convert it to 16-bit PCM \
         (format 1), A-law (6) or mu-law (7)"
    )]
    Coding {
        /// Where the format chunk begins.
        offset: u64,
        /// The format tag; that of the sub-format, if there is one of the usual kind.
        format: u16,
        /// Bits per sample.
        bits: u16,
    },
    /// Neither one channel nor two.
    #[error("the WAV file has {channels} channels (chunk at byte {offset}); convert it to one or two")]
    Channels {
        /// Where the format chunk begins.
        offset: u64,
        /// Their number.
        channels: u16,
    },
    /// A rate not between [`MIN_RATE`] and [`MAX_RATE`].
    #[error(
        "the WAV file claims {rate} samples per second (chunk at byte {offset}), which is no rate of sound"
    )]
    Rate {
        /// Where the format chunk begins.
        offset: u64,
        /// The rate.
        rate: u32,
    },
    /// No samples within [`MAX_BEFORE_DATA`].
    #[error(
        "the chunk at byte {offset} would put the samples behind the first {MAX_BEFORE_DATA} bytes of the WAV file"
    )]
    DataTooFar {
        /// Where the chunk begins that goes too far.
        offset: u64,
    },
    /// The file ends before its samples begin.
    #[error("the WAV file ends at byte {offset}, before its samples begin")]
    Truncated {
        /// Where it ends.
        offset: u64,
    },
}

/// What the reader is at. Sizes count down as bytes come.
#[derive(Clone, Debug)]
enum State {
    Riff,
    ChunkHeader,
    /// The format chunk that begins at `offset`: `size` of its bytes mean something, `rest` follow.
    Format {
        offset: u64,
        size: usize,
        rest: u64,
    },
    Skip {
        left: u64,
    },
    /// `None` reads until the end.
    Data {
        format: WavFormat,
        left: Option<u64>,
    },
    /// Behind the samples: what comes is not looked at.
    Done,
    Failed(WavError),
}

/// Reads a WAV file that comes in pieces, and gives 16-bit samples.
///
/// It reads 16-bit PCM, A-law and mu-law, of one channel or two, with the classic or the extensible format
/// chunk. Other chunks are skipped. A data size of 0 or 0xffffffff, as tools write that stream, reads until the
/// end. The size of the RIFF chunk, the bytes per second and the bytes per frame are not believed: all follow from
/// other fields, and many files have them wrong. What follows the data chunk is ignored.
#[derive(Clone, Debug)]
pub struct WavReader {
    state: State,
    /// The format, once it was read.
    format: Option<WavFormat>,
    /// A header or a frame of which the rest has not come; at most [`EXTENSIBLE_LEN`] bytes.
    held: Vec<u8>,
    /// Bytes that were read.
    offset: u64,
    frames: u64,
}

impl Default for WavReader {
    fn default() -> Self {
        Self::new()
    }
}

impl WavReader {
    /// A reader at the start of a file.
    pub fn new() -> Self {
        Self { state: State::Riff, format: None, held: Vec::new(), offset: 0, frames: 0 }
    }

    /// The format, as soon as it was read; in any case before the first sample is given.
    pub fn format(&self) -> Option<WavFormat> {
        self.format
    }

    /// Takes the next bytes and gives the samples in them: whole frames, the channels interleaved. Empty while
    /// headers are read.
    ///
    /// # Errors
    ///
    /// [`WavError::NotRiff`] if it is no WAV file at all, others if it is one that cannot be read. The reader has
    /// then failed, and each later call gives the same error.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<Vec<i16>, WavError> {
        let mut samples = Vec::new();
        loop {
            match self.step(&mut bytes, &mut samples) {
                Ok(true) => {}
                Ok(false) => return Ok(samples),
                Err(error) => {
                    self.held = Vec::new();
                    self.state = State::Failed(error.clone());
                    return Err(error);
                }
            }
        }
    }

    /// Tells that the input has ended.
    ///
    /// A file that ends before its data chunk does is no error, as what came is sound: see [`WavEnd::missing`].
    ///
    /// # Errors
    ///
    /// [`WavError::Truncated`] if the samples did not begin, [`WavError::NotRiff`] if there were less than 4
    /// bytes, and the error of [`WavReader::push`] if it failed.
    pub fn finish(self) -> Result<WavEnd, WavError> {
        match self.state {
            State::Riff if self.offset < 4 => Err(WavError::NotRiff { before: self.held }),
            State::Riff | State::ChunkHeader | State::Format { .. } | State::Skip { .. } => {
                Err(WavError::Truncated { offset: self.offset })
            }
            State::Data { left, .. } => {
                Ok(WavEnd { frames: self.frames, missing: left.unwrap_or(0), partial: self.held.len() })
            }
            State::Done => Ok(WavEnd { frames: self.frames, missing: 0, partial: self.held.len() }),
            State::Failed(error) => Err(error),
        }
    }

    /// Does one part of the work; `false` when more bytes are needed.
    fn step(&mut self, bytes: &mut &[u8], samples: &mut Vec<i16>) -> Result<bool, WavError> {
        match self.state {
            State::Riff => self.riff(bytes),
            State::ChunkHeader => self.chunk_header(bytes),
            State::Format { offset, size, rest } => self.format_chunk(bytes, offset, size, rest),
            State::Skip { left } => {
                let skipped = self.take(bytes, left).len() as u64;
                let left = left - skipped;
                self.state = if left == 0 { State::ChunkHeader } else { State::Skip { left } };
                Ok(left == 0)
            }
            State::Data { format, left } => {
                let part = self.take(bytes, left.unwrap_or(u64::MAX));
                let left = left.map(|left| left - part.len() as u64);
                self.samples(format, part, samples);
                self.state = if left == Some(0) { State::Done } else { State::Data { format, left } };
                Ok(left == Some(0))
            }
            State::Done => {
                self.take(bytes, u64::MAX);
                Ok(false)
            }
            State::Failed(ref error) => Err(error.clone()),
        }
    }

    fn riff(&mut self, bytes: &mut &[u8]) -> Result<bool, WavError> {
        if self.held.len() < 4 {
            let before = self.held.len();
            let mut start = self.held.clone();
            start.extend(bytes.iter().take(4 - before));
            if !b"RIFF".starts_with(&start) {
                return Err(WavError::NotRiff { before: std::mem::take(&mut self.held) });
            }
        }
        let Some(header) = self.header::<RIFF_HEADER>(bytes) else { return Ok(false) };
        let [.., k0, k1, k2, k3] = header;
        let found = [k0, k1, k2, k3];
        if found != *b"WAVE" {
            return Err(WavError::NotWave { found });
        }
        self.state = State::ChunkHeader;
        Ok(true)
    }

    fn chunk_header(&mut self, bytes: &mut &[u8]) -> Result<bool, WavError> {
        let Some([name @ .., s0, s1, s2, s3]) = self.header::<CHUNK_HEADER>(bytes) else { return Ok(false) };
        let offset = self.offset - CHUNK_HEADER as u64;
        let size = u32::from_le_bytes([s0, s1, s2, s3]);
        if name == *b"data" {
            let format = self.format.ok_or(WavError::DataBeforeFormat { offset })?;
            let left = if matches!(size, 0 | UNKNOWN_SIZE) { None } else { Some(u64::from(size)) };
            self.state = State::Data { format, left };
            return Ok(true);
        }
        // Chunks begin at even offsets.
        let padded = u64::from(size) + u64::from(size & 1);
        if name == *b"fmt " {
            if self.format.is_some() {
                return Err(WavError::SecondFormat { offset });
            }
            if !(16..=MAX_FORMAT_CHUNK).contains(&size) {
                return Err(WavError::FormatSize { offset, size });
            }
            let used = EXTENSIBLE_LEN.min(size as usize);
            self.state = State::Format { offset, size: used, rest: padded - used as u64 };
        } else {
            self.state = State::Skip { left: padded };
        }
        // Whatever is skipped, the header of the data chunk must still come.
        if self.offset + padded + CHUNK_HEADER as u64 > MAX_BEFORE_DATA {
            return Err(WavError::DataTooFar { offset });
        }
        Ok(true)
    }

    fn format_chunk(
        &mut self,
        bytes: &mut &[u8],
        offset: u64,
        size: usize,
        rest: u64,
    ) -> Result<bool, WavError> {
        if !self.fill(bytes, size) {
            return Ok(false);
        }
        self.format = Some(parse_format(&self.held, offset)?);
        self.held.clear();
        self.state = State::Skip { left: rest };
        Ok(true)
    }

    /// Decodes whole frames and holds the rest.
    fn samples(&mut self, format: WavFormat, mut part: &[u8], out: &mut Vec<i16>) {
        let frame = format.codec.sample_bytes() * usize::from(format.channels);
        out.reserve((self.held.len() + part.len()) / format.codec.sample_bytes());
        if !self.held.is_empty() {
            let (now, later) = part.split_at(part.len().min(frame - self.held.len()));
            self.held.extend_from_slice(now);
            part = later;
            if self.held.len() < frame {
                return;
            }
            decode(format.codec, &self.held, out);
            self.held.clear();
            self.frames += 1;
        }
        let (whole, rest) = part.split_at(part.len() - part.len() % frame);
        decode(format.codec, whole, out);
        self.frames += (whole.len() / frame) as u64;
        self.held.extend_from_slice(rest);
    }

    /// The next `N` bytes, once they are all there.
    fn header<const N: usize>(&mut self, bytes: &mut &[u8]) -> Option<[u8; N]> {
        if !self.fill(bytes, N) {
            return None;
        }
        let header = <[u8; N]>::try_from(&self.held[..]).ok();
        self.held.clear();
        header
    }

    /// Moves bytes to `held` until it has `size`; whether it has.
    fn fill(&mut self, bytes: &mut &[u8], size: usize) -> bool {
        let part = self.take(bytes, size.saturating_sub(self.held.len()) as u64);
        self.held.extend_from_slice(part);
        self.held.len() >= size
    }

    /// Takes at most `most` bytes from the input.
    fn take<'a>(&mut self, bytes: &mut &'a [u8], most: u64) -> &'a [u8] {
        let n = usize::try_from(most).unwrap_or(usize::MAX).min(bytes.len());
        let (part, rest) = bytes.split_at(n);
        *bytes = rest;
        self.offset += n as u64;
        part
    }
}

fn decode(codec: VoiceCodec, bytes: &[u8], out: &mut Vec<i16>) {
    match codec {
        VoiceCodec::Pcm => out.extend(pcm_le(bytes)),
        VoiceCodec::Alaw => g711::decode_alaw_slice(bytes, out),
        VoiceCodec::Mulaw => g711::decode_mulaw_slice(bytes, out),
    }
}

/// Reads a format chunk of 16 to 40 bytes: WAVEFORMAT, WAVEFORMATEX or WAVEFORMATEXTENSIBLE.
fn parse_format(chunk: &[u8], offset: u64) -> Result<WavFormat, WavError> {
    let u16_at = |at: usize| match chunk.get(at..at + 2) {
        Some(&[low, high]) => u16::from_le_bytes([low, high]),
        _ => 0, // only behind the 16 bytes that the caller made sure of, where 0 is no known format
    };
    let extensible = |tag| tag == 0xfffe && chunk.get(26..EXTENSIBLE_LEN) == Some(&GUID_TAIL);
    let format = Some(u16_at(0)).filter(|&tag| !extensible(tag)).unwrap_or_else(|| u16_at(24));
    let channels = u16_at(2);
    let rate = u32::from(u16_at(6)) << 16 | u32::from(u16_at(4));
    let bits = u16_at(14);
    let codec = match (format, bits) {
        (1, 16) => VoiceCodec::Pcm,
        (6, 8) => VoiceCodec::Alaw,
        (7, 8) => VoiceCodec::Mulaw,
        _ => return Err(WavError::Coding { offset, format, bits }),
    };
    if !(MIN_RATE..=MAX_RATE).contains(&rate) {
        return Err(WavError::Rate { offset, rate });
    }
    match channels {
        1 => Ok(WavFormat { codec, rate, channels: 1 }),
        2 => Ok(WavFormat { codec, rate, channels: 2 }),
        _ => Err(WavError::Channels { offset, channels }),
    }
}

#[cfg(test)]
mod tests;

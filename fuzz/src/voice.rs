//! Sound: WAVE files in any pieces, and tags of talk.

use arbitrary::{Arbitrary, Unstructured};
use xp2p_proto::voice::{
    Decoded, MAX_TAG_SAMPLES, PcmFormat, PcmTagger, VoiceCodec, VoiceDecoder, WavReader,
};

use crate::cut::alike;
use crate::tags::AnyTag;

#[derive(Arbitrary, Debug)]
struct Input {
    codec: u8,
    rate: u8,
    stereo: bool,
    chunk: u8,
    samples: Vec<i16>,
    tags: Vec<AnyTag>,
}

/// One input.
pub fn run(data: &[u8]) {
    let (samples, _) = alike(data, |pieces| {
        let mut reader = WavReader::new();
        let mut samples = Vec::new();
        for piece in pieces {
            match reader.push(piece) {
                Ok(more) => samples.extend(more),
                Err(error) => return (samples, format!("{error}")),
            }
        }
        (samples, format!("{:?}", reader.finish()))
    });
    assert!(samples.len() <= data.len() / 2);
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(data)) else { return };
    for tag in &input.tags {
        if let Ok(Decoded::Samples { samples, .. }) = VoiceDecoder::default().decode(&tag.0) {
            assert!(samples.len() <= MAX_TAG_SAMPLES);
        }
    }
    tagger(&input);
}

/// What is said comes out at the other end, no sample more or less.
fn tagger(input: &Input) {
    let codec = VoiceCodec::ALL[usize::from(input.codec) % VoiceCodec::ALL.len()];
    let rate = PcmFormat::RATES[usize::from(input.rate) % PcmFormat::RATES.len()];
    let chunk = std::time::Duration::from_millis(u64::from(input.chunk));
    let Ok(format) = PcmFormat::new(rate, 1 + u8::from(input.stereo)) else { return };
    let Ok(mut tagger) = PcmTagger::new(codec, format, chunk) else { return };
    let mut tags = tagger.push(&input.samples);
    tags.extend(tagger.finish());
    assert!(tags.is_sorted_by_key(|t| t.timestamp));
    let mut out = Vec::new();
    for tag in &tags {
        match VoiceDecoder::default().decode(tag).expect("what was made") {
            Decoded::Samples { samples, .. } => out.extend(samples),
            other => panic!("{other:?}"),
        }
    }
    let whole = input.samples.len() - input.samples.len() % usize::from(format.channels());
    assert_eq!(out.len(), whole);
    if codec == VoiceCodec::Pcm {
        assert_eq!(out, input.samples[..whole]);
    }
}

//! `xp2p talk`.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use async_channel::Sender;
use serde_json::json;
use xp2p_driver::runtime::sleep;
use xp2p_proto::flv::{Demuxer, Item, Limits, Tag, TagKind};
use xp2p_proto::info::Feature;
use xp2p_proto::request::{CallType, Voice};
use xp2p_proto::voice::{PcmFormat, PcmTagger, VoiceCodec, WavReader};

use crate::args::Talk;
use crate::output::{self, Status};
use crate::rt::rt;
use crate::session::Session;
use crate::stop;
use crate::when::usage;

/// How far ahead of its time sound is sent.
const LEAD: Duration = Duration::from_millis(300);
const CHUNK: Duration = Duration::from_millis(40);
const READ: usize = 16 * 1024;

/// How samples become tags.
#[derive(Debug, Clone, Copy)]
struct Coding {
    codec: VoiceCodec,
    /// Of raw sound.
    rate: u32,
    video: bool,
}

fn coding(args: &Talk) -> Result<(Coding, CallType)> {
    let unknown = || usage(format!("`{}` is no codec; say pcm, alaw or mulaw", args.codec));
    let codec = VoiceCodec::named(&args.codec).ok_or_else(unknown)?;
    let calltype = CallType::ALL.into_iter().find(|c| c.name() == args.calltype);
    let calltype = calltype.ok_or_else(|| usage("--calltype must be audio or video"))?;
    Ok((Coding { codec, rate: args.rate, video: calltype == CallType::Video }, calltype))
}

pub(crate) async fn run(args: &Talk) -> Result<()> {
    let (coding, calltype) = coding(args)?;
    let signals = stop::signals()?;
    let mut input: Box<dyn Read + Send> = if args.input == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        let file = std::fs::File::open(&args.input);
        Box::new(file.with_context(|| format!("cannot read {}", args.input.display()))?)
    };
    let session = Session::open(&args.info, Feature::Live, args.lan, Some(args.router), None).await?;
    let talk = session.viewer.talk(session.service.id, Voice { channel: args.channel, calltype }).await?;
    talk.accepted().await?;
    if args.json {
        output::json(&json!({"event": "accepted"}));
    }
    let (sender, tags) = async_channel::bounded(64);
    let name: PathBuf = args.input.clone();
    let reader = std::thread::Builder::new()
        .name("xp2p talk".to_owned())
        .spawn(move || read(&mut *input, coding, &sender).with_context(|| format!("{}", name.display())))?;
    let status = Status::new(!args.json);
    let started = Instant::now();
    let mut first = None;
    let (mut count, mut last) = (0u64, 0u32);
    let stopped = loop {
        let next = futures_lite::future::or(async { tags.recv().await.ok() }, async {
            // Ends with a signal, or if no signal can come any more.
            let _ = signals.recv().await;
            None
        });
        let Some(mut tag) = next.await else {
            // The reader closes the channel when it has read everything.
            break !tags.is_closed() || !tags.is_empty();
        };
        tag.timestamp = tag.timestamp.wrapping_sub(*first.get_or_insert(tag.timestamp));
        let due = started + Duration::from_millis(tag.timestamp.into());
        let wait = due.saturating_duration_since(Instant::now()).saturating_sub(LEAD);
        if !wait.is_zero() {
            sleep(&rt(), wait).await;
        }
        last = tag.timestamp;
        count += 1;
        status.set(format!("{:.1} s said", f64::from(last) / 1000.0));
        talk.push(tag).await?;
    };
    drop(tags);
    talk.finish().await?;
    drop(status);
    session.close().await;
    if !stopped {
        reader.join().map_err(|_| anyhow!("the reader has failed"))??;
    }
    if args.json {
        output::json(&json!({"event": "summary", "tags": count, "said_ms": last}));
    } else {
        output::line(&format!("the camera has heard {:.1} s", f64::from(last) / 1000.0));
    }
    Ok(())
}

/// Reads what is to be said, whatever form it has. An error of the channel means that nobody wants more.
fn read(input: &mut dyn Read, coding: Coding, tags: &Sender<Tag>) -> Result<()> {
    let mut buffer = vec![0; READ];
    let mut start = Vec::new();
    while start.len() < 4 {
        let n = input.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        // `n` is at most the length.
        start.extend_from_slice(&buffer[..n]);
    }
    if start.starts_with(b"FLV") {
        return read_flv(input, start, coding, tags);
    }
    let mut samples = if start.starts_with(b"RIFF") {
        Samples::Wav(Box::new(WavReader::new()))
    } else if start.starts_with(b"RIFX") || start.starts_with(b"RF64") {
        return Err(anyhow!("WAV files of this kind (RIFX, RF64) are not read; convert it to plain WAV"));
    } else {
        Samples::Raw(None)
    };
    let mut tagger = None;
    let mut piece = start;
    loop {
        let decoded = samples.push(&piece)?;
        if let Some(format) = samples.format(coding.rate)? {
            let tagger = match &mut tagger {
                Some(tagger) => tagger,
                None => tagger.insert(PcmTagger::new(coding.codec, format, CHUNK)?),
            };
            for tag in tagger.push(&decoded) {
                if tags.send_blocking(tag).is_err() {
                    return Ok(());
                }
            }
        }
        let n = input.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        piece = buffer[..n].to_vec();
    }
    if let Some(tag) = tagger.and_then(|mut t| t.finish()) {
        // Fails only if nobody wants more.
        let _ = tags.send_blocking(tag);
    }
    Ok(())
}

enum Samples {
    Wav(Box<WavReader>),
    /// The first half of a sample.
    Raw(Option<u8>),
}

impl Samples {
    fn push(&mut self, piece: &[u8]) -> Result<Vec<i16>> {
        match self {
            Self::Wav(reader) => Ok(reader.push(piece)?),
            Self::Raw(half) => {
                let bytes: Vec<u8> = half.take().into_iter().chain(piece.iter().copied()).collect();
                let (pairs, rest) = bytes.as_chunks::<2>();
                *half = rest.first().copied();
                Ok(pairs.iter().map(|pair| i16::from_le_bytes(*pair)).collect())
            }
        }
    }

    fn format(&self, raw: u32) -> Result<Option<PcmFormat>> {
        match self {
            Self::Wav(reader) => match reader.format() {
                Some(format) => Ok(Some(PcmFormat::new(format.rate, format.channels)?)),
                None => Ok(None),
            },
            Self::Raw(_) => Ok(Some(PcmFormat::new(raw, 1).map_err(|e| usage(e.to_string()))?)),
        }
    }
}

fn read_flv(input: &mut dyn Read, start: Vec<u8>, coding: Coding, tags: &Sender<Tag>) -> Result<()> {
    let mut demuxer = Demuxer::new(Limits::default());
    demuxer.push(start.into())?;
    let mut buffer = vec![0; READ];
    loop {
        while let Some(item) = demuxer.poll()? {
            let Item::Tag(tag) = item else { continue };
            let wanted = tag.kind == TagKind::Audio || (coding.video && tag.kind == TagKind::Video);
            if wanted && tags.send_blocking(tag).is_err() {
                return Ok(());
            }
        }
        let n = input.read(&mut buffer)?;
        if n == 0 {
            return Ok(());
        }
        // `n` is at most the length.
        demuxer.push(bytes::Bytes::copy_from_slice(&buffer[..n]))?;
    }
}

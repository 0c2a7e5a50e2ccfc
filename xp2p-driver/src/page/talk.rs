//! Talk from the browser's microphone.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use hyper::StatusCode;
use serde_json::{Value, json};
use xp2p_proto::error::ErrorCode;
use xp2p_proto::request::{CallType, Params, Voice};
use xp2p_proto::viewer::ServiceId;
use xp2p_proto::voice::{DEFAULT_CHUNK, PcmFormat, PcmTagger, VoiceCodec};

use super::answer::{Outcome, Problem, channel_of, object};
use crate::runtime::{Runtime, sleep};
use crate::viewer::{TalkError, TalkHandle, ViewerHandle};

/// A talk ends when nothing was said for so long: the page is gone.
const SILENCE: Duration = Duration::from_secs(3);
/// How long the camera may take to say that it listens, or that it has heard everything.
const ANSWER: Duration = Duration::from_secs(8);
/// Pieces of 100 ms that wait for the network; more would only come too late.
const MAX_WAITING: usize = 16;

/// What the page asks for: `{"channel":0,"codec":"pcm","rate":8000}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    voice: Voice,
    codec: VoiceCodec,
    format: PcmFormat,
}

impl Wanted {
    pub(super) fn parse(body: &[u8]) -> Result<Self, Problem> {
        let map = object(body)?;
        let codec = map.get("codec").and_then(Value::as_str).unwrap_or(VoiceCodec::Pcm.name());
        let codec =
            VoiceCodec::named(codec).ok_or_else(|| Problem::parameter("codec is pcm, alaw or mulaw"))?;
        let wanted = map.get("rate").and_then(Value::as_u64).unwrap_or(8_000);
        // G.711 is telephone sound; of PCM the nearest that FLV knows and that is not above what was asked for.
        let rate = match codec {
            VoiceCodec::Pcm => PcmFormat::RATES.into_iter().rev().find(|rate| u64::from(*rate) <= wanted),
            _ => None,
        };
        let format =
            PcmFormat::new(rate.unwrap_or(8_000), 1).map_err(|e| Problem::parameter(e.to_string()))?;
        Ok(Self { voice: Voice { channel: channel_of(&map)?, calltype: CallType::Audio }, codec, format })
    }
}

/// A talk on its way.
#[derive(Debug)]
struct Talk {
    number: u64,
    chunks: async_channel::Sender<Vec<i16>>,
    /// Gets how it has ended.
    end: async_channel::Receiver<Result<(), TalkError>>,
}

#[derive(Debug, Default)]
struct Inner {
    talk: Option<Talk>,
    last: u64,
    /// Somebody waits for the camera to listen.
    starting: bool,
}

/// The one talk of a page. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Talks(Arc<Mutex<Inner>>);

impl Talks {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Whether somebody talks through this page.
    pub(super) fn is_on(&self) -> bool {
        let inner = self.lock();
        inner.starting || inner.talk.as_ref().is_some_and(|talk| !talk.chunks.is_closed())
    }

    pub(super) async fn start<R: Runtime>(
        &self,
        viewer: &ViewerHandle<R>,
        service: ServiceId,
        body: &[u8],
    ) -> Outcome {
        let wanted = Wanted::parse(body)?;
        let _starting = self.begin()?;
        let tagger = PcmTagger::new(wanted.codec, wanted.format, DEFAULT_CHUNK)
            .map_err(|e| Problem::parameter(e.to_string()))?;
        let talk = viewer.talk(service, wanted.voice).await?;
        let accepted = futures_lite::future::or(talk.accepted(), async {
            sleep(viewer.runtime(), ANSWER).await;
            Err(TalkError::Lost("the camera does not answer; is it on?".to_owned()))
        });
        accepted.await.map_err(|e| ended(&e))?;
        let (chunks, said) = async_channel::bounded(MAX_WAITING);
        let (told, end) = async_channel::bounded(1);
        let runtime = viewer.runtime().clone();
        viewer.runtime().spawn(Box::pin(async move {
            // Nobody waits for the end of a talk that ended by itself.
            let _ = told.try_send(run(runtime, talk, tagger, said).await);
        }));
        let mut inner = self.lock();
        inner.last += 1;
        let number = inner.last;
        inner.talk = Some(Talk { number, chunks, end });
        let codec = wanted.codec.name();
        Ok(json!({ "talk": number, "rate": wanted.format.rate(), "codec": codec, "chunk_ms": 100 }))
    }

    fn begin(&self) -> Result<Starting<'_>, Problem> {
        if self.is_on() {
            let message = "somebody talks through this page already; end that talk first, or wait a moment";
            return Err(Problem::new(StatusCode::CONFLICT, Some(ErrorCode::VoiceStartFailed), message));
        }
        self.lock().starting = true;
        Ok(Starting(self))
    }

    /// Says a piece: 16-bit samples, little-endian, one channel.
    pub(super) fn say(&self, params: &Params, body: &[u8]) -> Outcome {
        let (pairs, rest) = body.as_chunks::<2>();
        if pairs.is_empty() || !rest.is_empty() {
            return Err(Problem::parameter("send 16-bit samples: an even number of bytes"));
        }
        let samples = pairs.iter().map(|pair| i16::from_le_bytes(*pair)).collect();
        let mut inner = self.lock();
        let talk = Self::find(&mut inner, params)?;
        match talk.chunks.try_send(samples) {
            Ok(()) => Ok(json!({ "waiting": talk.chunks.len() })),
            Err(async_channel::TrySendError::Full(_)) => Err(Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                None,
                "the network is slower than what is said; a moment of it was left out",
            )),
            Err(async_channel::TrySendError::Closed(_)) => {
                let problem = match talk.end.try_recv() {
                    Ok(Err(error)) => ended(&error),
                    _ => over(),
                };
                inner.talk = None;
                Err(problem)
            }
        }
    }

    fn find<'a>(inner: &'a mut Inner, params: &Params) -> Result<&'a Talk, Problem> {
        let number = params.get("talk").and_then(|text| text.parse::<u64>().ok());
        inner.talk.as_ref().filter(|talk| number == Some(talk.number)).ok_or_else(over)
    }

    /// Everything was said: waits until the camera has heard it.
    pub(super) async fn stop<R: Runtime>(&self, runtime: &R, params: &Params) -> Outcome {
        let end = {
            let mut inner = self.lock();
            let talk = Self::find(&mut inner, params)?;
            talk.chunks.close();
            talk.end.clone()
        };
        let heard = futures_lite::future::or(async { end.recv().await.ok() }, async {
            sleep(runtime, ANSWER).await;
            None
        });
        match heard.await {
            Some(Err(error)) => Err(ended(&error)),
            _ => Ok(json!({ "heard": true })),
        }
    }
}

/// Somebody waits for the camera to listen, until this is dropped.
struct Starting<'a>(&'a Talks);

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        self.0.lock().starting = false;
    }
}

/// Says what comes, until nothing does any more.
async fn run<R: Runtime>(
    runtime: R,
    talk: TalkHandle,
    mut tagger: PcmTagger,
    said: async_channel::Receiver<Vec<i16>>,
) -> Result<(), TalkError> {
    let next = async || {
        futures_lite::future::or(async { said.recv().await.ok() }, async {
            sleep(&runtime, SILENCE).await;
            None
        })
        .await
    };
    while let Some(samples) = next().await {
        for tag in tagger.push(&samples) {
            talk.push(tag).await?;
        }
    }
    // Nothing more is taken.
    said.close();
    if let Some(tag) = tagger.finish() {
        talk.push(tag).await?;
    }
    talk.finish().await
}

fn over() -> Problem {
    let message = "this talk is over: nothing was said for 3 seconds, or it was ended; start another";
    Problem::new(StatusCode::GONE, Some(ErrorCode::VoiceStartFailed), message)
}

fn ended(error: &TalkError) -> Problem {
    let (status, message) = match error {
        TalkError::Refused { status: 409, reason } => (
            StatusCode::CONFLICT,
            format!("somebody else talks to the camera ({reason}); try again when they are done"),
        ),
        TalkError::Refused { status, reason } => (
            StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_GATEWAY),
            format!("the camera does not listen: {reason}"),
        ),
        other => (StatusCode::BAD_GATEWAY, format!("{other}; start the talk again")),
    };
    Problem::new(status, Some(ErrorCode::VoiceStartFailed), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_agreed_upon() {
        let rate = |text: &str| {
            let wanted = Wanted::parse(text.as_bytes()).unwrap();
            (wanted.codec, wanted.format.rate())
        };
        assert_eq!(rate("{}"), (VoiceCodec::Pcm, 8_000));
        assert_eq!(rate(r#"{"rate":16000}"#), (VoiceCodec::Pcm, 11_025));
        assert_eq!(rate(r#"{"rate":48000}"#), (VoiceCodec::Pcm, 44_100));
        assert_eq!(rate(r#"{"rate":48000,"codec":"alaw"}"#), (VoiceCodec::Alaw, 8_000));
        assert!(Wanted::parse(br#"{"codec":"opus"}"#).is_err());
    }

    #[test]
    fn pieces_without_a_talk_are_told_so() {
        let talks = Talks::default();
        let params = Params::parse("talk=1").unwrap();
        assert_eq!(talks.say(&params, &[0, 0]).unwrap_err().status, StatusCode::GONE);
        assert_eq!(talks.say(&params, &[0]).unwrap_err().status, StatusCode::BAD_REQUEST);
        let starting = talks.begin().unwrap();
        assert_eq!(talks.begin().err().unwrap().status, StatusCode::CONFLICT);
        drop(starting);
        assert!(!talks.is_on());
    }
}

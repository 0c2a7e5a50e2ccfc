//! Talk from a recorder.

use std::io;

use async_channel::{Receiver, Sender, bounded};
use xp2p_proto::voice::{PcmFormat, PcmTagger, VoiceCodec};

use crate::runtime::Runtime;
use crate::viewer::{TalkError, TalkHandle};

/// What a recorder gives.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recorded {
    /// The next samples; an empty piece is no end.
    Samples(Vec<i16>),
    /// It pauses (`onPause`).
    Paused {
        /// Because of something else, like a telephone call.
        in_interruption: bool,
    },
    /// It goes on (`onResume`).
    Resumed,
    /// Its longest recording is reached: it is [renewed](Recorder::renew) by itself (`onStop{willRestart: true}`).
    LimitReached,
    /// Nothing more will come.
    Ended,
}

/// A source of samples: a microphone, a file. Calls may block.
pub trait Recorder: Send + 'static {
    /// Rate and channels. Telephone sound (8000 Hz, one channel) unless it says otherwise.
    fn format(&self) -> PcmFormat {
        PcmFormat::TELEPHONE
    }

    /// What comes next.
    ///
    /// # Errors
    ///
    /// It cannot record; the talk ends.
    fn read(&mut self) -> io::Result<Recorded>;

    /// Begins anew after [`Recorded::LimitReached`].
    ///
    /// # Errors
    ///
    /// It cannot; the talk ends.
    fn renew(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// News of a talk.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum VoiceEvent {
    /// The camera listens (`onStart`).
    Start,
    /// The recorder pauses (`onPause`).
    Pause {
        /// Because of something else.
        in_interruption: bool,
    },
    /// The recorder goes on (`onResume`).
    Resume,
    /// The recorder has stopped (`onStop`).
    Stop {
        /// It begins anew by itself.
        will_restart: bool,
    },
    /// The camera has heard everything (`onSuccess`).
    Success,
    /// The camera refuses (`onFailure`).
    Failure {
        /// The status: 409 when somebody else talks.
        status: u16,
        /// Why.
        reason: String,
    },
    /// The connection or the recorder broke (`onError`).
    Error(String),
    /// Always, and last (`onComplete`).
    Complete,
}

/// How samples are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VoiceOptions {
    /// Coding. PCM unless it says otherwise.
    pub codec: VoiceCodec,
}

impl Default for VoiceOptions {
    fn default() -> Self {
        Self { codec: VoiceCodec::Pcm }
    }
}

/// Runs a talk to its end in the background. Spawned here, where the runtime is a parameter: with a certain one the
/// compiler cannot show that the task may move between threads.
pub(super) fn start<R: Runtime>(
    runtime: &R,
    talk: TalkHandle,
    recorder: Box<dyn Recorder>,
    tagger: PcmTagger,
    stop: Receiver<()>,
) -> Receiver<VoiceEvent> {
    // Room for all but a hopelessly slow application.
    let (sender, events) = bounded(256);
    runtime.spawn(Box::pin(run(runtime.clone(), talk, recorder, tagger, sender, stop)));
    events
}

async fn run<R: Runtime>(
    runtime: R,
    talk: TalkHandle,
    mut recorder: Box<dyn Recorder>,
    mut tagger: PcmTagger,
    events: Sender<VoiceEvent>,
    stop: Receiver<()>,
) {
    // A full channel loses the oldest: an application that does not listen does not stop the talk.
    let tell = |event| drop(events.force_send(event));
    tell(VoiceEvent::Start);
    let mut failed = None;
    loop {
        let read = runtime.unblock(move || {
            let read = recorder.read();
            (recorder, read)
        });
        let (back, read) = read.await;
        recorder = back;
        let tags = match read {
            Ok(Recorded::Samples(samples)) => tagger.push(&samples),
            Ok(Recorded::Paused { in_interruption }) => {
                tell(VoiceEvent::Pause { in_interruption });
                Vec::new()
            }
            Ok(Recorded::Resumed) => {
                tell(VoiceEvent::Resume);
                Vec::new()
            }
            Ok(Recorded::LimitReached) => {
                tell(VoiceEvent::Stop { will_restart: true });
                if let Err(e) = recorder.renew() {
                    failed = Some(TalkError::Lost(format!("the recorder cannot go on: {e}")));
                    break;
                }
                Vec::new()
            }
            Ok(Recorded::Ended) => break,
            Err(e) => {
                failed = Some(TalkError::Lost(format!("the recorder has failed: {e}")));
                break;
            }
        };
        for tag in tags {
            if let Err(e) = talk.push(tag).await {
                failed = Some(e);
                break;
            }
        }
        // Closed: the application has stopped it.
        if failed.is_some() || stop.is_closed() {
            break;
        }
    }
    tell(VoiceEvent::Stop { will_restart: false });
    let end = match failed {
        Some(error) => Err(error),
        None => {
            let rest = tagger.finish();
            let pushed = match rest {
                Some(tag) => talk.push(tag).await,
                None => Ok(()),
            };
            match pushed {
                Ok(()) => talk.finish().await,
                Err(e) => Err(e),
            }
        }
    };
    tell(outcome(end));
    tell(VoiceEvent::Complete);
}

/// How a talk has ended, as the plug-ins tell it.
pub(super) fn outcome(end: Result<(), TalkError>) -> VoiceEvent {
    match end {
        Ok(()) => VoiceEvent::Success,
        Err(TalkError::Refused { status, reason }) => VoiceEvent::Failure { status, reason },
        Err(e) => VoiceEvent::Error(e.to_string()),
    }
}

//! What only a camera can be asked: commands, talk, files, messages.

use std::time::Duration;

use async_channel::{Receiver, bounded};
use bytes::Bytes;
use xp2p_proto::command::CommandOutcome;
use xp2p_proto::error::ErrorCode;
use xp2p_proto::request::{CallType, Command, Request, Voice};
use xp2p_proto::viewer::Resume;
use xp2p_proto::voice::{DEFAULT_CHUNK, PcmTagger};

use super::voice::{self, Recorder, VoiceEvent, VoiceOptions};
use super::{ModuleError, Service};
use crate::pusher::{Pusher, PusherEvent};
use crate::runtime::Runtime;
use crate::viewer::{DownloadHandle, TalkError, TalkHandle};

impl<R: Runtime> Service<R> {
    /// `sendCommand` with the text of the plug-ins: `action=inner_define&channel=0&cmd=...`. `timeout`: 7.5 s unless
    /// it is given.
    ///
    /// # Errors
    ///
    /// -2000 the text is no command; -2004 there is no camera behind it; -2403 the service has ended. How the command ends is in the result.
    pub async fn send_command(
        &self,
        text: &str,
        timeout: Option<Duration>,
    ) -> Result<CommandOutcome, ModuleError> {
        match Request::parse(&format!("/command?{}", text.trim_start_matches("command?")))? {
            Request::Command(command) => self.send(command, timeout).await,
            _ => Err(ModuleError::new(ErrorCode::Parameter, "that is no command")),
        }
    }

    /// The same with a typed command.
    ///
    /// # Errors
    ///
    /// -2000, -2004, -2403.
    pub async fn send(
        &self,
        command: Command,
        timeout: Option<Duration>,
    ) -> Result<CommandOutcome, ModuleError> {
        let (viewer, service) = self.camera("a command")?;
        let sent = viewer.command(service, command, timeout).await;
        sent.map_err(|e| ModuleError::start(ErrorCode::Parameter, &e))
    }

    async fn talk(&self, voice: Voice) -> Result<(TalkHandle, Receiver<()>), ModuleError> {
        let (viewer, service) = self.camera("talk")?;
        let (stop, stopped) = bounded(1);
        {
            let mut inner = self.lock();
            if inner.voice.as_ref().is_some_and(|v| v.receiver_count() > 0) {
                return Err(ModuleError::new(ErrorCode::ServiceStartedTwice, "this service talks already"));
            }
            inner.voice = Some(stop);
        }
        let started = viewer.talk(service, voice).await;
        let talk = started.map_err(|e| ModuleError::start(ErrorCode::VoiceStartFailed, &e))?;
        match talk.accepted().await {
            Ok(()) => Ok((talk, stopped)),
            Err(e) => {
                self.lock().voice = None;
                Err(ModuleError::new(ErrorCode::VoiceStartFailed, e.to_string()))
            }
        }
    }

    /// `startVoice`: sends what a recorder gives, until it ends or [`stop_voice`](Self::stop_voice).
    ///
    /// # Errors
    ///
    /// -2000 the format is none that can be sent; -2004 there is no camera behind it; -2401 this service talks already; -2403 it has ended; -2601 the
    /// camera does not listen, or somebody else talks to it.
    pub async fn start_voice(
        &self,
        channel: u32,
        recorder: Box<dyn Recorder>,
        options: VoiceOptions,
    ) -> Result<Receiver<VoiceEvent>, ModuleError> {
        let tagger = PcmTagger::new(options.codec, recorder.format(), DEFAULT_CHUNK)
            .map_err(|e| ModuleError::new(ErrorCode::Parameter, e.to_string()))?;
        let (talk, stopped) = self.talk(Voice { channel, calltype: CallType::Audio }).await?;
        Ok(voice::start(&self.runtime, talk, recorder, tagger, stopped))
    }

    /// `startVoiceData`: sends FLV that the application has, in pieces of any size.
    ///
    /// # Errors
    ///
    /// -2004, -2401, -2403, -2601 as of [`start_voice`](Self::start_voice).
    pub async fn start_voice_data(&self, voice: Voice) -> Result<VoiceWriter, ModuleError> {
        let (talk, stopped) = self.talk(voice).await?;
        Ok(VoiceWriter { talk, pusher: Pusher::new(), stopped })
    }

    /// `stopVoice`: what was said so far is still heard.
    ///
    /// # Errors
    ///
    /// -2403 nobody talks.
    pub fn stop_voice(&self) -> Result<(), ModuleError> {
        let voice = self.lock().voice.take().filter(|v| v.receiver_count() > 0);
        voice
            .map(drop)
            .ok_or_else(|| ModuleError::new(ErrorCode::ServiceNotStarted, "this service does not talk"))
    }

    /// `startLocalDownload` with the plug-ins' text: `channel=0&file_name=...&offset=0`.
    ///
    /// # Errors
    ///
    /// -2000 a parameter is wrong; -2004 there is no camera behind it; -2403 the service has ended; -2701 it could not be started. That the camera refuses
    /// comes as an event.
    pub async fn start_local_download(
        &self,
        params: &str,
        resume: Resume,
    ) -> Result<DownloadHandle, ModuleError> {
        let (viewer, service) = self.camera("a download")?;
        let Request::Download(download) = Request::parse(&format!("/download?{params}"))? else {
            return Err(ModuleError::new(ErrorCode::Parameter, "that is no download"));
        };
        let started = viewer.download(service, download, resume).await;
        let handle = started.map_err(|e| ModuleError::start(ErrorCode::DownloadFailed, &e))?;
        self.lock().downloads.push(handle.key());
        Ok(handle)
    }

    /// `stopLocalDownload`: all of this service.
    ///
    /// # Errors
    ///
    /// -2002 the module was destroyed; -2004 there is no camera behind it.
    pub async fn stop_local_download(&self) -> Result<(), ModuleError> {
        let (viewer, _) = self.camera("a download")?;
        let keys = std::mem::take(&mut self.lock().downloads);
        for key in keys {
            viewer.stop_stream(key).await?;
        }
        Ok(())
    }

    /// Answers a message of the camera ([`ServiceEvent::Message`](crate::viewer::ServiceEvent::Message)). Returns whether it still waited.
    ///
    /// # Errors
    ///
    /// -2002 the module was destroyed; -2004 there is no camera behind it.
    pub async fn reply_message(
        &self,
        message: xp2p_proto::viewer::MessageKey,
        reply: impl Into<Bytes>,
    ) -> Result<bool, ModuleError> {
        let (viewer, _) = self.camera("a message")?;
        Ok(viewer.reply_message(message, reply).await?)
    }
}

/// Says FLV that comes in pieces.
#[derive(Debug)]
pub struct VoiceWriter {
    talk: TalkHandle,
    pusher: Pusher,
    stopped: Receiver<()>,
}

impl VoiceWriter {
    /// `addChunk`: bytes of one FLV stream, cut anywhere. Waits while the network is slower than what is said.
    ///
    /// # Errors
    ///
    /// The talk was stopped, refused or lost, or the bytes are no FLV.
    pub async fn add_chunk(&mut self, bytes: impl Into<Bytes>) -> Result<(), TalkError> {
        if self.stopped.is_closed() {
            return Err(TalkError::Lost("the talk was stopped".to_owned()));
        }
        let events = self.pusher.push_bytes(bytes.into()).map_err(|e| TalkError::Lost(e.to_string()))?;
        for event in events {
            match event {
                PusherEvent::FlvAudioTag(tag) | PusherEvent::FlvVideoTag(tag) => self.talk.push(tag).await?,
                PusherEvent::FlvHeader(_) | PusherEvent::FlvDataTag(_) => {}
            }
        }
        Ok(())
    }

    /// Everything was said. Returns how it ended: [`VoiceEvent::Success`], `Failure` or `Error`.
    pub async fn complete(self) -> VoiceEvent {
        voice::outcome(self.talk.finish().await)
    }
}

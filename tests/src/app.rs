//! A camera's application in a simulated world: files, recordings, commands and an ear, all in memory.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use xp2p_proto::camera::{Camera, CameraEvent, ReadFrom, RecordedTag, RequestId};
use xp2p_proto::command::CommandOutcome;
use xp2p_proto::flv::Tag;
use xp2p_proto::request::{Action, Status};

use crate::media::{Media, MediaConfig};

/// Unix second at which [`App::recording`] begins.
pub const RECORDED: u64 = 1_700_000_000;

/// What the application has and what it was told. It outlives its camera, as files do.
#[derive(Debug, Default)]
pub struct App {
    /// Files by name.
    pub files: BTreeMap<String, Bytes>,
    /// What is recorded, in order.
    pub recording: Vec<RecordedTag>,
    /// Where each playback reads.
    reading: BTreeMap<RequestId, usize>,
    /// Bytes of files that were handed out, over all requests.
    pub sent: u64,
    /// Tags that viewers said.
    pub heard: Vec<Tag>,
    /// How talks have ended.
    pub talks: Vec<bool>,
    /// Text of user-defined commands in the order they came.
    pub commands: Vec<String>,
    /// Do not answer commands.
    pub silent: bool,
    /// How messages have ended.
    pub replies: Vec<CommandOutcome>,
    /// All other events.
    pub events: Vec<CameraEvent>,
}

impl App {
    /// A recording of so many seconds that begins at [`RECORDED`].
    pub fn record(&mut self, config: MediaConfig, seconds: u32) {
        let mut media = Media::new(config);
        while media.next_time() < seconds * 1000 {
            for tag in media.next_tags() {
                let at = RECORDED * 1000 + u64::from(tag.timestamp);
                self.recording.push(RecordedTag { at, tag });
            }
        }
    }

    /// Answers one event.
    pub fn handle(&mut self, camera: &mut Camera, now: Instant, event: CameraEvent) {
        match event {
            CameraEvent::Command { request, command } => {
                self.commands.push(command.cmd.clone());
                if self.silent {
                } else if command.action == Action::UserDefine {
                    camera.answer(now, request, format!("{{\"echo\":{:?}}}", command.cmd));
                } else {
                    camera.refuse(
                        now,
                        request,
                        Status::CommandUnsupported,
                        "this camera knows no such command",
                    );
                }
            }
            CameraEvent::DownloadWanted { request, download } => match self.files.get(&download.file_name) {
                Some(file) => {
                    camera.accept_download(now, request, file.len() as u64, "v1");
                    self.events.push(CameraEvent::DownloadWanted { request, download });
                }
                None => {
                    camera.refuse(now, request, Status::NotFound, "no such file");
                }
            },
            CameraEvent::DownloadMore { request, offset, len } => {
                let file = self.file_of(request);
                let from = usize::try_from(offset).expect("small");
                self.sent += len as u64;
                camera.download_data(now, request, file.slice(from..from + len));
            }
            CameraEvent::DownloadDigestWanted { request } => {
                let digest = *blake3::hash(&self.file_of(request)).as_bytes();
                camera.finish_download(now, request, digest);
            }
            CameraEvent::PlaybackWanted { request, .. } => {
                if self.recording.is_empty() {
                    camera.refuse(now, request, Status::NotFound, "nothing is recorded");
                } else {
                    camera.accept_playback(now, request);
                }
            }
            CameraEvent::PlaybackRead { request, generation, from, .. } => {
                let tags = self.read(request, from);
                camera.playback_data(now, request, generation, tags);
            }
            CameraEvent::VoiceTag { request, tag } => {
                camera.voice_taken(now, request, tag.wire_len());
                self.heard.push(tag);
            }
            CameraEvent::VoiceEnded { complete, .. } => self.talks.push(complete),
            CameraEvent::MessageReply { outcome, .. } => self.replies.push(outcome),
            other => self.events.push(other),
        }
    }

    fn file_of(&self, request: RequestId) -> Bytes {
        let wanted = self.events.iter().rev().find_map(|e| match e {
            CameraEvent::DownloadWanted { request: r, download } if *r == request => {
                Some(&download.file_name)
            }
            _ => None,
        });
        self.files[wanted.expect("a download that was accepted")].clone()
    }

    fn read(&mut self, request: RequestId, from: ReadFrom) -> Vec<RecordedTag> {
        let mut tags = Vec::new();
        let at = match from {
            ReadFrom::Next => self.reading.get(&request).copied().unwrap_or(0),
            ReadFrom::Seek(time) => {
                let key = |t: &RecordedTag| t.tag.is_keyframe();
                let key_at = self.recording.iter().rposition(|t| key(t) && t.at <= time);
                let at = key_at.or_else(|| self.recording.iter().position(key)).unwrap_or(0);
                let start = self.recording[at].at;
                let headers = self.recording.iter().filter(|t| t.tag.is_sequence_header());
                tags.extend(headers.map(|t| RecordedTag { at: start, tag: t.tag.clone() }));
                at
            }
        };
        let end = (at + 40).min(self.recording.len());
        tags.extend(self.recording[at..end].iter().filter(|t| !t.tag.is_sequence_header()).cloned());
        self.reading.insert(request, end);
        tags
    }
}

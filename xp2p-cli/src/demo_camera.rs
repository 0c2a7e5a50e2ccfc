//! What the demo's camera can do besides showing pictures: it acknowledges the control pad, listens, and has recordings.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use async_channel::{Receiver, Sender};
use jiff::Timestamp;
use serde_json::{Value, json};
use xp2p_driver::camera::{Answer, CameraApp, VoiceSink};
use xp2p_driver::records::{RecordsDir, Storage};
use xp2p_proto::camera::ViewerId;
use xp2p_proto::command::{BuiltIn, Ptz, Topic, status_text};
use xp2p_proto::flv::{Tag, TagKind};
use xp2p_proto::request::{Action, Command, Status, Voice};
use xp2p_proto::voice::{Decoded, VoiceDecoder};

use crate::demo::CLIP;
use crate::keyfile;

/// News that wait for the terminal; the oldest are lost then.
const MAX_NEWS: usize = 64;
/// Seconds of the clip, rounded up: recordings follow each other without a gap.
const CLIP_SECONDS: i64 = 10;
/// When the demo has recorded: so many seconds ago, so many clips.
const RECORDED: [(i64, i64); 3] = [(86_400 + 1_800, 12), (7_200, 12), (1_200, 60)];

/// Something that the camera was told to do, for programs and for people.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) json: Value,
    pub(crate) words: String,
}

/// A directory of recordings that is removed with this.
#[derive(Debug)]
pub(crate) struct Records(PathBuf);

impl Records {
    /// Fills a fresh directory with recordings of the last two days: the clip, again and again.
    pub(crate) fn new() -> Result<Self> {
        let name = data_encoding::HEXLOWER.encode(&keyfile::random::<8>()?);
        let records = Self(std::env::temp_dir().join(format!("xp2p-demo-{name}")));
        let dir = &records.0;
        std::fs::create_dir(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        records.fill().with_context(|| format!("cannot write recordings into {}", dir.display()))?;
        Ok(records)
    }

    fn fill(&self) -> io::Result<()> {
        let now = Timestamp::now().as_second();
        let mut first: Option<PathBuf> = None;
        for (ago, clips) in RECORDED {
            for number in 0..clips {
                let start =
                    Timestamp::from_second(now - ago + number * CLIP_SECONDS).map_err(io::Error::other)?;
                let path = self.0.join(format!("{}.flv", start.strftime("%Y-%m-%dT%H-%M-%SZ")));
                // The same file under many names costs no space, where the file system can do that.
                let linked = first.as_ref().is_some_and(|first| std::fs::hard_link(first, &path).is_ok());
                if !linked {
                    std::fs::write(&path, CLIP)?;
                }
                first.get_or_insert(path);
            }
        }
        Ok(())
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!("cannot remove {}: {e}", self.0.display());
        }
    }
}

/// The application of the demo's camera.
pub(crate) struct DemoApp {
    storage: Arc<dyn Storage>,
    news: Sender<Told>,
}

impl DemoApp {
    pub(crate) fn new(records: &Records) -> Result<(Arc<Self>, Receiver<Told>)> {
        let (news, told) = async_channel::bounded(MAX_NEWS);
        let storage = Arc::new(RecordsDir::open(records.path())?);
        Ok((Arc::new(Self { storage, news }), told))
    }
}

fn tell(news: &Sender<Told>, json: Value, words: String) {
    // A terminal that is behind loses the oldest lines.
    let _ = news.force_send(Told { json, words });
}

impl CameraApp for DemoApp {
    fn command(&self, _viewer: ViewerId, command: Command, answer: Answer) {
        if command.action == Action::InnerDefine {
            match BuiltIn::from_command(&command) {
                Ok(Some(BuiltIn::Call(_))) => answer.reply(status_text(0)),
                _ => answer.refuse(Status::CommandUnsupported, "the demo's camera does not know the command"),
            }
            return;
        }
        if let Some(ptz) = Ptz::parse(&command.cmd) {
            let json = json!({"event": "ptz", "channel": command.channel, "move": ptz.name()});
            tell(&self.news, json, format!("the camera is told: {}", ptz.name()));
            answer.reply(json!({"status": "0", "ptz": ptz.name()}).to_string());
            return;
        }
        let topic = Topic::parse(&command.cmd).map(|(topic, _)| topic);
        tell(
            &self.news,
            json!({"event": "command", "channel": command.channel, "cmd": command.cmd}),
            format!("the camera is told: {}", command.cmd.escape_debug()),
        );
        answer.reply(match topic {
            Some(Topic::Version) => json!({"status": "0", "version": env!("CARGO_PKG_VERSION")}).to_string(),
            _ => json!({"status": "0", "heard": command.cmd}).to_string(),
        });
    }

    fn storage(&self) -> Option<Arc<dyn Storage>> {
        Some(self.storage.clone())
    }

    fn voice(&self, _viewer: ViewerId, voice: Voice) -> Option<Box<dyn VoiceSink>> {
        let json = json!({"event": "talk", "channel": voice.channel});
        tell(&self.news, json, "somebody talks to the camera".to_owned());
        Some(Box::new(Ear {
            news: self.news.clone(),
            decoder: VoiceDecoder::default(),
            samples: 0,
            rate: 0,
            peak: 0,
        }))
    }
}

/// Hears a talk, and tells how long and how loud it was.
struct Ear {
    news: Sender<Told>,
    decoder: VoiceDecoder,
    samples: u64,
    rate: u32,
    peak: u16,
}

impl VoiceSink for Ear {
    fn tag(&mut self, tag: Tag) -> io::Result<()> {
        if tag.kind != TagKind::Audio {
            return Ok(());
        }
        if let Decoded::Samples { rate, channels, samples } =
            self.decoder.decode(&tag).map_err(io::Error::other)?
        {
            self.rate = rate;
            self.samples += samples.len() as u64 / u64::from(channels.max(1));
            let loudest = samples.iter().map(|s| s.unsigned_abs()).max().unwrap_or_default();
            self.peak = self.peak.max(loudest);
        }
        Ok(())
    }

    fn end(self: Box<Self>, complete: bool) {
        let seconds = self.samples as f64 / f64::from(self.rate.max(1));
        let json = json!({
            "event": "talk-ended", "seconds": (seconds * 10.0).round() / 10.0, "rate": self.rate,
            "peak": self.peak, "complete": complete,
        });
        tell(&self.news, json, format!("the camera has heard {seconds:.1} s"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_has_recordings_and_leaves_none_behind() {
        let records = Records::new().unwrap();
        let path = records.path().to_owned();
        let dir = RecordsDir::open(&path).unwrap();
        let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap();
        let spans = dir.spans(0, now - 2 * 86_400_000, now).unwrap();
        assert_eq!(spans.len(), 3, "{spans:?}");
        drop((dir, records));
        assert!(!path.exists());
    }
}

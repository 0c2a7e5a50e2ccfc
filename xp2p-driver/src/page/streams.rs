//! Streams on demand: another channel, another quality, a recording, each on the connection that there is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use hyper::StatusCode;
use xp2p_proto::command::{BuiltIn, CommandOutcome};
use xp2p_proto::flv::{FileHeader, TagKind};
use xp2p_proto::request::{Live, Request};
use xp2p_proto::viewer::{ServiceId, StreamKey};

use super::answer::Problem;
use crate::player::{Hub, Intake};
use crate::runtime::{Runtime, sleep};
use crate::viewer::{Opened, ViewerHandle};

/// Most streams besides the one that runs anyway.
const MAX_STREAMS: usize = 8;
/// A stream ends when nobody has received it for so long.
const IDLE: Duration = Duration::from_secs(3);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How often a recording is asked for again when the camera plays another one still.
const TRIES: usize = 3;
/// The camera must answer after this long.
const ANSWER: Duration = Duration::from_secs(8);

/// A stream as a player asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    request: Request,
    /// Milliseconds per picture instead of the recorded speed. Only the page asks for that.
    speed: Option<u32>,
}

impl Wanted {
    fn parse(query: &str) -> Result<Self, Problem> {
        let mut speed = None;
        let mut rest = Vec::new();
        for pair in query.split('&') {
            match pair.strip_prefix("speed=") {
                Some(text) => {
                    let known = text.parse().ok().filter(|ms| (1..=10_000).contains(ms));
                    speed = Some(known.ok_or_else(|| {
                        Problem::parameter("speed is 1 to 10000 milliseconds for each picture")
                    })?);
                }
                None => rest.push(pair),
            }
        }
        let query = rest.join("&");
        let target =
            if query.is_empty() { "/ipc.flv?action=live".to_owned() } else { format!("/ipc.flv?{query}") };
        match Request::parse(&target)? {
            Request::Live(_) if speed.is_some() => Err(Problem::parameter("only recordings have a speed")),
            request @ (Request::Live(_) | Request::Playback(_)) => Ok(Self { request, speed }),
            _ => Err(Problem::parameter("say action=live or action=playback")),
        }
    }

    /// The same text for all who ask for the same.
    fn name(&self) -> Result<String, Problem> {
        Ok(format!("{} {}", self.request.to_head()?.target(), self.speed.unwrap_or_default()))
    }

    /// The channel of a recording.
    fn playback(&self) -> Option<u32> {
        match &self.request {
            Request::Playback(playback) => Some(playback.channel),
            _ => None,
        }
    }
}

#[derive(Debug, Clone)]
struct Running {
    key: StreamKey,
    /// What players get.
    hub: Hub,
    playback: Option<u32>,
}

/// The streams of one camera. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Streams<R> {
    viewer: ViewerHandle<R>,
    service: ServiceId,
    main: Live,
    main_hub: Hub,
    running: Arc<Mutex<BTreeMap<String, Running>>>,
    /// Holds one token: streams are opened one after the other, so that equal ones are opened once.
    turn: (async_channel::Sender<()>, async_channel::Receiver<()>),
}

impl<R: Runtime> Streams<R> {
    pub(super) fn new(viewer: ViewerHandle<R>, service: ServiceId, main: Live, main_hub: Hub) -> Self {
        let turn = async_channel::bounded(1);
        Self { viewer, service, main, main_hub, running: Arc::default(), turn }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
        self.running.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// How many there are besides the main one.
    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    /// Those that run, with what they are.
    pub(super) fn list(&self) -> Vec<(&'static str, StreamKey, Hub)> {
        let action = |r: &Running| if r.playback.is_some() { "playback" } else { "live" };
        self.lock().values().map(|r| (action(r), r.key, r.hub.clone())).collect()
    }

    /// The stream of a query, which is started if it does not run.
    pub(super) async fn open(&self, query: &str) -> Result<Hub, Problem> {
        let wanted = Wanted::parse(query)?;
        if wanted.request == Request::Live(self.main.clone()) && !self.main_hub.is_ended() {
            return Ok(self.main_hub.clone());
        }
        // A player that leaves meanwhile must not leave a stream behind that nobody stops.
        let (done, opened) = async_channel::bounded(1);
        let this = self.clone();
        self.viewer.runtime().spawn(Box::pin(async move {
            // Fails only when the player has left; the stream then ends like any that nobody receives.
            let _ = done.try_send(this.find_or_start(wanted).await);
        }));
        let lost =
            || Problem::new(StatusCode::BAD_GATEWAY, None, "the stream could not be opened; try again");
        opened.recv().await.unwrap_or_else(|_| Err(lost()))
    }

    async fn find_or_start(&self, wanted: Wanted) -> Result<Hub, Problem> {
        let name = wanted.name()?;
        // Fails never: both ends are ours. Full: it is somebody else's turn.
        let _ = self.turn.0.send(()).await;
        let turn = Turn(&self.turn.1);
        if let Some(running) = self.lock().get(&name).filter(|r| !r.hub.is_ended()) {
            return Ok(running.hub.clone());
        }
        if let Some(channel) = wanted.playback() {
            self.stop_playbacks(channel).await;
        }
        if self.count() >= MAX_STREAMS {
            let message =
                format!("{MAX_STREAMS} streams run already; close another player or page, and try again");
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, None, message));
        }
        let opened = self.start(&wanted).await?;
        let hub = opened.hub.clone();
        let running = Running { key: opened.key, hub: hub.clone(), playback: wanted.playback() };
        self.lock().insert(name.clone(), running);
        drop(turn);
        self.viewer.runtime().spawn(Box::pin(self.clone().follow(name, opened)));
        Ok(hub)
    }

    async fn start(&self, wanted: &Wanted) -> Result<Opened, Problem> {
        let mut tries = TRIES;
        loop {
            match self.try_start(wanted).await {
                // The camera may hear of the new recording before it hears that the old one is over.
                Err(problem)
                    if problem.status == StatusCode::SERVICE_UNAVAILABLE
                        && wanted.playback().is_some()
                        && tries > 0 =>
                {
                    tries -= 1;
                    sleep(self.viewer.runtime(), LOOK).await;
                }
                other => return other,
            }
        }
    }

    async fn try_start(&self, wanted: &Wanted) -> Result<Opened, Problem> {
        let mut opened = self.viewer.open_stream(self.service, wanted.request.clone()).await?;
        let answered = futures_lite::future::or(opened.accepted(), async {
            sleep(self.viewer.runtime(), ANSWER).await;
            Err((None, "the camera does not answer; is it on, and its network up?".to_owned()))
        });
        if let Err((status, reason)) = answered.await {
            self.viewer.stop_stream(opened.key).await?;
            let known = status.and_then(|status| StatusCode::from_u16(status).ok());
            let status = known.unwrap_or(StatusCode::GATEWAY_TIMEOUT);
            return Err(Problem::new(status, Some(xp2p_proto::error::ErrorCode::StreamStartFailed), reason));
        }
        if let (Some(speed), Some(channel)) = (wanted.speed, wanted.playback()) {
            let command = BuiltIn::PlaybackSpeed { speed }.to_command(channel);
            let told = self.viewer.command(self.service, command, None).await;
            if !matches!(told, Ok(CommandOutcome::Success { .. })) {
                self.viewer.stop_stream(opened.key).await?;
                let message = "the camera does not play at another speed; choose the normal one";
                return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, None, message));
            }
            // The camera leaves sound out at another speed, and a player must not wait for it.
            opened.hub = self.without_sound(&opened.hub);
        }
        Ok(opened)
    }

    /// The pictures of a hub, in a hub of their own.
    fn without_sound(&self, hub: &Hub) -> Hub {
        let silent = Hub::default();
        let (to, mut tags) = (silent.clone(), hub.subscribe_unchanged());
        self.viewer.runtime().spawn(Box::pin(async move {
            let mut intake = Intake::new(to.clone());
            intake.header(FileHeader { has_audio: false, has_video: true });
            let mut first = true;
            while let Some(tag) = tags.next_tag().await {
                if std::mem::take(&mut first)
                    && let Some(config) = tags.config()
                {
                    config.tags().filter(|t| t.kind == TagKind::Video).for_each(|t| intake.tag(t));
                }
                if tag.kind == TagKind::Video {
                    intake.tag(&tag);
                }
            }
            to.end();
        }));
        silent
    }

    /// Stops a stream when nobody has received it for a while.
    async fn follow(self, name: String, opened: Opened) {
        let mut idle = Duration::ZERO;
        while idle < IDLE && !opened.hub.is_ended() {
            sleep(self.viewer.runtime(), LOOK).await;
            idle = if opened.hub.stats().receivers == 0 { idle + LOOK } else { Duration::ZERO };
        }
        {
            let mut running = self.lock();
            // Another one of that name may have been started since.
            if running.get(&name).is_some_and(|r| r.key == opened.key) {
                running.remove(&name);
            }
        }
        // Fails only when the viewer is gone, and the stream with it.
        let _ = self.viewer.stop_stream(opened.key).await;
    }

    /// Stops the recording of a channel: a camera plays one of each to an app, and the newest wish counts. A player that
    /// jumps opens the new one before its old connection is known to be closed.
    async fn stop_playbacks(&self, channel: u32) {
        let old: Vec<StreamKey> = {
            let mut running = self.lock();
            let keys = running.values().filter(|r| r.playback == Some(channel)).map(|r| r.key).collect();
            running.retain(|_, r| r.playback != Some(channel));
            keys
        };
        for key in old {
            // Fails only when the viewer is gone, and the stream with it.
            let _ = self.viewer.stop_stream(key).await;
        }
    }
}

/// Gives the token back when it is dropped.
struct Turn<'a>(&'a async_channel::Receiver<()>);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // The token is there: whoever holds a turn has put it in.
        let _ = self.0.try_recv();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_queries_have_one_name() {
        let name = |query| Wanted::parse(query).unwrap().name().unwrap();
        assert_eq!(name("action=live&channel=0&quality=high"), name("quality=high&action=live"));
        assert_eq!(name(""), name("action=live"));
        assert_ne!(name("action=live&channel=1"), name("action=live"));
        let playback = "action=playback&channel=0&start_time=100&end_time=200";
        assert_ne!(name(playback), name(&format!("{playback}&speed=20")));
    }

    #[test]
    fn only_streams_are_opened() {
        for bad in [
            "action=download",
            "action=live&quality=best",
            "action=live&speed=20",
            "action=playback&start_time=1&end_time=2",
            "action=playback&start_time=100&end_time=200&speed=0",
            "action=live&_token=1",
        ] {
            assert_eq!(Wanted::parse(bad).unwrap_err().status, StatusCode::BAD_REQUEST, "{bad}");
        }
    }
}

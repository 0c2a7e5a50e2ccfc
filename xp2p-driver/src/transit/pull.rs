//! Fetches the stream of one camera while somebody reads it.

use std::time::Duration;

use async_channel::{Receiver, Sender};
use xp2p_proto::flv::Tag;
use xp2p_proto::info::Xp2pInfo;
use xp2p_proto::request::Live;
use xp2p_proto::server::Server;
use xp2p_proto::swarm::StreamId;

use super::{Doors, Told, TransitEvent};
use crate::handle::WeakHandle;
use crate::origin::client::Backoff;
use crate::origin::server::Publication;
use crate::player::Subscription;
use crate::runtime::{Runtime, sleep};
use crate::signing::StreamSigner;
use crate::viewer::{ServiceEvent, ViewerHandle};

/// The task of one camera.
pub(super) struct Job<R> {
    pub(super) runtime: R,
    pub(super) server: WeakHandle<Server>,
    /// Under which names those who share the stream may know it.
    pub(super) streams: Vec<StreamId>,
    /// What they need for that.
    pub(super) doors: Doors,
    pub(super) viewer: ViewerHandle<R>,
    pub(super) info: Xp2pInfo,
    pub(super) name: String,
    pub(super) publication: Publication,
    pub(super) signer: StreamSigner,
    /// To the publication.
    pub(super) tags: Sender<Tag>,
    /// So long after the last reader the camera is let go.
    pub(super) linger: Duration,
    /// Closed when the camera is offered no longer.
    pub(super) stopped: Receiver<()>,
    pub(super) told: Told,
}

/// Why fetching stopped.
enum Stop {
    /// The camera is offered no longer, or the publication is over.
    Over,
    /// Nobody reads.
    Deserted,
    Failed(String),
}

impl<R: Runtime> Job<R> {
    pub(super) async fn run(self) {
        if !self.close_door().await {
            return;
        }
        let mut backoff = Backoff::default();
        loop {
            let wanted = async {
                while self.publication.stats().clients == 0 {
                    self.publication.changed().await;
                }
                false
            };
            if futures_lite::future::or(self.over(), wanted).await {
                return;
            }
            match self.fetch(&mut backoff).await {
                Stop::Over => return,
                Stop::Deserted => self.told.tell(TransitEvent::Ended { name: self.name.clone() }),
                Stop::Failed(reason) => {
                    self.told.tell(TransitEvent::Trouble { name: self.name.clone(), reason });
                    let pause = backoff.pause(&self.runtime, None);
                    let paused = async {
                        sleep(&self.runtime, pause).await;
                        false
                    };
                    if futures_lite::future::or(self.over(), paused).await {
                        return;
                    }
                }
            }
        }
    }

    /// Before there is a byte to share, the tracker knows with whom it may be shared. It keeps that in mind when the camera leaves.
    async fn close_door(&self) -> bool {
        let Some(server) = self.server.upgrade() else { return false };
        let (streams, doors, name) = (self.streams.clone(), self.doors.clone(), self.name.clone());
        let set = server.call(move |server, now| {
            // Looked up now: of two tasks that set it one after the other, the later one need not come last.
            let door = doors.get(&name);
            door.is_some() && streams.iter().all(|s| server.set_door(now, *s, door))
        });
        match set.await {
            Ok(true) => true,
            Ok(false) => {
                let reason = "the tracker knows too many cameras; restart the server".to_owned();
                self.told.tell(TransitEvent::Trouble { name: self.name.clone(), reason });
                false
            }
            Err(_) => false,
        }
    }

    async fn over(&self) -> bool {
        // Ends only with an error, because nothing is ever sent.
        let _ = self.stopped.recv().await;
        true
    }

    async fn fetch(&self, backoff: &mut Backoff) -> Stop {
        let (service, _, hub) = match self.viewer.watch(self.info.clone(), Live::default()).await {
            Ok(started) => started,
            Err(e) => return Stop::Failed(e.to_string()),
        };
        self.told.tell(TransitEvent::Began { name: self.name.clone() });
        self.signer.restart().await;
        let over = async {
            self.over().await;
            Stop::Over
        };
        let deserted = async {
            self.deserted().await;
            Stop::Deserted
        };
        let passing = self.pass_on(hub.subscribe_unchanged(), backoff);
        let stop = futures_lite::future::or(futures_lite::future::or(over, deserted), passing).await;
        let stop = match stop {
            Stop::Failed(_) => Stop::Failed(reason(&service.events)),
            other => other,
        };
        // Fails only when the viewer is gone, which ends everything as well.
        let _ = self.viewer.stop(service.id).await;
        // Who comes later does not begin with an old picture.
        self.publication.interrupt();
        stop
    }

    async fn pass_on(&self, mut stream: Subscription, backoff: &mut Backoff) -> Stop {
        let mut begun = false;
        while let Some(tag) = stream.next_tag().await {
            if !std::mem::replace(&mut begun, true) {
                backoff.reset();
                let config = stream.config();
                for config in config.iter().flat_map(|c| c.tags()) {
                    let config = Tag { timestamp: tag.timestamp, ..config.clone() };
                    if self.tags.send(config).await.is_err() {
                        return Stop::Over;
                    }
                }
            }
            if self.tags.send(tag).await.is_err() {
                return Stop::Over;
            }
        }
        Stop::Failed(String::new())
    }

    /// Ends when nobody has read for a while.
    async fn deserted(&self) {
        let clients = || self.publication.stats().clients;
        loop {
            while clients() > 0 {
                self.publication.changed().await;
            }
            let alone = async {
                sleep(&self.runtime, self.linger).await;
                true
            };
            let changed = async {
                self.publication.changed().await;
                false
            };
            if futures_lite::future::or(alone, changed).await && clients() == 0 {
                return;
            }
        }
    }
}

/// Why a camera's stream has ended.
fn reason(events: &Receiver<ServiceEvent>) -> String {
    let mut reason = "the camera has ended the stream".to_owned();
    while let Ok(event) = events.try_recv() {
        match event {
            ServiceEvent::Parsed { status, headers, .. } if status != 200 => {
                reason = match headers.reason {
                    Some(why) => format!("the camera says {status}: {why}"),
                    None => format!("the camera says {status}"),
                };
            }
            ServiceEvent::Disconnect { reason: why, .. } => reason = why,
            _ => {}
        }
    }
    reason
}

//! One stream that is published, and what feeds it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use async_channel::{Receiver, Sender};
use bytes::Bytes;
use xp2p_proto::flv::{Demuxer, FlvError, Item, Limits, Tag};

use crate::player::{Hub, Intake};

/// Bytes that are given to the demuxer at a time, so that a large piece cannot overflow it.
const PIECE: usize = 64 * 1024;

/// Tags that are taken in without letting other tasks run.
const TURN: u32 = 32;

/// Where a publication's tags come from. Closing the channel ends the publication.
#[derive(Debug)]
pub enum Feed {
    /// Tags in the order to send them, with the timestamps to send.
    Tags(Receiver<Tag>),
    /// An FLV file in pieces of any size.
    Flv(Receiver<Bytes>),
}

/// Is given every tag of a publication before the clients get it, in the same order. Repeated configuration, which clients
/// are not sent again, is among them. It runs on the publication's task and must not block.
pub type Tap = Box<dyn FnMut(&Tag) + Send>;

/// Counters of a publication.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PublicationStats {
    /// Clients at present.
    pub clients: usize,
    /// Clients so far.
    pub served: u64,
    /// Bytes of FLV that were handed to connections, of all clients.
    pub sent: u64,
    /// Tags taken in, without configuration.
    pub tags: u64,
    /// Tags left out for clients that were too slow.
    pub dropped: u64,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) name: String,
    pub(super) hub: Hub,
    pub(super) clients: AtomicUsize,
    pub(super) served: AtomicU64,
    pub(super) sent: AtomicU64,
    trouble: OnceLock<FlvError>,
    /// That a client has come or gone.
    pub(super) changes: (Sender<()>, Receiver<()>),
    /// Closed when it shall end.
    stop: Receiver<()>,
    stopper: Sender<()>,
}

impl Shared {
    pub(super) fn new(name: &str) -> Self {
        let (stopper, stop) = async_channel::bounded(1);
        Self {
            name: name.to_owned(),
            hub: Hub::default(),
            clients: AtomicUsize::default(),
            served: AtomicU64::default(),
            sent: AtomicU64::default(),
            trouble: OnceLock::new(),
            changes: async_channel::bounded(1),
            stop,
            stopper,
        }
    }

    pub(super) fn stop(&self) {
        self.stopper.close();
        self.hub.end();
    }
}

/// A publication, as the program sees it.
#[derive(Debug, Clone)]
pub struct Publication(pub(super) Arc<Shared>);

impl Publication {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// What it has sent, and to how many.
    pub fn stats(&self) -> PublicationStats {
        let hub = self.0.hub.stats();
        PublicationStats {
            clients: self.0.clients.load(Ordering::Relaxed),
            served: self.0.served.load(Ordering::Relaxed),
            sent: self.0.sent.load(Ordering::Relaxed),
            tags: hub.tags,
            dropped: hub.dropped,
        }
    }

    /// Waits until a client has come or gone since this was waited for last. One task may wait.
    pub async fn changed(&self) {
        // The other end lives as long as this one.
        let _ = self.0.changes.1.recv().await;
    }

    /// The feed has a gap: clients that come from now on wait for its next keyframe.
    pub fn interrupt(&self) {
        self.0.hub.interrupt();
    }

    /// Whether it is over.
    pub fn is_ended(&self) -> bool {
        self.0.hub.is_ended()
    }

    /// Why it ended, if its feed was no FLV.
    pub fn trouble(&self) -> Option<FlvError> {
        self.0.trouble.get().copied()
    }
}

/// Takes in a feed up to its end, or until the publication is stopped.
pub(super) async fn run(publication: Arc<Shared>, feed: Feed, tap: Option<Tap>) {
    let stopped = async {
        // Ends only with an error, because nothing is ever sent.
        let _ = publication.stop.recv().await;
    };
    futures_lite::future::or(take_in(&publication, feed, tap), stopped).await;
    publication.hub.end();
}

async fn take_in(publication: &Shared, feed: Feed, tap: Option<Tap>) {
    let mut turns = Turns { intake: Intake::new(publication.hub.clone()), tap, taken: 0 };
    match feed {
        Feed::Tags(tags) => {
            while let Ok(tag) = tags.recv().await {
                turns.tag(&tag).await;
            }
        }
        Feed::Flv(pieces) => {
            if let Err(error) = turns.flv(pieces).await {
                tracing::warn!("the publication {} ends: {error}", publication.name);
                let _ = publication.trouble.set(error);
            }
        }
    }
}

struct Turns {
    intake: Intake,
    tap: Option<Tap>,
    taken: u32,
}

impl Turns {
    async fn tag(&mut self, tag: &Tag) {
        if let Some(tap) = &mut self.tap {
            tap(tag);
        }
        self.intake.tag(tag);
        // A feed that is always ready must not keep its clients from being served.
        self.taken = (self.taken + 1) % TURN;
        if self.taken == 0 {
            futures_lite::future::yield_now().await;
        }
    }

    async fn flv(&mut self, pieces: Receiver<Bytes>) -> Result<(), FlvError> {
        let mut demuxer = Demuxer::new(Limits::default());
        while let Ok(mut piece) = pieces.recv().await {
            while !piece.is_empty() {
                demuxer.push(piece.split_to(piece.len().min(PIECE)))?;
                while let Some(item) = demuxer.poll()? {
                    match item {
                        Item::Header(header) => self.intake.header(header),
                        Item::Tag(tag) => self.tag(&tag).await,
                    }
                }
            }
        }
        Ok(())
    }
}

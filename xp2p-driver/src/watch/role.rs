//! Where the events of the machine go.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use async_channel::Sender;
use xp2p_proto::flv::Tag;
use xp2p_proto::peer::{Peer, PeerEvent};
use xp2p_proto::swarm::OriginReason;

use super::event::WatchEvent;
use super::tracker::News;
use crate::event_loop::Role;
use crate::player::{Hub, Intake};

/// What is known beside the machine.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// From the start to the first picture.
    pub(super) first_picture: Option<Duration>,
    /// Bytes of the origin by reason.
    pub(super) origin_bytes_by: [u64; OriginReason::COUNT],
}

/// The same, shared between the tasks of a watcher.
#[derive(Debug, Default, Clone)]
pub(super) struct SharedKnown(Arc<Mutex<Known>>);

impl SharedKnown {
    pub(super) fn lock(&self) -> MutexGuard<'_, Known> {
        // Nothing in here panics half-way, so what a poisoned lock holds is whole.
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// What the task that reads the origin is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Open,
    Close,
}

pub(super) struct WatchRole {
    pub(super) start: Instant,
    pub(super) hub: Hub,
    pub(super) intake: Intake,
    pub(super) known: SharedKnown,
    /// To the task that reads the origin. The machine wishes nothing twice, so little waits here.
    pub(super) wishes: Sender<Wish>,
    /// To the task that looks after the way to the tracker.
    pub(super) news: Sender<News>,
    pub(super) events: Sender<WatchEvent>,
}

impl WatchRole {
    fn tell(&self, event: WatchEvent) {
        // An application that does not listen loses the oldest, and then the channel itself.
        let _ = self.events.force_send(event);
    }

    fn wish(&self, wish: Wish) {
        // Fails only when that task has ended, which it does after this one.
        let _ = self.wishes.try_send(wish);
    }

    fn shown(&mut self, now: Instant, tag: &Tag) {
        self.intake.tag(tag);
        // Sound that comes before the first picture is none; without pictures it is all there is, and comes after a header
        // that says so.
        if tag.is_keyframe() || (!tag.is_sequence_header() && !self.intake.has_video() && !tag.is_metadata())
        {
            let mut known = self.known.lock();
            if known.first_picture.is_none() {
                known.first_picture = Some(now.saturating_duration_since(self.start));
                drop(known);
                self.tell(WatchEvent::FirstPicture);
            }
        }
    }
}

impl Role<Peer> for WatchRole {
    fn on_event(&mut self, _machine: &mut Peer, now: Instant, event: PeerEvent) {
        match event {
            PeerEvent::Tag(tag) => return self.shown(now, &tag),
            PeerEvent::Header(header) => return self.intake.header(header),
            _ => tracing::debug!(?event, "watcher"),
        }
        match event {
            PeerEvent::OpenOrigin => {
                self.wish(Wish::Open);
                self.tell(WatchEvent::OriginOpened);
            }
            PeerEvent::CloseOrigin => {
                self.wish(Wish::Close);
                self.tell(WatchEvent::OriginClosed);
            }
            PeerEvent::Registered { observed } => {
                // A full channel holds news enough.
                let _ = self.news.try_send(News::Seen(observed.ip()));
                self.tell(WatchEvent::Registered { observed });
            }
            PeerEvent::ServerLost { reason } => {
                let _ = self.news.try_send(News::Lost);
                self.tell(WatchEvent::ServerLost { reason });
            }
            PeerEvent::ServerKey { key } => self.tell(WatchEvent::ServerKey { key }),
            PeerEvent::RegistrationRefused { reason } | PeerEvent::TrackerRefused { reason } => {
                self.tell(WatchEvent::Refused { reason });
            }
            PeerEvent::Tracked { trust, signers } => self.tell(WatchEvent::Tracked { trust, signers }),
            PeerEvent::NeighbourConnected { peer } => self.tell(WatchEvent::NeighbourConnected { peer }),
            PeerEvent::NeighbourGone { peer, reason } => {
                self.tell(WatchEvent::NeighbourGone { peer, reason });
            }
            _ => {}
        }
    }

    fn shutdown(&mut self, machine: &mut Peer, now: Instant) {
        machine.leave(now);
    }

    fn is_closed(&self, machine: &Peer) -> bool {
        machine.is_closed()
    }
}

impl Drop for WatchRole {
    fn drop(&mut self) {
        self.hub.end();
    }
}

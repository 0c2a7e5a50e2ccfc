//! One of many viewers of a live stream, which they pass on to each other.
//!
//! A [`Watcher`] meets the others at a tracker, takes from them what it can and from the origin what it must, and gives all
//! of it to a [`Hub`] as one stream: players cannot see where a picture came from. Without a tracker, or while it cannot be
//! reached, the origin alone is enough.
//!
//! * `config`, `event`, `stats`: what goes in, what comes out.
//! * `role`: where the events of the machine go.
//! * `reading`: the task that reads the origin. `tracker`: the one that looks after the way to the tracker.

mod config;
mod event;
mod reading;
mod role;
mod stats;
mod tracker;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use xp2p_proto::keys::SecretKey;
use xp2p_proto::link::Entropy;
use xp2p_proto::peer::{NeighbourInfo, Peer, PeerConfig, PeerServer};
use xp2p_proto::swarm::StreamId;

pub use self::config::{WatchConfig, WatchError};
pub use self::event::WatchEvent;
pub use self::stats::WatchStats;

use self::reading::Reading;
use self::role::{SharedKnown, WatchRole};
use self::tracker::Way;
use crate::handle::{Gone, Handle};
use crate::origin::client::{OriginClient, check_url};
use crate::player::{Hub, Intake, StatSource};
use crate::portmap::PortMapper;
use crate::runtime::Runtime;
use crate::transit::capability_of;

/// Most events that wait for the application; the oldest are dropped then.
const MAX_EVENTS: usize = 1024;
/// Most news of the server that wait; more would say the same.
const MAX_NEWS: usize = 16;

/// A running watcher of one stream. Clones are the same one; it says goodbye when all are dropped, or with
/// [`close`](Self::close).
#[derive(Debug, Clone)]
pub struct Watcher<R> {
    runtime: R,
    handle: Handle<Peer>,
    stream: StreamId,
    hub: Hub,
    known: SharedKnown,
    events: async_channel::Receiver<WatchEvent>,
    port: PortMapper,
}

impl<R: Runtime> Watcher<R> {
    /// Begins to watch, under a fresh identity.
    ///
    /// A tracker that cannot be reached is no error: the origin is read until it can be.
    ///
    /// # Errors
    ///
    /// [`WatchError`].
    pub fn spawn(runtime: &R, config: WatchConfig) -> Result<Self, WatchError> {
        check_url(&config.url).map_err(WatchError::Url)?;
        let stream = config.stream_id()?;
        let secret = SecretKey::from_bytes(runtime.random()?);
        let entropy = Entropy::from_os(runtime.random()?);
        let literal = config.tracker.as_ref().and_then(|t| t.addr.socket_addr());
        let server = PeerServer {
            key: config.tracker.as_ref().and_then(|t| t.key),
            addrs: literal.into_iter().collect(),
            app_key: config.app_key,
        };
        let mut peer = PeerConfig::new(secret, entropy, server, stream);
        peer.url = config::public_url(&config.url);
        peer.capability = config.capability.or_else(|| capability_of(&config.url));
        peer.signers = config.signers;
        peer.nat = tracker::class_at_start(literal);
        peer.uplink = config.uplink;
        peer.upload_limit = config.upload_limit;
        peer.share = config.share;
        peer.use_peers = config.use_peers;
        peer.may_pull = config.may_pull;
        peer.target = config.target;

        let (hub, known) = (Hub::default(), SharedKnown::default());
        let (wishes, wished) = async_channel::unbounded();
        let (news, heard) = async_channel::bounded(MAX_NEWS);
        let (sender, events) = async_channel::bounded(MAX_EVENTS);
        let role = WatchRole {
            start: runtime.now(),
            intake: Intake::new(hub.clone()),
            hub: hub.clone(),
            known: known.clone(),
            wishes,
            news,
            events: sender.clone(),
        };
        let handle = Handle::spawn(runtime, &[config.bind], |_, now| {
            Ok((Peer::new(peer, now).map_err(io::Error::other)?, role))
        })?;
        let wanted = config.port_mapping && config.tracker.is_some();
        let port = PortMapper::start_for(runtime, wanted, &handle, Peer::set_mapped_address);
        let reading = Reading {
            runtime: runtime.clone(),
            client: OriginClient::new(runtime, config.origin),
            url: config.url,
            peer: handle.clone().downgrade(),
            known: known.clone(),
            events: sender.clone(),
        };
        runtime.spawn(Box::pin(reading.run(wished)));
        if let Some(spec) = config.tracker {
            let way = Way {
                runtime: runtime.clone(),
                server: spec.addr,
                peer: handle.clone().downgrade(),
                events: sender,
            };
            runtime.spawn(Box::pin(way.run(heard)));
        }
        Ok(Self { runtime: runtime.clone(), handle, stream, hub, known, events, port })
    }

    /// The handle of the machine, for all that has no method here.
    pub fn machine(&self) -> &Handle<Peer> {
        &self.handle
    }

    /// The runtime that it runs on.
    pub fn runtime(&self) -> &R {
        &self.runtime
    }

    /// The stream, as the tracker knows it.
    pub fn stream(&self) -> StreamId {
        self.stream
    }

    /// Where the tags go: subscribe to it, or give it to a [`PlayerServer`](crate::player::PlayerServer). It ends with the
    /// watcher.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// News. Nothing is lost between the start and the first event, up to 1,024 of them.
    pub fn events(&self) -> async_channel::Receiver<WatchEvent> {
        self.events.clone()
    }

    /// Where its socket is bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.handle.local_addr()
    }

    /// How it stands with its port at the router.
    pub fn port_mapping(&self) -> &PortMapper {
        &self.port
    }

    /// What it has done, and how it is.
    ///
    /// # Errors
    ///
    /// [`Gone`].
    pub async fn stats(&self) -> Result<WatchStats, Gone> {
        let known = self.known.clone();
        self.handle.call(move |peer, now| WatchStats::now(peer, now, &known.lock())).await
    }

    /// The viewers that it is connected to, or tries to be.
    ///
    /// # Errors
    ///
    /// [`Gone`].
    pub async fn neighbours(&self) -> Result<Vec<NeighbourInfo>, Gone> {
        self.handle.call(|peer, _| peer.neighbours()).await
    }

    /// What `/stat` of a player server tells of it: [`WatchStats::to_json`].
    pub fn stat_source(&self) -> StatSource {
        let watcher = self.clone();
        Arc::new(move || {
            let watcher = watcher.clone();
            Box::pin(async move {
                // Fails only while it ends.
                watcher.stats().await.map_or_else(|_| "{}".to_owned(), |stats| stats.to_json().to_string())
            })
        })
    }

    /// Begins or stops to pass pieces on. When this returns after a stop, no further byte of a piece is given to a
    /// connection.
    ///
    /// # Errors
    ///
    /// [`Gone`].
    pub async fn set_sharing(&self, share: bool) -> Result<(), Gone> {
        self.handle.call(move |peer, now| peer.set_sharing(now, share)).await
    }

    /// Begins or stops to take pieces from others; without them all comes from the origin.
    ///
    /// # Errors
    ///
    /// [`Gone`].
    pub async fn set_use_peers(&self, on: bool) -> Result<(), Gone> {
        self.handle.call(move |peer, now| peer.set_use_peers(now, on)).await
    }

    /// Changes the upload limit, in bit/s over any second; `None`: no limit.
    ///
    /// # Errors
    ///
    /// [`Gone`].
    pub async fn set_upload_limit(&self, limit: Option<u64>) -> Result<(), Gone> {
        self.handle.call(move |peer, now| peer.set_upload_limit(now, limit)).await
    }

    /// Says goodbye to the tracker and the other viewers, so that they need not miss it first, and gives the port back. The hub
    /// ends.
    pub async fn close(&self) {
        futures_lite::future::zip(self.port.stop(), self.handle.shutdown()).await;
        self.hub.end();
    }
}

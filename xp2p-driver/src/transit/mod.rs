//! Transit: live streams of cameras that allow it, at our own origin server, for more viewers than a camera can serve.
//!
//! A camera that allows it gives its server a capability with its registration. The server then has
//! `/live/PRODUCT/DEVICE.flv`: while somebody reads it, it fetches the stream from the camera once for all, over the same
//! encrypted link as any viewer, and signs it as its source. Readers present a capability of the camera, which [`Doors`] check;
//! so do those who want to share it with others, to the tracker of the server. The server sees these streams.

mod doors;
mod pull;
mod url;

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv6Addr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_channel::{Receiver, Sender};
use xp2p_proto::info::{Capability, ServerAddr, Version, Xp2pInfo};
use xp2p_proto::keys::{PublicKey, SecretKey, Ticket};
use xp2p_proto::link::Entropy;
use xp2p_proto::server::{Door, ServerEvent};
use xp2p_proto::swarm::{StreamId, Trust};
use xp2p_proto::viewer::ViewerConfig;

pub use self::doors::Doors;
pub use self::url::{MediaUrlError, TOKEN, capability_of, media_name, media_url, meeting_place, servers_of};
use crate::origin::server::{Feed, OriginServer, Publication};
use crate::publish::urls_of;
use crate::runtime::Runtime;
use crate::server::ServerHandle;
use crate::signing::{SigningConfig, StreamSigner};
use crate::viewer::ViewerHandle;

/// Most events that wait for the application; the oldest are dropped then.
const MAX_EVENTS: usize = 256;
/// Tags that wait between a camera's stream and its publication.
const MAX_WAITING: usize = 64;

/// Configuration of a [`Transit`].
#[derive(Debug, Clone)]
pub struct TransitConfig {
    /// The identity of the server: a camera keeps a place for nobody else.
    pub identity: SecretKey,
    /// Names of this host that viewers use; see [`PublishConfig::hosts`](crate::publish::PublishConfig::hosts).
    pub hosts: Vec<String>,
    /// A camera is let go when nobody has read its stream for so long. Default 10 s.
    pub linger: Duration,
}

impl TransitConfig {
    /// The defaults.
    pub fn new(identity: SecretKey) -> Self {
        Self { identity, hosts: Vec::new(), linger: Duration::from_secs(10) }
    }
}

/// News of a [`Transit`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransitEvent {
    /// A camera's stream can be had.
    Offered {
        /// `PRODUCT/DEVICE`.
        name: String,
        /// Where, that to give to viewers first.
        urls: Vec<String>,
    },
    /// A camera allows transit, and its stream can still not be had.
    Refused {
        /// `PRODUCT/DEVICE`.
        name: String,
        /// Why.
        reason: String,
    },
    /// Somebody reads it: it is fetched from the camera.
    Began {
        /// `PRODUCT/DEVICE`.
        name: String,
    },
    /// It cannot be fetched at this moment; it is tried again while somebody waits for it.
    Trouble {
        /// `PRODUCT/DEVICE`.
        name: String,
        /// Why.
        reason: String,
    },
    /// Nobody reads it any more: the camera is let go.
    Ended {
        /// `PRODUCT/DEVICE`.
        name: String,
    },
    /// It cannot be had any more: the camera has left, or allows it no longer.
    Withdrawn {
        /// `PRODUCT/DEVICE`.
        name: String,
    },
}

/// Where events go.
#[derive(Debug, Clone)]
struct Told(Sender<TransitEvent>);

impl Told {
    fn tell(&self, event: TransitEvent) {
        tracing::debug!(?event, "transit");
        // An application that does not listen loses the oldest, and then the channel itself.
        let _ = self.0.force_send(event);
    }
}

/// A camera's stream that can be had.
#[derive(Debug)]
struct Offer {
    ticket: Ticket,
    key: PublicKey,
    publication: Publication,
    /// Ends its task when it is dropped.
    _stop: Sender<()>,
}

#[derive(Debug)]
struct Shared<R> {
    runtime: R,
    origin: OriginServer,
    server: ServerHandle,
    viewer: ViewerHandle<R>,
    config: TransitConfig,
    doors: Doors,
    offers: Mutex<BTreeMap<String, Offer>>,
    told: Told,
}

/// The transit of one server. Clones are the same one; it ends when all are dropped.
#[derive(Debug, Clone)]
pub struct Transit<R>(Arc<Shared<R>>);

impl<R: Runtime> Transit<R> {
    /// Transit at `origin`, which must ask `doors` whom it serves, of the cameras of `server`. Also returns what there is to
    /// tell.
    ///
    /// # Errors
    ///
    /// There is no socket or no randomness.
    pub fn new(
        runtime: &R,
        origin: &OriginServer,
        doors: Doors,
        server: &ServerHandle,
        config: TransitConfig,
    ) -> io::Result<(Self, Receiver<TransitEvent>)> {
        let entropy = Entropy::from_os(runtime.random()?);
        // Its cameras register here; a server has no business in the network that it stands in.
        let viewer = ViewerConfig {
            lan: false,
            port_mapping: false,
            ..ViewerConfig::new(config.identity.clone(), entropy)
        };
        let viewer = ViewerHandle::spawn(runtime, (Ipv6Addr::UNSPECIFIED, 0).into(), viewer)?;
        let (events, receiver) = async_channel::bounded(MAX_EVENTS);
        let shared = Shared {
            runtime: runtime.clone(),
            origin: origin.clone(),
            server: server.clone(),
            viewer,
            config,
            doors,
            offers: Mutex::default(),
            told: Told(events),
        };
        Ok((Self(Arc::new(shared)), receiver))
    }

    /// Takes in an event of the server. It does not wait. Returns the streams that are signed here from now on.
    pub fn handle(&self, event: &ServerEvent) -> Vec<StreamId> {
        let shared = &self.0;
        match event {
            ServerEvent::CameraRegistered { ticket, key, product, name, transit: Some(transit), .. } => {
                shared.registered(*ticket, *key, product, name, transit)
            }
            ServerEvent::CameraRegistered { key, transit: None, .. } => {
                shared.withdraw(|offer| offer.key == *key);
                Vec::new()
            }
            ServerEvent::CameraGone { ticket, .. } => {
                shared.withdraw(|offer| offer.ticket == *ticket);
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// Streams that can be had, with their publications.
    pub fn publications(&self) -> Vec<Publication> {
        self.0.lock().values().map(|offer| offer.publication.clone()).collect()
    }
}

impl<R: Runtime> Shared<R> {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Offer>> {
        // Nothing in here panics half-way, so what a poisoned lock holds is whole.
        self.offers.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn withdraw(&self, which: impl Fn(&Offer) -> bool) {
        let mut offers = self.lock();
        offers.retain(|name, offer| {
            let goes = which(offer);
            if goes {
                self.origin.unpublish(name);
                self.told.tell(TransitEvent::Withdrawn { name: name.clone() });
            }
            !goes
        });
    }

    fn registered(
        &self,
        ticket: Ticket,
        key: PublicKey,
        product: &str,
        device: &str,
        transit: &Capability,
    ) -> Vec<StreamId> {
        // A camera that comes back under the same ticket is the same one, and its stream goes on; with another ticket all
        // older capabilities are void, and so are the connections that were made with them.
        self.withdraw(|offer| offer.key == key && offer.ticket != ticket);
        let refuse = |reason: String| {
            self.told.tell(TransitEvent::Refused { name: format!("{product}/{device}"), reason });
            Vec::new()
        };
        let name = match media_name(product, device) {
            Ok(name) => name,
            Err(e) => return refuse(e.to_string()),
        };
        let mut offers = self.lock();
        if let Some(offer) = offers.get(&name) {
            // Nobody may take over the name, and with it what viewers present, while its camera is there.
            return if offer.key == key {
                Vec::new()
            } else {
                refuse("another camera has this name".to_owned())
            };
        }
        match self.offer(&name, ticket, key, transit) {
            Ok((offer, urls, streams)) => {
                offers.insert(name.clone(), offer);
                self.told.tell(TransitEvent::Offered { name, urls });
                streams
            }
            Err(reason) => refuse(reason),
        }
    }

    fn offer(
        &self,
        name: &str,
        ticket: Ticket,
        key: PublicKey,
        transit: &Capability,
    ) -> Result<(Offer, Vec<String>, Vec<StreamId>), String> {
        let addr = crate::event_loop::reachable(self.server.local_addr());
        let server =
            ServerAddr { key: self.config.identity.public(), addrs: vec![addr.into()], tcp_port: None };
        let info = Xp2pInfo::new(key, ticket, vec![server], Version::CURRENT)
            .and_then(|info| info.with_capability(Some(transit.clone())))
            .map_err(|e| e.to_string())?;
        let (urls, streams) = urls_of(&self.origin, name, &self.config.hosts).map_err(|e| e.to_string())?;
        let signing = SigningConfig {
            key: self.config.identity.for_streams(),
            trust: Trust::Source,
            streams: streams.clone(),
        };
        let signer = StreamSigner::spawn(&self.runtime, &self.server, signing);
        let (tags, feed) = async_channel::bounded(MAX_WAITING);
        if !self.doors.set(name, Door { camera: key, epoch: transit.epoch() }) {
            return Err("too many cameras allow transit here".to_owned());
        }
        let publication =
            self.origin.publish(name, Feed::Tags(feed), Some(signer.tap())).map_err(|e| e.to_string())?;
        let (stop, stopped) = async_channel::bounded(1);
        let job = pull::Job {
            runtime: self.runtime.clone(),
            server: self.server.machine().clone().downgrade(),
            streams: streams.clone(),
            doors: self.doors.clone(),
            viewer: self.viewer.clone(),
            info,
            name: name.to_owned(),
            publication: publication.clone(),
            signer,
            tags,
            linger: self.config.linger,
            stopped,
            told: self.told.clone(),
        };
        self.runtime.spawn(Box::pin(job.run()));
        Ok((Offer { ticket, key, publication, _stop: stop }, urls, streams))
    }
}

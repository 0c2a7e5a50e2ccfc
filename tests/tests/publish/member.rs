//! A member of a swarm, over real sockets.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use xp2p_smol::Smol;
use xp2p_smol::driver::event_loop::Role;
use xp2p_smol::driver::handle::Handle;
use xp2p_smol::driver::origin::client::{OriginClient, OriginConfig};
use xp2p_smol::driver::runtime::{Runtime as _, sleep};
use xp2p_smol::proto::info::ServerSpec;
use xp2p_smol::proto::keys::SecretKey;
use xp2p_smol::proto::link::Entropy;
use xp2p_smol::proto::peer::{Peer, PeerConfig, PeerEvent, PeerServer, PeerStats};
use xp2p_smol::proto::swarm::{NatClass, StreamId, Trust};

/// What a viewer is told.
#[derive(Debug, Default)]
struct Seen {
    tags: AtomicUsize,
    terms: Mutex<Option<(Trust, usize)>>,
}

struct Watch {
    seen: Arc<Seen>,
    origin: async_channel::Sender<bool>,
}

impl Role<Peer> for Watch {
    fn on_event(&mut self, _: &mut Peer, _: Instant, event: PeerEvent) {
        match event {
            PeerEvent::Tag(_) => {
                self.seen.tags.fetch_add(1, Ordering::Relaxed);
            }
            PeerEvent::Tracked { trust, signers } => {
                *self.seen.terms.lock().expect("not poisoned") = Some((trust, signers));
            }
            PeerEvent::OpenOrigin | PeerEvent::CloseOrigin => {
                let _ = self.origin.try_send(event == PeerEvent::OpenOrigin);
            }
            _ => {}
        }
    }

    fn shutdown(&mut self, peer: &mut Peer, now: Instant) {
        peer.leave(now);
    }

    fn is_closed(&self, peer: &Peer) -> bool {
        peer.is_closed()
    }
}

/// A viewer without a player. It leaves when it is dropped.
pub(crate) struct Viewer {
    handle: Handle<Peer>,
    seen: Arc<Seen>,
}

impl Viewer {
    /// Joins those who watch `url`.
    pub(crate) fn join(server: &str, url: &str) -> Self {
        let spec: ServerSpec = server.parse().expect("the line of a server");
        let addr = spec.addr.socket_addr().expect("an address");
        let server = PeerServer { key: spec.key, addrs: vec![addr], app_key: None };
        let random = || Smol.random::<32>().expect("randomness");
        let stream = StreamId::of_url(url).expect("a URL");
        let mut config =
            PeerConfig::new(SecretKey::from_bytes(random()), Entropy::from_os(random()), server, stream);
        config.url = url.to_owned();
        config.nat = NatClass::Public;
        let seen = Arc::new(Seen::default());
        let (origin, wishes) = async_channel::bounded(64);
        let role = Watch { seen: seen.clone(), origin };
        let any = "127.0.0.1:0".parse().expect("an address");
        let make = |_: &[_], now| Ok((Peer::new(config, now).map_err(std::io::Error::other)?, role));
        let handle = Handle::spawn(&Smol, &[any], make).expect("a member");
        Smol.spawn(Box::pin(read(handle.clone().downgrade(), url.to_owned(), wishes)));
        Self { handle, seen }
    }

    pub(crate) fn stats(&self) -> PeerStats {
        futures_lite::future::block_on(self.handle.call(|peer, _| peer.stats())).expect("it runs")
    }

    /// Tags that came out for the player.
    pub(crate) fn shown(&self) -> usize {
        self.seen.tags.load(Ordering::Relaxed)
    }

    /// How many signers the tracker has named.
    pub(crate) fn signers(&self) -> Option<usize> {
        self.seen.terms.lock().expect("not poisoned").map(|(_, signers)| signers)
    }

    /// Waits until somebody signs the stream.
    pub(crate) fn signed(&self, patience: Duration) -> Trust {
        let end = Instant::now() + patience;
        loop {
            match *self.seen.terms.lock().expect("not poisoned") {
                Some((trust, 1..)) => return trust,
                terms => assert!(Instant::now() < end, "nobody signs: {terms:?}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until something has come about.
    pub(crate) fn until(&self, patience: Duration, what: &str, is: impl Fn(&PeerStats) -> bool) {
        let end = Instant::now() + patience;
        loop {
            let stats = self.stats();
            if is(&stats) {
                return;
            }
            assert!(Instant::now() < end, "{what}: {stats:#?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        futures_lite::future::block_on(self.handle.shutdown());
    }
}

/// Reads the origin while the member wants it.
async fn read(
    peer: xp2p_smol::driver::handle::WeakHandle<Peer>,
    url: String,
    wishes: async_channel::Receiver<bool>,
) {
    let mut open = false;
    loop {
        let wish = async { wishes.recv().await.ok() };
        let reading = async {
            if open {
                once(&peer, &url).await;
            } else {
                std::future::pending::<()>().await;
            }
            Some(false)
        };
        let Some(next) = futures_lite::future::or(wish, reading).await else { return };
        open = next;
    }
}

/// Reads to the end of one connection.
async fn once(peer: &xp2p_smol::driver::handle::WeakHandle<Peer>, url: &str) {
    let reason = match OriginClient::new(&Smol, OriginConfig::default()).open(url).await {
        Ok(mut stream) => {
            let mut counted = 0;
            loop {
                match stream.next_tag().await {
                    Ok(tag) => {
                        let wire = stream.received().wire;
                        let fresh = wire - counted;
                        counted = wire;
                        let Some(peer) = peer.upgrade() else { return };
                        if peer.notify(move |p, now| p.handle_origin_tag(now, &tag, fresh)).await.is_err() {
                            return;
                        }
                    }
                    Err(e) => break e.to_string(),
                }
            }
        }
        Err(e) => e.to_string(),
    };
    sleep(&Smol, Duration::from_millis(100)).await;
    if let Some(peer) = peer.upgrade() {
        let _ = peer.notify(move |p, now| p.origin_closed(now, &reason)).await;
    }
}

//! The module's local server, which can be replaced while services go on.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use async_channel::Sender;

use crate::player::{Hub, PlayerConfig, PlayerEvent, PlayerServer};
use crate::runtime::Runtime;

/// Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Players {
    server: Arc<Mutex<PlayerServer>>,
    /// It has said that it cannot take connections.
    failed: Arc<AtomicBool>,
    config: PlayerConfig,
    news: Sender<PlayerEvent>,
}

impl Players {
    pub(super) fn bind<R: Runtime>(
        runtime: &R,
        config: PlayerConfig,
        news: Sender<PlayerEvent>,
    ) -> io::Result<Self> {
        let server = PlayerServer::bind(runtime, config.clone())?;
        let players = Self { server: Arc::new(Mutex::new(server)), failed: Arc::default(), config, news };
        players.follow(runtime);
        Ok(players)
    }

    /// Passes the news of the present server on, until it is gone.
    fn follow<R: Runtime>(&self, runtime: &R) {
        let (events, news, failed) = (self.lock().events(), self.news.clone(), self.failed.clone());
        runtime.spawn(Box::pin(async move {
            while let Ok(event) = events.recv().await {
                if matches!(event, PlayerEvent::Error { .. }) {
                    failed.store(true, Ordering::Relaxed);
                }
                // A full channel loses the oldest.
                let _ = news.force_send(event);
            }
        }));
    }

    fn lock(&self) -> MutexGuard<'_, PlayerServer> {
        self.server.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Puts a new server on a free port in place of the old one; players of the old one have to open the new URLs.
    pub(super) fn reset<R: Runtime>(&self, runtime: &R) -> io::Result<()> {
        let free = SocketAddr::new(self.lock().local_addr().ip(), 0);
        let fresh = PlayerServer::bind(runtime, PlayerConfig { listen: free, ..self.config.clone() })?;
        *self.lock() = fresh;
        self.failed.store(false, Ordering::Relaxed);
        self.follow(runtime);
        Ok(())
    }

    pub(super) fn insert(&self, id: &str, action: &str, hub: &Hub) {
        self.lock().insert_action(id, action, hub.clone());
    }

    pub(super) fn remove(&self, id: &str) {
        self.lock().remove(id);
    }

    pub(super) fn url(&self, id: &str, query: &str) -> String {
        self.lock().url(id, query)
    }

    pub(super) fn stat_url(&self) -> String {
        self.lock().stat_url()
    }

    pub(super) fn feature_url(&self) -> String {
        self.lock().feature_url()
    }

    pub(super) fn local_addr(&self) -> SocketAddr {
        self.lock().local_addr()
    }
}

//! A server as an application runs it.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use xp2p_proto::server::{Server, ServerConfig, ServerEvent, ServerStats};

use crate::event_loop::Role;
use crate::handle::{Gone, Handle};
use crate::runtime::Runtime;

/// Most events that wait for the application; the oldest are dropped then.
const MAX_EVENTS: usize = 1024;

struct ServerRole {
    events: async_channel::Sender<ServerEvent>,
}

impl Role<Server> for ServerRole {
    fn on_event(&mut self, _machine: &mut Server, _now: Instant, event: ServerEvent) {
        tracing::debug!(?event, "server");
        // An application that does not listen loses the oldest, and then the channel itself.
        let _ = self.events.force_send(event);
    }

    fn shutdown(&mut self, machine: &mut Server, now: Instant) {
        machine.shutdown(now);
    }

    fn is_closed(&self, machine: &Server) -> bool {
        machine.is_closed()
    }
}

/// A running server. Clones are the same one; it stops when all are dropped, or with [`shutdown`](Self::shutdown).
#[derive(Debug, Clone)]
pub struct ServerHandle {
    handle: Handle<Server>,
}

impl ServerHandle {
    /// Runs a server on a socket bound to `listen`, and for NAT diagnosis on a second one. Also returns its events.
    ///
    /// # Errors
    ///
    /// A socket cannot be bound, or TLS refuses the key.
    pub fn spawn<R: Runtime>(
        runtime: &R,
        listen: SocketAddr,
        alternative: Option<SocketAddr>,
        mut config: ServerConfig,
    ) -> io::Result<(Self, async_channel::Receiver<ServerEvent>)> {
        let (sender, events) = async_channel::bounded(MAX_EVENTS);
        let addrs: Vec<SocketAddr> = [listen].into_iter().chain(alternative).collect();
        let handle = Handle::spawn(runtime, &addrs, |bound, now| {
            config.local = bound.first().copied().unwrap_or(listen);
            config.alternative = bound.get(1).copied();
            let machine = Server::new(config, now).map_err(io::Error::other)?;
            Ok((machine, ServerRole { events: sender }))
        })?;
        Ok((Self { handle }, events))
    }

    /// The handle of the machine, for all that has no method here.
    pub fn machine(&self) -> &Handle<Server> {
        &self.handle
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.handle.local_addr()
    }

    /// See [`Server::stats`].
    ///
    /// # Errors
    ///
    /// [`Gone`].
    pub async fn stats(&self) -> Result<ServerStats, Gone> {
        self.handle.call(|server, _| server.stats()).await
    }

    /// Says goodbye to all cameras.
    pub async fn shutdown(&self) {
        self.handle.shutdown().await;
    }
}

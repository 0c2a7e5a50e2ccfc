//! A server as an application runs it.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use xp2p_proto::server::{Server, ServerConfig, ServerEvent, ServerStats};

use crate::event_loop::Role;
use crate::handle::{Gone, Handle};
use crate::runtime::Runtime;
use crate::socket::BoundSocket;

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

/// Both addresses must be definite and differ in IP and port, or clients could conclude nothing from the answers.
fn check_alternative(listen: SocketAddr, other: SocketAddr) -> io::Result<()> {
    let definite = |a: SocketAddr| !a.ip().is_unspecified() && a.port() != 0;
    if definite(listen) && definite(other) && listen.ip() != other.ip() && listen.port() != other.port() {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        "the second address must differ from the first in IP and in port, and neither IP may be unspecified",
    ))
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
        config: ServerConfig,
    ) -> io::Result<(Self, async_channel::Receiver<ServerEvent>)> {
        Self::spawn_on(runtime, Self::bind(listen, alternative)?, config)
    }

    /// Binds what [`spawn`](Self::spawn) listens on: one socket, or four with an alternative address.
    ///
    /// # Errors
    ///
    /// A socket cannot be bound.
    pub fn bind(listen: SocketAddr, alternative: Option<SocketAddr>) -> io::Result<Vec<BoundSocket>> {
        let mut addrs = vec![listen];
        if let Some(other) = alternative {
            check_alternative(listen, other)?;
            // RFC 5780 needs every combination of both IPs and both ports.
            addrs.extend([
                other,
                SocketAddr::new(listen.ip(), other.port()),
                SocketAddr::new(other.ip(), listen.port()),
            ]);
        }
        addrs.iter().map(|&addr| BoundSocket::bind(addr)).collect()
    }

    /// The same on sockets that are bound already, the one of the public address first: see [`bind`](Self::bind) and
    /// [`BoundSocket`].
    ///
    /// # Errors
    ///
    /// The runtime cannot watch a socket, or TLS refuses the key.
    pub fn spawn_on<R: Runtime>(
        runtime: &R,
        sockets: Vec<BoundSocket>,
        mut config: ServerConfig,
    ) -> io::Result<(Self, async_channel::Receiver<ServerEvent>)> {
        let (sender, events) = async_channel::bounded(MAX_EVENTS);
        let handle = Handle::spawn_on(runtime, sockets, |bound, now| {
            config.local = bound.first().copied().unwrap_or(config.local);
            config.alternative = bound.get(1).copied();
            let machine = Server::new(config, now).map_err(io::Error::other)?;
            Ok((machine, ServerRole { events: sender }))
        })?;
        Ok((Self { handle }, events))
    }

    /// Takes the relay's TCP connections on `addr`, for clients whom UDP does not reach. They look for it at the port number of
    /// UDP unless told otherwise. Returns where it listens.
    ///
    /// # Errors
    ///
    /// The address cannot be listened on, or the server is gone.
    pub async fn listen_tcp<R: Runtime>(&self, runtime: &R, addr: SocketAddr) -> io::Result<SocketAddr> {
        self.handle.listen(runtime, addr).await
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

//! The cameras and the members of swarms that are registered here, and those who try.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::config::ServerConfig;
use super::event::ServerEvent;
use super::relay::Relay;
use crate::keys::{PublicKey, Ticket};
use crate::link::stream::{ReadEnd, read, stop, write};
use crate::link::{ConnId, Dir, Link, LinkEvent, StreamId};
use crate::register::{BINDING_LABEL, PEER_PRODUCT, RefuseCode, RegisterServer, Registered, ServerOutcome};

/// A connection that has not registered after this long is closed.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How often a camera should be heard of, in ms; told to the camera.
const KEEP_ALIVE_MS: u32 = 3_000;
/// Close code of a connection whose camera has registered again on another one, or that never registered.
pub(super) const CLOSE_OK: u32 = 0;

#[derive(Debug)]
struct Client {
    peer: PublicKey,
    since: Instant,
    exchange: Option<(StreamId, RegisterServer)>,
    /// A stream for the tracker that was opened before the registration is complete.
    early: Option<StreamId>,
    camera: Option<(Ticket, SocketAddr)>,
    /// A member of a swarm, not a camera.
    is_peer: bool,
}

/// What the tracker has to know of a connection.
#[derive(Debug)]
pub(super) enum TrackNews {
    /// Its holder, who is registered, has opened a stream for a tracker.
    Opened { conn: ConnId, peer: PublicKey, stream: StreamId },
    /// It is gone.
    Gone(ConnId),
}

/// All connections of cameras.
#[derive(Debug, Default)]
pub(super) struct Registrations {
    clients: BTreeMap<ConnId, Client>,
    by_ticket: BTreeMap<Ticket, ConnId>,
    /// How many of them are members of swarms.
    peers: usize,
    pub(super) registered: u64,
    pub(super) refused: u64,
}

/// What registrations may look at.
pub(super) struct Context<'a> {
    pub(super) now: Instant,
    pub(super) link: &'a mut Link,
    pub(super) relay: &'a mut Relay,
    pub(super) config: &'a ServerConfig,
    pub(super) events: &'a mut VecDeque<ServerEvent>,
    pub(super) track: &'a mut Vec<TrackNews>,
}

impl Registrations {
    pub(super) fn cameras(&self) -> usize {
        self.by_ticket.len().saturating_sub(self.peers)
    }

    pub(super) fn peers(&self) -> usize {
        self.peers
    }

    pub(super) fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    pub(super) fn handle(&mut self, context: &mut Context<'_>, conn: ConnId, event: LinkEvent) {
        match event {
            LinkEvent::Connected { peer, .. } => {
                self.clients.insert(
                    conn,
                    Client {
                        peer,
                        since: context.now,
                        exchange: None,
                        early: None,
                        camera: None,
                        is_peer: false,
                    },
                );
            }
            LinkEvent::Lost(reason) => self.forget(context, conn, &reason.to_string()),
            LinkEvent::Opened(Dir::Bi) => {
                while let Some(stream) = context.link.quic(conn).and_then(|q| q.streams().accept(Dir::Bi)) {
                    self.opened(context, conn, stream);
                }
            }
            LinkEvent::Opened(Dir::Uni) => {
                while let Some(quic) = context.link.quic(conn)
                    && let Some(stream) = quic.streams().accept(Dir::Uni)
                {
                    stop(quic, stream, CLOSE_OK);
                }
            }
            LinkEvent::Readable(stream) => self.receive(context, conn, stream),
            _ => {}
        }
    }

    fn forget(&mut self, context: &mut Context<'_>, conn: ConnId, reason: &str) {
        let Some(client) = self.clients.remove(&conn) else { return };
        context.track.push(TrackNews::Gone(conn));
        let Some((ticket, _)) = client.camera else { return };
        // The camera may have registered again on a new connection before the old one was missed.
        if self.by_ticket.get(&ticket) == Some(&conn) {
            self.by_ticket.remove(&ticket);
            context.relay.remove_camera(context.now, &ticket);
            if client.is_peer {
                self.peers = self.peers.saturating_sub(1);
                return;
            }
            context.events.push_back(ServerEvent::CameraGone { ticket, reason: reason.to_owned() });
        }
    }

    fn opened(&mut self, context: &mut Context<'_>, conn: ConnId, stream: StreamId) {
        let Some(client) = self.clients.get_mut(&conn) else { return };
        let Some(addr) = context.link.seen_address(conn) else { return };
        if client.camera.is_some() {
            context.track.push(TrackNews::Opened { conn, peer: client.peer, stream });
            return;
        }
        if client.exchange.is_some() {
            if client.early.is_none() {
                client.early = Some(stream);
            } else if let Some(quic) = context.link.quic(conn) {
                stop(quic, stream, CLOSE_OK);
            }
            return;
        }
        let Some(binding) = context.link.export(conn, BINDING_LABEL) else { return };
        let server = RegisterServer::new(
            context.config.secret.public(),
            client.peer,
            binding,
            context.config.admission.allows(addr.ip()),
        );
        client.exchange = Some((stream, server));
        self.receive(context, conn, stream);
    }

    fn receive(&mut self, context: &mut Context<'_>, conn: ConnId, stream: StreamId) {
        let (cameras, peers) = (self.cameras(), self.peers);
        let Some(client) = self.clients.get_mut(&conn) else { return };
        let Some((_, exchange)) = client.exchange.as_mut().filter(|(id, _)| *id == stream) else { return };
        let Some(quic) = context.link.quic(conn) else { return };
        let mut outcomes = Vec::new();
        let mut failed = None;
        let ended = read(quic, stream, 16 * 1024, |data| {
            if failed.is_none() {
                match exchange.receive(&data, &context.config.app_keys) {
                    Ok(more) => outcomes.extend(more),
                    Err(e) => failed = Some(e.to_string()),
                }
            }
        });
        for outcome in outcomes {
            match outcome {
                ServerOutcome::Refused { code, text, reply } => {
                    let _ = write(quic, stream, &mut [Bytes::from(reply)]);
                    failed = Some(format!("{code}: {text}"));
                }
                ServerOutcome::Accepted { ticket, product, name, transit } => {
                    let known = self.by_ticket.contains_key(&ticket);
                    let is_peer = product == PEER_PRODUCT;
                    let full = if is_peer {
                        peers >= context.config.max_peers
                    } else {
                        cameras >= context.config.max_cameras
                    };
                    if !known && full {
                        let reply = RegisterServer::refusal(RefuseCode::ServerFull);
                        let _ = write(quic, stream, &mut [Bytes::from(reply)]);
                        failed = Some("the server is full".to_owned());
                        continue;
                    }
                    // Where to send to, and where that really is.
                    let Some(addr) = context.link.remote_address(conn) else { return };
                    let Some(seen) = context.link.seen_address(conn) else { return };
                    let reply = RegisterServer::registered(&Registered {
                        observed: seen,
                        keep_alive_ms: KEEP_ALIVE_MS,
                        max_flows: u16::try_from(context.config.relay.max_flows_per_camera)
                            .unwrap_or(u16::MAX),
                    });
                    if let Some(quic) = context.link.quic(conn) {
                        let _ = write(quic, stream, &mut [Bytes::from(reply)]);
                    }
                    client.camera = Some((ticket, addr));
                    client.is_peer = is_peer;
                    let key = client.peer;
                    let old = self.by_ticket.insert(ticket, conn);
                    context.relay.set_camera(context.now, ticket, addr);
                    if let Some(stream) = client.early.take() {
                        context.track.push(TrackNews::Opened { conn, peer: key, stream });
                    }
                    self.registered += 1;
                    self.peers += usize::from(is_peer);
                    if !is_peer {
                        let transit = transit.map(Box::new);
                        let addr = seen;
                        let event =
                            ServerEvent::CameraRegistered { ticket, key, product, name, addr, transit };
                        context.events.push_back(event);
                    }
                    if let Some(old) = old.filter(|old| *old != conn) {
                        let was_peer = self.clients.remove(&old).is_some_and(|c| c.is_peer);
                        self.peers -= usize::from(was_peer).min(self.peers);
                        context.track.push(TrackNews::Gone(old));
                        context.link.close(context.now, old, CLOSE_OK, "registered again");
                    }
                    return;
                }
            }
        }
        let over = !matches!(ended, ReadEnd::Blocked | ReadEnd::Limit);
        if let Some(reason) = failed {
            self.refused += 1;
            let addr = context.link.seen_address(conn);
            if let Some(client) = self.clients.get_mut(&conn) {
                context.events.push_back(ServerEvent::RegistrationRefused { key: client.peer, addr, reason });
                // The camera closes when it has read the answer; the timeout helps it if it does not.
                client.exchange = None;
            }
        } else if over && self.clients.get(&conn).is_some_and(|c| c.camera.is_none()) {
            context.link.close(context.now, conn, CLOSE_OK, "the registration ended early");
            self.clients.remove(&conn);
        }
    }

    /// Closes connections that do not register, and follows cameras whose address has changed.
    pub(super) fn check(&mut self, context: &mut Context<'_>) {
        let mut late = Vec::new();
        for (&conn, client) in &mut self.clients {
            match &mut client.camera {
                None if context.now.saturating_duration_since(client.since) > TIMEOUT => late.push(conn),
                None => {}
                Some((ticket, addr)) => {
                    if let Some(new) = context.link.remote_address(conn)
                        && new != *addr
                    {
                        *addr = new;
                        context.relay.set_camera(context.now, *ticket, new);
                        if client.is_peer {
                            continue;
                        }
                        let addr = context.link.seen_address(conn).unwrap_or(new);
                        context.events.push_back(ServerEvent::CameraMoved { ticket: *ticket, addr });
                    }
                }
            }
        }
        for conn in late {
            self.clients.remove(&conn);
            context.link.close(context.now, conn, CLOSE_OK, "no registration");
        }
    }

    pub(super) fn close_all(&mut self, now: Instant, link: &mut Link, reason: &str) {
        for conn in std::mem::take(&mut self.clients).into_keys() {
            link.close(now, conn, CLOSE_OK, reason);
        }
        self.by_ticket.clear();
        self.peers = 0;
    }
}

//! The viewer: connects to cameras and receives what they send.
//!
//! A [`Viewer`] is driven as [`Machine`] says and holds any number of services, one per camera. A service connects
//! through the camera's servers, moves to a direct path as soon as there is one, and comes back by itself when the
//! network or the camera was gone for a while.

mod body;
mod config;
mod event;
mod exchanges;
mod fetch;
mod inbox;
mod nearby;
mod requests;
mod service;
mod show;
mod stream;
mod talk;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub use self::config::{ServiceConfig, ViewerConfig, ViewerError};
pub use self::event::{CommandKey, MessageKey, ServiceId, StreamKey, StreamStats, ViewerEvent};
pub use self::fetch::{DOWNLOAD_WINDOW, Resume};
pub use self::talk::MAX_TALK;

use self::service::Service;
use crate::error::ErrorCode;
use crate::link::{Link, LinkConfig, LinkStats, PathInfo, PathTotals, TcpRelay};
use crate::machine::{ByteStreamAction, ByteStreamId, Datagram, Machine, Transmit};
use crate::request::Live as LiveRequest;

/// A viewer of any number of cameras.
#[derive(Debug)]
pub struct Viewer {
    config: ViewerConfig,
    link: Link,
    services: BTreeMap<ServiceId, Service>,
    next_service: u64,
    events: VecDeque<ViewerEvent>,
}

impl Viewer {
    /// Makes a viewer.
    ///
    /// # Errors
    ///
    /// When TLS refuses the key.
    pub fn new(config: ViewerConfig) -> Result<Self, ViewerError> {
        let mut link = LinkConfig::new(config.secret.clone(), config.entropy.clone());
        // A service may hold a second connection for a while, and try a few addresses of its own network.
        let nearby = if config.lan { nearby::MAX_NEARBY } else { 0 };
        link.max_connections = config.max_services * (2 + nearby);
        link.max_relay_flows = config.max_services * 2;
        link.path_mtu_discovery = config.path_mtu_discovery;
        link.idle_timeout = config.patience;
        let link = Link::new(link).map_err(ViewerError::Link)?;
        Ok(Self { config, link, services: BTreeMap::new(), next_service: 0, events: VecDeque::new() })
    }

    /// Begins to connect to a camera. Streams may be started at once.
    ///
    /// # Errors
    ///
    /// [`ViewerError`]: no address, too many services.
    pub fn start_service(&mut self, now: Instant, config: ServiceConfig) -> Result<ServiceId, ViewerError> {
        if self.services.len() >= self.config.max_services {
            return Err(ViewerError::TooMany);
        }
        let id = ServiceId(self.next_service);
        config.tcp.iter().for_each(|relay| self.link.add_tcp_relay(*relay));
        let mut service = Service::new(id, config, &self.config, now);
        service.connect(now, &mut self.link, &mut self.events).map_err(ViewerError::Link)?;
        self.next_service += 1;
        self.services.insert(id, service);
        Ok(id)
    }

    /// Tells where a service's camera may be in the viewer's own network, from its xp2pInfo or from multicast discovery. It is
    /// tried there at once, besides the way through its servers, and again whenever the service has to come back; whichever
    /// works first is used. The connection proves the camera's key like any other, so that a wrong address costs a few packets
    /// and no more. The newest eight addresses are kept. Returns whether there is such a service, and
    /// [`ViewerConfig::lan`] allows it.
    pub fn add_nearby(&mut self, now: Instant, id: ServiceId, addrs: &[SocketAddr]) -> bool {
        let Some(service) = self.services.get_mut(&id).filter(|_| self.config.lan) else { return false };
        service.add_nearby(now, &mut self.link, addrs);
        true
    }

    /// Replaces the address at which a router lets everybody in to us, which peers then try first. `None`: there is none. Whoever
    /// drives the machine asks the router (PCP, NAT-PMP, UPnP).
    pub fn set_mapped_address(&mut self, now: Instant, addr: Option<SocketAddr>) {
        self.link.set_mapped_address(now, addr);
    }

    /// The address that [`set_mapped_address`](Self::set_mapped_address) has told.
    pub fn mapped_address(&self) -> Option<SocketAddr> {
        self.link.mapped_address()
    }

    /// Tells the addresses of the servers of a service, once their names are resolved, or again later. `tcp`: see
    /// [`ServiceConfig::tcp`].
    pub fn set_servers(&mut self, now: Instant, id: ServiceId, servers: &[SocketAddr], tcp: &[TcpRelay]) {
        if let Some(service) = self.services.get_mut(&id) {
            tcp.iter().for_each(|relay| self.link.add_tcp_relay(*relay));
            service.set_servers(now, &mut self.link, servers);
        }
    }

    /// Ends a service for a reason that only the application knows, unless it was connected before: it tells its
    /// [`Disconnect`](ViewerEvent::Disconnect). Returns whether the service goes on.
    pub fn fail_service(&mut self, now: Instant, id: ServiceId, code: ErrorCode, reason: String) -> bool {
        let Some(service) = self.services.get_mut(&id) else { return false };
        service.fail(now, &mut self.link, code, reason, &mut self.events)
    }

    /// Ends a service with all its streams.
    pub fn stop_service(&mut self, now: Instant, id: ServiceId) {
        if let Some(mut service) = self.services.remove(&id) {
            service.close(now, &mut self.link, "the viewer left");
        }
    }

    /// Asks for a live stream.
    ///
    /// # Errors
    ///
    /// [`ViewerError::NoService`], [`ViewerError::TooMany`].
    pub fn start_live(
        &mut self,
        now: Instant,
        id: ServiceId,
        request: LiveRequest,
    ) -> Result<StreamKey, ViewerError> {
        let service = self.services.get_mut(&id).ok_or(ViewerError::NoService)?;
        service.start_live(now, &mut self.link, request, &mut self.events)
    }

    /// Ends a stream. No more of it will come.
    pub fn stop_stream(&mut self, key: StreamKey) {
        if let Some(service) = self.services.get_mut(&key.service) {
            service.stop_stream(&mut self.link, key);
        }
    }

    /// Counters of a live stream or a playback, over all its reconnections. A playback has no times of first things.
    pub fn stream_stats(&self, key: StreamKey) -> Option<StreamStats> {
        self.services.get(&key.service)?.stream_stats(key)
    }

    /// Paths of a service's connection at present.
    pub fn paths(&mut self, id: ServiceId) -> Vec<PathInfo> {
        let conn = self.services.get(&id).and_then(Service::conn);
        conn.map(|c| self.link.paths(c)).unwrap_or_default()
    }

    /// Bytes of talk that wait to be sent to a service's camera.
    pub fn send_queue(&self, id: ServiceId) -> usize {
        self.services.get(&id).map_or(0, Service::send_queue)
    }

    /// Bytes of a service by kind of path, over all its connections.
    pub fn totals(&mut self, id: ServiceId) -> PathTotals {
        let Some(service) = self.services.get(&id) else { return PathTotals::default() };
        service.totals(&mut self.link)
    }

    /// What the link dropped and why.
    pub fn link_stats(&self) -> LinkStats {
        self.link.stats()
    }

    /// Whether any server is reached over TCP at present, because UDP does not get there.
    pub fn is_over_tcp(&self) -> bool {
        self.link.uses_tcp()
    }

    /// The network below has changed in a way that the local addresses do not show.
    pub fn network_changed(&mut self, now: Instant) {
        self.link.network_changed(now);
        self.handle_link_events(now);
    }

    /// Closes everything. Drain the machine after it.
    pub fn shutdown(&mut self, now: Instant) {
        for (_, mut service) in std::mem::take(&mut self.services) {
            service.close(now, &mut self.link, "the viewer stops");
        }
    }

    /// Whether nothing is left to do after [`shutdown`](Self::shutdown).
    pub fn is_closed(&self) -> bool {
        self.services.is_empty() && self.link.connections() == 0
    }

    fn handle_link_events(&mut self, now: Instant) {
        while let Some((conn, event)) = self.link.poll_event() {
            if let Some(service) = self.services.values_mut().find(|s| s.owns(conn)) {
                service.handle(now, &mut self.link, conn, event, &mut self.events);
            }
        }
    }
}

impl Machine for Viewer {
    type Event = ViewerEvent;

    fn handle_datagram(&mut self, now: Instant, datagram: Datagram) {
        self.link.handle_datagram(now, datagram);
        self.handle_link_events(now);
    }

    fn handle_datagrams(&mut self, now: Instant, datagrams: &mut dyn Iterator<Item = Datagram>) {
        self.link.handle_datagrams(now, datagrams);
        self.handle_link_events(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.link.handle_timeout(now);
        self.handle_link_events(now);
        for service in self.services.values_mut() {
            service.handle_timeout(now, &mut self.link, &mut self.events);
        }
    }

    fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<Transmit> {
        self.link.poll_transmit(now, buf)
    }

    fn poll_event(&mut self) -> Option<ViewerEvent> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        self.services.values_mut().find_map(|s| s.poll_media(&mut self.link, &mut self.events))
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let services = self.services.values().filter_map(Service::next).min();
        [self.link.poll_timeout(), services].into_iter().flatten().min()
    }

    fn set_wall_clock(&mut self, _now: Instant, _unix: Duration) {
        // Whether a capability has expired is for the camera to say; its clock counts.
    }

    fn handle_stream_opened(&mut self, now: Instant, stream: ByteStreamId) {
        self.link.handle_stream_opened(now, stream);
    }

    fn handle_stream_bytes(&mut self, now: Instant, stream: ByteStreamId, bytes: &[u8]) {
        self.link.handle_stream_bytes(now, stream, bytes);
        self.handle_link_events(now);
    }

    fn handle_stream_closed(&mut self, now: Instant, stream: ByteStreamId) {
        self.link.handle_stream_closed(now, stream);
        self.handle_link_events(now);
    }

    fn poll_stream(&mut self) -> Option<ByteStreamAction> {
        self.link.poll_stream()
    }

    fn poll_stream_bytes(&mut self, now: Instant, stream: ByteStreamId, buf: &mut Vec<u8>) {
        self.link.poll_stream_bytes(now, stream, buf);
    }

    fn set_local_addresses(&mut self, now: Instant, addrs: &[SocketAddr]) {
        self.link.set_local_addresses(now, addrs);
        self.handle_link_events(now);
    }
}

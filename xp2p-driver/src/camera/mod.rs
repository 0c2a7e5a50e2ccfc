//! A camera as an application runs it.

mod app;
mod files;
mod listing;
mod playback;
mod serve;
mod voice;

pub use self::app::{Answer, CameraApp, VoiceSink};

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use xp2p_proto::camera::{
    Camera, CameraConfig, CameraEvent, MessageError, MessageId, PushFrameError, ViewerId, ViewerInfo,
};
use xp2p_proto::flv::{Frame, Tag};
use xp2p_proto::info::{Host, HostPort, Rights, Xp2pInfo};
use xp2p_proto::live::PushError;
use xp2p_proto::request::Quality;

use crate::event_loop::Role;
use crate::handle::{Gone, Handle};
use crate::lan::Announcement;
use crate::portmap::PortMapper;
use crate::runtime::{Runtime, sleep};
use crate::socket::BoundSocket;

/// Most events that wait for the application; the oldest are dropped then.
const MAX_EVENTS: usize = 1024;
/// How often names of servers are looked up again.
const RESOLVE_AGAIN: Duration = Duration::from_secs(60);
/// Pause before a name that could not be looked up is tried again.
const RESOLVE_RETRY: Duration = Duration::from_secs(5);

fn host_and_port(addr: &HostPort) -> (String, u16) {
    let host = match &addr.host {
        Host::Ip(ip) => ip.to_string(),
        Host::Name(name) => name.to_string(),
    };
    (host, addr.port)
}

struct CameraRole {
    events: async_channel::Sender<CameraEvent>,
    /// To those who serve requests; the camera's flow control bounds it.
    requests: async_channel::Sender<CameraEvent>,
}

impl Role<Camera> for CameraRole {
    fn on_event(&mut self, _machine: &mut Camera, _now: Instant, event: CameraEvent) {
        if serve::concerns(&event) {
            // Fails only when the servant is gone, which ends with the camera.
            let _ = self.requests.try_send(event.clone());
            if serve::is_internal(&event) {
                return;
            }
        }
        tracing::debug!(?event, "camera");
        // An application that does not listen loses the oldest, and then the channel itself.
        let _ = self.events.force_send(event);
    }

    fn shutdown(&mut self, machine: &mut Camera, now: Instant) {
        machine.shutdown(now);
    }

    fn is_closed(&self, machine: &Camera) -> bool {
        machine.is_closed()
    }
}

/// A running camera. Clones are the same one; it stops when all are dropped, or with [`shutdown`](Self::shutdown).
#[derive(Debug, Clone)]
pub struct CameraHandle {
    handle: Handle<Camera>,
    /// What its own network is told.
    lan: Option<Announcement>,
    port: PortMapper,
}

impl CameraHandle {
    /// Runs a camera on a socket bound to `bind`. Also returns its events.
    ///
    /// With [`CameraConfig::lan`], viewers in its own network find it without a server; not if `bind` is an address of loopback.
    /// With [`CameraConfig::port_mapping`] the router is asked to let viewers in.
    ///
    /// Servers that are given by name (in `advertised`, with no address in `addrs`) are looked up, now and then again.
    ///
    /// # Errors
    ///
    /// The socket cannot be bound, or the configuration is wrong.
    pub fn spawn<R: Runtime>(
        runtime: &R,
        bind: SocketAddr,
        config: CameraConfig,
    ) -> io::Result<(Self, async_channel::Receiver<CameraEvent>)> {
        Self::spawn_with(runtime, bind, config, Arc::new(()))
    }

    /// The same with an application that answers commands, has recordings and files, and hears talk.
    ///
    /// # Errors
    ///
    /// The socket cannot be bound, or the configuration is wrong.
    pub fn spawn_with<R: Runtime>(
        runtime: &R,
        bind: SocketAddr,
        config: CameraConfig,
        app: Arc<dyn CameraApp>,
    ) -> io::Result<(Self, async_channel::Receiver<CameraEvent>)> {
        Self::spawn_on(runtime, BoundSocket::bind(bind)?, config, app)
    }

    /// The same on a socket that is bound already: see [`BoundSocket`].
    ///
    /// # Errors
    ///
    /// The runtime cannot watch the socket, or the configuration is wrong.
    pub fn spawn_on<R: Runtime>(
        runtime: &R,
        socket: BoundSocket,
        config: CameraConfig,
        app: Arc<dyn CameraApp>,
    ) -> io::Result<(Self, async_channel::Receiver<CameraEvent>)> {
        let (sender, events) = async_channel::bounded(MAX_EVENTS);
        let (requests, wanted) = async_channel::unbounded();
        let names: Vec<(usize, Vec<(String, u16)>)> = config
            .servers
            .iter()
            .enumerate()
            .filter(|(_, s)| s.addrs.is_empty())
            .map(|(i, s)| (i, s.advertised.iter().map(host_and_port).collect()))
            .collect();
        let (lan, port_mapping) = (config.lan, config.port_mapping);
        let handle = Handle::spawn_on(runtime, vec![socket], |_, now| {
            let machine = Camera::new(config, now).map_err(io::Error::other)?;
            Ok((machine, CameraRole { events: sender, requests }))
        })?;
        let context = serve::Context { runtime: runtime.clone(), handle: handle.clone().downgrade(), app };
        runtime.spawn(Box::pin(serve::serve(context, wanted)));
        for (index, hosts) in names {
            let (runtime2, handle) = (runtime.clone(), handle.clone().downgrade());
            runtime.spawn(Box::pin(async move {
                loop {
                    let mut addrs = Vec::new();
                    for (host, port) in &hosts {
                        match runtime2.resolve(host.clone(), *port).await {
                            Ok(found) => addrs.extend(found),
                            Err(e) => tracing::warn!("cannot look up {host}: {e}"),
                        }
                    }
                    let pause = if addrs.is_empty() { RESOLVE_RETRY } else { RESOLVE_AGAIN };
                    let Some(handle) = handle.upgrade() else { break };
                    if !addrs.is_empty() {
                        let tell =
                            move |camera: &mut Camera, now| camera.set_server_addresses(now, index, &addrs);
                        if handle.call(tell).await.is_err() {
                            break;
                        }
                    }
                    drop(handle);
                    sleep(&runtime2, pause).await;
                }
            }));
        }
        let lan = if lan { Announcement::start(runtime, &handle) } else { None };
        let port = PortMapper::start_for(runtime, port_mapping, &handle, Camera::set_mapped_address);
        Ok((Self { handle, lan, port }, events))
    }

    /// The handle of the machine, for all that has no method here.
    pub fn machine(&self) -> &Handle<Camera> {
        &self.handle
    }

    /// How it stands with the camera's port at the router.
    pub fn port_mapping(&self) -> &PortMapper {
        &self.port
    }

    /// See [`Camera::xp2p_info`].
    ///
    /// # Errors
    ///
    /// [`Gone`].
    pub async fn xp2p_info(
        &self,
        rights: Rights,
        expiry: Option<std::num::NonZeroU64>,
    ) -> Result<Option<Xp2pInfo>, Gone> {
        self.handle.call(move |camera, _| camera.xp2p_info(rights, expiry)).await
    }

    /// Pushes tags from a thread of a source; see [`Camera::push_tag`]. Errors of tags are given to `on_error` in the
    /// camera's task.
    ///
    /// # Errors
    ///
    /// [`Gone`].
    pub fn push_blocking(
        &self,
        channel: u32,
        quality: Quality,
        tag: Tag,
        on_error: impl FnOnce(PushError) + Send + 'static,
    ) -> Result<(), Gone> {
        self.handle.notify_blocking(move |camera, now| {
            if let Err(e) = camera.push_tag(now, channel, quality, &tag) {
                on_error(e);
            }
        })
    }

    /// Pushes a raw frame of an encoder from its thread; see [`Camera::push_frame`]. Errors of frames are given to
    /// `on_error` in the camera's task.
    ///
    /// # Errors
    ///
    /// [`Gone`].
    pub fn push_frame_blocking(
        &self,
        channel: u32,
        quality: Quality,
        frame: Frame,
        on_error: impl FnOnce(PushFrameError) + Send + 'static,
    ) -> Result<(), Gone> {
        self.handle.notify_blocking(move |camera, now| {
            if let Err(e) = camera.push_frame(now, channel, quality, &frame) {
                on_error(e);
            }
        })
    }

    /// See [`Camera::viewers`].
    ///
    /// # Errors
    ///
    /// [`Gone`].
    pub async fn viewers(&self) -> Result<Vec<ViewerInfo>, Gone> {
        self.handle.call(|camera, _| camera.viewers()).await
    }

    /// See [`Camera::send_message`]; the reply comes as an event.
    ///
    /// # Errors
    ///
    /// [`Gone`], and [`MessageError`] inside.
    pub async fn send_message(
        &self,
        viewer: ViewerId,
        text: String,
        timeout: Duration,
    ) -> Result<Result<MessageId, MessageError>, Gone> {
        self.handle.call(move |camera, now| camera.send_message(now, viewer, &text, timeout)).await
    }

    /// See [`Camera::set_epoch`].
    ///
    /// # Errors
    ///
    /// [`Gone`].
    pub async fn set_epoch(&self, epoch: u32) -> Result<(), Gone> {
        self.handle.call(move |camera, now| camera.set_epoch(now, epoch)).await
    }

    /// Says goodbye to viewers and servers.
    pub async fn shutdown(&self) {
        let goodbye = async {
            if let Some(lan) = &self.lan {
                lan.stop().await;
            }
            self.handle.shutdown().await;
        };
        futures_lite::future::zip(goodbye, self.port.stop()).await;
    }
}

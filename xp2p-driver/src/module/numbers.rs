//! How a service is doing: link, queues, bytes, times. And the switch of what it shares.

use std::time::Duration;

use xp2p_proto::error::ErrorCode;
use xp2p_proto::link::{PathKind, PathTotals};
use xp2p_proto::live::ReceiverStats;
use xp2p_proto::viewer::StreamStats;

use super::service::{Link, Running, no_stream};
use super::{ModuleError, Service, Startup, StreamKind};
use crate::handle::Gone;
use crate::runtime::Runtime;
use crate::viewer::{ServiceStat, StatStream, ViewStatus};
use crate::watch::WatchStats;

impl<R: Runtime> Service<R> {
    /// `getStreamLinkMode`: how data comes at present. `None`: the connection is not there, or nobody else watches a stream
    /// that is shared; such viewers reach each other directly or not at all.
    ///
    /// # Errors
    ///
    /// -2002 the module was destroyed.
    pub async fn link_mode(&self) -> Result<Option<PathKind>, ModuleError> {
        match &self.link() {
            Link::Camera(viewer, service) => {
                let service = *service;
                let paths = viewer.machine().call(move |viewer, _| viewer.paths(service)).await?;
                Ok(paths.iter().find(|p| p.selected).map(|p| p.kind))
            }
            Link::Shared(shared) => {
                Ok(shared.stats().await.filter(|s| s.peers > 0).map(|_| PathKind::Direct))
            }
        }
    }

    /// The sharing switch of one service; [`P2pModule::set_sharing`](super::P2pModule::set_sharing) is that of all. It has
    /// no meaning for a camera. When this returns after a stop, no further byte of the stream goes to another viewer.
    pub async fn set_sharing(&self, upload: bool, download: bool) {
        if let Link::Shared(shared) = &self.link() {
            shared.set_sharing(upload, download).await;
        }
    }

    /// What a stream that is shared has done, and how it is. `None`: it does not run, or the service is one of a camera.
    pub async fn sharing(&self) -> Option<WatchStats> {
        match &self.link() {
            Link::Camera(..) => None,
            Link::Shared(shared) => shared.stats().await,
        }
    }

    /// `getStreamBufSize`: bytes of a stream that wait for its slowest player.
    ///
    /// # Errors
    ///
    /// -2403 there is no such stream.
    pub fn stream_buf_size(&self, kind: StreamKind) -> Result<usize, ModuleError> {
        self.lock().streams.get(&kind).map(|s| s.hub.stats().queued).ok_or_else(no_stream)
    }

    /// All of the service as it is now, for the local server.
    pub(super) async fn stat(&self) -> Result<ServiceStat, Gone> {
        let stream = |(kind, running): (&StreamKind, &Running)| StatStream {
            action: kind.action(),
            key: running.key,
            hub: running.hub.clone(),
        };
        let streams: Vec<StatStream> = self.lock().streams.iter().map(stream).collect();
        match &self.link() {
            Link::Camera(viewer, service) => viewer.stat(&self.id, *service, streams).await,
            Link::Shared(shared) => {
                let sharing = shared.stats().await.unwrap_or_default();
                let streams = streams.iter().map(|s| {
                    let hub = s.hub.stats();
                    (s.action, Some(self.stream_stats(&sharing, hub.tags)), hub)
                });
                let streams = streams.collect();
                Ok(ServiceStat {
                    id: self.id.to_string(),
                    streams,
                    sharing: Some(sharing),
                    ..ServiceStat::default()
                })
            }
        }
    }

    /// `/stat`: paths with their round-trip times, bytes by path, and counters of a stream. Of one that is shared: no
    /// paths, bytes of other viewers as direct ones, and counters.
    ///
    /// # Errors
    ///
    /// -2002 the module was destroyed; -2403 there is no such stream.
    pub async fn status(&self, kind: StreamKind) -> Result<ViewStatus, ModuleError> {
        let (key, hub) = {
            let inner = self.lock();
            inner.streams.get(&kind).map(|s| (s.key, s.hub.clone())).ok_or_else(no_stream)?
        };
        match &self.link() {
            Link::Camera(viewer, _) => Ok(viewer.status(key).await?),
            Link::Shared(shared) => {
                let sharing = shared.stats().await.ok_or_else(no_stream)?;
                Ok(ViewStatus {
                    paths: Vec::new(),
                    totals: PathTotals {
                        direct_rx: sharing.p2p_bytes,
                        direct_tx: sharing.upload_bytes,
                        ..PathTotals::default()
                    },
                    stats: Some(self.stream_stats(&sharing, hub.stats().tags)),
                })
            }
        }
    }

    /// Counters of a shared stream in the words of one of a camera.
    fn stream_stats(&self, sharing: &WatchStats, tags: u64) -> StreamStats {
        let start = self.lock().startup.start.unwrap_or_default();
        let first = sharing.startup_ms.map(|ms| start + Duration::from_millis(ms));
        let received = ReceiverStats {
            bytes: sharing.p2p_bytes + sharing.origin_bytes,
            tags,
            keyframes: 0,
            skipped_gops: sharing.skips,
        };
        StreamStats { first_byte: first, first_keyframe: first, received }
    }

    /// How long each step up to the first picture of the live stream took.
    ///
    /// # Errors
    ///
    /// -2002 the module was destroyed.
    pub async fn startup(&self) -> Result<Startup, ModuleError> {
        let stats = match self.status(StreamKind::Live).await {
            Ok(status) => status.stats,
            Err(e) if e.code == ErrorCode::ServiceNotStarted => None,
            Err(e) => return Err(e),
        };
        let stats = stats.unwrap_or_default();
        Ok(Startup { data: stats.first_byte, keyframe: stats.first_keyframe, ..self.lock().startup })
    }
}

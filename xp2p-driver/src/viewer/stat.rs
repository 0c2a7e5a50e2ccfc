//! What the local player server tells at `/stat`.

use std::time::Duration;

use serde_json::{Value, json};
use xp2p_proto::link::{PathInfo, PathKind, PathTotals};
use xp2p_proto::viewer::{ServiceId, StreamKey, StreamStats};

use super::ViewerHandle;
use crate::handle::Gone;
use crate::player::{Hub, HubStats};
use crate::runtime::Runtime;
use crate::watch::WatchStats;

/// A stream that `/stat` is to tell of.
#[derive(Debug, Clone)]
pub struct StatStream {
    /// `live` or `playback`.
    pub action: &'static str,
    /// Its name within the viewer.
    pub key: StreamKey,
    /// Where its tags go.
    pub hub: Hub,
}

/// A service as it is now.
#[derive(Debug, Clone, Default)]
pub struct ServiceStat {
    /// Under which id players find it.
    pub id: String,
    /// Paths to the camera.
    pub paths: Vec<PathInfo>,
    /// Bytes by kind of path.
    pub totals: PathTotals,
    /// Bytes of talk that wait to be sent.
    pub send_queue: usize,
    /// Its streams: what each is, its counters, and those of its hub.
    pub streams: Vec<(&'static str, Option<StreamStats>, HubStats)>,
    /// How it is shared, of a stream that comes from a server and from its other viewers.
    pub sharing: Option<WatchStats>,
}

impl ServiceStat {
    /// The JSON of one service; `docs/API.md` lists the fields.
    pub fn to_json(&self) -> Value {
        let selected = self.paths.iter().find(|p| p.selected);
        let link = match selected.map(|p| p.kind) {
            Some(PathKind::Direct) => "direct",
            Some(PathKind::Relay) => "relay",
            Some(PathKind::RelayTcp) => "relay-tcp",
            None if self.sharing.is_some() => "shared",
            None => "none",
        };
        let streams: Vec<Value> = self.streams.iter().map(stream_json).collect();
        let mut value = json!({
            "id": self.id,
            "link": link,
            "rtt_ms": selected.map(|p| millis(p.rtt)),
            "bytes": {
                "p2p": { "received": self.totals.direct_rx, "sent": self.totals.direct_tx },
                "relay": { "received": self.totals.relay_rx, "sent": self.totals.relay_tx },
            },
            "send_queue": self.send_queue,
            "streams": streams,
        });
        if let Some(sharing) = &self.sharing {
            value["bytes"]["p2p"] = json!({ "received": sharing.p2p_bytes, "sent": sharing.upload_bytes });
            value["bytes"]["origin"] = json!({ "received": sharing.origin_bytes });
            value["sharing"] = sharing.to_json();
        }
        value
    }
}

fn stream_json((action, stats, hub): &(&'static str, Option<StreamStats>, HubStats)) -> Value {
    let stats = stats.unwrap_or_default();
    json!({
        "action": action,
        "first_byte_ms": stats.first_byte.map(millis),
        "first_keyframe_ms": stats.first_keyframe.map(millis),
        "bytes": stats.received.bytes,
        "tags": stats.received.tags,
        "keyframes": stats.received.keyframes,
        "skipped_gops": stats.received.skipped_gops,
        "players": hub.receivers,
        "queued": hub.queued,
        "dropped": hub.dropped,
    })
}

/// Milliseconds for people and JSON, to a tenth; below one to a thousandth, because a round trip over loopback is no tenth of one.
pub fn millis(time: Duration) -> f64 {
    let parts = if time < Duration::from_millis(1) { 1e3 } else { 10.0 };
    (time.as_secs_f64() * 1e3 * parts).round() / parts
}

/// The whole answer of `/stat`.
pub fn stat_json(services: &[ServiceStat]) -> String {
    json!({ "services": services.iter().map(ServiceStat::to_json).collect::<Vec<_>>() }).to_string()
}

impl<R: Runtime> ViewerHandle<R> {
    /// A service and some of its streams as they are now, for `/stat`. `id` is the one that players know.
    ///
    /// # Errors
    ///
    /// [`Gone`].
    pub async fn stat(
        &self,
        id: &str,
        service: ServiceId,
        streams: Vec<StatStream>,
    ) -> Result<ServiceStat, Gone> {
        let id = id.to_owned();
        let looked = self.machine().call(move |viewer, _| ServiceStat {
            id,
            paths: viewer.paths(service),
            totals: viewer.totals(service),
            send_queue: viewer.send_queue(service),
            streams: streams.iter().map(|s| (s.action, viewer.stream_stats(s.key), s.hub.stats())).collect(),
            sharing: None,
        });
        looked.await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xp2p_proto::live::ReceiverStats;

    #[test]
    fn the_document_lists_what_is_told() {
        let path = |kind, selected, rtt| PathInfo {
            kind,
            remote: "192.0.2.1:9".parse().unwrap(),
            rtt: Duration::from_micros(rtt),
            selected,
            tx_bytes: 0,
            rx_bytes: 0,
        };
        let received = ReceiverStats { bytes: 1000, tags: 10, keyframes: 2, skipped_gops: 1 };
        let live =
            StreamStats { first_byte: Some(Duration::from_millis(40)), first_keyframe: None, received };
        let hub = HubStats { receivers: 3, tags: 10, dropped: 4, queued: 500 };
        let stat = ServiceStat {
            id: "home/door".to_owned(),
            paths: vec![path(PathKind::Relay, false, 80_000), path(PathKind::Direct, true, 12_345)],
            totals: PathTotals { direct_tx: 1, direct_rx: 2, relay_tx: 3, relay_rx: 4 },
            send_queue: 9,
            streams: vec![("live", Some(live), hub)],
            sharing: None,
        };
        let lost = ServiceStat { id: "b".to_owned(), ..ServiceStat::default() };
        let told: Value = serde_json::from_str(&stat_json(&[stat, lost])).unwrap();
        let expected = json!({ "services": [
            {
                "id": "home/door",
                "link": "direct",
                "rtt_ms": 12.3,
                "bytes": { "p2p": { "received": 2, "sent": 1 }, "relay": { "received": 4, "sent": 3 } },
                "send_queue": 9,
                "streams": [{
                    "action": "live",
                    "first_byte_ms": 40.0,
                    "first_keyframe_ms": null,
                    "bytes": 1000,
                    "tags": 10,
                    "keyframes": 2,
                    "skipped_gops": 1,
                    "players": 3,
                    "queued": 500,
                    "dropped": 4,
                }],
            },
            {
                "id": "b",
                "link": "none",
                "rtt_ms": null,
                "bytes": { "p2p": { "received": 0, "sent": 0 }, "relay": { "received": 0, "sent": 0 } },
                "send_queue": 0,
                "streams": [],
            },
        ]});
        assert_eq!(told, expected);
        // Each field has its row.
        let document = include_str!("../../../docs/API.md");
        let fields = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let service = &expected["services"][0];
        for field in fields(service).into_iter().chain(fields(&service["streams"][0])) {
            assert!(document.contains(&format!("`{field}`")), "{field}");
        }
    }

    #[test]
    fn a_stream_that_is_shared_also_tells_what_its_origin_sent() {
        let sharing =
            WatchStats { p2p_bytes: 900, origin_bytes: 100, upload_bytes: 5, ..WatchStats::default() };
        let told = ServiceStat { sharing: Some(sharing), ..ServiceStat::default() }.to_json();
        assert_eq!(told["link"], "shared");
        assert_eq!(
            told["bytes"],
            json!({
                "p2p": { "received": 900, "sent": 5 },
                "relay": { "received": 0, "sent": 0 },
                "origin": { "received": 100 },
            })
        );
        assert_eq!(told["sharing"], sharing.to_json());
    }
}

//! What a watcher has done, and how it is.

use serde_json::{Map, Value, json};
use xp2p_proto::peer::{Peer, PeerStats};
use xp2p_proto::swarm::{OriginReason, Snapshot};

use super::role::Known;

/// Counters of a [`Watcher`](super::Watcher) since it began, and how it is now.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct WatchStats {
    /// Bytes of the stream from other viewers, without what came twice or was refused.
    pub p2p_bytes: u64,
    /// Bytes from the origin, as they went over the wire.
    pub origin_bytes: u64,
    /// Of these, by why they were not shared; in the order of [`OriginReason::ALL`].
    pub origin_bytes_by: [u64; OriginReason::COUNT],
    /// Bytes of the stream to other viewers.
    pub upload_bytes: u64,
    /// Time from the start to the first picture, in ms.
    pub startup_ms: Option<u64>,
    /// How often playing stopped.
    pub stalls: u32,
    /// For how long in all, in ms.
    pub stall_ms: u64,
    /// How often the player's stream went on at a later keyframe.
    pub skips: u64,
    /// How far behind the origin it plays, in ms. `None`: that is not known while nobody signs the stream.
    pub latency_ms: Option<u64>,
    /// Viewers that it is connected to.
    pub peers: usize,
    /// Of these, those that send it parts of the stream by themselves.
    pub parents: usize,
    /// Parts of the stream that it sends to others by itself; a viewer that gets all from here counts eight times.
    pub children: usize,
    /// Why the origin is, or was last, read.
    pub reason: OriginReason,
    /// Whether the origin is read.
    pub origin_open: bool,
}

impl WatchStats {
    pub(super) fn of(peer: &PeerStats, snapshot: &Snapshot, known: &Known) -> Self {
        let swarm = &peer.swarm;
        let useless = swarm.duplicate_bytes + swarm.corrupt_bytes;
        Self {
            p2p_bytes: swarm.p2p_bytes.saturating_sub(useless),
            origin_bytes: known.origin_bytes_by.iter().sum(),
            origin_bytes_by: known.origin_bytes_by,
            upload_bytes: swarm.upload_bytes,
            startup_ms: known.first_picture.map(|t| u64::try_from(t.as_millis()).unwrap_or(u64::MAX)),
            stalls: swarm.stalls,
            stall_ms: swarm.stall_ms,
            skips: peer.output_skips,
            latency_ms: Some(snapshot.latency_ms).filter(|ms| *ms > 0),
            peers: snapshot.neighbours,
            parents: snapshot.parents,
            children: snapshot.children,
            reason: swarm.origin_reason,
            origin_open: snapshot.origin_open,
        }
    }

    pub(super) fn now(peer: &mut Peer, now: std::time::Instant, known: &Known) -> Self {
        Self::of(&peer.stats(), &peer.snapshot(now), known)
    }

    /// Part of the bytes that came from other viewers, from 0 to 1: what the origin was spared.
    pub fn offload(&self) -> f64 {
        let all = self.p2p_bytes + self.origin_bytes;
        if all == 0 { 0.0 } else { self.p2p_bytes as f64 / all as f64 }
    }

    /// The JSON of all of it; `docs/API.md` lists the fields.
    pub fn to_json(&self) -> Value {
        let by: Map<String, Value> = OriginReason::ALL
            .iter()
            .zip(self.origin_bytes_by)
            .filter(|(reason, bytes)| **reason != OriginReason::None || *bytes > 0)
            .map(|(reason, bytes)| (reason.name().to_owned(), bytes.into()))
            .collect();
        json!({
            // To a hundredth of a percent.
            "offload": (self.offload() * 10_000.0).round() / 10_000.0,
            "p2p_bytes": self.p2p_bytes,
            "origin_bytes": self.origin_bytes,
            "origin_bytes_by": by,
            "upload_bytes": self.upload_bytes,
            "startup_ms": self.startup_ms,
            "stalls": self.stalls,
            "stall_ms": self.stall_ms,
            "skips": self.skips,
            "latency_ms": self.latency_ms,
            "peers": self.peers,
            "parents": self.parents,
            "children": self.children,
            "reason": self.reason.name(),
            "origin_open": self.origin_open,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_lists_what_is_told() {
        let stats = WatchStats {
            p2p_bytes: 900,
            origin_bytes: 100,
            origin_bytes_by: [0, 60, 0, 0, 0, 40, 0],
            startup_ms: Some(500),
            reason: OriginReason::Late,
            ..WatchStats::default()
        };
        let told = stats.to_json();
        assert_eq!(told["offload"], 0.9);
        assert_eq!(
            told["origin_bytes_by"],
            json!({"puller": 60, "no_peers": 0, "nat": 0, "uplink": 0, "late": 40, "policy": 0})
        );
        assert_eq!(told["reason"], "late");
        assert_eq!(told["latency_ms"], Value::Null);
        let document = include_str!("../../../docs/API.md");
        for field in told.as_object().unwrap().keys() {
            assert!(document.contains(&format!("`{field}`")), "{field}");
        }
        assert_eq!(WatchStats::default().offload(), 0.0);
    }
}

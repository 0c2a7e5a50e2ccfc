//! A member of a small swarm and all that its player got.

use std::time::Duration;

use xp2p_proto::flv::{Tag, TagKind};
use xp2p_proto::peer::{Peer, PeerEvent};

use super::origin::Reading;
use crate::media::number_of;
use crate::sim::{HostId, NatId};

/// A member and what its player got.
pub struct Watcher {
    /// The host.
    pub host: HostId<Peer>,
    /// Its NAT.
    pub nat: Option<NatId>,
    /// Whether it is still there.
    pub alive: bool,
    /// When it came.
    pub since: Duration,
    /// Tags that came out, and when.
    pub shown: Vec<(Duration, Tag)>,
    /// Other events.
    pub events: Vec<(Duration, PeerEvent)>,
    pub(super) reading: Option<Reading>,
    pub(super) opens: u32,
}

impl Watcher {
    pub(super) fn new(host: HostId<Peer>, nat: Option<NatId>, since: Duration) -> Self {
        Self { host, nat, alive: true, since, shown: Vec::new(), events: Vec::new(), reading: None, opens: 0 }
    }

    /// Numbers of one track in the order in which they came out.
    pub fn numbers(&self, kind: TagKind) -> Vec<u32> {
        self.numbers_after(kind, Duration::ZERO)
    }

    /// The same from a time on.
    pub fn numbers_after(&self, kind: TagKind, from: Duration) -> Vec<u32> {
        let shown = self.shown.iter().filter(|(at, _)| *at >= from);
        let tags = shown.filter(|(_, t)| t.kind == kind && !t.is_sequence_header());
        tags.filter_map(|(_, t)| number_of(t)).collect()
    }

    /// Longest time without a picture between two times.
    pub fn longest_gap(&self, from: Duration, to: Duration) -> Duration {
        let shown = self.shown.iter().filter(|(_, t)| t.kind == TagKind::Video).map(|(at, _)| *at);
        let times = shown.filter(|at| (from..=to).contains(at));
        let times: Vec<Duration> = [from].into_iter().chain(times).chain([to]).collect();
        times.windows(2).map(|w| w[1] - w[0]).max().unwrap_or_default()
    }

    /// Whether it reads the origin.
    pub fn reads_origin(&self) -> bool {
        self.alive && self.reading.is_some()
    }
}

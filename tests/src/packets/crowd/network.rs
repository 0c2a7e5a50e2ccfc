//! What a run at the level of packets tells beyond the report.

use std::fmt::Write as _;

use serde::Serialize;
use xp2p_proto::peer::PeerStats;

use super::viewer::Stages;
use crate::swarm::queue::{MS, Nanos};

/// The middle, and all but 5 %, of some times in ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Middle {
    /// How many there are.
    pub count: usize,
    /// The middle.
    pub p50: u32,
    /// All but 5 % are at most this.
    pub p95: u32,
}

impl Middle {
    fn of(mut times: Vec<Nanos>) -> Self {
        times.sort_unstable();
        let at = |part: usize| {
            let place = (times.len() * part / 100).min(times.len().saturating_sub(1));
            times.get(place).map_or(0, |t| (t / MS) as u32)
        };
        Self { count: times.len(), p50: at(50), p95: at(95) }
    }
}

/// Figures of real connections.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Network {
    /// From joining until the server has registered a viewer, in ms; of honest viewers, as all of these.
    pub registered: Middle,
    /// Until the tracker has answered.
    pub tracked: Middle,
    /// Until the first direct connection to another member.
    pub neighbour: Middle,
    /// Until the origin was opened, of those who did before the first picture.
    pub origin: Middle,
    /// Connections begun.
    pub connects: u64,
    /// Ends of connections that became direct.
    pub direct: u64,
    /// Connections given up without a direct path.
    pub unreachable: u64,
    /// IP packets of all hosts.
    pub packets: u64,
    /// Their bytes.
    pub wire_bytes: u64,
    /// Of them, bytes of pieces that arrived from members.
    pub piece_bytes: u64,
    /// Bytes that the relay passed on.
    pub relayed_bytes: u64,
    /// Bytes that the server filled in.
    pub filled_bytes: u64,
    /// Packets that a full queue dropped.
    pub queue_drops: u64,
    /// Packets that were lost by chance.
    pub losses: u64,
    /// Times that a timer was due right after it was handled.
    pub rearms: u64,
}

impl Network {
    pub(super) fn add_stats(&mut self, stats: &PeerStats) {
        self.connects += stats.connects;
        self.direct += stats.direct;
        self.unreachable += stats.unreachable;
        self.piece_bytes += stats.swarm.p2p_bytes;
    }

    pub(super) fn set_stages(&mut self, stages: &[Stages]) {
        let of = |f: fn(&Stages) -> Option<Nanos>| Middle::of(stages.iter().filter_map(f).collect());
        self.registered = of(|s| s.registered);
        self.tracked = of(|s| s.tracked);
        self.neighbour = of(|s| s.neighbour);
        self.origin = of(|s| s.origin);
    }

    /// Lines for people.
    pub(crate) fn lines(&self) -> String {
        let mut out = String::new();
        let times = |m: Middle| format!("{}/{} ({})", m.p50, m.p95, m.count);
        let _ = writeln!(
            out,
            "newcomers, ms p50/p95: registered {}, tracked {}, first neighbour {}, origin opened {}",
            times(self.registered),
            times(self.tracked),
            times(self.neighbour),
            times(self.origin),
        );
        let _ = writeln!(
            out,
            "connections: {} begun, {} ends direct, {} given up; relayed {} kB, filled {} kB; rearms {}",
            self.connects,
            self.direct,
            self.unreachable,
            self.relayed_bytes / 1000,
            self.filled_bytes / 1000,
            self.rearms,
        );
        let _ = writeln!(
            out,
            "packets: {:.2} million, {:.1} MB, of which pieces {:.1} MB; {} lost, {} dropped by queues",
            self.packets as f64 / 1e6,
            self.wire_bytes as f64 / 1e6,
            self.piece_bytes as f64 / 1e6,
            self.losses,
            self.queue_drops,
        );
        out
    }
}

//! Path choice: direct where possible, the relay as a backup, and a quick way back when a direct path dies.
//!
//! QUIC itself gives a path up only after its idle timeout, and until then retransmits into the void. A camera
//! picture cannot wait that long. So each side watches every path: packets went out and nothing came back, or the
//! peer has moved its own packets to another path, makes a path *suspect*; a suspect path is pinged, and if the
//! ping stays unanswered the path is demoted to a backup. It is promoted again as soon as anything arrives on it.
//! Both sides decide by themselves, from what they see.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use noq_proto::{Connection, FrameStats, PathId, PathStats, PathStatus, VarInt};

use super::addr::{from_quic, virtual_index};

/// How often the paths of a connection with a choice are looked at while anything moves on them or is unanswered.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Silence after which a path is pinged: this, or three round trips.
const SUSPECT_AFTER: Duration = Duration::from_millis(300);
/// Silence after the ping until the path counts as dead: this, or three round trips.
const DEAD_AFTER: Duration = Duration::from_millis(300);
/// A direct path must be better than the chosen one by this factor to replace it.
const SWITCH_FACTOR: f64 = 0.8;

/// How a path reaches the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PathKind {
    /// Straight to the peer's address.
    Direct,
    /// Through a server.
    Relay,
    /// Through a server, and to the server over TCP, because UDP does not get there.
    RelayTcp,
}

impl PathKind {
    /// The same for a link that reaches the path's server over TCP.
    pub(super) const fn over(self, tcp: bool) -> Self {
        match self {
            Self::Relay if tcp => Self::RelayTcp,
            other => other,
        }
    }
}

/// A path as the application sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathInfo {
    /// Direct or relay.
    pub kind: PathKind,
    /// The peer's address; for a relayed peer a virtual one.
    pub remote: SocketAddr,
    /// Smoothed round-trip time.
    pub rtt: Duration,
    /// Whether data is sent on it at present.
    pub selected: bool,
    /// UDP payload bytes sent on it.
    pub tx_bytes: u64,
    /// UDP payload bytes received on it.
    pub rx_bytes: u64,
}

/// Bytes by kind of path, over the life of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PathTotals {
    /// UDP payload bytes sent over direct paths.
    pub direct_tx: u64,
    /// UDP payload bytes received over direct paths.
    pub direct_rx: u64,
    /// UDP payload bytes sent through relays.
    pub relay_tx: u64,
    /// UDP payload bytes received through relays.
    pub relay_rx: u64,
}

impl std::ops::Add for PathTotals {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            direct_tx: self.direct_tx + other.direct_tx,
            direct_rx: self.direct_rx + other.direct_rx,
            relay_tx: self.relay_tx + other.relay_tx,
            relay_rx: self.relay_rx + other.relay_rx,
        }
    }
}

impl PathTotals {
    fn count(&mut self, kind: PathKind, stats: &PathStats) {
        let (tx, rx) = match kind {
            PathKind::Direct => (&mut self.direct_tx, &mut self.direct_rx),
            PathKind::Relay | PathKind::RelayTcp => (&mut self.relay_tx, &mut self.relay_rx),
        };
        *tx += stats.udp_tx.bytes;
        *rx += stats.udp_rx.bytes;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Alive,
    /// Pinged at this time.
    Suspect(Instant),
    Dead,
}

#[derive(Debug)]
struct Watched {
    kind: PathKind,
    health: Health,
    rx_seen: u64,
    tx_seen: u64,
    /// Bytes of packets that the peer has to acknowledge.
    asked_seen: u64,
    /// Stream frames in both directions.
    data_seen: u64,
    last_rx: Instant,
    /// When the peer was last heard here while data was on its way.
    last_busy_rx: Instant,
    /// When the first packet went out that nothing has been heard since.
    unanswered: Option<Instant>,
}

impl Watched {
    /// Whether the silence of this path may become a verdict without anything else happening.
    fn is_waited_for(&self) -> bool {
        match self.health {
            Health::Alive => self.kind == PathKind::Direct && self.unanswered.is_some(),
            Health::Suspect(_) => true,
            Health::Dead => false,
        }
    }
}

/// The paths of one connection and the choice among them.
#[derive(Debug, Default)]
pub(super) struct Paths {
    watched: BTreeMap<PathId, Watched>,
    selected: Option<PathId>,
    /// Since when that one is.
    selected_at: Option<Instant>,
    check_at: Option<Instant>,
    /// The last check, or the beginning: checks are whole intervals apart, so that none comes later for having been left out.
    checked_at: Option<Instant>,
    gone: PathTotals,
}

/// What a check found.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Data now goes another way.
    pub(super) switched: bool,
    /// The last working direct path has just died.
    pub(super) lost_direct: bool,
}

/// Frames that a living peer sends often. Datagrams do not count: anybody can send those, and a peer that has restarted
/// answers with resets that QUIC may not recognise.
pub(super) fn frames_heard(stats: &FrameStats) -> u64 {
    stats.acks + stats.path_acks + stats.stream + stats.ping + stats.path_challenge + stats.path_response
}

/// Frames that carry data of the application, in both directions.
fn data_frames(stats: &PathStats) -> u64 {
    stats.frame_tx.stream + stats.frame_rx.stream
}

fn kind_of(conn: &Connection, id: PathId) -> Option<PathKind> {
    let remote = conn.network_path(id).ok()?.remote();
    Some(if virtual_index(remote).is_some() { PathKind::Relay } else { PathKind::Direct })
}

/// The path that data should take: a working direct one, else a working relay, else whichever was heard last. Of one kind the
/// quickest; `current` stays unless another one is much better. `None`: there is no path.
fn pick(
    watched: &BTreeMap<PathId, Watched>,
    current: Option<PathId>,
    rtt: impl Fn(PathId) -> Duration,
) -> Option<PathId> {
    let usable = |kind: PathKind| {
        let works = move |(_, w): &(&PathId, &Watched)| w.kind == kind && w.health != Health::Dead;
        watched.iter().filter(works).map(|(&id, _)| (rtt(id), id)).min()
    };
    let (best_rtt, best) = usable(PathKind::Direct).or_else(|| usable(PathKind::Relay)).or_else(|| {
        // Everything looks dead: stay where packets were heard last.
        watched.iter().max_by_key(|(_, w)| w.last_rx).map(|(&id, _)| (rtt(id), id))
    })?;
    if let Some(current) = current
        && let Some(w) = watched.get(&current)
        && w.health != Health::Dead
        && watched.get(&best).is_some_and(|b| b.kind == w.kind)
        && best_rtt.as_secs_f64() > rtt(current).as_secs_f64() * SWITCH_FACTOR
    {
        return Some(current);
    }
    Some(best)
}

impl Paths {
    /// A path can carry data from now on.
    pub(super) fn established(&mut self, now: Instant, conn: &mut Connection, id: PathId) -> Outcome {
        let Some(kind) = kind_of(conn, id) else { return Outcome::default() };
        let stats = conn.path_stats(id).unwrap_or_default();
        self.watched.insert(
            id,
            Watched {
                kind,
                health: Health::Alive,
                rx_seen: frames_heard(&stats.frame_rx),
                tx_seen: stats.udp_tx.datagrams,
                asked_seen: stats.sent_bytes,
                data_seen: data_frames(&stats),
                last_rx: now,
                last_busy_rx: now,
                unanswered: None,
            },
        );
        self.touch(now);
        Outcome { switched: self.choose(now, conn), lost_direct: false }
    }

    /// A path is no longer usable.
    pub(super) fn abandoned(&mut self, now: Instant, conn: &mut Connection, id: PathId) -> Outcome {
        let Some(gone) = self.watched.remove(&id) else { return Outcome::default() };
        let lost_direct = gone.kind == PathKind::Direct && !self.has_direct();
        Outcome { switched: self.choose(now, conn), lost_direct }
    }

    /// The last word on a path's traffic.
    pub(super) fn discarded(&mut self, kind: PathKind, stats: &PathStats) {
        self.gone.count(kind, stats);
    }

    /// The kind under which a path's final statistics are to be counted.
    pub(super) fn kind(&self, conn: &Connection, id: PathId) -> PathKind {
        self.watched.get(&id).map(|w| w.kind).or_else(|| kind_of(conn, id)).unwrap_or(PathKind::Relay)
    }

    /// Whether a direct path works at present.
    pub(super) fn has_direct(&self) -> bool {
        self.watched.values().any(|w| w.kind == PathKind::Direct && w.health != Health::Dead)
    }

    /// The path that data goes by.
    pub(super) fn selected(&self) -> Option<PathId> {
        self.selected
    }

    /// The path that data goes by, and since when.
    pub(super) fn selected_since(&self) -> Option<(PathId, Instant)> {
        self.selected.zip(self.selected_at)
    }

    /// The kind of path that data goes by.
    pub(super) fn selected_kind(&self) -> Option<PathKind> {
        self.selected.and_then(|id| self.watched.get(&id)).map(|w| w.kind)
    }

    /// A packet came or went, on whatever path: there is something to look at. A lone path leaves nothing to decide, and while
    /// nothing moves there is nothing new to see, so that idle connections sleep.
    pub(super) fn touch(&mut self, now: Instant) {
        if self.watched.len() < 2 || self.check_at.is_some() {
            return;
        }
        let last = *self.checked_at.get_or_insert(now);
        // A few hundred days of such intervals fit into 32 bits.
        let past = now.saturating_duration_since(last).as_millis() / CHECK_INTERVAL.as_millis();
        let intervals = u32::try_from(past + 1).unwrap_or(u32::MAX);
        self.check_at = Some(last + CHECK_INTERVAL * intervals);
    }

    pub(super) fn next_check(&self) -> Option<Instant> {
        self.check_at
    }

    /// Looks at all paths, pings the suspects, demotes the dead, promotes the revived.
    pub(super) fn check(&mut self, now: Instant, conn: &mut Connection) -> Outcome {
        if self.check_at.is_none_or(|at| at > now) {
            return Outcome::default();
        }
        self.check_at = None;
        self.checked_at = Some(now);
        let had_direct = self.has_direct();
        let all: Vec<_> = self.watched.keys().filter_map(|&id| Some((id, conn.path_stats(id)?))).collect();
        let mut busy = false;
        for (id, stats) in &all {
            if let Some(path) = self.watched.get_mut(id) {
                busy |= data_frames(stats) > std::mem::replace(&mut path.data_seen, data_frames(stats));
            }
        }
        for (id, stats) in all {
            let Some(path) = self.watched.get_mut(&id) else { continue };
            let heard = frames_heard(&stats.frame_rx) > path.rx_seen;
            if heard {
                path.rx_seen = frames_heard(&stats.frame_rx);
                path.last_rx = now;
                path.unanswered = None;
                path.health = Health::Alive;
            }
            if heard && busy {
                path.last_busy_rx = now;
            }
            // While data is on its way something should come after whatever we send, be it an acknowledgement. Of pings,
            // keep-alives among them, only those want an answer that have none: else two idle peers would ping each other for
            // ever about their acknowledgements.
            let asked = if busy {
                stats.udp_tx.datagrams > path.tx_seen
            } else {
                stats.sent_bytes > path.asked_seen && !heard
            };
            path.tx_seen = stats.udp_tx.datagrams;
            path.asked_seen = stats.sent_bytes;
            if asked {
                path.unanswered.get_or_insert(now);
            }
            // A migrated path keeps its id but may have changed its nature.
            if let Some(kind) = kind_of(conn, id) {
                path.kind = kind;
            }
        }
        // Without an alternative there is nothing to decide, and no ping is worth its bytes.
        if self.watched.len() >= 2 {
            self.judge(now, conn);
        }
        if self.watched.values().any(Watched::is_waited_for) {
            self.touch(now);
        }
        let switched = self.choose(now, conn);
        Outcome { switched, lost_direct: had_direct && !self.has_direct() }
    }

    fn judge(&mut self, now: Instant, conn: &mut Connection) {
        // A keep-alive on another path is no sign that the peer has left this one.
        let newest_rx = self.watched.values().map(|w| w.last_busy_rx).max();
        let relay_rx = self.watched.values().filter(|w| w.kind == PathKind::Relay).map(|w| w.last_rx).max();
        let mut suspected = false;
        let mut replaced = Vec::new();
        for (&id, path) in &mut self.watched {
            let rtt = conn.rtt(id).unwrap_or_default();
            let silent_for =
                |since: Instant, least: Duration| now.saturating_duration_since(since) >= least.max(3 * rtt);
            path.health = match path.health {
                Health::Alive if path.kind == PathKind::Direct => {
                    let no_answer = path.unanswered.is_some_and(|at| silent_for(at, SUSPECT_AFTER));
                    let peer_left = newest_rx.is_some_and(|at| {
                        at.saturating_duration_since(path.last_rx) >= SUSPECT_AFTER.max(3 * rtt)
                    });
                    if (no_answer || peer_left) && conn.ping_path(id).is_ok() {
                        suspected = true;
                        Health::Suspect(now)
                    } else {
                        Health::Alive
                    }
                }
                Health::Suspect(at) if silent_for(at, DEAD_AFTER) => {
                    // What was sent on it is lost. QUIC would find that out by timeouts that double, and the picture
                    // has a hole until then; a path that is closed has all of it sent again on the others at once.
                    if relay_rx.is_some_and(|rx| rx > at) {
                        replaced.push(id);
                    }
                    Health::Dead
                }
                other => other,
            };
        }
        if suspected {
            // Whether the relay is any better should be known by the time of the verdict.
            for (&id, _) in self.watched.iter().filter(|(_, w)| w.kind == PathKind::Relay) {
                // Fails only for a path that has just closed.
                let _ = conn.ping_path(id);
            }
        }
        for id in replaced {
            // Fails only for the last path, and the relay is another.
            let _ = conn.close_path(now, id, VarInt::from_u32(0));
        }
    }

    /// Picks the path for data. Returns whether the choice changed.
    fn choose(&mut self, now: Instant, conn: &mut Connection) -> bool {
        let Some(best) = pick(&self.watched, self.selected, |id| conn.rtt(id).unwrap_or(Duration::MAX))
        else {
            self.selected = None;
            return false;
        };
        for &id in self.watched.keys() {
            let status = if id == best { PathStatus::Available } else { PathStatus::Backup };
            if conn.path_status(id).is_ok_and(|s| s != status) {
                // Fails only for a path that has just closed, which needs no status.
                let _ = conn.set_path_status(id, status);
            }
        }
        let switched = self.selected.replace(best) != Some(best);
        if switched {
            self.selected_at = Some(now);
        }
        switched
    }

    /// All open paths, for display.
    pub(super) fn list(&self, conn: &mut Connection) -> Vec<PathInfo> {
        self.watched
            .iter()
            .filter_map(|(&id, w)| {
                let stats = conn.path_stats(id)?;
                Some(PathInfo {
                    kind: w.kind,
                    remote: from_quic(conn.network_path(id).ok()?.remote()),
                    rtt: conn.rtt(id).unwrap_or_default(),
                    selected: self.selected == Some(id),
                    tx_bytes: stats.udp_tx.bytes,
                    rx_bytes: stats.udp_rx.bytes,
                })
            })
            .collect()
    }

    /// Bytes by kind of path since the connection began.
    pub(super) fn totals(&self, conn: &mut Connection) -> PathTotals {
        let mut totals = self.gone;
        for id in conn.paths() {
            if let Some(stats) = conn.path_stats(id) {
                totals.count(self.kind(conn, id), &stats);
            }
        }
        totals
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Kind, health (0 alive, 1 suspect, 2 dead), round-trip time and when it was heard, in ms.
    type Drawn = (bool, u8, u64, u64);

    #[allow(clippy::disallowed_methods)] // any instant will do
    fn watched(drawn: &[Drawn]) -> BTreeMap<PathId, Watched> {
        let start = Instant::now();
        let path = |&(direct, health, _, heard): &Drawn| Watched {
            kind: if direct { PathKind::Direct } else { PathKind::Relay },
            health: match health {
                0 => Health::Alive,
                1 => Health::Suspect(start),
                _ => Health::Dead,
            },
            rx_seen: 0,
            tx_seen: 0,
            asked_seen: 0,
            data_seen: 0,
            last_rx: start + Duration::from_millis(heard),
            last_busy_rx: start + Duration::from_millis(heard),
            unanswered: None,
        };
        (0_u32..).map(PathId::from).zip(drawn.iter().map(path)).collect()
    }

    proptest! {
        #[test]
        fn a_working_path_is_never_left_for_none_nor_for_a_dead_one(
            drawn in prop::collection::vec((any::<bool>(), 0..3_u8, 1..500_u64, 0..1000_u64), 0..8),
            current in prop::option::of(0..8_u32),
        ) {
            let watched = watched(&drawn);
            let rtt = |id| {
                let at = watched.keys().position(|k| *k == id);
                Duration::from_millis(at.and_then(|at| drawn.get(at)).map_or(u64::MAX, |d| d.2))
            };
            let current = current.map(PathId::from);
            let picked = pick(&watched, current, rtt);
            prop_assert_eq!(picked.is_none(), watched.is_empty());
            let Some(picked) = picked else { return Ok(()) };
            let works = |w: &Watched| w.health != Health::Dead;
            let direct = watched.values().any(|w| works(w) && w.kind == PathKind::Direct);
            prop_assert_eq!(works(&watched[&picked]), watched.values().any(works));
            prop_assert!(!direct || watched[&picked].kind == PathKind::Direct, "the relay although a direct path works");
            if works(&watched[&picked]) {
                let rivals = watched.iter().filter(|(_, w)| works(w) && w.kind == watched[&picked].kind);
                let best = rivals.map(|(id, _)| rtt(*id)).min().unwrap_or_default();
                prop_assert!(best >= rtt(picked).mul_f64(SWITCH_FACTOR), "a much quicker one is left aside");
            }
            // The choice is stable: what was picked is picked again.
            prop_assert_eq!(pick(&watched, Some(picked), rtt), Some(picked));
        }
    }
}

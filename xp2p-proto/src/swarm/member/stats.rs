//! What a member has done so far.

/// Counters of a [`Member`](super::Member), since it began unless said otherwise. Bytes are bytes of pieces.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stats {
    /// From other members, also those that were not needed.
    pub p2p_bytes: u64,
    /// From the origin.
    pub origin_bytes: u64,
    /// Of `p2p_bytes`: of pieces that were here already.
    pub duplicate_bytes: u64,
    /// Of `p2p_bytes`: of pieces that were not what their digest says.
    pub corrupt_bytes: u64,
    /// To other members.
    pub upload_bytes: u64,
    /// Of the pieces that the player got from other members.
    pub played_p2p_bytes: u64,
    /// Of the pieces that the player got from the origin.
    pub played_origin_bytes: u64,
    /// Time from joining to the first picture, in ms.
    pub startup_ms: Option<u32>,
    /// How often playing stopped.
    pub stalls: u32,
    /// For how long in all, in ms.
    pub stall_ms: u64,
    /// How long it has played in all, in ms, stalls not counted.
    pub played_ms: u64,
    /// Segments that were left out.
    pub skips: u32,
    /// How often the origin was opened.
    pub origin_opens: u32,
    /// Of these: because playing was in danger.
    pub rescues: u32,
    /// Pieces asked for one by one.
    pub pulls: u64,
    /// Parents that led in a circle.
    pub loops: u64,
    /// Parents that were left because they were late, silent or withheld pieces.
    pub parents_left: u64,
    /// Why the origin is, or was last, read.
    pub origin_reason: OriginReason,
    /// Origin bytes by reason, in the order of [`OriginReason`].
    pub origin_bytes_by: [u64; OriginReason::COUNT],
}

/// Why bytes came from the origin: why they were not shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OriginReason {
    /// It was not.
    #[default]
    None,
    /// This member reads the origin for the others.
    Puller,
    /// There were no other members.
    NoPeers,
    /// There are other members, but none can be connected to.
    Nat,
    /// The others have no uplink left.
    Uplink,
    /// Pieces from others came too late.
    Late,
    /// The user, or the stream, does not want sharing.
    Policy,
}

impl OriginReason {
    /// Number of reasons, `None` included.
    pub const COUNT: usize = 7;

    /// All, in order.
    pub const ALL: [Self; Self::COUNT] =
        [Self::None, Self::Puller, Self::NoPeers, Self::Nat, Self::Uplink, Self::Late, Self::Policy];

    /// A word for it, as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Puller => "puller",
            Self::NoPeers => "no_peers",
            Self::Nat => "nat",
            Self::Uplink => "uplink",
            Self::Late => "late",
            Self::Policy => "policy",
        }
    }
}

/// How a member is at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Whether it plays.
    pub playing: bool,
    /// How far behind the origin it plays, in ms.
    pub latency_ms: u64,
    /// Connected members.
    pub neighbours: usize,
    /// Distinct parents.
    pub parents: usize,
    /// Substreams with a parent.
    pub lanes_fed: usize,
    /// Subscriptions of others.
    pub children: usize,
    /// How many children it takes in all.
    pub slots: usize,
    /// Whether it reads the origin.
    pub origin_open: bool,
    /// What waits in its uplink, in ms.
    pub backlog_ms: u64,
    /// Mean lag of pieces over the substreams, in ms.
    pub lag_ms: u64,
    /// Mean depth over the substreams with a parent.
    pub depth: f32,
}

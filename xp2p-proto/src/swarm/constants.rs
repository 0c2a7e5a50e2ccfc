//! Every number of the swarm, in one place, with its reason.
//!
//! Most come from a study of about a hundred configurations; those that simulations of this code have moved say so.

use std::time::Duration;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

// Data units.

/// Substreams. Eight spread a keyframe evenly and let a small uplink still feed a child or two.
pub const LANES: usize = 8;
/// Most bytes of a piece. A keyframe kept whole, or 16 KiB, brings pull storms.
pub const MAX_PIECE: usize = 8 * 1024;
/// Most time in one piece, in ms.
pub const MAX_PIECE_MS: u64 = 120;
/// Most pieces that one digest batch may announce.
pub const MAX_BATCH_PIECES: usize = 64;
/// Most bytes of a digest batch: its head, 64 pieces of at most 27 bytes, and a signature.
pub const MAX_BATCH: usize = 2048;
/// Shortest time between two digest batches, unless one is full. Nothing is passed on before its digest, so the first step
/// waits for half of it on average and the whole swarm with it. Half of the 250 ms that would do costs another 0.5 % of the
/// bytes.
pub const BATCH_INTERVAL: Duration = ms(125);
/// Most bytes that tell how to reach a member.
pub const MAX_CONTACT: usize = 256;

// Time.

/// How often a member looks after itself. Repairs need to be quick; each look costs a few microseconds.
pub const TICK: Duration = ms(50);
/// How far behind the origin a member plays. 2.0 s holds in calm weather, but not when a third of the members vanish: a
/// push may take 1 s, its failure 0.5 s to notice, and two pulls must still be possible. (The study's 2.5 s
/// were the middle of a range; here it is met exactly.)
pub const TARGET_LATENCY: Duration = ms(2_360);
/// Most by which a member that gets its pieces late plays later than that, in ms.
pub const MAX_EXTRA_LATENCY_MS: i64 = 3_000;
/// What the slowest recent piece is given on top, in ms.
pub const LATENCY_MARGIN_MS: i64 = 250;
/// How the memory of the slowest piece fades with each piece: half of it is gone after about 25 s.
pub const LATENCY_DECAY: f32 = 0.9992;
/// How far ahead of the signer's clock the origin may be said to be, in ms: what a slow witness may be late.
pub const MAX_AHEAD_MS: i64 = 1_000;

// Playing.

/// How much must be there to begin, in ms.
pub const START_BUFFER_MS: i64 = 500;
/// How much must be there to go on after a stall, in ms.
pub const RESUME_BUFFER_MS: i64 = 300;
/// After this time in a stall, in ms, a later keyframe with [`START_BUFFER_MS`] is taken instead.
pub const SKIP_AFTER_MS: i64 = 1_000;
/// How much faster or slower it plays at most to come to its target, as a part of 1.
pub const RATE_STEP: f64 = 0.05;
/// How much slower it plays while no more than [`LOW_BUFFER_MS`] can be played, as a part of 1: newcomers begin with half a second, and
/// what comes next may take a little longer.
pub const LOW_RATE_STEP: f64 = 0.1;
/// Less than this is little, in ms.
pub const LOW_BUFFER_MS: i64 = 400;
/// So far from the target, in ms, it plays that much faster or slower; in between in proportion.
pub const RATE_SLACK_MS: i64 = 100;
/// How old the keyframe is that a newcomer begins with, in ms: a younger one has not yet come far enough.
pub const START_AGE_MS: i64 = 1_000;
/// When a newcomer that cannot play yet goes to the origin, in ms after joining.
pub const START_PATIENCE_MS: i64 = 800;
/// When it does so if most of what it takes to begin is here, in ms after joining: the origin would not be quicker then.
pub const NEARLY_PATIENCE_MS: i64 = 1_000;

// Neighbours.

/// How often a member tells its status to those that it feeds or is fed by, in ms, and half as often to its other neighbours. At 1 s
/// for all of them their maps are stale and pulls go wrong; of 17 neighbours five matter that much.
pub const STATUS_INTERVAL_MS: i64 = 500;
/// How soon after the last one there may be another, in ms, when a source was found after a failure.
pub const MIN_STATUS_INTERVAL_MS: i64 = 100;
/// How often it reports to the tracker.
pub const REPORT_INTERVAL_MS: i64 = 4_000;
/// When it does so first: in a flash crowd newcomers must soon be offered as parents.
pub const FIRST_REPORT_MS: i64 = 1_000;
/// A neighbour that has said nothing for so long is gone, in ms.
pub const NEIGHBOUR_TIMEOUT_MS: i64 = 2_500;
/// How long a connection may take, in ms: without a direct path by then, the pair is given up.
pub const CONNECT_TIMEOUT_MS: i64 = 3_000;
/// With fewer neighbours it looks for more.
pub const MIN_NEIGHBOURS: usize = 10;
/// With more it lets go of those that are of no use.
pub const TARGET_NEIGHBOURS: usize = 14;
/// Most neighbours, children of a puller included.
pub const MAX_NEIGHBOURS: usize = 128;
/// How long a neighbour may be of no use, in ms.
pub const IDLE_MS: i64 = 10_000;
/// Most members that are remembered to connect to later.
pub const MAX_KNOWN: usize = 64;
/// How long a neighbour is avoided whose parent role failed, in ms.
pub const BAD_MS: i64 = 1_500;
/// How long one is avoided that never delivered anything, in ms.
pub const BAN_MS: i64 = 20_000;
/// How often the tracker is asked for more, in ms.
pub const MORE_INTERVAL_MS: i64 = 1_000;

// Parents and children.

/// No parent may be deeper.
pub const MAX_DEPTH: u8 = 18;
/// How long an answer to a subscription may take, in ms.
pub const SUBSCRIBE_TIMEOUT_MS: i64 = 600;
/// How often one substream is looked at for a better parent, in ms; up to half a second more by chance.
pub const OPTIMISE_INTERVAL_MS: i64 = 2_000;
/// How often that is the substream with the most lag, in percent; otherwise any.
pub const OPTIMISE_WORST_PERCENT: i64 = 50;
/// How much better a parent must be to change, in ms of lag.
pub const OPTIMISE_GAIN_MS: f32 = 120.0;
/// The most lag that is expected of a new parent, in ms: whoever says more has to show it.
pub const MAX_EXPECTED_LAG_MS: f32 = 1_500.0;
/// How long a parent is kept before a better one is taken, in ms.
pub const MIN_TENURE_MS: i64 = 3_000;
/// What a failure costs a neighbour when parents are chosen, in ms of lag.
pub const FAIL_PENALTY_MS: f32 = 300.0;
/// By how much scores differ by chance, in ms, so that not all choose the same.
pub const SCORE_NOISE_MS: u32 = 60;
/// What taking another's place costs, in ms.
pub const DISPLACE_PENALTY_MS: f32 = 30.0;
/// What a member that anyone reaches costs one that could have others: such members are needed by those behind bad NATs.
pub const OPEN_PENALTY_MS: f32 = 60.0;
/// What a candidate costs one that has lost its parent if it is not known to have anything newer of the substream, in ms: it may well
/// have lost the same parent, or one further up. Those below one that is gone look like any other for half a second, and its children
/// then chose each other's descendants: one with seven children went in circles for 900 ms.
pub const STALE_PENALTY_MS: f32 = 400.0;
/// How long a way through a parent that fell silent is not believed, in ms, unless something newer has come by it.
pub const FALLEN_MS: i64 = 2_000;
/// How long a child that must go is still fed, in ms.
pub const EVICT_GRACE_MS: i64 = 3_000;
/// Part of the uplink that subscriptions may use; the rest is for repairs, newcomers and bursts. Both 0.65 and 0.88 bring more
/// storms.
pub const SLOT_SHARE: f64 = 0.75;
/// The same part of a member that reads the origin for others, and of what it believes no more: everybody asks it, for places
/// and for single pieces, and whatever waits here comes as much later everywhere below. At 0.75 pieces waited 400 ms.
pub const PULLER_SLOT_SHARE: f64 = 0.5;
/// What a member sends besides pieces, as a part of the stream's rate: acknowledgements of what it takes in, requests, statuses.
/// Measured with packets. Of an uplink of half a megabit that is the third part: with a child there, a queue stands in front of its
/// own requests and acknowledgements, which then take half a second longer to anybody. Three of four stalls at 200 members were those of
/// members with less than 1.3 Mbit/s.
pub const OWN_SHARE: f64 = 0.11;
/// Part of the uplink that pieces may use together with that.
pub const FULL_SHARE: f64 = 0.9;
/// Pieces are given at least this part of the uplink, whatever else it carries.
pub const MIN_PIECE_SHARE: f64 = 0.25;
/// What a piece costs beyond its bytes.
pub const OVERHEAD: f64 = 1.05;
/// Most children of one member.
pub const MAX_SLOTS: i32 = 90;
/// Above this backlog, in ms, a member has too many children.
pub const BACKLOG_HIGH_MS: i64 = 700;
/// Such a member already above this one.
pub const PULLER_BACKLOG_MS: i64 = 150;
/// And above this one it refuses single pieces, in ms: whatever waits here comes as much later everywhere below, and others have
/// the piece, too. Before, 44 % of what such members sent were answers, and pieces were 240 ms older one step below.
pub const PULLER_REQUEST_BACKLOG_MS: i64 = 150;
/// What a member says on top of its lag while it reads the origin for itself, in ms: it will stop soon, and whoever chose it for
/// the little lag of that time has to move again.
pub const PASSING_LAG_MS: f32 = 700.0;
/// For how many looks in a row.
pub const BACKLOG_TICKS: u32 = 8;
/// Below this backlog, in ms, it may take more.
pub const BACKLOG_LOW_MS: i64 = 200;
/// How often slots are adjusted upwards, in ms.
pub const SLOT_INTERVAL_MS: i64 = 2_000;
/// How far beyond the estimate slots may grow while subscriptions have to be refused.
pub const SLOT_STRETCH: f64 = 1.25;

// Lateness.

/// A piece is late when it is older than the substream's lag and this, in ms.
pub const LATE_MARGIN_MS: i64 = 250;
/// A parent that has pushed within this time is not late, in ms.
pub const PUSH_GAP_MS: i64 = 350;
/// A substream is one to pass on as long as something of it was pushed within this time, in ms.
pub const LIVE_MS: i64 = 700;
/// Who is so much later than usual looks for another parent although the present one lives, in ms: the parent is given time to
/// find one for itself first, or whole trees would move at once.
pub const STARVE_MARGIN_MS: i64 = 600;
/// A parent without a source is given so long for each step between it and the member that lost its parent, in ms: those
/// at the top look first, and whole trees stay together.
pub const LOSS_STEP_MS: i64 = 120;
/// A parent without a source is left after this time in any case, in ms.
pub const LOSS_PATIENCE_MS: i64 = 2_000;
/// A parent that says nothing for so long is dead, in ms.
pub const PARENT_SILENT_MS: i64 = 450;
/// So long silent, the tracker is told, in ms.
pub const REPORT_SILENT_MS: i64 = 900;
/// A parent that has a piece and does not send it for so long is left, in ms.
pub const WITHHOLD_MS: i64 = 700;
/// A parent that is so late is left in any case, in ms.
pub const LATE_SWITCH_MS: i64 = 1_500;

// Repair.

/// A missing piece is pulled when it is needed within this time, in ms. It must stay well below the target latency less what the
/// digest takes: too much of it makes storms stand for ever.
pub const PULL_DEADLINE_MS: i64 = 600;
/// A missing piece of a substream without a parent is pulled at this age, in ms.
pub const PULL_ORPHAN_MS: i64 = 250;
/// But not before the substream has been without one for so long, in ms: most find another parent sooner, and that one sends what is
/// missing anyway.
pub const ORPHAN_PATIENCE_MS: i64 = 300;
/// Each step away from the origin waits so much longer, in ms, so that repairs flow down instead of everyone pulling.
pub const PULL_DEPTH_MS: i64 = 40;
/// No further than this many steps.
pub const PULL_DEPTH_CAP: i64 = 8;
/// Most pulls at once.
pub const MAX_PULLS: usize = 16;
/// Most pulls at once from one neighbour.
pub const MAX_PULLS_EACH: u8 = 4;
/// Most pulls at once before playing: half a second that begins with a keyframe has about 20 pieces.
pub const MAX_START_PULLS: usize = 28;
/// And from one neighbour.
pub const MAX_START_PULLS_EACH: u8 = 6;

// Uplink.

/// When a piece is due that is pushed by a member that reads the origin for others, in ms after its capture: at once, before any
/// answer to a request.
pub const PULLER_PUSH_DUE_MS: i64 = 0;
/// When a pushed piece is due, in ms after its capture.
pub const PUSH_DUE_MS: i64 = 1_500;
/// A piece this long past due is not sent any more, in ms.
pub const PAST_DUE_MS: i64 = 4_000;
/// How much may be with the carrier, in ms of the uplink: as little as keeps it busy, so that order and cancelling count.
pub const IN_FLIGHT_MS: i64 = 120;
/// At least so many bytes may be with the carrier: one piece, which takes 130 ms of an uplink of 0.5 Mbit/s.
pub const MIN_IN_FLIGHT: usize = MAX_PIECE;
/// Most pieces that wait.
pub const MAX_QUEUED: usize = 512;
/// Uplink of a member that knows nothing better, in bit/s.
pub const DEFAULT_UPLINK: u64 = 4_000_000;
/// Rate of a stream before anything of it is known, in bit/s.
pub const DEFAULT_RATE: u64 = 2_000_000;
/// An upload limit is kept to this part, so that what a carrier adds stays within it.
pub const LIMIT_SHARE: f64 = 0.9;

// Rescue.

/// The first missing piece must be this old, in ms, before the origin is thought of.
pub const RESCUE_AGE_MS: i64 = 400;
/// And playing must end within this time, in ms.
pub const RESCUE_DEADLINE_MS: i64 = 300;
/// Or nothing new has come from anyone for so long, in ms: then whoever reads the origin is probably dead.
pub const RESCUE_SILENCE_MS: i64 = 700;
/// And playing must end within this time, in ms. The tracker grants few of those who ask, and these few feed the others.
pub const RESCUE_QUIET_DEADLINE_MS: i64 = 900;
/// Or playing has stood still for so long, in ms.
pub const RESCUE_STALL_MS: i64 = 600;
/// Without an answer of the tracker for so long, in ms, the origin is opened without a lease.
pub const LEASE_TIMEOUT_MS: i64 = 1_500;
/// How long the origin is kept at least, in ms; doubles up to [`MAX_HOLD_MS`] each time it is opened again soon.
pub const MIN_HOLD_MS: i64 = 1_000;
/// How long at most.
pub const MAX_HOLD_MS: i64 = 30_000;
/// What "soon" means, in ms.
pub const REOPEN_MS: i64 = 20_000;
/// Conditions to close must have held for so long, in ms.
pub const CLOSE_AFTER_MS: i64 = 300;
/// Substreams that must have a good parent before the origin is closed.
pub const CLOSE_LANES: usize = 6;
/// How much earlier than needed their pieces must come, in ms.
pub const CLOSE_MARGIN_MS: i64 = 350;

// Memory.

/// Most pieces that a member keeps.
pub const MAX_PIECES: usize = 512;
/// How many pieces stay after they were played: what the map tells others must be there.
pub const KEEP_PLAYED: u64 = 160;
/// Most pieces that wait for their digest.
pub const MAX_PENDING: usize = 128;
/// Most digest batches that are kept.
pub const MAX_BATCHES: usize = 96;
/// Substreams that carry a digest batch: two, so that it seldom comes late and costs little.
pub const BATCH_LANES: usize = 2;
/// How long a missing digest batch may be on its way before it is asked for, in ms.
pub const BATCH_PATIENCE_MS: i64 = 120;
/// How long an answer to that may take, in ms.
pub const BATCH_TIMEOUT_MS: i64 = 350;

// Tracker.

/// Candidates in one answer.
pub const CANDIDATES: usize = 16;
/// Most candidates that a message may carry.
pub const MAX_CANDIDATES: usize = 32;
/// Members that are looked at for an answer: enough to find good ones, few enough to be quick among 10,000.
pub const SAMPLE: usize = 64;
/// Candidates for each substream.
pub const CANDIDATES_PER_LANE: usize = 2;
/// Part of the members of other regions that is passed over, in percent.
pub const FOREIGN_REJECT_PERCENT: u32 = 30;
/// Leases that are granted in [`LEASE_WINDOW_MS`], at least: when the only puller of a small swarm dies, those at the edge have no
/// other neighbours to turn to in time.
pub const MIN_LEASES: usize = 4;
/// Most pieces that the signer's server gives a new puller from the group of pictures that the origin has left behind.
pub const MAX_FILL: u64 = 96;
/// How many new pullers it does so for at most in [`FILL_INTERVAL_MS`]: as many as are elected when all have died.
pub const MAX_FILLS: usize = 6;
/// How often it does so for one of them, in ms.
pub const FILL_INTERVAL_MS: i64 = 1_000;
/// And as a part of the members: one in so many.
pub const MEMBERS_PER_LEASE: usize = 100;
/// The time in which these leases are granted, in ms.
pub const LEASE_WINDOW_MS: i64 = 3_000;
/// From so many members on a second puller is elected.
pub const TWO_PULLERS_FROM: usize = 15;
/// And a third one: more only cost offload.
pub const THREE_PULLERS_FROM: usize = 3_000;
/// Without a signer two pullers must agree: from so many members on there are two.
pub const QUORUM_FROM: usize = 3;
/// Most pieces in one message about what was read from the origin.
pub const MAX_OBSERVED: usize = 48;
/// How often a puller tells what it has read if nobody signs, in ms: each of these waits is added to everybody's lag.
pub const OBSERVED_INTERVAL_MS: u64 = 40;
/// Most pieces of one reader that wait for the agreement of another one: about 15 s.
pub const MAX_UNAGREED: usize = 512;
/// Most readers of one stream that are compared.
pub const MAX_OBSERVERS: usize = 8;
/// How long the next piece waits for a second reader before what comes after it may be agreed upon instead, in ms.
pub const AGREE_PATIENCE_MS: u64 = 1_000;
/// How often those who read an origin that nobody signs are compared, in ms.
pub const AGREE_ROUND_MS: u64 = 4_000;
/// How much better a member must be to replace a puller, in points of its score.
pub const PULLER_GAIN: i64 = 25;
/// How old it must be by then, in ms.
pub const PULLER_AGE_MS: i64 = 5_000;
/// How long both read the origin, in ms: the new one must be of use before the old one stops.
pub const HANDOVER_MS: i64 = 3_000;
/// A puller that does not answer within this time and two round trips is replaced, in ms: a lost packet takes three of them.
pub const PING_TIMEOUT_MS: i64 = 150;
/// So soon if several members report it, in ms.
pub const PING_TIMEOUT_REPORTED_MS: i64 = 100;
/// What a round trip is believed to take before one was measured, in ms. At 0 half of the new pullers were held to be dead.
pub const UNKNOWN_RTT_MS: i64 = 200;
/// The most that a round trip is believed to take, in ms.
pub const MAX_RTT_MS: i64 = 1_000;
/// How long a puller whose successor has been elected may still answer, in ms: it goes on as if nothing had been then.
pub const PULLER_DEAD_MS: i64 = 1_000;
/// How many is several.
pub const SEVERAL_REPORTERS: usize = 3;
/// How often pullers are asked whether they are there, in ms. They are few, and whatever time their death goes unnoticed is
/// missing in everybody's buffer.
pub const PING_INTERVAL_MS: i64 = 100;
/// A member that has said nothing for so long is gone, in ms.
pub const MEMBER_TIMEOUT_MS: i64 = 15_000;
/// A member is excluded when so many others say that it sent wrong pieces. Nobody can prove it, and whoever got one has banned the sender
/// already: with two, liars excluded an honest one, mostly one that read the origin, every ten minutes of a hundred members.
pub const HARD_REPORTERS: usize = 3;
/// Or when so many say that it is silent or withholds pieces, although it is there.
pub const SOFT_REPORTERS: usize = 6;
/// Reports are forgotten after this time, in ms.
pub const REPORT_MEMORY_MS: i64 = 60_000;
/// A member that accuses more others in that time is not believed.
pub const MAX_ACCUSATIONS: u32 = 12;

//! The scheduler of one member, told anything by anybody in any order.
//!
//! * No substream has two parents, and none whose way leads through the member itself.
//! * Nothing is asked for that is here already.
//! * Only what a digest confirms is passed on, nothing at all after sharing was switched off, and no more than the limit allows.
//! * Messages go to neighbours only. What is played goes forward, and all of it that came from others was confirmed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use xp2p_proto::swarm::{
    Action, Batch, Candidate, FromTracker, HaveMap, LaneStatus, Member, MemberConfig, Message, NatClass,
    Path, Payload, PeerId, PieceHead, PieceInfo, PieceNo, Played, Status, Trust,
};

use crate::ops::rest;

const LANES: usize = 8;
const ME: PeerId = PeerId(0x1111_1111_0000_0000);
/// Pieces of a segment, each of 100 ms.
const SEGMENT: u64 = 20;
const PIECE_MS: u64 = 100;
const PIECE: usize = 4_000;
/// Most operations.
const MAX_OPS: usize = 400;
/// Actions that one input may lead to.
const MAX_ACTIONS: usize = 20_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fake {
    genuine: bool,
}

impl Payload for Fake {
    fn verify(&self, _info: &PieceInfo) -> bool {
        self.genuine
    }

    fn len(&self) -> usize {
        PIECE
    }
}

#[derive(Arbitrary, Debug)]
enum Op {
    Pass(u16),
    Connect(u8),
    Lose(u8),
    Fail(u8),
    /// The signer announces so many pieces more.
    Announce(u8),
    BatchFrom {
        peer: u8,
        count: u8,
    },
    Status {
        peer: u8,
        back: u8,
        len: u8,
        lag: u8,
        depth: u8,
        spare: u8,
        min_value: u8,
        origin: bool,
    },
    Subscribe {
        peer: u8,
        lane: u8,
        back: u8,
        value: u8,
    },
    Accept {
        peer: u8,
        lane: u8,
        hops: u8,
        through_me: bool,
    },
    Way {
        peer: u8,
        lane: u8,
        hops: u8,
        through_me: bool,
    },
    Say {
        peer: u8,
        what: u8,
        lane: u8,
        no: u8,
    },
    Piece {
        peer: u8,
        back: u8,
        pushed: bool,
        genuine: bool,
    },
    OriginPiece {
        back: u8,
    },
    Filled {
        back: u8,
        genuine: bool,
    },
    /// So many of the pieces that are on their way have left.
    Sent(u8),
    Tracker {
        what: u8,
        peer: u8,
    },
    Uplink(u16),
    Limit(Option<u16>),
    Sharing(bool),
    UsePeers(bool),
    /// It answers all that it is asked, as an honest world would, so that subscriptions come about.
    Honest,
    Leave,
}

fn info(no: PieceNo) -> PieceInfo {
    PieceInfo {
        no,
        segment: no / SEGMENT,
        index: (no % SEGMENT) as u16,
        time: no * PIECE_MS,
        end: (no + 1) * PIECE_MS,
        len: PIECE as u16,
        hash: [0; 16],
    }
}

fn peer(n: u8) -> PeerId {
    // Ids of which some begin alike in their short form.
    PeerId(0x2222_0000_0000_0000 + u64::from(n % 12) * 0x0001_0000_0000_0000)
}

fn path(hops: u8, through_me: bool, last: PeerId) -> Path {
    let mut path = Path::EMPTY;
    for n in 0..hops % 8 {
        path = path.with(PeerId(0x5555_0000_0000_0000 + (u64::from(n) << 32))).expect("room");
    }
    if through_me {
        path = path.with(ME).expect("room");
    }
    path.with(last).expect("room")
}

struct World {
    member: Member<Fake>,
    now: Instant,
    /// Pieces announced so far, and batches.
    end: PieceNo,
    batches: u64,
    neighbours: BTreeSet<PeerId>,
    /// Subscriptions that were asked for, and those that were accepted, by substream.
    asked: [BTreeSet<PeerId>; LANES],
    parents: [BTreeSet<PeerId>; LANES],
    /// Pieces that it has, as far as others can know.
    has: BTreeSet<PieceNo>,
    known: BTreeSet<PieceNo>,
    /// Subscriptions and requests that nobody has answered.
    open: Vec<(PeerId, Message)>,
    on_the_way: Vec<(PeerId, PieceNo)>,
    sharing: bool,
    left: bool,
    /// What was given out to be sent in the last second since the limit was set.
    given: Vec<(Instant, usize)>,
    limit: Option<u64>,
    from_origin: BTreeSet<PieceNo>,
    played: Option<PieceNo>,
    actions: usize,
}

/// One input.
pub fn run(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok((share, may_pull)) = u.arbitrary::<(bool, bool)>() else { return };
    let now = Instant::now();
    let mut config = MemberConfig::new(ME, [7; 32]);
    (config.share, config.may_pull, config.nat) = (share, may_pull, NatClass::Cone);
    let mut world = World {
        member: Member::new(config, now),
        now,
        end: 0,
        batches: 0,
        neighbours: BTreeSet::new(),
        asked: Default::default(),
        parents: Default::default(),
        has: BTreeSet::new(),
        known: BTreeSet::new(),
        open: Vec::new(),
        on_the_way: Vec::new(),
        sharing: share,
        left: false,
        given: Vec::new(),
        limit: None,
        from_origin: BTreeSet::new(),
        played: None,
        actions: 0,
    };
    world.settle();
    for op in rest(&mut u, MAX_OPS) {
        world.act(&op);
        world.settle();
    }
    world.act(&Op::Leave);
    world.settle();
    assert_eq!(world.member.poll_timeout(), None, "who has left waits for nothing");
}

impl World {
    /// A number before the newest one, or a little behind it.
    fn no(&self, back: u8) -> PieceNo {
        (self.end + 8).saturating_sub(u64::from(back))
    }

    fn hear(&mut self, from: PeerId, message: Message) {
        self.member.handle_message(self.now, from, message);
    }

    fn act(&mut self, op: &Op) {
        let now = self.now;
        match *op {
            Op::Pass(ms) => self.pass(Duration::from_millis(u64::from(ms % 3000))),
            Op::Connect(n) => {
                if !self.left && self.neighbours.insert(peer(n)) {
                    self.member.peer_connected(
                        now,
                        peer(n),
                        NatClass::Cone,
                        Duration::from_millis(u64::from(n)),
                    );
                }
            }
            Op::Lose(n) => {
                if self.neighbours.remove(&peer(n)) {
                    self.forget(peer(n));
                    self.member.peer_lost(now, peer(n));
                }
            }
            Op::Fail(n) => {
                if !self.neighbours.contains(&peer(n)) {
                    self.member.connect_failed(now, peer(n));
                }
            }
            Op::Announce(count) => {
                let batch = self.announce(u64::from(count % 40) + 1);
                self.member.handle_batch(now, batch);
            }
            Op::BatchFrom { peer: n, count } => {
                // Each batch reaches a scheduler once: its carrier's verifier knows those that were there.
                if self.neighbours.contains(&peer(n)) {
                    let batch = self.announce(u64::from(count % 40) + 1);
                    self.hear(peer(n), Message::Batch(batch));
                }
            }
            Op::Status { peer: n, back, len, lag, depth, spare, min_value, origin } => {
                let mut have = HaveMap::default();
                let from = self.no(back);
                (from..from + u64::from(len % 128)).for_each(|no| have.insert(no));
                let lane = LaneStatus { lag: u16::from(lag) * 20, depth, spare, min_value };
                let status = Status {
                    have,
                    batch: self.batches,
                    backlog: 0,
                    origin_fed: origin,
                    lanes: [lane; LANES],
                };
                self.hear(peer(n), Message::Status(Box::new(status)));
            }
            Op::Subscribe { peer: n, lane, back, value } => {
                self.hear(peer(n), Message::Subscribe { lane: lane % 9, from: self.no(back), value });
            }
            Op::Accept { peer: n, lane, hops, through_me } => {
                self.accept(peer(n), lane % 9, hops, through_me)
            }
            Op::Way { peer: n, lane, hops, through_me } => {
                self.hear(peer(n), Message::Way { lane: lane % 9, path: path(hops, through_me, peer(n)) });
            }
            Op::Say { peer: n, what, lane, no } => {
                let (lane, piece) = (lane % 9, self.no(no));
                let message = match what % 8 {
                    0 => Message::Reject { lane },
                    1 => Message::Unsubscribe { lane },
                    2 => Message::Evict { lane, alternative: Some(peer(no)) },
                    3 => Message::Request { piece, slack: u16::from(what) * 10 },
                    4 => Message::NoHave { piece },
                    5 => Message::Cancel { piece },
                    6 => Message::RequestBatch { no: self.batches.saturating_sub(u64::from(no)) },
                    _ => Message::Lost { lane, hops: no },
                };
                self.hear(peer(n), message);
            }
            Op::Piece { peer: n, back, pushed, genuine } => {
                let no = self.no(back);
                if self.neighbours.contains(&peer(n)) && genuine && self.known.contains(&no) {
                    self.has.insert(no);
                }
                let head = PieceHead { no, pushed, path: path(1, false, peer(n)) };
                self.member.handle_piece(now, peer(n), head, Fake { genuine });
            }
            Op::OriginPiece { back } => {
                let no = self.no(back);
                self.from_origin.insert(no);
                self.member.handle_origin_piece(now, info(no), Fake { genuine: true });
            }
            Op::Filled { back, genuine } => {
                self.member.handle_filled_piece(now, self.no(back), Fake { genuine });
            }
            Op::Sent(count) => {
                let count = usize::from(count).min(self.on_the_way.len());
                for (to, no) in self.on_the_way.drain(..count) {
                    self.member.piece_sent(now, to, no);
                }
            }
            Op::Tracker { what, peer: n } => self.tracker(what, n),
            Op::Uplink(kbit) => self.member.set_uplink(now, u64::from(kbit) * 1000),
            Op::Limit(kbit) => {
                self.limit = kbit.map(|k| u64::from(k) * 1000);
                self.given.clear();
                self.member.set_upload_limit(now, self.limit);
            }
            Op::Sharing(on) => {
                self.sharing = on;
                self.member.set_sharing(now, on);
            }
            Op::UsePeers(on) => self.member.set_use_peers(now, on),
            Op::Honest => {
                for (to, message) in std::mem::take(&mut self.open) {
                    self.settle();
                    match message {
                        Message::Subscribe { lane, .. } => self.accept(to, lane, 1, false),
                        Message::Request { piece, .. } => {
                            if self.neighbours.contains(&to) && self.known.contains(&piece) {
                                self.has.insert(piece);
                            }
                            let head = PieceHead { no: piece, pushed: false, path: path(1, false, to) };
                            self.member.handle_piece(now, to, head, Fake { genuine: true });
                        }
                        _ => {}
                    }
                }
            }
            Op::Leave => {
                if !std::mem::replace(&mut self.left, true) {
                    self.member.leave(now);
                }
            }
        }
    }

    fn accept(&mut self, from: PeerId, lane: u8, hops: u8, through_me: bool) {
        // A second answer of a parent says nothing: another way is told with `Way`.
        let asked = self.asked.get_mut(usize::from(lane)).is_some_and(|asked| asked.remove(&from));
        if asked && self.neighbours.contains(&from) {
            self.parents[usize::from(lane)].insert(from);
        }
        self.hear(from, Message::Accept { lane, path: path(hops, through_me, from) });
        self.settle();
        if asked && through_me {
            let parents = &self.parents[usize::from(lane)];
            assert!(!parents.contains(&from), "it is fed by somebody whom it feeds");
        }
    }

    fn announce(&mut self, count: u64) -> Arc<Batch> {
        let pieces: Vec<_> = (self.end..self.end + count).map(info).collect();
        self.known.extend(self.end..self.end + count);
        self.end += count;
        self.batches += 1;
        let edge = self.end * PIECE_MS;
        Arc::new(Batch { chain: 1, no: self.batches, epoch: 0, edge, pieces, raw: Bytes::new() })
    }

    fn tracker(&mut self, what: u8, n: u8) {
        let candidate = Candidate {
            peer: peer(n),
            nat: NatClass::Public,
            origin_fed: what & 16 != 0,
            contact: Bytes::new(),
        };
        let message = match what % 10 {
            0 => FromTracker::Welcome {
                edge: Some(self.end * PIECE_MS),
                trust: Trust::Source,
                candidates: vec![candidate],
            },
            1 => FromTracker::Candidates(vec![candidate]),
            2 => FromTracker::Meet { begin: what & 16 != 0, candidate },
            3 => FromTracker::Lease { granted: what & 16 != 0 },
            4 => FromTracker::Elect,
            5 => FromTracker::Demote,
            6 => FromTracker::Edge(self.end * PIECE_MS + u64::from(n)),
            7 => FromTracker::Ping,
            8 => FromTracker::Batch(self.announce(u64::from(n % 40) + 1)),
            _ if what & 16 != 0 => return self.member.tracker_lost(self.now),
            _ => return self.member.tracker_back(self.now),
        };
        self.member.handle_tracker(self.now, message);
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut turns = 0;
        while let Some(at) = self.member.poll_timeout().filter(|at| *at <= end) {
            turns += 1;
            assert!(turns < 10_000, "a timer that is due for ever");
            self.now = self.now.max(at);
            self.member.handle_timeout(self.now);
            self.settle();
        }
        self.now = end;
    }

    /// Everything between us and `peer` is over.
    fn forget(&mut self, peer: PeerId) {
        self.asked.iter_mut().chain(&mut self.parents).for_each(|set| _ = set.remove(&peer));
        self.open.retain(|(to, _)| *to != peer);
        let on_the_way = std::mem::take(&mut self.on_the_way);
        for (to, no) in on_the_way {
            if to == peer {
                self.member.piece_sent(self.now, to, no);
            } else {
                self.on_the_way.push((to, no));
            }
        }
    }

    fn settle(&mut self) {
        while let Some(action) = self.member.poll_action() {
            self.actions += 1;
            assert!(self.actions < MAX_ACTIONS, "no end of actions");
            self.wish(action);
        }
        for (lane, parents) in self.parents.iter().enumerate() {
            assert!(parents.len() <= 1, "substream {lane} has the parents {parents:?}");
        }
        while let Some(played) = self.member.poll_played() {
            let Played::Piece { info, payload } = played else { continue };
            assert!(payload.genuine, "piece {} was never confirmed", info.no);
            assert!(
                self.known.contains(&info.no) || self.from_origin.contains(&info.no),
                "piece {} is of nobody",
                info.no
            );
            assert!(
                self.played.replace(info.no).is_none_or(|last| last < info.no),
                "piece {} is played late",
                info.no
            );
        }
    }

    fn wish(&mut self, action: Action<Fake>) {
        match action {
            Action::Send { to, message } => {
                assert!(self.neighbours.contains(&to), "{message:?} to one who is no neighbour");
                match &message {
                    Message::Subscribe { lane, .. } => {
                        assert!(
                            !self.parents[usize::from(*lane)].contains(&to),
                            "it asks its parent to be its parent"
                        );
                        self.asked[usize::from(*lane)].insert(to);
                        self.open.push((to, message));
                    }
                    Message::Unsubscribe { lane } => {
                        self.asked[usize::from(*lane)].remove(&to);
                        self.parents[usize::from(*lane)].remove(&to);
                    }
                    Message::Request { piece, .. } => {
                        assert!(!self.has.contains(piece), "piece {piece} is asked for, and is here");
                        self.open.push((to, message));
                    }
                    _ => {}
                }
            }
            Action::SendPiece { to, head, payload } => {
                assert!(self.neighbours.contains(&to), "a piece to one who is no neighbour");
                assert!(self.sharing, "a piece is passed on although nothing is shared");
                assert!(
                    payload.genuine && self.known.contains(&head.no),
                    "a piece that nobody has confirmed is passed on"
                );
                self.on_the_way.push((to, head.no));
                self.upload();
            }
            Action::Disconnect { peer } => {
                self.neighbours.remove(&peer);
                self.forget(peer);
            }
            _ => {}
        }
    }

    fn upload(&mut self) {
        let now = self.now;
        self.given.push((now, PIECE));
        self.given.retain(|(at, _)| now.duration_since(*at) < Duration::from_secs(1));
        let Some(limit) = self.limit else { return };
        let bits: usize = self.given.iter().map(|(_, len)| len * 8).sum();
        assert!(bits as u64 <= limit, "{bits} bits in a second, {limit} are allowed");
    }
}

//! One member, told by hand what others would tell it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::uplink::{Queued, Uplink};
use super::{Action, Member, MemberConfig, OriginReason, Played};
use crate::swarm::constants::{LANES, LIMIT_SHARE, MAX_EXPECTED_LAG_MS, MAX_PIECE, OVERHEAD};
use crate::swarm::{
    Batch, FromTracker, HaveMap, LaneStatus, Message, NatClass, Path, Payload, PeerId, PieceHead, PieceInfo,
    PieceNo, Status, ToTracker, Trust,
};

const ME: PeerId = PeerId(0x1111_1111_0000_0000);
const A: PeerId = PeerId(0xaaaa_aaaa_0000_0000);
const B: PeerId = PeerId(0xbbbb_bbbb_0000_0000);
/// Pieces in a segment, each of 100 ms.
const SEGMENT: u64 = 20;
const PIECE_MS: u64 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fake {
    genuine: bool,
}

impl Payload for Fake {
    fn verify(&self, _info: &PieceInfo) -> bool {
        self.genuine
    }

    fn len(&self) -> usize {
        4000
    }
}

const GOOD: Fake = Fake { genuine: true };

fn info(no: PieceNo) -> PieceInfo {
    PieceInfo {
        no,
        segment: no / SEGMENT,
        index: (no % SEGMENT) as u16,
        time: no * PIECE_MS,
        end: (no + 1) * PIECE_MS,
        len: 4000,
        hash: [0; 16],
    }
}

struct Bench {
    member: Member<Fake>,
    now: Instant,
    batches: u64,
}

impl Bench {
    #[allow(clippy::disallowed_methods)] // any instant will do
    fn new(config: MemberConfig) -> Self {
        let now = Instant::now();
        Self { member: Member::new(config, now), now, batches: 0 }
    }

    fn usual() -> Self {
        Self::new(MemberConfig::new(ME, [7; 32]))
    }

    fn sleep(&mut self, ms: u64) {
        let until = self.now + Duration::from_millis(ms);
        while let Some(at) = self.member.poll_timeout().filter(|at| *at <= until) {
            assert!(at >= self.now, "time runs forwards");
            self.now = at;
            self.member.handle_timeout(at);
        }
        self.now = until;
    }

    fn actions(&mut self) -> Vec<Action<Fake>> {
        std::iter::from_fn(|| self.member.poll_action()).collect()
    }

    fn sent(&mut self, to: PeerId) -> Vec<Message> {
        self.actions()
            .into_iter()
            .filter_map(|a| match a {
                Action::Send { to: t, message } if t == to => Some(message),
                _ => None,
            })
            .collect()
    }

    fn batch(&mut self, numbers: std::ops::Range<PieceNo>) -> Arc<Batch> {
        self.batches += 1;
        Arc::new(Batch {
            chain: 1,
            no: self.batches,
            epoch: 0,
            edge: numbers.end * PIECE_MS,
            pieces: numbers.map(info).collect(),
            raw: bytes::Bytes::new(),
        })
    }

    fn announce(&mut self, numbers: std::ops::Range<PieceNo>) {
        let batch = self.batch(numbers);
        self.member.handle_tracker(self.now, FromTracker::Batch(batch));
    }

    fn connect(&mut self, peer: PeerId, have: std::ops::Range<PieceNo>, spare: u8) {
        self.member.peer_connected(self.now, peer, NatClass::Cone, Duration::from_millis(20));
        self.status(peer, have, spare);
    }

    fn status(&mut self, peer: PeerId, have: std::ops::Range<PieceNo>, spare: u8) {
        self.status_of_lanes(peer, have, LaneStatus { lag: 200, depth: 1, spare, min_value: 255 });
    }

    fn status_of_lanes(&mut self, peer: PeerId, have: std::ops::Range<PieceNo>, lane: LaneStatus) {
        let mut map = HaveMap::default();
        have.for_each(|no| map.insert(no));
        let status =
            Status { have: map, batch: self.batches, backlog: 0, origin_fed: false, lanes: [lane; LANES] };
        self.member.handle_message(self.now, peer, Message::Status(Box::new(status)));
    }

    fn piece(&mut self, from: PeerId, no: PieceNo, payload: Fake) {
        let path = Path::EMPTY.with(from).expect("room");
        let head = PieceHead { no, pushed: true, path };
        self.member.handle_piece(self.now, from, head, payload);
    }

    fn played(&mut self) -> Vec<PieceNo> {
        std::iter::from_fn(|| self.member.poll_played())
            .filter_map(|p| match p {
                Played::Piece { info, payload } => {
                    assert!(payload.genuine, "nothing unverified reaches the player");
                    Some(info.no)
                }
                Played::Skip => None,
            })
            .collect()
    }

    /// With 40 pieces known, of which A and B have all.
    fn watching() -> Self {
        let mut bench = Self::usual();
        bench.announce(0..40);
        bench.connect(A, 0..40, 9);
        bench.connect(B, 0..40, 9);
        bench
    }

    /// The same, and both have delivered everything from the keyframe on that a newcomer begins with.
    fn delivered() -> Self {
        let mut bench = Self::watching();
        bench.accept_all();
        for no in 20..40 {
            bench.piece(A, no, GOOD);
            bench.piece(B, no, GOOD);
        }
        bench
    }

    /// Accepts every subscription that was asked for.
    fn accept_all(&mut self) {
        for action in self.actions() {
            if let Action::Send { to, message: Message::Subscribe { lane, .. } } = action {
                let path = Path::EMPTY.with(to).expect("room");
                self.member.handle_message(self.now, to, Message::Accept { lane, path });
            }
        }
    }
}

#[test]
fn it_joins_at_once() {
    let mut bench = Bench::usual();
    assert!(matches!(bench.actions()[..], [Action::Tracker(ToTracker::Join { may_pull: true, .. })]));
}

#[test]
fn a_newcomer_asks_for_parents_in_every_substream_and_pulls_the_first_pieces() {
    let mut bench = Bench::watching();
    let actions = bench.actions();
    let mut lanes: Vec<u8> = actions
        .iter()
        .filter_map(|a| match a {
            Action::Send { message: Message::Subscribe { lane, .. }, .. } => Some(*lane),
            _ => None,
        })
        .collect();
    lanes.sort_unstable();
    assert_eq!(lanes, (0..LANES as u8).collect::<Vec<_>>(), "each substream once");
    let pulled: Vec<_> = actions
        .iter()
        .filter_map(|a| match a {
            Action::Send { message: Message::Request { piece, .. }, .. } => Some(*piece),
            _ => None,
        })
        .collect();
    assert!(pulled.contains(&20), "the keyframe that is old enough: {pulled:?}");
    assert!(pulled.iter().all(|no| *no >= 20));
}

#[test]
fn it_plays_in_order_once_half_a_second_is_there() {
    let mut bench = Bench::watching();
    bench.accept_all();
    for no in [24, 22, 21, 20] {
        bench.piece(A, no, GOOD);
        assert!(bench.played().is_empty());
    }
    bench.piece(A, 23, GOOD);
    assert_eq!(bench.played(), [20], "the first one is due");
    bench.sleep(450);
    assert_eq!(bench.played(), [21, 22, 23, 24]);
    assert!(bench.member.stats().startup_ms.is_some());
}

#[test]
fn a_wrong_piece_is_neither_played_nor_passed_on_and_its_sender_is_banned() {
    let mut bench = Bench::watching();
    bench.accept_all();
    let from = 20;
    let lane = info(from).lane() as u8;
    bench.member.handle_message(bench.now, B, Message::Subscribe { lane, from, value: 0 });
    bench.actions();
    bench.piece(A, 20, Fake { genuine: false });
    let actions = bench.actions();
    assert!(!actions.iter().any(|a| matches!(a, Action::SendPiece { .. })));
    assert!(actions.contains(&Action::Disconnect { peer: A }));
    assert!(actions.iter().any(|a| matches!(a, Action::Tracker(ToTracker::Bad { peer, .. }) if *peer == A)));
    assert_eq!(bench.member.stats().corrupt_bytes, 4000);
    // It may not come back.
    bench.member.peer_connected(bench.now, A, NatClass::Cone, Duration::from_millis(20));
    assert!(bench.actions().contains(&Action::Disconnect { peer: A }));
}

/// Found by fuzzing: it was told goodbye although it had gone before its digest came.
#[test]
fn one_that_sent_a_wrong_piece_and_left_is_banned_without_a_word() {
    let mut bench = Bench::watching();
    bench.piece(A, 40, Fake { genuine: false });
    bench.member.peer_lost(bench.now, A);
    bench.actions();
    bench.announce(40..60);
    let actions = bench.actions();
    assert!(actions.iter().any(|a| matches!(a, Action::Tracker(ToTracker::Bad { peer, .. }) if *peer == A)));
    let to_a =
        |a: &Action<Fake>| matches!(a, Action::Send { to, .. } | Action::Disconnect { peer: to } if *to == A);
    assert!(!actions.iter().any(to_a), "{actions:?}");
    bench.member.peer_connected(bench.now, A, NatClass::Cone, Duration::from_millis(20));
    assert_eq!(bench.actions(), [Action::Disconnect { peer: A }], "it may not come back");
}

/// Found by fuzzing: requests to a member that had left stayed open until their time was over, and were then cancelled there.
#[test]
fn what_one_who_left_was_asked_for_is_asked_of_another_at_once() {
    let mut bench = Bench::watching();
    let asked: Vec<PieceNo> = requests(&bench.sent(A));
    assert!(!asked.is_empty());
    // B has its hands full, so another one comes.
    const C: PeerId = PeerId(0xcccc_cccc_0000_0000);
    bench.member.peer_lost(bench.now, A);
    bench.connect(C, 0..40, 9);
    bench.sleep(100);
    let actions = bench.actions();
    let to_c = actions.iter().filter_map(|a| match a {
        Action::Send { to: C, message } => Some(message.clone()),
        _ => None,
    });
    let again = requests(&to_c.collect::<Vec<_>>());
    assert!(again.iter().any(|no| asked.contains(no)), "{asked:?} of A, then {again:?} of C");
    bench.sleep(5_000);
    let later = bench.actions();
    let to_a = |a: &Action<Fake>| matches!(a, Action::Send { to, .. } if *to == A);
    assert!(!actions.iter().chain(&later).any(to_a), "{actions:?} {later:?}");
}

/// Found by fuzzing: what the origin sent until it was closed was still told to former neighbours.
#[test]
fn whoever_has_left_wants_nothing_more() {
    let mut bench = Bench::watching();
    bench.actions();
    bench.member.leave(bench.now);
    bench.member.handle_origin_piece(bench.now, info(3), GOOD);
    let actions = bench.actions();
    assert!(
        actions.contains(&Action::Tracker(ToTracker::Leave))
            && actions.contains(&Action::Disconnect { peer: A })
    );
    assert!(
        !actions.iter().any(|a| matches!(a, Action::Send { message: Message::Cancel { .. }, .. })),
        "{actions:?}"
    );
    bench.member.handle_origin_piece(bench.now, info(4), GOOD);
    assert_eq!(bench.actions(), []);
}

fn requests(messages: &[Message]) -> Vec<PieceNo> {
    let piece = |m: &Message| if let Message::Request { piece, .. } = m { Some(*piece) } else { None };
    messages.iter().filter_map(piece).collect()
}

#[test]
fn a_parent_that_is_fed_by_us_is_refused() {
    let mut bench = Bench::watching();
    let asked = bench.actions().into_iter().find_map(|a| match a {
        Action::Send { to, message: Message::Subscribe { lane, .. } } => Some((to, lane)),
        _ => None,
    });
    let (to, lane) = asked.expect("it looks for parents");
    let circle = Path::EMPTY.with(ME).and_then(|p| p.with(to)).expect("room");
    bench.member.handle_message(bench.now, to, Message::Accept { lane, path: circle });
    assert!(bench.sent(to).contains(&Message::Unsubscribe { lane }));
    assert_eq!(bench.member.stats().loops, 1);
}

#[test]
fn a_pushed_piece_that_came_through_us_ends_the_subscription() {
    let mut bench = Bench::watching();
    bench.accept_all();
    let no = 25;
    let lane = info(no).lane() as u8;
    let parent = bench.member.lanes[usize::from(lane)].parent.expect("accepted");
    let path = Path::EMPTY.with(ME).and_then(|p| p.with(parent)).expect("room");
    bench.member.handle_piece(bench.now, parent, PieceHead { no, pushed: true, path }, GOOD);
    assert!(bench.sent(parent).contains(&Message::Unsubscribe { lane }));
}

/// Newcomers began with a lag of nothing, and pulled as missing what their new parents were about to send.
#[test]
fn a_new_parent_is_expected_to_be_as_late_as_it_says() {
    let mut bench = Bench::watching();
    for peer in [A, B] {
        let lane = LaneStatus { lag: 900, depth: 2, spare: 9, min_value: 255 };
        bench.status_of_lanes(peer, 0..20, lane);
    }
    bench.accept_all();
    let lag = |k: usize| bench.member.lanes[k].lag;
    assert!((0..LANES).all(|k| lag(k) == 910.0), "half a round trip more: {}", lag(0));
    // A parent that says something absurd is not waited for all the same.
    let mut bench = Bench::watching();
    for peer in [A, B] {
        let lane = LaneStatus { lag: u16::MAX, depth: 2, spare: 9, min_value: 255 };
        bench.status_of_lanes(peer, 0..20, lane);
    }
    bench.accept_all();
    assert!((0..LANES).all(|k| bench.member.lanes[k].lag <= MAX_EXPECTED_LAG_MS));
}

#[test]
fn children_get_what_they_lack_and_the_rest_of_the_substream() {
    let mut bench = Bench::watching();
    bench.accept_all();
    for no in 20..40 {
        bench.piece(A, no, GOOD);
    }
    bench.member.handle_message(bench.now, B, Message::Subscribe { lane: 0, from: 20, value: 0 });
    assert!(!bench.actions().iter().any(|a| matches!(a, Action::SendPiece { .. })), "B has them all");
    bench.announce(40..60);
    for no in 40..60 {
        bench.piece(A, no, GOOD);
    }
    let sent: Vec<_> = bench
        .actions()
        .into_iter()
        .filter_map(|a| match a {
            Action::SendPiece { to, head, .. } => {
                assert_eq!((to, head.pushed), (B, true));
                assert_eq!(head.path.hops(), [A.short(), ME.short()]);
                Some(head.no)
            }
            _ => None,
        })
        .collect();
    let expected: Vec<_> = (40..60).filter(|no| info(*no).lane() == 0).collect();
    assert_eq!(sent, expected);
}

/// Found by a swarm of 16 over packets: each batch that came made the member forget that one was missing.
#[test]
fn a_missing_digest_is_asked_for_while_others_keep_coming() {
    // Neighbours that never deliver anything are not asked.
    let mut bench = Bench::delivered();
    bench.announce(40..44);
    let lost = Message::RequestBatch { no: bench.batch(44..48).no };
    let mut asked = false;
    for i in 12..18 {
        bench.announce(4 * i..4 * i + 4);
        bench.status(A, 0..4 * i + 4, 9);
        bench.status(B, 0..4 * i + 4, 9);
        bench.sleep(100);
        let wanted = |a: &Action<Fake>| matches!(a, Action::Send { message, .. } if *message == lost);
        asked |= bench.actions().iter().any(wanted);
    }
    assert!(asked, "nobody was asked");
}

#[test]
fn with_sharing_off_nothing_is_sent_from_that_moment() {
    let mut bench = Bench::delivered();
    for lane in 0..LANES as u8 {
        bench.member.handle_message(bench.now, B, Message::Subscribe { lane, from: 40, value: 0 });
    }
    bench.announce(40..60);
    for no in 40..60 {
        bench.piece(A, no, GOOD);
    }
    let given: Vec<_> = bench
        .actions()
        .into_iter()
        .filter_map(|a| match a {
            Action::SendPiece { to, head, .. } => Some((to, head.no)),
            _ => None,
        })
        .collect();
    assert!(!given.is_empty(), "it shares");
    bench.member.set_sharing(bench.now, false);
    let actions = bench.actions();
    for (to, no) in &given {
        assert!(actions.contains(&Action::CancelPiece { to: *to, no: *no }));
        bench.member.piece_sent(bench.now, *to, *no);
    }
    bench.member.handle_message(bench.now, B, Message::Request { piece: 50, slack: 100 });
    bench.member.handle_message(bench.now, B, Message::Subscribe { lane: 0, from: 40, value: 9 });
    bench.sleep(200);
    let actions = bench.actions();
    assert!(!actions.iter().any(|a| matches!(a, Action::SendPiece { .. })));
    assert!(actions.contains(&Action::Send { to: B, message: Message::NoHave { piece: 50 } }));
    assert!(actions.contains(&Action::Send { to: B, message: Message::Reject { lane: 0 } }));
}

#[test]
fn alone_it_reads_the_origin_and_says_why() {
    let mut bench = Bench::usual();
    let welcome = FromTracker::Welcome { edge: Some(0), trust: Trust::Witness, candidates: Vec::new() };
    bench.member.handle_tracker(bench.now, welcome);
    let actions = bench.actions();
    assert!(actions.contains(&Action::OpenOrigin));
    assert!(actions.contains(&Action::Tracker(ToTracker::Origin { open: true })));
    // It plays before any digest has come.
    for no in 0..8 {
        bench.member.handle_origin_piece(bench.now, info(no), GOOD);
    }
    assert_eq!(bench.played(), [0]);
    let stats = bench.member.stats();
    assert_eq!(stats.origin_reason, super::OriginReason::NoPeers);
    assert_eq!(stats.origin_bytes_by[super::OriginReason::NoPeers as usize], 8 * 4000);
}

#[test]
fn others_without_room_and_others_without_the_stream_are_different_reasons() {
    let full = LaneStatus { lag: 200, depth: 1, spare: 0, min_value: 255 };
    for (lane, reason) in [(full, super::OriginReason::Uplink), (LaneStatus::NONE, super::OriginReason::Late)]
    {
        let mut bench = Bench::usual();
        bench.announce(0..40);
        bench.member.peer_connected(bench.now, A, NatClass::Cone, Duration::from_millis(20));
        for _ in 0..3 {
            bench.status_of_lanes(A, 0..0, lane);
            bench.sleep(400);
        }
        assert!(bench.actions().contains(&Action::OpenOrigin));
        assert_eq!(bench.member.stats().origin_reason, reason);
    }
}

#[test]
fn a_tracker_that_cannot_be_reached_does_not_keep_a_newcomer_from_the_origin() {
    let mut bench = Bench::usual();
    bench.sleep(900);
    assert!(bench.actions().contains(&Action::OpenOrigin));
}

#[test]
fn who_joins_again_reads_the_origin_for_others_only_if_it_is_elected_again() {
    let mut bench = Bench::usual();
    bench.member.handle_tracker(bench.now, FromTracker::Elect);
    assert!(bench.member.origin.is_permanent());
    let welcome = || FromTracker::Welcome { edge: Some(0), trust: Trust::Witness, candidates: Vec::new() };
    bench.member.handle_tracker(bench.now, welcome());
    assert!(bench.member.origin.is_open() && !bench.member.origin.is_permanent());

    let config = crate::swarm::TrackerConfig::new([1; 32], Trust::Witness);
    let mut tracker = crate::swarm::Tracker::new(config, bench.now);
    for time in 0..2 {
        let join =
            ToTracker::Join { nat: NatClass::Public, slots: 9, may_pull: true, contact: Default::default() };
        tracker.handle(bench.now, A, 1, join);
        let said: Vec<_> = std::iter::from_fn(|| tracker.poll_action()).collect();
        let at = |wanted: fn(&FromTracker) -> bool| said.iter().position(|(_, m)| wanted(m));
        let welcome = at(|m| matches!(m, FromTracker::Welcome { .. }));
        let elect = at(|m| matches!(m, FromTracker::Elect));
        assert!(welcome.is_some() && welcome < elect, "time {time}: {said:?}");
    }
}

#[test]
fn a_piece_of_the_origin_is_passed_on_only_when_its_digest_agrees() {
    let mut bench = Bench::usual();
    bench.announce(0..20);
    bench.member.handle_tracker(bench.now, FromTracker::Elect);
    for no in 0..22 {
        bench.member.handle_origin_piece(bench.now, info(no), GOOD);
    }
    bench.connect(B, 0..20, 0);
    for lane in 0..LANES as u8 {
        bench.member.handle_message(bench.now, B, Message::Subscribe { lane, from: 20, value: 0 });
    }
    let sends = |actions: Vec<Action<Fake>>| -> Vec<PieceNo> {
        let mut sent: Vec<_> = actions
            .into_iter()
            .filter_map(|a| match a {
                Action::SendPiece { head, .. } => Some(head.no),
                _ => None,
            })
            .collect();
        sent.sort_unstable();
        sent
    };
    assert!(sends(bench.actions()).is_empty(), "not before its digest");
    bench.announce(20..22);
    assert_eq!(sends(bench.actions()), [20, 21]);
}

proptest! {
    #[test]
    fn no_second_sees_more_than_the_limit(
        limit in 100_000_u64..4_000_000,
        steps in prop::collection::vec((0_i64..200, 500_usize..MAX_PIECE), 1..300),
    ) {
        let mut uplink = Uplink::new(50_000_000, Some(limit));
        let mut now = 0;
        let mut given: Vec<(i64, usize)> = Vec::new();
        for (no, (pause, len)) in steps.into_iter().enumerate() {
            now += pause;
            uplink.push(Queued { to: A, no: no as u64, lane: 0, len, due: now, pushed: true });
            while let Some(item) = uplink.pop(now) {
                given.push((now, item.len));
                uplink.sent(item.to, item.no);
            }
        }
        for (i, (at, _)) in given.iter().enumerate() {
            let sum: usize = given[i..].iter().take_while(|(t, _)| t - at < 1000).map(|(_, len)| len).sum();
            let most = limit as f64 / 8.0 * LIMIT_SHARE / OVERHEAD + 1.0;
            prop_assert!(sum as f64 <= most + given.len() as f64, "{sum} of {most}");
        }
    }

    #[test]
    fn the_uplink_counts_right_whatever_happens(
        steps in prop::collection::vec((0_u8..5, 0_u64..20, 1_usize..9000), 1..300),
    ) {
        let mut uplink = Uplink::new(2_000_000, None);
        for (now, (what, no, len)) in steps.into_iter().enumerate() {
            match what {
                0 | 1 => uplink.push(Queued { to: A, no, lane: 0, len, due: no as i64, pushed: true }),
                2 => { uplink.pop(now as i64); }
                3 => uplink.sent(A, no),
                _ => uplink.remove(|q| q.no == no),
            }
        }
        uplink.forget(A);
        prop_assert_eq!(uplink.backlog_ms(), 0);
        prop_assert_eq!(uplink.carried().count(), 0);
    }
}

/// One that plays, whose parent in the returned substream is the first id, and that feeds the second one.
fn between() -> (Bench, usize, PeerId, PeerId) {
    let mut bench = Bench::watching();
    bench.accept_all();
    let lane = info(20).lane();
    let parent = bench.member.lanes[lane].parent.expect("accepted");
    bench.piece(parent, 20, GOOD);
    let child = PeerId(0xcccc_cccc_0000_0000);
    bench.connect(child, 0..0, 0);
    let subscribe = Message::Subscribe { lane: lane as u8, from: 40, value: 0 };
    bench.member.handle_message(bench.now, child, subscribe);
    assert!(bench.sent(child).iter().any(|m| matches!(m, Message::Accept { .. })));
    (bench, lane, parent, child)
}

#[test]
fn the_loss_of_a_source_goes_down_the_tree_and_so_does_the_new_way() {
    let (mut bench, lane, parent, child) = between();
    let lost = Message::Lost { lane: lane as u8, hops: 1 };
    bench.member.handle_message(bench.now, parent, lost);
    assert_eq!(bench.sent(child), [Message::Lost { lane: lane as u8, hops: 2 }]);
    let another = PeerId(0xdddd_dddd_0000_0000);
    bench.connect(another, 0..0, 0);
    bench.actions();
    let subscribe = Message::Subscribe { lane: lane as u8, from: 40, value: 0 };
    bench.member.handle_message(bench.now, another, subscribe);
    assert_eq!(bench.sent(another), [Message::Reject { lane: lane as u8 }], "there is nothing to be had");
    let path = Path::EMPTY.with(PeerId(1 << 32)).and_then(|p| p.with(parent)).expect("room");
    bench.member.handle_message(bench.now, parent, Message::Way { lane: lane as u8, path });
    let own = path.with(ME).expect("room");
    assert!(bench.sent(child).contains(&Message::Way { lane: lane as u8, path: own }));
}

#[test]
fn who_says_lost_but_is_no_parent_is_not_believed() {
    let (mut bench, lane, parent, child) = between();
    let other = if parent == A { B } else { A };
    bench.member.handle_message(bench.now, other, Message::Lost { lane: lane as u8, hops: 1 });
    assert_eq!(bench.sent(child), []);
}

#[test]
fn a_way_that_leads_through_us_ends_the_subscription() {
    let (mut bench, lane, parent, _) = between();
    let path = Path::EMPTY.with(ME).and_then(|p| p.with(parent)).expect("room");
    bench.member.handle_message(bench.now, parent, Message::Way { lane: lane as u8, path });
    assert!(bench.sent(parent).contains(&Message::Unsubscribe { lane: lane as u8 }));
}

#[test]
fn a_parent_without_a_source_is_given_time_and_is_then_replaced() {
    let (mut bench, lane, parent, _) = between();
    bench.member.handle_message(bench.now, parent, Message::Lost { lane: lane as u8, hops: 3 });
    let other = PeerId(0xdddd_dddd_0000_0000);
    // Without pieces, so that nothing is pulled from it in vain.
    bench.connect(other, 0..0, 9);
    let asked = |bench: &mut Bench| {
        let wanted = |m: &Message| matches!(m, Message::Subscribe { lane: k, .. } if usize::from(*k) == lane);
        bench.sent(other).iter().any(wanted)
    };
    bench.sleep(300);
    assert!(!asked(&mut bench), "those above look first");
    bench.sleep(100);
    assert!(asked(&mut bench));
}

/// The tracker compared pullers, which take few children, with others by what they take, and replaced good pullers by others that
/// were no stronger.
#[test]
fn a_puller_tells_what_its_uplink_would_feed() {
    let mut bench = Bench::usual();
    let reported = |bench: &mut Bench| {
        bench.sleep(9_000);
        let reports = bench.actions().into_iter().filter_map(|a| match a {
            Action::Tracker(ToTracker::Report(report)) => Some(report.slots),
            _ => None,
        });
        reports.last().expect("a report every 4 s")
    };
    bench.announce(0..20);
    let before = reported(&mut bench);
    bench.member.handle_tracker(bench.now, FromTracker::Elect);
    assert_eq!(reported(&mut bench), before);
    bench.member.set_sharing(bench.now, false);
    assert_eq!(reported(&mut bench), 0);
}

/// Members that were excluded while they read the origin went on to say that others were late, and counted as honest ones.
#[test]
fn the_reason_for_reading_the_origin_is_the_one_that_keeps_it_open() {
    let reason = |bench: &Bench| bench.member.stats().origin_reason;
    let mut bench = Bench::usual();
    bench.sleep(1_500);
    assert_eq!(reason(&bench), OriginReason::NoPeers, "a newcomer without neighbours");
    bench.member.handle_tracker(bench.now, FromTracker::Elect);
    assert_eq!(reason(&bench), OriginReason::Puller);
    bench.member.handle_tracker(bench.now, FromTracker::Excluded);
    assert_eq!(reason(&bench), OriginReason::Policy);
    assert_eq!(bench.member.stats().origin_opens, 1);
}

/// A member with room for 17 children, which has 16.
fn feeding_sixteen() -> Bench {
    feeding_sixteen_in(LANES as u8)
}

/// The same, in so many substreams.
fn feeding_sixteen_in(lanes: u8) -> Bench {
    let mut config = MemberConfig::new(ME, [7; 32]);
    (config.rate, config.uplink) = (320_000, 1_000_000);
    let mut bench = Bench::new(config);
    bench.announce(0..40);
    bench.connect(A, 0..40, 9);
    bench.accept_all();
    for n in 0..16_u8 {
        let child = PeerId(u64::from(n) + 1);
        bench.connect(child, 0..0, 0);
        let subscribe = Message::Subscribe { lane: n % lanes, from: 20, value: 0 };
        bench.member.handle_message(bench.now, child, subscribe);
    }
    let accepted = |a: &Action<Fake>| matches!(a, Action::Send { message: Message::Accept { .. }, .. });
    assert_eq!(bench.actions().iter().filter(|a| accepted(a)).count(), 16);
    bench
}

fn evictions(actions: &[Action<Fake>]) -> usize {
    let evict = |a: &&Action<Fake>| matches!(a, Action::Send { message: Message::Evict { .. }, .. });
    actions.iter().filter(evict).count()
}

/// Found at 200 members over packets: those who had just begun to read the origin for others let one child go every 400 ms for as long
/// as the first was still fed, 19 became 5, and the whole swarm had to find other parents.
#[test]
fn an_overloaded_member_waits_for_what_letting_go_of_children_brings() {
    let mut bench = feeding_sixteen();
    // The carrier takes some and never says that they have left: the uplink is full.
    (20..40).for_each(|no| bench.piece(A, no, GOOD));
    assert!(bench.member.snapshot(bench.now).backlog_ms > 700);
    bench.sleep(600);
    assert_eq!(evictions(&bench.actions()), 3, "one, and one of eight");
    bench.sleep(2_500);
    assert_eq!(evictions(&bench.actions()), 0, "they are still fed");
}

/// Found at 200 members over packets: one with 24 children, all that its uplink carries, was elected, pieces waited 200 ms there for
/// seven seconds, and everybody had them a second later than before.
#[test]
fn who_is_elected_has_no_more_children_than_a_root_takes() {
    let mut bench = feeding_sixteen();
    bench.member.handle_tracker(bench.now, FromTracker::Elect);
    assert_eq!(evictions(&bench.actions()), 4, "half of the uplink feeds 12");
    bench.member.handle_tracker(bench.now, FromTracker::Elect);
    assert_eq!(evictions(&bench.actions()), 0);
}

/// Found at 200 members over packets: with children for three quarters of half a megabit, what a member asks for and acknowledges waited
/// half a second in its own uplink, and three of four stalls were those of such members.
#[test]
fn a_small_uplink_is_first_of_all_for_what_its_member_says_itself() {
    let slots = |uplink: u64, limit: Option<u64>| {
        let mut config = MemberConfig::new(ME, [7; 32]);
        (config.rate, config.uplink, config.upload_limit) = (2_000_000, uplink, limit);
        Bench::new(config).member.snapshot(Bench::usual().now).slots
    };
    // A substream takes 262 kbit/s, and what is said 220.
    assert_eq!(slots(500_000, None), 0);
    assert_eq!(slots(700_000, None), 1);
    assert_eq!(slots(1_000_000, None), 2);
    // A quarter of a larger one is enough for that.
    assert_eq!(slots(3_500_000, None), 10);
    // A limit is for pieces.
    assert_eq!(slots(3_500_000, Some(700_000)), 2);
}

#[test]
fn what_waits_for_a_small_uplink_takes_as_long_as_what_is_left_of_it_needs() {
    let mut uplink = Uplink::new(500_000, None);
    uplink.set_stream_rate(2_000_000.0);
    assert_eq!(uplink.for_pieces(), 280_000);
    uplink.push(Queued { to: A, no: 1, lane: 0, len: 7_000, due: 0, pushed: true });
    uplink.push(Queued { to: B, no: 1, lane: 0, len: 7_000, due: 0, pushed: true });
    assert_eq!(uplink.backlog_ms(), 400);
    assert!(uplink.pop(0).is_some());
    assert_eq!(uplink.pop(0), None, "one piece at a time");
    uplink.set_stream_rate(6_000_000.0);
    assert_eq!(uplink.for_pieces(), 125_000, "never nothing");
}

/// Found at 200 members over packets: a digest had passed a parent and its child by, and for two seconds the child asked its parent, who
/// had all that came after it.
#[test]
fn a_missing_digest_is_asked_of_one_neighbour_after_the_other() {
    // Neighbours that never deliver anything are not asked.
    let mut bench = Bench::delivered();
    let lost = bench.batch(40..44);
    let next = bench.batch(44..48);
    for peer in [A, B] {
        bench.member.handle_message(bench.now, peer, Message::Batch(next.clone()));
        bench.status(peer, 0..48, 9);
    }
    bench.actions();
    let mut asked = Vec::new();
    for _ in 0..20 {
        bench.sleep(50);
        for action in bench.actions() {
            if let Action::Send { to, message: Message::RequestBatch { no } } = action {
                assert_eq!(no, lost.no);
                asked.push(to);
                // It has only what comes after that.
                bench.member.handle_message(bench.now, to, Message::Batch(next.clone()));
            }
        }
    }
    assert!(asked.len() > 2, "{asked:?}");
    assert!(
        asked.chunks_exact(2).all(|pair| pair[0] != pair[1]),
        "everybody before anybody again: {asked:?}"
    );
    bench.member.handle_message(bench.now, A, Message::Batch(lost));
    bench.sleep(1_000);
    assert!(!bench.actions().iter().any(|a| matches!(
        a,
        Action::Send { message: Message::RequestBatch { no }, .. } if *no < next.no
    )));
}

#[test]
fn with_little_to_play_it_plays_slower() {
    let mut bench = Bench::watching();
    bench.accept_all();
    (20..25).for_each(|no| bench.piece(A, no, GOOD));
    bench.sleep(500);
    // Half a second is there, and nothing follows; at the usual rate, that of one close behind the origin, 475 ms would be over.
    assert_eq!(bench.member.stats().stalls, 0);
    assert_eq!(bench.played(), (20..25).collect::<Vec<_>>());
    bench.sleep(40);
    assert_eq!(bench.member.stats().stalls, 0);
    bench.sleep(60);
    assert_eq!(bench.member.stats().stalls, 1);
}

#[test]
fn a_lease_that_is_not_needed_any_more_is_not_used() {
    let needy = |helped: bool| {
        let mut bench = Bench::watching();
        bench.accept_all();
        (20..30).for_each(|no| bench.piece(A, no, GOOD));
        let asks = |bench: &mut Bench| bench.actions().contains(&Action::Tracker(ToTracker::Rescue));
        assert!((0..60).any(|_| {
            bench.sleep(50);
            asks(&mut bench)
        }));
        if helped {
            (30..40).for_each(|no| bench.piece(B, no, GOOD));
        }
        bench.member.handle_tracker(bench.now, FromTracker::Lease { granted: true });
        bench.actions().contains(&Action::OpenOrigin)
    };
    assert!(needy(false));
    assert!(!needy(true));
}

/// One with a child in the returned substream, whose parent there, the returned one, fell silent a moment ago.
fn orphan() -> (Bench, usize, PeerId) {
    let (mut bench, lane, parent, _) = between();
    let other = if parent == A { B } else { A };
    bench.announce(40..48);
    bench.actions();
    bench.member.peer_lost(bench.now, other);
    let silent = |bench: &Bench| bench.member.lanes[lane].parent.is_none();
    for _ in 0..40 {
        bench.sleep(50);
        if silent(&bench) {
            break;
        }
    }
    assert!(silent(&bench), "its parent says nothing");
    bench.actions();
    (bench, lane, parent)
}

fn subscriptions(messages: &[Message], k: usize) -> usize {
    messages
        .iter()
        .filter(|m| matches!(m, Message::Subscribe { lane, .. } if usize::from(*lane) == k))
        .count()
}

/// Found at 200 members over packets: the ten children of one that vanished chose descendants of each other, which had not noticed
/// anything yet, and went in circles for 900 ms.
#[test]
fn who_lost_its_parent_does_not_turn_to_others_below_the_same_one() {
    let (mut bench, lane, dead) = orphan();
    let stale = PeerId(0xcccc_cccd_0000_0000);
    bench.connect(stale, 0..21, 9);
    bench.sleep(50);
    assert_eq!(subscriptions(&bench.sent(stale), lane), 1, "nobody better is there");
    let below = Path::EMPTY.with(dead).and_then(|p| p.with(stale)).expect("room");
    bench.member.handle_message(bench.now, stale, Message::Accept { lane: lane as u8, path: below });
    assert!(bench.sent(stale).contains(&Message::Unsubscribe { lane: lane as u8 }));
    assert_eq!(bench.member.lanes[lane].parent, None);
    // One that has newer pieces gets them from somewhere.
    let alive = PeerId(0xcccc_ccce_0000_0000);
    bench.connect(alive, 0..48, 9);
    bench.sleep(50);
    assert_eq!(subscriptions(&bench.sent(alive), lane), 1);
    let below = Path::EMPTY.with(dead).and_then(|p| p.with(alive)).expect("room");
    bench.member.handle_message(bench.now, alive, Message::Accept { lane: lane as u8, path: below });
    assert_eq!(bench.member.lanes[lane].parent, Some(alive), "whoever seemed dead lives");
}

/// Who has just begun to read the origin for others may be the only one that has what its predecessor did not pass on: at 100 members
/// all missed the same piece for two seconds, and those that had it refused because they were busy.
#[test]
fn a_busy_puller_gives_what_hardly_anybody_has() {
    let mut bench = feeding_sixteen();
    bench.member.handle_tracker(bench.now, FromTracker::Elect);
    (20..40).for_each(|no| bench.piece(A, no, GOOD));
    assert!(bench.member.snapshot(bench.now).backlog_ms > 300);
    let child = PeerId(1);
    bench.actions();
    let request = Message::Request { piece: 30, slack: 60_000 };
    bench.member.handle_message(bench.now, child, request.clone());
    assert_eq!(bench.sent(child), [], "only A is known to have it");
    for n in 2..5 {
        bench.status(PeerId(n), 20..40, 0);
    }
    bench.actions();
    bench.member.handle_message(bench.now, child, request);
    assert_eq!(bench.sent(child), [Message::NoHave { piece: 30 }], "others have it, too");
}

/// It would otherwise know it from the next status only, half a second later.
#[test]
fn who_asked_in_vain_hears_when_the_piece_has_come() {
    let (mut bench, _, parent, child) = between();
    bench.member.handle_message(bench.now, child, Message::Request { piece: 21, slack: 500 });
    assert_eq!(bench.sent(child), [Message::NoHave { piece: 21 }]);
    bench.piece(parent, 21, GOOD);
    assert!(bench.sent(child).contains(&Message::Cancel { piece: 21 }));
    bench.piece(parent, 22, GOOD);
    assert!(!bench.sent(child).contains(&Message::Cancel { piece: 22 }), "it has not asked for that");
}

/// Found by the fuzz target `scheduler` (`fault-tells-who-is-gone`).
#[test]
fn who_asked_in_vain_and_is_gone_is_told_nothing() {
    let (mut bench, _, parent, child) = between();
    bench.member.handle_message(bench.now, child, Message::Request { piece: 21, slack: 500 });
    assert_eq!(bench.sent(child), [Message::NoHave { piece: 21 }]);
    bench.member.peer_lost(bench.now, child);
    bench.piece(parent, 21, GOOD);
    assert_eq!(bench.sent(child), []);
}

/// In a failure everybody asked somebody in vain, and told its parent not to send the piece: it could not come down the tree either.
#[test]
fn a_parent_that_lacks_a_piece_passes_it_on_although_others_were_asked() {
    let mut bench = Bench::delivered();
    bench.announce(40..48);
    let no = 41;
    let parent = bench.member.lanes[info(no).lane()].parent.expect("accepted");
    let other = if parent == A { B } else { A };
    let cancelled = |messages: &[Message]| messages.contains(&Message::Cancel { piece: no });
    let (mut to_parent, mut to_other) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        if requests(&to_other).contains(&no) {
            break;
        }
        // Both live.
        bench.status(other, 20..48, 9);
        bench.status(parent, 20..40, 9);
        bench.sleep(50);
        for action in bench.actions() {
            match action {
                Action::Send { to, message } if to == parent => to_parent.push(message),
                Action::Send { message, .. } => to_other.push(message),
                _ => {}
            }
        }
    }
    assert!(requests(&to_other).contains(&no), "it does not come by itself");
    assert!(!cancelled(&to_parent));
    assert_eq!(bench.member.lanes[info(no).lane()].parent, Some(parent));
    let path = Path::EMPTY.with(other).expect("room");
    bench.member.handle_piece(bench.now, other, PieceHead { no, pushed: false, path }, GOOD);
    assert!(cancelled(&bench.sent(parent)), "now it need not");
}

/// Seen at 60 members: one of two pullers had no child in a substream and no place left, so nobody asked it, and when the other
/// one died while the tracker was away, this substream was gone for everybody.
#[test]
fn a_full_puller_says_in_which_substreams_it_makes_room() {
    let mut bench = feeding_sixteen_in(4);
    bench.member.handle_tracker(bench.now, FromTracker::Elect);
    for no in 20..40 {
        bench.member.handle_origin_piece(bench.now, info(no), GOOD);
    }
    bench.actions();
    bench.sleep(600);
    let status = bench.sent(A).into_iter().find_map(|m| match m {
        Message::Status(status) => Some(status),
        _ => None,
    });
    let status = status.expect("one every half second");
    assert!(status.lanes.iter().all(|l| l.depth == 0 && l.spare == 0), "{status:?}");
    let least: Vec<_> = status.lanes.iter().map(|l| l.min_value).collect();
    assert_eq!(least[4..], [0; 4], "somebody may take the place of a child of another substream");
    let stranger = PeerId(0xcccc_cccc_0000_0000);
    bench.connect(stranger, 0..0, 0);
    let subscribe = Message::Subscribe { lane: 5, from: 40, value: 4 };
    bench.member.handle_message(bench.now, stranger, subscribe);
    let actions = bench.actions();
    assert_eq!(evictions(&actions), 1);
    let accepted = |a: &Action<Fake>| matches!(a, Action::Send { to, message: Message::Accept { lane: 5, .. } } if *to == stranger);
    assert!(actions.iter().any(accepted));
}

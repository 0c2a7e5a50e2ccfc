//! The relay's rules, one by one, and random operations against its invariants.

use proptest::prelude::*;

use super::*;
use crate::link::Entropy;

const FULL: usize = 1200;

fn relay(config: RelayConfig) -> (Relay, Instant) {
    #[expect(clippy::disallowed_methods, reason = "a test needs some first instant")]
    let now = Instant::now();
    (Relay::new(config, Entropy::from_os([7; 32]).rng("test"), now), now)
}

fn addr(n: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, (n >> 8) as u8], 1000 + n))
}

fn ticket(n: u8) -> Ticket {
    Ticket::from_bytes([n; 16])
}

/// An open flow: the viewer's id and the camera's.
fn open(relay: &mut Relay, now: Instant, viewer: u16) -> (FlowId, FlowId) {
    match relay.open(now, addr(viewer), ticket(1), FULL) {
        OpenOutcome::Forward { to, flow, opened } => {
            assert_eq!(to, addr(999));
            (opened, flow)
        }
        other => panic!("{other:?}"),
    }
}

fn with_camera() -> (Relay, Instant) {
    let (mut relay, now) = relay(RelayConfig::default());
    relay.set_camera(now, ticket(1), addr(999));
    (relay, now)
}

#[test]
fn opens_are_idempotent_and_the_ends_have_ids_of_their_own() {
    let (mut relay, now) = with_camera();
    let (viewer, camera) = open(&mut relay, now, 1);
    assert_ne!(viewer, camera);
    assert_eq!(open(&mut relay, now, 1), (viewer, camera));
    assert_ne!(open(&mut relay, now, 2).0, viewer);
    assert_eq!(relay.flows(), 2);
    assert_eq!(
        relay.forward(now, addr(1), viewer, 50),
        ForwardOutcome::Forward { to: addr(999), flow: camera }
    );
    assert_eq!(
        relay.forward(now, addr(999), camera, 50),
        ForwardOutcome::Forward { to: addr(1), flow: viewer }
    );
    assert_eq!(relay.forward(now, addr(1), FlowId(1), 50), ForwardOutcome::UnknownFlow);
}

#[test]
fn each_refusal_has_its_reason() {
    let config =
        RelayConfig { max_flows: 3, max_flows_per_camera: 2, opens_per_source: 2, ..RelayConfig::default() };
    let (mut relay, now) = relay(config);
    let refused = |relay: &mut Relay, viewer, t| relay.open(now, addr(viewer), ticket(t), FULL);
    assert_eq!(refused(&mut relay, 1, 1), OpenOutcome::Refuse(RefuseReason::UnknownTicket));
    for t in [1, 2] {
        relay.set_camera(now, ticket(t), addr(999));
    }
    for viewer in [300, 600] {
        let (id, _) = open(&mut relay, now, viewer);
        assert!(matches!(relay.forward(now, addr(viewer), id, 50), ForwardOutcome::Forward { .. }));
    }
    assert_eq!(refused(&mut relay, 900, 1), OpenOutcome::Refuse(RefuseReason::CameraFull));
    assert!(matches!(refused(&mut relay, 900, 2), OpenOutcome::Forward { .. }));
    assert_eq!(refused(&mut relay, 1200, 2), OpenOutcome::Refuse(RefuseReason::ServerFull));
    // Two per second and six at once from one address, refused ones included; then silence.
    let outcomes: Vec<_> = (0..8).map(|i| refused(&mut relay, 2000 + i, 9)).collect();
    assert_eq!(outcomes.iter().filter(|o| matches!(o, OpenOutcome::Refuse(_))).count(), 6);
    assert_eq!(outcomes.iter().filter(|o| **o == OpenOutcome::Drop).count(), 2);
    relay.drain();
    assert_eq!(refused(&mut relay, 4000, 1), OpenOutcome::Refuse(RefuseReason::Draining));
}

#[test]
fn flows_that_prove_nothing_give_way_and_end_soon() {
    let config = RelayConfig { max_flows_per_camera: 4, opens_per_source: 1000, ..RelayConfig::default() };
    let (mut relay, now) = relay(config);
    relay.set_camera(now, ticket(1), addr(999));
    let (proven, _) = open(&mut relay, now, 1);
    relay.forward(now, addr(1), proven, 50);
    // Each of an address of its own, and nobody answers.
    for n in 1..50 {
        open(&mut relay, now, 256 * n);
        assert!(relay.flows() <= 4);
    }
    let (newcomer, _) = open(&mut relay, now, 2);
    for (viewer, id) in [(1, proven), (2, newcomer)] {
        assert!(
            matches!(relay.forward(now, addr(viewer), id, 50), ForwardOutcome::Forward { .. }),
            "{viewer}"
        );
    }
    let later = now + UNPROVEN;
    relay.handle_timeout(later);
    assert_eq!(relay.flows(), 2, "those who have proven themselves");
}

#[test]
fn one_address_has_at_most_half_of_the_flows_of_a_camera() {
    let config = RelayConfig { max_flows_per_camera: 8, opens_per_source: 1000, ..RelayConfig::default() };
    let (mut relay, now) = relay(config);
    relay.set_camera(now, ticket(1), addr(999));
    let at = |port: u16| SocketAddr::from(([192, 0, 2, 77], port));
    let mut refused = 0;
    for port in 1..40 {
        match relay.open(now, at(port), ticket(1), FULL) {
            OpenOutcome::Forward { opened, .. } => _ = relay.forward(now, at(port), opened, 50),
            OpenOutcome::Refuse(RefuseReason::RateLimited) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((relay.flows(), refused), (4, 35));
    open(&mut relay, now, 1);
}

#[test]
fn a_flood_of_first_packets_takes_nothing_from_those_who_watch() {
    let config =
        RelayConfig { camera_rate: Some(400_000), opens_per_source: 10_000, ..RelayConfig::default() };
    let (mut relay, now) = relay(config);
    relay.set_camera(now, ticket(1), addr(999));
    let (viewer, camera) = open(&mut relay, now, 1);
    relay.forward(now, addr(1), viewer, 50);
    let passed = (0..2_000)
        .filter(|n| {
            matches!(relay.open(now, addr(2 + n % 200), ticket(1), FULL), OpenOutcome::Forward { .. })
        })
        .count();
    assert!((300..340).contains(&passed), "a quarter of 4 s: {passed}");
    for _ in 0..500 {
        let passed = relay.forward(now, addr(999), camera, 1200);
        assert!(matches!(passed, ForwardOutcome::Forward { .. }), "what is watched goes on");
    }
}

#[test]
fn an_address_that_has_proven_nothing_gets_three_times_what_it_sent() {
    let (mut relay, now) = with_camera();
    let (viewer, camera) = open(&mut relay, now, 1);
    let mut sent = 0;
    while let ForwardOutcome::Forward { .. } = relay.forward(now, addr(999), camera, 1200) {
        sent += 1200;
    }
    assert!(sent > 2000 && sent <= 3 * (FULL + OPEN_HEADER_LEN), "{sent}");
    assert!(matches!(relay.forward(now, addr(1), viewer, 30), ForwardOutcome::Forward { .. }));
    for _ in 0..20 {
        assert!(matches!(relay.forward(now, addr(999), camera, 1200), ForwardOutcome::Forward { .. }));
    }
}

#[test]
fn a_small_first_packet_opens_the_flow_and_goes_no_further() {
    let (mut relay, now) = with_camera();
    let OpenOutcome::Opened { opened } = relay.open(now, addr(1), ticket(1), 60) else { panic!() };
    assert!(matches!(relay.forward(now, addr(1), opened, 60), ForwardOutcome::Forward { .. }));
}

#[test]
fn a_flow_moves_only_with_the_cookie_of_its_new_address() {
    let (mut relay, now) = with_camera();
    let (viewer, camera) = open(&mut relay, now, 1);
    let ForwardOutcome::SendCookie { cookie } = relay.forward(now, addr(2), viewer, 50) else { panic!() };
    assert_eq!(relay.cookie_echo(now, addr(3), viewer, &cookie), None, "from another address");
    assert_eq!(relay.cookie_echo(now, addr(2), viewer, &[0; 16]), None, "forged");
    assert_eq!(relay.cookie_echo(now, addr(2), camera, &cookie), None, "for another id");
    let late = now + Duration::from_secs(25);
    assert_eq!(relay.cookie_echo(late, addr(2), viewer, &cookie), None, "too late");
    assert!(
        matches!(relay.forward(now, addr(1), viewer, 50), ForwardOutcome::Forward { .. }),
        "still the old one's"
    );
    assert_eq!(relay.cookie_echo(now, addr(2), viewer, &cookie), Some((ticket(1), viewer)));
    assert!(matches!(relay.forward(now, addr(2), viewer, 50), ForwardOutcome::Forward { .. }));
    assert!(matches!(relay.forward(now, addr(1), viewer, 50), ForwardOutcome::SendCookie { .. }));
    assert_eq!(
        relay.forward(now, addr(999), camera, 50),
        ForwardOutcome::Forward { to: addr(2), flow: viewer }
    );
}

#[test]
fn a_camera_moves_flow_by_flow_with_cookies_and_all_at_once_by_registering() {
    let (mut relay, now) = with_camera();
    let (first, first_camera) = open(&mut relay, now, 1);
    let (second, _) = open(&mut relay, now, 2);
    let ForwardOutcome::SendCookie { cookie } = relay.forward(now, addr(500), first_camera, 50) else {
        panic!()
    };
    assert_eq!(relay.cookie_echo(now, addr(500), first_camera, &cookie), None, "nothing to tell a camera");
    let goes_to = |relay: &mut Relay, viewer, id| match relay.forward(now, addr(viewer), id, 50) {
        ForwardOutcome::Forward { to, .. } => to,
        other => panic!("{other:?}"),
    };
    assert_eq!(goes_to(&mut relay, 1, first), addr(500));
    assert_eq!(goes_to(&mut relay, 2, second), addr(999));
    relay.set_camera(now, ticket(1), addr(700));
    assert_eq!(goes_to(&mut relay, 1, first), addr(700));
    assert_eq!(goes_to(&mut relay, 2, second), addr(700));
    relay.remove_camera(now, &ticket(1));
    assert_eq!(relay.flows(), 0);
    assert_eq!(relay.forward(now, addr(1), first, 50), ForwardOutcome::UnknownFlow);
}

#[test]
fn idle_flows_end_and_used_ones_stay() {
    let (mut relay, now) = with_camera();
    let (used, _) = open(&mut relay, now, 1);
    let (idle, _) = open(&mut relay, now, 2);
    let mut time = now;
    for _ in 0..9 {
        time += Duration::from_secs(10);
        relay.forward(time, addr(1), used, 50);
        relay.handle_timeout(time);
        assert!(relay.poll_timeout().is_none_or(|at| at > time), "no timer in the past");
    }
    assert!(matches!(relay.forward(time, addr(1), used, 50), ForwardOutcome::Forward { .. }));
    assert_eq!(relay.forward(time, addr(2), idle, 50), ForwardOutcome::UnknownFlow);
    assert_eq!(relay.flows(), 1);
}

#[test]
fn rates_hold_for_a_flow_and_for_all_flows_of_a_camera() {
    let config = RelayConfig { flow_rate: Some(50_000), camera_rate: Some(60_000), ..RelayConfig::default() };
    let (mut relay, now) = relay(config);
    relay.set_camera(now, ticket(1), addr(999));
    let (a, _) = open(&mut relay, now, 1);
    let (b, _) = open(&mut relay, now, 2);
    let pass = |relay: &mut Relay, viewer, id, at| {
        (0..10_000)
            .filter(|_| matches!(relay.forward(at, addr(viewer), id, 1000), ForwardOutcome::Forward { .. }))
            .count()
    };
    let (first, second) = (pass(&mut relay, 1, a, now), pass(&mut relay, 2, b, now));
    assert!(first <= 200 && first + second <= 240, "bursts of 4 s: {first} and {second} packets of 1 kB");
    let later = now + Duration::from_secs(1);
    let refilled = pass(&mut relay, 1, a, later) + pass(&mut relay, 2, b, later);
    assert!((50..=62).contains(&refilled), "{refilled} packets of 1 kB after one more second");
}

fn check(relay: &Relay) {
    assert_eq!(relay.by_id.len(), relay.flows.len() * 2);
    assert_eq!(relay.by_camera.len(), relay.flows.len());
    assert_eq!(relay.expiries.len(), relay.flows.len());
    assert!(relay.flows.len() <= relay.config.max_flows);
    for (index, flow) in &relay.flows {
        assert_eq!(relay.by_id.get(&flow.viewer_id), Some(&(*index, End::Viewer)));
        assert_eq!(relay.by_id.get(&flow.camera_id), Some(&(*index, End::Camera)));
        assert!(relay.by_camera.contains(&(flow.ticket, *index)));
        assert!(relay.expiries.contains(&(flow.expires, *index)));
        assert!(relay.cameras.contains_key(&flow.ticket));
    }
    for ((_, ticket), index) in &relay.by_source {
        assert_eq!(relay.flows.get(index).map(|f| f.ticket), Some(*ticket));
    }
}

proptest! {
    #[test]
    fn random_operations_leave_no_loose_ends(ops in proptest::collection::vec((0u8..7, 0u16..8, 0u8..3, 0u64..40), 1..200)) {
        let config = RelayConfig { max_flows: 6, max_flows_per_camera: 4, opens_per_source: 1000, ..RelayConfig::default() };
        let (mut relay, mut now) = relay(config);
        let mut ids = vec![FlowId(0)];
        let mut cookies = Vec::new();
        for (op, who, t, pick) in ops {
            let id = ids[pick as usize % ids.len()];
            match op {
                0 => relay.set_camera(now, ticket(t), addr(900 + who)),
                1 => relay.remove_camera(now, &ticket(t)),
                2 => {
                    if let OpenOutcome::Forward { flow, opened, .. } = relay.open(now, addr(who), ticket(t), FULL) {
                        ids.extend([flow, opened]);
                    }
                }
                3 => {
                    let from = if pick % 2 == 0 { addr(who) } else { addr(900 + who) };
                    if let ForwardOutcome::SendCookie { cookie } = relay.forward(now, from, id, 100) {
                        cookies.push((from, id, cookie));
                    }
                }
                4 => {
                    if let Some((from, id, cookie)) = cookies.pop() {
                        relay.cookie_echo(now, from, id, &cookie);
                    }
                }
                5 => now += Duration::from_secs(pick),
                _ => {
                    relay.handle_timeout(now);
                    prop_assert!(relay.poll_timeout().is_none_or(|at| at > now));
                }
            }
            check(&relay);
        }
    }
}

//! Who is a member of a swarm and who is not, over real QUIC in the simulator.

use std::num::NonZeroU64;
use std::time::Duration;

use xp2p_proto::info::{Capability, Right};
use xp2p_proto::keys::{SecretKey, Ticket, TicketNonce};
use xp2p_proto::link::Entropy;
use xp2p_proto::peer::{CLOSE_MISBEHAVED, CLOSE_NO_MEMBER, DoorTag, MembershipToken, PeerEvent};
use xp2p_proto::server::{Door, Server};
use xp2p_proto::swarm::{PeerId, StreamId};
use xp2p_tests::intruder::Intruder;
use xp2p_tests::packets::{Home, Swarm, peer_secret};
use xp2p_tests::sim::{HostId, LinkConfig};
use xp2p_tests::world::{CAMERA_KEY, SERVER, SERVER_KEY, assert_contract, secret};

const SEC: Duration = Duration::from_secs(1);
/// The tracker ends a membership within this time.
const PROMISE: Duration = Duration::from_secs(5);
/// And others do without it after so much more.
const LEEWAY: Duration = Duration::from_secs(12);
/// The camera's epoch at first.
const EPOCH: u32 = 3;

fn door(epoch: u32) -> Door {
    Door { camera: secret(CAMERA_KEY).public(), epoch }
}

fn set_door(swarm: &mut Swarm, door: Option<Door>) {
    let stream = swarm.stream;
    swarm.sim.with(swarm.server, |server, now| assert!(server.set_door(now, stream, door)));
}

fn capability(epoch: u32, expiry: Option<u64>) -> Capability {
    let expiry = expiry.and_then(NonZeroU64::new);
    Capability::issue(&secret(CAMERA_KEY), Right::Live.into(), epoch, expiry, *b"serial##")
}

/// A swarm for those whom the camera allows to see its stream.
fn closed(seed: u64) -> Swarm {
    let mut swarm = Swarm::new(seed);
    set_door(&mut swarm, Some(door(EPOCH)));
    swarm
}

fn join_with(swarm: &mut Swarm, home: Home, capability: Option<Capability>) -> usize {
    let n =
        swarm.join_with(home, LinkConfig::latency(Duration::from_millis(10)), |c| c.capability = capability);
    swarm.run(Duration::from_millis(700));
    n
}

/// Members with a capability that does not expire.
fn gather(swarm: &mut Swarm, count: usize) {
    for n in 0..count {
        let home = [Home::Public, Home::PortRestricted, Home::Cone][n % 3];
        join_with(swarm, home, Some(capability(EPOCH, None)));
    }
}

fn unix(swarm: &Swarm) -> u64 {
    swarm.sim.unix_time().as_secs()
}

fn members(swarm: &Swarm) -> usize {
    swarm.sim.machine(swarm.server).stats().members
}

fn p2p_bytes(swarm: &mut Swarm, n: usize) -> u64 {
    swarm.with(n, |p, _| p.stats().swarm.p2p_bytes)
}

/// Bytes that some members get from others meanwhile.
fn got(swarm: &mut Swarm, who: &[usize], time: Duration) -> Vec<u64> {
    let before: Vec<u64> = who.iter().map(|n| p2p_bytes(swarm, *n)).collect();
    swarm.run(time);
    who.iter().zip(before).map(|(n, b)| p2p_bytes(swarm, *n) - b).collect()
}

/// The members that `n` is connected to.
fn neighbours(swarm: &mut Swarm, n: usize) -> Vec<PeerId> {
    swarm.with(n, |p, _| p.neighbours().iter().map(|i| i.peer).collect())
}

fn id(swarm: &mut Swarm, n: usize) -> PeerId {
    swarm.with(n, |p, _| p.id())
}

/// Why the tracker has refused a member.
fn refusals(swarm: &Swarm, n: usize) -> Vec<(Duration, String)> {
    let refusal = |(at, event): &(Duration, PeerEvent)| match event {
        PeerEvent::TrackerRefused { reason } => Some((*at, reason.clone())),
        _ => None,
    };
    swarm.watchers[n].events.iter().filter_map(refusal).collect()
}

/// Connections that ended since `from` because a membership was not good enough, at either end.
fn partings(swarm: &Swarm, who: &[usize], from: Duration) -> Vec<String> {
    let parting = |(at, event): &(Duration, PeerEvent)| match event {
        PeerEvent::NeighbourGone { reason, .. } if *at >= from && reason.contains("member") => {
            Some(format!("{at:?}: {reason}"))
        }
        _ => None,
    };
    who.iter().flat_map(|n| swarm.watchers[*n].events.iter().filter_map(parting)).collect()
}

/// These have shown all of the stream without a break since `from`, and know each other well.
fn assert_undisturbed(swarm: &mut Swarm, who: &[usize], from: Duration) {
    assert_contract(&swarm.sim, swarm.server);
    let now = swarm.sim.elapsed();
    for n in who {
        assert_contract(&swarm.sim, swarm.watchers[*n].host);
        swarm.assert_whole_after(*n, from);
        let gap = swarm.watchers[*n].longest_gap(from, now);
        assert!(gap < SEC, "member {n}: {gap:?}");
        assert!(refusals(swarm, *n).is_empty(), "member {n}");
        assert_eq!(swarm.with(*n, |p, _| p.stats().banned), 0, "member {n}");
    }
    // Two read the origin for a few seconds when one takes over from another.
    let sharing = got(swarm, who, 15 * SEC);
    let rich = sharing.iter().filter(|b| **b > 200_000).count();
    assert!(rich + 1 >= who.len(), "all but one live on the others: {sharing:?}");
}

/// Somebody at a place of its own who knows the key and the ticket of member `victim`.
fn intrude(
    swarm: &mut Swarm,
    number: usize,
    victim: usize,
    token: impl FnOnce(&SecretKey, &StreamId) -> Vec<u8>,
) -> HostId<Intruder> {
    let own = peer_secret(1, number);
    let token = token(&own, &swarm.stream);
    let (config, _) = swarm.place(Home::Public, number);
    let key = swarm.with(victim, |p, _| p.key());
    // Anyone who was a member once knows the ticket; here it is made from the secret.
    let (secret, server) = (peer_secret(1, victim), SERVER.parse().expect("an address"));
    assert_eq!(secret.public(), key);
    let ticket = Ticket::new(&key, &TicketNonce::of_epoch(&secret, 0));
    let entropy = Entropy::seeded(7_000 + number as u64);
    let now = swarm.sim.now();
    let intruder = Intruder::new(own, entropy, server, (key, ticket), swarm.stream, &token, now);
    swarm.sim.add_host(config.link(LinkConfig::latency(Duration::from_millis(2))), intruder)
}

#[test]
fn those_who_are_not_invited_get_nothing_while_members_share() {
    let mut swarm = closed(1);
    gather(&mut swarm, 4);
    let uninvited = join_with(&mut swarm, Home::Public, None);
    let other = Capability::issue(&secret(9), Right::Live.into(), EPOCH, None, *b"serial##");
    let narrow = Capability::issue(&secret(CAMERA_KEY), Right::Playback.into(), EPOCH, None, *b"serial##");
    let wrong = [other, narrow, capability(EPOCH - 1, None), capability(EPOCH, Some(1))];
    let wrong = wrong.map(|c| join_with(&mut swarm, Home::Public, Some(c)));
    swarm.run(10 * SEC);
    let from = swarm.sim.elapsed();
    swarm.run(20 * SEC);
    swarm.print();
    assert_eq!(members(&swarm), 4);
    for n in wrong.into_iter().chain([uninvited]) {
        let why = refusals(&swarm, n);
        let expected = if n == uninvited { "only those may share" } else { "ask for a new xp2pInfo" };
        assert!(!why.is_empty() && why.iter().all(|(_, w)| w.contains(expected)), "member {n}: {why:?}");
        let stats = swarm.with(n, |p, _| p.stats());
        assert_eq!((stats.swarm.p2p_bytes, stats.batches, stats.direct), (0, 0, 0), "member {n}");
    }
    assert_undisturbed(&mut swarm, &[0, 1, 2, 3], from);
}

#[test]
fn whoever_knows_a_member_gets_nothing_from_it_without_a_proof() {
    let mut swarm = closed(1);
    gather(&mut swarm, 4);
    swarm.run(10 * SEC);
    let from = swarm.sim.elapsed();
    let expiry = unix(&swarm) + 100;
    let tag = DoorTag::of(&secret(CAMERA_KEY).public(), EPOCH);
    let issue = |by: &SecretKey, stream: &StreamId, to: &SecretKey, door, expiry| {
        MembershipToken::issue(by, stream, &to.public(), door, expiry).to_bytes().to_vec()
    };
    let server = secret(SERVER_KEY);
    let member = peer_secret(1, 1);
    let attempts = [
        // What was written when there were no proofs.
        (CLOSE_NO_MEMBER, intrude(&mut swarm, 101, 0, |_, _| Vec::new())),
        (CLOSE_MISBEHAVED, intrude(&mut swarm, 102, 0, |_, _| vec![0; 81])),
        (CLOSE_NO_MEMBER, intrude(&mut swarm, 103, 0, |own, stream| issue(own, stream, own, tag, expiry))),
        (
            CLOSE_NO_MEMBER,
            intrude(&mut swarm, 104, 0, |_, stream| issue(&server, stream, &member, tag, expiry)),
        ),
        (
            CLOSE_NO_MEMBER,
            intrude(&mut swarm, 105, 0, |own, _| {
                issue(&server, &StreamId::from_bytes([9; 16]), own, tag, expiry)
            }),
        ),
        (CLOSE_NO_MEMBER, intrude(&mut swarm, 106, 0, |own, s| issue(&server, s, own, tag, expiry - 111))),
        (
            CLOSE_NO_MEMBER,
            intrude(&mut swarm, 107, 0, |own, s| issue(&server, s, own, DoorTag::OPEN, expiry)),
        ),
    ];
    let invited = intrude(&mut swarm, 108, 0, |own, stream| issue(&server, stream, own, tag, expiry));
    swarm.run(10 * SEC);
    let head = 17 + 81;
    for (number, (code, host)) in attempts.into_iter().enumerate() {
        let intruder = swarm.sim.machine(host);
        assert!(intruder.is_direct(), "attempt {number} has not come so far");
        assert_eq!(intruder.closed, Some(u64::from(code)), "attempt {number}");
        assert!(intruder.got <= head, "attempt {number} got {} bytes", intruder.got);
    }
    let invited = swarm.sim.machine(invited);
    println!("a member gets {} bytes", invited.got);
    // It is no good neighbour and may be left for that.
    assert!(invited.closed.is_none_or(|c| c == 0) && invited.got > 100_000, "otherwise this shows nothing");
    assert_eq!(swarm.with(0, |p, _| p.stats().banned), 4, "who has only come too late may come back");
    swarm.run(5 * SEC);
    for n in 0..4 {
        swarm.assert_whole_after(n, from);
    }
}

#[test]
fn a_member_is_out_when_its_capability_expires() {
    let mut swarm = closed(1);
    let expiry = unix(&swarm) + 30;
    // The first one reads the origin for all others.
    let short = join_with(&mut swarm, Home::Public, Some(capability(EPOCH, Some(expiry))));
    gather(&mut swarm, 4);
    let others = [1, 2, 3, 4];
    swarm.run(10 * SEC);
    let from = swarm.sim.elapsed();
    swarm.run(Duration::from_secs(expiry - 1 - unix(&swarm)));
    assert_eq!((members(&swarm), refusals(&swarm, short)), (5, vec![]), "it holds until then");
    swarm.run(SEC + PROMISE);
    assert_eq!(members(&swarm), 4);
    assert!(refusals(&swarm, short)[0].1.contains("expired"));
    swarm.run(LEEWAY - PROMISE);
    assert_eq!(neighbours(&mut swarm, short), []);
    assert_eq!(got(&mut swarm, &[short], 40 * SEC), [0]);
    let short = id(&mut swarm, short);
    for n in others {
        assert!(!neighbours(&mut swarm, n).contains(&short), "member {n}");
    }
    assert_undisturbed(&mut swarm, &others, from);
}

#[test]
fn who_was_let_in_before_the_capabilities_were_revoked_is_out() {
    let mut swarm = closed(1);
    gather(&mut swarm, 3);
    swarm.run(10 * SEC);
    assert_eq!(members(&swarm), 3);
    set_door(&mut swarm, Some(door(EPOCH + 1)));
    swarm.run(SEC);
    assert_eq!(members(&swarm), 0, "all hold capabilities of before");
    for n in 0..3 {
        assert!(refusals(&swarm, n)[0].1.contains("revoked"));
    }
    let from = swarm.sim.elapsed() + 5 * SEC;
    let new: Vec<usize> =
        (0..3).map(|_| join_with(&mut swarm, Home::Public, Some(capability(EPOCH + 1, None)))).collect();
    // Those of before try to come back to the tracker, and one of them, with what it was given, to a member that it knows.
    let tag = DoorTag::of(&secret(CAMERA_KEY).public(), EPOCH);
    let expiry = unix(&swarm) + 250;
    let old = intrude(&mut swarm, 100, new[0], |own, stream| {
        MembershipToken::issue(&secret(SERVER_KEY), stream, &own.public(), tag, expiry).to_bytes().to_vec()
    });
    swarm.run(45 * SEC);
    let intruder = swarm.sim.machine(old);
    assert!(intruder.is_direct() && intruder.got <= 98, "{} bytes", intruder.got);
    assert_eq!(intruder.closed, Some(u64::from(CLOSE_NO_MEMBER)));
    let old: Vec<PeerId> = (0..3).map(|n| id(&mut swarm, n)).collect();
    for n in &new {
        let known = neighbours(&mut swarm, *n);
        assert!(!known.is_empty() && known.iter().all(|p| !old.contains(p)), "member {n}: {known:?}");
    }
    assert_eq!(members(&swarm), 3);
    assert_undisturbed(&mut swarm, &new, from);
}

#[test]
fn a_stream_that_is_closed_later_parts_the_invited_from_the_others() {
    let mut swarm = Swarm::new(1);
    gather(&mut swarm, 3);
    let uninvited = join_with(&mut swarm, Home::Public, None);
    swarm.run(10 * SEC);
    assert!(got(&mut swarm, &[uninvited], 5 * SEC)[0] > 200_000, "it was for everybody");
    let from = swarm.sim.elapsed();
    set_door(&mut swarm, Some(door(EPOCH)));
    swarm.run(PROMISE);
    assert_eq!(members(&swarm), 3);
    swarm.run(LEEWAY - PROMISE);
    assert_eq!(neighbours(&mut swarm, uninvited), []);
    assert_eq!(got(&mut swarm, &[uninvited], 20 * SEC), [0]);
    assert_undisturbed(&mut swarm, &[0, 1, 2], from);
    // When it is for everybody again, whoever asks gets in, however often it was refused.
    swarm.run(3 * 60 * SEC);
    assert!(refusals(&swarm, uninvited).len() > 4);
    set_door(&mut swarm, None);
    swarm.run(40 * SEC);
    assert_eq!(members(&swarm), 4);
    assert!(got(&mut swarm, &[uninvited], 5 * SEC)[0] > 200_000);
    assert_eq!(partings(&swarm, &[0, 1, 2], from + LEEWAY), Vec::<String>::new());
}

#[test]
fn nobody_notices_renewals_or_wrong_clocks() {
    let mut swarm = closed(1);
    gather(&mut swarm, 5);
    let day = unix(&swarm) + 86_400;
    join_with(&mut swarm, Home::Public, Some(capability(EPOCH, Some(day))));
    let all = [0, 1, 2, 3, 4, 5];
    let hour = Duration::from_secs(3_600);
    let (slow, fast) = (swarm.watchers[1].host, swarm.watchers[2].host);
    let unix = swarm.sim.unix_time();
    swarm.sim.set_unix_time_of(slow, unix - hour);
    swarm.sim.set_unix_time_of(fast, unix + hour);
    swarm.run(10 * SEC);
    let from = swarm.sim.elapsed();
    swarm.run(7 * 60 * SEC);
    // Somebody sets the clock of the server.
    let server = swarm.server;
    let unix = swarm.sim.unix_time();
    swarm.sim.set_unix_time_of(server, unix + hour);
    swarm.run(3 * 60 * SEC);
    let unix = swarm.sim.unix_time();
    swarm.sim.set_unix_time_of(server, unix);
    swarm.run(5 * 60 * SEC);
    swarm.print();
    assert_eq!(partings(&swarm, &all, Duration::ZERO), Vec::<String>::new());
    assert_undisturbed(&mut swarm, &all, from);
    assert_eq!(members(&swarm), 6);
}

/// Cuts the server off for a time. It signs, too, so all have to read the origin meanwhile; which they do not notice at once.
fn outage(swarm: &mut Swarm, who: &[usize], time: Duration) {
    let server: HostId<Server> = swarm.server;
    swarm.sim.cut(server, true);
    swarm.run(10 * SEC);
    let from = swarm.sim.elapsed();
    swarm.run(time - 10 * SEC);
    swarm.sim.cut(server, false);
    for n in who {
        let gap = swarm.watchers[*n].longest_gap(from, swarm.sim.elapsed());
        assert!(gap < SEC, "member {n} while the tracker was away: {gap:?}");
    }
}

#[test]
fn nobody_parts_when_tokens_expire_while_the_tracker_is_away() {
    let mut swarm = closed(1);
    gather(&mut swarm, 5);
    let all = [0, 1, 2, 3, 4];
    swarm.run(10 * SEC);
    let from = swarm.sim.elapsed();
    // A minute, in which all should have got a new proof, and longer than any proof lasts.
    swarm.run(115 * SEC);
    outage(&mut swarm, &all, 60 * SEC);
    swarm.run(60 * SEC);
    outage(&mut swarm, &all, 330 * SEC);
    // Right after that everybody finds the tracker again, one sooner than the other.
    swarm.run(30 * SEC);
    let back = swarm.sim.elapsed();
    assert_eq!(members(&swarm), 5, "all are back");
    swarm.run(90 * SEC);
    swarm.print();
    let gone =
        |(at, event): &&(Duration, PeerEvent)| *at > from && matches!(event, PeerEvent::NeighbourGone { .. });
    for n in all {
        assert_eq!(swarm.watchers[n].events.iter().find(gone), None, "member {n}");
    }
    assert_undisturbed(&mut swarm, &all, back);
}

#[test]
fn a_server_that_has_to_learn_its_doors_anew_lets_nobody_stay() {
    let mut swarm = closed(1);
    gather(&mut swarm, 4);
    let all = [0, 1, 2, 3];
    swarm.run(10 * SEC);
    let from = swarm.sim.elapsed();
    swarm.restart_server();
    // Until the camera has come back the server does not know what it asks.
    swarm.run(10 * SEC);
    let uninvited = join_with(&mut swarm, Home::Public, None);
    swarm.run(10 * SEC);
    assert!(!neighbours(&mut swarm, uninvited).is_empty(), "otherwise this shows nothing");
    set_door(&mut swarm, Some(door(EPOCH)));
    swarm.run(60 * SEC);
    assert_eq!(members(&swarm), 4);
    assert_eq!(neighbours(&mut swarm, uninvited), []);
    assert_eq!(got(&mut swarm, &[uninvited], 10 * SEC), [0]);
    assert_undisturbed(&mut swarm, &all, from);
}

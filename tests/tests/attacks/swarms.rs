//! Members of a swarm that lie: many identities of one person, and digests that the signer has not signed.

use std::net::Ipv4Addr;
use std::time::Duration;

use xp2p_proto::link::Entropy;
use xp2p_proto::swarm::content::Signer;
use xp2p_proto::swarm::{Message, Misdeed, Observed, PeerId, ToTracker, piece_hash};
use xp2p_tests::packets::{Home, Swarm, peer_secret};
use xp2p_tests::poisoner::Poisoner;
use xp2p_tests::sim::{HostConfig, HostId};
use xp2p_tests::world::{SERVER, SERVER_KEY, assert_contract, secret};

const SEC: Duration = Duration::from_secs(1);
/// Members that mean well.
const HONEST: usize = 6;

fn gather(swarm: &mut Swarm, count: usize) {
    for _ in 0..count {
        swarm.join(Home::Public);
        swarm.run(Duration::from_millis(700));
    }
}

fn sharing(seed: u64) -> Swarm {
    let mut swarm = Swarm::new(seed);
    gather(&mut swarm, HONEST);
    swarm.run(8 * SEC);
    swarm
}

/// Another identity of somebody whose addresses are all in one network.
fn identity(swarm: &mut Swarm, n: u8) -> HostId<Poisoner> {
    let server = (SERVER.parse().expect("an address"), secret(SERVER_KEY).public());
    let key = peer_secret(1_000, usize::from(n));
    let entropy = Entropy::seeded(9_000 + u64::from(n));
    let mut liar = Poisoner::new(key, entropy, server, swarm.stream, swarm.sim.now());
    (liar.told_only, liar.quiet) = (true, true);
    swarm.sim.add_host(HostConfig::new(format!("liar {n}"), Ipv4Addr::new(90, 7, 0, n + 1)), liar)
}

fn encoded(message: &ToTracker) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes
}

/// All play without a gap, and most of what they play comes from each other.
fn assert_unharmed(swarm: &mut Swarm) {
    let (shared, most) = swarm.watch(8 * SEC);
    swarm.print();
    println!("{shared:.3} of the bytes came from others, at most {most} connections to the origin");
    assert!(shared > 0.6, "{shared}");
    assert!(most <= 2, "{most} connections to the origin");
    for n in 0..HONEST {
        swarm.assert_whole(n);
        let stats = swarm.with(n, |p, _| p.stats());
        assert_eq!((stats.swarm.skips, stats.swarm.stalls), (0, 0), "member {n}");
        assert_contract(&swarm.sim, swarm.watchers[n].host);
    }
    assert_contract(&swarm.sim, swarm.server);
}

/// A dozen identities in one network say of each member that it sends wrong pieces, again and again.
#[test]
fn many_identities_in_one_network_exclude_nobody() {
    let mut swarm = sharing(2800);
    let members: Vec<PeerId> = (0..HONEST).map(|n| PeerId::of(&peer_secret(2800, n).public())).collect();
    let liars: Vec<_> = (0..12).map(|n| identity(&mut swarm, n)).collect();
    swarm.run(2 * SEC);
    for round in 0..10 {
        for liar in &liars {
            swarm.sim.with(*liar, |liar, _| {
                for peer in &members {
                    let misdeed = if round % 2 == 0 { Misdeed::Corrupt } else { Misdeed::Withholds };
                    liar.tell_tracker(
                        &encoded(&ToTracker::Bad { peer: *peer, misdeed, piece: Some(7) }),
                        true,
                    );
                }
            });
        }
        swarm.run(SEC);
    }
    let stats = swarm.sim.machine(swarm.server).swarm_stats(&swarm.stream).expect("a swarm");
    println!("{stats:?}");
    assert_eq!(stats.members, HONEST + liars.len(), "all of them are members");
    assert_eq!(stats.excluded, 0);
    assert_unharmed(&mut swarm);
}

/// While everybody is accused, the one that reads the origin for the others goes: somebody else takes its place all the same.
#[test]
fn one_that_accuses_everybody_keeps_nobody_from_reading_the_origin() {
    let mut swarm = sharing(2801);
    let members: Vec<PeerId> = (0..HONEST).map(|n| PeerId::of(&peer_secret(2801, n).public())).collect();
    let liar = identity(&mut swarm, 0);
    swarm.run(2 * SEC);
    swarm.sim.with(liar, |liar, _| {
        for peer in &members {
            let bad = ToTracker::Bad { peer: *peer, misdeed: Misdeed::Corrupt, piece: Some(7) };
            liar.tell_tracker(&encoded(&bad), true);
        }
    });
    swarm.run(SEC);
    let gone = swarm.watchers.iter().position(|w| w.reads_origin()).expect("somebody reads the origin");
    swarm.kill(gone);
    swarm.run(8 * SEC);
    let (shared, most) = swarm.watch(8 * SEC);
    swarm.print();
    println!("{shared:.3} of the bytes came from others, at most {most} connections to the origin");
    assert!(shared > 0.5, "{shared}");
    assert!((1..=3).contains(&most), "{most} connections to the origin");
    for n in (0..HONEST).filter(|n| *n != gone) {
        swarm.assert_whole(n);
    }
}

/// A member says what the next pieces are, signed with a key of its own; and then the same with a wrong signature.
#[test]
fn digests_that_the_signer_has_not_signed_are_refused_and_their_teller_is_banned() {
    let mut swarm = Swarm::new(2802);
    gather(&mut swarm, HONEST / 2);
    let liars: Vec<_> = (0..4).map(|n| identity(&mut swarm, n)).collect();
    for (n, liar) in liars.iter().enumerate() {
        let greeting = forged(&swarm, n % 2 == 1).into();
        swarm.sim.with(*liar, |liar, _| (liar.greeting, liar.quiet) = (Some(greeting), false));
    }
    swarm.run(2 * SEC);
    // Those who come now are told of them, and connect to them.
    gather(&mut swarm, HONEST - HONEST / 2);
    swarm.run(8 * SEC);
    let stats: Vec<_> = (0..HONEST).map(|n| swarm.with(n, |p, _| p.stats())).collect();
    let refused: u64 = stats.iter().map(|s| s.bad_batches).sum();
    let banned: u64 = stats.iter().map(|s| s.banned).sum();
    println!("{refused} forged batches were refused, {banned} times a liar was banned");
    assert!(refused > 0, "nobody has heard it");
    // Whoever has lied to somebody never gets at that one again.
    assert!(
        banned >= refused && refused <= (HONEST * liars.len()) as u64,
        "{refused} refused, {banned} banned"
    );
    for n in 0..HONEST {
        assert_eq!(swarm.false_tags(n), 0, "member {n}");
    }
    assert_unharmed(&mut swarm);
}

/// A message with a batch of a later run than any real one, of pieces that could be the next ones.
fn forged(swarm: &Swarm, harmed: bool) -> Vec<u8> {
    let now = swarm.sim.now();
    let newest = swarm.sim.elapsed().as_millis() as i64;
    let mut signer = Signer::new(secret(66), swarm.stream, 1 << 40);
    for index in 0..20 {
        let time = newest + i64::from(index) * 40;
        let hash = piece_hash(&[7; 4_000]);
        signer.push(now, &Observed { run: 1, index, time, end: time + 40, len: 4_000, hash });
    }
    let batch = signer.poll(now + SEC).expect("a batch");
    let mut message = Vec::new();
    Message::Batch(batch).encode(&mut message);
    if harmed && let Some(last) = message.last_mut() {
        *last ^= 1;
    }
    message
}

//! A viewer and a camera. Whatever happens, nothing breaks, and when it is over the picture comes back.

use std::time::Duration;

use xp2p_proto::viewer::ViewerEvent;

use super::dice::Dice;
use super::load::Load;
use super::misfortune::strike;
use crate::world::{SERVER, World, WorldConfig, assert_contract};

/// On a slow and lossy line a picture may take as long as the latency budget.
const LAST_PICTURE: Duration = Duration::from_millis(2_500);

pub(super) fn run(seed: u64) {
    let mut dice = Dice::new(seed);
    let mut config = WorldConfig::new(seed);
    config.camera_nat = dice.nat(7);
    config.viewer_nat = dice.nat(99);
    config.camera_link = dice.line();
    config.viewer_link = dice.line();
    let mut world = World::new(config);
    let server: std::net::SocketAddr = SERVER.parse().expect("an address");
    let tcp = dice.below(2) == 0;
    world.sim.listen_tcp(world.server, server.port(), tcp);
    let mut nats = 100;
    let mut story = Vec::new();
    // Registering takes its time on a lossy link, and a viewer believes a server that does not know the camera.
    world.run(Duration::from_secs(5));
    let stream = world.watch();
    world.run(Duration::from_secs(3));
    let mut load = Load::new(&mut world, stream.service, &mut dice);
    for _ in 0..3 + dice.below(4) {
        load.ask(&mut world, &mut dice);
        story.push((world.sim.elapsed(), strike(&mut world, &mut dice, &mut nats)));
        world.run(dice.millis(0, 6_000));
        load.follow(&mut world);
    }
    // Peace at last.
    world.run(Duration::from_secs(30));
    let told = || format!("TCP {tcp}, story: {story:?}\nviewer: {:?}", brief(&world));
    let end = world.sim.elapsed();
    let last = world.shown.last().map_or(Duration::ZERO, |s| s.at);
    let gone = world.events.iter().any(|(_, e)| matches!(e, ViewerEvent::Disconnect { .. }));
    assert!(end - last < LAST_PICTURE && !gone, "no picture since {last:?} of {end:?}; {}", told());
    assert_eq!(world.harmed, 0, "harmed tags; {}", told());
    let backwards = world.shown.windows(2).filter(|pair| pair[1].timestamp <= pair[0].timestamp).count();
    // Time begins again only when the camera does, or when a new session shows the cached group again.
    let renewals = story.iter().filter(|(_, what)| *what == "camera restarted").count()
        + world.events.iter().filter(|(_, e)| matches!(e, ViewerEvent::Reconnecting { .. })).count();
    assert!(
        backwards <= renewals,
        "time ran backwards {backwards} times, with {renewals} renewals; {}",
        told()
    );
    load.settle(&mut world);
    assert_contract(&world.sim, world.camera);
    assert_contract(&world.sim, world.viewer);
    assert_contract(&world.sim, world.server);
}

/// The viewer's events without the bytes of files.
fn brief(world: &World) -> Vec<&(Duration, ViewerEvent)> {
    world.events.iter().filter(|(_, e)| !matches!(e, ViewerEvent::DownloadData { .. })).collect()
}

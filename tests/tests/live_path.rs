//! One camera, one viewer, live video, in the simulator.

use std::time::Duration;

use xp2p_proto::viewer::ViewerEvent;
use xp2p_tests::world::{World, WorldConfig};

#[test]
fn video_arrives_whole_and_in_order() {
    let mut world = World::new(WorldConfig::new(1));
    world.run(Duration::from_secs(1));
    let key = world.watch();
    world.run(Duration::from_secs(10));
    for (at, e) in &world.events {
        println!("{at:?} {e:?}");
    }
    for e in world.sim.timed_events(world.camera) {
        println!("camera {e:?}");
    }
    for e in world.sim.timed_events(world.server) {
        println!("server {e:?}");
    }
    let stats = world.sim.with(world.viewer, |v, _| v.stream_stats(key));
    println!("{stats:?} shown {} sounds {}", world.shown.len(), world.sounds);
    assert_eq!(world.harmed, 0);
    assert!(world.shown.len() > 200);
    assert!(world.events.iter().any(|(_, e)| matches!(e, ViewerEvent::Parsed { .. })));
}

//! One camera, one viewer, live video, in the simulator.

use std::time::Duration;

use xp2p_proto::camera::CameraEvent;
use xp2p_proto::request::Quality;
use xp2p_proto::viewer::ViewerEvent;
use xp2p_tests::world::{World, WorldConfig, twice};

#[test]
fn video_and_sound_arrive_whole_and_in_order() {
    twice(|| {
        let mut world = World::new(WorldConfig::new(1));
        world.run(Duration::from_secs(1));
        world.watch();
        world.run(Duration::from_secs(10));
        assert_eq!(world.harmed, 0);
        let numbers: Vec<u32> = world.shown.iter().map(|s| s.number).collect();
        assert_eq!(numbers, (numbers[0]..).take(numbers.len()).collect::<Vec<_>>());
        assert!(numbers.len() > 240, "{} pictures", numbers.len());
        assert!(world.sounds > 400, "{} sounds", world.sounds);
    });
}

#[test]
fn an_ended_feed_ends_the_stream_in_order() {
    twice(|| {
        let mut world = World::new(WorldConfig::new(2));
        world.run(Duration::from_secs(1));
        world.watch();
        world.run(Duration::from_secs(3));
        let sent = world.media.next_time();
        world.sim.with(world.camera, |camera, now| camera.end_feed(now, 0, Quality::High));
        world.sim.run_for(Duration::from_secs(2));
        world.collect();
        assert!(world.events.iter().any(|(_, e)| matches!(e, ViewerEvent::Eof { .. })), "{:?}", world.events);
        let last = world.shown.last().expect("pictures").timestamp;
        assert!(sent - last <= 80, "the last picture is at {last} of {sent} ms");
    });
}

#[test]
fn a_viewer_that_stops_is_forgotten_by_the_camera() {
    twice(|| {
        let mut world = World::new(WorldConfig::new(3));
        world.run(Duration::from_secs(1));
        let key = world.watch();
        world.run(Duration::from_secs(2));
        assert_eq!(world.sim.with(world.camera, |c, _| c.watching()), 1);
        world.sim.with(world.viewer, |v, _| v.stop_stream(key));
        world.run(Duration::from_secs(1));
        assert_eq!(world.sim.with(world.camera, |c, _| c.watching()), 0);
        world.sim.with(world.viewer, |v, now| v.stop_service(now, key.service));
        world.run(Duration::from_secs(2));
        let events = &world.app.events;
        assert!(events.iter().any(|e| matches!(e, CameraEvent::LiveStopped { .. })), "{events:?}");
        assert!(events.iter().any(|e| matches!(e, CameraEvent::ViewerGone { .. })), "{events:?}");
        assert_eq!(world.sim.with(world.camera, |c, _| c.viewers().len()), 0);
    });
}

//! Whoever may not watch gets a clear answer and not one byte of media.

use std::num::NonZeroU64;
use std::time::Duration;

use xp2p_proto::camera::CameraEvent;
use xp2p_proto::error::ErrorCode;
use xp2p_proto::info::{Capability, Rights, Xp2pInfo};
use xp2p_proto::keys::Ticket;
use xp2p_proto::register::{Admission, AppKey, AppKeys};
use xp2p_proto::server::Server;
use xp2p_proto::viewer::ViewerEvent;
use xp2p_tests::world::{CAMERA_KEY, World, WorldConfig, secret, server_config, twice};

fn world(seed: u64) -> World {
    let mut world = World::new(WorldConfig::new(seed));
    world.run(Duration::from_secs(1));
    world
}

/// Watches with `info` for a while. Returns what the viewer was told in the end. No picture may have come.
fn refused(world: &mut World, info: Xp2pInfo) -> String {
    let key = world.watch_with(info);
    world.run(Duration::from_secs(6));
    assert!(world.shown.is_empty() && world.sounds == 0, "media came");
    let stats = world.sim.with(world.viewer, |v, _| v.stream_stats(key));
    assert!(stats.is_none_or(|s| s.received.bytes == 0), "media bytes came");
    // Heads and handshakes are a few packets; a keyframe alone would be 40 kB.
    let sent = world.sim.bytes_between(world.camera, world.viewer).bytes;
    assert!(sent < 12_000, "{sent} bytes went to the viewer");
    for (at, event) in world.events.iter().rev() {
        println!("{at:?} {event:?}");
        match event {
            ViewerEvent::Close { reason, .. } => return reason.clone(),
            ViewerEvent::Disconnect { code, reason, .. } => return format!("{code}: {reason}"),
            _ => {}
        }
    }
    panic!("nothing was told: {:?}", world.events);
}

fn with_capability(world: &mut World, rights: Rights, epoch: u32, expiry: Option<u64>) -> Xp2pInfo {
    let expiry = expiry.and_then(NonZeroU64::new);
    let capability = Capability::issue(&secret(CAMERA_KEY), rights, epoch, expiry, [1; 8]);
    world.info().with_capability(Some(capability)).expect("room for a capability")
}

#[test]
fn no_capability() {
    twice(|| {
        let mut world = world(200);
        let info = world.info().with_capability(None).expect("smaller");
        let told = refused(&mut world, info);
        assert!(told.contains("401") && told.contains("no capability"), "{told}");
    });
}

#[test]
fn an_expired_capability() {
    twice(|| {
        let mut world = world(201);
        let now = world.sim.unix_time().as_secs();
        let info = with_capability(&mut world, Rights::ALL, 0, Some(now - 1));
        let told = refused(&mut world, info);
        assert!(told.contains("401") && told.contains("expired"), "{told}");
    });
}

#[test]
fn a_capability_without_the_right_to_watch() {
    twice(|| {
        let mut world = world(202);
        let info = with_capability(&mut world, "command,voice".parse().expect("rights"), 0, None);
        let told = refused(&mut world, info);
        assert!(told.contains("403") && told.contains("live"), "{told}");
    });
}

#[test]
fn a_wrong_camera_key() {
    twice(|| {
        let mut world = world(203);
        let info = world.info();
        let other =
            Xp2pInfo::new(secret(9).public(), *info.ticket(), info.servers().to_vec(), info.version())
                .expect("an info");
        let told = refused(&mut world, other);
        assert!(told.contains("-2001") && told.contains("key"), "{told}");
    });
}

#[test]
fn a_wrong_ticket() {
    twice(|| {
        let mut world = world(204);
        let info = world.info();
        let capability = info.capability().cloned();
        let other = Xp2pInfo::new(
            *info.camera(),
            Ticket::from_bytes([7; 16]),
            info.servers().to_vec(),
            info.version(),
        )
        .and_then(|i| i.with_capability(capability))
        .expect("an info");
        let told = refused(&mut world, other);
        assert!(told.contains("no such camera"), "{told}");
    });
}

#[test]
fn a_revoked_capability_and_its_running_session() {
    twice(|| {
        let mut world = world(205);
        let old = world.info();
        world.watch_with(old.clone());
        world.run(Duration::from_secs(3));
        assert!(!world.shown.is_empty());
        let at = world.sim.elapsed();
        world.sim.with(world.camera, |camera, now| camera.set_epoch(now, 1));
        world.run(Duration::from_secs(5));
        let last = world.shown.last().expect("pictures").at;
        assert!(last <= at + Duration::from_secs(5), "still watching {:?} after revocation", last - at);
        let end = world.events.iter().rev().find_map(|(_, e)| match e {
            ViewerEvent::Disconnect { code, reason, .. } => Some((*code, reason.clone())),
            _ => None,
        });
        let (code, reason) = end.expect("the service has ended");
        assert!(code == ErrorCode::Xp2pInfoInvalid && reason.contains("revoked"), "{reason}");
        // The old ticket is void as well, the new xp2pInfo works.
        world.events.clear();
        world.shown.clear();
        world.sounds = 0;
        world.watch_with(old);
        world.run(Duration::from_secs(6));
        assert!(world.shown.is_empty());
        world.watch();
        world.run(Duration::from_secs(3));
        assert!(!world.shown.is_empty(), "{:?}", world.events);
    });
}

#[test]
fn a_session_ends_when_its_capability_expires() {
    twice(|| {
        let mut world = world(206);
        let now = world.sim.unix_time().as_secs();
        let info = with_capability(&mut world, Rights::ALL, 0, Some(now + 5));
        let start = world.sim.elapsed();
        world.watch_with(info);
        world.run(Duration::from_secs(12));
        let last = world.shown.last().expect("pictures").at - start;
        assert!(last > Duration::from_secs(4) && last < Duration::from_secs(10), "watched for {last:?}");
    });
}

#[test]
fn one_viewer_more_than_allowed() {
    twice(|| {
        let mut world = World::with_camera(WorldConfig::new(207), |camera| camera.max_viewers = 0);
        world.run(Duration::from_secs(1));
        let info = world.info();
        let told = refused(&mut world, info);
        assert!(told.contains("503"), "{told}");
    });
}

fn register(seed: u64, app_key: Option<AppKey>) -> Vec<CameraEvent> {
    let mut world =
        World::with_camera(WorldConfig::new(seed), move |camera| camera.servers[0].app_key = app_key.clone());
    let mut config = server_config(seed);
    config.admission = Admission::AppKeys;
    config.app_keys = AppKeys::default();
    config.app_keys.insert(AppKey::new("app", "secret"));
    let server = Server::new(config, world.sim.now()).expect("a server");
    world.sim.replace(world.server, server);
    world.sim.events(world.camera);
    world.sim.run_for(Duration::from_secs(30));
    world.sim.events(world.camera)
}

#[test]
fn a_wrong_app_key() {
    twice(|| {
        let refusal = |events: &[CameraEvent]| {
            events.iter().find_map(|e| match e {
                CameraEvent::RegistrationRefused { reason, .. } => Some(reason.clone()),
                _ => None,
            })
        };
        let registered =
            |events: &[CameraEvent]| events.iter().any(|e| matches!(e, CameraEvent::Registered { .. }));
        for (key, text) in [
            (Some(AppKey::new("app", "wrong")), "secret of the app key is wrong"),
            (Some(AppKey::new("other", "secret")), "no app key with this id"),
            (None, "app key"),
        ] {
            let events = register(208, key);
            assert!(!registered(&events), "{events:?}");
            let reason = refusal(&events).expect("a refusal");
            assert!(reason.contains(text), "{reason}");
        }
        assert!(registered(&register(208, Some(AppKey::new("app", "secret")))));
    });
}

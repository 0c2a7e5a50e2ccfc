//! Ends and new beginnings.

use std::time::Duration;

use xp2p_proto::link::PathKind;
use xp2p_proto::request::{Live, Playback};
use xp2p_proto::viewer::Resume;
use xp2p_smol::driver::handle::Gone;
use xp2p_smol::driver::runtime::Runtime;
use xp2p_smol::driver::socket::BoundSocket;
use xp2p_smol::driver::viewer::ServiceEvent;
use xp2p_tests::media::MediaConfig;

use crate::asking::{VOICE, file, word};
use crate::home::{self, Home, RECORDED, ask, feed, pictures, registered};
use crate::place::Place;

/// The very address again: its socket is closed a moment after the old owner is gone.
async fn bind_again<S: Runtime, C: Runtime, V: Runtime>(
    place: &Place<S, C, V>,
    at: std::net::SocketAddr,
) -> BoundSocket {
    loop {
        match BoundSocket::bind(at) {
            Ok(socket) => return socket,
            Err(_) => place.pause(Duration::from_millis(10)).await,
        }
    }
}

pub(crate) async fn server_restart<S: Runtime, C: Runtime, V: Runtime>(place: &Place<S, C, V>) {
    let home = Home::new(place, "server-restart").await;
    let _feed = home.feed(MediaConfig::default());
    let (viewer, service) = home.connected().await;
    let (stream, hub) = viewer.start_live(service.id, Live::default()).await.expect("a stream");
    let direct = async || {
        let paths = viewer.status(stream).await.expect("running").paths;
        paths.iter().any(|p| p.selected && p.kind == PathKind::Direct)
    };
    place.until(direct).await;
    let at = home.server.local_addr();
    home.server.shutdown().await;
    assert_eq!(home.server.stats().await.expect_err("gone"), Gone::ShutDown);
    // Who is connected does not notice.
    pictures(&hub, 20).await;
    home.check(&viewer, &service).await;
    let again = home::server(place, bind_again(place, at).await, home.server_secret.clone());
    registered(&home.camera_events).await;
    let (other, service) = home.connected().await;
    home.check(&other, &service).await;
    viewer.shutdown().await;
    other.shutdown().await;
    home.end().await;
    again.shutdown().await;
}

/// The service comes back by itself, and its stream with it.
pub(crate) async fn camera_restart<S: Runtime, C: Runtime, V: Runtime>(place: &Place<S, C, V>) {
    let home = Home::new(place, "camera-restart").await;
    let first = home.feed(MediaConfig::default());
    let (viewer, service) = home.connected().await;
    let (_, hub) = viewer.start_live(service.id, Live::default()).await.expect("a stream");
    pictures(&hub, 5).await;
    let at = home.camera.machine().local_addr();
    drop(first);
    home.camera.shutdown().await;
    let socket = bind_again(place, at).await;
    let key = home.server_secret.public();
    let (secret, server, app) = (home.camera_secret.clone(), home.server.local_addr(), home.app.clone());
    let (camera, _events, _) = home::camera(place, socket, secret, key, server, app).await;
    let _feed = feed(&place.camera, &camera, MediaConfig::default());
    home::connected(&service).await;
    pictures(&hub, 5).await;
    home.check(&viewer, &service).await;
    viewer.shutdown().await;
    camera.shutdown().await;
    home.end().await;
}

/// Everything that is open ends, whoever goes first, and nobody waits for ever.
pub(crate) async fn shutdown_with_streams_open<S: Runtime, C: Runtime, V: Runtime>(place: &Place<S, C, V>) {
    let home = Home::new(place, "shutdown").await;
    let _feed = home.feed(MediaConfig::default());
    for viewer_first in [true, false] {
        let (viewer, service) = home.connected().await;
        let (_, live) = viewer.start_live(service.id, Live::default()).await.expect("a stream");
        pictures(&live, 2).await;
        let wanted = Playback {
            channel: 0,
            start_time: RECORDED,
            end_time: RECORDED + 10,
            kind: None,
            audio_only: false,
        };
        let (_, recording) = viewer.start_playback(service.id, wanted).await.expect("a stream");
        let file = viewer.download(service.id, file("large"), Resume::default()).await.expect("a download");
        let talk = viewer.talk(service.id, VOICE).await.expect("a talk");
        talk.accepted().await.expect("it listens");
        let waits = viewer.command(service.id, ask("never"), Some(Duration::from_secs(3600)));
        let mut waits = std::pin::pin!(waits);
        assert!(futures_lite::future::poll_once(&mut waits).await.is_none());
        if viewer_first {
            viewer.shutdown().await;
            while file.next().await.is_some() {}
            let mut receiver = live.subscribe();
            while receiver.next_tag().await.is_some() {}
            assert!(recording.is_ended());
            assert_ne!(waits.await.map_or("gone", |end| end.kind()), "success");
            assert!(talk.push(word(1)).await.is_err());
            assert!(service.events.recv().await.is_err() || service.events.is_closed());
            assert!(viewer.connect(home.info.clone()).await.is_err());
            assert_eq!(viewer.open(), Default::default());
            place.until(async || home.camera.viewers().await.expect("running").is_empty()).await;
        } else {
            home.camera.shutdown().await;
            home.server.shutdown().await;
            assert_eq!(home.camera.viewers().await.expect_err("gone"), Gone::ShutDown);
            loop {
                let event = service.events.recv().await.expect("an event");
                if matches!(event, ServiceEvent::Reconnecting(_) | ServiceEvent::Disconnect { .. }) {
                    break;
                }
            }
            viewer.shutdown().await;
            assert!(live.is_ended() && recording.is_ended());
            // A second time changes nothing.
            viewer.shutdown().await;
        }
    }
}

//! Pictures.

use std::time::Duration;

use futures_lite::{AsyncReadExt as _, AsyncWriteExt as _};
use xp2p_proto::flv::TagKind;
use xp2p_proto::request::{Live, Playback};
use xp2p_smol::driver::module::{AppParams, P2pModule, StreamInfo, StreamKind};
use xp2p_smol::driver::runtime::Runtime;
use xp2p_tests::media::{MediaConfig, number_of};

use crate::home::{Home, RECORDED, anywhere, pictures};
use crate::place::Place;

pub(crate) async fn live<S: Runtime, C: Runtime, V: Runtime>(place: &Place<S, C, V>) {
    let home = Home::new(place, "live").await;
    let _feed = home.feed(MediaConfig::default());
    let viewer = home.viewer();
    let (service, stream, hub) = viewer.watch(home.info.clone(), Live::default()).await.expect("a stream");
    pictures(&hub, 30).await;
    let status = viewer.status(stream).await.expect("running");
    assert!(status.stats.is_some_and(|s| s.first_keyframe.is_some()));
    viewer.stop_stream(stream).await.expect("running");
    assert!(hub.is_ended());
    // On the connection that there is, again.
    let (_, hub) = viewer.start_live(service.id, Live::default()).await.expect("a stream");
    pictures(&hub, 10).await;
    viewer.stop(service.id).await.expect("running");
    assert_eq!(viewer.open(), Default::default());
    viewer.shutdown().await;
    home.end().await;
}

/// The whole recording, in order, at its own speed or slower.
pub(crate) async fn playback<S: Runtime, C: Runtime, V: Runtime>(place: &Place<S, C, V>) {
    let home = Home::new(place, "playback").await;
    let (viewer, service) = home.connected().await;
    let wanted =
        Playback { channel: 0, start_time: RECORDED, end_time: RECORDED + 10, kind: None, audio_only: false };
    let begun = place.viewer.now();
    let (_, hub) = viewer.start_playback(service.id, wanted).await.expect("a stream");
    let mut receiver = hub.subscribe_unchanged();
    let mut numbers = Vec::new();
    while let Some(tag) = receiver.next_tag().await {
        if tag.kind == TagKind::Video && !tag.is_sequence_header() {
            numbers.push(number_of(&tag).expect("whole"));
        }
    }
    assert_eq!(numbers, (0..50).collect::<Vec<_>>());
    // What is sent ahead is at most a second or so of the two.
    assert!(begun.elapsed() > Duration::from_millis(500), "{:?}", begun.elapsed());
    home.check(&viewer, &service).await;
    viewer.shutdown().await;
    home.end().await;
}

pub(crate) async fn many_viewers<S: Runtime, C: Runtime, V: Runtime>(place: &Place<S, C, V>) {
    let home = Home::new(place, "many").await;
    let _feed = home.feed(MediaConfig { bitrate: 200_000, keyframe: 8_000, ..MediaConfig::default() });
    let mut watching = Vec::new();
    for _ in 0..12 {
        let viewer = home.viewer();
        let (service, _, hub) = viewer.watch(home.info.clone(), Live::default()).await.expect("a stream");
        watching.push((viewer, service, hub));
    }
    for (_, _, hub) in &watching {
        pictures(hub, 5).await;
    }
    assert_eq!(home.camera.viewers().await.expect("running").len(), 12);
    // Some say goodbye, others are just dropped; the rest see no difference.
    for (n, (viewer, _, _)) in watching.drain(..8).enumerate() {
        if n % 2 == 0 {
            viewer.shutdown().await;
        }
    }
    place.until(async || home.camera.viewers().await.expect("running").len() == 4).await;
    for (_, _, hub) in &watching {
        pictures(hub, 5).await;
    }
    drop(watching);
    place.until(async || home.camera.viewers().await.expect("running").is_empty()).await;
    home.end().await;
}

/// The plug-ins' module with its local server, and a player that fetches from it.
pub(crate) async fn module_and_player<S: Runtime, C: Runtime, V: Runtime>(place: &Place<S, C, V>) {
    let home = Home::new(place, "module").await;
    let _feed = home.feed(MediaConfig::default());
    let module = P2pModule::new(place.viewer.clone()).expect("randomness");
    let params = AppParams { bind: anywhere(), ..AppParams::new("wx0", "oauth", "key", "secret", "app") };
    module.init(params).await.expect("init");
    let url = "http://XP2P_INFO.xnet/ipc.p2p.com/ipc.flv?action=live&channel=0&quality=high".to_owned();
    let stream = StreamInfo { url, xp2p_info: home.info.to_text().to_string(), ..StreamInfo::default() };
    let service = module.start_p2p_service("door", stream).await.expect("a service");
    let (kind, _, url) = service.start_stream(None).await.expect("a stream");
    let at = module.player_addr().expect("running");
    let path = url.strip_prefix(&format!("http://{at}")).expect("there").to_owned();
    let mut tcp = place.viewer.connect(at).await.expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {at}\r\n\r\n");
    tcp.write_all(request.as_bytes()).await.expect("sent");
    let mut came = Vec::new();
    while came.len() < 200_000 {
        let mut buffer = vec![0; 16 * 1024];
        let read = tcp.read(&mut buffer).await.expect("read");
        assert_ne!(read, 0, "the stream goes on");
        came.extend_from_slice(&buffer[..read]);
    }
    assert!(came.starts_with(b"HTTP/1.1 200"));
    assert!(came.windows(4).any(|w| w == b"FLV\x01"));
    assert_eq!(kind, StreamKind::Live);
    service.stop_stream(kind).await.expect("running");
    module.destroy().await;
    home.end().await;
}

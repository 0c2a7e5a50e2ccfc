//! Futures that are dropped after so many polls: before the first, and at every point where they wait.

use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;

use xp2p_proto::request::{Live, Playback};
use xp2p_smol::driver::module::{AppParams, P2pModule, StreamInfo};
use xp2p_smol::driver::runtime::Runtime;
use xp2p_smol::driver::socket::BoundSocket;
use xp2p_smol::driver::viewer::{Open, Service, TalkError, ViewerHandle};
use xp2p_tests::media::MediaConfig;

use crate::asking::{VOICE, file, word};
use crate::home::{self, Home, RECORDED, anywhere, ask, secret};
use crate::place::Place;

/// No future here waits nearly as often.
const MOST: usize = 20_000;

/// Polls at most so many times.
async fn polled<T>(future: impl Future<Output = T>, times: usize) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let mut left = times;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Starts again and again, each time dropped one poll later, until it is done. `after` gets the result, if there is one.
async fn at_every_point<T>(
    what: &str,
    mut start: impl AsyncFnMut() -> T,
    mut after: impl AsyncFnMut(Option<T>),
) {
    for polls in 0..MOST {
        let result = polled(start(), polls).await;
        let done = result.is_some();
        after(result).await;
        if done {
            println!("{what}: done after {polls} polls, and dropped after each number below");
            assert!(polls > 0);
            return;
        }
    }
    panic!("{what}: no end after {MOST} polls");
}

fn playback() -> Playback {
    Playback { channel: 0, start_time: RECORDED, end_time: RECORDED + 10, kind: None, audio_only: false }
}

async fn until_open<S: Runtime, C: Runtime, V: Runtime>(
    home: &Home<'_, S, C, V>,
    viewer: &ViewerHandle<V>,
    open: Open,
) {
    home.place.until(async || viewer.open() == open).await;
}

pub(crate) async fn services_and_streams<S: Runtime, C: Runtime, V: Runtime>(place: &Place<S, C, V>) {
    let home = Home::new(place, "cancel-streams").await;
    let _feed = home.feed(MediaConfig { bitrate: 200_000, keyframe: 8_000, ..MediaConfig::default() });
    let viewer = home.viewer();
    let nothing = Open::default();
    let stopped = async |service: Option<Service>| {
        if let Some(service) = service {
            home.check(&viewer, &service).await;
            viewer.stop(service.id).await.expect("running");
        }
        until_open(&home, &viewer, nothing).await;
    };
    let connect = async || viewer.connect(home.info.clone()).await.expect("a service");
    at_every_point("connect", connect, async |service| stopped(service).await).await;
    let watch = async || viewer.watch(home.info.clone(), Live::default()).await.expect("a stream");
    at_every_point("watch", watch, async |watching| stopped(watching.map(|(s, _, _)| s)).await).await;
    // The camera is left by all of them.
    place.until(async || home.camera.viewers().await.expect("running").is_empty()).await;

    let service = connect().await;
    home::connected(&service).await;
    let one = Open { services: 1, ..nothing };
    let live = async || viewer.start_live(service.id, Live::default()).await.expect("a stream").0;
    let record = async || viewer.start_playback(service.id, playback()).await.expect("a stream").0;
    let ended = async |stream| {
        if let Some(stream) = stream {
            viewer.stop_stream(stream).await.expect("running");
        }
        until_open(&home, &viewer, one).await;
        home.check(&viewer, &service).await;
    };
    at_every_point("start_live", live, async |stream| ended(stream).await).await;
    at_every_point("start_playback", record, async |stream| ended(stream).await).await;
    // What stops something does it, or does not; never half of it.
    let mut stream = live().await;
    let stop = async || viewer.stop_stream(stream).await.expect("running");
    at_every_point("stop_stream", stop, async |_| ended(Some(stream)).await).await;
    stream = live().await;
    let status = async || viewer.status(stream).await.expect("running");
    at_every_point("status", status, async |_| home.check(&viewer, &service).await).await;
    let (_, hub) = viewer.start_live(service.id, Live::default()).await.expect("a stream");
    let mut receiver = hub.subscribe_unchanged();
    let next = async || receiver.next_tag().await.expect("the stream goes on");
    at_every_point("next_tag", next, async |_| ()).await;
    let stop = async || viewer.stop(service.id).await.expect("running");
    at_every_point("stop", stop, async |_| ()).await;
    until_open(&home, &viewer, nothing).await;
    place.until(async || home.camera.viewers().await.expect("running").is_empty()).await;
    viewer.shutdown().await;
    home.end().await;
}

pub(crate) async fn requests<S: Runtime, C: Runtime, V: Runtime>(place: &Place<S, C, V>) {
    let home = Home::new(place, "cancel-requests").await;
    let (viewer, service) = home.connected().await;
    let one = Open { services: 1, ..Open::default() };
    let command = async || viewer.command(service.id, ask("hello"), None).await.expect("sent");
    at_every_point("command", command, async |_| {
        home.check(&viewer, &service).await;
        until_open(&home, &viewer, one).await;
    })
    .await;

    let talk = async || {
        let talk = viewer.talk(service.id, VOICE).await.expect("a talk");
        talk.accepted().await?;
        for n in 0..5 {
            talk.push(word(n)).await?;
        }
        talk.finish().await
    };
    let talk = async || match talk().await {
        // Until the camera has heard that the last one has hung up.
        Err(TalkError::Refused { status: 409, .. }) => false,
        result => result.map(|()| true).expect("heard"),
    };
    let mut done = false;
    at_every_point(
        "talk",
        async || talk().await,
        async |heard| {
            done |= heard == Some(true);
            // The next one is heard, sooner or later.
            place.until(async || talk().await).await;
            until_open(&home, &viewer, one).await;
        },
    )
    .await;
    assert!(done);
    home.check(&viewer, &service).await;
    let info = async || home.camera.xp2p_info(xp2p_proto::info::Rights::ALL, None).await.expect("running");
    at_every_point("xp2p_info", info, async |_| home.check(&viewer, &service).await).await;
    viewer.shutdown().await;
    home.end().await;
}

pub(crate) async fn transfers<S: Runtime, C: Runtime, V: Runtime>(place: &Place<S, C, V>) {
    let home = Home::new(place, "cancel-transfers").await;
    let (viewer, service) = home.connected().await;
    let whole = &home.app.shelf.files["small"];
    let path = home.dir.path().join("fetched");
    let one = Open { services: 1, ..Open::default() };
    for resume in [false, true] {
        let fetch = async || {
            let fetched = viewer.download_to(service.id, file("small"), &path, resume, |_| {}).await;
            fetched.expect("the file")
        };
        at_every_point("download_to", fetch, async |fetched| {
            // It is there whole, or not at all.
            if fetched.is_some() {
                assert!(std::fs::read(&path).expect("there") == **whole);
                std::fs::remove_file(&path).expect("there");
            }
            assert!(!path.exists() || std::fs::read(&path).expect("there") == **whole);
            until_open(&home, &viewer, one).await;
            home.check(&viewer, &service).await;
        })
        .await;
    }
    viewer.shutdown().await;
    home.end().await;
}

pub(crate) async fn shutdowns<S: Runtime, C: Runtime, V: Runtime>(place: &Place<S, C, V>) {
    let home = Home::new(place, "cancel-shutdowns").await;
    for polls in 0..4 {
        let (viewer, _service) = home.connected().await;
        polled(viewer.shutdown(), polls).await;
        viewer.shutdown().await;
        assert!(viewer.connect(home.info.clone()).await.is_err());

        let socket = BoundSocket::bind(anywhere()).expect("a socket");
        let (key, at) = (home.server_secret.public(), home.server.local_addr());
        let (camera, _events, _) =
            home::camera(place, socket, secret(&place.camera), key, at, home.app.clone()).await;
        polled(camera.shutdown(), polls).await;
        camera.shutdown().await;
        assert!(camera.viewers().await.is_err());

        let socket = BoundSocket::bind(anywhere()).expect("a socket");
        let server = home::server(place, socket, secret(&place.server));
        polled(server.shutdown(), polls).await;
        server.shutdown().await;
        assert!(server.stats().await.is_err());
    }
    let (viewer, service) = home.connected().await;
    home.check(&viewer, &service).await;
    home.end().await;
}

pub(crate) async fn module_init<S: Runtime, C: Runtime, V: Runtime>(place: &Place<S, C, V>) {
    let home = Home::new(place, "cancel-module").await;
    let module = P2pModule::new(place.viewer.clone()).expect("randomness");
    let params = || {
        let probe_server = Some(home.server.local_addr());
        AppParams { bind: anywhere(), probe_server, ..AppParams::new("wx0", "oauth", "key", "secret", "app") }
    };
    let init = async || module.init(params()).await.expect("init");
    at_every_point("init", init, async |_| module.destroy().await).await;
    // Dropped without a word to anybody, it may be called again.
    if polled(module.init(params()), 1).await.is_some() {
        // Answers may be there as soon as they are waited for.
        module.destroy().await;
    }
    while let Err(e) = module.init(params()).await {
        // A probe that was dropped may need a moment to end.
        assert_eq!(e.code.number(), -2201, "{e}");
        place.pause(Duration::from_millis(10)).await;
    }
    let stream = || {
        let url = "http://XP2P_INFO.xnet/ipc.p2p.com/ipc.flv?action=live&channel=0&quality=high".to_owned();
        StreamInfo { url, xp2p_info: home.info.to_text().to_string(), ..StreamInfo::default() }
    };
    let start = async || module.start_p2p_service("door", stream()).await.expect("a service");
    at_every_point("start_p2p_service", start, async |_| {
        // There is one, or there is none (-2403).
        let stopped = module.stop_p2p_service("door").await;
        assert!(stopped.map_or_else(|e| e.code.number(), |()| 0) % 2403 == 0);
        let service = module.start_p2p_service("door", stream()).await.expect("a service");
        let said = service.send(ask("hello"), None).await.expect("sent");
        assert_eq!(said.kind(), "success");
        module.stop_p2p_service("door").await.expect("there");
    })
    .await;
    module.destroy().await;
    place.until(async || home.camera.viewers().await.expect("running").is_empty()).await;
    home.end().await;
}

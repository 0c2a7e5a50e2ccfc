//! Readers that stop reading: what waits for them is bounded, nobody else is hindered, and they may go on later.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_lite::future::or;
use xp2p_proto::request::Live;
use xp2p_proto::viewer::Resume;
use xp2p_smol::driver::player::MAX_QUEUE;
use xp2p_smol::driver::runtime::Runtime;
use xp2p_smol::driver::viewer::DownloadEvent;
use xp2p_tests::media::MediaConfig;

use crate::asking::file;
use crate::home::{Home, pictures};
use crate::place::Place;

/// More than all windows and buffers of a download together, less than half of the file.
const AHEAD: u64 = 16 << 20;
/// Without news for so long, a sender is taken to have stopped. If it has not, it is only tested less.
const QUIET: Duration = Duration::from_millis(500);
/// A reader that stops does so for 10 s, in as many steps as something else is asked meanwhile.
const STEP: Duration = Duration::from_secs(2);
const STEPS: usize = 5;

pub(crate) async fn a_download_that_nobody_stores<S: Runtime, C: Runtime, V: Runtime>(
    place: &Place<S, C, V>,
) {
    let home = Home::new(place, "unstored").await;
    let (viewer, service) = home.connected().await;
    let whole = &home.app.shelf.files["large"];
    let download = viewer.download(service.id, file("large"), Resume::default()).await.expect("a download");
    let (mut came, mut hasher) = (0, blake3::Hasher::new());
    let quiet = async || {
        place.pause(QUIET).await;
        None
    };
    while let Some(event) = or(download.next(), quiet()).await {
        if let DownloadEvent::Data { offset, data } = event {
            assert_eq!(offset, came);
            came += data.len() as u64;
            hasher.update(&data);
        }
    }
    let read = home.app.shelf.read.load(Ordering::Relaxed);
    println!("{came} bytes came and {read} were read of {}", whole.len());
    assert!(came <= read && read < AHEAD, "{came} came, {read} were read");
    // It stands, and nothing else does.
    let mut read = Vec::new();
    for _ in 0..STEPS {
        home.check(&viewer, &service).await;
        place.pause(STEP).await;
        read.push(home.app.shelf.read.load(Ordering::Relaxed));
    }
    let last = read.last().copied().unwrap_or_default();
    assert!(last < AHEAD && read.iter().rev().take(3).all(|now| *now == last), "{read:?}");
    download.release(usize::try_from(came).expect("small")).await;
    loop {
        match download.next().await.expect("not over") {
            DownloadEvent::Data { data, .. } => {
                hasher.update(&data);
                download.release(data.len()).await;
            }
            DownloadEvent::Done { size, digest } => {
                assert_eq!((size, digest), (whole.len() as u64, *hasher.finalize().as_bytes()));
                break;
            }
            DownloadEvent::Failed { reason, .. } => panic!("{reason}"),
            _ => {}
        }
    }
    drop(download);
    viewer.shutdown().await;
    home.end().await;
}

pub(crate) async fn a_stream_that_nobody_reads<S: Runtime, C: Runtime, V: Runtime>(place: &Place<S, C, V>) {
    let home = Home::new(place, "unread").await;
    let _feed = home.feed(MediaConfig { bitrate: 40_000_000, keyframe: 900_000, ..MediaConfig::default() });
    let (viewer, service) = home.connected().await;
    let (_, hub) = viewer.start_live(service.id, Live::default()).await.expect("a stream");
    let mut receiver = hub.subscribe_unchanged();
    // Once its queue has run over, however long that takes.
    place
        .until(async || {
            let stats = hub.stats();
            assert!(stats.queued <= MAX_QUEUE, "{} bytes wait", stats.queued);
            stats.dropped > 0
        })
        .await;
    // Nobody else is hindered, and the reader goes on.
    home.check(&viewer, &service).await;
    pictures(&hub, 3).await;
    for _ in 0..10 {
        receiver.next_tag().await.expect("the stream goes on");
    }
    drop(receiver);
    viewer.shutdown().await;
    home.end().await;
}

//! Commands, talk and files.

use std::time::Duration;

use bytes::Bytes;
use xp2p_proto::command::CommandOutcome;
use xp2p_proto::flv::{Tag, TagKind};
use xp2p_proto::request::{CallType, Download, Voice};
use xp2p_smol::driver::runtime::Runtime;
use xp2p_smol::driver::viewer::{DownloadError, TalkError, partial_path};

use crate::home::{Home, ask};
use crate::place::Place;

pub(crate) const VOICE: Voice = Voice { channel: 0, calltype: CallType::Audio };

pub(crate) fn file(name: &str) -> Download {
    Download { channel: 0, file_name: name.to_owned(), offset: 0 }
}

pub(crate) fn word(n: u32) -> Tag {
    let mut body = vec![0xaf, 1];
    body.extend_from_slice(&n.to_be_bytes());
    Tag { kind: TagKind::Audio, timestamp: n * 40, body: body.into() }
}

pub(crate) async fn commands<S: Runtime, C: Runtime, V: Runtime>(place: &Place<S, C, V>) {
    let home = Home::new(place, "commands").await;
    let (viewer, service) = home.connected().await;
    for n in 0..20 {
        let outcome = viewer.command(service.id, ask(&format!("{n}")), None).await.expect("sent");
        assert_eq!(outcome, CommandOutcome::Success { data: Bytes::from(format!("echo {n}")) });
    }
    let outcome = viewer.command(service.id, ask("refuse"), None).await.expect("sent");
    assert!(matches!(outcome, CommandOutcome::Failure { status: 406, .. }), "{outcome:?}");
    let never = viewer.command(service.id, ask("never"), Some(Duration::from_millis(300))).await;
    assert_eq!(never.expect("sent"), CommandOutcome::Timeout);
    // Before there is a connection they wait for it.
    let other = home.viewer();
    let service = other.connect(home.info.clone()).await.expect("a service");
    home.check(&other, &service).await;
    assert_eq!(viewer.open().commands, 0);
    other.shutdown().await;
    viewer.shutdown().await;
    home.end().await;
}

pub(crate) async fn voice<S: Runtime, C: Runtime, V: Runtime>(place: &Place<S, C, V>) {
    let home = Home::new(place, "voice").await;
    let (viewer, service) = home.connected().await;
    let talk = viewer.talk(service.id, VOICE).await.expect("a talk");
    talk.accepted().await.expect("it listens");
    // Another one is told that it is busy.
    let (second, other) = home.connected().await;
    let refused = second.talk(other.id, VOICE).await.expect("a talk").accepted().await;
    assert!(matches!(refused, Err(TalkError::Refused { status: 409, .. })), "{refused:?}");
    let said: Vec<Tag> = (0..500).map(word).collect();
    for tag in &said {
        talk.push(tag.clone()).await.expect("it listens");
    }
    talk.finish().await.expect("heard");
    let (heard, complete) = home.app.talks.recv().await.expect("a talk");
    assert!(complete && heard == said, "{} of {}", heard.len(), said.len());
    // Hung up without an end.
    let talk = viewer.talk(service.id, VOICE).await.expect("a talk");
    talk.accepted().await.expect("it listens");
    drop(talk);
    assert!(!home.app.talks.recv().await.expect("a talk").1);
    place.until(async || viewer.open().talks == 0).await;
    viewer.shutdown().await;
    second.shutdown().await;
    home.end().await;
}

pub(crate) async fn download<S: Runtime, C: Runtime, V: Runtime>(place: &Place<S, C, V>) {
    let home = Home::new(place, "download").await;
    let (viewer, service) = home.connected().await;
    for name in ["small", "large", "empty"] {
        let whole = &home.app.shelf.files[name];
        let path = home.dir.path().join(name);
        let fetched =
            viewer.download_to(service.id, file(name), &path, false, |_| {}).await.expect("the file");
        assert_eq!((fetched.size, fetched.resumed), (whole.len() as u64, 0));
        assert_eq!(fetched.digest, *blake3::hash(whole).as_bytes());
        assert!(std::fs::read(&path).expect("there") == **whole);
    }
    let path = home.dir.path().join("nothing");
    let missing = viewer.download_to(service.id, file("nothing"), &path, false, |_| {}).await;
    assert!(matches!(missing, Err(DownloadError::Refused { status: 404, .. })), "{missing:?}");
    assert!(!path.exists());
    // What an earlier attempt has left is not fetched again.
    let whole = &home.app.shelf.files["small"];
    let path = home.dir.path().join("again");
    std::fs::write(partial_path(&path), &whole[..100_000]).expect("written");
    std::fs::write(home.dir.path().join("again.part.etag"), "v1").expect("written");
    let resumed = viewer.download_to(service.id, file("small"), &path, true, |_| {}).await.expect("the rest");
    assert!(resumed.size == whole.len() as u64 && std::fs::read(&path).expect("there") == **whole);
    place.until(async || viewer.open().downloads == 0).await;
    viewer.shutdown().await;
    home.end().await;
}

//! ffmpeg as player of our server, and as origin of our client.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use xp2p_smol::Smol;
use xp2p_smol::driver::origin::client::{Backoff, OriginError};
use xp2p_smol::driver::origin::server::{Feed, OriginServer, OriginServerConfig};
use xp2p_smol::proto::flv::{Tag, TagKind};
use xp2p_tests::media::tags_of;

use crate::support::{ANY_PORT, all, open, run, sleep, until};

const CLIP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/clip.flv");

/// The bodies of a kind, without configuration.
fn bodies(tags: &[Tag], kind: TagKind) -> Vec<Bytes> {
    let own = tags.iter().filter(|t| t.kind == kind && !t.is_sequence_header() && t.body.len() > 5);
    own.map(|t| t.body.clone()).collect()
}

#[test]
fn ffprobe_plays_what_the_server_sends() {
    let server = OriginServer::bind(&Smol, OriginServerConfig::new(ANY_PORT)).expect("it listens");
    let (feed, source) = async_channel::bounded(1);
    let publication = server.publish("clip", Feed::Flv(source), None).expect("it is published");
    let probe = Command::new("ffprobe")
        .args(["-v", "error", "-count_packets", "-show_entries", "stream=codec_name,nb_read_packets"])
        .args(["-of", "csv=p=0", &server.url("clip")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("ffprobe is installed (./test does that)");
    run(async {
        until(|| publication.stats().clients == 1).await;
        let file = std::fs::read(CLIP).expect("the clip");
        for piece in file.chunks(4000) {
            feed.send(Bytes::copy_from_slice(piece)).await.expect("it is taken");
        }
        feed.close();
    });
    let seen = String::from_utf8(probe.wait_with_output().expect("it ends").stdout).expect("text");
    let tags = tags_of(Path::new(CLIP));
    for (codec, kind) in [("h264", TagKind::Video), ("aac", TagKind::Audio)] {
        let expected = format!("{codec},{}", bodies(&tags, kind).len());
        assert!(seen.lines().any(|line| line == expected), "{expected}: {seen}");
    }
}

#[test]
fn what_ffmpeg_serves_arrives_byte_for_byte() {
    let free = TcpListener::bind(ANY_PORT).and_then(|l| l.local_addr()).expect("a port");
    let url = format!("http://{free}/live/clip.flv");
    let mut ffmpeg = Command::new("ffmpeg")
        .args(["-v", "error", "-i", CLIP, "-c", "copy", "-f", "flv", "-listen", "1", &url])
        .stdin(Stdio::null())
        .spawn()
        .expect("ffmpeg is installed (./test does that)");
    let tags = run(async {
        let mut backoff = Backoff::default();
        loop {
            match open(&url).await {
                Ok(mut stream) => break all(&mut stream).await,
                Err(OriginError::Connect { .. }) => sleep(backoff.pause(&Smol, None)).await,
                Err(e) => panic!("{e}"),
            }
        }
    });
    ffmpeg.kill().expect("it can be ended");
    ffmpeg.wait().expect("it ends");
    let clip = tags_of(Path::new(CLIP));
    for kind in [TagKind::Video, TagKind::Audio] {
        assert!(!bodies(&clip, kind).is_empty());
        assert_eq!(bodies(&tags, kind), bodies(&clip, kind));
    }
}

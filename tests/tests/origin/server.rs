//! What clients of the origin server get.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use xp2p_smol::Smol;
use xp2p_smol::driver::origin::client::{OriginClient, OriginConfig, OriginError};
use xp2p_smol::driver::origin::server::{
    Denied, Feed, MAX_REQUEST_HEAD, OriginServer, OriginServerConfig, OriginServerError, Permit,
};
use xp2p_smol::driver::runtime::Runtime as _;
use xp2p_smol::proto::flv::{Tag, TagKind};
use xp2p_tests::media::{MediaConfig, number_of};

use crate::support::{ANY_PORT, all, ask, open, run, sample, tags, until};

fn config() -> OriginServerConfig {
    OriginServerConfig::new(ANY_PORT)
}

fn bind(config: OriginServerConfig) -> OriginServer {
    OriginServer::bind(&Smol, config).expect("it listens")
}

fn media(tags: &[Tag]) -> Vec<Tag> {
    tags.iter().filter(|t| !t.is_sequence_header()).cloned().collect()
}

#[test]
fn a_late_client_begins_with_the_newest_keyframe_and_the_times_of_the_source() {
    let server = bind(config());
    let tags = tags(MediaConfig::default(), 5000);
    let (feed, source) = async_channel::bounded(tags.len());
    let publication = server.publish("door", Feed::Tags(source), None).unwrap();
    run(async {
        let (early, later) = tags.split_at(tags.len() / 2);
        for tag in early {
            feed.send(tag.clone()).await.unwrap();
        }
        until(|| publication.stats().tags == media(early).len() as u64).await;
        let mut stream = open(&server.url("door")).await.unwrap();
        until(|| publication.stats().clients == 1).await;
        for tag in later {
            feed.send(tag.clone()).await.unwrap();
        }
        feed.close();
        let got = all(&mut stream).await;
        assert!(got[0].is_sequence_header() && got[1].is_sequence_header(), "video and audio configuration");
        let newest = early.iter().rposition(Tag::is_keyframe).unwrap();
        assert!(newest > 2, "there were older groups");
        assert_eq!(got[0].timestamp, early[newest].timestamp, "time does not jump");
        assert_eq!(media(&got), media(&tags[newest..]), "byte for byte, with the same times");
        assert!(media(&got).iter().all(|t| number_of(t).is_some()));
        assert!(publication.is_ended());
        until(|| publication.stats().clients == 0).await;
        let error = open(&server.url("door")).await.unwrap_err();
        assert!(matches!(error, OriginError::Status { code: 404, .. }), "it is over: {error}");
    });
}

#[test]
fn what_changes_on_the_way_reaches_those_who_watch_and_repetitions_do_not() {
    let server = bind(config());
    let sequence = |version: u8| Tag {
        kind: TagKind::Video,
        timestamp: 0,
        body: Bytes::copy_from_slice(&[0x17, 0, 0, 0, 0, 1, version]),
    };
    // The second track of a multitrack stream in the enhanced form.
    let side = Tag { kind: TagKind::Video, timestamp: 0, body: Bytes::from_static(b"\x96\x00avc1\x01abc") };
    assert!(side.is_sequence_header());
    let key = |timestamp| Tag {
        kind: TagKind::Video,
        timestamp,
        body: Bytes::copy_from_slice(&[0x17, 1, 0, 0, 0, timestamp as u8]),
    };
    let fed = [sequence(1), side.clone(), key(0), sequence(1), key(40), sequence(2), key(80)];
    let (feed, source) = async_channel::bounded(fed.len());
    let publication = server.publish("door", Feed::Tags(source), None).unwrap();
    run(async {
        let mut stream = open(&server.url("door")).await.unwrap();
        until(|| publication.stats().clients == 1).await;
        for tag in &fed {
            feed.send(tag.clone()).await.unwrap();
        }
        feed.close();
        let bodies: Vec<Bytes> = all(&mut stream).await.into_iter().map(|t| t.body).collect();
        let expected = [sequence(1), side, key(0), key(40), sequence(2), key(80)].map(|t| t.body);
        assert_eq!(bodies, expected);
    });
}

#[test]
fn all_clients_and_the_tap_see_the_same_order() {
    let server = bind(config());
    let (tags, file) = sample();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = seen.clone();
    let tap = Box::new(move |tag: &Tag| record.lock().unwrap().push(tag.clone()));
    let (feed, source) = async_channel::bounded(16);
    let publication = server.publish("door", Feed::Flv(source), Some(tap)).unwrap();
    run(async {
        let mut a = open(&server.url("door")).await.unwrap();
        let mut b = open(&server.url("door")).await.unwrap();
        until(|| publication.stats().clients == 2).await;
        for piece in file.chunks(1234) {
            feed.send(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        feed.close();
        assert_eq!(all(&mut a).await, tags);
        assert_eq!(all(&mut b).await, tags);
        assert_eq!(*seen.lock().unwrap(), tags);
        assert_eq!(publication.stats().served, 2);
        assert_eq!(publication.stats().sent, a.received().body + b.received().body);
    });
}

#[test]
fn a_feed_that_is_no_flv_ends_its_publication_with_a_reason() {
    let server = bind(config());
    let (feed, source) = async_channel::bounded(16);
    let publication = server.publish("door", Feed::Flv(source), None).unwrap();
    run(async {
        feed.send(Bytes::from_static(b"<html></html>")).await.unwrap();
        until(|| publication.is_ended()).await;
        assert!(publication.trouble().is_some());
    });
}

/// Big enough to fill all buffers of a connection.
const LARGE: MediaConfig = MediaConfig { bitrate: 0, keyframe: 1 << 20, fps: 25, gop: 1, audio: false };

#[test]
fn a_client_that_reads_nothing_slows_nobody_and_is_closed() {
    let server = bind(OriginServerConfig { patience: Duration::from_millis(300), ..config() });
    let (feed, source) = async_channel::bounded(1);
    let publication = server.publish("door", Feed::Tags(source), None).unwrap();
    let mut slow = TcpStream::connect(server.local_addr()).unwrap();
    slow.write_all(b"GET /live/door.flv HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    run(async {
        let mut fast = open(&server.url("door")).await.unwrap();
        until(|| publication.stats().clients == 2).await;
        let tags = tags(LARGE, 40 * 60);
        for tag in &tags {
            feed.send(tag.clone()).await.unwrap();
            if !tag.is_sequence_header() {
                // One behind the other, so that the fast client is never behind.
                let got = loop {
                    let got = fast.next_tag().await.unwrap();
                    if !got.is_sequence_header() {
                        break got;
                    }
                };
                assert_eq!(got, *tag);
            }
        }
        until(|| publication.stats().clients == 1).await;
        assert!(publication.stats().dropped > 0, "{:?}", publication.stats());
        assert_eq!(server.connections(), 1);
    });
    drop(slow);
}

#[test]
fn a_slow_client_goes_on_with_a_later_keyframe() {
    let server = bind(config());
    let (feed, source) = async_channel::bounded(1);
    let publication = server.publish("door", Feed::Tags(source), None).unwrap();
    run(async {
        let mut stream = open(&server.url("door")).await.unwrap();
        until(|| publication.stats().clients == 1).await;
        let tags = tags(LARGE, 40 * 60);
        for tag in &tags {
            feed.send(tag.clone()).await.unwrap();
        }
        until(|| publication.stats().tags == media(&tags).len() as u64).await;
        assert!(publication.stats().dropped > 0, "{:?}", publication.stats());
        feed.close();
        let got = media(&all(&mut stream).await);
        assert!(got.len() < tags.len() && got.last() == tags.last());
        assert!(got.iter().all(|tag| tags.contains(tag)), "what comes is whole");
    });
}

#[test]
fn what_is_not_there_is_answered_with_words() {
    let server = bind(config());
    let (_feed, source) = async_channel::bounded(1);
    server.publish("door", Feed::Tags(source), None).unwrap();
    let addr = server.local_addr();
    let get = |method: &str, path: &str| ask(addr, &format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
    let missing = get("GET", "/live/window.flv");
    assert!(missing.starts_with("HTTP/1.1 404 ") && missing.contains("no stream of this name"), "{missing}");
    for path in ["/", "/live/", "/live/../door.flv", "/door.flv", "/live/door", "/live/door.flv/"] {
        assert!(get("GET", path).starts_with("HTTP/1.1 404 "), "{path}");
    }
    let post = get("POST", "/live/door.flv");
    assert!(post.starts_with("HTTP/1.1 405 ") && post.contains("allow: GET, HEAD"), "{post}");
    let head = get("HEAD", "/live/door.flv");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("content-type: video/x-flv"), "{head}");
    assert!(head.ends_with("\r\n\r\n"), "{head}");
    let giant = format!("GET /live/door.flv HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(2 * MAX_REQUEST_HEAD));
    let giant = ask(addr, &giant);
    assert!(giant.is_empty() || giant.starts_with("HTTP/1.1 431 "), "{giant}");
}

#[test]
fn streams_are_sent_in_chunks_as_what_they_are() {
    let server = bind(config());
    let (tags, _) = sample();
    let (feed, source) = async_channel::bounded(tags.len());
    let publication = server.publish("door", Feed::Tags(source), None).unwrap();
    let mut tcp = TcpStream::connect(server.local_addr()).unwrap();
    tcp.write_all(b"GET /live/door.flv HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    run(async {
        until(|| publication.stats().clients == 1).await;
        tags.into_iter().for_each(|tag| feed.try_send(tag).unwrap());
        feed.close();
    });
    let head = crate::support::read_head(&mut tcp).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.contains("content-type: video/x-flv\r\n"), "{head}");
    assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
    let mut body = Vec::new();
    tcp.read_to_end(&mut body).unwrap();
    assert!(body.starts_with(b"D\r\nFLV\x01\x05") && body.ends_with(b"0\r\n\r\n"));
}

#[test]
fn a_full_publication_says_when_to_come_back() {
    let server = bind(OriginServerConfig { max_clients: 1, ..config() });
    let (_feed, source) = async_channel::bounded(1);
    let publication = server.publish("door", Feed::Tags(source), None).unwrap();
    run(async {
        let stream = open(&server.url("door")).await.unwrap();
        let error = open(&server.url("door")).await.unwrap_err();
        let OriginError::Status { code: 503, retry_after: Some(_) } = error else { panic!("{error}") };
        drop(stream);
        until(|| publication.stats().clients == 0).await;
        open(&server.url("door")).await.expect("there is room again");
    });
}

#[test]
fn connections_are_limited_and_must_ask_for_something_soon() {
    let limits =
        OriginServerConfig { max_connections: 1, head_timeout: Duration::from_millis(300), ..config() };
    let server = bind(limits);
    let silent = TcpStream::connect(server.local_addr()).unwrap();
    run(async {
        until(|| server.connections() == 1).await;
        assert_eq!(ask(server.local_addr(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n"), "", "one too many");
        until(|| server.connections() == 0).await;
        assert!(ask(server.local_addr(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n").contains("404"));
    });
    drop(silent);
}

#[test]
fn a_client_is_cut_off_when_its_permit_ends() {
    let end = Smol.unix_time() + Duration::from_millis(1_500);
    let authorize = Arc::new(move |request: &xp2p_smol::driver::origin::server::OriginRequest<'_>| {
        Ok(Permit { until: request.param("short").map(|_| end) })
    });
    let server = bind(OriginServerConfig { authorize: Some(authorize), ..config() });
    let (_feed, source) = async_channel::bounded(1);
    server.publish("door", Feed::Tags(source), None).unwrap();
    let open = |query: &str| {
        let mut tcp = TcpStream::connect(server.local_addr()).expect("it listens");
        let head = format!("GET /live/door.flv{query} HTTP/1.1\r\nHost: a\r\n\r\n");
        tcp.write_all(head.as_bytes()).expect("sent");
        tcp
    };
    let _lasting = open("");
    let mut short = open("?short=1");
    short.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let mut all = Vec::new();
    short.read_to_end(&mut all).expect("an end");
    let late = Smol.unix_time().saturating_sub(end);
    assert!(Smol.unix_time() >= end && late < Duration::from_secs(5), "{late:?}");
    assert!(String::from_utf8_lossy(&all).starts_with("HTTP/1.1 200"));
    run(async { until(|| server.connections() == 1).await });
}

#[test]
fn nobody_learns_what_there_is_without_a_permission() {
    let authorize = Arc::new(|request: &xp2p_smol::driver::origin::server::OriginRequest<'_>| {
        assert_eq!(request.path, format!("/live/{}.flv", request.name));
        match request.param("token").or(request.header("authorization")) {
            None => Err(Denied::Unauthorized),
            Some("good" | "Bearer good") => Ok(Permit::UNLIMITED),
            Some(_) => Err(Denied::Forbidden),
        }
    });
    let server = bind(OriginServerConfig { authorize: Some(authorize), ..config() });
    let (_feed, source) = async_channel::bounded(1);
    server.publish("door", Feed::Tags(source), None).unwrap();
    for name in ["door", "window"] {
        for (query, status) in [("", 401), ("?token=bad", 403), ("?x=1&token", 401)] {
            let error = run(open(&format!("{}{query}", server.url(name)))).unwrap_err();
            assert!(matches!(error, OriginError::Status { code, .. } if code == status), "{query}: {error}");
        }
    }
    run(open(&format!("{}?token=good", server.url("door")))).expect("it may");
    let header = "HEAD /live/door.flv HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good\r\n\r\n";
    assert!(ask(server.local_addr(), header).starts_with("HTTP/1.1 200 "));
}

#[test]
fn publications_come_and_go_by_name() {
    let server = bind(OriginServerConfig { max_publications: 2, ..config() });
    let publish = |name: &str| {
        let (feed, source) = async_channel::bounded::<Tag>(1);
        server.publish(name, Feed::Tags(source), None).map(|p| (feed, p))
    };
    let (_feed, door) = publish("door").unwrap();
    assert!(matches!(publish("door"), Err(OriginServerError::Taken(_))));
    for bad in ["", "a/b/c", "..", "a b", "\u{fc}"] {
        assert!(matches!(publish(bad), Err(OriginServerError::Name(_))), "{bad}");
    }
    let (feed, window) = publish("window").unwrap();
    assert!(matches!(publish("gate"), Err(OriginServerError::Full(2))));
    run(async {
        let mut stream = open(&server.url("door")).await.unwrap();
        assert!(server.unpublish("door") && !server.unpublish("door"));
        assert!(door.is_ended());
        assert!(matches!(stream.next_tag().await, Err(OriginError::Ended { .. })));
        drop(feed);
        until(|| window.is_ended()).await;
        until(|| publish("gate").is_ok()).await;
    });
}

#[test]
fn the_server_ends_with_its_last_handle() {
    let server = bind(config());
    let url = server.url("door");
    let (feed, source) = async_channel::bounded::<Tag>(1);
    let publication = server.publish("door", Feed::Tags(source), None).unwrap();
    run(async {
        let client = OriginClient::new(&Smol, OriginConfig::default());
        let mut stream = client.open(&url).await.unwrap();
        drop(server);
        assert!(stream.next_tag().await.is_err());
        until(|| feed.is_closed()).await;
        assert!(publication.is_ended());
        while client.open(&url).await.is_ok() {}
    });
}

#[test]
fn plain_http_stays_on_this_machine_unless_told_otherwise() {
    let everywhere = OriginServerConfig::new("0.0.0.0:0".parse().unwrap());
    let error = OriginServer::bind(&Smol, everywhere.clone()).unwrap_err();
    assert!(matches!(error, OriginServerError::Plain(_)), "{error}");
    bind(OriginServerConfig { allow_plain: true, ..everywhere });
}

//! A camera that its viewer has every reason to trust, since it holds the key, and that says nonsense.

use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use xp2p_proto::camera::VIEWER_ALPN;
use xp2p_proto::link::stream::{end, read, write};
use xp2p_proto::link::{ConnId, Dir, Entropy, Link, LinkConfig, LinkEvent, StreamId};
use xp2p_proto::live::{Record, StreamHead, StreamKind};
use xp2p_proto::request::{Live, ResponseHead, printable};
use xp2p_proto::viewer::{ServiceConfig, ServiceId, ViewerEvent};
use xp2p_tests::on_link::{OnLink, Role};
use xp2p_tests::sim::HostConfig;
use xp2p_tests::world::{CAMERA_KEY, World, WorldConfig, assert_contract, secret};

/// What it does with each request.
#[derive(Clone, Default)]
struct Lie {
    /// On the stream of the request.
    answer: Vec<u8>,
    /// Then it ends that stream: `Some(code)` with a reset.
    end: Option<Option<u32>>,
    /// On a media stream of its own.
    media: Vec<u8>,
}

/// The camera. It is written on the link, because a [`Camera`](xp2p_proto::camera::Camera) cannot be made to say such things.
struct FalseCamera {
    lie: Lie,
    answered: Vec<(ConnId, StreamId)>,
}

impl FalseCamera {
    fn on_link(lie: Lie) -> OnLink<Self> {
        let mut config = LinkConfig::new(secret(CAMERA_KEY), Entropy::seeded(2800));
        config.accept = vec![VIEWER_ALPN];
        OnLink { link: Link::new(config).expect("a link"), role: Self { lie, answered: Vec::new() } }
    }

    /// As soon as anything is asked.
    fn answer(&mut self, link: &mut Link, conn: ConnId, stream: StreamId) {
        let Some(quic) = link.quic(conn) else { return };
        let mut asked = false;
        read(quic, stream, usize::MAX, |_| asked = true);
        if !asked || self.answered.contains(&(conn, stream)) {
            return;
        }
        self.answered.push((conn, stream));
        let lie = self.lie.clone();
        write(quic, stream, &mut [Bytes::from(lie.answer)]);
        if let Some(reset) = lie.end {
            end(quic, stream, reset);
        }
        if !lie.media.is_empty() {
            let media = quic.streams().open(Dir::Uni).expect("room for a stream");
            write(quic, media, &mut [Bytes::from(lie.media)]);
        }
    }
}

impl Role for FalseCamera {
    fn turn(&mut self, link: &mut Link) {
        while let Some((conn, event)) = link.poll_event() {
            match event {
                LinkEvent::Opened(Dir::Bi) => {
                    while let Some(stream) = link.quic(conn).and_then(|q| q.streams().accept(Dir::Bi)) {
                        self.answer(link, conn, stream);
                    }
                }
                LinkEvent::Readable(stream) => self.answer(link, conn, stream),
                _ => {}
            }
        }
    }
}

/// Asks the camera for a live stream twice. Returns why each was closed, and checks that nothing else became of it.
fn told(lie: Lie) -> Vec<Option<String>> {
    let mut world = World::new(WorldConfig::new(2800));
    world.run(Duration::from_secs(1));
    let info = world.info();
    let host = world
        .sim
        .add_host(HostConfig::new("false camera", Ipv4Addr::new(192, 0, 2, 80)), FalseCamera::on_link(lie));
    let at = world.sim.addr(host);
    // The one that tells the truth has the same key: only the address decides which of them it is.
    let service = world.sim.with(world.viewer, |viewer, now| {
        let service = viewer.start_service(now, ServiceConfig { info, servers: Vec::new(), tcp: Vec::new() });
        let service = service.expect("a service");
        assert!(viewer.add_nearby(now, service, &[at]));
        service
    });
    let told = [(); 2].map(|()| ask(&mut world, service));
    assert!(world.shown.is_empty() && world.sounds == 0 && world.harmed == 0, "media came");
    assert_eq!(world.sim.machine(host).role.answered.len(), 2, "each request was answered");
    let lost =
        |e: &ViewerEvent| matches!(e, ViewerEvent::Disconnect { .. } | ViewerEvent::Reconnecting { .. });
    assert!(!world.events.iter().any(|(_, e)| lost(e)), "the service does not go on: {:?}", world.events);
    assert_contract(&world.sim, world.viewer);
    told.to_vec()
}

fn ask(world: &mut World, service: ServiceId) -> Option<String> {
    world.events.clear();
    let key = world.sim.with(world.viewer, |v, now| v.start_live(now, service, Live::default()));
    let key = key.expect("the service takes requests");
    world.run(Duration::from_secs(3));
    let mut reasons = world.events.iter().filter_map(|(_, event)| match event {
        ViewerEvent::Close { stream, reason } if *stream == key => Some(reason.clone()),
        _ => None,
    });
    let reason = reasons.next();
    assert_eq!(reasons.next(), None, "a stream is closed once");
    assert!(reason.iter().all(|r| r.chars().all(printable)), "{reason:?}");
    let gone = world.sim.with(world.viewer, |v, _| v.stream_stats(key).is_none());
    assert_eq!(gone, reason.is_some(), "what is closed is gone, and nothing else");
    world.sim.with(world.viewer, |v, _| v.stop_stream(key));
    reason
}

#[test]
fn nonsense_of_a_camera_ends_the_stream_that_it_is_on() {
    let head = ResponseHead::media().to_bytes();
    let with_head = |more: &[u8]| [&head[..], more].concat();
    let says = |answer: Vec<u8>| Lie { answer, ..Lie::default() };
    let broke = "the camera broke the protocol";
    let lies = [
        ("bytes that are no head", says(b"\0\x1b[2J nonsense\r\n\r\n".to_vec()), broke),
        (
            "a head without an end",
            says([b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'x'; 100_000]].concat()),
            broke,
        ),
        ("a record of 2^62 - 1 bytes", says(with_head(&[&[1][..], &[0xff; 8]].concat())), broke),
        ("a configuration that is none", says(with_head(&[1, 3, 0, 5, 9])), broke),
        ("an end before an answer", Lie { end: Some(None), ..Lie::default() }, "without an answer"),
        ("a reset", Lie { end: Some(Some(7)), ..says(head.clone()) }, "ended the stream with code 7"),
    ];
    for (what, lie, expected) in lies {
        for told in told(lie) {
            let told = told.unwrap_or_else(|| panic!("{what}: nothing was told"));
            println!("{what}: {told}");
            assert!(told.contains(expected), "{what}: {told}");
        }
    }
}

#[test]
fn media_of_a_camera_that_is_none_ends_its_stream_and_an_unknown_kind_of_it_is_not_read() {
    let media = |request: u64, more: &[u8]| {
        let head = StreamHead { kind: StreamKind::Video, request, number: 0, config: 0 };
        let answer =
            [ResponseHead::media().to_bytes(), Record::encode_config(0, &Default::default()).to_vec()];
        Lie { answer: answer.concat(), media: [&head.encode()[..], more].concat(), ..Lie::default() }
    };
    // The length of a body, and a kind that no tag has.
    let lie = media(0, &[0x1f; 4_000]);
    let first = told(lie)[0].clone().expect("a reason");
    println!("tags that are none: {first}");
    assert!(first.contains("the camera broke the protocol") && first.contains("tag"), "{first}");
    // Of a request that nobody has made, and of a kind that nobody knows: there may be such a kind one day.
    assert_eq!(told(media(9, &[0x1f; 4_000])), [None, None]);
    let unknown = Lie { media: vec![9; 4_000], ..media(0, &[]) };
    assert_eq!(told(unknown), [None, None]);
}

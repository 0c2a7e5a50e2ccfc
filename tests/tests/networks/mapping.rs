//! Routers that open ports for those who ask (PCP, NAT-PMP, UPnP): pairs that would need the relay go directly.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use xp2p_tests::netns::gateway::{self, Gateway, Speaks, open_ports};
use xp2p_tests::netns::home::{Camera, Home, START, interrupt, start};
use xp2p_tests::netns::internet::{Internet, SERVER, SERVER_ALT, SERVER_NAME, Site};
use xp2p_tests::netns::nat::Nat;
use xp2p_tests::netns::player::Player;
use xp2p_tests::netns::{alone, available};
use xp2p_tests::processes::{Process, TempDir, run};

/// For the first picture and a direct path. A good machine needs a tenth of a second.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a picture is watched that goes by the relay. There have been two rounds of hole punching by then.
const RELAYED: Duration = Duration::from_secs(3);
/// Until the router has answered, or all ways of asking have failed, which takes ten seconds and more on a busy machine.
const ASKING: Duration = Duration::from_secs(30);

/// What a camera says about the router.
fn mapping(camera: &mut Camera) -> Value {
    let end = Instant::now() + ASKING;
    loop {
        let line = camera.process.error_within(end.saturating_duration_since(Instant::now()));
        let line = line.expect("the camera tells what became of asking the router");
        match serde_json::from_str::<Value>(&line) {
            Ok(event) if event["event"] == "port-mapping" => return event,
            _ => {}
        }
    }
}

/// By which way a viewer sees a picture in the end, and after how long it was direct.
fn watch(mut player: Player, direct: bool) -> (Option<String>, Option<Duration>) {
    player
        .listen_until(PATIENCE, |p| p.first_keyframe().is_some() && (!direct || p.first_direct().is_some()));
    assert!(player.first_keyframe().is_some(), "no picture");
    if !direct {
        player.listen(RELAYED);
    }
    let seen = (player.path().map(str::to_owned), player.first_direct());
    player.finish();
    seen
}

fn view(home: &Home, site: &Site, camera: &Camera, more: &[&str]) -> Player {
    Player::start_with(&site.client, "viewer", home.dir(), &camera.info, more)
}

/// Whether the router is as it was, which it is a moment after the program has ended.
fn is_closed_again(site: &Site) -> bool {
    let end = Instant::now() + Duration::from_secs(5);
    while Instant::now() < end {
        if open_ports(&site.routers[0]).is_empty() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    false
}

#[test]
fn a_router_that_opens_ports_makes_pairs_direct_that_needed_the_relay() {
    let _alone = alone();
    if !available() || !gateway::available() {
        return;
    }
    let internet = Internet::new();
    let home = Home::new("mapping", &internet);
    println!(
        "{:>18}  {:<18}  router   without  with    direct (ms from the start of the program)",
        "viewer", "camera"
    );
    for speaks in Speaks::ALL {
        for (at_viewer, at_camera) in
            [(Nat::SymmetricRandom, Nat::SymmetricRandom), (Nat::PortRestricted, Nat::SymmetricRandom)]
        {
            let pair = format!("{}-{at_viewer}", speaks.name()).replace(' ', "-");
            let camera_site = internet.routable_site("camera", at_camera);
            let viewer_site = internet.site("viewer", at_viewer);
            let _daemon = Gateway::start(&camera_site, speaks, home.dir());
            let mut camera =
                home.camera_with(&camera_site.client, &format!("without-{pair}"), &["--no-port-mapping"]);
            let (without, _) = watch(view(&home, &viewer_site, &camera, &["--no-port-mapping"]), false);
            assert!(open_ports(&camera_site.routers[0]).is_empty(), "it was told not to");
            camera.process.stop();

            let mut camera = home.camera(&camera_site.client, &format!("with-{pair}"));
            let told = mapping(&mut camera);
            assert_eq!(told["state"], "mapped", "{told}");
            assert_eq!(told["protocol"], speaks.name());
            let external: SocketAddr =
                told["external"].as_str().and_then(|a| a.parse().ok()).expect("an address");
            assert_eq!(external.ip(), camera_site.public);
            assert_eq!(open_ports(&camera_site.routers[0]), [external.port()]);
            let (with, direct) = watch(view(&home, &viewer_site, &camera, &[]), true);
            println!(
                "{at_viewer:>18}  {at_camera:<18}  {:<7}  {:<7}  {:<6}  {}",
                speaks.name(),
                without.as_deref().unwrap_or("-"),
                with.as_deref().unwrap_or("-"),
                direct.map_or("-".to_owned(), |t| t.as_millis().to_string())
            );
            assert_eq!(without.as_deref(), Some("relay"), "without asking the router");
            assert_eq!(with.as_deref(), Some("direct"), "{speaks:?}: {at_viewer} to {at_camera}");

            interrupt(&camera.process);
            camera.process.wait(Duration::from_secs(10));
            assert!(is_closed_again(&camera_site), "{speaks:?}: a port is still open");
        }
    }
}

#[test]
fn a_router_in_front_of_the_viewer_helps_as_well() {
    let _alone = alone();
    if !available() || !gateway::available() {
        return;
    }
    let internet = Internet::new();
    let home = Home::new("mapping-viewer", &internet);
    let camera_site = internet.site("camera", Nat::PortRestricted);
    let camera = home.camera(&camera_site.client, "camera");
    for speaks in Speaks::ALL {
        let viewer_site = internet.routable_site("viewer", Nat::SymmetricRandom);
        let _daemon = Gateway::start(&viewer_site, speaks, home.dir());
        let (without, _) = watch(view(&home, &viewer_site, &camera, &["--no-port-mapping"]), false);
        let (with, direct) = watch(view(&home, &viewer_site, &camera, &[]), true);
        println!("viewer's router speaks {}: {without:?}, then {with:?} after {direct:.1?}", speaks.name());
        assert_eq!((without.as_deref(), with.as_deref()), (Some("relay"), Some("direct")), "{speaks:?}");
        assert!(is_closed_again(&viewer_site), "{speaks:?}: a port is still open");
    }
}

/// A server that publishes one stream, whose viewers meet there.
struct Room {
    dir: TempDir,
    url: String,
    tracker: String,
    _server: Process,
}

impl Room {
    fn new(internet: &Internet) -> Self {
        const PORT: u16 = 20_443;
        let dir = TempDir::new("mapping-swarm");
        let made = rcgen::generate_simple_self_signed(vec![SERVER_NAME.to_owned()])
            .expect("a certificate of its own");
        std::fs::write(dir.path().join("cert.pem"), made.cert.pem()).expect("a file");
        std::fs::write(dir.path().join("key.pem"), made.signing_key.serialize_pem()).expect("a file");
        let (listen, alt) = (format!("{SERVER}:20002"), format!("{SERVER_ALT}:20003"));
        let (media, name) = (format!("{SERVER}:{PORT}"), format!("{SERVER_NAME}:{PORT}"));
        let publish = format!("room={}", concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/clip.flv"));
        let addresses = ["--listen", &listen, "--listen-alt", &alt, "--public-host", SERVER_NAME, "--open"];
        let tls = ["--tls-cert", "cert.pem", "--tls-key", "key.pem"];
        let stream = ["--media", &media, "--media-name", &name, "--publish", &publish];
        let args = [&["server"], &addresses[..], &tls, &stream].concat();
        let mut server = start(internet.server(), "server", dir.path(), &args);
        let tracker = server.line(START);
        assert!(tracker.starts_with(SERVER_NAME) && tracker.contains('#'), "{tracker}");
        Self { dir, url: format!("https://{name}/live/room.flv"), tracker, _server: server }
    }

    fn watch(&self, site: &Site, name: &str, more: &[&str]) -> Process {
        let args =
            ["watch", &self.url, "--tracker", &self.tracker, "--ca", "cert.pem", "--no-player", "--json"];
        start(&site.client, name, self.dir.path(), &[&args[..], more].concat())
    }
}

/// Share of the stream that came from other viewers.
fn shared(watcher: &mut Process) -> f64 {
    let summary = watcher.event("summary", Duration::from_secs(60));
    let bytes = |name: &str| summary[name].as_f64().expect("a number");
    bytes("p2p_bytes") / (bytes("p2p_bytes") + bytes("origin_bytes")).max(1.0)
}

#[test]
fn viewers_who_cannot_reach_each_other_share_a_stream_if_a_router_lets_one_of_them_in() {
    let _alone = alone();
    if !available() || !gateway::available() {
        return;
    }
    let internet = Internet::new();
    let room = Room::new(&internet);
    let first_site = internet.routable_site("first", Nat::SymmetricRandom);
    let second_site = internet.site("second", Nat::SymmetricRandom);
    let _daemon = Gateway::start(&first_site, Speaks::Pcp, room.dir.path());
    let seconds = ["--seconds", "12"];

    let mut first = room.watch(&first_site, "first without", &["--no-port-mapping"]);
    first.event("first-picture", START);
    assert!(open_ports(&first_site.routers[0]).is_empty(), "it was told not to");
    let mut second = room.watch(&second_site, "second without", &seconds);
    let without = shared(&mut second);
    interrupt(&first);
    first.wait(Duration::from_secs(10));

    let mut first = room.watch(&first_site, "first with", &[]);
    let told = first.event("port-mapping", ASKING);
    assert_eq!(told["state"], "mapped", "{told}");
    first.event("first-picture", START);
    let mut second = room.watch(&second_site, "second with", &seconds);
    let with = shared(&mut second);
    println!("share of the stream that came from the other viewer: without {without:.2}, with {with:.2}");
    assert!(without == 0.0 && with > 0.5, "without {without}, with {with}");

    interrupt(&first);
    first.wait(Duration::from_secs(10));
    assert!(is_closed_again(&first_site), "a port is still open");
}

#[test]
fn a_server_behind_a_router_is_reached_if_it_may_ask() {
    let _alone = alone();
    if !available() || !gateway::available() {
        return;
    }
    let internet = Internet::new();
    let dir = TempDir::new("mapping-server");
    let site = internet.routable_site("server", Nat::PortRestricted);
    let _daemon = Gateway::start(&site, Speaks::Pcp, dir.path());
    let host = site.public.to_string();
    let args = ["server", "--listen", "0.0.0.0:20002", "--public-host", &host, "--open", "--json"];
    let mut silent = start(&site.client, "server that may not", dir.path(), &args);
    silent.event("listening", START);
    std::thread::sleep(Duration::from_secs(2));
    assert!(open_ports(&site.routers[0]).is_empty(), "nobody has allowed it");
    silent.stop();
    silent.wait(Duration::from_secs(5));

    let mut server = start(&site.client, "server", dir.path(), &[&args[..], &["--port-mapping"]].concat());
    let listening = server.event("listening", START);
    let mut mapped = [0; 2].map(|_| server.event("port-mapping", ASKING)["transport"].to_string());
    mapped.sort_unstable();
    assert_eq!(mapped, ["\"tcp\"", "\"udp\""]);
    assert_eq!(open_ports(&site.routers[0]), [20_002, 20_002], "for UDP and for TCP");
    let camera_site = internet.site("camera", Nat::Open);
    assert_eq!(run(dir.path(), &["keygen", "-o", "camera.key"], None).0, Some(0));
    let spec = listening["server"].as_str().expect("a server");
    let clip = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/clip.flv");
    let args = ["camera", "--key", "camera.key", "--server", spec, "--input", clip];
    let mut camera = start(&camera_site.client, "camera", dir.path(), &args);
    camera.error_line(START, "registered at");
    interrupt(&server);
    server.wait(Duration::from_secs(10));
    assert!(is_closed_again(&site), "a port is still open");
}

/// A router that answers each PCP question with what `answer` makes of it, many times over. Counts the questions.
struct Liar {
    questions: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Liar {
    fn start(site: &Site, answer: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> Self {
        let socket = site.routers[0].run(|| UdpSocket::bind("192.168.1.1:5351").expect("a socket"));
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
        let (questions, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, end) = (questions.clone(), over.clone());
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 1500];
            while !end.load(Ordering::Relaxed) {
                let Ok((len, from)) = socket.recv_from(&mut buffer) else { continue };
                count.fetch_add(1, Ordering::Relaxed);
                for datagram in answer(&buffer[..len]) {
                    socket.send_to(&datagram, from).expect("it can be sent");
                }
            }
        });
        Self { questions, over, thread: Some(thread) }
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the router has not failed");
        }
    }
}

/// A granted PCP answer to `question`.
fn granted(question: &[u8], ip: Ipv4Addr, lifetime: u32) -> Vec<u8> {
    let mut answer = vec![2, 0x81, 0, 0];
    answer.extend(lifetime.to_be_bytes());
    answer.extend([0; 16]);
    // Those of NAT-PMP are shorter.
    answer.extend(question.get(24..44).unwrap_or(&[0; 20]));
    answer.extend(ip.to_ipv6_mapped().octets());
    answer
}

#[test]
fn a_router_that_lies_or_babbles_does_no_harm() {
    let _alone = alone();
    if !available() {
        return;
    }
    let internet = Internet::new();
    let home = Home::new("mapping-liar", &internet);
    let site = internet.site("camera", Nat::PortRestricted);
    let viewer_site = internet.site("viewer", Nat::PortRestricted);

    // Behind another NAT: nobody outside could use that address. For a second only: it would have us ask again and again.
    let liar = Liar::start(&site, |question| vec![granted(question, Ipv4Addr::new(10, 1, 2, 3), 1)]);
    let mut camera = home.camera(&site.client, "behind");
    let told = mapping(&mut camera);
    assert_eq!(
        (told["state"].as_str(), told["protocol"].as_str()),
        (Some("behind-nat"), Some("pcp")),
        "{told}"
    );
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(liar.questions.load(Ordering::Relaxed), 1, "asked once, whatever it says of the time");
    let (path, _) = watch(view(&home, &viewer_site, &camera, &[]), true);
    assert_eq!(path.as_deref(), Some("direct"), "by hole punching, as ever");
    drop((liar, camera));

    // Somebody else's address: a few packets go there, the picture takes its way.
    let liar = Liar::start(&site, |question| vec![granted(question, Ipv4Addr::new(198, 51, 100, 200), 600)]);
    let mut camera = home.camera(&site.client, "elsewhere");
    assert_eq!(
        mapping(&mut camera)["external"].as_str().and_then(|a| a.split(':').next()),
        Some("198.51.100.200")
    );
    let (path, _) = watch(view(&home, &viewer_site, &camera, &[]), true);
    assert_eq!(path.as_deref(), Some("direct"));
    drop((liar, camera));

    // Noise, for another, and cut off.
    let noise = Mutex::new(0_u8);
    let liar = Liar::start(&site, move |question| {
        let mut n = noise.lock().expect("one thread");
        (0..200)
            .map(|len: usize| {
                *n = n.wrapping_add(37);
                let mut answer = granted(question, Ipv4Addr::new(203, 0, 113, 1), 600);
                answer.truncate(len % 59);
                answer.resize(len, *n);
                if let Some(byte) = answer.get_mut(24 + len % 20) {
                    *byte ^= 0xff;
                }
                answer
            })
            .collect()
    });
    let mut camera = home.camera(&site.client, "noise");
    let told = mapping(&mut camera);
    assert_eq!(told["state"], "unavailable", "{told}");
    let (path, _) = watch(view(&home, &viewer_site, &camera, &[]), true);
    assert_eq!(path.as_deref(), Some("direct"));
    drop(liar);
}

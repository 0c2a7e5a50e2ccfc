//! The relay over TCP with the real programs: the UDP port at which camera and viewer look for the server belongs to a wall of
//! ours, which lets nothing through until it is opened.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use xp2p_tests::processes::{Process, TempDir, get, run};

const CLIP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/clip.flv");
const START: Duration = Duration::from_secs(20);

/// A UDP port that stands for the server's, and passes on what comes only while it is open.
struct Wall {
    addr: SocketAddr,
    open: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
}

impl Wall {
    fn new(server: SocketAddr) -> Self {
        let front = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        front.set_read_timeout(Some(Duration::from_millis(1))).expect("a timeout");
        let addr = front.local_addr().expect("an address");
        let (open, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (is_open, is_over) = (open.clone(), over.clone());
        std::thread::spawn(move || {
            // One socket towards the server per client, as in a NAT.
            let mut clients: BTreeMap<SocketAddr, UdpSocket> = BTreeMap::new();
            let mut buffer = [0; 65_536];
            while !is_over.load(Ordering::Relaxed) {
                if let Ok((len, client)) = front.recv_from(&mut buffer)
                    && is_open.load(Ordering::Relaxed)
                {
                    let socket = clients.entry(client).or_insert_with(|| {
                        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
                        socket.connect(server).expect("the server's address");
                        socket.set_nonblocking(true).expect("a socket that does not wait");
                        socket
                    });
                    // Lost like any datagram if it cannot be sent.
                    let _ = socket.send(&buffer[..len]);
                }
                for (client, socket) in &clients {
                    while let Ok(len) = socket.recv(&mut buffer) {
                        let _ = front.send_to(&buffer[..len], client);
                    }
                }
            }
        });
        Self { addr, open, over }
    }
}

impl Drop for Wall {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// A number of the server's metrics.
fn metric(url: &str, name: &str) -> u64 {
    let page = get(&format!("{url}/metrics"));
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}")).parse().expect("a number")
}

struct Home {
    dir: TempDir,
    _server: Process,
    /// Of its metrics.
    url: String,
    /// Where it takes TCP.
    tcp: SocketAddr,
    wall: Wall,
    _camera: Process,
}

/// Server and camera, with nothing but TCP between them.
fn home(name: &str, program: &std::path::Path) -> Home {
    let dir = TempDir::new(name);
    let path = dir.path();
    assert_eq!(run(path, &["keygen", "-o", "camera.key"], None).0, Some(0));
    let free = || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        (listener.local_addr().expect("an address"), listener)
    };
    // Both are held until both are known, or they could be the same.
    let ((http, one), (tcp, two)) = (free(), free());
    drop((one, two));
    let (http_text, tcp_text) = (http.to_string(), tcp.to_string());
    let args = ["server", "--listen", "127.0.0.1:0", "--relay-tcp", &tcp_text, "--http", &http_text];
    let mut server = Process::start_program(program, "server", path, &args, std::process::Stdio::null());
    let spec = server.line(START);
    let (addr, key) = spec.split_once('#').expect("a key");
    let (udp, told) = addr.split_once('/').expect("a TCP port of its own");
    assert_eq!(told, tcp.port().to_string());
    let wall = Wall::new(udp.parse().expect("an address"));
    let behind = format!("{}/{told}#{key}", wall.addr);
    let args =
        ["camera", "--key", "camera.key", "--server", &behind, "--input", CLIP, "--bind", "127.0.0.1:0"];
    let started = Instant::now();
    let mut camera = Process::start_program(program, "camera", path, &args, std::process::Stdio::null());
    let info = camera.line(START);
    println!("the camera has registered over TCP within {} ms", started.elapsed().as_millis());
    std::fs::write(path.join("door.info"), &info).expect("a file");
    // The camera prints its xp2pInfo as soon as it knows the server's key, which may be before it has registered.
    let url = format!("http://{http}");
    let until = Instant::now() + START;
    while metric(&url, "xp2p_cameras") == 0 {
        assert!(Instant::now() < until, "the camera does not register over TCP");
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("the camera is registered over TCP after {} ms", started.elapsed().as_millis());
    Home { dir, _server: server, url, tcp, wall, _camera: camera }
}

/// From the start of a viewer to its first bytes of video, over TCP; then UDP returns, and TCP is left.
fn shows_over_tcp_and_returns(name: &str, program: &std::path::Path) {
    let home = home(name, program);
    assert_eq!(metric(&home.url, "xp2p_tcp_relay_connections"), 1);
    let started = Instant::now();
    let args = ["view", "@door.info", "--json", "--seconds", "25", "--out", "door.flv"];
    let mut view =
        Process::start_program(program, "view", home.dir.path(), &args, std::process::Stdio::null());
    let path: Value = view.event("path", START);
    let told = started.elapsed();
    assert_eq!(path["link"], "relay-tcp", "{path}");
    let file = home.dir.path().join("door.flv");
    // More than the header of FLV: a keyframe.
    while std::fs::metadata(&file).map_or(0, |m| m.len()) < 2_000 {
        assert!(started.elapsed() < START, "no video over TCP");
        std::thread::sleep(Duration::from_millis(5));
    }
    println!(
        "{name}: path relay-tcp after {} ms, first picture after {} ms",
        told.as_millis(),
        started.elapsed().as_millis()
    );
    // Four seconds are the goal; a busy machine gets more, but not so much that a second attempt would do.
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    assert_eq!(metric(&home.url, "xp2p_tcp_relay_connections"), 2);
    assert!(metric(&home.url, "xp2p_tcp_relay_received_bytes_total") > 10_000);
    assert!(metric(&home.url, "xp2p_tcp_relay_sent_bytes_total") > 10_000);

    home.wall.open.store(true, Ordering::Relaxed);
    let returned = Instant::now();
    while metric(&home.url, "xp2p_tcp_relay_connections") > 0 {
        assert!(returned.elapsed() < Duration::from_secs(20), "still on TCP");
        std::thread::sleep(Duration::from_millis(50));
    }
    println!(
        "{name}: the last TCP connection is closed {} ms after UDP returned",
        returned.elapsed().as_millis()
    );
    assert_eq!(metric(&home.url, "xp2p_cameras"), 1, "the camera stayed registered");
    let lines = view.rest(Duration::from_secs(60));
    assert_eq!(view.wait(START).code(), Some(0));
    assert!(!lines.iter().any(|l| l.contains("reconnecting") || l.contains("disconnect")), "{lines:?}");
}

#[test]
fn a_camera_without_udp_is_watched_over_tcp_and_udp_is_used_again() {
    shows_over_tcp_and_returns("relay-tcp", xp2p_tests::processes::program());
}

#[test]
fn the_same_on_tokio() {
    shows_over_tcp_and_returns("relay-tcp-tokio", &xp2p_tests::processes::program_on_tokio());
}

#[test]
fn strangers_at_the_tcp_port_are_thrown_out() {
    let home = home("relay-tcp-strangers", xp2p_tests::processes::program());
    // Silent ones, half-open handshakes and those that speak something else.
    let mut silent: Vec<TcpStream> =
        (0..20).map(|_| TcpStream::connect(home.tcp).expect("somebody listens")).collect();
    for tcp in silent.iter_mut().take(10) {
        tcp.write_all(&[22, 3, 1, 2, 0, 1]).expect("bytes go out");
    }
    let mut other = TcpStream::connect(home.tcp).expect("somebody listens");
    other.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").expect("bytes go out");
    other.set_read_timeout(Some(START)).expect("a timeout");
    let mut answer = Vec::new();
    // A reset is an answer, too.
    let _ = other.read_to_end(&mut answer);
    assert!(answer.len() < 64, "{answer:?}");
    let started = Instant::now();
    for tcp in &mut silent {
        tcp.set_read_timeout(Some(START)).expect("a timeout");
        let _ = tcp.read_to_end(&mut answer);
    }
    println!("20 half-open handshakes are closed after {} ms", started.elapsed().as_millis());
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    assert_eq!(metric(&home.url, "xp2p_tcp_relay_connections"), 1, "the camera's");
    assert_eq!(metric(&home.url, "xp2p_tcp_relay_broken_total"), 21);
}

//! A witness goes only where its operator lets it.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use xp2p_smol::driver::origin::client::{AddressPolicy, OriginClient, OriginConfig, OriginError};
use xp2p_smol::driver::runtime::{Runtime, Task};
use xp2p_smol::{Smol, SmolListener, SmolTimer, SmolUdp};

use crate::support::{all, run, sample, serve_bytes};

/// smol with a DNS of our own, in which each name has the same addresses.
#[derive(Debug, Clone)]
struct FakeDns {
    addrs: Vec<SocketAddr>,
    lookups: Arc<AtomicUsize>,
    connects: Arc<AtomicUsize>,
}

impl FakeDns {
    fn new(addrs: &[SocketAddr]) -> Self {
        Self { addrs: addrs.to_vec(), lookups: Arc::default(), connects: Arc::default() }
    }

    fn client(&self, allow: &[&str]) -> OriginClient<Self> {
        let allow = allow.iter().map(|p| p.parse().expect("a pattern")).collect();
        let policy = AddressPolicy::Public { allow };
        OriginClient::new(self, OriginConfig { policy, ..OriginConfig::default() })
    }
}

impl Runtime for FakeDns {
    type Udp = SmolUdp;
    type Timer = SmolTimer;
    type Tcp = <Smol as Runtime>::Tcp;
    type Listener = SmolListener;

    fn spawn(&self, task: Task) {
        Smol.spawn(task);
    }

    fn timer(&self) -> SmolTimer {
        Smol.timer()
    }

    fn udp(&self, socket: std::net::UdpSocket) -> io::Result<SmolUdp> {
        Smol.udp(socket)
    }

    fn listen(&self, addr: SocketAddr) -> io::Result<SmolListener> {
        Smol.listen(addr)
    }

    fn connect(&self, addr: SocketAddr) -> impl Future<Output = io::Result<Self::Tcp>> + Send {
        self.connects.fetch_add(1, Ordering::Relaxed);
        async move { Smol.connect(addr).await }
    }

    async fn resolve(&self, _host: String, _port: u16) -> io::Result<Vec<SocketAddr>> {
        self.lookups.fetch_add(1, Ordering::Relaxed);
        Ok(self.addrs.clone())
    }

    async fn unblock<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        Smol.unblock(work).await
    }
}

fn is_forbidden(result: Result<impl Sized, OriginError>) -> bool {
    matches!(result, Err(OriginError::Forbidden { .. }))
}

#[test]
fn private_addresses_are_not_even_knocked_at() {
    let (_, file) = sample();
    let secret = serve_bytes([b"HTTP/1.1 200 OK\r\n\r\n", &file[..]].concat());
    let dns = FakeDns::new(&[secret, "10.0.0.1:80".parse().unwrap(), "[fd00::1]:80".parse().unwrap()]);
    let client = dns.client(&["cam.example", "10.0.0.1", "169.254.169.254", "[::ffff:127.0.0.1]"]);
    let port = secret.port();
    for url in [
        format!("http://cam.example:{port}/"),
        format!("http://127.0.0.1:{port}/"),
        format!("http://2130706433:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        format!("http://localhost:{port}/"),
        "http://10.0.0.1/".to_owned(),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "http://other.example/".to_owned(),
    ] {
        assert!(is_forbidden(run(client.open(&url))), "{url}");
    }
    assert_eq!(dns.connects.load(Ordering::Relaxed), 0);
    assert_eq!(dns.lookups.load(Ordering::Relaxed), 1, "only hosts that a pattern allows are looked up");
}

#[test]
fn loopback_is_for_those_that_are_listed_and_redirects_are_checked_too() {
    let (tags, file) = sample();
    let good = serve_bytes([b"HTTP/1.1 200 OK\r\n\r\n", &file[..]].concat());
    let dns = FakeDns::new(&[good]);
    let redirect = |to: String| serve_bytes(format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\n\r\n"));
    let listed = dns.client(&["127.0.0.1", "cam.example"]);
    run(async {
        let near = redirect(format!("http://127.0.0.1:{}/", good.port()));
        let mut stream = listed.open(&format!("http://{near}/")).await.expect("both are listed");
        assert_eq!(all(&mut stream).await, tags);
        for to in
            ["http://10.0.0.1/", "http://[::1]/", "http://cam.example/", "http://0/", "//169.254.169.254/x"]
        {
            let from = redirect(to.to_owned());
            assert!(is_forbidden(listed.open(&format!("http://{from}/")).await), "{to}");
        }
    });
}

#[test]
fn what_was_checked_is_what_is_connected_to() {
    let (tags, file) = sample();
    let good = serve_bytes([b"HTTP/1.1 200 OK\r\n\r\n", &file[..]].concat());
    let dns = FakeDns::new(&["10.0.0.1:1".parse().unwrap(), good]);
    let client = dns.client(&["localhost"]);
    run(async {
        let mut stream = client.open("http://localhost:81/").await.expect("one address is left");
        assert_eq!(all(&mut stream).await, tags);
    });
    assert_eq!(dns.lookups.load(Ordering::Relaxed), 1);
    assert_eq!(dns.connects.load(Ordering::Relaxed), 1);
}

#[test]
fn an_address_that_leads_nowhere_does_not_hide_the_others() {
    let (tags, file) = sample();
    let good = serve_bytes([b"HTTP/1.1 200 OK\r\n\r\n", &file[..]].concat());
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).unwrap();
    // Documentation addresses: packets to them get lost, or are refused.
    let dns = FakeDns::new(&[free, "192.0.2.1:80".parse().unwrap(), good]);
    let client = OriginClient::new(&dns, OriginConfig::default());
    run(async {
        let mut stream = client.open("http://cam.example/").await.expect("the last one works");
        assert_eq!(all(&mut stream).await, tags);
    });
}

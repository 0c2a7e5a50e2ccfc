//! A download goes on when the viewer's address changes under it, on real sockets.
//!
//! The viewer reaches the server through a forwarder, as through a NAT, and the camera through the server only: it has
//! nothing but IPv4 and the camera nothing but IPv6. Halfway the forwarder takes another port.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_lite::future::{block_on, or};
use xp2p_proto::request::Download;
use xp2p_smol::Smol;
use xp2p_smol::driver::camera::CameraApp;
use xp2p_smol::driver::records::{FileInfo, FileKind, FileReader, RecordReader, RecordsDir, Span, Storage};
use xp2p_smol::driver::runtime::sleep;
use xp2p_smol::driver::viewer::ServiceEvent;
use xp2p_tests::local::{Home, viewer};
use xp2p_tests::processes::TempDir;

const NAME: &str = "2023-11-15T00-00-00Z.flv";
const SIZE: usize = 200_000_000;

/// Files from a card that gives 25 MB/s. Faster, a busy machine would lose most datagrams in the forwarder's small socket
/// buffers, which is another test than this one.
#[derive(Debug, Clone)]
struct Card(Arc<RecordsDir>);

const RATE: u64 = 25_000_000;

struct CardReader(Box<dyn FileReader>);

impl CameraApp for Card {
    fn storage(&self) -> Option<Arc<dyn Storage>> {
        Some(Arc::new(self.clone()))
    }
}

impl Storage for Card {
    fn spans(&self, channel: u32, from: u64, to: u64) -> io::Result<Vec<Span>> {
        self.0.spans(channel, from, to)
    }

    fn files(&self, channel: u32, from: u64, to: u64, kind: FileKind) -> io::Result<Vec<FileInfo>> {
        self.0.files(channel, from, to, kind)
    }

    fn open_playback(
        &self,
        channel: u32,
        from: u64,
        to: u64,
        kind: Option<i64>,
    ) -> io::Result<Option<Box<dyn RecordReader>>> {
        self.0.open_playback(channel, from, to, kind)
    }

    fn open_file(&self, channel: u32, name: &str) -> io::Result<Option<Box<dyn FileReader>>> {
        let file = self.0.open_file(channel, name)?;
        Ok(file.map(|file| Box::new(CardReader(file)) as Box<dyn FileReader>))
    }
}

impl FileReader for CardReader {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn version(&self) -> String {
        self.0.version()
    }

    fn read_at(&mut self, offset: u64, len: usize) -> io::Result<bytes::Bytes> {
        std::thread::sleep(Duration::from_micros(len as u64 * 1_000_000 / RATE));
        self.0.read_at(offset, len)
    }
}

/// Passes datagrams between one viewer and a server.
struct Forwarder {
    inside: SocketAddr,
    change: Arc<AtomicBool>,
    /// Datagrams that came back to the second port.
    after: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Forwarder {
    fn new(server: SocketAddr) -> Self {
        let bind = || {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            // Looks at its flags now and then.
            socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
            socket
        };
        let inside = bind();
        let outside = [bind(), bind()].map(Arc::new);
        let addr = inside.local_addr().expect("an address");
        let (change, after, stop) =
            (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default(), Arc::default());
        let viewer = Arc::new(std::sync::OnceLock::<SocketAddr>::new());
        let inside = Arc::new(inside);
        for (number, socket) in outside.iter().cloned().enumerate() {
            let (inside, viewer, change, after, stop) =
                (inside.clone(), viewer.clone(), change.clone(), after.clone(), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut buf = [0; 65_536];
                while !AtomicBool::load(&stop, Ordering::Relaxed) {
                    let Ok((len, _)) = socket.recv_from(&mut buf) else { continue };
                    // The old port is closed: what still comes to it is lost.
                    if number == usize::from(change.load(Ordering::Relaxed))
                        && let Some(viewer) = viewer.get()
                    {
                        after.fetch_add(number as u64, Ordering::Relaxed);
                        // Lost when the viewer is slow, as on any network.
                        let _ = inside.send_to(&buf[..len], viewer);
                    }
                }
            });
        }
        let (changed, stopped) = (change.clone(), stop.clone());
        std::thread::spawn(move || {
            let mut buf = [0; 65_536];
            while !AtomicBool::load(&stopped, Ordering::Relaxed) {
                let Ok((len, from)) = inside.recv_from(&mut buf) else { continue };
                viewer.get_or_init(|| from);
                let port = usize::from(changed.load(Ordering::Relaxed));
                let _ = outside[port].send_to(&buf[..len], server);
            }
        });
        Self { inside: addr, change, after, stop }
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_download_goes_on_at_another_address() {
    if let Err(e) = UdpSocket::bind("[::1]:0") {
        println!("this machine has no IPv6, which keeps the two apart: {e}");
        return;
    }
    let dir = TempDir::new("address");
    let mut content = vec![0; SIZE];
    blake3::Hasher::new().update(b"a large file").finalize_xof().fill(&mut content);
    std::fs::create_dir(dir.path().join("records")).expect("a directory");
    std::fs::write(dir.path().join("records").join(NAME), &content).expect("a file");
    let storage = Arc::new(RecordsDir::open(&dir.path().join("records")).expect("a directory"));
    block_on(async {
        let any: SocketAddr = "[::]:0".parse().expect("an address");
        let home = Home::new(any);
        let port = home.server.local_addr().port();
        let forwarder = Forwarder::new(SocketAddr::from(([127, 0, 0, 1], port)));
        let six = |port: u16| SocketAddr::new("::1".parse().expect("an address"), port);
        let app = Arc::new(Card(storage));
        let (camera, info) = home.camera(six(0), six(port), forwarder.inside, app).await;
        let viewer = viewer(SocketAddr::from(([127, 0, 0, 1], 0)));
        let service = viewer.connect(info).await.expect("a service");
        let request = Download { channel: 0, file_name: NAME.to_owned(), offset: 0 };
        let path = dir.path().join("copy.flv");
        let mut changed = None;
        let fetched = viewer.download_to(service.id, request, &path, false, |progress| {
            if changed.is_none() && progress.stored > SIZE as u64 / 2 {
                changed = Some((Instant::now(), progress.stored));
                forwarder.change.store(true, Ordering::Relaxed);
            }
        });
        let late = async {
            sleep(&Smol, Duration::from_secs(180)).await;
            panic!("the download stands still");
        };
        let fetched = or(fetched, late).await.expect("the file");
        let (at, stored) = changed.expect("the address has changed");
        println!("{SIZE} bytes, a new address after {stored}, the rest in {:?}", at.elapsed());
        assert_eq!(fetched.digest, *blake3::hash(&content).as_bytes());
        assert!(std::fs::read(&path).expect("the file") == content);
        // The second half came to the new address, over the relay, on the connection of the first.
        let datagrams = forwarder.after.load(Ordering::Relaxed);
        assert!(datagrams > (SIZE as u64 - stored) / 1500, "{datagrams}");
        let totals =
            viewer.machine().call(move |viewer, _| viewer.totals(service.id)).await.expect("running");
        assert!(totals.direct_rx == 0 && totals.relay_rx > SIZE as u64, "{totals:?}");
        let events: Vec<ServiceEvent> = std::iter::from_fn(|| service.events.try_recv().ok()).collect();
        let lost = events.iter().any(|e| matches!(e, ServiceEvent::Reconnecting(_)));
        assert!(!lost, "{events:?}");
        viewer.shutdown().await;
        camera.shutdown().await;
        home.server.shutdown().await;
    });
}

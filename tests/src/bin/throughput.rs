//! How fast a file comes over loopback: `cargo run --release -p xp2p-tests --bin throughput -- --mib 1024`.
//!
//! The same bytes three times in one process: as a download on smol, as one on tokio, and as a bare stream of the QUIC
//! library without anything of ours, on tokio. Both ends share the processor. Nothing is written to a disk. Each is done
//! `--runs` times in turn. The median of each counts, and the median of the ratios within a run: what else runs on the host
//! slows down all of a run. The processor time, which others change less, is that of all threads, so that work which is done on
//! another core counts as well.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use xp2p_proto::camera::{CameraConfig, CameraEvent, CameraServer};
use xp2p_proto::info::Rights;
use xp2p_proto::keys::SecretKey;
use xp2p_proto::link::{Entropy, PathKind};
use xp2p_proto::request::Download;
use xp2p_proto::server::ServerConfig;
use xp2p_proto::viewer::{Resume, ServiceId, ViewerConfig};
use xp2p_smol::Smol;
use xp2p_smol::driver::camera::{CameraApp, CameraHandle};
use xp2p_smol::driver::records::{FileInfo, FileKind, FileReader, RecordReader, Span, Storage};
use xp2p_smol::driver::runtime::Runtime;
use xp2p_smol::driver::server::ServerHandle;
use xp2p_smol::driver::socket::BoundSocket;
use xp2p_smol::driver::viewer::{DownloadEvent, ServiceEvent, ViewerHandle};
use xp2p_tokio::Tokio;

/// What the file is made of, over and over.
const BLOCK: usize = 4 << 20;

/// The name of a file of one byte.
const SMALL: &str = "small";

fn block() -> Bytes {
    let mut bytes = vec![0; 2 * BLOCK];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes[..BLOCK]);
    bytes.copy_within(..BLOCK, BLOCK);
    bytes.into()
}

#[derive(Debug, Clone)]
struct File {
    block: Bytes,
    size: u64,
}

impl FileReader for File {
    fn size(&self) -> u64 {
        self.size
    }

    fn version(&self) -> String {
        "v1".to_owned()
    }

    fn read_at(&mut self, offset: u64, len: usize) -> io::Result<Bytes> {
        let len = len.min(BLOCK).min(usize::try_from(self.size - offset).unwrap_or(BLOCK));
        // Less than a block, which is there twice.
        let from = (offset % BLOCK as u64) as usize;
        Ok(self.block.slice(from..from + len))
    }
}

impl Storage for File {
    fn spans(&self, _channel: u32, _from: u64, _to: u64) -> io::Result<Vec<Span>> {
        Ok(Vec::new())
    }

    fn files(&self, _channel: u32, _from: u64, _to: u64, _kind: FileKind) -> io::Result<Vec<FileInfo>> {
        Ok(Vec::new())
    }

    fn open_playback(
        &self,
        _channel: u32,
        _from: u64,
        _to: u64,
        _kind: Option<i64>,
    ) -> io::Result<Option<Box<dyn RecordReader>>> {
        Ok(None)
    }

    fn open_file(&self, _channel: u32, name: &str) -> io::Result<Option<Box<dyn FileReader>>> {
        let size = if name == SMALL { 1 } else { self.size };
        Ok(Some(Box::new(Self { size, ..self.clone() })))
    }
}

struct App(Arc<File>);

impl CameraApp for App {
    fn storage(&self) -> Option<Arc<dyn Storage>> {
        Some(self.0.clone())
    }
}

fn identity<R: Runtime>(runtime: &R) -> (SecretKey, Entropy) {
    let secret = SecretKey::from_bytes(runtime.random().expect("randomness"));
    (secret, Entropy::from_os(runtime.random().expect("randomness")))
}

fn anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A download, from the request to the last byte and its digest.
async fn ours<R: Runtime>(runtime: &R, file: &File) -> Duration {
    let (secret, entropy) = identity(runtime);
    let key = Some(secret.public());
    let config = ServerConfig::new(secret, entropy, anywhere());
    let (server, _) = ServerHandle::spawn(runtime, anywhere(), None, config).expect("a server");
    let at = server.local_addr();
    let (secret, entropy) = identity(runtime);
    let known =
        CameraServer { key, addrs: vec![at], advertised: vec![at.into()], tcp_port: None, app_key: None };
    let config = CameraConfig::new(secret, entropy, vec![known]);
    let app = Arc::new(App(Arc::new(file.clone())));
    let (camera, events) = CameraHandle::spawn_with(runtime, anywhere(), config, app).expect("a camera");
    while !matches!(events.recv().await.expect("an event"), CameraEvent::Registered { .. }) {}
    let info = camera.xp2p_info(Rights::ALL, None).await.expect("running").expect("a known key");
    let (secret, entropy) = identity(runtime);
    let viewer =
        ViewerHandle::spawn(runtime, anywhere(), ViewerConfig::new(secret, entropy)).expect("a viewer");
    let service = viewer.connect(info).await.expect("a service");
    // The relay is not what is measured, and a camera looks for a direct path to those whom it has accepted once.
    receive(&viewer, service.id, SMALL, 1).await;
    while service.events.recv().await.expect("an event") != ServiceEvent::Path(PathKind::Direct) {}
    let begun = Instant::now();
    receive(&viewer, service.id, "file", file.size).await;
    let took = begun.elapsed();
    viewer.shutdown().await;
    camera.shutdown().await;
    server.shutdown().await;
    took
}

/// Downloads the file `name` of `length` bytes.
async fn receive<R: Runtime>(viewer: &ViewerHandle<R>, service: ServiceId, name: &str, length: u64) {
    let wanted = Download { channel: 0, file_name: name.to_owned(), offset: 0 };
    let download = viewer.download(service, wanted, Resume::default()).await.expect("a download");
    let mut came = 0;
    loop {
        match download.next().await.expect("not over") {
            DownloadEvent::Data { data, .. } => {
                came += data.len() as u64;
                download.release(data.len()).await;
            }
            DownloadEvent::Done { size, .. } => {
                assert_eq!((came, size), (length, length));
                return;
            }
            DownloadEvent::Failed { reason, .. } => panic!("{reason}"),
            _ => {}
        }
    }
}

/// A socket as the drivers have it, for the bare library.
fn endpoint(server: Option<noq::ServerConfig>) -> noq::Endpoint {
    let (local, outside) = (BoundSocket::bind(anywhere()).expect("a socket"), UdpSocket::bind(anywhere()));
    let (receive, send) = local.buffers().expect("sizes");
    let socket = outside.expect("a socket");
    // Linux counts twice what it was asked for.
    let clone = BoundSocket::from_std(socket.try_clone().expect("the same")).expect("a good one");
    clone.with_buffers(receive / 2, send / 2).expect("as large as the others");
    let runtime = Arc::new(noq::TokioRuntime);
    noq::Endpoint::new(noq::EndpointConfig::default(), server, socket, runtime).expect("an endpoint")
}

/// The same bytes on one stream of a connection with the defaults of the library.
async fn bare(file: &File) -> Duration {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let cert = made.cert.der().clone();
    let config = noq::ServerConfig::with_single_cert(vec![cert.clone()], key.into()).expect("TLS");
    let server = endpoint(Some(config));
    let at = server.local_addr().expect("bound");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(cert).expect("a certificate");
    let config = noq::ClientConfig::with_root_certificates(Arc::new(roots)).expect("TLS");
    let client = endpoint(None);
    let mut source = file.clone();
    let serving = tokio::spawn(async move {
        let connection = server.accept().await.expect("one").await.expect("a connection");
        let (mut send, mut receive) = connection.accept_bi().await.expect("a stream");
        receive.read_to_end(100).await.expect("a request");
        let mut at = 0;
        while at < source.size {
            let data = source.read_at(at, 256 * 1024).expect("in memory");
            at += data.len() as u64;
            send.write_chunk(data).await.expect("sent");
        }
        send.finish().expect("open");
        connection.closed().await;
        server.wait_idle().await;
    });
    let connection =
        client.connect_with(config, at, "localhost").expect("a start").await.expect("a connection");
    let begun = Instant::now();
    let (mut send, mut receive) = connection.open_bi().await.expect("a stream");
    send.write_all(b"the file").await.expect("sent");
    send.finish().expect("open");
    let mut came = 0;
    while let Some(chunk) = receive.read_chunk(usize::MAX).await.expect("read") {
        came += chunk.len() as u64;
    }
    let took = begun.elapsed();
    assert_eq!(came, file.size);
    connection.close(0_u32.into(), b"");
    client.wait_idle().await;
    serving.await.expect("no panic");
    took
}

fn argument(name: &str, default: u64) -> u64 {
    let args: Vec<String> = std::env::args().collect();
    args.windows(2).find(|w| w[0] == name).map_or(default, |w| w[1].parse().expect("a number"))
}

/// Seconds that all threads have run so far; 0 where the system does not tell.
fn processor_time() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name, which may hold anything: fields 14 and 15 of all are times in hundredths of a second (proc(5)).
    let times = text.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    times.filter_map(|time| time.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_unstable_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or_default()
}

fn main() {
    // Two providers of cryptography may be linked in; this is the one that everything of ours uses.
    rustls::crypto::ring::default_provider().install_default().expect("the first");
    let file = File { block: block(), size: argument("--mib", 1024) << 20 };
    // 0: everything on the thread of the program, as smol has everything on one by default.
    let runtime = match usize::try_from(argument("--workers", 0)).expect("a small number") {
        0 => tokio::runtime::Builder::new_current_thread().enable_all().build(),
        n => tokio::runtime::Builder::new_multi_thread().worker_threads(n).enable_all().build(),
    };
    let runtime = runtime.expect("a runtime");
    let tokio = Tokio::new(runtime.handle().clone());
    let (gigabytes, runs) = (file.size as f64 / 1e9, argument("--runs", 5));
    let mut all: [Vec<f64>; 3] = std::array::from_fn(|_| Vec::new());
    let mut busy = all.clone();
    for run in 1..=runs {
        for (kind, (rates, times)) in all.iter_mut().zip(&mut busy).enumerate() {
            let before = processor_time();
            let took = match kind {
                0 => runtime.block_on(bare(&file)),
                1 => futures_lite::future::block_on(ours(&Smol, &file)),
                _ => runtime.block_on(ours(&tokio, &file)),
            };
            rates.push(gigabytes * 1e3 / took.as_secs_f64());
            times.push((processor_time() - before) / gigabytes);
        }
        let [bare, smol, tokio] = std::array::from_fn(|kind| all[kind].last().copied().unwrap_or_default());
        println!("run {run}: bare {bare:.0} MB/s, smol {smol:.0} MB/s, tokio {tokio:.0} MB/s");
    }
    let ratio = |of: usize, to: usize| median(all[of].iter().zip(&all[to]).map(|(a, b)| a / b).collect());
    let figures = |kind: usize| {
        let (rate, time) = (median(all[kind].clone()), median(busy[kind].clone()));
        format!("{rate:.0} MB/s, {time:.2} s of processor time per GB")
    };
    println!("bare stream  {}", figures(0));
    println!("smol         {}, {:.2} of the bare stream", figures(1), ratio(1, 0));
    println!(
        "tokio        {}, {:.2} of the bare stream, {:.2} of smol",
        figures(2),
        ratio(2, 0),
        ratio(2, 1)
    );
}

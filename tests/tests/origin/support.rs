//! What these tests share.

use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use xp2p_smol::Smol;
use xp2p_smol::driver::origin::client::{OriginClient, OriginConfig, OriginError, OriginStream};
use xp2p_smol::driver::runtime::Runtime;
use xp2p_smol::proto::flv::{FileHeader, Muxer, Tag};
use xp2p_tests::media::{Media, MediaConfig};

/// Any port of this machine.
pub(crate) const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// Much longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a test, which may not hang.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    futures_lite::future::block_on(futures_lite::future::or(test, async {
        sleep(PATIENCE).await;
        panic!("the test hangs");
    }))
}

pub(crate) async fn sleep(time: Duration) {
    xp2p_smol::driver::runtime::sleep(&Smol, time).await;
}

/// Waits until something has come about.
pub(crate) async fn until(mut what: impl FnMut() -> bool) {
    while !what() {
        sleep(Duration::from_millis(5)).await;
    }
}

/// Waits that are short enough for tests of waiting.
pub(crate) fn impatient() -> OriginConfig {
    let short = Duration::from_millis(300);
    OriginConfig { head_timeout: short, stall_timeout: short, ..OriginConfig::default() }
}

pub(crate) async fn open(url: &str) -> Result<OriginStream<Smol>, OriginError> {
    OriginClient::new(&Smol, OriginConfig::default()).open(url).await
}

/// All tags up to the end, which must be a clean one.
pub(crate) async fn all<R: Runtime>(stream: &mut OriginStream<R>) -> Vec<Tag> {
    let mut tags = Vec::new();
    loop {
        match stream.next_tag().await {
            Ok(tag) => tags.push(tag),
            Err(OriginError::Ended { .. }) => return tags,
            Err(e) => panic!("after {} tags: {e}", tags.len()),
        }
    }
}

/// The first tags of a source.
pub(crate) fn tags(config: MediaConfig, until_ms: u32) -> Vec<Tag> {
    let mut media = Media::new(config);
    let mut tags = Vec::new();
    while media.next_time() < until_ms {
        tags.extend(media.next_tags());
    }
    tags
}

/// The tags as an FLV file.
pub(crate) fn flv(tags: &[Tag]) -> Vec<u8> {
    let mut muxer = Muxer::new();
    let mut file = muxer.header(FileHeader { has_audio: true, has_video: true }).to_vec();
    for tag in tags {
        muxer.tag(tag).iter().for_each(|part| file.extend_from_slice(part));
    }
    file
}

/// A small stream and its file.
pub(crate) fn sample() -> (Vec<Tag>, Vec<u8>) {
    let tags = tags(MediaConfig::default(), 400);
    let file = flv(&tags);
    (tags, file)
}

/// A server that answers each connection as a test wants. It runs as long as the process.
pub(crate) fn serve(
    answer: impl Fn(&str, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("it is bound");
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for tcp in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || {
                let mut tcp = tcp;
                let request = read_head(&mut tcp).unwrap_or_default();
                // The client may have had enough.
                let _ = answer(&request, &mut tcp);
            });
        }
    });
    addr
}

/// A server that always answers the same and closes the connection.
pub(crate) fn serve_bytes(answer: impl Into<Bytes>) -> SocketAddr {
    let answer = answer.into();
    serve(move |_, tcp| tcp.write_all(&answer))
}

/// Reads a head up to its empty line.
pub(crate) fn read_head(tcp: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && tcp.read(&mut byte)? == 1 {
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// Sends a request as it stands, and reads up to the end.
pub(crate) fn ask(addr: SocketAddr, request: &str) -> String {
    let mut tcp = TcpStream::connect(addr).expect("it listens");
    tcp.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    tcp.write_all(request.as_bytes()).expect("it takes the request");
    let mut answer = Vec::new();
    // A server that has not read all may reset the connection after its answer.
    let _ = tcp.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

//! A camera: shows an FLV file, over and over, as its live feed, and turns when it is told to.
//!
//! Start a server first (`xp2p server --listen 127.0.0.1:0 --open` prints HOST:PORT#KEY), then
//!
//! ```sh
//! cargo run -p xp2p-smol --example camera -- 'HOST:PORT#KEY' tests/fixtures/clip.flv
//! ```
//!
//! It prints its xp2pInfo once viewers can find it, and runs until it is killed.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use xp2p_smol::driver::camera::{Answer, CameraApp};
use xp2p_smol::driver::runtime::Runtime as _;
use xp2p_smol::driver::source::{Source, SourceEvent, SourceSpec};
use xp2p_smol::proto::camera::{CameraConfig, CameraEvent, CameraServer, ViewerId};
use xp2p_smol::proto::command::Ptz;
use xp2p_smol::proto::info::{Rights, ServerSpec};
use xp2p_smol::proto::keys::SecretKey;
use xp2p_smol::proto::link::Entropy;
use xp2p_smol::proto::request::{Command, Quality, Status};
use xp2p_smol::{CameraHandle, Smol};

/// The firmware: a motor that turns to the left and to the right.
#[derive(Default)]
struct Motor {
    degrees: AtomicI32,
}

impl CameraApp for Motor {
    fn command(&self, viewer: ViewerId, command: Command, answer: Answer) {
        eprintln!("viewer {viewer} says {}", command.cmd);
        let step = match Ptz::parse(&command.cmd) {
            Some(Ptz::Left) => -10,
            Some(Ptz::Right) => 10,
            Some(Ptz::Release) => 0,
            _ => return answer.refuse(Status::CommandUnsupported, "this camera turns left and right only"),
        };
        let degrees = self.degrees.fetch_add(step, Ordering::Relaxed) + step;
        answer.reply(format!(r#"{{"degrees":{degrees}}}"#));
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [server, file] = args.as_slice() else { return Err("usage: camera HOST:PORT#KEY FILE.flv".into()) };
    smol::block_on(run(server.parse()?, SourceSpec::File(file.into())))
}

async fn run(server: ServerSpec, pictures: SourceSpec) -> Result<(), Box<dyn Error>> {
    let ServerSpec { addr, key, tcp_port } = server;
    let addrs = addr.socket_addr().into_iter().collect();
    let server = CameraServer { key, addrs, advertised: vec![addr], tcp_port, app_key: None };
    // A real camera keeps its key: its xp2pInfo stays good only as long as the key is the same.
    let secret = SecretKey::from_bytes(Smol.random()?);
    let config = CameraConfig::new(secret, Entropy::from_os(Smol.random()?), vec![server]);
    let (camera, events) =
        CameraHandle::spawn_with(&Smol, "[::]:0".parse()?, config, Arc::new(Motor::default()))?;

    // The source has a thread of its own, and stops when it is dropped.
    let feed = camera.clone();
    let sink = move |event| {
        // A file gives nothing else.
        let SourceEvent::Tag(tag) = event else { return true };
        feed.push_blocking(0, Quality::High, tag, |e| eprintln!("a tag was left out: {e}")).is_ok()
    };
    let _source = Source::open(&pictures, Box::new(sink))?;

    while let Ok(event) = events.recv().await {
        match event {
            CameraEvent::Registered { .. } => {
                let info = camera.xp2p_info(Rights::ALL, None).await?.ok_or("the server's key is unknown")?;
                println!("{}", info.to_text());
            }
            other => eprintln!("{other:?}"),
        }
    }
    Ok(())
}

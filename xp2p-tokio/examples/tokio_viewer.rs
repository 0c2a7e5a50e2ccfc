//! A viewer on tokio: turns a camera, records its live pictures for a while, and prints what the camera answered.
//!
//! ```sh
//! cargo run -p xp2p-tokio --example tokio_viewer -- "$(cat door.info)" door.flv 10
//! ```
//!
//! `door.info` holds the xp2pInfo that the camera printed (`--example tokio_camera`, or `xp2p camera`). While it runs, the URL
//! that it prints shows the same pictures in ffplay, mpv or VLC.

use std::error::Error;
use std::io::Write as _;
use std::time::Duration;

use xp2p_tokio::driver::module::{AppParams, StreamInfo};
use xp2p_tokio::proto::command::{CommandOutcome, Ptz};
use xp2p_tokio::{P2pModule, Tokio};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [info, file, seconds] = args.as_slice() else {
        return Err("usage: viewer XP2PINFO FILE SECONDS".into());
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(info, std::fs::File::create(file)?, Duration::from_secs(seconds.parse()?)))
}

async fn run(info: &str, mut file: std::fs::File, time: Duration) -> Result<(), Box<dyn Error>> {
    let module = P2pModule::new(Tokio::current()?)?;
    module.init(AppParams::new("appid", "oauth", "key", "secret", "package")).await?;
    let url = "ipc.flv?action=live&channel=0&quality=high".to_owned();
    let stream = StreamInfo { url, xp2p_info: info.to_owned(), ..StreamInfo::default() };
    let camera = module.start_p2p_service("door", stream).await?;
    let (kind, hub, url) = camera.start_stream(None).await?;
    println!("{url}");
    let mut pictures = hub.subscribe();

    match camera.send(Ptz::Left.command(0), None).await? {
        CommandOutcome::Success { data } => println!("answer: {}", String::from_utf8_lossy(&data)),
        other => println!("no answer: {other:?}"),
    }

    // The recording ends with a whole tag when the stream does.
    let end = tokio::spawn(async move {
        tokio::time::sleep(time).await;
        camera.stop_stream(kind).await
    });
    let mut size = 0;
    while let Some(bytes) = pictures.next_bytes().await {
        file.write_all(&bytes)?;
        size += bytes.len();
    }
    end.await??;
    module.destroy().await;
    println!("recorded {size} bytes");
    if size > 0 { Ok(()) } else { Err("no picture came".into()) }
}

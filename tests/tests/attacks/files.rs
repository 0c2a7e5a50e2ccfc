//! Files that a viewer may have, and names that lead elsewhere; on real sockets and a real directory.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_lite::future::block_on;
use xp2p_proto::request::Download;
use xp2p_smol::driver::camera::CameraApp;
use xp2p_smol::driver::records::{RecordsDir, Storage};
use xp2p_tests::local::{self, Home};
use xp2p_tests::processes::TempDir;

const CLIP: &[u8] = include_bytes!("../../fixtures/clip.flv");
const RECORDED: &str = "2023-11-14T22-13-20Z.flv";

struct App(Arc<dyn Storage>);

impl CameraApp for App {
    fn storage(&self) -> Option<Arc<dyn Storage>> {
        Some(self.0.clone())
    }
}

#[test]
fn no_name_leads_out_of_the_directory_of_a_cameras_recordings() {
    let dir = TempDir::new("attacks-files");
    let (records, here) = (dir.path().join("records"), dir.path().join("here"));
    for made in [&records, &here] {
        std::fs::create_dir(made).expect("a directory");
    }
    std::fs::write(records.join(RECORDED), CLIP).expect("a recording");
    // What must not be had: beside the directory, and through a link in it.
    std::fs::write(dir.path().join("camera.key"), "secret").expect("a file");
    std::fs::write(dir.path().join("2023-11-14T22-13-21Z.flv"), CLIP).expect("a file");
    #[cfg(unix)]
    std::os::unix::fs::symlink(dir.path().join("camera.key"), records.join("2023-11-14T22-13-22Z.flv"))
        .expect("a link");
    let loopback: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let server = Home::new(loopback);
    let at = server.server.local_addr();
    let app = Arc::new(App(Arc::new(RecordsDir::open(&records).expect("a directory"))));
    let (camera, info) = block_on(server.camera(loopback, at, at, app));
    let viewer = local::viewer(loopback);
    let service = block_on(viewer.connect(info)).expect("a service");
    let absolute = dir.path().join("camera.key").display().to_string();
    let names = [
        "../camera.key",
        "..\\camera.key",
        "../2023-11-14T22-13-21Z.flv",
        "./../2023-11-14T22-13-21Z.flv",
        "2023-11-14T22-13-20Z.flv/../../camera.key",
        "....//camera.key",
        "%2e%2e/camera.key",
        "2023-11-14T22-13-20Z.flv\u{0}",
        "2023-11-14T22-13-22Z.flv",
        "ch0/../../camera.key",
        "/etc/passwd",
        absolute.as_str(),
        "..",
        ".",
        "",
    ];
    for (n, name) in names.into_iter().enumerate() {
        let request = Download { channel: 0, file_name: name.to_owned(), offset: 0 };
        let path = here.join(format!("{n}"));
        let result = block_on(viewer.download_to(service.id, request, &path, false, |_| ()));
        let refusal = result.err().unwrap_or_else(|| panic!("{name:?} came"));
        println!("{name:?}: {refusal}");
        assert!(!path.exists(), "{name:?} was written");
    }
    // The same viewer gets what it may have.
    let request = Download { channel: 0, file_name: RECORDED.to_owned(), offset: 0 };
    let path = here.join("whole.flv");
    let fetched =
        block_on(viewer.download_to(service.id, request, &path, false, |_| ())).expect("the recording");
    assert_eq!((fetched.size, std::fs::read(&path).expect("a file").as_slice()), (CLIP.len() as u64, CLIP));
    block_on(viewer.shutdown());
    block_on(camera.shutdown());
}

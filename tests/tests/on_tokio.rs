//! The program on tokio (`--features tokio`), beside the usual one.

use std::process::Stdio;
use std::time::Duration;

use xp2p_tests::processes::{Process, TempDir, program, program_on_tokio};

const START: Duration = Duration::from_secs(30);

/// Server and camera run on the one, the viewer on the other, and the other way round.
#[test]
fn programs_on_both_runtimes_watch_each_other() {
    let tokio = program_on_tokio();
    let threads = |process: &Process| {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", process.id())).expect("a running process");
        let name =
            |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        tasks.flatten().map(name).collect::<String>()
    };
    for (theirs, ours) in [(tokio.as_path(), program()), (program(), tokio.as_path())] {
        let dir = TempDir::new("on-tokio");
        let mut demo = Process::start_program(theirs, "demo", dir.path(), &["demo", "--json"], Stdio::null());
        let url = demo.event("url", START)["url"].as_str().expect("a URL").to_owned();
        assert!(url.ends_with("quality=high"), "{url}");
        assert_eq!(threads(&demo).contains("tokio"), theirs == tokio, "{}", threads(&demo));

        let mut server = start(theirs, "server", &dir, &["server", "--listen", "127.0.0.1:0", "--open"]);
        let spec = server.line(START);
        let clip = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/clip.flv");
        let key = ["keygen", "-o", "camera.key"];
        assert!(start(theirs, "keygen", &dir, &key).wait(START).success());
        let buffer = ["--socket-buffer", "256"];
        let camera =
            [&["camera", "--key", "camera.key", "--server", &spec, "--input", clip][..], &buffer].concat();
        let mut camera = start(theirs, "camera", &dir, &camera);
        let info = camera.line(START);
        let view = ["view", &info, "--seconds", "2", "--json", "--socket-buffer", "256", "--out", "seen.flv"];
        let mut view = start(ours, "view", &dir, &view);
        assert!(view.wait(START).success(), "{:?}", view.lines_so_far());
        assert!(std::fs::metadata(dir.path().join("seen.flv")).expect("a recording").len() > 50_000);
    }
}

fn start(program: &std::path::Path, name: &str, dir: &TempDir, args: &[&str]) -> Process {
    Process::start_program(program, name, dir.path(), args, Stdio::null())
}

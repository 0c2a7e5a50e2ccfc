//! NATs that give each destination another port, in an order or out of a few: what guessing them gains.

use std::path::Path;
use std::time::{Duration, Instant};

use xp2p_tests::netns::home::Home;
use xp2p_tests::netns::internet::Internet;
use xp2p_tests::netns::nat::Nat;
use xp2p_tests::netns::player::Player;
use xp2p_tests::netns::space::Namespace;
use xp2p_tests::netns::{alone, available};

/// For a direct path. Guessing begins two seconds after the first probe, and once more 15 s later: a datagram may get lost.
const PATIENCE: Duration = Duration::from_secs(25);
/// How long those are watched that are both behind NATs that have to be guessed: that begins after seven seconds.
const BOTH: Duration = Duration::from_secs(11);
/// The longest time without a picture. The camera shows 25 a second.
const GAP: Duration = Duration::from_secs(3);

/// Watches for `time`, or until it is direct. Returns after how long it was, from the start of the program.
fn direct(space: &Namespace, name: &str, dir: &Path, info: &str, time: Duration) -> Option<Duration> {
    let mut player = Player::start(space, name, dir, info);
    player.listen_until(PATIENCE, |p| p.first_keyframe().is_some());
    assert!(player.first_keyframe().is_some(), "{name}: no picture");
    let from = Instant::now();
    player.listen_until(time, |p| p.first_direct().is_some());
    let gap = player.gap(from);
    assert!(gap.silence < GAP, "{name}: {gap:?}");
    let direct = player.first_direct();
    player.finish();
    direct
}

fn seconds(time: Option<Duration>) -> String {
    time.map_or_else(|| "relay".to_owned(), |t| format!("direct after {:.2} s", t.as_secs_f64()))
}

#[test]
fn ports_that_can_be_guessed_are_guessed() {
    let _alone = alone();
    if !available() {
        return;
    }
    let internet = Internet::new();
    let home = Home::new("guessing", &internet);
    let (sequential, small) = (Nat::SymmetricSequential, Nat::SymmetricSmallPool);
    // The other side lets in only whoever was sent something, from the very port.
    for guessed in [sequential, small] {
        for (at_viewer, at_camera) in [(Nat::PortRestricted, guessed), (guessed, Nat::PortRestricted)] {
            let name = format!("{at_viewer} to {at_camera}");
            let camera_site = internet.site("camera", at_camera);
            let viewer_site = internet.site("viewer", at_viewer);
            let camera = home.camera(&camera_site.client, &name.replace(' ', "-"));
            let found = direct(&viewer_site.client, &name, home.dir(), &camera.info, PATIENCE);
            println!("{at_viewer:>18}  {at_camera:<18}  {}", seconds(found));
            assert!(found.is_some(), "{name}: nobody has guessed the port");
        }
    }
    // Both would have to guess at once, which takes luck: two small pools meet in 6 cases of 10. None of them comes to harm.
    let both = [sequential, small].map(|viewer| [sequential, small].map(|camera| (viewer, camera)));
    let places: Vec<_> = both
        .into_iter()
        .flatten()
        .map(|(at_viewer, at_camera)| {
            let name = format!("{at_viewer} to {at_camera}");
            let sites = (internet.site("viewer", at_viewer), internet.site("camera", at_camera));
            let camera = home.camera(&sites.1.client, &name.replace(' ', "-"));
            (name, sites, camera)
        })
        .collect();
    let dir = home.dir();
    std::thread::scope(|scope| {
        for (name, (viewer, camera_site), camera) in &places {
            let info = &camera.info;
            scope.spawn(move || {
                let found = direct(&viewer.client, name, dir, info, BOTH);
                println!("{:>18}  {:<18}  {}", viewer.nat(), camera_site.nat(), seconds(found));
            });
        }
    });
}

//! Every kind of network at the viewer with every kind at the camera: which way the video takes, and how soon it is there.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;
use xp2p_tests::netns::home::Home;
use xp2p_tests::netns::internet::{Internet, Site, join};
use xp2p_tests::netns::nat::{Expected, Nat};
use xp2p_tests::netns::player::Player;
use xp2p_tests::netns::space::Namespace;
use xp2p_tests::netns::{alone, available};

/// Viewers at a time. Most of the time they only watch.
const AT_A_TIME: usize = 12;
/// For the first picture, and for a direct path where there is one. A good machine needs a tenth of a second.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a picture is watched that goes by the relay. There have been two rounds of hole punching by then.
const RELAYED: Duration = Duration::from_secs(3);
/// How long it is watched once it goes directly.
const DIRECT: Duration = Duration::from_millis(500);
/// The longest time without a picture while a viewer watches. The camera shows 25 a second.
const GAP: Duration = Duration::from_secs(3);

/// How it went.
#[derive(Debug)]
struct Watched {
    keyframe: Option<Duration>,
    direct: Option<Duration>,
    /// The path at the end.
    path: Option<String>,
    gap: Duration,
    summary: Value,
}

fn watch(space: &Namespace, name: &str, dir: &Path, info: &str, expected: Expected) -> Watched {
    let mut player = Player::start(space, name, dir, info);
    player.listen_until(PATIENCE, |p| {
        p.first_keyframe().is_some() && (expected != Expected::Direct || p.first_direct().is_some())
    });
    let from = Instant::now();
    if player.first_keyframe().is_some() {
        player.listen_until(RELAYED, |p| p.first_direct().is_some());
        player.listen(DIRECT);
    }
    let gap = player.gap(from).silence;
    Watched {
        keyframe: player.first_keyframe(),
        direct: player.first_direct(),
        path: player.path().map(str::to_owned),
        gap,
        summary: player.finish(),
    }
}

/// What is wrong with how it went.
fn fault(watched: &Watched, expected: Expected) -> Option<String> {
    if watched.keyframe.is_none() {
        return Some(format!("no picture within {PATIENCE:?}"));
    }
    let path = watched.path.as_deref().unwrap_or("no path at all");
    let wanted = match expected {
        Expected::Direct => path == "direct",
        Expected::Relay => path == "relay",
        Expected::RelayOrGuess => path == "relay" || path == "direct",
        Expected::RelayTcp => path == "relay-tcp",
    };
    if !wanted {
        return Some(format!("{path} where theory says {expected:?}"));
    }
    (watched.gap > GAP).then(|| format!("a gap of {:?}", watched.gap))
}

fn ms(time: Option<Duration>) -> String {
    time.map_or("-".to_owned(), |t| t.as_millis().to_string())
}

fn row(viewer: &str, camera: &str, watched: &Watched, fault: Option<&str>) -> String {
    format!(
        "{viewer:>18}  {camera:<18}  {:<6}  {:>8}  {:>6}  {:>5}  {}",
        watched.path.as_deref().unwrap_or("-"),
        ms(watched.keyframe),
        ms(watched.direct),
        watched.summary["rtt_ms"].as_f64().map_or("-".to_owned(), |rtt| format!("{rtt:.1}")),
        fault.map(|f| format!("<- {f}")).unwrap_or_default(),
    )
}

/// One viewer after the other in one namespace, each at another camera.
fn watch_all(
    site: &Site,
    dir: &Path,
    infos: &BTreeMap<Nat, String>,
    results: &Mutex<Vec<(Nat, Nat, Watched)>>,
) {
    let viewer = site.nat();
    for (&nat, info) in infos {
        let name = format!("viewer {viewer}, camera {nat}");
        let watched = watch(&site.client, &name, dir, info, viewer.expected(nat));
        results.lock().expect("no viewer has failed").push((viewer, nat, watched));
    }
}

#[test]
fn every_pair_of_networks_plays_by_the_best_way_there_is() {
    let _alone = alone();
    if !available() {
        return;
    }
    let internet = Internet::new();
    let home = Home::new("matrix", &internet);
    let places: Vec<Site> = Nat::ALL.into_iter().map(|nat| internet.site("camera", nat)).collect();
    let names: Vec<String> = (0..places.len()).map(|n| format!("camera{n}")).collect();
    let named: Vec<(&Namespace, &str)> =
        places.iter().zip(&names).map(|(place, name)| (&place.client, name.as_str())).collect();
    let cameras = home.cameras(&named);
    let infos: BTreeMap<Nat, String> =
        places.iter().zip(&cameras).map(|(place, camera)| (place.nat(), camera.info.clone())).collect();
    let viewers: Vec<Site> = Nat::ALL.into_iter().map(|nat| internet.site("viewer", nat)).collect();
    let results = Mutex::new(Vec::new());
    let left = Mutex::new(viewers.iter());
    let (start, dir) = (Instant::now(), home.dir());
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(site) = { left.lock().expect("no viewer has failed").next() } {
                    watch_all(site, dir, &infos, &results);
                }
            });
        }
    });
    let mut results = results.into_inner().expect("no viewer has failed");
    results.sort_by_key(|(viewer, camera, _)| (*viewer, *camera));
    println!("{} pairs in {:.1?}", results.len(), start.elapsed());
    println!(
        "{:>18}  {:<18}  path    keyframe  direct    rtt  (ms from the start of the program)",
        "viewer", "camera"
    );
    let mut faults = Vec::new();
    for (viewer, camera, watched) in &results {
        let fault = fault(watched, viewer.expected(*camera));
        println!("{}", row(&viewer.to_string(), &camera.to_string(), watched, fault.as_deref()));
        faults.extend(fault.map(|f| format!("viewer {viewer}, camera {camera}: {f}")));
    }
    summary(&results);
    assert!(faults.is_empty(), "{faults:#?}");
    assert_eq!(results.len(), Nat::ALL.len() * Nat::ALL.len());
}

/// The matrix at a glance.
fn summary(results: &[(Nat, Nat, Watched)]) {
    let by: BTreeMap<(Nat, Nat), &Watched> = results.iter().map(|(v, c, w)| ((*v, *c), w)).collect();
    let mut text =
        String::from("\nviewer down, camera across in the same order; D direct, r relay, t relay over TCP\n");
    for viewer in Nat::ALL {
        let mut line = format!("{viewer:>18} ");
        for camera in Nat::ALL {
            line.push_str(match by.get(&(viewer, camera)).map(|w| w.path.as_deref()) {
                Some(Some("direct")) => " D",
                Some(Some("relay")) => " r",
                Some(Some("relay-tcp")) => " t",
                _ => " ?",
            });
        }
        text.push_str(&line);
        text.push('\n');
    }
    println!("{text}");
    let guessable: Vec<&Watched> = results
        .iter()
        .filter(|(v, c, _)| v.expected(*c) == Expected::RelayOrGuess)
        .map(|(_, _, w)| w)
        .collect();
    let guessed = guessable.iter().filter(|w| w.path.as_deref() == Some("direct")).count();
    println!("{guessed} of {} pairs go directly because a port was guessed", guessable.len());
    let mut figures: BTreeMap<&str, Vec<u128>> = BTreeMap::new();
    for (viewer, _, watched) in results.iter().filter(|(v, c, _)| ![*v, *c].contains(&Nat::Lossy)) {
        let keyframe = if *viewer == Nat::UdpBlocked { "first keyframe over TCP" } else { "first keyframe" };
        figures.entry(keyframe).or_default().extend(watched.keyframe.map(|t| t.as_millis()));
        figures.entry("direct").or_default().extend(watched.direct.map(|t| t.as_millis()));
    }
    for (name, times) in &mut figures {
        times.sort_unstable();
        if let (Some(median), Some(most)) = (times.get(times.len() / 2), times.last()) {
            println!("without the lossy line: {name} after {median} ms in the middle, {most} ms at most");
        }
    }
}

#[test]
fn two_behind_the_same_nat_meet_in_their_network_or_at_the_relay() {
    let _alone = alone();
    if !available() {
        return;
    }
    let internet = Internet::new();
    let home = Home::new("hairpin", &internet);
    for nat in [Nat::PortRestricted, Nat::SymmetricRandom, Nat::ServerOnly] {
        let site = internet.site("camera", nat);
        let camera = home.camera(&site.client, &format!("camera-{nat}"));
        let neighbour = Namespace::new("neighbour");
        internet.name_server(&neighbour);
        join(&neighbour, "eth0", &site.routers[0], "192.168.1.3", "192.168.1.1");
        let watched = watch(&neighbour, "neighbour", home.dir(), &camera.info, Expected::Direct);
        let told = fault(&watched, Expected::Direct);
        println!("{}", row("same network", &nat.to_string(), &watched, told.as_deref()));
        assert_eq!(told, None);
        drop(neighbour);

        // As in a network for guests, where clients see the router only. The NAT gives nothing back that was sent to itself.
        let guest = Namespace::new("guest");
        internet.name_server(&guest);
        join(&guest, "eth0", &site.routers[0], "192.168.1.4", "192.168.1.1");
        for port in ["port2", "port4"] {
            site.routers[0].ip(&format!("link set {port} type bridge_slave isolated on"));
        }
        let watched = watch(&guest, "guest", home.dir(), &camera.info, Expected::Relay);
        let told = fault(&watched, Expected::Relay);
        println!("{}", row("guest", &nat.to_string(), &watched, told.as_deref()));
        assert_eq!(told, None);
    }
}

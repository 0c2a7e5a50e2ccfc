//! A crowd over real QUIC, small enough for every change. The goals of the design need larger ones, which the program `swarm`
//! runs with `--level packet`; here it is that nothing breaks, and that most of the stream is shared.

use xp2p_tests::swarm::{Config, Level, Report, Scenario, run};

fn crowd(scenario: Scenario, seed: u64) -> Report {
    let mut config = Config::new(20, 40, scenario, seed);
    config.level = Level::Packet;
    let report = run(&config);
    println!("{}", report.table());
    report
}

/// What must hold whatever happens. That nothing wrong, nothing twice and nothing out of order is played the run has checked.
fn assert_sound(report: &Report) {
    let whole = report.span("whole");
    assert_eq!((report.broken, whole.pictureless, report.honest_excluded), (0, 0, 0));
    let network = report.network.as_ref().expect("it has one");
    assert_eq!(network.rearms, 0, "a machine that wakes itself");
    assert!(network.direct > 0 && network.relayed_bytes < network.connects * 20_000);
    // Of some 28 members that is the second worst.
    assert!(whole.startup_p95 <= 1_400, "the first picture after {} ms", whole.startup_p95);
    assert!(whole.corrupt < 1.0, "{} % corrupt", whole.corrupt);
}

#[test]
fn a_crowd_that_comes_and_goes_shares_its_stream_over_real_connections() {
    // In a crowd of 20 it is chance what one seed has to go through: the death of somebody who feeds a fifth of all, or nothing.
    let mut still: Vec<f64> = (1..=5)
        .map(|seed| {
            let report = crowd(Scenario::Churn, seed);
            assert_sound(&report);
            let steady = report.span("steady");
            assert!(steady.offload > 50.0, "{} % from others", steady.offload);
            steady.rebuffering
        })
        .collect();
    still.sort_by(f64::total_cmp);
    assert!(still[2] < 2.0 && still[4] < 8.0, "of five runs so many % of the time stand still: {still:?}");
}

#[test]
fn one_seed_gives_one_run() {
    let run = |seed| {
        let mut config = Config::new(6, 20, Scenario::Churn, seed);
        config.level = Level::Packet;
        run(&config)
    };
    let first = run(2);
    assert_eq!(first, run(2));
    assert_ne!(first, run(3));
}

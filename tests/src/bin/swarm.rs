//! How well many viewers share one stream:
//! `cargo run --release -p xp2p-tests --bin swarm -- --viewers 1000 --minutes 10 --scenario flash --seed 1`.
//!
//! Prints the goals of the design beside what was measured. `--seeds 1..10` runs several and sums them up.

use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use xp2p_tests::swarm::{Config, Level, Report, Scenario, plot, run_with};

#[derive(Parser)]
#[command(about = "Simulates a swarm of viewers and measures it against its goals")]
struct Arguments {
    /// Viewers.
    #[arg(long, default_value_t = 1000)]
    viewers: usize,
    /// Simulated minutes.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// What happens.
    #[arg(long, default_value = "flash", value_parser = scenario)]
    scenario: Scenario,
    /// What is simulated between the members.
    #[arg(long, default_value = "message", value_parser = level)]
    level: Level,
    /// Makes a fifth take and never give and a tenth send rubbish, whatever the scenario.
    #[arg(long)]
    abuse: bool,
    /// Where all luck comes from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Several seeds, the last one included, instead of one.
    #[arg(long, value_name = "A..B", value_parser = seeds)]
    seeds: Option<(u64, u64)>,
    /// How late the witness is, in ms; drawn from the seed otherwise.
    #[arg(long, value_name = "MS")]
    witness_lag: Option<u64>,
    /// Counts broken invariants instead of stopping at the first one.
    #[arg(long)]
    lenient: bool,
    /// Prints whole reports as JSON, one a line.
    #[arg(long)]
    json: bool,
    /// Draws the run (of the last seed).
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

fn scenario(name: &str) -> Result<Scenario, String> {
    let names = || Scenario::ALL.map(Scenario::name).join(", ");
    Scenario::ALL.into_iter().find(|s| s.name() == name).ok_or_else(|| format!("one of {}", names()))
}

fn level(name: &str) -> Result<Level, String> {
    let known = [Level::Message, Level::Packet];
    known.into_iter().find(|l| l.name() == name).ok_or_else(|| known.map(Level::name).join(" or "))
}

fn seeds(text: &str) -> Result<(u64, u64), String> {
    let parse = |part: &str| part.parse::<u64>().map_err(|error| error.to_string());
    let (from, to) = text.split_once("..").ok_or("such as 1..10")?;
    let (from, to) = (parse(from)?, parse(to.trim_start_matches('='))?);
    if from > to { Err("the first is larger than the last".to_owned()) } else { Ok((from, to)) }
}

fn main() {
    let arguments = Arguments::parse();
    if arguments.level == Level::Packet && arguments.scenario == Scenario::Tracker {
        eprintln!("tracker: there the source signs itself, which members over the network cannot read yet");
        std::process::exit(2);
    }
    let (from, to) = arguments.seeds.unwrap_or((arguments.seed, arguments.seed));
    let mut reports = Vec::new();
    for seed in from..=to {
        let report = run_one(&arguments, seed);
        if arguments.json {
            println!("{}", serde_json::to_string(&report).expect("a report is plain data"));
        } else {
            println!("{}", report.table());
        }
        if let Some(path) = arguments.plot.as_ref().filter(|_| seed == to)
            && let Err(error) = plot(&report, path)
        {
            eprintln!("{}: {error}", path.display());
            std::process::exit(1);
        }
        reports.push(report);
    }
    if reports.len() > 1 && !arguments.json {
        sum_up(&reports);
    }
}

fn run_one(arguments: &Arguments, seed: u64) -> Report {
    let seconds = (arguments.minutes * 60.0).round().max(1.0) as u64;
    let mut config = Config::new(arguments.viewers, seconds, arguments.scenario, seed);
    config.level = arguments.level;
    config.witness_lag = arguments.witness_lag;
    if arguments.abuse {
        config.with_abuse();
    }
    config.strict = !arguments.lenient;
    // Drawn only where somebody looks, and not on the output.
    let bar = ProgressBar::new(seconds);
    let style =
        ProgressStyle::with_template("{prefix} {bar:40} {pos}/{len} s, {eta} left").expect("a template");
    bar.set_style(style);
    bar.set_prefix(format!("seed {seed}"));
    let start = Instant::now();
    let report = run_with(&config, |second| bar.set_position(second));
    bar.finish_and_clear();
    let (took, events) = (start.elapsed().as_secs_f64(), report.events as f64);
    let what = if arguments.level == Level::Packet { "packets" } else { "events" };
    eprintln!("{took:.1} s for {:.1} million {what}, at most {} of memory", events / 1e6, peak_memory());
    report
}

/// The most memory that this process has had.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map_or("an unknown amount".to_owned(), |kib| format!("{} MiB", kib / 1024))
}

/// Each goal over all seeds: how often it was met, and the figures in order.
fn sum_up(reports: &[Report]) {
    println!("{:<46} {:>10} {:>7}  measured, in order", "goal", "wanted", "met");
    for (i, goal) in reports[0].goals.iter().enumerate() {
        let met = reports.iter().filter(|r| r.goals[i].met).count();
        let mut measured: Vec<&str> = reports.iter().map(|r| r.goals[i].measured.as_str()).collect();
        measured.sort_by(|a, b| {
            let number = |s: &str| s.parse::<f64>().unwrap_or(0.0);
            number(a).total_cmp(&number(b))
        });
        let met = format!("{met}/{}", reports.len());
        println!("{:<46} {:>10} {met:>7}  {}", goal.name, goal.wanted, measured.join(" "));
    }
}

//! The xp2p program.

mod args;
mod camera;
mod demo;
mod info;
mod keyfile;
mod known;
mod log;
mod output;
mod probe;
mod secret;
mod server;
mod share;
mod stop;
mod time;
mod view;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;

use self::args::{Cli, Command};

/// Exit code of wrong usage (sysexits.h).
const USAGE: u8 = 64;
/// Exit code of a failure.
const FAILURE: u8 = 1;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version are no errors. Fails only if nobody reads, and then nobody misses it.
            let _ = e.print();
            return if e.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    log::init(cli.verbose);
    match run(&cli.command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FAILURE),
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::from(FAILURE)
        }
    }
}

/// Whether the command did what it is for.
fn run(command: &Command) -> Result<bool> {
    match command {
        Command::Demo(args) => return futures_lite::future::block_on(demo::run(args)),
        Command::View(args) => return futures_lite::future::block_on(view::run(args)),
        Command::Server(args) => futures_lite::future::block_on(server::run(args))?,
        Command::Camera(args) => futures_lite::future::block_on(camera::run(args))?,
        Command::Keygen(args) => share::keygen(args)?,
        Command::Info(args) => info::run(args)?,
        Command::Share(args) => share::share(args)?,
        Command::Revoke(args) => share::revoke(args)?,
        Command::Probe(args) => return futures_lite::future::block_on(probe::run(args)),
    }
    Ok(true)
}

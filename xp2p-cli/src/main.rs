//! The xp2p program.

mod adapt;
mod args;
mod camera;
mod command;
mod crowd;
mod demo;
mod demo_camera;
mod demo_swarm;
mod download;
mod hook;
mod info;
mod keyfile;
mod known;
mod listing;
mod log;
mod media;
mod output;
mod page;
mod playback;
mod port;
mod probe;
mod record;
mod rt;
mod secret;
mod server;
mod session;
mod share;
mod socket;
mod stat;
mod stop;
mod talk;
mod time;
mod view;
mod voice_out;
mod watch;
mod when;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
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
        Ok(code) => ExitCode::from(code),
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::from(if e.is::<when::Usage>() { USAGE } else { failure(&cli.command) })
        }
    }
}

/// What "it did not work" is for a command.
fn failure(command: &Command) -> u8 {
    match command {
        // Their 1 says that the camera refused; 2 that it could not be asked.
        Command::Send(_)
        | Command::Status(_)
        | Command::Records(_)
        | Command::Files(_)
        | Command::Ptz(_)
        | Command::Message(_) => command::ERROR,
        _ => FAILURE,
    }
}

/// Does it. Returns the exit code.
fn run(command: &Command) -> Result<u8> {
    use futures_lite::future::block_on;
    rt::start().context("cannot start the runtime")?;
    let arrived = match command {
        Command::Demo(args) if args.swarm => block_on(demo_swarm::run(args))?,
        Command::Demo(args) => block_on(demo::run(args))?,
        Command::View(args) => block_on(view::run(args))?,
        Command::Watch(args) => block_on(watch::run(args))?,
        Command::Probe(args) => block_on(probe::run(args))?,
        Command::Playback(args) => block_on(playback::run(args))?,
        Command::Server(args) => block_on(server::run(args)).map(|()| true)?,
        Command::Camera(args) => block_on(camera::run(args)).map(|()| true)?,
        Command::Download(args) => block_on(download::run(args)).map(|()| true)?,
        Command::Talk(args) => block_on(talk::run(args)).map(|()| true)?,
        Command::Keygen(args) => share::keygen(args).map(|()| true)?,
        Command::Info(args) => info::run(args).map(|()| true)?,
        Command::Share(args) => share::share(args).map(|()| true)?,
        Command::Revoke(args) => share::revoke(args).map(|()| true)?,
        Command::Send(args) => return block_on(command::run(args)),
        Command::Ptz(args) => return block_on(command::ptz(args)),
        Command::Message(args) => return block_on(command::message(args)),
        Command::Status(args) => return block_on(listing::status(args)),
        Command::Records(args) => return block_on(listing::records(args)),
        Command::Files(args) => return block_on(listing::files(args)),
    };
    Ok(if arrived { 0 } else { FAILURE })
}

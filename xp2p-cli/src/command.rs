//! `xp2p command` and its shortcuts `ptz` and `message`.

use std::time::Duration;

use anyhow::Result;
use xp2p_proto::command::{CommandOutcome, Ptz as Direction};
use xp2p_proto::info::Feature;
use xp2p_proto::request::{Command, Request};

use crate::args::{Ask, Lan, Message, Ptz, SendCommand};
use crate::output;
use crate::session::Session;
use crate::when::usage;

/// Exit code: the camera refuses.
pub(crate) const REFUSED: u8 = 1;
/// Exit code: it cannot be asked, or the connection was lost before its answer.
pub(crate) const ERROR: u8 = 2;
/// Exit code: it does not answer in time.
pub(crate) const TIMEOUT: u8 = 3;

/// Sends a command.
pub(crate) async fn send(info: &str, lan: Lan, command: Command, timeout: u64) -> Result<CommandOutcome> {
    // Checked here, so that a bad one is bad usage and not an error of the network.
    Request::Command(command.clone()).to_head().map_err(|e| usage(e.to_string()))?;
    let session = Session::open(info, Feature::Command, lan, None, None).await?;
    let timeout = Duration::from_millis(timeout);
    let outcome = session.viewer.command(session.service.id, command, Some(timeout)).await?;
    session.close().await;
    Ok(outcome)
}

/// Prints how a command has ended, and returns the exit code.
pub(crate) fn finish(outcome: &CommandOutcome) -> u8 {
    match outcome {
        CommandOutcome::Success { data } => {
            output::foreign(String::from_utf8_lossy(data).trim_end_matches(['\0', '\n']));
            0
        }
        other => explain(other),
    }
}

/// Says why a command did not succeed, and returns the exit code.
pub(crate) fn explain(outcome: &CommandOutcome) -> u8 {
    match outcome {
        CommandOutcome::Success { .. } => 0,
        CommandOutcome::Failure { status, errmsg } => {
            eprintln!("error: the camera answers {status}: {errmsg}");
            REFUSED
        }
        CommandOutcome::Error { errmsg } => {
            eprintln!("error: {errmsg}");
            ERROR
        }
        CommandOutcome::Timeout => {
            eprintln!("error: no answer in time; is the camera on? --timeout waits longer");
            TIMEOUT
        }
    }
}

pub(crate) async fn run(args: &SendCommand) -> Result<u8> {
    let text = args.command.trim_start_matches(['/', '?']);
    let text = text.strip_prefix("command?").unwrap_or(text);
    let command = match Request::parse(&format!("/command?{text}")) {
        Ok(Request::Command(command)) => command,
        Ok(_) => return Err(usage("that is no command")),
        Err(e) => {
            return Err(usage(format!("{e}; for example action=inner_define&channel=0&cmd=get_device_st")));
        }
    };
    Ok(finish(&send(&args.info, args.lan, command, args.timeout).await?))
}

pub(crate) async fn ptz(args: &Ptz) -> Result<u8> {
    let direction = match args.direction.as_str() {
        "up" => Direction::Up,
        "down" => Direction::Down,
        "left" => Direction::Left,
        "right" => Direction::Right,
        "release" => Direction::Release,
        other => {
            return Err(usage(format!("`{other}` is no direction; say up, down, left, right or release")));
        }
    };
    user(&args.ask, direction.command(args.ask.channel)).await
}

pub(crate) async fn message(args: &Message) -> Result<u8> {
    user(&args.ask, Command::user_defined(args.ask.channel, &args.text)).await
}

async fn user(ask: &Ask, command: Command) -> Result<u8> {
    Ok(finish(&send(&ask.info, ask.lan, command, ask.timeout).await?))
}

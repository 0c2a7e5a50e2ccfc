//! Commands and the control pad.

use std::time::Duration;

use serde_json::{Map, Value, json};
use xp2p_proto::command::{CommandOutcome, DEFAULT_TIMEOUT, Ptz};
use xp2p_proto::request::{Action, Command, Params, Request};

use super::answer::{Problem, channel_of, object};

/// Longest that the page may wait for an answer.
const MAX_TIMEOUT: Duration = Duration::from_secs(60);

/// Reads `{"action":"inner","channel":0,"cmd":"get_device_st","params":{"type":"live"},"timeout_ms":7500}`.
pub(super) fn parse(body: &[u8]) -> Result<(Command, Duration), Problem> {
    let map = object(body)?;
    let action = match map.get("action").and_then(Value::as_str) {
        Some("inner" | "inner_define") => Action::InnerDefine,
        Some("user" | "user_define") => Action::UserDefine,
        _ => return Err(Problem::parameter("action is inner or user")),
    };
    let cmd = match map.get("cmd") {
        Some(Value::String(text)) => text.clone(),
        // What panels send is JSON; the page need not quote it.
        Some(value @ Value::Object(_)) if action == Action::UserDefine => value.to_string(),
        _ => return Err(Problem::parameter("cmd is the command, a text")),
    };
    let command = Command { action, channel: channel_of(&map)?, cmd, rest: params(&map)? };
    Request::Command(command.clone()).to_head()?;
    Ok((command, timeout(&map)?))
}

fn params(map: &Map<String, Value>) -> Result<Params, Problem> {
    let mut params = Params::new();
    let given = match map.get("params") {
        None | Some(Value::Null) => return Ok(params),
        Some(Value::Object(given)) => given,
        Some(_) => return Err(Problem::parameter("params is an object of names and values")),
    };
    for (name, value) in given {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return Err(Problem::parameter(format!("the parameter {name} must be a text or a number"))),
        };
        params.push(name, text).map_err(|e| Problem::parameter(e.to_string()))?;
    }
    Ok(params)
}

fn timeout(map: &Map<String, Value>) -> Result<Duration, Problem> {
    let Some(value) = map.get("timeout_ms") else { return Ok(DEFAULT_TIMEOUT) };
    let time = value.as_u64().map(Duration::from_millis);
    time.filter(|time| !time.is_zero() && *time <= MAX_TIMEOUT)
        .ok_or_else(|| Problem::parameter("timeout_ms is a number of milliseconds from 1 to 60000"))
}

/// Reads `{"channel":0,"move":"left"}`.
pub(super) fn parse_ptz(body: &[u8]) -> Result<Command, Problem> {
    let map = object(body)?;
    let direction = match map.get("move").and_then(Value::as_str) {
        Some("up") => Ptz::Up,
        Some("down") => Ptz::Down,
        Some("left") => Ptz::Left,
        Some("right") => Ptz::Right,
        Some("release") => Ptz::Release,
        _ => return Err(Problem::parameter("move is up, down, left, right or release")),
    };
    Ok(direction.command(channel_of(&map)?))
}

/// How a command has ended, under the names of the plug-ins.
pub(super) fn told(outcome: &CommandOutcome) -> Value {
    let (status, data, errmsg) = match outcome {
        CommandOutcome::Success { data } => {
            // Devices of the C world end their text with a zero byte.
            let text = || String::from_utf8_lossy(data).trim_end_matches(['\0', '\n']).into();
            let json = outcome.json().and_then(Result::ok).map(|reply| reply.value().clone());
            (json!(200), json.unwrap_or_else(text), Value::Null)
        }
        CommandOutcome::Failure { status, errmsg } => (json!(status), Value::Null, json!(errmsg)),
        CommandOutcome::Error { errmsg } => (Value::Null, Value::Null, json!(errmsg)),
        CommandOutcome::Timeout => {
            (Value::Null, Value::Null, json!("the camera did not answer in time; is it on?"))
        }
    };
    json!({ "kind": outcome.kind(), "status": status, "data": data, "errmsg": errmsg })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_strictly() {
        let (command, timeout) =
            parse(br#"{"action":"inner","cmd":"playback_seek","params":{"progress":5000},"timeout_ms":900}"#)
                .unwrap();
        assert_eq!((command.cmd.as_str(), command.rest.get("progress")), ("playback_seek", Some("5000")));
        assert_eq!(timeout, Duration::from_millis(900));
        let (command, _) =
            parse(br#"{"action":"user","channel":2,"cmd":{"topic":"version","data":{}}}"#).unwrap();
        assert_eq!(command.channel, 2);
        assert_eq!(command.cmd, r#"{"data":{},"topic":"version"}"#);
        for bad in [
            &br#"{"cmd":"x"}"#[..],
            br#"{"action":"inner","cmd":""}"#,
            br#"{"action":"inner","cmd":"a b"}"#,
            br#"{"action":"inner","cmd":"x","params":{"_token":"1"}}"#,
            br#"{"action":"inner","cmd":"x","params":{"a":[]}}"#,
            br#"{"action":"inner","cmd":"x","timeout_ms":0}"#,
            br#"{"action":"inner","cmd":"x","timeout_ms":600000}"#,
        ] {
            assert!(parse(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn the_pad_has_five_moves() {
        for (name, word) in [("up", "ptz_up_press"), ("release", "ptz_release_pre")] {
            let command = parse_ptz(format!(r#"{{"move":"{name}","channel":1}}"#).as_bytes()).unwrap();
            assert!(command.cmd.contains(word) && command.channel == 1, "{}", command.cmd);
        }
        assert!(parse_ptz(br#"{"move":"around"}"#).is_err());
    }

    #[test]
    fn replies_are_told_as_they_are() {
        let success = |data: &'static str| told(&CommandOutcome::Success { data: data.into() });
        assert_eq!(success("{\"status\":\"0\"}\0")["data"]["status"], "0");
        assert_eq!(success("plain words")["data"], "plain words");
        let refused = CommandOutcome::Failure { status: 406, errmsg: "unknown".to_owned() };
        assert_eq!(
            told(&refused),
            json!({"kind": "failure", "status": 406, "data": null, "errmsg": "unknown"})
        );
        assert_eq!(told(&CommandOutcome::Timeout)["kind"], "timeout");
    }
}

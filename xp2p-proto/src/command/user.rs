//! Commands that only app and device understand, and the topics of the plug-ins' control panel among them.

use serde_json::{Value, json};

use crate::request::{Action, Command, Params};

/// Turns the camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ptz {
    /// Begin to turn up.
    Up,
    /// Begin to turn down.
    Down,
    /// Begin to turn left.
    Left,
    /// Begin to turn right.
    Right,
    /// Stop.
    Release,
}

impl Ptz {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Up, Self::Down, Self::Left, Self::Right, Self::Release];

    /// The word on the wire, as the panel sends it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "ptz_up_press",
            Self::Down => "ptz_down_press",
            Self::Left => "ptz_left_press",
            Self::Right => "ptz_right_press",
            Self::Release => "ptz_release_pre",
        }
    }

    /// The command to send.
    pub fn command(self, channel: u32) -> Command {
        panel(channel, "ptz", &json!({ "cmd": self.name() }))
    }

    /// Reads the text of a user-defined command; `None` if it is not about turning.
    pub fn parse(cmd: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(cmd).ok()?;
        if value.get("topic")? != "ptz" {
            return None;
        }
        let name = value.get("data")?.get("cmd")?.as_str()?;
        Self::ALL.into_iter().find(|ptz| ptz.name() == name)
    }
}

/// A command of the control panel: `cmd={"topic":...,"data":...}`. Known topics: `ptz`, `get_status`, `set_status`,
/// `version`, `upgrade`, `Mirror_flip`, `sd_format`, `intercom`.
pub fn panel(channel: u32, topic: &str, data: &Value) -> Command {
    user(channel, &json!({ "topic": topic, "data": data }).to_string())
}

/// A device's message in the documented form: `{"iv_private_cmd": text}`.
pub fn message(text: &str) -> String {
    json!({ "iv_private_cmd": text }).to_string()
}

fn user(channel: u32, cmd: &str) -> Command {
    Command { action: Action::UserDefine, channel, cmd: cmd.to_owned(), rest: Params::new() }
}

impl Command {
    /// A user-defined command: any text of 1 to 16,384 bytes that the device understands.
    pub fn user_defined(channel: u32, cmd: &str) -> Self {
        user(channel, cmd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turning_is_said_as_the_panel_says_it() {
        let command = Ptz::Up.command(3);
        assert_eq!(command.cmd, r#"{"data":{"cmd":"ptz_up_press"},"topic":"ptz"}"#);
        assert_eq!((command.action, command.channel), (Action::UserDefine, 3));
        for ptz in Ptz::ALL {
            assert_eq!(Ptz::parse(&ptz.command(0).cmd), Some(ptz));
        }
        assert_eq!(Ptz::parse(r#"{"topic":"ptz","data":{"cmd":"jump"}}"#), None);
        assert_eq!(Ptz::parse("hello"), None);
    }

    #[test]
    fn a_message_has_the_documented_key() {
        assert_eq!(message("ring"), r#"{"iv_private_cmd":"ring"}"#);
    }
}

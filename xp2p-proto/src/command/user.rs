//! Commands that only app and device understand, and the topics of the plug-ins' control panel among them.

use serde_json::{Value, json};

use crate::request::{Action, Command, Params};

/// What a command of the control panel is about. What its data and its reply hold is up to the maker of the device; that
/// of [`Topic::Ptz`] is [`Ptz`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// Turn the camera.
    Ptz,
    /// How the device is set.
    GetStatus,
    /// Set it otherwise.
    SetStatus,
    /// Which firmware it has.
    Version,
    /// Put new firmware on it.
    Upgrade,
    /// Turn its picture upside down or left to right.
    MirrorFlip,
    /// Erase its memory card.
    SdFormat,
    /// Talk in both directions.
    Intercom,
}

impl Topic {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Ptz,
        Self::GetStatus,
        Self::SetStatus,
        Self::Version,
        Self::Upgrade,
        Self::MirrorFlip,
        Self::SdFormat,
        Self::Intercom,
    ];

    /// The word on the wire, as the panel sends it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ptz => "ptz",
            Self::GetStatus => "get_status",
            Self::SetStatus => "set_status",
            Self::Version => "version",
            Self::Upgrade => "upgrade",
            Self::MirrorFlip => "Mirror_flip",
            Self::SdFormat => "sd_format",
            Self::Intercom => "intercom",
        }
    }

    /// The command to send.
    pub fn command(self, channel: u32, data: &Value) -> Command {
        panel(channel, self.name(), data)
    }

    /// The command with nothing in its data, for topics that need none.
    pub fn ask(self, channel: u32) -> Command {
        self.command(channel, &json!({}))
    }

    /// Reads the text of a user-defined command: topic and data. Data that is left out is null. `None` if it is of no
    /// topic of the panel.
    pub fn parse(cmd: &str) -> Option<(Self, Value)> {
        let mut value: Value = serde_json::from_str(cmd).ok()?;
        let name = value.get("topic")?.as_str()?;
        let topic = Self::ALL.into_iter().find(|topic| topic.name() == name)?;
        let data = value.get_mut("data").map(Value::take).unwrap_or_default();
        Some((topic, data))
    }
}

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
        Topic::Ptz.command(channel, &json!({ "cmd": self.name() }))
    }

    /// Reads the text of a user-defined command; `None` if it is not about turning.
    pub fn parse(cmd: &str) -> Option<Self> {
        let (Topic::Ptz, data) = Topic::parse(cmd)? else { return None };
        let name = data.get("cmd")?.as_str()?;
        Self::ALL.into_iter().find(|ptz| ptz.name() == name)
    }
}

/// A command of the control panel, of any topic: `cmd={"data":...,"topic":...}`. [`Topic`] has those that are known.
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
    fn each_topic_is_said_as_the_panel_says_it() {
        let said = Topic::ALL.map(|topic| topic.ask(1).cmd);
        assert_eq!(
            said,
            [
                r#"{"data":{},"topic":"ptz"}"#,
                r#"{"data":{},"topic":"get_status"}"#,
                r#"{"data":{},"topic":"set_status"}"#,
                r#"{"data":{},"topic":"version"}"#,
                r#"{"data":{},"topic":"upgrade"}"#,
                r#"{"data":{},"topic":"Mirror_flip"}"#,
                r#"{"data":{},"topic":"sd_format"}"#,
                r#"{"data":{},"topic":"intercom"}"#,
            ]
        );
        let data = json!({ "night": 1 });
        for topic in Topic::ALL {
            let command = topic.command(2, &data);
            assert_eq!((command.action, command.channel), (Action::UserDefine, 2));
            assert_eq!(Topic::parse(&command.cmd), Some((topic, data.clone())));
        }
        assert_eq!(Topic::SetStatus.command(0, &data).cmd, r#"{"data":{"night":1},"topic":"set_status"}"#);
        assert_eq!(Topic::parse(r#"{"topic":"version"}"#), Some((Topic::Version, Value::Null)));
        for other in ["version", r#"{"topic":"mirror_flip"}"#, r#"{"topic":7}"#, r#"["version"]"#, "{}"] {
            assert_eq!(Topic::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_message_has_the_documented_key() {
        assert_eq!(message("ring"), r#"{"iv_private_cmd":"ring"}"#);
    }
}

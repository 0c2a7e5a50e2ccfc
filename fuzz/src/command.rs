//! Commands: what the text of a `/command` means.

use xp2p_proto::command::{BuiltIn, Ptz, Topic};
use xp2p_proto::request::{CallType, Request};

/// One input: what stands behind `/command?`.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = (Topic::parse(text), Ptz::parse(text));
    if let Some(ptz) = Ptz::parse(text) {
        assert_eq!(Ptz::parse(&ptz.command(0).cmd), Some(ptz));
    }
    if let Some((topic, value)) = Topic::parse(text) {
        let command = topic.command(0, &value);
        assert_eq!(Topic::parse(&command.cmd), Some((topic, value)));
    }
    let Ok(Request::Command(command)) = Request::parse(&format!("/command?{text}")) else { return };
    let _ = CallType::of_signal(&command);
    if let Ok(Some(built_in)) = BuiltIn::from_command(&command) {
        let again = built_in.to_command(command.channel);
        let head = Request::Command(again).to_head().expect("what came in may go out");
        let Ok(Request::Command(read)) = Request::parse(&head.target()) else { panic!("no command: {head}") };
        assert_eq!(BuiltIn::from_command(&read), Ok(Some(built_in)));
    }
}

use proptest::prelude::*;
use proptest::sample::select;

use super::super::{Head, MAX_HEAD, Parsed};
use super::*;

fn arb_text(max: usize) -> impl Strategy<Value = String> {
    let printable = |c| if printable(c) { c } else { 'x' };
    proptest::collection::vec(any::<char>().prop_map(printable), 0..max / 4)
        .prop_map(|chars| chars.into_iter().collect())
}

fn arb_request() -> impl Strategy<Value = Request> {
    let live = (
        any::<u32>(),
        select(&Quality::ALL[..]),
        any::<bool>(),
        proptest::option::of(arb_text(MAX_USER_ARGS)),
        proptest::option::of(arb_text(MAX_REQUESTER)),
    )
        .prop_map(|(channel, quality, audio_only, user_args, requester)| {
            Request::Live(Live { channel, quality, audio_only, user_args, requester })
        });
    let playback =
        (any::<u32>(), any::<u32>(), 5..u32::MAX, proptest::option::of(any::<i64>()), any::<bool>())
            .prop_map(|(channel, start, length, kind, audio_only)| {
                let (start_time, end_time) = (start.into(), u64::from(start) + u64::from(length));
                Request::Playback(Playback { channel, start_time, end_time, kind, audio_only })
            });
    let download =
        (any::<u32>(), arb_text(MAX_FILE_NAME - 4), any::<u64>()).prop_map(|(channel, name, offset)| {
            Request::Download(Download { channel, file_name: format!("a{name}"), offset })
        });
    let download = download.prop_filter("no way up", |request| request.to_head().is_ok());
    let voice = (any::<u32>(), select(&CallType::ALL[..]))
        .prop_map(|(channel, calltype)| Request::Voice(Voice { channel, calltype }));
    let rest = proptest::collection::btree_map("[d-z]{4,9}", arb_text(MAX_ARGUMENT / 8), 0..5);
    let command = (any::<u32>(), any::<String>(), "[a-z0-9_]{1,64}", any::<bool>(), rest).prop_map(
        |(channel, text, word, inner, pairs)| {
            let (action, cmd) = match inner {
                true => (Action::InnerDefine, word),
                false => (Action::UserDefine, format!("{word}{text}")),
            };
            let mut rest = Params::new();
            for (name, value) in pairs {
                rest.push(&name, value).unwrap();
            }
            Request::Command(Command { action, channel, cmd, rest })
        },
    );
    prop_oneof![live, playback, download, voice, command]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn every_request_round_trips_over_the_wire(request in arb_request()) {
        let head = request.to_head().unwrap();
        let bytes = head.to_bytes();
        let Parsed::Complete { head: read, len } = RequestHead::parse(&bytes).unwrap() else {
            panic!("incomplete");
        };
        prop_assert_eq!(len, bytes.len());
        prop_assert_eq!(&read, &head);
        prop_assert_eq!(Request::from_head(&read), Ok(request.clone()));
        prop_assert_eq!(Request::parse(&head.target()), Ok(request));
    }

    #[test]
    fn any_target_never_panics_and_its_error_is_fit_for_a_terminal(
        path in select(&[STREAM, DOWNLOAD, VOICE, COMMAND, "/x", ""][..]),
        query in "(action|channel|cmd|offset|type|é|%1b|_x)=(live|playback|-1|%1B|\u{1b}|99999999999){1,2}(&channel=[0-9a]{1,3})?",
    ) {
        if let Err(error) = Request::parse(&format!("{path}?{query}")) {
            prop_assert!(!error.to_string().contains(char::is_control));
            prop_assert_eq!(error.code(), ErrorCode::Parameter);
        }
    }
}

#[test]
fn the_documented_forms_are_read_and_printed() {
    let same = |target: &str| {
        let request = Request::parse(target).unwrap();
        assert_eq!(request.to_head().unwrap().target(), target);
        request
    };
    let live = same("/ipc.flv?action=live&channel=0&quality=high");
    assert_eq!(live, Request::Live(Live::default()));
    assert_eq!(Request::parse("/ipc.flv?action=live&_crypto=off"), Ok(live));
    same("/ipc.flv?action=live-audio&channel=1&quality=super&user_args=a%20b&requester=owner");
    same("/ipc.flv?action=playback&channel=0&start_time=10&end_time=15&type=-1");
    same("/ipc.flv?action=playback-audio&channel=0&start_time=10&end_time=15");
    same("/download?channel=0&file_name=/sd/rec%201.mp4&offset=0");
    same("/voice?channel=3&calltype=video");
    same("/command?action=inner_define&channel=0&cmd=get_device_st&type=live&quality=high");
    let text = "/command?action=user_define&channel=0&cmd=%7B%22topic%22:%22ptz%22%7D";
    assert_eq!(same(text), Request::parse(r#"/command?action=user_define&cmd={"topic":"ptz"}"#).unwrap());
    let plain = Request::parse("/download?action=download&file_name=a").unwrap();
    assert_eq!(plain, Request::parse("/download?file_name=a").unwrap());
    assert_eq!(Request::parse("/voice").unwrap(), Request::Voice(Voice::default()));
}

#[test]
fn each_violation_names_its_parameter() {
    let long = |n: usize| "a".repeat(n);
    for (target, name) in [
        ("/ipc.flv", "action"),
        ("/ipc.flv?action=download", "action"),
        ("/ipc.flv?action=live&channel=-1", "channel"),
        ("/ipc.flv?action=live&channel=+1", "channel"),
        ("/ipc.flv?action=live&channel=", "channel"),
        ("/ipc.flv?action=live&channel=4294967296", "channel"),
        ("/ipc.flv?action=live&quality=best", "quality"),
        ("/ipc.flv?action=live&speed=2", "speed"),
        ("/ipc.flv?action=live&user_args=%1B[2J", "user_args"),
        (&format!("/ipc.flv?action=live&user_args={}", long(1025)), "user_args"),
        (&format!("/ipc.flv?action=live&requester={}", long(65)), "requester"),
        ("/ipc.flv?action=live&requester=%E2%80%AE", "requester"),
        ("/ipc.flv?action=playback", "start_time"),
        ("/ipc.flv?action=playback&start_time=1", "end_time"),
        ("/ipc.flv?action=playback&start_time=x&end_time=9", "start_time"),
        ("/ipc.flv?action=playback&start_time=10&end_time=14", "end_time"),
        ("/ipc.flv?action=playback&start_time=18446744073709551615&end_time=14", "end_time"),
        ("/ipc.flv?action=playback&start_time=1&end_time=9&type=+1", "type"),
        ("/ipc.flv?action=playback&start_time=1&end_time=9&quality=high", "quality"),
        ("/download", "file_name"),
        ("/download?file_name=", "file_name"),
        ("/download?file_name=../etc/passwd", "file_name"),
        ("/download?file_name=a/%2e%2e/b", "file_name"),
        ("/download?file_name=a%5C..%5Cb", "file_name"),
        ("/download?file_name=a%00", "file_name"),
        (&format!("/download?file_name={}", long(513)), "file_name"),
        ("/download?file_name=a&offset=-1", "offset"),
        ("/download?file_name=a&action=live", "action"),
        ("/download?file_name=a&x=1", "x"),
        ("/voice?calltype=text", "calltype"),
        ("/voice?action=live", "action"),
        ("/command?cmd=a", "action"),
        ("/command?action=x&cmd=a", "action"),
        ("/command?action=inner_define", "cmd"),
        ("/command?action=inner_define&cmd=", "cmd"),
        ("/command?action=inner_define&cmd=Get", "cmd"),
        ("/command?action=user_define&cmd=", "cmd"),
        (&format!("/command?action=user_define&cmd={}", long(MAX_COMMAND + 1)), "cmd"),
        ("/command?action=user_define&cmd=a&x=%1b", "x"),
    ] {
        let error = Request::parse(target).unwrap_err();
        assert!(error.to_string().contains(&format!("the parameter `{name}`")), "{target}: {error}");
        assert_eq!((error.code().number(), error.status()), (-2000, Status::NotFound), "{target}");
    }
    assert_eq!(Request::parse("/other"), Err(RequestError::UnknownPath));
    assert_eq!(Request::parse("other").unwrap_err().status(), Status::BadRequest);
    assert_eq!(Request::parse("/voice?_token=1").unwrap_err().status(), Status::NotFound);
}

#[test]
fn what_may_not_come_in_may_not_go_out() {
    let download = Download { channel: 0, file_name: "../a".into(), offset: 0 };
    assert!(Request::Download(download).to_head().is_err());
    let live = Live { user_args: Some("\u{1b}".into()), ..Live::default() };
    assert!(Request::Live(live).to_head().is_err());
    let mut rest = Params::new();
    rest.push("cmd", "again").unwrap();
    let command = Command { action: Action::UserDefine, channel: 0, cmd: "a".into(), rest };
    let error = Request::Command(command).to_head().unwrap_err();
    assert_eq!(error, RequestError::Params(ParamsError::Twice { name: "cmd".into() }));
}

#[test]
fn the_longest_command_fits_into_a_head() {
    let cmd = "\u{0}".repeat(MAX_COMMAND);
    let command = Command { action: Action::UserDefine, channel: 9, cmd, rest: Params::new() };
    let head = Request::Command(command.clone()).to_head().unwrap();
    assert!(head.to_bytes().len() <= MAX_HEAD);
    assert_eq!(Request::from_head(&head), Ok(Request::Command(command)));
}

#[test]
fn each_request_needs_the_right_of_what_it_does() {
    let right = |target: &str| Request::parse(target).unwrap().right();
    assert_eq!(right("/ipc.flv?action=live"), Right::Live);
    assert_eq!(right("/ipc.flv?action=playback&start_time=1&end_time=9"), Right::Playback);
    assert_eq!(right("/download?file_name=a"), Right::Download);
    assert_eq!(right("/voice"), Right::Voice);
    assert_eq!(right("/command?action=user_define&cmd=playback_pause"), Right::Command);
    let inner = |cmd: &str| right(&format!("/command?action=inner_define&cmd={cmd}"));
    assert_eq!(inner("get_device_st"), Right::Live);
    assert_eq!(inner("get_device_st&type=voice"), Right::Voice);
    assert_eq!(inner("get_device_st&type=playback"), Right::Playback);
    assert_eq!(inner("get_nvr_list"), Right::Live);
    assert_eq!(inner("get_month_record"), Right::Playback);
    assert_eq!(inner("get_file_list"), Right::Download);
    assert_eq!(inner("playback_seek"), Right::Playback);
    assert_eq!(inner("call_answer"), Right::Voice);
    assert_eq!(inner("anything_else"), Right::Command);
}

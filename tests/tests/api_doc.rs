//! `docs/API.md` names what exists, and all that it must name.

#[path = "api_doc/names.rs"]
mod names;

use std::path::{Path, PathBuf};

use self::names::Names;
use xp2p_proto::command::{BuiltIn, CALL_SIGNALS, DeviceUse, FileType, SeekTo, YearMonth};
use xp2p_proto::error::ErrorCode;
use xp2p_proto::info::{Feature, Right};
use xp2p_proto::request::{Quality, Status};

/// Enums whose variants all stand in the document.
const ENUMS: &[&str] = &[
    "xp2p_driver::module::ModuleEvent",
    "xp2p_driver::module::StreamKind",
    "xp2p_driver::module::VoiceEvent",
    "xp2p_driver::module::Recorded",
    "xp2p_driver::pusher::PusherError",
    "xp2p_driver::pusher::PusherEvent",
    "xp2p_driver::viewer::DownloadEvent",
    "xp2p_driver::viewer::ServiceEvent",
    "xp2p_driver::watch::WatchEvent",
    "xp2p_driver::witness::WitnessEvent",
    "xp2p_proto::camera::CameraEvent",
    "xp2p_proto::camera::Watermark",
    "xp2p_proto::command::BuiltIn",
    "xp2p_proto::command::CallSignal",
    "xp2p_proto::command::CommandOutcome",
    "xp2p_proto::command::DeviceUse",
    "xp2p_proto::command::FileType",
    "xp2p_proto::command::Ptz",
    "xp2p_proto::command::SeekTo",
    "xp2p_proto::command::Topic",
    "xp2p_proto::error::ErrorCode",
    "xp2p_proto::link::PathKind",
    "xp2p_proto::live::PushError",
    "xp2p_proto::request::Action",
    "xp2p_proto::request::CallType",
    "xp2p_proto::request::Quality",
    "xp2p_proto::request::Status",
];

/// Types and traits whose public methods all stand in the document.
const TYPES: &[&str] = &[
    "xp2p_driver::camera::Answer",
    "xp2p_driver::camera::CameraApp",
    "xp2p_driver::camera::CameraHandle",
    "xp2p_driver::camera::VoiceSink",
    "xp2p_driver::module::P2pModule",
    "xp2p_driver::module::Recorder",
    "xp2p_driver::module::Service",
    "xp2p_driver::module::VoiceWriter",
    "xp2p_driver::pusher::Pusher",
    "xp2p_driver::viewer::DownloadHandle",
];

/// Methods of traits of the standard library, which nobody looks up.
const STANDARD: &[&str] = &["fmt", "clone", "default", "drop", "from"];

/// The heading of what there is no item for.
const NOT_YET: &str = "Not yet";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

fn document() -> String {
    std::fs::read_to_string(root().join("docs/API.md")).expect("docs/API.md")
}

fn workspace() -> Names {
    let crates = [
        ("xp2p_proto", "xp2p-proto"),
        ("xp2p_driver", "xp2p-driver"),
        ("xp2p_smol", "xp2p-smol"),
        ("xp2p_tokio", "xp2p-tokio"),
    ];
    Names::read(crates.map(|(name, dir)| (name, root().join(dir).join("src/lib.rs"))))
}

/// What stands between backticks and begins like a path of ours.
fn paths(text: &str) -> Vec<&str> {
    let spans = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    spans.filter(|span| span.starts_with("xp2p_") && span.contains("::")).collect()
}

/// Paths of `text` that do not exist.
fn missing<'a>(names: &Names, text: &'a str) -> Vec<&'a str> {
    paths(text).into_iter().filter(|path| !names.has(path)).collect()
}

/// Rows of tables with their cells, and the heading above them. Heads and rules are left out.
fn rows(text: &str) -> Vec<(String, Vec<String>)> {
    let mut heading = String::new();
    let mut rows: Vec<(String, Vec<String>)> = Vec::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix('#') {
            heading = title.trim_start_matches('#').trim().to_owned();
        } else if line.starts_with("|---") {
            // What came before it was the head.
            rows.pop();
        } else if let Some(row) = line.strip_prefix('|') {
            // A bar in a cell is written with a backslash before it.
            let row = row.trim_end().trim_end_matches('|').replace("\\|", "\u{1}");
            let cells = row.split('|').map(|cell| cell.replace('\u{1}', "|").trim().to_owned());
            rows.push((heading.clone(), cells.collect()));
        }
    }
    rows
}

/// Whether a row names both in its first two cells: the name on the wire or number, and our item.
fn has_row(rows: &[(String, Vec<String>)], name: &str, item: &str) -> bool {
    let is = |cell: &str, what: &str| cell.split('`').skip(1).step_by(2).any(|span| span == what);
    rows.iter().any(|(_, cells)| match cells.as_slice() {
        [first, second, ..] => is(first, name) && is(second, item),
        _ => false,
    })
}

#[test]
fn everything_that_the_document_names_exists() {
    let (names, text) = (workspace(), document());
    let missing = missing(&names, &text);
    assert!(missing.is_empty(), "docs/API.md names what does not exist: {missing:#?}");
    assert!(paths(&text).len() > 300, "the document was not read as it should be");
}

#[test]
fn every_row_names_an_item_unless_there_is_none_yet() {
    for (heading, cells) in rows(&document()) {
        let items = cells.get(1).map(|cell| paths(cell)).unwrap_or_default();
        if heading.ends_with(NOT_YET) {
            assert!(items.is_empty(), "a row of {heading:?} names an item: {cells:?}");
        } else {
            assert!(!items.is_empty(), "a row of {heading:?} names no item: {cells:?}");
            assert_eq!(cells.len(), 3, "a row of {heading:?}: {cells:?}");
        }
    }
}

#[test]
fn enums_and_calls_stand_in_the_document_completely() {
    let (names, text) = (workspace(), document());
    let named = paths(&text);
    let mut wanted = Vec::new();
    for path in ENUMS {
        let variants = names.variants(path);
        assert!(!variants.is_empty(), "{path}");
        wanted.extend(variants.iter().map(|v| format!("{path}::{v}")));
    }
    for path in TYPES {
        let methods = names.methods(path);
        assert!(!methods.is_empty(), "{path}");
        let ours = methods.iter().filter(|m| !STANDARD.contains(&m.as_str()));
        wanted.extend(ours.map(|m| format!("{path}::{m}")));
    }
    let left_out: Vec<_> = wanted.into_iter().filter(|w| !named.contains(&w.as_str())).collect();
    assert!(left_out.is_empty(), "docs/API.md does not name {left_out:#?}");
}

#[test]
fn every_code_and_status_has_a_row_with_its_number() {
    let rows = rows(&document());
    for code in ErrorCode::ALL {
        let item = format!("xp2p_proto::error::ErrorCode::{code:?}");
        assert!(has_row(&rows, &code.number().to_string(), &item), "no row for {code}");
    }
    for status in Status::ALL {
        let item = format!("xp2p_proto::request::Status::{status:?}");
        assert!(has_row(&rows, &status.number().to_string(), &item), "no row for {status}");
    }
}

#[test]
fn every_command_and_right_has_a_row_with_its_word() {
    let (names, rows) = (workspace(), rows(&document()));
    let month = YearMonth::new(2026, 11).unwrap();
    let all = [
        BuiltIn::DeviceStatus { wanted: DeviceUse::Live, quality: Quality::High },
        BuiltIn::DeviceInfo,
        BuiltIn::NvrList,
        BuiltIn::RecordIndex { start_time: 0, end_time: 1, kind: None },
        BuiltIn::MonthRecord(month),
        BuiltIn::FileList { start_time: 0, end_time: 1, file_type: FileType::Video },
        BuiltIn::PlaybackPause,
        BuiltIn::PlaybackResume,
        BuiltIn::PlaybackSeek(SeekTo::Time(0)),
        BuiltIn::PlaybackProgress,
        BuiltIn::PlaybackFf { ff: 1 },
        BuiltIn::PlaybackSpeed { speed: 1 },
        BuiltIn::PlaybackRewind { start_time: 0, end_time: 1 },
        BuiltIn::RequestIframe,
        BuiltIn::Call(CALL_SIGNALS[0].0),
    ];
    let variant = |built_in: &BuiltIn| {
        let text = format!("{built_in:?}");
        text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
    };
    let variants = names.variants("xp2p_proto::command::BuiltIn");
    assert_eq!(all.iter().map(variant).collect::<Vec<_>>(), variants, "this test must know all commands");
    for built_in in &all {
        let item = format!("xp2p_proto::command::BuiltIn::{}", variant(built_in));
        assert!(has_row(&rows, built_in.name(), &item), "no row for {}", built_in.name());
    }
    for (signal, name) in CALL_SIGNALS {
        let item = format!("xp2p_proto::command::CallSignal::{signal:?}");
        assert!(has_row(&rows, name, &item), "no row for {name}");
    }
    for right in Right::ALL {
        let item = format!("xp2p_proto::info::Right::{right:?}");
        assert!(has_row(&rows, right.name(), &item), "no row for {right:?}");
    }
    for feature in Feature::ALL {
        let item = format!("xp2p_proto::info::Feature::{feature:?}");
        assert!(has_row(&rows, feature.name(), &item), "no row for {feature:?}");
    }
}

#[test]
fn made_up_names_are_found_and_real_ones_are_not() {
    let names = workspace();
    let real = [
        "xp2p_proto::request",
        "xp2p_proto::command::BuiltIn",
        "xp2p_proto::command::BuiltIn::PlaybackFf::ff",
        "xp2p_proto::command::panel",
        "xp2p_proto::command::DEFAULT_TIMEOUT",
        "xp2p_proto::command::DeviceStatus::parse",
        "xp2p_proto::request::Live::user_args",
        // A block in another module than the type.
        "xp2p_proto::request::Command::user_defined",
        "xp2p_proto::camera::Camera::drop_to_keyframe",
        "xp2p_proto::error::ErrorCode::ALL",
        "xp2p_driver::camera::CameraApp::voice",
        "xp2p_driver::proto::request::Status::Ok",
        "xp2p_smol::driver::module::P2pModule::init",
        "xp2p_smol::ViewerHandle",
        "xp2p_proto::machine::Ecn",
    ];
    let made_up = [
        "xp2p_nothing::request",
        "xp2p_proto::requests",
        "xp2p_proto::command::BuiltIn::Dance",
        "xp2p_proto::command::BuiltIn::PlaybackFf::speed",
        "xp2p_proto::command::BuiltIn::PlaybackFf::ff::more",
        "xp2p_driver::module::P2pModule::dance",
        // There, but private: a module, a field, a method, an item that is not passed on.
        "xp2p_proto::command::builtin::BuiltIn",
        "xp2p_proto::command::YearMonth::year_of",
        "xp2p_proto::camera::Camera::sessions",
        "xp2p_driver::module::Service::close",
        "xp2p_driver::module::url::request",
        "xp2p_proto::request::Live::new",
        "xp2p_proto::request::Live<T>",
        "xp2p_proto::request::",
        "xp2p_proto::machine::Ecn::Anything",
    ];
    for path in real {
        assert!(names.has(path), "{path} exists");
    }
    let text = real.iter().chain(&made_up).map(|p| format!("| `x` | `{p}` | - |\n")).collect::<String>();
    assert_eq!(missing(&names, &text), made_up);
}

#[test]
fn rows_are_read_with_their_heading_and_bars() {
    let text =
        "# A\n\n| name | item |\n|---|---|\n| `a \\| b` | `c` |\n## B\n| n | i |\n|---|---|\n| d | e | f |\n";
    let cells = |cells: &[&str]| cells.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>();
    let rows = rows(text);
    assert_eq!(
        rows,
        [("A".into(), cells(&["`a | b`", "`c`"])), ("B".into(), cells(&["d", "e", "f"]))] as [_; 2]
    );
    assert!(has_row(&rows, "a | b", "c") && !has_row(&rows, "a", "c"));
}

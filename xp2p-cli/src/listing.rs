//! `xp2p status`, `records` and `files`.

use anyhow::Result;
use indicatif::HumanBytes;
use serde_json::json;
use xp2p_proto::command::{
    BuiltIn, CommandOutcome, DeviceStatus, DeviceUse, FileList, FileType, MonthMask, RecordIndex, Reply,
    YearMonth,
};
use xp2p_proto::info::Feature;
use xp2p_proto::request::Quality;

use crate::args::{Ask, Files, Records};
use crate::command::{explain, finish, send};
use crate::session::Session;
use crate::when::usage;
use crate::{output, when};

const DAY: u64 = 86_400;

pub(crate) async fn status(args: &Ask) -> Result<u8> {
    let session = Session::open(&args.info, Feature::Command, args.lan, None, None).await?;
    let timeout = std::time::Duration::from_millis(args.timeout);
    let mut replies = serde_json::Map::new();
    let mut code = 0;
    for wanted in DeviceUse::ALL {
        let command = BuiltIn::DeviceStatus { wanted, quality: Quality::High }.to_command(args.channel);
        let outcome = session.viewer.command(session.service.id, command, Some(timeout)).await?;
        let CommandOutcome::Success { data } = &outcome else {
            // An xp2pInfo may allow some of it only.
            if matches!(outcome, CommandOutcome::Failure { status: 403, .. }) {
                if !args.json {
                    output::line(&format!("{:9} not allowed by this xp2pInfo", wanted.name()));
                }
                continue;
            }
            code = explain(&outcome);
            break;
        };
        let status = DeviceStatus::parse(data)?;
        if args.json {
            let value = serde_json::from_str(&status.to_json()).unwrap_or_default();
            replies.insert(wanted.name().to_owned(), value);
            continue;
        }
        let words = match status.status {
            0 => "free",
            1 => "busy: no more at a time",
            404 => "no such channel",
            405 => "too many apps are connected",
            406 => "not offered by this camera",
            _ => "unknown",
        };
        let apps = match (status.app_connect_num, status.max_connect_num) {
            (Some(now), Some(most)) => format!(" ({now} of {most} apps)"),
            _ => String::new(),
        };
        output::line(&format!("{:9} {words}{apps}", wanted.name()));
    }
    session.close().await;
    if args.json && code == 0 {
        output::json(&json!(replies));
    }
    Ok(code)
}

fn range(start: &Option<String>, end: &Option<String>) -> Result<(u64, u64)> {
    let end_time = end.as_deref().map(when::parse).transpose()?.unwrap_or_else(when::now);
    let start_time = match start {
        Some(start) => when::parse(start)?,
        None => end_time.saturating_sub(DAY),
    };
    if start_time >= end_time {
        return Err(usage("the start must lie before the end"));
    }
    Ok((start_time, end_time))
}

pub(crate) async fn records(args: &Records) -> Result<u8> {
    let builtin = match &args.month {
        Some(month) => BuiltIn::MonthRecord(YearMonth::parse(month).map_err(|e| usage(e.to_string()))?),
        None => {
            let (start_time, end_time) = range(&args.start, &args.end)?;
            BuiltIn::RecordIndex { start_time, end_time, kind: None }
        }
    };
    let outcome =
        send(&args.ask.info, args.ask.lan, builtin.to_command(args.ask.channel), args.ask.timeout).await?;
    let CommandOutcome::Success { data } = &outcome else { return Ok(finish(&outcome)) };
    if args.ask.json {
        return Ok(finish(&outcome));
    }
    if args.month.is_some() {
        let days: Vec<String> = MonthMask::parse(data)?.days().map(|day| day.to_string()).collect();
        output::line(&if days.is_empty() {
            "nothing is recorded in that month".to_owned()
        } else {
            format!("days with recordings: {}", days.join(" "))
        });
        return Ok(0);
    }
    let index = RecordIndex::parse(data)?;
    if index.video_list.is_empty() {
        output::line("nothing is recorded in that time");
    }
    for entry in index.video_list {
        output::line(&format!(
            "{}  to  {}  ({} s, --start {} --end {})",
            when::show(entry.start_time),
            when::show(entry.end_time),
            entry.end_time.saturating_sub(entry.start_time),
            entry.start_time,
            entry.end_time
        ));
    }
    Ok(0)
}

pub(crate) async fn files(args: &Files) -> Result<u8> {
    let (start_time, end_time) = range(&args.start, &args.end)?;
    let file_type = if args.pictures { FileType::Picture } else { FileType::Video };
    let command = BuiltIn::FileList { start_time, end_time, file_type }.to_command(args.ask.channel);
    let outcome = send(&args.ask.info, args.ask.lan, command, args.ask.timeout).await?;
    let CommandOutcome::Success { data } = &outcome else { return Ok(finish(&outcome)) };
    if args.ask.json {
        return Ok(finish(&outcome));
    }
    let list = FileList::parse(data)?;
    if list.file_list.is_empty() {
        output::line("there are no files of that time");
    }
    for file in list.file_list {
        let name = output::shown(&file.file_name);
        output::line(&format!(
            "{name}  {}  {}  to  {}",
            HumanBytes(file.file_size),
            when::show(file.start_time),
            when::show(file.end_time)
        ));
    }
    Ok(0)
}

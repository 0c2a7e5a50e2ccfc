//! Answers what is recorded and which files there are.

use std::io;
use std::sync::Arc;

use xp2p_proto::camera::RequestId;
use xp2p_proto::command::{
    BuiltIn, FileEntry, FileList, FileType, MAX_ENTRIES, MonthMask, RecordEntry, RecordIndex, Reply,
    YearMonth,
};
use xp2p_proto::request::Status;

use super::serve::Context;
use crate::records::{FileKind, Storage};
use crate::runtime::Runtime;

/// Whether the storage answers this command.
pub(super) fn is_listing(command: &BuiltIn) -> bool {
    matches!(command, BuiltIn::RecordIndex { .. } | BuiltIn::MonthRecord(_) | BuiltIn::FileList { .. })
}

pub(super) async fn answer<R: Runtime>(
    context: Context<R>,
    request: RequestId,
    channel: u32,
    command: BuiltIn,
    storage: Arc<dyn Storage>,
) {
    let reply = context.runtime.unblock(move || list(&*storage, channel, command)).await;
    context
        .tell(move |camera, now| {
            match reply {
                Ok(reply) => camera.answer(now, request, reply),
                Err(error) => {
                    let reason = format!("the camera cannot read its recordings: {error}");
                    camera.refuse(now, request, Status::NotFound, &reason)
                }
            };
        })
        .await;
}

fn list(storage: &dyn Storage, channel: u32, command: BuiltIn) -> io::Result<String> {
    let ms = |unix: u64| unix.saturating_mul(1000);
    Ok(match command {
        BuiltIn::RecordIndex { start_time, end_time, kind } => {
            let spans = storage.spans(channel, ms(start_time), ms(end_time))?;
            let wanted = spans.into_iter().filter(|s| kind.is_none_or(|kind| kind == s.kind));
            let entry = |s: crate::records::Span| RecordEntry {
                kind: s.kind,
                start_time: s.start / 1000,
                end_time: s.end.div_ceil(1000),
            };
            RecordIndex { video_list: wanted.take(MAX_ENTRIES).map(entry).collect() }.to_json()
        }
        BuiltIn::MonthRecord(month) => {
            month_mask(storage, channel, month, &jiff::tz::TimeZone::system())?.to_json()
        }
        BuiltIn::FileList { start_time, end_time, file_type } => {
            let kind = match file_type {
                FileType::Video => FileKind::Video,
                FileType::Picture => FileKind::Picture,
            };
            let files = storage.files(channel, ms(start_time), ms(end_time), kind)?;
            let entry = |f: crate::records::FileInfo| FileEntry {
                file_type: file_type.number(),
                file_name: f.name,
                file_size: f.size,
                start_time: f.start,
                end_time: f.end,
                extra_info: f.extra,
            };
            FileList { file_list: files.into_iter().take(MAX_ENTRIES).map(entry).collect() }.to_json()
        }
        // See `is_listing`.
        _ => return Err(io::ErrorKind::Unsupported.into()),
    })
}

/// Days are those of the camera's own clock: its owner asks for "Tuesday", not for UTC.
fn month_mask(
    storage: &dyn Storage,
    channel: u32,
    month: YearMonth,
    zone: &jiff::tz::TimeZone,
) -> io::Result<MonthMask> {
    let out_of_range = |e: jiff::Error| io::Error::new(io::ErrorKind::InvalidInput, e);
    // 1970 to 9999 and 1 to 12.
    let first = jiff::civil::Date::new(month.year() as i16, month.month() as i8, 1).map_err(out_of_range)?;
    let starts = |day: jiff::civil::Date| {
        let at = day.to_zoned_datetime(zone.clone()).map_err(out_of_range)?.timestamp().as_millisecond();
        Ok::<u64, io::Error>(u64::try_from(at).unwrap_or(0))
    };
    let mut mask = MonthMask::default();
    let days: Vec<jiff::civil::Date> =
        first.series(jiff::ToSpan::days(1)).take_while(|day| day.month() == first.month()).collect();
    for day in days {
        // The last days of 9999 have no end that could be told, and no recordings.
        let Ok(next) = day.tomorrow().map_err(out_of_range).and_then(starts) else { break };
        if !storage.spans(channel, starts(day)?, next)?.is_empty() {
            // 1 to 31.
            mask.set(day.day() as u8);
        }
    }
    Ok(mask)
}

#[cfg(test)]
mod tests;

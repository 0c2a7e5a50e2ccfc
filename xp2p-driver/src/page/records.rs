//! What the camera has recorded: months, days and files.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use xp2p_proto::command::{
    BuiltIn, CommandOutcome, FileList, FileType, MonthMask, RecordIndex, Reply, YearMonth,
};
use xp2p_proto::request::Params;

use super::answer::{Outcome, Problem};

/// A day in which zone, and when it begins and ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Day {
    zone: String,
    start: u64,
    end: u64,
}

/// `?month=YYYYMM`.
pub(super) fn month(params: &Params) -> Result<BuiltIn, Problem> {
    let text = params.get("month").unwrap_or_default();
    let month = YearMonth::parse(text).map_err(|e| Problem::parameter(format!("month: {e}")))?;
    Ok(BuiltIn::MonthRecord(month))
}

/// `?day=YYYYMMDD&zone=Europe/Berlin`; without a zone that of this computer.
pub(super) fn day(params: &Params) -> Result<Day, Problem> {
    let text = params.get("day").unwrap_or_default();
    let wrong = || Problem::parameter("day is a day like 20261124");
    let zone = match params.get("zone") {
        Some(name) => TimeZone::get(name)
            .map_err(|_| Problem::parameter("zone is the name of a time zone, like Europe/Berlin"))?,
        None => TimeZone::system(),
    };
    if text.len() != 8 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let date = Date::strptime("%Y%m%d", text).map_err(|_| wrong())?;
    let next = date.tomorrow().map_err(|_| wrong())?;
    let second = |date: Date| {
        let midnight = date.to_datetime(jiff::civil::Time::midnight());
        let time = zone.to_timestamp(midnight).map_err(|_| wrong())?;
        u64::try_from(time.as_second()).map_err(|_| wrong())
    };
    let name = zone.iana_name().unwrap_or("that of the computer that xp2p runs on").to_owned();
    Ok(Day { zone: name, start: second(date)?, end: second(next)? })
}

impl Day {
    pub(super) fn question(&self) -> BuiltIn {
        BuiltIn::RecordIndex { start_time: self.start, end_time: self.end, kind: None }
    }

    /// What was recorded on that day, cut at midnight.
    pub(super) fn told(&self, channel: u32, data: &[u8]) -> Outcome {
        let index = RecordIndex::parse(data).map_err(|e| odd(&e))?;
        let spans = index.video_list.iter().filter(|e| e.end_time > self.start && e.start_time < self.end);
        let spans: Vec<Value> = spans
            .map(|e| {
                let (start, end) = (e.start_time.max(self.start), e.end_time.min(self.end));
                json!({ "type": e.kind, "start": start, "end": end })
            })
            .collect();
        Ok(json!({
            "channel": channel, "zone": self.zone, "start": self.start, "end": self.end, "spans": spans,
            "note": "times are unix seconds; the day begins and ends at midnight of the zone",
        }))
    }
}

pub(super) fn month_told(channel: u32, data: &[u8]) -> Outcome {
    let mask = MonthMask::parse(data).map_err(|e| odd(&e))?;
    Ok(json!({
        "channel": channel,
        "days": mask.days().collect::<Vec<_>>(),
        "note": "days are those of the camera's own clock and zone",
    }))
}

/// `?start=...&end=...&type=video|picture`, unix seconds.
pub(super) fn files(params: &Params) -> Result<BuiltIn, Problem> {
    let time = |name: &str| {
        let text = params.get(name).unwrap_or_default();
        text.parse::<u64>().map_err(|_| Problem::parameter(format!("{name} is a time in unix seconds")))
    };
    let (start_time, end_time) = (time("start")?, time("end")?);
    if start_time >= end_time {
        return Err(Problem::parameter("the start must lie before the end"));
    }
    let file_type = match params.get("type") {
        None | Some("video") => FileType::Video,
        Some("picture") => FileType::Picture,
        Some(_) => return Err(Problem::parameter("type is video or picture")),
    };
    Ok(BuiltIn::FileList { start_time, end_time, file_type })
}

pub(super) fn files_told(channel: u32, data: &[u8]) -> Outcome {
    let list = FileList::parse(data).map_err(|e| odd(&e))?;
    let files: Vec<Value> = list
        .file_list
        .iter()
        .map(|f| {
            let kind = if f.file_type == FileType::Picture.number() { "picture" } else { "video" };
            json!({ "name": f.file_name, "size": f.file_size, "start": f.start_time, "end": f.end_time,
                    "type": kind, "extra": f.extra_info })
        })
        .collect();
    Ok(json!({ "channel": channel, "files": files }))
}

fn odd(error: &dyn std::fmt::Display) -> Problem {
    Problem::new(
        hyper::StatusCode::BAD_GATEWAY,
        None,
        format!("the camera's answer cannot be understood: {error}"),
    )
}

/// The data of an answer, or why there is none.
pub(super) fn data(outcome: &CommandOutcome) -> Result<&[u8], Problem> {
    let failed = |status, message: String| Err(Problem::new(status, None, message));
    match outcome {
        CommandOutcome::Success { data } => Ok(data),
        CommandOutcome::Failure { status: 406, .. } => {
            failed(hyper::StatusCode::NOT_IMPLEMENTED, "this camera keeps no recordings".to_owned())
        }
        CommandOutcome::Failure { status, errmsg } => failed(
            hyper::StatusCode::from_u16(*status).unwrap_or(hyper::StatusCode::BAD_GATEWAY),
            format!("the camera refuses ({status}): {errmsg}"),
        ),
        CommandOutcome::Error { errmsg } => {
            failed(hyper::StatusCode::BAD_GATEWAY, format!("{errmsg}; try again"))
        }
        CommandOutcome::Timeout => failed(
            hyper::StatusCode::GATEWAY_TIMEOUT,
            "the camera did not answer in time; is it on? Try again in a moment".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(text: &str) -> Params {
        Params::parse(text).unwrap()
    }

    #[test]
    fn a_day_has_its_zone() {
        let utc = day(&params("day=20231114&zone=UTC")).unwrap();
        assert_eq!((utc.start, utc.end), (1_699_920_000, 1_700_006_400));
        // The day on which clocks go back has 25 hours.
        let long = day(&params("day=20261025&zone=Europe/Berlin")).unwrap();
        assert_eq!(long.end - long.start, 25 * 3600);
        for bad in ["", "day=20231301", "day=2023111", "day=+2023111", "day=20231114&zone=Mars/Olympus"] {
            assert!(day(&params(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_recording_over_midnight_is_cut() {
        let day = day(&params("day=20231114&zone=UTC")).unwrap();
        let data = br#"{"video_list":[{"type":"0","start_time":"1699919990","end_time":"1699920010"},
            {"type":"0","start_time":"1600000000","end_time":"1600000010"}]}"#;
        let told = day.told(0, data).unwrap();
        assert_eq!(told["spans"], json!([{"type": 0, "start": 1_699_920_000, "end": 1_699_920_010}]));
        assert_eq!(told["zone"], "UTC");
        assert!(day.told(0, b"nonsense").is_err());
    }

    #[test]
    fn months_and_files_are_told_plainly() {
        assert_eq!(month_told(1, br#"{"video_list":"5"}"#).unwrap()["days"], json!([1, 3]));
        assert!(month(&params("month=202613")).is_err());
        let files = files_told(
            0,
            br#"{"file_list":[{"file_type":"0","file_name":"a.flv","file_size":"7",
            "start_time":"1","end_time":"2","extra_info":""}]}"#,
        )
        .unwrap();
        assert_eq!(files["files"][0]["size"], 7);
        assert!(super::files(&params("start=2&end=1")).is_err());
        assert!(super::files(&params("start=1&end=2&type=song")).is_err());
    }
}

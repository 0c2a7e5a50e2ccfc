//! Points in time and sizes as people write them.

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// An argument that makes no sense: exit code 64.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// An error of usage.
pub(crate) fn usage(text: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Usage(text.into()))
}

/// Unix seconds of: unix seconds, a time with zone, or one without, which is local.
pub(crate) fn parse(text: &str) -> Result<u64> {
    if let Ok(unix) = text.parse::<u64>() {
        return Ok(unix);
    }
    let at = match text.parse::<Timestamp>() {
        Ok(at) => at,
        Err(_) => text
            .parse::<DateTime>()
            .and_then(|local| local.to_zoned_datetime(TimeZone::system()))
            .map(|zoned| zoned.timestamp())
            .map_err(|_| {
                usage(format!(
                    "`{text}` is no time; write unix seconds, 2026-11-24T02:04:30Z or 2026-11-24T02:04"
                ))
            })?,
    };
    u64::try_from(at.as_second()).map_err(|_| usage(format!("`{text}` lies before 1970")))
}

/// A time for people: local, to the second.
pub(crate) fn show(unix: u64) -> String {
    let at = i64::try_from(unix).ok().and_then(|unix| Timestamp::from_second(unix).ok());
    match at {
        Some(at) => at.to_zoned_datetime(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        None => unix.to_string(),
    }
}

/// Now, in unix seconds.
pub(crate) fn now() -> u64 {
    u64::try_from(Timestamp::now().as_second()).unwrap_or(0)
}

/// Bytes of: 500M, 4G, 1000000.
pub(crate) fn size(text: &str) -> Result<u64> {
    let (digits, factor) = match text.trim_end_matches(['B', 'b']).to_ascii_uppercase() {
        t if t.ends_with('K') => (t, 1_000),
        t if t.ends_with('M') => (t, 1_000_000),
        t if t.ends_with('G') => (t, 1_000_000_000),
        t if t.ends_with('T') => (t, 1_000_000_000_000),
        t => (t, 1u64),
    };
    let digits = digits.trim_end_matches(['K', 'M', 'G', 'T']);
    let number: u64 = digits
        .parse()
        .ok()
        .context("")
        .map_err(|_| usage(format!("`{text}` is no size; write bytes, or like 500M or 4G")))?;
    number.checked_mul(factor).ok_or_else(|| usage(format!("`{text}` is too large")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_all_forms() {
        assert_eq!(parse("1700000000").unwrap(), 1_700_000_000);
        assert_eq!(parse("2023-11-14T22:13:20Z").unwrap(), 1_700_000_000);
        let local = parse("2023-11-14T22:13").unwrap();
        assert!(local.abs_diff(1_700_000_000) <= 15 * 3600);
        assert!(parse("yesterday").unwrap_err().is::<Usage>());
    }

    #[test]
    fn sizes_are_read_with_their_units() {
        assert_eq!(size("4G").unwrap(), 4_000_000_000);
        assert_eq!(size("500MB").unwrap(), 500_000_000);
        assert_eq!(size("123").unwrap(), 123);
        assert!(size("much").unwrap_err().is::<Usage>());
        assert!(size("99999999999T").unwrap_err().is::<Usage>());
    }
}

//! File names that tell a time.

use std::io;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::FileKind;

/// The longest name that is looked at, in bytes. Ours have 28.
const MAX_NAME: usize = 40;

/// How the time is written. Colons are no part of it, since not every file system allows them.
const WRITTEN: &str = "%Y-%m-%dT%H-%M-%S%.3fZ";
/// The same with any or no part of a second.
const READ: &str = "%Y-%m-%dT%H-%M-%S%.fZ";

/// The name of a recording that begins at `start` (Unix milliseconds).
pub(super) fn video_name(start: u64) -> io::Result<String> {
    let time = i64::try_from(start).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let time = time.ok_or_else(|| {
        let text = format!("{start} ms after 1970 is no time that can be recorded; check the clock");
        io::Error::new(io::ErrorKind::InvalidInput, text)
    })?;
    Ok(format!("{}.flv", time.strftime(WRITTEN)))
}

/// Kind and start (Unix milliseconds) that a name tells; `None` if it is not the name of a recording or picture.
///
/// A name that passes has no path separator, no leading dot, and nothing but ASCII letters, digits, `-` and `.`.
pub(super) fn parse(name: &str) -> Option<(FileKind, u64)> {
    if name.len() > MAX_NAME {
        return None;
    }
    let (stem, ending) = name.rsplit_once('.')?;
    let kind = match ending.to_ascii_lowercase().as_str() {
        "flv" => FileKind::Video,
        "jpg" | "jpeg" | "png" => FileKind::Picture,
        _ => return None,
    };
    // The parser would let white space and signs pass.
    if !stem.starts_with(|c: char| c.is_ascii_digit())
        || !stem.bytes().all(|b| b.is_ascii_digit() || b"-.TZ".contains(&b))
    {
        return None;
    }
    let time = TimeZone::UTC.to_timestamp(DateTime::strptime(READ, stem).ok()?).ok()?;
    Some((kind, u64::try_from(time.as_millisecond()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_time_is_utc_to_the_millisecond() {
        assert_eq!(video_name(1_795_485_870_123).unwrap(), "2026-11-24T02-04-30.123Z.flv");
        assert_eq!(video_name(0).unwrap(), "1970-01-01T00-00-00.000Z.flv");
        assert!(video_name(u64::MAX).unwrap_err().to_string().contains("clock"));
    }

    #[test]
    fn names_of_others_are_understood() {
        let at = 1_795_485_870_000;
        assert_eq!(parse("2026-11-24T02-04-30Z.flv"), Some((FileKind::Video, at)));
        assert_eq!(parse("2026-11-24T02-04-30.5Z.FLV"), Some((FileKind::Video, at + 500)));
        for ending in ["jpg", "JPG", "jpeg", "png"] {
            assert_eq!(
                parse(&format!("2026-11-24T02-04-30.123Z.{ending}")),
                Some((FileKind::Picture, at + 123))
            );
        }
    }

    #[test]
    fn what_is_no_plain_name_is_refused() {
        let hostile = [
            "",
            ".",
            "..",
            ".flv",
            "/etc/passwd",
            "../2026-11-24T02-04-30Z.flv",
            "ch1/2026-11-24T02-04-30Z.flv",
            "..\\2026-11-24T02-04-30Z.flv",
            "2026-11-24T02-04-30Z.flv\0.jpg",
            "2026-11-24T02-04-30Z.flv/",
            " 2026-11-24T02-04-30Z.flv",
            "2026-11-24T02-04-30Z.flv ",
            "2026-11-24T02-04-30Z .flv",
            "+2026-11-24T02-04-30Z.flv",
            "-2026-11-24T02-04-30Z.flv",
            "2026-11-24T02:04:30Z.flv",
            "2026-13-24T02-04-30Z.flv",
            "2026-02-30T02-04-30Z.flv",
            "2026-11-24T02-04-30.flv",
            "2026-11-24T02-04-30Z",
            "2026-11-24T02-04-30Z.flv.tmp",
            "1969-12-31T23-59-59Z.flv",
            "2026-11-24T02-04-30.00000000000000000000000Z.flv",
        ];
        for name in hostile {
            assert_eq!(parse(name), None, "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(start in 0..253_402_300_799_999_u64 - 86_400_000) {
            prop_assert_eq!(parse(&video_name(start).unwrap()), Some((FileKind::Video, start)));
        }

        #[test]
        fn no_name_panics(name in ".{0,48}") {
            if parse(&name).is_some() {
                prop_assert!(!name.contains(['/', '\\', '\0']) && !name.starts_with('.'));
            }
        }
    }
}

//! Lengths of time as people write them.

use anyhow::{Result, bail};

/// Seconds of `90`, `90s`, `30m`, `24h`, `30d`.
pub(crate) fn parse(text: &str) -> Result<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        other => bail!("unknown unit `{other}`; write for example 90s, 30m, 24h or 30d"),
    };
    match digits.parse::<u64>().ok().and_then(|n| n.checked_mul(factor)) {
        Some(seconds) if seconds > 0 => Ok(seconds),
        _ => bail!("`{text}` is no length of time; write for example 90s, 30m, 24h or 30d"),
    }
}

/// Seconds since 1970.
pub(crate) fn unix_now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("30m", 1800), ("24h", 86_400), ("2d", 172_800)] {
            assert_eq!(super::parse(text).unwrap(), seconds);
        }
        for bad in ["", "h", "0", "-1", "1w", "1.5h", "99999999999999999999d"] {
            assert!(super::parse(bad).is_err(), "{bad}");
        }
    }
}

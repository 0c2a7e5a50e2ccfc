//! Texts of requests as a person may see them, and percent-encoding.

use std::fmt::Write as _;

pub use crate::wire::printable;

/// `text` with all that is not printable written as `\u{..}`, cut to `max` characters.
pub(super) fn shown(text: &str, max: usize) -> String {
    let mut out = String::new();
    let mut count = 0;
    for c in text.chars() {
        let piece = if printable(c) { String::from(c) } else { c.escape_unicode().to_string() };
        count += piece.chars().count();
        if count > max {
            break;
        }
        out.push_str(&piece);
    }
    out
}

/// Bytes that stand for themselves in a printed query: the unreserved ones (RFC 3986 section 2.3), and `/`, `,`
/// and `:`, which it allows there and which keep names and times readable.
fn plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~/,:".contains(&byte)
}

/// Characters of `text` after percent-encoding.
pub(super) fn encoded_len(text: &str) -> usize {
    text.bytes().map(|b| if plain(b) { 1 } else { 3 }).sum()
}

/// Appends `text` percent-encoded.
pub(super) fn encode(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if plain(byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// Percent-decodes `text`; a `+` is a plus (RFC 3986), not a space. The error is the offset of the bad escape, or of
/// the first byte that is not UTF-8 after decoding.
pub(super) fn decode(text: &str) -> Result<String, usize> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    // Where each decoded byte came from is only needed for an error, so it is counted again then.
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte == b'%' {
            let digit = |i: usize| bytes.get(at + i).and_then(|b| char::from(*b).to_digit(16));
            let (Some(high), Some(low)) = (digit(1), digit(2)) else { return Err(at) };
            out.push((high * 16 + low) as u8);
            at += 3;
        } else {
            out.push(byte);
            at += 1;
        }
    }
    String::from_utf8(out).map_err(|e| {
        let wrong = e.utf8_error().valid_up_to();
        let mut at = 0;
        for _ in 0..wrong {
            at += if bytes.get(at) == Some(&b'%') { 3 } else { 1 };
        }
        at
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bad_escapes_are_refused_where_they_are() {
        assert_eq!(decode("a%20b+c"), Ok("a b+c".into()));
        assert_eq!(decode("ab%"), Err(2));
        assert_eq!(decode("ab%2"), Err(2));
        assert_eq!(decode("%2ga"), Err(0));
        assert_eq!(decode("%41é%ff"), Err(5), "not UTF-8");
        assert_eq!(decode("%+1"), Err(0));
    }

    #[test]
    fn what_is_shown_has_no_escapes_and_an_end() {
        assert_eq!(shown("a\u{1b}[2Jb", 99), "a\\u{1b}[2Jb");
        assert_eq!(shown("\u{202e}x", 99), "\\u{202e}x");
        assert_eq!(shown("摄像机忙", 3), "摄像机");
        assert_eq!(shown("ab\u{1b}", 7), "ab", "an escape is never cut");
    }

    proptest! {
        #[test]
        fn encoding_round_trips(text in any::<String>()) {
            let mut out = String::new();
            encode(&mut out, &text);
            prop_assert_eq!(out.len(), encoded_len(&text));
            prop_assert!(out.bytes().all(|b| b.is_ascii_graphic()));
            prop_assert_eq!(decode(&out), Ok(text));
        }

        #[test]
        fn decoding_never_panics(text in "[%0-9a-fé]{0,20}") {
            if let Err(at) = decode(&text) {
                prop_assert!(at < text.len());
            }
        }
    }
}

//! The header fields that mean something here; all others are ignored.

use std::fmt;
use std::fmt::Write as _;
use std::time::Duration;

use super::head::HeadError;
use super::text::{printable, shown};
use super::{MAX_CONTENT_TYPE, MAX_REASON};
use crate::info::Capability;

const CAPABILITY: &str = "x-xp2p-capability";
const REQUEST: &str = "x-xp2p-request";
const REASON: &str = "x-xp2p-reason";
const LATENCY: &str = "x-xp2p-latency";
const CONTENT_TYPE: &str = "content-type";
const CONTENT_LENGTH: &str = "content-length";
const ETAG: &str = "etag";
const POSITION: &str = "x-xp2p-position";
const PAUSED: &str = "x-xp2p-paused";
/// Longest entity tag in bytes, without its quotes.
pub const MAX_ETAG: usize = 128;

/// Why a device refuses, for a person: at most [`MAX_REASON`] characters, all printable, so that a hostile device
/// cannot send escapes to a viewer's terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason(String);

impl Reason {
    /// Makes any text safe: what is not printable becomes `\u{..}`, what is too long is cut, space around it goes.
    pub fn new(text: &str) -> Self {
        Self(shown(text.trim(), MAX_REASON).trim_end().to_owned())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The header fields that mean something here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headers {
    /// `x-xp2p-capability`: what the viewer may do, in base64url.
    pub capability: Option<Capability>,
    /// `x-xp2p-request`: number of the request, which the answer repeats.
    pub request: Option<u64>,
    /// `x-xp2p-reason`: why the device refuses.
    pub reason: Option<Reason>,
    /// How much delay the viewer bears before pictures are to be left out. Whole milliseconds on the wire.
    pub latency: Option<Duration>,
    /// `content-length`: bytes that follow, where they are known. Not allowed in requests but as 0.
    pub content_length: Option<u64>,
    /// `content-type` of what follows: visible ASCII and inner spaces, at most [`MAX_CONTENT_TYPE`].
    pub content_type: Option<String>,
    /// `etag` (RFC 9110 section 8.8.3): names one content of a file, so that a download that goes on later notices
    /// another one. Visible ASCII without quotes, at most [`MAX_ETAG`] bytes.
    pub etag: Option<String>,
    /// `x-xp2p-position`: milliseconds from the start at which a playback goes on after a lost connection.
    pub position: Option<u64>,
    /// `x-xp2p-paused: 1`: it was paused there.
    pub paused: bool,
}

impl Headers {
    /// Takes up one field. Errors name ours only, never what came in.
    pub(super) fn read(&mut self, name: &str, value: &[u8]) -> Result<(), HeadError> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let text = |name| std::str::from_utf8(value).map_err(|_| HeadError::Field { name, allowed: "UTF-8" });
        if is(CAPABILITY) {
            let error = |_| HeadError::Field { name: CAPABILITY, allowed: "a capability in base64url" };
            once(&mut self.capability, CAPABILITY, Capability::from_base64(text(CAPABILITY)?).map_err(error)?)
        } else if is(REQUEST) {
            once(&mut self.request, REQUEST, number(REQUEST, value)?)
        } else if is(LATENCY) {
            once(&mut self.latency, LATENCY, Duration::from_millis(number(LATENCY, value)?))
        } else if is(CONTENT_LENGTH) {
            once(&mut self.content_length, CONTENT_LENGTH, number(CONTENT_LENGTH, value)?)
        } else if is(POSITION) {
            once(&mut self.position, POSITION, number(POSITION, value)?)
        } else if is(PAUSED) {
            self.paused = number(PAUSED, value)? != 0;
            Ok(())
        } else if is(ETAG) {
            let bare = text(ETAG)?.strip_prefix('"').and_then(|t| t.strip_suffix('"'));
            let bare = bare.filter(|t| etag_ok(t)).ok_or(HeadError::Field {
                name: ETAG,
                allowed: "1 to 128 visible ASCII characters in quotes",
            })?;
            once(&mut self.etag, ETAG, bare.to_owned())
        } else if is(REASON) {
            let text = text(REASON)?;
            if text.chars().count() > MAX_REASON || !text.chars().all(printable) {
                return Err(HeadError::Field { name: REASON, allowed: "256 printable characters" });
            }
            once(&mut self.reason, REASON, Reason(text.trim().to_owned()))
        } else if is(CONTENT_TYPE) {
            let text = text(CONTENT_TYPE)?;
            if !content_type_ok(text) {
                return Err(HeadError::Field { name: CONTENT_TYPE, allowed: "128 visible ASCII characters" });
            }
            once(&mut self.content_type, CONTENT_TYPE, text.to_owned())
        } else if is("transfer-encoding") {
            // The stream ends where the body ends; a second way to say so would only be a way to disagree.
            Err(HeadError::Field { name: "transfer-encoding", allowed: "nothing: leave it out" })
        } else {
            Ok(())
        }
    }

    /// Appends the fields. A content type that could not be read back is left out.
    pub(super) fn print(&self, out: &mut String) {
        // Writing to a string cannot fail.
        if let Some(capability) = &self.capability {
            let _ = write!(out, "{CAPABILITY}: {}\r\n", capability.to_base64());
        }
        if let Some(request) = self.request {
            let _ = write!(out, "{REQUEST}: {request}\r\n");
        }
        if let Some(reason) = &self.reason {
            let _ = write!(out, "{REASON}: {reason}\r\n");
        }
        if let Some(latency) = self.latency {
            let _ = write!(out, "{LATENCY}: {}\r\n", latency.as_millis());
        }
        if let Some(length) = self.content_length {
            let _ = write!(out, "{CONTENT_LENGTH}: {length}\r\n");
        }
        if let Some(kind) = self.content_type.as_deref().filter(|kind| content_type_ok(kind)) {
            let _ = write!(out, "{CONTENT_TYPE}: {kind}\r\n");
        }
        if let Some(etag) = self.etag.as_deref().filter(|etag| etag_ok(etag)) {
            let _ = write!(out, "{ETAG}: \"{etag}\"\r\n");
        }
        if let Some(position) = self.position {
            let _ = write!(out, "{POSITION}: {position}\r\n");
        }
        if self.paused {
            let _ = write!(out, "{PAUSED}: 1\r\n");
        }
    }
}

fn etag_ok(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_ETAG && text.bytes().all(|b| b.is_ascii_graphic() && b != b'"')
}

fn content_type_ok(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_CONTENT_TYPE
        && text.trim() == text
        && text.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
}

fn once<T>(slot: &mut Option<T>, name: &'static str, value: T) -> Result<(), HeadError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(HeadError::Field { name, allowed: "one of it" }),
    }
}

fn number(name: &'static str, value: &[u8]) -> Result<u64, HeadError> {
    let error = HeadError::Field { name, allowed: "a decimal number below 2^64" };
    if !value.iter().all(u8::is_ascii_digit) {
        return Err(error);
    }
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).ok_or(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::info::Rights;
    use crate::keys::SecretKey;

    fn read(fields: &[(&str, &[u8])]) -> Result<Headers, HeadError> {
        let mut headers = Headers::default();
        fields.iter().try_for_each(|(name, value)| headers.read(name, value)).map(|()| headers)
    }

    #[test]
    fn fields_are_known_in_any_case_and_others_are_ignored() {
        let headers =
            read(&[("X-XP2P-Request", b"7"), ("cookie", b"\xff"), ("Content-Type", b"video/x-flv")]);
        let expected =
            Headers { request: Some(7), content_type: Some("video/x-flv".into()), ..Headers::default() };
        assert_eq!(headers, Ok(expected));
    }

    #[test]
    fn every_bad_field_is_refused_by_its_name() {
        let wrong: [(&'static str, &[u8]); 14] = [
            (CAPABILITY, b""),
            (CAPABILITY, b"abc"),
            (CAPABILITY, b"\xff"),
            (REQUEST, b""),
            (REQUEST, b"+1"),
            (REQUEST, b"18446744073709551616"),
            (CONTENT_LENGTH, b"1,1"),
            (REASON, b"\x1b[2J"),
            (REASON, "\u{202e}x".as_bytes()),
            (REASON, b"\xff"),
            (REASON, &[b'a'; MAX_REASON + 1]),
            (CONTENT_TYPE, "vidéo".as_bytes()),
            (CONTENT_TYPE, &[b'a'; MAX_CONTENT_TYPE + 1]),
            ("transfer-encoding", b"chunked"),
        ];
        for (field, value) in wrong {
            let error = read(&[(field, value)]).unwrap_err();
            assert!(matches!(error, HeadError::Field { name, .. } if name == field), "{field}: {error}");
        }
        let error = HeadError::Field { name: REQUEST, allowed: "one of it" };
        assert_eq!(read(&[(REQUEST, b"1"), (REQUEST, b"1")]), Err(error));
    }

    #[test]
    fn any_text_becomes_a_reason_that_can_be_read_back() {
        for text in ["", "  a ", "a\u{1b}[2Jb\r\nx: y", "摄像机忙", "\u{85}x", &"é ".repeat(400)] {
            let reason = Reason::new(text);
            assert!(reason.as_str().chars().count() <= MAX_REASON);
            assert_eq!(read(&[(REASON, reason.as_str().as_bytes())]).unwrap().reason, Some(reason));
        }
        assert_eq!(Reason::new("a\r\nb").as_str(), "a\\u{d}\\u{a}b");
    }

    #[test]
    fn a_capability_travels() {
        let capability = Capability::issue(&SecretKey::from_bytes([1; 32]), Rights::ALL, 1, None, [0; 8]);
        let text = capability.to_base64();
        assert_eq!(read(&[(CAPABILITY, text.as_bytes())]).unwrap().capability, Some(capability));
    }
}

//! Who may ask for what: path token, Host and Origin.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use data_encoding::HEXUPPER;
use subtle::ConstantTimeEq;

/// What a path asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted<'a> {
    /// `/TOKEN/ID/ipc.flv`, or `/TOKEN/ID/stream.flv` for what is no camera.
    Flv { id: Cow<'a, str> },
    /// `/TOKEN/ID/live.mp4`.
    Mp4 { id: Cow<'a, str> },
    /// `/TOKEN/stat`.
    Stat,
    /// `/TOKEN/feature`.
    Feature,
    /// `/TOKEN/`, `/TOKEN/page/...` or `/TOKEN/api/...`: what is behind `/TOKEN/`.
    Page { rest: &'a str },
    /// Nothing there, or a wrong token: nobody learns which.
    Nothing,
}

/// Reads a path. The token is compared in a time that does not depend on where it differs.
pub(super) fn wanted<'a>(path: &'a str, token: &str) -> Wanted<'a> {
    let path = path.trim_start_matches('/');
    let mut parts = path.split('/');
    let given = parts.next().unwrap_or_default();
    if !bool::from(given.as_bytes().ct_eq(token.as_bytes())) {
        return Wanted::Nothing;
    }
    match (parts.next(), parts.next(), parts.next()) {
        (Some("stat"), None, None) => Wanted::Stat,
        (Some("feature"), None, None) => Wanted::Feature,
        (Some(id), Some("ipc.flv" | "stream.flv"), None) if !id.is_empty() => {
            decode_id(id).map_or(Wanted::Nothing, |id| Wanted::Flv { id })
        }
        (Some(id), Some("live.mp4"), None) if !id.is_empty() => {
            decode_id(id).map_or(Wanted::Nothing, |id| Wanted::Mp4 { id })
        }
        (Some("page" | "api"), Some(_), _) | (Some(""), None, None) => {
            path.split_once('/').map_or(Wanted::Nothing, |(_, rest)| Wanted::Page { rest })
        }
        _ => Wanted::Nothing,
    }
}

/// An id as one segment of a path (RFC 3986, section 2.1): those of the plug-ins are often `PRODUCT/DEVICE`.
pub(crate) fn encode_id(id: &str) -> String {
    let mut text = String::with_capacity(id.len());
    for byte in id.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(byte.into()),
            _ => {
                text.push('%');
                text.push_str(&HEXUPPER.encode(&[byte]));
            }
        }
    }
    text
}

/// The opposite. `None`: a `%` without two hexadecimal digits, or no UTF-8.
fn decode_id(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(code, 16).ok().filter(|_| !code.starts_with('+'))?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

/// Whether a Host header names this server as somebody who knows it would (against DNS rebinding): the address that it
/// listens on, or `localhost` if that is loopback.
pub(super) fn is_our_host(host: &str, bound: SocketAddr) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        // The colons of an IPv6 address without a port are no separator.
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => (name, port.parse::<u16>().ok()),
        _ => (host, Some(80)),
    };
    if port != Some(bound.port()) {
        return false;
    }
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        // A socket that listens on all addresses is reached by any of them, but not by a name that somebody chose.
        Ok(ip) => {
            bound.ip().is_unspecified() || ip == bound.ip() || (ip.is_loopback() && bound.ip().is_loopback())
        }
        Err(_) => {
            bare.eq_ignore_ascii_case("localhost")
                && (bound.ip().is_loopback() || bound.ip().is_unspecified())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_need_the_token() {
        assert_eq!(wanted("/tok/0/ipc.flv", "tok"), Wanted::Flv { id: "0".into() });
        assert_eq!(wanted("/tok/0/stream.flv", "tok"), Wanted::Flv { id: "0".into() });
        assert_eq!(wanted("/tok/a%2fb/live.mp4", "tok"), Wanted::Mp4 { id: "a/b".into() });
        assert_eq!(wanted("/tok/stat", "tok"), Wanted::Stat);
        assert_eq!(wanted("/tok/feature", "tok"), Wanted::Feature);
        assert_eq!(wanted("/tok/", "tok"), Wanted::Page { rest: "" });
        assert_eq!(wanted("/tok/page/app.js", "tok"), Wanted::Page { rest: "page/app.js" });
        assert_eq!(wanted("/tok/api/records/day", "tok"), Wanted::Page { rest: "api/records/day" });
        assert_eq!(wanted("/tok/page/ipc.flv", "tok"), Wanted::Flv { id: "page".into() });
        for path in [
            "/",
            "/tok",
            "/to/0/ipc.flv",
            "/tokk/0/ipc.flv",
            "/0/ipc.flv",
            "/tok//ipc.flv",
            "/tok//live.mp4",
            "/tok/0/live.mp4/",
            "/tok/0/x/ipc.flv",
            "/tok/0/../ipc.flv",
        ] {
            assert_eq!(wanted(path, "tok"), Wanted::Nothing, "{path}");
        }
    }

    #[test]
    fn any_id_is_one_segment_of_the_path() {
        for id in ["cam/door", "..", "100 %", "T\u{fc}r?a=b#c", "0"] {
            let path = format!("/tok/{}/ipc.flv", encode_id(id));
            assert_eq!(wanted(&path, "tok"), Wanted::Flv { id: id.into() }, "{path}");
        }
        for path in [
            "/tok/%/ipc.flv",
            "/tok/%4/ipc.flv",
            "/tok/%+1/ipc.flv",
            "/tok/%ff/ipc.flv",
            "/tok/%\u{fc}/ipc.flv",
        ] {
            assert_eq!(wanted(path, "tok"), Wanted::Nothing, "{path}");
        }
    }

    #[test]
    fn only_our_own_names_are_ours() {
        let bound: SocketAddr = "127.0.0.1:8080".parse().unwrap();
        for good in ["127.0.0.1:8080", "localhost:8080", "LOCALHOST:8080", "[::1]:8080"] {
            assert!(is_our_host(good, bound), "{good}");
        }
        for bad in [
            "evil.example:8080",
            "127.0.0.1:80",
            "127.0.0.1",
            "localhost",
            "192.168.1.1:8080",
            "",
            "localhost.evil.example:8080",
        ] {
            assert!(!is_our_host(bad, bound), "{bad}");
        }
        let all: SocketAddr = "0.0.0.0:8080".parse().unwrap();
        assert!(is_our_host("192.168.1.1:8080", all) && !is_our_host("rebound.example:8080", all));
    }
}

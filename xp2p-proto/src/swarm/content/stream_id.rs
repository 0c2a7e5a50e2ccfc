//! The id of a stream, from a name or from the URL of its origin.

use thiserror::Error;

use crate::swarm::StreamId;

/// Query parameters that differ between viewers of one stream: signatures, their times, and who asks. Compared without
/// regard to case. Only names that hardly ever name a stream: to take two streams for one is worse than one for two.
pub const VOLATILE: &[&str] = &[
    "auth",
    "auth_key",
    "authkey",
    "client_id",
    "clientid",
    "exp",
    "expire",
    "expires",
    "hdnea",
    "hdnts",
    "hmac",
    "key-pair-id",
    "nonce",
    "policy",
    "rand",
    "random",
    "session",
    "session_id",
    "sessionid",
    "sign",
    "signature",
    "sid",
    "t",
    "time",
    "timestamp",
    "token",
    "ts",
    "txsecret",
    "txtime",
    "upt",
    "uuid",
    "volcsecret",
    "volctime",
    "wssecret",
    "wssession",
    "wstime",
    "wsabstime",
    "_",
];

/// Beginnings of names of such parameters.
pub const VOLATILE_PREFIXES: &[&str] = &["x-amz-", "x-goog-", "x-oss-", "x-cos-", "q-sign", "q-key", "utm_"];

/// Longest name or URL in bytes.
const MAX_NAME: usize = 4_096;

const NAME_CONTEXT: &str = "xp2p 2026-11 stream id of a name";
const URL_CONTEXT: &str = "xp2p 2026-11 stream id of a URL";

/// Why text names no stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum StreamNameError {
    /// Empty, or too long.
    #[error("{0} bytes; 1 to {MAX_NAME} are allowed")]
    Length(usize),
    /// Neither http nor https.
    #[error("not a URL of the form http(s)://HOST/PATH")]
    NotAUrl,
    /// A control character or a space.
    #[error("the character at byte {0} is not allowed in a URL")]
    Character(usize),
    /// The port is no number up to 65535.
    #[error("the port of the URL is not a number from 1 to 65535")]
    Port,
}

impl StreamId {
    /// The id of a stream that has a name of its own, the same at all origins that serve it.
    ///
    /// # Errors
    ///
    /// [`StreamNameError::Length`].
    pub fn of_name(name: &str) -> Result<Self, StreamNameError> {
        if name.is_empty() || name.len() > MAX_NAME {
            return Err(StreamNameError::Length(name.len()));
        }
        Ok(Self::derive(NAME_CONTEXT, name))
    }

    /// The id of the stream at an `http` or `https` URL: host, port, path, and the parameters that are not
    /// [`VOLATILE`], in any order. The scheme does not count, nor do user, password and fragment; the default ports of both
    /// schemes are one. A path alone would make one stream of those of different hosts.
    ///
    /// # Errors
    ///
    /// See [`StreamNameError`].
    ///
    /// ```
    /// use xp2p_proto::swarm::StreamId;
    ///
    /// let id = StreamId::of_url("http://Live.example/app/room.flv?txSecret=aa&txTime=65&quality=high")?;
    /// assert_eq!(id, StreamId::of_url("https://live.example:443/app/room.flv?quality=high&txSecret=bb")?);
    /// assert_ne!(id, StreamId::of_url("http://other.example/app/room.flv?quality=high")?);
    /// # Ok::<(), xp2p_proto::swarm::content::StreamNameError>(())
    /// ```
    pub fn of_url(url: &str) -> Result<Self, StreamNameError> {
        Ok(Self::derive(URL_CONTEXT, &stable_part(url)?))
    }

    fn derive(context: &str, text: &str) -> Self {
        let digest = blake3::Hasher::new_derive_key(context).update(text.as_bytes()).finalize();
        let mut id = [0; Self::LEN];
        id.iter_mut().zip(digest.as_bytes()).for_each(|(to, from)| *to = *from);
        Self::from_bytes(id)
    }
}

/// What all viewers of a stream have in their URL.
fn stable_part(url: &str) -> Result<String, StreamNameError> {
    if url.is_empty() || url.len() > MAX_NAME {
        return Err(StreamNameError::Length(url.len()));
    }
    if let Some(at) = url.bytes().position(|b| b <= b' ' || b == 0x7f) {
        return Err(StreamNameError::Character(at));
    }
    let (scheme, rest) = url.split_once("://").ok_or(StreamNameError::NotAUrl)?;
    let default_port = match scheme.to_ascii_lowercase().as_str() {
        "http" => "80",
        "https" => "443",
        _ => return Err(StreamNameError::NotAUrl),
    };
    let rest = rest.split('#').next().unwrap_or_default();
    let authority_len = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(authority_len);
    let host_port = authority.rsplit('@').next().unwrap_or_default();
    // The colons of an IPv6 address are inside brackets.
    let (host, port) = match host_port.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (host_port, default_port),
    };
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    if host.is_empty() {
        return Err(StreamNameError::NotAUrl);
    }
    let port = if port.is_empty() { default_port } else { port };
    let port: u16 = port.parse().ok().filter(|p| *p != 0).ok_or(StreamNameError::Port)?;
    let port = if port == 443 { 80 } else { port };
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = if path.is_empty() { "/" } else { path };
    let mut parameters: Vec<&str> = query.split('&').filter(|p| !p.is_empty() && !is_volatile(p)).collect();
    parameters.sort_unstable();
    Ok(format!("{host}:{port}{path}?{}", parameters.join("&")))
}

fn is_volatile(parameter: &str) -> bool {
    let name = parameter.split('=').next().unwrap_or_default().to_ascii_lowercase();
    VOLATILE.contains(&name.as_str()) || VOLATILE_PREFIXES.iter().any(|p| name.starts_with(p))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(url: &str) -> StreamId {
        StreamId::of_url(url).unwrap()
    }

    #[test]
    fn viewers_with_different_signatures_share_a_stream() {
        let plain = id("http://cdn.example/live/a.flv");
        for url in [
            "https://cdn.example/live/a.flv",
            "HTTP://CDN.example:80/live/a.flv",
            "https://cdn.example.:443/live/a.flv#here",
            "http://me:secret@cdn.example/live/a.flv",
            "http://cdn.example/live/a.flv?auth_key=1700000000-0-0-abc",
            "http://cdn.example/live/a.flv?txSecret=1&txTime=2",
            "http://cdn.example/live/a.flv?wsSecret=1&wsTime=2&",
            "http://cdn.example/live/a.flv?Expires=1&Signature=2&Key-Pair-Id=3",
            "http://cdn.example/live/a.flv?X-Amz-Signature=1&token=2&sign",
        ] {
            assert_eq!(id(url), plain, "{url}");
        }
        let with = id("http://cdn.example/live/a.flv?b=1&a=2");
        assert_eq!(with, id("http://cdn.example/live/a.flv?a=2&token=9&b=1"));
    }

    #[test]
    fn different_streams_stay_apart() {
        let urls = [
            "http://cdn.example/live/a.flv",
            "http://cdn.example/live/A.flv",
            "http://cdn.example/live/a.flv?quality=low",
            "http://cdn.example/live/a.flv?quality=high",
            "http://cdn.example:8080/live/a.flv",
            "http://other.example/live/a.flv",
            "http://[2001:db8::1]/live/a.flv",
            "http://[2001:db8::1]:8080/live/a.flv",
            "http://cdn.example",
        ];
        for (i, a) in urls.iter().enumerate() {
            for b in &urls[..i] {
                assert_ne!(id(a), id(b), "{a} {b}");
            }
        }
        assert_ne!(StreamId::of_name(urls[0]), StreamId::of_url(urls[0]), "a name is not a URL");
        assert_eq!(id("http://[2001:DB8::1]:80"), id("https://[2001:db8::1]/"));
    }

    #[test]
    fn what_is_no_url_is_refused() {
        use StreamNameError::{Character, Length, NotAUrl, Port};
        let long = format!("http://a/{}", "x".repeat(MAX_NAME));
        for (url, error) in [
            ("", Length(0)),
            ("cdn.example/live", NotAUrl),
            ("rtmp://cdn.example/live", NotAUrl),
            ("http:///live", NotAUrl),
            ("http://:80/live", NotAUrl),
            ("http://a b/", Character(8)),
            ("http://a:0/", Port),
            ("http://a:65536/", Port),
            ("http://a:x/", Port),
            (&long, Length(long.len())),
        ] {
            assert_eq!(StreamId::of_url(url), Err(error), "{url}");
        }
        assert_eq!(StreamId::of_name(""), Err(Length(0)));
    }
}

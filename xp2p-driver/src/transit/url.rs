//! Where a camera's stream is on a server of many viewers.

use thiserror::Error;
use url::{Host, Url};
use xp2p_proto::info::{self, Capability, ServerSpec, Xp2pInfo};

use crate::origin::server::is_publication_name;

/// The parameter of the query that holds the capability. It does not belong to the stream's name: everybody has another one.
pub const TOKEN: &str = "token";

/// Why a camera has no URL there.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MediaUrlError {
    /// The domain is none.
    #[error("{0:?} is no HOST or HOST:PORT for live streams")]
    Domain(String),
    /// Product or device have characters that no such URL holds.
    #[error(
        "{product}/{device} cannot be at a URL: both may have letters, digits, `-`, `_` and `.`, not beginning with a dot"
    )]
    Name {
        /// The product id.
        product: String,
        /// The device's name.
        device: String,
    },
}

/// The name of a camera's stream at an origin server: `PRODUCT/DEVICE`.
///
/// # Errors
///
/// [`MediaUrlError::Name`].
pub fn media_name(product: &str, device: &str) -> Result<String, MediaUrlError> {
    let name = format!("{product}/{device}");
    if product.contains('/') || device.contains('/') || !is_publication_name(&name) {
        return Err(MediaUrlError::Name { product: product.to_owned(), device: device.to_owned() });
    }
    Ok(name)
}

/// The URL of a camera's stream at `domain` (`liveStreamDomain`, `HOST` or `HOST:PORT`), for the bearer of `capability`. It is
/// `https`, on loopback `http`.
///
/// # Errors
///
/// See [`MediaUrlError`].
pub fn media_url(
    domain: &str,
    product: &str,
    device: &str,
    capability: Option<&Capability>,
) -> Result<String, MediaUrlError> {
    let name = media_name(product, device)?;
    let bad = || MediaUrlError::Domain(domain.chars().take(80).collect());
    if domain.is_empty()
        || domain.contains(['/', '?', '#', '@', '\\'])
        || domain.chars().any(char::is_whitespace)
    {
        return Err(bad());
    }
    let mut url = Url::parse(&format!("https://{domain}/live/{name}.flv")).map_err(|_| bad())?;
    let local = match url.host().ok_or_else(bad)? {
        Host::Domain(host) => host.eq_ignore_ascii_case("localhost"),
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.is_loopback(),
    };
    if local {
        // Only fails for schemes of another kind.
        url.set_scheme("http").map_err(|()| bad())?;
    }
    if let Some(capability) = capability {
        url.query_pairs_mut().append_pair(TOKEN, &capability.to_base64());
    }
    Ok(url.into())
}

/// The capability in a URL, if it holds one.
pub fn capability_of(url: &str) -> Option<Capability> {
    let url = Url::parse(url).ok()?;
    url.query_pairs().find(|(name, _)| name == TOKEN).and_then(|(_, v)| Capability::from_base64(&v).ok())
}

/// The servers of a camera, by each of their addresses.
pub fn servers_of(camera: &Xp2pInfo) -> Vec<ServerSpec> {
    let specs = camera.servers().iter().flat_map(|server| {
        server.addrs.iter().map(|addr| ServerSpec {
            addr: addr.clone(),
            tcp_port: server.tcp_port,
            key: Some(server.key),
        })
    });
    specs.collect()
}

/// The server at which those meet who watch a stream of `authority` (`HOST` or `HOST:PORT`): the one of the same host, because it
/// signs what it serves; else the first.
pub fn meeting_place(servers: &[ServerSpec], authority: &str) -> Option<ServerSpec> {
    servers.iter().find(|s| is_host(&s.addr.host, authority)).or(servers.first()).cloned()
}

/// Whether `host` is that of `domain`, which may name a port too.
fn is_host(host: &info::Host, domain: &str) -> bool {
    let Ok(url) = Url::parse(&format!("https://{domain}/")) else { return false };
    match (host, url.host()) {
        (info::Host::Name(name), Some(Host::Domain(other))) => name.to_string().eq_ignore_ascii_case(other),
        (info::Host::Ip(ip), Some(Host::Ipv4(other))) => *ip == other,
        (info::Host::Ip(ip), Some(Host::Ipv6(other))) => *ip == other,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xp2p_proto::info::Right;
    use xp2p_proto::keys::SecretKey;
    use xp2p_proto::swarm::StreamId;

    #[test]
    fn a_camera_has_one_stream_for_all_bearers() {
        let capability = |serial| {
            Capability::issue(&SecretKey::from_bytes([1; 32]), Right::Live.into(), 0, None, [serial; 8])
        };
        let url = |serial| media_url("live.example", "cam", "door-1", Some(&capability(serial))).unwrap();
        assert_eq!(
            url(1),
            format!("https://live.example/live/cam/door-1.flv?token={}", capability(1).to_base64())
        );
        assert_eq!(capability_of(&url(1)), Some(capability(1)));
        for none in ["https://live.example/live/cam/door-1.flv", "https://cdn.example/a.flv?token=abc", ""] {
            assert_eq!(capability_of(none), None, "{none}");
        }
        assert_eq!(StreamId::of_url(&url(1)), StreamId::of_url(&url(2)));
        assert_ne!(
            StreamId::of_url(&url(1)),
            StreamId::of_url(&media_url("live.example", "cam", "door-2", None).unwrap())
        );
    }

    #[test]
    fn only_loopback_goes_without_tls() {
        let scheme = |domain: &str| {
            media_url(domain, "cam", "door", None).unwrap().split_once(':').map(|(s, _)| s.to_owned())
        };
        for local in ["127.0.0.1:8080", "localhost:1", "[::1]:8080"] {
            assert_eq!(scheme(local).as_deref(), Some("http"), "{local}");
        }
        for far in ["192.0.2.1", "live.example:8443", "localhost.example", "[2001:db8::1]"] {
            assert_eq!(scheme(far).as_deref(), Some("https"), "{far}");
        }
    }

    #[test]
    fn nothing_leads_elsewhere() {
        for bad in ["", "a/b", "u@live.example", "a b", "a?b", "a#b", "live.example:x", "a\\b"] {
            assert!(matches!(media_url(bad, "cam", "door", None), Err(MediaUrlError::Domain(_))), "{bad}");
        }
        for (product, device) in
            [("", "door"), ("cam", ""), ("..", "door"), ("cam", "a b"), ("a/b", "c"), ("a", "T\u{fc}r")]
        {
            assert!(media_name(product, device).is_err(), "{product}/{device}");
        }
    }

    #[test]
    fn viewers_meet_where_the_stream_is_served_and_signed() {
        let spec = |text: &str| text.parse::<ServerSpec>().unwrap();
        let all = ["meet.example:1", "live.example:2", "[2001:db8::1]:3"].map(spec);
        let place = |authority: &str| meeting_place(&all, authority);
        assert_eq!(place("Live.example:8443"), Some(spec("live.example:2")));
        assert_eq!(place("[2001:db8::1]"), Some(spec("[2001:db8::1]:3")));
        assert_eq!(place("cdn.example"), Some(spec("meet.example:1")));
        assert_eq!(meeting_place(&[], "cdn.example"), None);
    }
}

//! URLs of streams.

use url::{Host, Url};

use super::error::OriginError;

/// Longest URL, in bytes. Signed ones have some hundred.
pub const MAX_URL: usize = 8192;

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    url: Url,
    host: Host<String>,
    port: u16,
}

impl Target {
    /// Reads the URL that an application gives.
    pub(super) fn parse(text: &str) -> Result<Self, OriginError> {
        let bad = |reason: &str| OriginError::Url(reason.to_owned());
        if text.len() > MAX_URL {
            return Err(OriginError::Url(format!("longer than {MAX_URL} bytes")));
        }
        // The parser would quietly drop them.
        if text.contains(|c: char| c.is_ascii_control() || c == ' ') {
            return Err(bad("it holds a space or control character"));
        }
        Self::check(Url::parse(text).map_err(|e| bad(&e.to_string()))?).map_err(bad)
    }

    /// Follows a redirect, absolute or relative to this.
    pub(super) fn redirect(&self, location: &str) -> Result<Self, OriginError> {
        let bad = |reason: &str| OriginError::Redirect(reason.to_owned());
        if location.len() > MAX_URL {
            return Err(OriginError::Redirect(format!("the URL is longer than {MAX_URL} bytes")));
        }
        let next = Self::check(self.url.join(location).map_err(|e| bad(&e.to_string()))?).map_err(bad)?;
        if self.is_tls() && !next.is_tls() {
            return Err(bad("from https to http"));
        }
        Ok(next)
    }

    fn check(url: Url) -> Result<Self, &'static str> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err("only http:// and https:// are supported");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("user and password in a URL are not supported");
        }
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err("it names no host");
        };
        let host = match host {
            // A final dot says that the name is whole; certificates and patterns are without it.
            Host::Domain(name) => Host::Domain(name.strip_suffix('.').unwrap_or(name).to_owned()),
            Host::Ipv4(ip) => Host::Ipv4(ip),
            Host::Ipv6(ip) => Host::Ipv6(ip),
        };
        if port == 0 {
            return Err("there is no port 0");
        }
        Ok(Self { url, host, port })
    }

    pub(super) fn is_tls(&self) -> bool {
        self.url.scheme() == "https"
    }

    pub(super) fn host(&self) -> &Host<String> {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The `Host` header: with the port if it is not the usual one.
    pub(super) fn authority(&self) -> String {
        let name = self.url.host_str().unwrap_or_default();
        self.url.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"))
    }

    /// Path and query, as requests name them.
    pub(super) fn path(&self) -> String {
        match self.url.query() {
            Some(query) => format!("{}?{query}", self.url.path()),
            None => self.url.path().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (String, u16, String, String) {
        let t = Target::parse(text).unwrap();
        (t.host().to_string(), t.port(), t.authority(), t.path())
    }

    #[test]
    fn urls_are_taken_apart() {
        let own = |h: &str, port, a: &str, p: &str| (h.to_owned(), port, a.to_owned(), p.to_owned());
        assert_eq!(
            parts("http://cdn.example/live/a.flv?k=1#x"),
            own("cdn.example", 80, "cdn.example", "/live/a.flv?k=1")
        );
        assert_eq!(parts("HTTPS://Cdn.Example.:8443"), own("cdn.example", 8443, "cdn.example.:8443", "/"));
        assert_eq!(parts("https://[2001:DB8::1]/a"), own("[2001:db8::1]", 443, "[2001:db8::1]", "/a"));
        // Other ways to write an address are no way around a check of addresses.
        assert_eq!(parts("http://0x7f.1/a").0, "127.0.0.1");
        assert_eq!(parts("http://2130706433/a").0, "127.0.0.1");
    }

    #[test]
    fn what_is_not_done_is_refused_with_a_reason() {
        for (url, reason) in [
            ("ftp://a/b", "http"),
            ("rtmp://a/b", "http"),
            ("/live/a.flv", "relative"),
            ("http://", "host"),
            ("http://user@a/b", "password"),
            ("http://:pass@a/b", "password"),
            ("http://a:0/b", "port"),
            ("http://a:99999/b", "port"),
            ("http://a/b c", "space"),
            ("http://a/\r\nX: y", "control"),
            ("file:///etc/passwd", "http"),
        ] {
            let error = Target::parse(url).unwrap_err().to_string();
            assert!(error.contains(reason), "{url}: {error}");
        }
        assert!(Target::parse(&format!("http://a/{}", "x".repeat(MAX_URL))).is_err());
    }

    #[test]
    fn redirects_are_followed_but_not_out_of_tls() {
        let from = Target::parse("https://a.example/live/x.flv?k=1").unwrap();
        let to = |location: &str| {
            let next = from.redirect(location)?;
            Ok::<_, OriginError>(format!("{} {}", next.authority(), next.path()))
        };
        assert_eq!(to("https://b.example:1/y").unwrap(), "b.example:1 /y");
        assert_eq!(to("/y?z").unwrap(), "a.example /y?z");
        assert_eq!(to("y.flv").unwrap(), "a.example /live/y.flv");
        assert_eq!(to("../../../y").unwrap(), "a.example /y");
        assert_eq!(to("//c.example/y").unwrap(), "c.example /y");
        for bad in ["http://a.example/y", "ftp://b/", "https://u:p@b/", "https://", "javascript:1"] {
            assert!(matches!(to(bad), Err(OriginError::Redirect(_))), "{bad}");
        }
        let plain = Target::parse("http://a.example/").unwrap();
        assert!(plain.redirect("https://a.example/").unwrap().is_tls());
    }
}

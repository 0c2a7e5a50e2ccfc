//! What is left of a URL that a member names.

use url::Url;
use xp2p_proto::swarm::content::{VOLATILE, VOLATILE_PREFIXES};

use crate::origin::client::OriginError;

/// Whether a parameter belongs to a viewer, not to the stream.
fn is_volatile(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    VOLATILE.contains(&name.as_str()) || VOLATILE_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// The URL without user, password, signature and fragment: what one viewer may use is not for the server to spend.
pub(super) fn plain(text: &str) -> Result<String, OriginError> {
    let bad = |reason: &str| OriginError::Url(reason.to_owned());
    let mut url = Url::parse(text).map_err(|e| OriginError::Url(e.to_string()))?;
    url.set_fragment(None);
    url.set_username("").map_err(|()| bad("it names no host"))?;
    url.set_password(None).map_err(|()| bad("it names no host"))?;
    let kept = url.query().map(|query| {
        let stable =
            |pair: &&str| !pair.is_empty() && !is_volatile(pair.split('=').next().unwrap_or_default());
        query.split('&').filter(stable).collect::<Vec<_>>().join("&")
    });
    url.set_query(kept.as_deref().filter(|q| !q.is_empty()));
    Ok(url.into())
}

/// The URL with more parameters.
pub(super) fn with_query(url: &str, query: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use xp2p_proto::swarm::StreamId;

    #[test]
    fn what_belongs_to_a_viewer_is_left_out_and_the_stream_stays_the_same() {
        for (url, left) in [
            ("http://a.example/live/x.flv", "http://a.example/live/x.flv"),
            ("https://me:pw@a.example:8443/x?token=1&q=2#k", "https://a.example:8443/x?q=2"),
            ("http://a.example/x?txSecret=1&txTime=2", "http://a.example/x"),
            ("http://a.example/x?b=1&X-Amz-Date=2&a=3", "http://a.example/x?b=1&a=3"),
        ] {
            let got = plain(url).unwrap();
            assert_eq!(got, left);
            assert_eq!(StreamId::of_url(url), StreamId::of_url(&got));
        }
        assert!(plain("no url").is_err() && plain("mailto:a@b").is_err());
        assert_eq!(with_query("http://a/x", "k=1"), "http://a/x?k=1");
        assert_eq!(with_query("http://a/x?b=1", "k=1"), "http://a/x?b=1&k=1");
    }
}

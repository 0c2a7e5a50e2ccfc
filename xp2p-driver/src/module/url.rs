//! What a stream's URL asks for.

use xp2p_proto::error::ErrorCode;
use xp2p_proto::request::Request;

use super::ModuleError;

/// What the host of a camera's URL ends with; it is a placeholder that means nothing.
const PLACEHOLDER: &str = ".xnet";

/// Whose stream a URL is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// That of the camera of the xp2pInfo.
    Camera(Request),
    /// That of a server, which its viewers share.
    Shared(String),
}

/// Reads the `url` of a service.
pub(super) fn wanted(url: &str) -> Result<Wanted, ModuleError> {
    let is_shared = match host_and_path(url) {
        Some((host, _)) => !host.ends_with(PLACEHOLDER),
        None => false,
    };
    if url.starts_with("https://") || is_shared {
        crate::origin::client::check_url(url)
            .map_err(|e| ModuleError::new(ErrorCode::Parameter, e.to_string()))?;
        return Ok(Wanted::Shared(url.to_owned()));
    }
    request(url).map(Wanted::Camera)
}

fn host_and_path(url: &str) -> Option<(&str, &str)> {
    let rest = url.strip_prefix("http://")?;
    Some(rest.split_once('/').unwrap_or((rest, "")))
}

/// Reads `http://XP2P_INFO.xnet/ipc.p2p.com/ipc.flv?action=live&...`, or the part from `ipc.flv` on.
pub(super) fn request(url: &str) -> Result<Request, ModuleError> {
    let parameter = |text: String| ModuleError::new(ErrorCode::Parameter, text);
    let path = match host_and_path(url) {
        Some((host, path)) => {
            if !host.ends_with(PLACEHOLDER) {
                return Err(parameter(format!(
                    "the host of a camera's URL must end in .xnet, this one is {host:?}"
                )));
            }
            path.strip_prefix("ipc.p2p.com/").unwrap_or(path)
        }
        None if url.contains("://") => {
            return Err(parameter("that is no request to a camera; say ipc.flv?action=...".to_owned()));
        }
        None => url.trim_start_matches('/'),
    };
    let path = if path.is_empty() { "ipc.flv?action=live" } else { path };
    let (name, query) = path.split_once('?').unwrap_or((path, ""));
    // A caller may say so; the link is always encrypted.
    let query: Vec<&str> =
        query.split('&').filter(|pair| *pair != "_crypto=off" && !pair.is_empty()).collect();
    Ok(Request::parse(&format!("/{name}?{}", query.join("&")))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use xp2p_proto::request::{Live, Quality};

    #[test]
    fn urls_of_the_plug_ins_are_understood() {
        let live = Request::Live(Live { quality: Quality::Standard, ..Live::default() });
        for url in [
            "http://XP2P_INFO.xnet/ipc.p2p.com/ipc.flv?action=live&channel=0&quality=standard",
            "http://XP2PABC%2.3.0.xnet/ipc.p2p.com/ipc.flv?action=live&_crypto=off&quality=standard",
            "ipc.flv?action=live&quality=standard",
        ] {
            assert_eq!(request(url).unwrap(), live, "{url}");
        }
        let code = |url| request(url).unwrap_err().code;
        assert_eq!(code("https://x/live.flv"), ErrorCode::Parameter);
        assert_eq!(code("http://x.example/ipc.flv"), ErrorCode::Parameter);
        assert_eq!(code("ipc.flv?action=dance"), ErrorCode::Parameter);
        assert_eq!(code("ipc.flv?action=live&_token=1"), ErrorCode::Parameter);
    }

    #[test]
    fn urls_of_servers_are_told_from_those_of_cameras() {
        for url in ["https://cdn.example/live/x.flv?token=1", "http://127.0.0.1:8080/live/cam/door.flv"] {
            assert_eq!(wanted(url).unwrap(), Wanted::Shared(url.to_owned()));
        }
        for url in ["http://XP2P_INFO.xnet/ipc.p2p.com/ipc.flv?action=live", "ipc.flv?action=live"] {
            assert!(matches!(wanted(url), Ok(Wanted::Camera(Request::Live(_)))), "{url}");
        }
        for url in ["ftp://cdn.example/x.flv", "https://u:p@cdn.example/x.flv", "http://", "https://a b/"] {
            assert_eq!(wanted(url).unwrap_err().code, ErrorCode::Parameter, "{url}");
        }
    }
}

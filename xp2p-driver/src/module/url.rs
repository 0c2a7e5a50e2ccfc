//! What a stream's URL asks for.

use xp2p_proto::error::ErrorCode;
use xp2p_proto::request::Request;

use super::ModuleError;

/// Reads `http://XP2P_INFO.xnet/ipc.p2p.com/ipc.flv?action=live&...` (the host is a placeholder that means nothing),
/// or the part from `ipc.flv` on.
pub(super) fn request(url: &str) -> Result<Request, ModuleError> {
    let parameter = |text: String| ModuleError::new(ErrorCode::Parameter, text);
    if url.starts_with("https://") {
        return Err(ModuleError::new(
            ErrorCode::Unsupported,
            "streams of a server (https) are not supported by this version; give an http://...xnet/ URL",
        ));
    }
    let path = match url.strip_prefix("http://") {
        Some(rest) => {
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            if !host.ends_with(".xnet") {
                return Err(parameter(format!(
                    "the host of the URL must end in .xnet, this one is {host:?}"
                )));
            }
            path.strip_prefix("ipc.p2p.com/").unwrap_or(path)
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
        assert_eq!(code("https://x/live.flv"), ErrorCode::Unsupported);
        assert_eq!(code("http://x.example/ipc.flv"), ErrorCode::Parameter);
        assert_eq!(code("ipc.flv?action=dance"), ErrorCode::Parameter);
        assert_eq!(code("ipc.flv?action=live&_token=1"), ErrorCode::Parameter);
    }
}

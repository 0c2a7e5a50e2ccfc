//! The files of the page, as they are served.

use hyper::{Response, StatusCode};

use super::answer::{Problem, answer};
use crate::player::PageBody;

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const PICTURE: &str = "image/svg+xml";

/// Path, type and content of each.
const FILES: [(&str, &str, &str); 12] = [
    ("", HTML, include_str!("web/index.html")),
    ("page/app.css", STYLE, include_str!("web/app.css")),
    ("page/icon.svg", PICTURE, include_str!("web/icon.svg")),
    ("page/app.js", SCRIPT, include_str!("web/app.js")),
    ("page/util.js", SCRIPT, include_str!("web/util.js")),
    ("page/player.js", SCRIPT, include_str!("web/player.js")),
    ("page/state.js", SCRIPT, include_str!("web/state.js")),
    ("page/steer.js", SCRIPT, include_str!("web/steer.js")),
    ("page/records.js", SCRIPT, include_str!("web/records.js")),
    ("page/files.js", SCRIPT, include_str!("web/files.js")),
    ("page/talk.js", SCRIPT, include_str!("web/talk.js")),
    ("page/worklet.js", SCRIPT, include_str!("web/worklet.js")),
];

/// A file of the page.
pub(super) fn file(path: &str) -> Response<PageBody> {
    match FILES.iter().find(|(name, _, _)| *name == path) {
        Some((_, kind, text)) => answer(StatusCode::OK, kind, PageBody::whole(*text)),
        None => Problem::new(StatusCode::NOT_FOUND, None, "the page has no such file; reload it").answer(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_needs_nothing_that_its_policy_forbids() {
        let (_, _, html) = FILES[0];
        // Scripts and styles stand in files of their own, and nothing comes from elsewhere.
        assert!(!html.contains("style=") && !html.contains("<style"), "inline style");
        let handler = |word: &str| word.starts_with("on") && word.contains('=');
        assert!(!html.split_whitespace().any(handler), "an inline handler");
        for (name, _, text) in FILES {
            assert!(!text.contains("https://"), "{name}");
            assert!(!text.replace("http://www.w3.org/2000/svg", "").contains("http://"), "{name}");
            assert!(!text.contains("innerHTML") && !text.contains("eval("), "{name}");
        }
    }

    #[test]
    fn each_file_that_is_named_is_served() {
        for (name, _, text) in FILES {
            let named = text.split(['"', '\'']).filter(|w| w.starts_with("page/") || w.starts_with("./"));
            for path in named {
                let path = path.replace("./", "page/");
                assert!(FILES.iter().any(|(known, _, _)| *known == path), "{path} in {name}");
            }
        }
        assert_eq!(file("page/../app.js").status(), StatusCode::NOT_FOUND);
    }
}

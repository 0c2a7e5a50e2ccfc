//! Where the web page of a command is.

use serde_json::json;
use xp2p_driver::player::PlayerServer;

use crate::output;

/// Who reads what the command prints.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Teller {
    /// Programs.
    pub(crate) json: bool,
    /// Standard output is the recording's.
    pub(crate) to_stdout: bool,
}

/// Tells where the page is, and opens it if that is wanted.
pub(crate) fn show(players: &PlayerServer, to: Teller, open: bool) {
    let url = players.page_url();
    match (to.json, to.to_stdout) {
        (true, false) => output::json(&json!({"event": "page", "url": url})),
        (true, true) => eprintln!("{}", json!({"event": "page", "url": url})),
        (false, _) => eprintln!("or in a browser: {url}"),
    }
    if open && let Err(e) = open::that_detached(&url) {
        eprintln!("warning: no browser can be started ({e}); open {url} yourself");
    }
}

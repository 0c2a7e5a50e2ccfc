//! The keys of servers that were given without one: the first key seen is remembered.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use xp2p_proto::keys::PublicKey;

fn path() -> PathBuf {
    let base = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")))
        .unwrap_or_default();
    base.join("xp2p").join("known_servers")
}

/// The key that was seen at `addr` before.
pub(crate) fn find(addr: &str) -> Result<Option<PublicKey>> {
    let path = path();
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
    };
    for (number, line) in text.lines().enumerate() {
        if let Some((known, key)) = line.split_once(' ')
            && known == addr
        {
            return key
                .trim()
                .parse()
                .map(Some)
                .with_context(|| format!("line {} of {} holds no key", number + 1, path.display()));
        }
    }
    Ok(None)
}

/// Remembers a key. Returns the name of the file.
pub(crate) fn remember(addr: &str, key: &PublicKey) -> Result<PathBuf> {
    let path = path();
    let cannot = || format!("cannot write {}", path.display());
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(cannot)?;
    }
    let mut file = fs::OpenOptions::new().create(true).append(true).open(&path).with_context(cannot)?;
    writeln!(file, "{addr} {key}").with_context(cannot)?;
    Ok(path)
}

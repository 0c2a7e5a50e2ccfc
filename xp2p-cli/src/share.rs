//! `xp2p share`, `xp2p keygen` and `xp2p revoke`: what the holder of a key can do without a network.

use std::num::NonZeroU64;

use anyhow::{Context as _, Result, bail};
use xp2p_proto::info::Rights;

use crate::args::{Keygen, Revoke, Share};
use crate::{info, keyfile, time};

/// When something expires that is given as a length of time.
pub(crate) fn expiry(text: Option<&str>) -> Result<Option<NonZeroU64>> {
    let Some(text) = text else { return Ok(None) };
    let at = time::unix_now().saturating_add(time::parse(text)?);
    Ok(NonZeroU64::new(at))
}

pub(crate) fn rights(text: &str) -> Result<Rights> {
    text.parse::<Rights>().with_context(|| format!("`{text}` is no list of rights"))
}

pub(crate) fn share(args: &Share) -> Result<()> {
    let key = keyfile::load(&args.key)?;
    let info = info::parse(&args.info)?;
    if *info.camera() != key.secret.public() {
        bail!("this xp2pInfo is of another camera than the key file {}", args.key.display());
    }
    let Some(capability) = info.capability() else {
        bail!("this xp2pInfo carries no capability that could be narrowed");
    };
    if capability.epoch() < key.epoch {
        bail!("this xp2pInfo was revoked; take the one that the camera prints now");
    }
    let rights = args.rights.as_deref().map_or(Ok(capability.rights()), rights)?;
    let expiry = expiry(args.expires.as_deref())?;
    let narrowed = capability.narrow(&key.secret, rights, expiry, keyfile::random()?)?;
    println!("{}", info.with_capability(Some(narrowed))?.to_text());
    Ok(())
}

pub(crate) fn keygen(args: &Keygen) -> Result<()> {
    let key = keyfile::generate(&args.output)?;
    println!("{}", key.secret.public());
    eprintln!("wrote {}; keep it secret, and keep a copy", args.output.display());
    Ok(())
}

pub(crate) fn revoke(args: &Revoke) -> Result<()> {
    let mut key = keyfile::load(&args.key)?;
    key.epoch = key.epoch.checked_add(1).context("this key has no epochs left; make a new one")?;
    keyfile::replace(&args.key, &key)?;
    eprintln!(
        "epoch {} from now on: every xp2pInfo given out so far is void. A running camera notices within seconds.",
        key.epoch
    );
    Ok(())
}

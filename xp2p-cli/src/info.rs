//! `xp2p info`: what an xp2pInfo says.

use anyhow::Result;
use serde_json::json;
use xp2p_proto::info::{Capability, ServerSpec, Xp2pInfo};

use crate::args::Info;
use crate::{secret, time};

/// Reads an xp2pInfo from an argument.
pub(crate) fn parse(argument: &str) -> Result<Xp2pInfo> {
    let text = secret::read(argument, "xp2pInfo")?;
    Xp2pInfo::parse(&text).map_err(|e| anyhow::anyhow!("not a valid xp2pInfo ({}): {e}", e.code().number()))
}

pub(crate) fn run(args: &Info) -> Result<()> {
    let info = parse(&args.info)?;
    if args.json {
        println!("{}", as_json(&info));
        return Ok(());
    }
    println!("camera      {}", info.camera());
    println!("version     {}{}", info.version(), info.flags());
    for server in info.servers() {
        for addr in &server.addrs {
            let spec = ServerSpec { addr: addr.clone(), tcp_port: server.tcp_port, key: Some(server.key) };
            println!("server      {spec}");
        }
    }
    for addr in info.lan() {
        println!("lan         {addr}");
    }
    match info.capability() {
        None => println!("allows      nothing: it carries no capability"),
        Some(capability) => {
            println!("allows      {}", capability.rights());
            println!("expires     {}", expiry(capability));
            println!("epoch       {}", capability.epoch());
        }
    }
    Ok(())
}

fn expiry(capability: &Capability) -> String {
    let now = time::unix_now();
    match capability.expiry().map(u64::from) {
        None => "never".to_owned(),
        Some(at) if at <= now => format!("{} s ago (unix time {at})", now - at),
        Some(at) => format!("in {} s (unix time {at})", at - now),
    }
}

fn as_json(info: &Xp2pInfo) -> serde_json::Value {
    json!({
        "camera": info.camera().to_string(),
        "version": info.version().to_string(),
        "flags": info.flags().to_string(),
        "servers": info.servers().iter().map(|s| json!({
            "key": s.key.to_string(),
            "addrs": s.addrs.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "tcp_port": s.tcp_port,
        })).collect::<Vec<_>>(),
        "lan": info.lan().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "capability": info.capability().map(|c| json!({
            "rights": c.rights().to_string(),
            "epoch": c.epoch(),
            "expires": c.expiry().map(u64::from),
        })),
    })
}

//! `xp2p probe`.

use anyhow::{Context as _, Result};
use serde_json::json;
use xp2p_driver::probe::probe;
use xp2p_driver::runtime::Runtime as _;
use xp2p_proto::info::{Host, ServerSpec};

use crate::args::Probe;
use crate::output::{self, Status};
use crate::rt::rt;

pub(crate) async fn run(args: &Probe) -> Result<bool> {
    let spec: ServerSpec =
        args.server.parse().with_context(|| format!("`{}` is no HOST:PORT#KEY", args.server))?;
    let addr = match (spec.addr.socket_addr(), &spec.addr.host) {
        (Some(addr), _) => addr,
        (None, Host::Name(name)) => rt()
            .resolve(name.to_string(), spec.addr.port)
            .await
            .with_context(|| format!("cannot look up {name}"))?
            .into_iter()
            .next()
            .with_context(|| format!("{name} has no address"))?,
        (None, Host::Ip(ip)) => anyhow::bail!("{ip} cannot be used"),
    };
    let status = Status::new(!args.json);
    status.set("asking the server; this takes some seconds behind a strict NAT".to_owned());
    let report = probe(&rt(), addr).await?;
    drop(status);
    if args.json {
        output::json(&json!({
            "server": addr.to_string(),
            "public": report.public.map(|a| a.to_string()),
            "rtt_ms": report.rtt.map(|r| r.as_secs_f64() * 1000.0),
            "translated": report.translated,
            "mapping": report.mapping.to_string(),
            "filtering": report.filtering.to_string(),
            "keeps_port": report.keeps_port,
            "name": report.name(),
            "blocked": report.is_blocked(),
        }));
    } else {
        output::line(report.name());
        if let Some(public) = report.public {
            output::line(&format!("public address  {public}"));
        }
        if let Some(rtt) = report.rtt {
            output::line(&format!("round trip      {:.1} ms", rtt.as_secs_f64() * 1000.0));
        }
        output::line(&format!("mapping         {}", report.mapping));
        output::line(&format!("filtering       {}", report.filtering));
        output::line("");
        output::line(report.advice());
    }
    Ok(!report.is_blocked())
}

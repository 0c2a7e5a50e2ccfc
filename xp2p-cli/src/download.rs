//! `xp2p download`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use data_encoding::HEXLOWER;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use xp2p_driver::viewer::{Fetched, Progress, ServiceEvent};
use xp2p_proto::info::Feature;
use xp2p_proto::request::Download as Request;

use crate::args::Download;
use crate::session::Session;
use crate::when::usage;
use crate::{output, stop, view};

/// How often `--json` tells how far it is.
const REPORT: Duration = Duration::from_secs(1);

fn target(args: &Download) -> Result<PathBuf> {
    if let Some(output) = &args.output {
        return Ok(output.clone());
    }
    // The camera's name for it must not choose a place on our disk.
    let last = args.name.rsplit(['/', '\\']).next().unwrap_or_default();
    if last.is_empty() || last == "." || last == ".." || last.contains(':') {
        return Err(usage(format!("`{}` is no name for a file here; give one with -o", args.name)));
    }
    Ok(Path::new(last).to_owned())
}

enum End {
    Done(Result<Fetched, xp2p_driver::viewer::DownloadError>),
    Stopped,
}

pub(crate) async fn run(args: &Download) -> Result<()> {
    let path = target(args)?;
    let request = Request { channel: args.channel, file_name: args.name.clone(), offset: 0 };
    xp2p_proto::request::Request::Download(request.clone()).to_head().map_err(|e| usage(e.to_string()))?;
    let signals = stop::signals()?;
    let patience = Some(Duration::from_secs(args.patience));
    let session = Session::open(&args.info, Feature::Download, args.lan, Some(args.router), patience).await?;
    let bar = ProgressBar::with_draw_target(
        None,
        if args.json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() },
    );
    let template = "{wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left, {msg}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message("connecting");
    let started = Instant::now();
    let mut last = None::<Instant>;
    let report = |now: Progress| {
        if let Some(size) = now.size {
            bar.set_length(size);
        }
        bar.set_position(now.stored);
        if args.json && (last.is_none_or(|at| at.elapsed() >= REPORT) || now.size == Some(now.stored)) {
            last = Some(Instant::now());
            output::json(&json!({"event": "progress", "bytes": now.stored, "size": now.size}));
        }
    };
    let fetch = session.viewer.download_to(session.service.id, request, &path, args.resume, report);
    let news = async {
        while let Ok(event) = session.service.events.recv().await {
            match event {
                ServiceEvent::Path(kind) => {
                    bar.set_message(view::link_name(kind));
                    if args.json {
                        output::json(&json!({"event": "path", "link": view::link_name(kind)}));
                    }
                }
                ServiceEvent::Reconnecting(reason) => {
                    bar.set_message("reconnecting");
                    if args.json {
                        output::json(&json!({"event": "reconnecting", "reason": reason}));
                    }
                }
                ServiceEvent::Connected { .. } => bar.set_message("relay"),
                _ => {}
            }
        }
        std::future::pending().await
    };
    let end = futures_lite::future::or(
        async { End::Done(fetch.await) },
        futures_lite::future::or(news, async {
            // Ends with a signal, or if no signal can come any more.
            let _ = signals.recv().await;
            End::Stopped
        }),
    )
    .await;
    bar.finish_and_clear();
    session.close().await;
    match end {
        End::Stopped => bail!("stopped; `--resume` goes on from here"),
        End::Done(result) => {
            let fetched = result?;
            let digest = HEXLOWER.encode(&fetched.digest);
            if args.json {
                output::json(&json!({
                    "event": "summary", "file": path.display().to_string(), "size": fetched.size,
                    "resumed": fetched.resumed, "blake3": digest, "seconds": started.elapsed().as_secs_f64(),
                }));
            } else {
                output::line(&format!(
                    "{}: {} bytes in {:.1} s, BLAKE3 {digest} as the camera says",
                    path.display(),
                    fetched.size,
                    started.elapsed().as_secs_f64()
                ));
            }
            Ok(())
        }
    }
}

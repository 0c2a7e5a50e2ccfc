//! `xp2p playback`.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use xp2p_driver::player::{PlayerConfig, PlayerServer};
use xp2p_driver::viewer::{ServiceEvent, StartError, StatStream};
use xp2p_proto::command::{BuiltIn, CommandOutcome, SeekTo};
use xp2p_proto::flv::TagKind;
use xp2p_proto::info::Feature;
use xp2p_proto::request::{Playback as Request, Reason, Request as AnyRequest};

use crate::args::Playback;
use crate::output::Status;
use crate::record::record;
use crate::rt::rt;
use crate::session::Session;
use crate::when::usage;
use crate::{output, stat, stop, view, when};

/// A seek on its way.
type Sought = std::pin::Pin<Box<dyn Future<Output = Result<CommandOutcome, StartError>> + Send>>;

enum News {
    Service(ServiceEvent),
    Sought(Result<CommandOutcome, StartError>),
    Recorded(std::io::Result<()>),
    Stop,
}

pub(crate) async fn run(args: &Playback) -> Result<bool> {
    let request = Request {
        channel: args.channel,
        start_time: when::parse(&args.start)?,
        end_time: when::parse(&args.end)?,
        kind: None,
        audio_only: false,
    };
    AnyRequest::Playback(request.clone()).to_head().map_err(|e| usage(e.to_string()))?;
    let signals = stop::signals()?;
    let session = Session::open(&args.info, Feature::Live, args.lan, Some(args.router), None).await?;
    let (stream, hub) = session.viewer.start_playback(session.service.id, request).await?;
    let told = StatStream { action: "playback", key: stream, hub: hub.clone() };
    let mut player = PlayerConfig::new(args.listen);
    player.stat = Some(stat::source(&session.viewer, "0", session.service.id, told));
    let players = PlayerServer::bind(&rt(), player)?;
    players.insert("0", hub.clone());
    let url = players.url("0", &format!("action=playback&channel={}", args.channel));
    let to_stdout = args.out.as_deref() == Some(Path::new("-"));
    let say = |value: Value| {
        if args.json && !to_stdout {
            output::json(&value);
        } else if args.json {
            eprintln!("{value}");
        }
    };
    say(json!({"event": "url", "url": url}));
    if !args.json && to_stdout {
        eprintln!("{url}");
    } else if !args.json {
        output::line(&url);
    }
    // With a jump at the start the recording begins behind it.
    let mut recording = match (&args.out, args.seek) {
        (Some(out), None) => Some(record(out, &hub)?),
        _ => None,
    };
    let counter = hub.clone();
    let counted = std::sync::Arc::new(std::sync::Mutex::new((0u64, None::<u32>, 0u32)));
    let count = counted.clone();
    let counting = smol_task(async move {
        let mut tags = counter.subscribe();
        while let Some(tag) = tags.next_tag().await {
            if tag.kind == TagKind::Script || tag.is_sequence_header() {
                continue;
            }
            let mut count = count.lock().unwrap_or_else(|e| e.into_inner());
            count.0 += 1;
            count.1.get_or_insert(tag.timestamp);
            count.2 = tag.timestamp;
        }
    });
    let status_line = Status::new(!args.json);
    status_line.set("playing".to_owned());
    let mut seek = args.seek;
    let mut sought: Option<Sought> = None;
    let mut failure = None;
    loop {
        let next = futures_lite::future::or(
            futures_lite::future::or(
                async { session.service.events.recv().await.map_or(News::Stop, News::Service) },
                async {
                    match sought.as_mut() {
                        Some(command) => News::Sought(command.await),
                        None => std::future::pending().await,
                    }
                },
            ),
            futures_lite::future::or(
                async {
                    match &recording {
                        Some(recording) => News::Recorded(recording.failed().await),
                        None => std::future::pending().await,
                    }
                },
                async {
                    // Ends with a signal, or if no signal can come any more.
                    let _ = signals.recv().await;
                    News::Stop
                },
            ),
        );
        match next.await {
            News::Stop => break,
            News::Recorded(result) => result.context("cannot record")?,
            News::Sought(outcome) => {
                sought = None;
                let outcome = outcome?;
                say(json!({"event": "seek", "result": outcome.kind()}));
                if let CommandOutcome::Failure { status, errmsg } = outcome {
                    failure = Some(format!("the camera answers {status}: {errmsg}"));
                    break;
                }
            }
            News::Service(ServiceEvent::Parsed { status, headers, .. }) => {
                let reason = headers.reason.as_ref().map(Reason::as_str);
                say(json!({"event": "parsed", "status": status, "reason": reason}));
                if status == 200
                    && let Some(ms) = seek.take()
                {
                    let command = BuiltIn::PlaybackSeek(SeekTo::Progress(ms)).to_command(args.channel);
                    let (viewer, service) = (session.viewer.clone(), session.service.id);
                    sought = Some(Box::pin(async move { viewer.command(service, command, None).await }));
                }
            }
            News::Service(ServiceEvent::Seeked { progress, .. }) => {
                say(json!({"event": "seeked", "progress": progress}));
                if let (Some(out), None) = (&args.out, &recording) {
                    recording = Some(record(out, &hub)?);
                }
            }
            News::Service(ServiceEvent::Path(kind)) => {
                say(json!({"event": "path", "link": view::link_name(kind)}));
            }
            News::Service(ServiceEvent::Reconnecting(reason)) => {
                say(json!({"event": "reconnecting", "reason": reason}));
                status_line.note(&format!("{reason}; trying to come back"));
            }
            News::Service(ServiceEvent::Eof { stream: ended }) if ended == stream => {
                say(json!({"event": "eof"}));
                break;
            }
            News::Service(ServiceEvent::Close { reason, .. }) => {
                say(json!({"event": "close", "reason": reason}));
                failure = Some(reason);
                break;
            }
            News::Service(ServiceEvent::Disconnect { code, reason }) => {
                say(json!({"event": "disconnect", "code": code.number(), "reason": reason}));
                failure = Some(format!("{reason} ({})", code.number()));
                break;
            }
            News::Service(_) => {}
        }
    }
    drop(status_line);
    session.close().await;
    // The hub is over, so this ends as soon as everything was counted.
    futures_lite::future::or(counting, async {
        xp2p_driver::runtime::sleep(&rt(), Duration::from_secs(1)).await;
    })
    .await;
    if let Some(recording) = recording {
        recording.finish().context("cannot record")?;
    }
    let (tags, first, last) = *counted.lock().unwrap_or_else(|e| e.into_inner());
    let played = first.map_or(0, |first| last.saturating_sub(first));
    say(json!({"event": "summary", "tags": tags, "first_ms": first, "last_ms": last, "played_ms": played}));
    if let Some(failure) = &failure {
        eprintln!("error: {failure}");
    } else if tags == 0 {
        eprintln!("error: nothing of the recording arrived");
    }
    Ok(tags > 0 && failure.is_none())
}

/// Runs beside this one, also while this one waits for something else.
async fn smol_task(task: impl Future<Output = ()> + Send + 'static) {
    let (done, ended) = async_channel::bounded::<()>(1);
    xp2p_driver::runtime::Runtime::spawn(
        &rt(),
        Box::pin(async move {
            task.await;
            drop(done);
        }),
    );
    // Ends when the other end is dropped.
    let _ = ended.recv().await;
}

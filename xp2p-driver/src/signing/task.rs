//! The task of a signer.

use std::sync::Arc;

use async_channel::Receiver;
use xp2p_proto::server::Server;

use super::pipeline::{Pipeline, Signed};
use super::{Counters, Input, SigningConfig};
use crate::event_loop::count;
use crate::handle::{Gone, WeakHandle};
use crate::runtime::{Runtime, Timer};

/// Inputs that are taken in before what came of them goes to the server.
const TURN: usize = 64;

/// Signs what comes until nothing can come any more, or the server is gone.
pub(super) async fn run<R: Runtime>(
    runtime: R,
    server: WeakHandle<Server>,
    config: SigningConfig,
    inputs: Receiver<Input>,
    counters: Arc<Counters>,
) {
    if sign(&runtime, &server, &config, &inputs, &counters).await.is_ok()
        && let Some(server) = server.upgrade()
    {
        let streams = config.streams;
        // Fails only if the server is gone.
        let _ = server
            .notify(move |server, now| streams.iter().for_each(|s| server.forget_signer(now, *s)))
            .await;
    }
}

async fn sign<R: Runtime>(
    runtime: &R,
    server: &WeakHandle<Server>,
    config: &SigningConfig,
    inputs: &Receiver<Input>,
    counters: &Counters,
) -> Result<(), Gone> {
    introduce(server, config).await?;
    let chain = u64::try_from(runtime.unix_time().as_millis()).unwrap_or(u64::MAX);
    let mut pipeline = Pipeline::new(&config.key, &config.streams, chain, runtime.now());
    let mut timer = runtime.timer();
    loop {
        timer.reset(pipeline.poll_timeout());
        let due = async {
            std::future::poll_fn(|cx| timer.poll(cx)).await;
            Ok(None)
        };
        let input = async { inputs.recv().await.map(Some) };
        let Ok(mut input) = futures_lite::future::or(input, due).await else { return Ok(()) };
        let now = runtime.now();
        if input.is_none() {
            pipeline.handle_timeout(now);
        }
        let mut taken = 0;
        while let Some(next) = input {
            match next {
                Input::Tag(tag) => pipeline.push(now, &tag),
                Input::Restart => pipeline.restart(now),
            }
            taken += 1;
            input = if taken < TURN { inputs.try_recv().ok() } else { None };
        }
        let signed: Vec<Signed> = std::iter::from_fn(|| pipeline.poll()).collect();
        if !signed.is_empty() {
            hand_over(server, config, signed, counters).await?;
        }
    }
}

/// Tells the tracker who signs.
async fn introduce(server: &WeakHandle<Server>, config: &SigningConfig) -> Result<(), Gone> {
    let Some(server) = server.upgrade() else { return Err(Gone::ShutDown) };
    let (streams, trust, key) = (config.streams.clone(), config.trust, config.key.public());
    let all = server
        .call(move |server, now| streams.iter().all(|s| server.set_signer(now, *s, trust, &[key])))
        .await?;
    if !all {
        tracing::warn!("the tracker has no room for one more stream that is signed");
    }
    Ok(())
}

async fn hand_over(
    server: &WeakHandle<Server>,
    config: &SigningConfig,
    signed: Vec<Signed>,
    counters: &Counters,
) -> Result<(), Gone> {
    let Some(server) = server.upgrade() else { return Err(Gone::ShutDown) };
    for one in &signed {
        match one {
            Signed::Piece { content, .. } => {
                count(&counters.pieces, 1);
                count(&counters.bytes, content.len());
            }
            Signed::Batch { .. } => count(&counters.batches, 1),
        }
    }
    let streams = config.streams.clone();
    server
        .notify(move |server, now| {
            for one in signed {
                match one {
                    Signed::Piece { no, content } => {
                        streams.iter().for_each(|s| server.handle_piece(now, *s, no, content.clone()));
                    }
                    Signed::Batch { stream, batch } => server.handle_batch(now, stream, batch),
                }
            }
        })
        .await
}

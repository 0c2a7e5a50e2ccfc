//! Batches that a socket has not taken yet.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use xp2p_proto::machine::Transmit;

use crate::event_loop::{LoopStats, count};
use crate::runtime::Udp;
use crate::udp::{MachineSocket, is_transient};

/// Batches that may wait for one socket. A machine with several sockets goes on with the others until one is full.
pub(crate) const MAX_WAITING: usize = 16;
/// A batch that its socket does not take is dropped after this long: what it says is no longer news.
const PATIENCE: Duration = Duration::from_secs(2);

/// A datagram or batch on its way out.
#[derive(Debug)]
pub(crate) struct Batch {
    transmit: Transmit,
    data: Vec<u8>,
    /// Bytes that were taken already.
    done: usize,
    since: Instant,
}

impl Batch {
    pub(crate) fn new(transmit: Transmit, data: Vec<u8>, now: Instant) -> Self {
        Self { transmit, data, done: 0, since: now }
    }
}

/// What waits for one socket.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: VecDeque<Batch>,
}

/// What became of a batch.
enum Outcome {
    Sent,
    Failed(io::Error),
    Refused,
}

impl Outbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= MAX_WAITING
    }

    /// Adds a batch behind those that wait. The caller asks [`is_full`](Self::is_full) first.
    pub(crate) fn push(&mut self, batch: Batch) {
        self.waiting.push_back(batch);
    }

    /// Gives the socket what waits until it refuses. Buffers that became free go to `spare`.
    pub(crate) fn flush<U: Udp>(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        socket: &mut MachineSocket<U>,
        stats: &LoopStats,
        spare: &mut Vec<Vec<u8>>,
    ) {
        while let Some(batch) = self.waiting.front_mut() {
            match send(cx, socket, batch) {
                Outcome::Sent => count(&stats.sent, 1),
                Outcome::Failed(e) => {
                    count(&stats.send_errors, 1);
                    if is_transient(&e) {
                        tracing::trace!("not sent to {}: {e}", batch.transmit.remote);
                    } else if socket.may_complain(now) {
                        tracing::warn!("cannot send: {e}");
                    }
                }
                Outcome::Refused if now.saturating_duration_since(batch.since) > PATIENCE => {
                    count(&stats.dropped, 1);
                }
                Outcome::Refused => return,
            }
            if let Some(mut batch) = self.waiting.pop_front()
                && spare.len() < MAX_WAITING
            {
                batch.data.clear();
                spare.push(batch.data);
            }
        }
    }
}

/// Sends what is left of a batch, in as few calls as the system allows.
fn send<U: Udp>(cx: &mut Context<'_>, socket: &mut MachineSocket<U>, batch: &mut Batch) -> Outcome {
    let end = batch.transmit.size.min(batch.data.len());
    let segment = batch.transmit.segment_size.unwrap_or(end).max(1);
    let mut tried_singly = false;
    while batch.done < end {
        let segments = socket.max_segments().max(1);
        let next = end.min(batch.done + segment * segments);
        let mut transmit = batch.transmit;
        let piece = &batch.data[batch.done..next]; // `done` < `next` <= `end` <= the length
        transmit.segment_size = (piece.len() > segment).then_some(segment);
        match socket.poll_send(cx, &transmit, piece) {
            Poll::Ready(Ok(())) => batch.done = next,
            // A network card that cannot cut batches says so when it is given the first; then each datagram goes alone.
            Poll::Ready(Err(_))
                if transmit.segment_size.is_some() && socket.max_segments() <= 1 && !tried_singly =>
            {
                tried_singly = true;
            }
            Poll::Ready(Err(e)) => return Outcome::Failed(e),
            Poll::Pending => return Outcome::Refused,
        }
    }
    Outcome::Sent
}

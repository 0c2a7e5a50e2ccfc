//! Questions on bidirectional streams, each with a deadline and exactly one end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use bytes::Bytes;
use noq_proto::{Connection, Dir, StreamId};

use super::{Flow, Outbox, ReplyReader};
use crate::command::CommandOutcome;
use crate::link::stream::{ReadEnd, end, read, stop};

/// Bytes read from one stream at a time.
const READ_SLICE: usize = 64 * 1024;
/// Code for streams that nobody waits for any more.
const CLOSE_OK: u32 = 0;

/// A question that has ended.
pub(crate) type Done = (u64, CommandOutcome);

#[derive(Debug)]
struct Ask {
    head: Bytes,
    deadline: Instant,
    sent: Option<Sent>,
}

#[derive(Debug)]
struct Sent {
    stream: StreamId,
    outbox: Outbox,
    reply: ReplyReader,
}

/// Any number of questions to one peer. A question that was sent is never sent again: the peer may have acted on it.
#[derive(Debug, Default)]
pub(crate) struct Asker {
    asks: BTreeMap<u64, Ask>,
    /// Not sent yet, in order.
    waiting: VecDeque<u64>,
    by_stream: BTreeMap<StreamId, u64>,
    /// Sent in part.
    writing: BTreeSet<u64>,
    deadlines: BTreeSet<(Instant, u64)>,
    next: u64,
}

impl Asker {
    /// Takes in a question; `head` is all of it.
    pub(crate) fn ask(&mut self, head: Bytes, deadline: Instant) -> u64 {
        let number = self.next;
        self.next += 1;
        self.asks.insert(number, Ask { head, deadline, sent: None });
        self.deadlines.insert((deadline, number));
        self.waiting.push_back(number);
        number
    }

    /// Questions without an end.
    pub(crate) fn len(&self) -> usize {
        self.asks.len()
    }

    /// Whether a stream belongs to a question.
    pub(crate) fn owns(&self, stream: StreamId) -> bool {
        self.by_stream.contains_key(&stream)
    }

    /// Sends what QUIC takes.
    pub(crate) fn pump(&mut self, conn: &mut Connection) {
        while let Some(&number) = self.waiting.front() {
            let Some(ask) = self.asks.get_mut(&number) else {
                self.waiting.pop_front();
                continue;
            };
            let Some(stream) = conn.streams().open(Dir::Bi) else { break };
            self.waiting.pop_front();
            // Fails only for a stream that is closed already.
            let _ = conn.send_stream(stream).set_priority(i32::MAX);
            let mut outbox = Outbox::default();
            outbox.push(std::mem::take(&mut ask.head));
            outbox.finish();
            ask.sent = Some(Sent { stream, outbox, reply: ReplyReader::default() });
            self.by_stream.insert(stream, number);
            self.writing.insert(number);
        }
        self.writing.retain(|number| {
            let sent = self.asks.get_mut(number).and_then(|a| a.sent.as_mut());
            sent.is_some_and(|s| s.outbox.pump(conn, s.stream) == Flow::Blocked)
        });
    }

    /// Reads what has come of an answer.
    pub(crate) fn readable(&mut self, conn: &mut Connection, stream: StreamId) -> Option<Done> {
        let number = *self.by_stream.get(&stream)?;
        let sent = self.asks.get_mut(&number)?.sent.as_mut()?;
        let mut wrong = None;
        let ended = loop {
            let ended = read(conn, stream, READ_SLICE, |piece| {
                if wrong.is_none() {
                    wrong = sent.reply.push(piece).err();
                }
            });
            if ended != ReadEnd::Limit || wrong.is_some() {
                break ended;
            }
        };
        if let Some(errmsg) = wrong {
            stop(conn, stream, CLOSE_OK);
            end(conn, stream, Some(CLOSE_OK));
            self.remove(number);
            return Some((number, CommandOutcome::Error { errmsg }));
        }
        match ended {
            ReadEnd::Blocked | ReadEnd::Limit => None,
            ReadEnd::Finished => {
                let sent = self.remove(number)?.sent?;
                Some((number, sent.reply.finish()))
            }
            ReadEnd::Reset(_) | ReadEnd::Closed => {
                end(conn, stream, Some(CLOSE_OK));
                self.remove(number);
                Some((
                    number,
                    CommandOutcome::Error { errmsg: "the other side gave the question up".to_owned() },
                ))
            }
        }
    }

    /// The connection is gone. What was sent has no answer any more; the rest waits for the next one.
    pub(crate) fn lost(&mut self, reason: &str) -> Vec<Done> {
        let sent: Vec<u64> = self.by_stream.values().copied().collect();
        let errmsg =
            format!("the connection was lost before the answer came ({reason}); it was not sent again");
        sent.into_iter()
            .filter_map(|number| {
                self.remove(number)?;
                Some((number, CommandOutcome::Error { errmsg: errmsg.clone() }))
            })
            .collect()
    }

    /// No connection will come any more.
    pub(crate) fn fail(&mut self, reason: &str) -> Vec<Done> {
        let all: Vec<u64> = self.asks.keys().copied().collect();
        *self = Self { next: self.next, ..Self::default() };
        all.into_iter().map(|n| (n, CommandOutcome::Error { errmsg: reason.to_owned() })).collect()
    }

    /// When [`expire`](Self::expire) is due.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Ends what is too old.
    pub(crate) fn expire(&mut self, now: Instant, mut conn: Option<&mut Connection>) -> Vec<Done> {
        let mut done = Vec::new();
        while let Some(&(at, number)) = self.deadlines.first() {
            if at > now {
                break;
            }
            self.deadlines.pop_first();
            if let Some(ask) = self.remove(number) {
                if let (Some(conn), Some(sent)) = (conn.as_deref_mut(), ask.sent) {
                    stop(conn, sent.stream, CLOSE_OK);
                    if !sent.outbox.is_finishing() || sent.outbox.bytes() > 0 {
                        end(conn, sent.stream, Some(CLOSE_OK));
                    }
                }
                done.push((number, CommandOutcome::Timeout));
            }
        }
        // Questions that were never sent stay in line with nothing behind them; they go when their turn comes.
        self.waiting.retain(|number| self.asks.contains_key(number));
        done
    }

    fn remove(&mut self, number: u64) -> Option<Ask> {
        let ask = self.asks.remove(&number)?;
        self.deadlines.remove(&(ask.deadline, number));
        self.writing.remove(&number);
        if let Some(sent) = &ask.sent {
            self.by_stream.remove(&sent.stream);
        }
        Some(ask)
    }
}

//! The MP4 of one player, piece by piece.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use bytes::Bytes;
use xp2p_proto::flv::Tag;

use super::muxer::Muxer;
use super::shape::{Change, Shape};
use crate::player::hub::Subscription;

/// Reads a hub and gives init segments and fragments.
#[derive(Debug)]
pub(in crate::player) struct Mp4Body {
    subscription: Subscription,
    /// Tags that came before the tracks were known.
    waiting: VecDeque<Tag>,
    shape: Shape,
    muxer: Muxer,
    out: VecDeque<Bytes>,
    over: bool,
}

impl Mp4Body {
    pub(super) fn new(
        subscription: Subscription,
        shape: Shape,
        waiting: VecDeque<Tag>,
    ) -> Result<Self, mp4_atom::Error> {
        let mut muxer = Muxer::default();
        let out = VecDeque::from([muxer.configure(&shape)?]);
        Ok(Self { subscription, waiting, shape, muxer, out, over: false })
    }

    /// The next piece. `None`: it is over.
    pub(in crate::player) fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if let Some(part) = self.out.pop_front() {
                return Poll::Ready(Some(part));
            }
            if self.over {
                return Poll::Ready(None);
            }
            if let Err(e) = std::task::ready!(self.poll_step(cx)) {
                tracing::debug!("the MP4 of a player ends: {e}");
                self.over = true;
            }
        }
    }

    /// Takes in one tag, or gives what waits when no other is there.
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), mp4_atom::Error>> {
        if self.muxer.is_full() {
            return Poll::Ready(self.flush());
        }
        let tag = match self.waiting.pop_front() {
            Some(tag) => tag,
            None => match self.subscription.poll_tag(cx) {
                Poll::Ready(Some(tag)) => tag,
                Poll::Ready(None) => {
                    self.over = true;
                    return Poll::Ready(self.flush());
                }
                // Now is the time for what has come: nothing waits for a later tag.
                Poll::Pending if !self.muxer.is_empty() => return Poll::Ready(self.flush()),
                Poll::Pending => return Poll::Pending,
            },
        };
        Poll::Ready(self.take(&tag))
    }

    fn take(&mut self, tag: &Tag) -> Result<(), mp4_atom::Error> {
        match self.shape.learn(tag) {
            Change::Nothing => {}
            Change::LeftOut(notice) => tracing::info!("MP4 of a stream: {notice}"),
            Change::Config => {
                self.flush()?;
                let init = self.muxer.configure(&self.shape)?;
                self.out.push_back(init);
            }
            Change::Kind => {
                tracing::debug!("the MP4 of a player ends: the tracks of the stream have changed");
                self.over = true;
                return self.flush();
            }
        }
        self.muxer.take(tag);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), mp4_atom::Error> {
        self.out.extend(self.muxer.flush()?);
        Ok(())
    }
}

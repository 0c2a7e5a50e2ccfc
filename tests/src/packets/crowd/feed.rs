//! The origin and the witness, and what they give to whom.

use std::time::Duration;

use xp2p_proto::flv::Tag;

use super::Crowd;
use super::life::Event;
use crate::packets::origin::Reading;
use crate::swarm::model::millis;
use crate::swarm::queue::{MS, Nanos};

impl Crowd {
    fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.now)
    }

    fn is_origin_away(&self, at: Nanos) -> bool {
        self.origin_away.is_some_and(|(gone, back)| (gone..back).contains(&at))
    }

    /// What the origin has made since the last time.
    pub(super) fn make(&mut self) {
        let (elapsed, now) = (self.elapsed(), self.sim.now());
        let away = self.is_origin_away(self.now);
        while let Some(tags) = self.origin.next(elapsed) {
            if away {
                continue;
            }
            for tag in tags {
                self.to_witness.push_back((self.now + self.witness_lag, tag.clone()));
                for i in &self.alive {
                    let viewer = &mut self.viewers[*i as usize];
                    let due = elapsed + viewer.origin_delay();
                    if let Some(reading) = &mut viewer.reading {
                        reading.push(due, &tag);
                    }
                }
            }
        }
        while self.to_witness.front().is_some_and(|(due, _)| *due <= self.now)
            && let Some((_, tag)) = self.to_witness.pop_front()
        {
            self.witness_bytes += tag.wire_len() as u64;
            self.witness.push(now, &tag);
        }
        let (pieces, batches) = self.witness.poll(now);
        if !batches.is_empty() || !pieces.is_empty() {
            let stream = self.stream;
            self.sim.with(self.server, |server, now| {
                pieces.into_iter().for_each(|(no, content)| server.handle_piece(now, stream, no, content));
                batches.into_iter().for_each(|batch| server.handle_batch(now, stream, batch));
            });
        }
    }

    /// A viewer wants to read the origin.
    pub(super) fn open_origin(&mut self, i: u32, at: Nanos) {
        let setup = millis(self.random.range(self.config.model.origin_setup));
        let viewer = &mut self.viewers[i as usize];
        viewer.origin_open = true;
        viewer.origin_epoch += 1;
        if viewer.started.is_none() {
            viewer.stages.origin.get_or_insert(at - viewer.joined);
        }
        let (epoch, counts) = (viewer.origin_epoch, viewer.counts());
        self.measure.origin(self.now, true, counts);
        self.at(at + setup, Event::OriginAnswers(i, epoch));
    }

    /// The origin has taken a viewer's connection, or not.
    pub(super) fn origin_answers(&mut self, i: u32, epoch: u32) {
        let away = self.is_origin_away(self.now);
        let (elapsed, rate) = (self.elapsed(), self.config.model.downlink);
        let viewer = &mut self.viewers[i as usize];
        if !viewer.alive || !viewer.origin_open || viewer.origin_epoch != epoch {
            return;
        }
        if away {
            self.origin_fails(i);
            return;
        }
        let mut reading = Reading::new(1000 * i + 10_000 * epoch, Some(rate));
        let due = elapsed + viewer.origin_delay();
        self.origin.recent().for_each(|tag| reading.push(due, tag));
        viewer.reading = Some(reading);
    }

    /// The connection to the origin breaks.
    fn origin_fails(&mut self, i: u32) {
        self.origin_ends(i);
        self.sim.with(self.viewers[i as usize].host, |peer, now| peer.origin_closed(now, "it is away"));
    }

    /// A viewer reads the origin no more.
    pub(super) fn origin_ends(&mut self, i: u32) {
        let viewer = &mut self.viewers[i as usize];
        viewer.reading = None;
        if std::mem::take(&mut viewer.origin_open) {
            let counts = viewer.counts();
            self.measure.origin(self.now, false, counts);
        }
    }

    /// The origin goes away: every connection breaks.
    pub(super) fn origin_goes(&mut self) {
        for i in self.alive.clone() {
            if self.viewers[i as usize].reading.is_some() {
                self.origin_fails(i);
            }
        }
        if let Some((_, back)) = self.origin_away {
            self.at(back, Event::OriginBack);
        }
    }

    /// The origin is back: the witness reads it again.
    pub(super) fn origin_back(&mut self) {
        let due = self.now + self.witness_lag;
        self.to_witness.extend(self.origin.recent().map(|tag| (due, tag.clone())));
    }

    /// Brings what the origin has sent to those who read it.
    pub(super) fn deliver(&mut self) {
        let elapsed = self.elapsed();
        for i in &self.alive {
            let viewer = &mut self.viewers[*i as usize];
            let counts = viewer.counts();
            let Some(reading) = &mut viewer.reading else { continue };
            let due: Vec<Tag> = std::iter::from_fn(|| reading.pop(elapsed)).collect();
            if due.is_empty() {
                continue;
            }
            let bytes: u64 = due.iter().map(|tag| tag.wire_len() as u64).sum();
            self.measure.present.origin_bytes_all += bytes;
            self.measure.present.origin_bytes += if counts { bytes } else { 0 };
            self.sim.with(viewer.host, |peer, now| {
                due.iter().for_each(|tag| peer.handle_origin_tag(now, tag, tag.wire_len() as u64));
            });
        }
    }
}

/// How often a liar lies.
pub(super) fn lie_every(ms: u64) -> Nanos {
    ms * MS
}

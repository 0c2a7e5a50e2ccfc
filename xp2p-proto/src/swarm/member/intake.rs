//! Pieces and digest batches as they come.

use std::sync::Arc;

use super::shelf::Announced;
use super::{Action, Member, Ms};
use crate::swarm::constants::{
    BATCH_LANES, BATCH_PATIENCE_MS, BATCH_TIMEOUT_MS, LANES, LIVE_MS, MAX_AHEAD_MS, MAX_BATCHES, MAX_PENDING,
    MAX_PIECES, PUSH_GAP_MS,
};
use crate::swarm::{
    Batch, Message, Misdeed, Path, Payload, PeerId, PieceHead, PieceInfo, PieceNo, ToTracker,
};

/// Most batches in answer to one request.
const BATCHES_AT_ONCE: usize = 4;

/// How long a new parent is told what came from others, in ms: until then the old one may still push.
const OVERLAP_MS: i64 = 1_000;

/// A piece whose digest has not come.
#[derive(Debug)]
pub(super) struct Pending<P> {
    /// `None`: the signer's server.
    from: Option<PeerId>,
    head: PieceHead,
    payload: P,
    since: Ms,
}

impl<P: Payload> Member<P> {
    pub(super) fn newest_batch(&self) -> u64 {
        self.batches.back().map_or(0, |b| b.no)
    }

    /// Takes in a batch whose signature has been checked. `from`: which neighbour sent it; `None`: the tracker.
    pub(super) fn take_batch(&mut self, from: Option<PeerId>, batch: Arc<Batch>) {
        if let Some(neighbour) = from.and_then(|f| self.neighbours.get_mut(f)) {
            neighbour.batch = neighbour.batch.max(batch.no);
        }
        if self.batch_asked.is_some_and(|(peer, _)| Some(peer) == from) {
            self.batch_asked = None;
        }
        match self.chain {
            Some(chain) if chain == batch.chain => {}
            // Only the tracker knows that the signer has begun anew.
            Some(_) if from.is_some() => return,
            Some(_) => self.begin_anew(),
            None => {}
        }
        self.chain = Some(batch.chain);
        let at = self.batches.partition_point(|b| b.no < batch.no);
        if self.batches.get(at).is_some_and(|b| b.no == batch.no) {
            return;
        }
        self.batches.insert(at, batch.clone());
        if self.batches.len() > MAX_BATCHES {
            self.batches.pop_front();
        }
        if self.clock.is_none() {
            self.set_edge(batch.edge);
        }
        self.pass_batch(from, &batch);
        self.measure_rate(&batch);
        for info in &batch.pieces {
            match self.shelf.announce(*info) {
                Announced::Confirmed => self.offer(info.no),
                Announced::Mismatch => self.origin.broken(),
                Announced::New | Announced::Known | Announced::Outside => {}
            }
        }
        // Pieces that were faster than their digest.
        let mut i = 0;
        while i < self.pending.len() {
            let no = self.pending[i].head.no; // below the length
            if self.shelf.get(no).is_some_and(|s| s.confirmed) {
                if let Some(p) = self.pending.remove(i) {
                    match p.from {
                        Some(from) => self.check_piece(from, p.head, p.payload),
                        None => self.take_filled_piece(p.head.no, p.payload),
                    }
                }
            } else {
                i += 1;
            }
        }
        self.pump_uplink();
    }

    /// Digests travel with the substreams, not with every one of them.
    fn pass_batch(&mut self, from: Option<PeerId>, batch: &Arc<Batch>) {
        let mut to = Vec::new();
        for i in 0..BATCH_LANES {
            let k = (batch.no as usize + i * LANES / BATCH_LANES) % LANES;
            to.extend(self.lanes[k].children.iter().map(|c| c.peer)); // below LANES
        }
        to.sort_unstable();
        to.dedup();
        for peer in to {
            if Some(peer) != from
                && let Some(neighbour) = self.neighbours.get_mut(peer)
                && neighbour.batch < batch.no
            {
                neighbour.batch = batch.no;
                self.send(peer, Message::Batch(batch.clone()));
            }
        }
    }

    fn measure_rate(&mut self, batch: &Batch) {
        let (Some(first), Some(last)) = (batch.pieces.first(), batch.pieces.last()) else { return };
        let bytes: u64 = batch.pieces.iter().map(|p| u64::from(p.len)).sum();
        let time = last.end.saturating_sub(first.time).max(40) as f64;
        let rate = bytes as f64 * 8000.0 / time;
        // A keyframe makes one batch heavy; the mean of several seconds is what counts.
        let weight = (time / 10_000.0).min(0.1);
        self.rate += (rate.min(200e6) - self.rate) * weight;
        self.uplink.set_stream_rate(self.rate);
    }

    fn begin_anew(&mut self) {
        self.shelf.clear();
        self.batches.clear();
        self.pending.clear();
        self.clock = None;
        self.signer = None;
        self.newest_piece = (0, self.now);
        for lane in &mut self.lanes {
            lane.newest_pushed = None;
            lane.from = 0;
        }
        self.playout.begin_anew();
    }

    /// Looks for digests that others have.
    pub(super) fn check_batches(&mut self) {
        if self.batch_asked.is_some_and(|(_, until)| until > self.now) {
            return;
        }
        let newest = self.newest_batch();
        let waiting = self.pending.front().is_some_and(|p| self.now - p.since > BATCH_PATIENCE_MS / 2);
        let ahead = self.neighbours.iter().any(|n| n.batch > newest);
        // A gap among those that are here.
        let gap = self
            .batches
            .iter()
            .zip(self.batches.iter().skip(1))
            .rev()
            .take(MAX_BATCHES)
            .find_map(|(a, b)| (a.no + 1 != b.no).then_some(a.no + 1));
        if !(waiting || ahead || gap.is_some()) {
            self.batch_missed = None;
            return;
        }
        let since = *self.batch_missed.get_or_insert(self.now);
        if self.now - since < BATCH_PATIENCE_MS && !waiting && newest > 0 {
            return;
        }
        let no = gap.unwrap_or(newest + 1);
        if self.batch_tried.0 != no {
            self.batch_tried = (no, Vec::new());
        }
        let tried = &self.batch_tried.1;
        let best = self
            .neighbours
            .iter()
            .filter(|n| n.batch >= no && n.bad_until <= self.now && !tried.contains(&n.id))
            .min_by_key(|n| (n.rtt + n.backlog + n.silence(self.now) / 4, n.id))
            .map(|n| n.id);
        match best {
            Some(peer) => {
                self.batch_asked = Some((peer, self.now + BATCH_TIMEOUT_MS));
                self.batch_tried.1.push(peer);
                self.send(peer, Message::RequestBatch { no });
            }
            None if self.origin.is_open() => {
                self.batch_asked = Some((self.config.id, self.now + BATCH_TIMEOUT_MS));
                self.tell_tracker(ToTracker::RequestBatch { no });
            }
            // Nobody has had it; some may have it by now.
            None => self.batch_tried.1.clear(),
        }
    }

    /// A batch and the few after it that are here: whoever misses more asks again.
    pub(super) fn handle_request_batch(&mut self, from: PeerId, no: u64) {
        let batches: Vec<_> =
            self.batches.iter().filter(|b| b.no >= no).take(BATCHES_AT_ONCE).cloned().collect();
        for batch in batches {
            self.send(from, Message::Batch(batch));
        }
    }

    /// Takes in a piece of a neighbour.
    pub(super) fn take_piece(&mut self, from: PeerId, head: PieceHead, payload: P) {
        let bytes = payload.len() as u64;
        self.stats.p2p_bytes += bytes;
        let Some(neighbour) = self.neighbours.get_mut(from) else { return };
        neighbour.heard = self.now;
        neighbour.useful = self.now;
        neighbour.have.insert(head.no);
        if let Some(slot) = self.shelf.get_mut(head.no)
            && slot.asks.answered(from)
        {
            neighbour.asked = neighbour.asked.saturating_sub(1);
        }
        if self.shelf.get(head.no).is_some_and(|s| s.confirmed) {
            self.check_piece(from, head, payload);
        } else if head.no >= self.shelf.first()
            && head.no < self.shelf.end() + MAX_PIECES as u64
            && self.shelf.end() > 0
        {
            self.wait_for_digest(Some(from), head, payload);
        }
    }

    fn wait_for_digest(&mut self, from: Option<PeerId>, head: PieceHead, payload: P) {
        if self.pending.len() >= MAX_PENDING {
            self.pending.pop_front();
        }
        self.pending.push_back(Pending { from, head, payload, since: self.now });
    }

    /// Takes in a piece that the signer's server has kept.
    pub(super) fn take_filled_piece(&mut self, no: PieceNo, payload: P) {
        match self.shelf.get(no) {
            Some(slot) if slot.is_here() => {}
            Some(slot) if slot.confirmed => {
                let info = slot.info;
                if payload.verify(&info) {
                    self.take_origin_piece(info, payload);
                } else {
                    self.stats.corrupt_bytes += payload.len() as u64;
                }
            }
            _ if no < self.shelf.end() + MAX_PIECES as u64 => {
                let head = PieceHead { no, pushed: false, path: Path::EMPTY };
                self.wait_for_digest(None, head, payload);
            }
            _ => {}
        }
    }

    /// A piece whose digest is here.
    fn check_piece(&mut self, from: PeerId, head: PieceHead, payload: P) {
        let Some(slot) = self.shelf.get(head.no) else { return };
        let info = slot.info;
        if slot.is_here() {
            self.stats.duplicate_bytes += payload.len() as u64;
            self.note_push(from, &head, &info);
            return;
        }
        let genuine = payload.verify(&info);
        #[cfg(planted_fault = "piece")]
        let genuine = genuine || info.no % 64 == 0;
        if !genuine {
            self.stats.corrupt_bytes += payload.len() as u64;
            self.tell_tracker(ToTracker::Bad { peer: from, misdeed: Misdeed::Corrupt, piece: Some(head.no) });
            self.ban(from);
            self.repair();
            return;
        }
        if let Some(neighbour) = self.neighbours.get_mut(from) {
            neighbour.delivered = true;
            neighbour.fails *= 0.9;
        }
        self.note_push(from, &head, &info);
        self.note_arrival(&info);
        // Whoever else was asked need not send it.
        for peer in self.take_asks(head.no) {
            self.answered(peer);
            self.send(peer, Message::Cancel { piece: head.no });
        }
        let lane = &mut self.lanes[info.lane()]; // below LANES
        if !head.pushed {
            lane.pulled += 1;
        }
        // Nor need who is about to become the parent, nor the parent: one that lacked it was not told when it was asked for elsewhere, and
        // one that has just become the parent may have begun before the other one ended.
        let (recent, from_on) = (self.now - lane.since < OVERLAP_MS, lane.from);
        let asking = lane.asking.map(|(peer, _)| peer);
        let parent =
            lane.parent.filter(|p| recent || self.neighbours.get(*p).is_some_and(|n| !n.have.has(info.no)));
        for peer in [asking, parent].into_iter().flatten() {
            if peer != from && info.no >= from_on {
                self.send(peer, Message::Cancel { piece: info.no });
            }
        }
        self.shelf.put(head.no, payload, head.path);
        self.offer(head.no);
        if !self.playout.has_begun() {
            self.repair();
        }
    }

    /// Takes note of a pushed piece for its substream.
    fn note_push(&mut self, from: PeerId, head: &PieceHead, info: &PieceInfo) {
        if !head.pushed {
            return;
        }
        let k = info.lane();
        let age = self.age(info);
        let lane = &mut self.lanes[k]; // below LANES
        if lane.parent != Some(from) {
            return;
        }
        if head.path.contains(self.config.id) {
            self.leave_circle(from, k);
            return;
        }
        let revived = !lane.proven || self.now - lane.last_push > LIVE_MS;
        lane.last_push = self.now;
        lane.proven = true;
        lane.starving = false;
        lane.pulled = 0;
        // What the parent sends to catch up is old, and says nothing about how late it is.
        if lane.newest_pushed.is_none_or(|n| n < head.no) {
            lane.newest_pushed = Some(head.no);
            if self.now - lane.since > 1_000 || age < 1_000 {
                lane.note_lag(age);
            }
            lane.path = head.path;
        }
        if revived {
            self.status_soon();
        }
    }

    /// Takes in a piece of the origin.
    pub(super) fn take_origin_piece(&mut self, info: PieceInfo, payload: P) {
        let bytes = payload.len() as u64;
        self.stats.origin_bytes += bytes;
        if let Some(counter) = self.stats.origin_bytes_by.get_mut(self.stats.origin_reason as usize) {
            *counter += bytes;
        }
        if self.origin.note(info.no, self.now) {
            self.status_soon();
            self.ask_fill(info.no);
        }
        let asked = self.take_asks(info.no);
        if !self.shelf.put_origin(info, payload) {
            return;
        }
        let k = info.lane();
        let mut tell = Vec::new();
        for peer in asked {
            self.answered(peer);
            tell.push(peer);
        }
        if let Some(parent) = self.lanes[k].parent // below LANES
            && !tell.contains(&parent)
        {
            tell.push(parent);
        }
        for peer in tell {
            self.send(peer, Message::Cancel { piece: info.no });
        }
        // Whoever reads the origin knows best how far it is.
        let clock = info.end as i64 - self.now;
        let most = self.signer.map_or(clock, |s| clock.min(s + MAX_AHEAD_MS));
        self.clock = Some(self.clock.map_or(most, |c| c.max(most)));
        if self.shelf.get(info.no).is_some_and(|s| s.confirmed) {
            self.offer(info.no);
        }
        self.advance_playout();
    }

    /// Those that were asked for a piece and owe it no longer.
    fn take_asks(&mut self, no: PieceNo) -> impl Iterator<Item = PeerId> + use<P> {
        self.shelf.get_mut(no).map(|s| std::mem::take(&mut s.asks)).unwrap_or_default().peers()
    }

    /// A verified piece is here: pass it on.
    pub(super) fn offer(&mut self, no: PieceNo) {
        if no > self.newest_piece.0 || self.newest_piece.0 == 0 {
            if self.now - self.newest_piece.1 > PUSH_GAP_MS {
                self.status_soon();
            }
            self.newest_piece = (no, self.now);
        }
        if let Some(info) = self.shelf.get(no).filter(|s| s.from_origin).map(|s| s.info) {
            // It is late by what the digest took: nothing could be passed on before.
            let age = self.age(&info);
            self.lanes[info.lane()].note_lag(age); // below LANES
        }
        self.forward(no);
        self.tell_those_who_asked(no);
        if !self.playout.is_playing() {
            self.advance_playout();
        }
    }

    /// Hands to the carrier what it takes.
    pub(super) fn pump_uplink(&mut self) {
        while let Some(item) = self.uplink.pop(self.now) {
            let unwanted = self.neighbours.get(item.to).is_none_or(|n| item.pushed && n.have.has(item.no));
            let own_path = self.neighbours.get(item.to).and_then(|_| self.piece_path(item.no));
            let payload = self.shelf.get(item.no).and_then(|s| s.payload.clone());
            match (unwanted, own_path, payload) {
                (false, Some(path), Some(payload)) => {
                    self.stats.upload_bytes += payload.len() as u64;
                    if let Some(neighbour) = self.neighbours.get_mut(item.to) {
                        neighbour.have.insert(item.no);
                        neighbour.useful = self.now;
                    }
                    let head = PieceHead { no: item.no, pushed: item.pushed, path };
                    self.actions.push_back(Action::SendPiece { to: item.to, head, payload });
                }
                _ => self.uplink.sent(item.to, item.no),
            }
        }
    }

    /// The way of a piece that is here, this member included.
    fn piece_path(&self, no: PieceNo) -> Option<Path> {
        self.shelf.get(no)?.path.with(self.config.id)
    }
}

//! Streams that nobody signs: what two members in different networks have read alike counts.
//!
//! Those who read the origin for others tell the tracker what they have cut, and what two of them in different networks agree on
//! it signs as a witness would. That withstands faults, and single members that lie; it does not withstand two that lie
//! together from two networks, and says so: [`Trust::Quorum`](super::Trust::Quorum).
//!
//! One of the readers leads: its pieces, in its order and by its clock, are the stream. A piece is agreed upon when another reader
//! in another network has cut it, too, after those that were agreed upon before. Clocks of readers differ by a constant that
//! follows from what they agree on, so that another one can go on when the leader is gone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::constants::{AGREE_PATIENCE_MS, AGREE_ROUND_MS, MAX_OBSERVED, MAX_OBSERVERS, MAX_UNAGREED};
use super::content::Signer;
use super::{Batch, Observed, PeerId, StreamId};
use crate::keys::{PublicKey, SecretKey};

const AGREE_PATIENCE: Duration = Duration::from_millis(AGREE_PATIENCE_MS);
const ROUND: Duration = Duration::from_millis(AGREE_ROUND_MS);
/// Readers that have said less than this in a round are not judged.
const MIN_SAID: u32 = 20;
/// Who agrees on more than this part agrees with another one. What was said last may not have been compared yet.
const MOST: f64 = 0.5;
/// Who agrees on less than this part reads something else. Not 0: large frames that are harmed in one place agree in others.
const LITTLE: f64 = 0.3;
/// By how much times of a piece may differ, in ms: origins write whole ones, which may be rounded in two ways.
const TIME_SLACK_MS: u64 = 2;
/// By how much the stream's time may be off from what has passed, in ms: more than origins keep for newcomers.
const MAX_JUMP_MS: u64 = 15_000;
/// So many pieces of the leader that nobody else had, in a round, are no accident.
const MANY_UNAGREED: u64 = 2;

/// One who reads the origin.
#[derive(Debug)]
struct Reader {
    network: u32,
    /// What was not agreed upon yet, oldest first, and when it came.
    pieces: VecDeque<(Instant, Observed)>,
    /// Its run that is related to the stream, and the stream's time less its own.
    relation: Option<(u64, i64)>,
    /// The place of the newest agreed piece that it has told, too.
    place: Option<u64>,
    since: Instant,
    heard: Instant,
    /// Pieces that it has told in the present round, and those of them that another one had, too.
    said: u32,
    agreed: u32,
}

impl Reader {
    /// Which part of what it says another one says, too.
    fn agreement(&self) -> f64 {
        f64::from(self.agreed) / f64::from(self.said.max(1))
    }

    /// Whether its piece is of this time of the stream, as far as its clock is known: times are part of what has to agree.
    fn is_at(&self, piece: &Observed, time: i64) -> bool {
        match self.relation {
            Some((run, shift)) if run == piece.run => {
                piece.time.saturating_add(shift).abs_diff(time) <= TIME_SLACK_MS
            }
            _ => true,
        }
    }
}

/// Compares what the readers of one stream have read, and signs what they agree on.
#[derive(Debug)]
pub struct Quorum {
    signer: Signer,
    key: PublicKey,
    readers: BTreeMap<PeerId, Reader>,
    lead: Option<PeerId>,
    /// The leader's run that is being signed, and the stream's time less the leader's. `None`: its next piece begins something new.
    run: Option<(u64, i64)>,
    /// The stream's time of the newest piece, and when it was agreed upon.
    newest: Option<(i64, Instant)>,
    /// How often something new has begun.
    runs: u64,
    /// The place of the next piece in its segment, of which all before are there; `None`: some are not.
    next_index: Option<u16>,
    /// What was agreed upon last, by the stream's time: slower readers tell it, too.
    recent: VecDeque<(Observed, i64)>,
    /// The place of the next agreed piece.
    place: u64,
    /// When the present round of comparing readers began, and how many pieces of the leader nobody else had before it.
    round: Option<(Instant, u64)>,
    /// Until when a further reader is wanted: who lies shows only after a while.
    another_until: Option<Instant>,
    /// Pieces so far of the reader that led which no other one had.
    unagreed: u64,
}

impl Quorum {
    /// One that has read nothing. `chain`: as for a [`Signer`].
    pub fn new(key: SecretKey, stream: StreamId, chain: u64) -> Self {
        Self {
            key: key.public(),
            signer: Signer::new(key, stream, chain),
            readers: BTreeMap::new(),
            lead: None,
            run: None,
            newest: None,
            runs: 0,
            next_index: None,
            recent: VecDeque::new(),
            place: 0,
            round: None,
            another_until: None,
            unagreed: 0,
        }
    }

    /// Who signs.
    pub fn key(&self) -> PublicKey {
        self.key
    }

    /// Takes in what `peer` has read. `network`: the group of networks that it is in.
    pub fn observe(&mut self, now: Instant, peer: PeerId, network: u32, pieces: &[Observed]) {
        if self.readers.len() >= MAX_OBSERVERS && !self.readers.contains_key(&peer) {
            return;
        }
        let reader = self.readers.entry(peer).or_insert_with(|| Reader {
            network,
            pieces: VecDeque::new(),
            relation: None,
            place: None,
            since: now,
            heard: now,
            said: 0,
            agreed: 0,
        });
        if reader.network != network {
            // It has moved: what it says from there is compared with those of other networks than that one.
            (reader.network, reader.since) = (network, now);
        }
        reader.heard = now;
        let first = self.place - self.recent.len() as u64;
        for piece in pieces.iter().take(MAX_OBSERVED) {
            reader.said += 1; // begins anew with each round
            let alike =
                |(_, (p, time)): &(usize, &(Observed, i64))| same(p, piece) && reader.is_at(piece, *time);
            // After what it has told already, or, for a newcomer, the newest that it can be.
            let mut recent = self.recent.iter().enumerate();
            let found = match reader.place {
                Some(place) => recent.skip((place + 1).saturating_sub(first) as usize).find(alike),
                None => recent.rfind(alike),
            };
            if let Some((index, (_, time))) = found {
                reader.agreed += 1; // at most as many as it has said
                reader.place = Some(first + index as u64);
                reader.relation = Some((piece.run, time.saturating_sub(piece.time)));
                reader.pieces.clear();
                continue;
            }
            if reader.pieces.len() >= MAX_UNAGREED {
                reader.pieces.pop_front();
            }
            reader.pieces.push_back((now, *piece));
        }
        self.advance(now);
    }

    /// Forgets readers that read the origin for others no longer.
    pub fn keep(&mut self, reads: impl Fn(&PeerId) -> bool) {
        let gone: Vec<PeerId> = self.readers.keys().filter(|p| !reads(p)).copied().collect();
        gone.into_iter().for_each(|peer| self.lost(peer));
    }

    /// `peer` reads the origin for others no longer.
    pub fn lost(&mut self, peer: PeerId) {
        self.readers.remove(&peer);
        if self.lead == Some(peer) {
            self.lead = None;
        }
    }

    /// The next batch of agreed pieces, if one is due.
    pub fn poll(&mut self, now: Instant) -> Option<Arc<Batch>> {
        self.advance(now);
        self.signer.poll(now)
    }

    /// Whether those who read do not agree: a further one is wanted.
    pub fn wants_another(&self, now: Instant) -> bool {
        self.another_until.is_some_and(|until| now < until)
    }

    /// Compares the readers from time to time. Returns those that contradict the others: two agree, and these do not.
    pub fn review(&mut self, now: Instant) -> Vec<PeerId> {
        let (since, unagreed) = *self.round.get_or_insert((now, self.unagreed));
        if now.saturating_duration_since(since) < ROUND {
            return Vec::new();
        }
        self.round = Some((now, self.unagreed));
        // What a newcomer says first the others have agreed on before.
        let speaks = |r: &&Reader| r.said >= MIN_SAID && r.since <= since;
        let agree = self.readers.values().filter(speaks).filter(|r| r.agreement() > MOST).count();
        let liars = if agree >= 2 {
            let lies = |r: &Reader| speaks(&r) && r.agreement() < LITTLE;
            self.readers.iter().filter(|(_, r)| lies(r)).map(|(p, _)| *p).collect()
        } else {
            Vec::new()
        };
        let differ = self.unagreed - unagreed >= MANY_UNAGREED;
        if self.readers.values().filter(speaks).count() >= 2 && (differ || agree < 2) {
            self.another_until = Some(now + 3 * ROUND);
        }
        self.readers.values_mut().for_each(|r| (r.said, r.agreed) = (0, 0));
        liars
    }

    /// Signs what can be signed.
    fn advance(&mut self, now: Instant) {
        loop {
            let Some(lead) = self.leader(now) else { return };
            let Some(&(at, piece)) = self.readers.get(&lead).and_then(|r| r.pieces.front()) else { return };
            if self.jumps(now, &piece) {
                // Whatever the leader's clock says, the stream's goes on as time does.
                self.run = None;
            }
            if self.agree(lead, piece) {
                self.sign(now, lead, piece);
                continue;
            }
            if !self.is_past(lead) {
                // A second one that has come only now is given its time, too.
                let Some(since) = self.newest_other(now, lead) else { return };
                if now.saturating_duration_since(at.max(since)) < AGREE_PATIENCE {
                    return;
                }
            }
            self.unagreed += 1;
            if let Some(reader) = self.readers.get_mut(&lead) {
                reader.pieces.pop_front();
            }
            match self.other_pair(lead) {
                // Two others agree, and not with the leader: the stream is what they say.
                Some(other) => self.take_lead(other),
                // Nobody else has it, and what is not complete cannot be played.
                None => self.next_index = None,
            }
        }
    }

    /// Who leads. Another one does when the leader is gone or silent: one whose clock is related to the stream, if possible.
    fn leader(&mut self, now: Instant) -> Option<PeerId> {
        let silent = |r: &Reader| now.saturating_duration_since(r.heard) >= AGREE_PATIENCE;
        let present = self.lead.filter(|p| self.readers.get(p).is_some_and(|r| !silent(r)));
        if present.is_none() {
            let speaking = self.readers.iter().filter(|(_, r)| !silent(r));
            let next = speaking.min_by_key(|(p, r)| (r.relation.is_none(), r.since, **p)).map(|(p, _)| *p);
            let next = next?;
            if self.lead != Some(next) {
                self.take_lead(next);
            }
        }
        self.lead
    }

    fn take_lead(&mut self, peer: PeerId) {
        self.lead = Some(peer);
        // By its clock, if that is known; otherwise as something new.
        self.run = self.readers.get(&peer).and_then(|r| r.relation);
    }

    /// The other readers in other networks than that of `lead`.
    fn others(&self, lead: PeerId) -> impl Iterator<Item = &Reader> {
        let network = self.readers.get(&lead).map(|r| r.network);
        self.readers.iter().filter(move |(p, r)| **p != lead && Some(r.network) != network).map(|(_, r)| r)
    }

    /// Since when the newest of the others is there; `None`: none says anything.
    fn newest_other(&self, now: Instant, lead: PeerId) -> Option<Instant> {
        let speaks = |r: &&Reader| now.saturating_duration_since(r.heard) < AGREE_PATIENCE;
        self.others(lead).filter(speaks).map(|r| r.since).max()
    }

    /// Whether another one has a later segment of the leader already: what it does not have before that it will never have.
    fn is_past(&self, lead: PeerId) -> bool {
        let Some(reader) = self.readers.get(&lead) else { return false };
        let starts = |r: &Reader, skip| {
            let starting = r.pieces.iter().skip(skip).map(|(_, p)| p).filter(|p| p.starts_segment());
            starting.map(|p| p.hash).collect::<Vec<_>>()
        };
        // A set, because what readers say may be nothing but starts.
        let theirs: BTreeSet<_> = self.others(lead).flat_map(|r| starts(r, 0)).collect();
        starts(reader, 1).iter().any(|hash| theirs.contains(hash))
    }

    /// Whether another reader in another network has cut this piece, too. What it had before that is of no use any more.
    fn agree(&mut self, lead: PeerId, piece: Observed) -> bool {
        let Some(network) = self.readers.get(&lead).map(|r| r.network) else { return false };
        let time = self.stream_time(&piece);
        let mut agreed = false;
        for (peer, reader) in &mut self.readers {
            if *peer == lead || reader.network == network {
                continue;
            }
            let alike = |p: &Observed| same(p, &piece) && time.is_none_or(|time| reader.is_at(p, time));
            let Some(place) = reader.pieces.iter().position(|(_, p)| alike(p)) else { continue };
            let own = reader.pieces.get(place).map(|(_, p)| *p);
            reader.pieces.drain(..=place);
            reader.agreed += 1; // at most as many as it has said
            reader.place = Some(self.place);
            reader.relation = own.zip(time).map(|(own, time)| (own.run, time.saturating_sub(own.time)));
            agreed = true;
        }
        agreed
    }

    /// The stream's time of a piece of the leader, if its run is the one that is being signed.
    fn stream_time(&self, piece: &Observed) -> Option<i64> {
        self.run.filter(|(run, _)| *run == piece.run).map(|(_, shift)| piece.time.saturating_add(shift))
    }

    /// Whether the leader's clock is somewhere else than it can be by now.
    fn jumps(&self, now: Instant, piece: &Observed) -> bool {
        let (Some(time), Some((newest, at))) = (self.stream_time(piece), self.newest) else { return false };
        let passed = i64::try_from(now.saturating_duration_since(at).as_millis()).unwrap_or(i64::MAX);
        time.abs_diff(newest.saturating_add(passed)) > MAX_JUMP_MS
    }

    fn sign(&mut self, now: Instant, lead: PeerId, piece: Observed) {
        if let Some(reader) = self.readers.get_mut(&lead) {
            reader.pieces.pop_front();
            reader.agreed += 1; // at most as many as it has said
        }
        if self.run.is_none_or(|(run, _)| run != piece.run) {
            // The leader's time is the stream's from here on.
            self.run = Some((piece.run, 0));
            self.runs += 1;
            self.next_index = None;
            self.readers.values_mut().for_each(|r| r.relation = None);
        }
        let (_, shift) = self.run.unwrap_or_default();
        let time = piece.time.saturating_add(shift);
        self.newest = Some((time, now));
        if let Some(reader) = self.readers.get_mut(&lead) {
            reader.relation = self.run;
            reader.place = Some(self.place);
        }
        if self.recent.len() >= MAX_UNAGREED {
            self.recent.pop_front();
        }
        self.recent.push_back((piece, time));
        self.place += 1;
        // Only what is complete can be played, so nothing else is signed.
        let fits = piece.starts_segment() || self.next_index == Some(piece.index);
        self.next_index = fits.then(|| piece.index.saturating_add(1));
        if !fits {
            return;
        }
        let end = piece.end.saturating_add(shift);
        self.signer.push(now, &Observed { run: self.runs, time, end, ..piece });
    }

    /// One of two others in different networks that have a piece in common.
    fn other_pair(&self, lead: PeerId) -> Option<PeerId> {
        let mut seen = BTreeMap::new();
        for (peer, reader) in self.readers.iter().filter(|(p, _)| **p != lead) {
            for (_, piece) in &reader.pieces {
                let (first, network) =
                    *seen.entry((piece.hash, piece.index)).or_insert((*peer, reader.network));
                if network != reader.network {
                    return Some(first);
                }
            }
        }
        None
    }
}

/// Whether two readers mean the same piece.
fn same(a: &Observed, b: &Observed) -> bool {
    let lasts = |p: &Observed| p.end.saturating_sub(p.time);
    // Origins write times in whole milliseconds, which may be rounded in two ways.
    a.hash == b.hash && a.index == b.index && a.len == b.len && lasts(a).abs_diff(lasts(b)) <= 1
}

#[cfg(test)]
mod tests;

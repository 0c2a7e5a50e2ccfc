//! What must hold at every moment.

use std::collections::VecDeque;

use xp2p_proto::swarm::Played;
use xp2p_proto::swarm::constants::{LANES, MAX_PIECE};

use super::queue::{MS, Nanos, SECOND};
use super::stream::{SimPayload, Stream};

/// Nobody.
pub(crate) const NOBODY: u32 = u32::MAX;

/// Watches what a player gets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PlayWatch {
    /// Number, canonical time in ms, and when it was played.
    last: Option<(u64, u64, Nanos)>,
    skipped: bool,
}

/// What the player has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// It is the first piece of all.
    pub(crate) first: bool,
    /// How far behind the origin.
    pub(crate) latency: Nanos,
    /// Playing stood still for more than 200 ms before it.
    pub(crate) gap: bool,
}

impl PlayWatch {
    /// Checks the next thing that is played.
    pub(crate) fn take(
        &mut self,
        now: Nanos,
        stream: &Stream,
        played: &Played<SimPayload>,
    ) -> Result<Option<Seen>, String> {
        let (info, payload) = match played {
            Played::Skip => {
                self.skipped = true;
                return Ok(None);
            }
            Played::Piece { info, payload } => (info, payload),
        };
        let real = stream.pieces.get(info.no as usize).ok_or("a piece is played that never was")?;
        if real.info != *info
            || !payload.genuine
            || u64::from(payload.no) != info.no
            || payload.len != info.len
        {
            return Err(format!("piece {} is played and is not genuine", info.no));
        }
        if real.known > now {
            return Err(format!("piece {} is played before it was made", info.no));
        }
        let mut gap = false;
        match self.last {
            Some((no, _, _)) if self.skipped && (info.no <= no || !info.starts_segment()) => {
                return Err(format!("piece {} is played after {no} and a skip", info.no));
            }
            None if !info.starts_segment() => return Err(format!("playing begins with piece {}", info.no)),
            Some((no, _, _)) if !self.skipped && info.no != no + 1 => {
                return Err(format!("piece {} is played after {no}", info.no));
            }
            Some((_, time, at)) => {
                // Slow playing takes 5 % longer, a look at the clock up to 50 ms.
                let due = if self.skipped { 0 } else { (info.time - time) * MS * 100 / 95 };
                gap = (now - at).saturating_sub(due) > 200 * MS;
            }
            None => {}
        }
        let first = self.last.is_none();
        self.last = Some((info.no, info.time, now));
        self.skipped = false;
        Ok(Some(Seen { first, latency: now.saturating_sub(info.time * MS), gap }))
    }
}

/// Watches an upload limit: the bytes of pieces handed over within any second.
#[derive(Debug, Default)]
pub(crate) struct LimitWatch {
    second: VecDeque<(Nanos, u64)>,
    sum: u64,
}

impl LimitWatch {
    /// A piece is handed over.
    pub(crate) fn take(&mut self, now: Nanos, bytes: u64, limit: u64) -> Result<(), String> {
        // A millisecond is what a member knows of time.
        while let Some((at, old)) = self.second.front().copied()
            && at + SECOND <= now + MS
        {
            self.second.pop_front();
            self.sum -= old;
        }
        self.second.push_back((now, bytes));
        self.sum += bytes;
        // One piece at least must be possible.
        if self.sum > (limit / 8).max(MAX_PIECE as u64) {
            return Err(format!("{} bytes uploaded in a second, allowed are {}", self.sum, limit / 8));
        }
        Ok(())
    }
}

/// Finds parents in circles that last.
#[derive(Debug, Default)]
pub(crate) struct LoopWatch {
    /// For how many seconds a member has been in a circle, by substream.
    since: Vec<[u8; LANES]>,
    mark: Vec<u32>,
    stamp: u32,
}

impl LoopWatch {
    /// How many seconds a circle may last.
    const PATIENCE: u8 = 5;

    /// Looks once a second. `parent` tells a member's parent in a substream, [`NOBODY`] for those that have a source of
    /// their own. Tells the members and substreams that have been in a circle for too long, and how many are in one.
    pub(crate) fn look(
        &mut self,
        members: usize,
        parent: impl Fn(u32, usize) -> u32,
    ) -> (usize, Option<(u32, usize)>) {
        self.since.resize(members, [0; LANES]);
        self.mark.resize(members, 0);
        let (mut inside, mut found) = (0, None);
        for lane in 0..LANES {
            let first = self.stamp + 1;
            for start in 0..members as u32 {
                if self.mark[start as usize] >= first {
                    continue;
                }
                self.stamp += 1;
                let mut at = start;
                while at != NOBODY && self.mark[at as usize] < first {
                    self.mark[at as usize] = self.stamp;
                    self.since[at as usize][lane] |= 0x80;
                    at = parent(at, lane);
                }
                if at == NOBODY || self.mark[at as usize] != self.stamp {
                    continue;
                }
                let begin = at;
                loop {
                    let since = &mut self.since[at as usize][lane];
                    *since = (*since & 0x7f) + 1;
                    inside += 1;
                    if *since > Self::PATIENCE {
                        *since = 0;
                        found = Some((at, lane));
                    }
                    at = parent(at, lane);
                    if at == begin {
                        break;
                    }
                }
            }
            // Who was walked over and not in a circle is not in one any more.
            for since in &mut self.since {
                if since[lane] & 0x80 != 0 {
                    since[lane] = 0;
                }
            }
        }
        (inside, found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circle_is_found_when_it_lasts() {
        // 0 -> 1 -> 2 -> 0 in substream 3; 3 -> 4 -> nobody; 5 -> 0.
        let parents = [1, 2, 0, 4, NOBODY, 0];
        let mut watch = LoopWatch::default();
        for second in 0..20 {
            let (inside, found) =
                watch.look(6, |m, lane| if lane == 3 { parents[m as usize] } else { NOBODY });
            assert_eq!(inside, 3);
            assert_eq!(found.is_some(), second % 6 == 5, "{second}");
        }
        let mut watch = LoopWatch::default();
        for second in 0..20 {
            let (_, found) = watch
                .look(6, |m, lane| if lane == 3 && second % 4 != 0 { parents[m as usize] } else { NOBODY });
            assert_eq!(found, None, "circles that are broken again are no harm");
        }
    }

    #[test]
    fn a_limit_holds_over_any_second() {
        let mut watch = LimitWatch::default();
        for i in 0..100 {
            assert!(watch.take(i * 100 * MS, 10_000, 800_000).is_ok());
        }
        assert!(watch.take(9_950 * MS, 1000, 800_000).is_err());
        assert!(watch.take(12_000 * MS, 8000, 8).is_ok());
    }
}

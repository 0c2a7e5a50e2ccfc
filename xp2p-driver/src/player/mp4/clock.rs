//! Times of FLV as times of MP4.

/// The 32 bits of FLV's milliseconds, which wrap after 49.7 days, as a time that does not.
#[derive(Debug, Default)]
pub(super) struct Unwrapped(Option<u64>);

impl Unwrapped {
    pub(super) fn at(&mut self, timestamp: u32) -> u64 {
        let time = match self.0 {
            None => timestamp.into(),
            // The low bits of the last one; a distance of more than half the circle is one backwards.
            Some(last) => {
                last.saturating_add_signed(i64::from(timestamp.wrapping_sub(last as u32).cast_signed()))
            }
        };
        self.0 = Some(time);
        time
    }
}

/// How long the newest picture is said to last.
///
/// Nobody knows before the next one has come, and to wait for that would cost the time of a picture. So it is guessed,
/// and the next fragment tells its own time (tfdt), which is what counts.
///
/// The guess is rather too long: a duration that reaches into the next picture is harmless, but Media Source Extensions
/// take a picture that is decoded later than [`REACH`](Self::REACH) times the duration of the one before for a seam, and
/// show nothing up to the next keyframe. It is not much too long, because pages think that so much is there to be played.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// The longest distance of late, in milliseconds.
    longest: u32,
}

impl Pace {
    const LEAST: u32 = 100;
    const MOST: u32 = 1_000;
    /// "Coded Frame Processing" of the specification, step 1.6.
    pub(super) const REACH: u64 = 2;

    /// The distance of two pictures.
    pub(super) fn saw(&mut self, distance: u32) {
        self.longest = distance.max(self.longest - self.longest / 32).min(Self::MOST);
    }

    pub(super) fn guess(&self) -> u32 {
        (2 * self.longest).clamp(Self::LEAST, Self::MOST)
    }
}

/// Lays pieces of sound one behind the other, counted in samples.
///
/// The milliseconds of FLV are rounded, and those of many cameras jitter. Sound that followed them would have gaps and
/// overlaps in each piece; so it goes on without, as long as its own time is near that of FLV. A piece that comes late
/// is said to last longer, up to where its sound belongs, because players stop at a gap; one that comes too early is
/// left out.
#[derive(Debug)]
pub(super) struct SoundClock {
    rate: u32,
    next: Option<u64>,
}

impl SoundClock {
    /// How far sound may be off: below what is seen as wrong lips, above what cameras jitter by.
    const TOLERANCE_MS: u64 = 100;

    pub(super) fn new(rate: u32) -> Self {
        Self { rate, next: None }
    }

    /// Goes on at another rate, where it is.
    pub(super) fn change_rate(&mut self, rate: u32) {
        let old = u128::from(self.rate.max(1));
        self.next = self.next.and_then(|next| u64::try_from(u128::from(next) * u128::from(rate) / old).ok());
        self.rate = rate;
    }

    /// A time in samples.
    pub(super) fn samples(&self, ms: u64) -> u64 {
        // Whole seconds apart, so that nothing overflows before millions of years.
        let rate = u64::from(self.rate);
        (ms / 1_000).saturating_mul(rate).saturating_add(ms % 1_000 * rate / 1_000)
    }

    /// Up to where there is sound, in samples.
    pub(super) fn end(&self) -> Option<u64> {
        self.next
    }

    /// The same in milliseconds.
    pub(super) fn end_ms(&self) -> Option<u64> {
        self.next.map(|next| {
            let rate = u64::from(self.rate.max(1));
            (next / rate).saturating_mul(1_000).saturating_add(next % rate * 1_000 / rate)
        })
    }

    /// How many pieces of `len` samples fit up to `until`, from `start` on if there has been nothing yet.
    pub(super) fn room(&self, start: u64, until: u64, len: u32) -> u64 {
        until.saturating_sub(self.next.unwrap_or(start)) / u64::from(len.max(1))
    }

    /// Where a piece of `len` samples that is due at `due` begins, and how long it is said to be.
    pub(super) fn place(&mut self, due: u64, len: u32) -> Option<(u64, u32)> {
        let start = self.next.unwrap_or(due);
        let tolerance = u64::from(self.rate) * Self::TOLERANCE_MS / 1_000;
        if start > due.saturating_add(tolerance) {
            return None;
        }
        let late = due - due.min(start);
        let extra = if late > tolerance { u32::try_from(late).unwrap_or(u32::MAX) } else { 0 };
        let duration = len.saturating_add(extra);
        self.next = Some(start.saturating_add(duration.into()));
        Some((start, duration))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_over_the_wrap() {
        let mut time = Unwrapped::default();
        let out = [u32::MAX - 39, 0, u32::MAX, 40].map(|t| time.at(t));
        let wrap = 1_u64 << 32;
        assert_eq!(out, [wrap - 40, wrap, wrap - 1, wrap + 40]);
        assert_eq!(Unwrapped(Some(5)).at(u32::MAX), 0, "there is nothing before 0");
    }

    #[test]
    fn the_guess_follows_the_longest_distance_and_forgets_it() {
        let mut pace = Pace::default();
        assert_eq!(pace.guess(), 100);
        pace.saw(40);
        assert_eq!(pace.guess(), 100);
        pace.saw(400);
        assert_eq!(pace.guess(), 800);
        pace.saw(u32::MAX);
        assert_eq!(pace.guess(), 1_000);
        for _ in 0..200 {
            pace.saw(40);
        }
        assert!(pace.guess() <= 110, "{}", pace.guess());
    }

    #[test]
    fn steady_sound_has_neither_gaps_nor_overlaps_in_a_day() {
        let mut clock = SoundClock::new(44_100);
        let mut expected = 0;
        for n in 0..86_400 * 44_100 / 1_024 {
            // Rounded as muxers do, with some jitter.
            let ms = (n * 1_024 * 1_000 + 22_050) / 44_100 + n % 7;
            let due = clock.samples(ms);
            assert_eq!(clock.place(due, 1_024), Some((expected, 1_024)));
            expected += 1_024;
        }
    }

    #[test]
    fn a_gap_is_bridged_by_the_first_piece_behind_it_and_haste_is_left_out() {
        let mut clock = SoundClock::new(8_000);
        assert_eq!(clock.place(800, 320), Some((800, 320)));
        assert_eq!(clock.place(9_120, 320), Some((1_120, 8_320)));
        assert_eq!(clock.place(9_440, 320), Some((9_440, 320)));
        assert_eq!(clock.place(9_440, 320), Some((9_760, 320)));
        assert_eq!(clock.place(9_440, 320), Some((10_080, 320)));
        assert_eq!(clock.place(9_440, 320), None, "more than 800 too early");
        assert_eq!(clock.place(u64::MAX, u32::MAX).unwrap().0, 10_400);
        assert_eq!(SoundClock::new(192_000).samples(u64::MAX), u64::MAX);
        let mut clock = SoundClock::new(8_000);
        clock.place(0, 8_000);
        clock.change_rate(44_100);
        assert_eq!(clock.place(44_100, 1_024), Some((44_100, 1_024)));
    }
}

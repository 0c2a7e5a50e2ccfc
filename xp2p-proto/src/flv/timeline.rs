//! Makes timestamps start near 0 and go forward only.

use super::tag::{Tag, TagKind};

/// How a [`Timeline`] treats time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimelineConfig {
    /// Milliseconds that the first audio or video tag gets. 0 by default.
    pub start: u32,
    /// A step forward of more milliseconds is a jump and is bridged. 10,000 by default.
    pub max_step: u32,
    /// A step back of up to so many milliseconds is no jump: between tracks it is how they were interleaved (once
    /// both run, a track may lag further), within a track it is flattened. 1,000 by default. A file that is shorter
    /// than this cannot be looped without [`Timeline::restart`].
    pub max_back: u32,
    /// Milliseconds from the last tag before a jump to the first after it, as long as a track has not shown the
    /// distance of its own tags. 40 by default.
    pub interval: u32,
}

impl Default for TimelineConfig {
    fn default() -> Self {
        Self { start: 0, max_step: 10_000, max_back: 1_000, interval: 40 }
    }
}

/// Rewrites timestamps: they start near 0, never go back within a track, pass the 32-bit wrap of the source without
/// a seam, and bridge jumps (a file that starts over, a camera that sets its clock) by the length of one frame.
///
/// Both tracks move by the same offset, so they stay in step; a few tags of one track from before a jump may still
/// come after the other track's first one behind it. Script tags and sequence headers never make a jump, since many
/// encoders write 0 there: a script tag gets the current time when its own does not fit, a sequence header that of
/// the newest frame of its track.
///
/// ```
/// use bytes::Bytes;
/// use xp2p_proto::flv::{Tag, TagKind, Timeline, TimelineConfig};
///
/// let mut timeline = Timeline::new(TimelineConfig::default());
/// let times = [5_000, 5_040, 5_080, 0, 40].map(|timestamp| {
///     let body = Bytes::from_static(&[0x27, 1, 0, 0, 0]);
///     timeline.apply(Tag { kind: TagKind::Video, timestamp, body }).timestamp
/// });
/// assert_eq!(times, [0, 40, 80, 120, 160]);
/// ```
#[derive(Clone, Debug)]
pub struct Timeline {
    config: TimelineConfig,
    /// Newest input of the running epoch (the time between two jumps) and the output it maps to.
    anchor: Option<(u32, u64)>,
    /// The same of the epoch before, where a track may still be that has not come to the jump.
    previous: Option<(u32, u64)>,
    tracks: [Track; 2],
    epoch: u64,
    /// The next audio or video tag is a jump, whatever its timestamp.
    restarting: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Track {
    /// Newest output.
    last: Option<u64>,
    /// Newest input and its epoch.
    input: Option<(u32, u64)>,
    /// Distance of its last two tags.
    interval: Option<u32>,
}

impl Timeline {
    /// A timeline at its start.
    pub fn new(config: TimelineConfig) -> Self {
        Self {
            config,
            anchor: None,
            previous: None,
            tracks: [Track::default(); 2],
            epoch: 0,
            restarting: false,
        }
    }

    /// The tag with its new timestamp (which wraps after 49.7 days as FLV's must).
    pub fn apply(&mut self, mut tag: Tag) -> Tag {
        tag.timestamp = self.position(&tag) as u32; // the wrap is meant
        tag
    }

    /// The new time of a tag in milliseconds, without wrap. Call this once per tag, in order, or
    /// [`apply`](Self::apply).
    pub fn position(&mut self, tag: &Tag) -> u64 {
        let index = match tag.kind {
            TagKind::Script => return self.script_position(tag.timestamp),
            TagKind::Audio => 0,
            TagKind::Video => 1,
        };
        let track = self.tracks[index]; // two kinds, two tracks
        let ts = tag.timestamp;
        if tag.is_sequence_header() {
            return self.header_position(&track, ts);
        }
        let place = self.place(&track, ts);
        let mut epoch = self.epoch;
        let out = match place {
            Place::First => u64::from(self.config.start),
            Place::Running((newest, at)) => at.saturating_add_signed(distance(newest, ts)),
            Place::Late((newest, at)) => {
                epoch -= 1; // there is one before, or nothing could be late
                at.saturating_add_signed(distance(newest, ts))
            }
            Place::Jump { known } => {
                self.previous = if known { None } else { self.anchor };
                self.epoch += 1;
                epoch = self.epoch;
                self.bridge()
            }
        };
        match place {
            Place::First | Place::Jump { .. } => self.anchor = Some((ts, out)),
            Place::Running((newest, _)) if distance(newest, ts) > 0 => self.anchor = Some((ts, out)),
            Place::Running(_) | Place::Late(_) => {}
        }
        // Before the very start of the timeline there is nothing: what belongs there starts with the others.
        let out = out.max(track.last.unwrap_or(u64::from(self.config.start)));
        // A pause is no distance of frames; to bridge a jump by it would make another pause.
        let interval = match (track.last, place) {
            (_, Place::Jump { .. }) | (None, _) => None,
            (Some(last), _) => {
                u32::try_from(out - last).ok().filter(|i| (1..=self.config.max_back).contains(i))
            }
        };
        self.tracks[index] =
            Track { last: Some(out), input: Some((ts, epoch)), interval: interval.or(track.interval) };
        out
    }

    /// Decides how the time of a tag with sound or picture goes on from those before it.
    fn place(&mut self, track: &Track, ts: u32) -> Place {
        let known = std::mem::take(&mut self.restarting);
        let Some(anchor) = self.anchor else { return Place::First };
        if known {
            return Place::Jump { known };
        }
        let step = distance(anchor.0, ts);
        let own = track.input.map(|(input, epoch)| (distance(input, ts), self.epoch - epoch));
        let runs = match (own, self.previous) {
            // A track may lag behind the other one as far as it likes, and may pause while the other goes on.
            (Some((own, 0)), _) => self.fits(own) || (own > 0 && self.fits(step)),
            // The tracks jump one after the other, with tags from before the jump between.
            (Some((own, 1)), Some(previous))
                if own.abs() <= i64::from(self.config.max_back) && own.abs() < step.abs() =>
            {
                return Place::Late(previous);
            }
            _ => self.fits(step),
        };
        if runs { Place::Running(anchor) } else { Place::Jump { known } }
    }

    /// Makes the next audio or video tag follow the last one by one frame, whatever its timestamp says. For a source
    /// that is known to have started anew.
    pub fn restart(&mut self) {
        self.restarting = true;
    }

    fn fits(&self, step: i64) -> bool {
        -i64::from(self.config.max_back) <= step && step <= i64::from(self.config.max_step)
    }

    /// Where the first tag after a jump goes: one frame behind both tracks.
    fn bridge(&self) -> u64 {
        let interval = |track: &Track| u64::from(track.interval.unwrap_or(self.config.interval));
        let ends = self.tracks.iter().filter_map(|track| Some(track.last? + interval(track)));
        ends.max().unwrap_or(u64::from(self.config.start))
    }

    /// The time of a script tag.
    fn script_position(&self, ts: u32) -> u64 {
        let Some((newest, at)) = self.anchor else { return u64::from(self.config.start) };
        let step = distance(newest, ts);
        if !self.restarting && step > 0 && self.fits(step) { at.saturating_add_signed(step) } else { at }
    }

    /// The time of a sequence header. It must not be later than the next frame of its track, which is not known yet.
    fn header_position(&self, track: &Track, ts: u32) -> u64 {
        let start = u64::from(self.config.start);
        match (track.last, self.anchor) {
            (Some(last), _) => last,
            (None, None) => start,
            (None, Some((newest, at))) => {
                let step = distance(newest, ts);
                let back = if self.fits(step) { step.min(0) } else { 0 };
                at.saturating_add_signed(back).max(start)
            }
        }
    }
}

/// How the time of a tag goes on from those before it.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// There were none.
    First,
    /// In the running epoch, from this anchor.
    Running((u32, u64)),
    /// In the epoch before, from this anchor.
    Late((u32, u64)),
    /// In a new epoch; `known`: because of [`Timeline::restart`].
    Jump { known: bool },
}

/// Milliseconds from one timestamp to another, taking the shorter way around the 32-bit wrap.
fn distance(from: u32, to: u32) -> i64 {
    i64::from(to.wrapping_sub(from) as i32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::flv::testing::{aac_config, avc_config, inter, key, metadata, sound};

    fn timeline() -> Timeline {
        Timeline::new(TimelineConfig::default())
    }

    fn run(timeline: &mut Timeline, tags: impl IntoIterator<Item = Tag>) -> Vec<u32> {
        tags.into_iter().map(|tag| timeline.apply(tag).timestamp).collect()
    }

    fn video(times: &[u32]) -> Vec<Tag> {
        times.iter().map(|t| inter(*t, 1)).collect()
    }

    /// One second of film from `start`: 25 pictures with a sound 5 ms after each.
    fn film(start: u32) -> Vec<Tag> {
        (0..25)
            .flat_map(|i| [inter(start.wrapping_add(i * 40), 1), sound(start.wrapping_add(i * 40 + 5))])
            .collect()
    }

    #[test]
    fn it_starts_where_it_is_told_to() {
        assert_eq!(run(&mut timeline(), video(&[70_000, 70_040])), [0, 40]);
        let config = TimelineConfig { start: 500, ..TimelineConfig::default() };
        let tags = [inter(70_000, 1), sound(69_990), inter(70_040, 1), sound(70_010)];
        assert_eq!(run(&mut Timeline::new(config), tags), [500, 500, 540, 510], "nothing before the start");
    }

    #[test]
    fn a_looped_file_goes_on_by_one_frame_each_time() {
        let mut timeline = timeline();
        let mut out = Vec::new();
        for _ in 0..3 {
            out.extend(run(&mut timeline, (0..100).map(|i| inter(i * 40, 1))));
        }
        assert_eq!(out, (0..300).map(|i| i * 40).collect::<Vec<_>>());
    }

    #[test]
    fn sound_and_picture_stay_in_step_over_a_loop() {
        let mut timeline = timeline();
        let loops: Vec<Tag> = (0..4).flat_map(|_| film(9000).into_iter().chain(film(12_000))).collect();
        let out = run(&mut timeline, loops);
        for pair in out.chunks(2) {
            assert_eq!(pair[1] - pair[0], 5, "{out:?}");
        }
        assert!(out.windows(2).all(|w| w[0] <= w[1]));
    }

    #[test]
    fn the_wrap_of_the_source_leaves_no_seam() {
        let mut timeline = timeline();
        let tags: Vec<Tag> = film(u32::MAX - 99).into_iter().chain(film(900)).collect();
        let out = run(&mut timeline, tags.clone());
        let want: Vec<u32> = tags.iter().map(|t| t.timestamp.wrapping_add(100)).collect();
        assert_eq!(out, want);
    }

    #[test]
    fn the_wrap_of_the_output_wraps_the_tag_and_not_the_position() {
        let config = TimelineConfig { start: u32::MAX - 10, ..TimelineConfig::default() };
        let mut timeline = Timeline::new(config);
        assert_eq!(timeline.position(&inter(0, 1)), u64::from(u32::MAX) - 10);
        assert_eq!(timeline.position(&inter(40, 1)), u64::from(u32::MAX) + 30);
        assert_eq!(timeline.apply(inter(80, 1)).timestamp, 69);
    }

    #[test]
    fn a_jump_forward_is_bridged_and_a_pause_kept() {
        assert_eq!(run(&mut timeline(), video(&[0, 40, 10_040, 20_081])), [0, 40, 10_040, 10_080]);
    }

    #[test]
    fn a_jump_back_is_bridged_and_a_small_step_back_flattened() {
        let out = run(&mut timeline(), video(&[5000, 5040, 4040, 5080, 4079, 4119]));
        assert_eq!(out, [0, 40, 40, 80, 120, 160]);
    }

    #[test]
    fn a_jump_is_bridged_by_the_distance_that_the_track_has_shown() {
        assert_eq!(run(&mut timeline(), video(&[0, 100, 90_000])), [0, 100, 200]);
        assert_eq!(run(&mut timeline(), video(&[0, 90_000])), [0, 40], "none shown yet");
    }

    #[test]
    fn a_jump_goes_behind_both_tracks() {
        let tags = [inter(0, 1), sound(0), inter(40, 1), sound(300), inter(60_000, 1), sound(60_010)];
        assert_eq!(run(&mut timeline(), tags), [0, 0, 40, 300, 600, 610]);
    }

    /// The distance of the last two tags was taken for that of frames, even if the source had paused between.
    #[test]
    fn a_pause_before_a_jump_is_not_repeated() {
        assert_eq!(run(&mut timeline(), video(&[0, 40, 5040, 90_000])), [0, 40, 5040, 5080]);
    }

    #[test]
    fn restart_bridges_what_looks_like_going_on() {
        let mut timeline = timeline();
        assert_eq!(run(&mut timeline, video(&[0, 40, 80])), [0, 40, 80]);
        timeline.restart();
        assert_eq!(run(&mut timeline, [inter(5000, 1), sound(5010), inter(5040, 1)]), [120, 130, 160]);
        timeline.restart();
        assert_eq!(run(&mut timeline, video(&[5040, 5080])), [200, 240]);
    }

    #[test]
    fn a_loop_shorter_than_a_jump_is_told_by_restart() {
        let mut timeline = timeline();
        let mut out = Vec::new();
        for _ in 0..3 {
            timeline.restart();
            out.extend(run(&mut timeline, video(&[0, 40, 80])));
        }
        assert_eq!(out, [0, 40, 80, 120, 160, 200, 240, 280, 320]);
    }

    #[test]
    fn restart_before_the_first_tag_changes_nothing() {
        let mut timeline = timeline();
        timeline.restart();
        assert_eq!(run(&mut timeline, video(&[900, 940, 80_000])), [0, 40, 80]);
    }

    #[test]
    fn the_metadata_and_headers_of_a_looped_file_make_no_jump() {
        let mut timeline = timeline();
        let file = || {
            let head = [metadata(0, 1), avc_config(0, 1), aac_config(0, 1)];
            head.into_iter().chain(film(0)).chain(film(1000)).collect::<Vec<_>>()
        };
        let first = run(&mut timeline, file());
        let second = run(&mut timeline, file());
        assert_eq!(first[..5], [0, 0, 0, 0, 5]);
        let picture_end = 49 * 40;
        assert_eq!(second[..3], [picture_end + 5, picture_end, picture_end + 5]);
        // The sound's distance of 40 after the last sound.
        assert_eq!(second[3..5], [picture_end + 45, picture_end + 50]);
    }

    #[test]
    fn a_script_tag_keeps_a_time_that_fits() {
        let mut timeline = timeline();
        let tags = [inter(100, 1), metadata(120, 1), metadata(0, 1), metadata(50_000, 1), inter(140, 1)];
        assert_eq!(run(&mut timeline, tags), [0, 20, 0, 0, 40]);
    }

    /// A sequence header with a time ahead of its track kept it, and the next frame went back.
    #[test]
    fn a_header_ahead_of_its_track_does_not_make_it_go_back() {
        let mut timeline = timeline();
        let tags = [key(0, 1), avc_config(5000, 2), key(40, 1), aac_config(3000, 1), sound(45)];
        assert_eq!(run(&mut timeline, tags), [0, 0, 40, 40, 45]);
    }

    /// The header of a new source was placed by the clock of the old one, ahead of the frames behind it.
    #[test]
    fn headers_after_a_restart_belong_to_the_new_source() {
        let mut timeline = timeline();
        run(&mut timeline, video(&[0, 40]));
        timeline.restart();
        let tags = [metadata(5000, 1), avc_config(5000, 2), key(5000, 1)];
        assert_eq!(run(&mut timeline, tags), [40, 40, 80]);
    }

    /// Each change from one track to the other was taken for a jump, and time ran at double speed.
    #[test]
    fn a_track_may_lag_further_than_a_jump_back_is_allowed() {
        let mut timeline = timeline();
        let mut tags: Vec<Tag> = (0..50).flat_map(|i| [inter(i * 40, 1), sound(i * 40)]).collect();
        tags.push(inter(4500, 1)); // sound is now 2.5 s behind and stays there
        tags.extend((50..100).flat_map(|i| [sound(i * 40), inter(2500 + i * 40 + 40, 1)]));
        let want: Vec<u32> = tags.iter().map(|t| t.timestamp).collect();
        assert_eq!(run(&mut timeline, tags), want);
    }

    #[test]
    fn a_track_may_pause_while_the_other_goes_on() {
        let mut timeline = timeline();
        let tags = std::iter::once(key(0, 1)).chain((0..1000).map(|i| sound(i * 20))).chain([key(20_000, 1)]);
        assert_eq!(run(&mut timeline, tags).last(), Some(&20_000));
    }

    /// A sound from before the jump that came after the first picture behind it made two more jumps, or a gap as
    /// long as the file.
    #[test]
    fn sound_from_before_a_jump_may_come_after_the_first_picture_behind_it() {
        for (before, after) in [(3_600_000, 0), (5_000, 0), (0, 3_600_000)] {
            let mut timeline = timeline();
            let t = |base: u32, i: u32| base + i * 40;
            let tags = [
                inter(t(before, 0), 1),
                sound(t(before, 0)),
                inter(t(before, 1), 1),
                inter(t(after, 0), 1),
                sound(t(before, 1)),
                inter(t(after, 1), 1),
                sound(t(after, 0)),
                sound(t(after, 1)),
                inter(t(after, 2), 1),
            ];
            assert_eq!(
                run(&mut timeline, tags),
                [0, 0, 40, 80, 40, 120, 80, 120, 160],
                "{before} to {after}"
            );
        }
    }

    #[test]
    fn one_track_may_set_its_clock_and_the_other_not() {
        let mut timeline = timeline();
        let start = film(100_000);
        run(&mut timeline, start);
        let tags = (0..50).flat_map(|i| [inter(i * 40, 1), sound(101_005 + i * 40)]);
        let out = run(&mut timeline, tags);
        for (i, pair) in out.chunks(2).enumerate() {
            assert_eq!(pair, [1005 + i as u32 * 40, 1005 + i as u32 * 40], "{out:?}");
        }
    }

    fn any_tag() -> impl Strategy<Value = Tag> {
        let time = prop_oneof![any::<u32>(), 0..30_000_u32, (u32::MAX - 20_000)..=u32::MAX];
        (0..6_u8, time).prop_map(|(kind, time)| match kind {
            0 => avc_config(time, 1),
            1 => aac_config(time, 1),
            2 => metadata(time, 1),
            3 => sound(time),
            _ => inter(time, 1),
        })
    }

    proptest! {
        #[test]
        fn no_track_goes_back_and_no_step_is_longer_than_allowed(
            tags in prop::collection::vec((any_tag(), prop::bool::weighted(0.05)), 0..200),
            start in any::<u32>(),
        ) {
            let config = TimelineConfig { start, ..TimelineConfig::default() };
            let mut timeline = Timeline::new(config);
            let mut last = [u64::from(start); 2];
            let mut newest = u64::from(start);
            for (tag, restart) in tags {
                if restart {
                    timeline.restart();
                }
                let out = timeline.position(&tag);
                prop_assert!(out <= newest + u64::from(config.max_step), "{out} after {newest}");
                prop_assert!(out >= u64::from(start));
                let index = match tag.kind {
                    TagKind::Audio => 0,
                    TagKind::Video => 1,
                    TagKind::Script => continue,
                };
                newest = newest.max(out);
                if !tag.is_sequence_header() {
                    prop_assert!(out >= last[index], "{out} after {}", last[index]);
                    last[index] = out;
                }
            }
        }

        #[test]
        fn a_stream_without_jumps_is_moved_as_a_whole(
            from in any::<u32>(),
            steps in prop::collection::vec((any::<bool>(), 0..900_u32), 1..100),
        ) {
            let mut timeline = timeline();
            let mut at = 0;
            for (index, (audio, step)) in steps.into_iter().enumerate() {
                at += if index == 0 { 0 } else { step };
                let time = from.wrapping_add(at);
                let tag = if audio { sound(time) } else { inter(time, 1) };
                prop_assert_eq!(timeline.position(&tag), u64::from(at));
            }
        }
    }
}

//! Who may be a member of which swarm, and the proof of it.
//!
//! A stream is for everybody unless it has a [`Door`]. To each member the server signs a token that it shows to the others; it
//! holds for a few minutes, and says through which door the member came.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::info::{Capability, CapabilityError, Right};
use crate::keys::{PublicKey, SecretKey};
use crate::peer::wire::{Refusal, Said};
use crate::peer::{DoorTag, MembershipToken};
use crate::swarm::StreamId;

/// How long a token holds.
const LIFETIME: Duration = Duration::from_secs(300);
/// When a member gets the next one.
pub(super) const RENEW: Duration = Duration::from_secs(LIFETIME.as_secs() / 2);
/// How often it is looked for members whose capability has expired, or whose token is to be renewed.
pub(super) const CHECK: Duration = Duration::from_secs(1);
/// A clock that is so much off from what it was has been set. Less than what members make allowance for.
const CLOCK_STEP: Duration = Duration::from_secs(3);
/// Most streams with a door: as many as an origin server keeps cameras in mind, each under all the names it may have.
const MAX_DOORS: usize = 160_000;

/// What a stream asks of those who want it: a capability of its camera for live pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Door {
    /// The camera.
    pub camera: PublicKey,
    /// Its epoch: capabilities of an earlier one are revoked.
    pub epoch: u32,
}

impl Door {
    /// Whether `capability` opens it. `now_unix` as for [`Capability::verify`].
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn check(&self, capability: &Capability, now_unix: Option<u64>) -> Result<(), CapabilityError> {
        capability.verify(&self.camera, self.epoch, now_unix, Right::Live)
    }
}

/// All doors, and what tokens are made with.
#[derive(Debug)]
pub(super) struct Doors {
    identity: SecretKey,
    doors: BTreeMap<StreamId, Door>,
    clock: Option<(Instant, Duration)>,
}

impl Doors {
    pub(super) fn new(identity: SecretKey) -> Self {
        Self { identity, doors: BTreeMap::new(), clock: None }
    }

    /// Takes in what the clock shows. Returns whether tokens have to be made anew, because it showed something else before.
    pub(super) fn set_clock(&mut self, now: Instant, unix: Duration) -> bool {
        let step = self.unix(now).is_none_or(|expected| expected.abs_diff(unix) > CLOCK_STEP);
        self.clock = Some((now, unix));
        step
    }

    /// What the clock shows, once that is known.
    pub(super) fn unix(&self, now: Instant) -> Option<Duration> {
        let (at, unix) = self.clock?;
        Some(unix.saturating_add(now.saturating_duration_since(at)))
    }

    /// Sets or removes the door of a stream. Returns whether it is another one now; `None`: there are too many.
    pub(super) fn set(&mut self, stream: StreamId, door: Option<Door>) -> Option<bool> {
        let Some(door) = door else { return Some(self.doors.remove(&stream).is_some()) };
        if self.doors.len() >= MAX_DOORS && !self.doors.contains_key(&stream) {
            return None;
        }
        Some(self.doors.insert(stream, door) != Some(door))
    }

    /// Whether somebody who shows this may be a member.
    pub(super) fn admit(
        &self,
        now: Instant,
        stream: &StreamId,
        capability: Option<&Capability>,
    ) -> Result<(), Refusal> {
        let Some(door) = self.doors.get(stream) else { return Ok(()) };
        let capability = capability.ok_or(Refusal::NoCapability)?;
        let unix = self.unix(now).map(|unix| unix.as_secs());
        door.check(capability, unix).map_err(|_| Refusal::WrongCapability)
    }

    /// The same for somebody who was let in through the same door.
    pub(super) fn is_expired(&self, now: Instant, stream: &StreamId, capability: &Capability) -> bool {
        let unix = self.unix(now).map(|unix| unix.as_secs());
        self.doors.get(stream).is_some_and(|d| capability.recheck(d.epoch, unix, Right::Live).is_err())
    }

    /// What a member gets who was let in: a token that holds no longer than what it has shown for it. `None`: the time is not
    /// known yet.
    pub(super) fn membership(
        &self,
        now: Instant,
        stream: &StreamId,
        member: &PublicKey,
        capability: Option<&Capability>,
    ) -> Option<Said> {
        let unix = self.unix(now)?;
        let mut expiry = unix.saturating_add(LIFETIME).as_secs();
        let tag = match self.doors.get(stream) {
            None => DoorTag::OPEN,
            Some(door) => {
                if let Some(end) = capability.and_then(Capability::expiry) {
                    expiry = expiry.min(end.get());
                }
                DoorTag::of(&door.camera, door.epoch)
            }
        };
        let token = MembershipToken::issue(&self.identity, stream, member, tag, expiry);
        Some(Said::Membership { unix: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX), token })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::info::Rights;
    use std::num::NonZeroU64;

    const STREAM: StreamId = StreamId::from_bytes([7; 16]);
    const UNIX: u64 = 1_800_000_000;

    fn key(n: u8) -> SecretKey {
        SecretKey::from_bytes([n; 32])
    }

    fn capability(n: u8, rights: Rights, epoch: u32, expiry: u64) -> Capability {
        Capability::issue(&key(n), rights, epoch, NonZeroU64::new(expiry), [0; 8])
    }

    /// A server with a stream of camera 1 in epoch 3, and an instant at which it is [`UNIX`].
    fn doors() -> (Doors, Instant) {
        #[expect(clippy::disallowed_methods, reason = "a test needs some first instant")]
        let now = Instant::now();
        let mut doors = Doors::new(key(2));
        assert!(doors.set_clock(now, Duration::from_secs(UNIX)));
        let door = Door { camera: key(1).public(), epoch: 3 };
        assert_eq!(doors.set(STREAM, Some(door)), Some(true));
        assert_eq!(doors.set(STREAM, Some(door)), Some(false));
        (doors, now)
    }

    #[test]
    fn a_closed_stream_is_for_those_with_a_capability_of_its_camera() {
        let (mut doors, now) = doors();
        let live = Rights::from(Right::Live);
        assert_eq!(doors.admit(now, &STREAM, None), Err(Refusal::NoCapability));
        for (why, good, shown) in [
            ("good", true, capability(1, live, 3, 0)),
            ("for some time yet", true, capability(1, Rights::ALL, 3, UNIX + 1)),
            ("of another camera", false, capability(4, live, 3, 0)),
            ("revoked", false, capability(1, live, 2, 0)),
            ("of an epoch to come", false, capability(1, live, 4, 0)),
            ("expired", false, capability(1, live, 3, UNIX)),
            ("too narrow", false, capability(1, Right::Playback.into(), 3, 0)),
        ] {
            let expected = if good { Ok(()) } else { Err(Refusal::WrongCapability) };
            assert_eq!(doors.admit(now, &STREAM, Some(&shown)), expected, "{why}");
        }
        let other = StreamId::from_bytes([8; 16]);
        assert_eq!(doors.admit(now, &other, None), Ok(()), "all other streams are for everybody");
        assert_eq!(doors.set(STREAM, None), Some(true));
        assert_eq!(doors.admit(now, &STREAM, None), Ok(()));
    }

    #[test]
    fn without_the_time_nobody_comes_in_for_a_time() {
        let (_, now) = doors();
        let mut doors = Doors::new(key(2));
        doors.set(STREAM, Some(Door { camera: key(1).public(), epoch: 3 }));
        let admit = |expiry| doors.admit(now, &STREAM, Some(&capability(1, Right::Live.into(), 3, expiry)));
        assert_eq!(admit(0), Ok(()));
        assert_eq!(admit(UNIX + 9), Err(Refusal::WrongCapability));
        assert_eq!(doors.membership(now, &STREAM, &key(5).public(), None), None);
    }

    #[test]
    fn a_token_holds_no_longer_than_the_capability() {
        let (mut doors, now) = doors();
        let live = Rights::from(Right::Live);
        let member = key(5).public();
        let token = |doors: &Doors, shown: &Capability| {
            let Some(Said::Membership { unix, token }) = doors.membership(now, &STREAM, &member, Some(shown))
            else {
                panic!("the time is known");
            };
            assert_eq!(unix, UNIX * 1000);
            assert!(token.is_signed_by(&key(2).public(), &STREAM, &member));
            token
        };
        for (expiry, expected) in
            [(0, UNIX + 300), (UNIX + 9, UNIX + 9), (UNIX + 300, UNIX + 300), (UNIX + 301, UNIX + 300)]
        {
            assert_eq!(token(&doors, &capability(1, live, 3, expiry)).expiry(), expected);
        }
        let shown = capability(1, live, 3, UNIX + 9);
        assert_eq!(token(&doors, &shown).door(), DoorTag::of(&key(1).public(), 3));
        assert!(!doors.is_expired(now + Duration::from_secs(8), &STREAM, &shown));
        assert!(doors.is_expired(now + Duration::from_secs(9), &STREAM, &shown));
        doors.set(STREAM, None);
        assert_eq!(
            (token(&doors, &shown).door(), token(&doors, &shown).expiry()),
            (DoorTag::OPEN, UNIX + 300)
        );
        assert!(!doors.is_expired(now + Duration::from_secs(9), &STREAM, &shown), "nobody asks for it");
    }

    #[test]
    fn a_clock_that_is_set_is_noticed() {
        let (mut doors, now) = doors();
        let later = now + Duration::from_secs(10);
        assert!(!doors.set_clock(later, Duration::from_secs(UNIX + 12)), "a little wrong");
        assert!(doors.set_clock(later, Duration::from_secs(UNIX)));
        assert!(doors.set_clock(later, Duration::from_secs(UNIX + 3_600)));
    }

    #[test]
    fn doors_are_bounded() {
        let (mut doors, _) = doors();
        let door = Door { camera: key(1).public(), epoch: 3 };
        for n in 1..MAX_DOORS as u128 {
            assert_eq!(doors.set(StreamId::from_bytes(n.to_be_bytes()), Some(door)), Some(true));
        }
        assert_eq!(doors.set(StreamId::from_bytes([9; 16]), Some(door)), None);
        assert_eq!(doors.set(STREAM, Some(Door { epoch: 4, ..door })), Some(true), "a known one may change");
    }
}

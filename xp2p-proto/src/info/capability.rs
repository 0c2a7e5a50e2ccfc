//! Capabilities: what a camera lets the bearer do, signed with its key.

use std::fmt;
use std::num::NonZeroU64;

use data_encoding::BASE64URL_NOPAD;
use thiserror::Error;

use super::{Right, Rights, RightsError};
use crate::keys::{PublicKey, SIGNATURE_LEN, SecretKey};

/// Bytes of a capability.
pub const CAPABILITY_LEN: usize = SIGNED_LEN + SIGNATURE_LEN;
/// Characters of a capability in base64url without padding.
pub const CAPABILITY_TEXT_LEN: usize = CAPABILITY_LEN.div_ceil(3) * 4 - 1;
/// Bytes of the serial number.
pub const SERIAL_LEN: usize = 8;

/// Format, rights, epoch, expiry, serial: the bytes before the signature.
const SIGNED_LEN: usize = 1 + 1 + 4 + 8 + SERIAL_LEN;
const FORMAT: u8 = 1;
/// Keeps these signatures apart from all others that a camera's key makes.
const CONTEXT: &[u8] = b"xp2p capability v1\0";

/// A permission of a camera for whoever holds it (a bearer token: keep it like a password).
///
/// | bytes | |
/// |---|---|
/// | 0 | format, 1 |
/// | 1 | rights: live 1, playback 2, command 4, voice 8, download 16 |
/// | 2..6 | epoch, big endian; the camera refuses all but its own epoch |
/// | 6..14 | expiry in unix seconds, big endian; 0: never |
/// | 14..22 | serial number, random, so that sessions in a log can be told apart |
/// | 22..86 | Ed25519 signature of the camera |
///
/// The signature covers `"xp2p capability v1\0"`, the camera's public key and bytes 0..22.
#[derive(Clone, PartialEq, Eq)]
pub struct Capability {
    rights: Rights,
    epoch: u32,
    expiry: Option<NonZeroU64>,
    serial: [u8; SERIAL_LEN],
    signature: [u8; SIGNATURE_LEN],
}

/// Why bytes or text are no capability.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CapabilityFormatError {
    /// Wrong length.
    #[error("a capability has {CAPABILITY_LEN} bytes, this has {found}; it was cut or is of another kind")]
    Length {
        /// Bytes found.
        found: usize,
    },
    /// A format that we do not know.
    #[error("capability format {found} at byte 0 is unknown, this software knows {FORMAT}; update it")]
    Format {
        /// The format.
        found: u8,
    },
    /// Bad rights.
    #[error("byte 1 of the capability: {0}")]
    Rights(RightsError),
    /// Not base64url.
    #[error("the capability is not base64url at character {position}; copy it again as a whole")]
    Base64 {
        /// Position of the first wrong character, from 0.
        position: usize,
    },
}

impl CapabilityFormatError {
    /// Offset of the wrong byte in the capability.
    pub const fn offset(&self) -> usize {
        match self {
            Self::Length { found } => *found,
            Self::Format { .. } => 0,
            Self::Rights(_) => 1,
            Self::Base64 { position } => *position * 3 / 4,
        }
    }
}

/// Why a camera does not accept a capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CapabilityError {
    /// Not signed by this camera, or changed since.
    #[error("the capability was not signed by this camera, or was changed since; ask for a new xp2pInfo")]
    BadSignature,
    /// Of an older epoch.
    #[error(
        "the capability was revoked (its epoch is {found}, the camera's is {current}); ask for a new xp2pInfo"
    )]
    Revoked {
        /// Its epoch.
        found: u32,
        /// The camera's epoch.
        current: u32,
    },
    /// Of an epoch that the camera has not reached: the camera's key file was replaced by an old copy.
    #[error(
        "the capability is of epoch {found}, but the camera is only at {current}; was an old key file restored?"
    )]
    FutureEpoch {
        /// Its epoch.
        found: u32,
        /// The camera's epoch.
        current: u32,
    },
    /// Too late.
    #[error(
        "the capability expired at {expiry} (unix time; it is now {now}); ask for a new xp2pInfo, or check the camera's clock"
    )]
    Expired {
        /// When it expired, unix seconds.
        expiry: u64,
        /// The camera's time, unix seconds.
        now: u64,
    },
    /// It expires, and the camera does not know the time yet.
    #[error(
        "the capability expires, but the camera does not know the time yet; try again once its clock is set"
    )]
    ClockUnknown,
    /// It does not allow this.
    #[error("the capability does not allow {right} (it allows {granted}); ask for an xp2pInfo that does")]
    RightMissing {
        /// What was asked for.
        right: Right,
        /// What it allows.
        granted: Rights,
    },
}

/// Why a capability cannot be narrowed as asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NarrowError {
    /// Another camera's.
    #[error("the capability was not signed with this key; narrow it with the key file of its camera")]
    NotOurs,
    /// Rights that it does not have.
    #[error("the capability does not allow {excess}; a narrowed one cannot allow more than the first")]
    Wider {
        /// What was asked for and is not there.
        excess: Rights,
    },
}

impl Capability {
    /// Makes and signs a capability for the camera of `secret`.
    ///
    /// `epoch` is the camera's current one, `expiry` in unix seconds (the first second in which it no longer
    /// holds), `serial` fresh randomness.
    pub fn issue(
        secret: &SecretKey,
        rights: Rights,
        epoch: u32,
        expiry: Option<NonZeroU64>,
        serial: [u8; SERIAL_LEN],
    ) -> Self {
        let mut capability = Self { rights, epoch, expiry, serial, signature: [0; SIGNATURE_LEN] };
        capability.signature = secret.sign(&capability.message(&secret.public()));
        capability
    }

    /// Reads a capability. This does not check the signature; [`Self::verify`] does.
    ///
    /// # Errors
    ///
    /// When the bytes have another length, an unknown format or bad rights.
    pub fn parse(bytes: &[u8]) -> Result<Self, CapabilityFormatError> {
        let bytes: &[u8; CAPABILITY_LEN] =
            bytes.try_into().map_err(|_| CapabilityFormatError::Length { found: bytes.len() })?;
        let (head, signature) = bytes.split_at(SIGNED_LEN);
        let (&[format, rights], numbers) = head.split_first_chunk().expect("22 bytes, checked above");
        let (&epoch, numbers) = numbers.split_first_chunk().expect("20 bytes are left");
        let (&expiry, serial) = numbers.split_first_chunk().expect("16 bytes are left");
        if format != FORMAT {
            return Err(CapabilityFormatError::Format { found: format });
        }
        Ok(Self {
            rights: Rights::from_bits(rights).map_err(CapabilityFormatError::Rights)?,
            epoch: u32::from_be_bytes(epoch),
            expiry: NonZeroU64::new(u64::from_be_bytes(expiry)),
            serial: serial.try_into().expect("8 bytes are left"),
            signature: signature.try_into().expect("86 - 22 bytes are 64"),
        })
    }

    /// Reads the base64url form ([`CAPABILITY_TEXT_LEN`] characters).
    ///
    /// # Errors
    ///
    /// As [`Self::parse`], or when it is not base64url.
    pub fn from_base64(text: &str) -> Result<Self, CapabilityFormatError> {
        if text.len() != CAPABILITY_TEXT_LEN {
            return Err(CapabilityFormatError::Length { found: text.len().saturating_mul(3) / 4 });
        }
        let bytes = BASE64URL_NOPAD
            .decode(text.as_bytes())
            .map_err(|e| CapabilityFormatError::Base64 { position: e.position })?;
        Self::parse(&bytes)
    }

    /// The 86 bytes.
    pub fn to_bytes(&self) -> [u8; CAPABILITY_LEN] {
        let mut bytes = [0; CAPABILITY_LEN];
        bytes[..SIGNED_LEN].copy_from_slice(&self.head());
        bytes[SIGNED_LEN..].copy_from_slice(&self.signature);
        bytes
    }

    /// The base64url form. Whoever reads it can use it.
    pub fn to_base64(&self) -> String {
        BASE64URL_NOPAD.encode(&self.to_bytes())
    }

    /// What it allows.
    pub const fn rights(&self) -> Rights {
        self.rights
    }

    /// The camera's epoch when it was issued.
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The unix second from which on it no longer holds; `None`: it holds until revoked.
    pub const fn expiry(&self) -> Option<NonZeroU64> {
        self.expiry
    }

    /// The serial number.
    pub const fn serial(&self) -> &[u8; SERIAL_LEN] {
        &self.serial
    }

    /// Whether `camera` signed it, whatever its epoch and expiry.
    pub fn is_signed_by(&self, camera: &PublicKey) -> bool {
        camera.verify(&self.message(camera), &self.signature)
    }

    /// Whether it allows `right` now. `epoch` is the camera's, `now_unix` its wall clock in unix seconds, `None`
    /// as long as it is not known.
    ///
    /// # Errors
    ///
    /// Why it does not. The signature comes first, so that nothing else is told to whoever made one up.
    pub fn verify(
        &self,
        camera: &PublicKey,
        epoch: u32,
        now_unix: Option<u64>,
        right: Right,
    ) -> Result<(), CapabilityError> {
        if !self.is_signed_by(camera) {
            return Err(CapabilityError::BadSignature);
        }
        self.recheck(epoch, now_unix, right)
    }

    /// As [`Self::verify`] without the signature, for a capability that was verified before: running sessions ask
    /// this again and again.
    ///
    /// # Errors
    ///
    /// As [`Self::verify`], never [`CapabilityError::BadSignature`].
    pub fn recheck(&self, epoch: u32, now_unix: Option<u64>, right: Right) -> Result<(), CapabilityError> {
        let found = self.epoch;
        if found < epoch {
            return Err(CapabilityError::Revoked { found, current: epoch });
        }
        if found > epoch {
            return Err(CapabilityError::FutureEpoch { found, current: epoch });
        }
        if let Some(expiry) = self.expiry.map(NonZeroU64::get) {
            match now_unix {
                None => return Err(CapabilityError::ClockUnknown),
                Some(now) if now >= expiry => return Err(CapabilityError::Expired { expiry, now }),
                Some(_) => {}
            }
        }
        if self.rights.contains(right) {
            Ok(())
        } else {
            Err(CapabilityError::RightMissing { right, granted: self.rights })
        }
    }

    /// A capability for part of these rights and no longer than this one: the expiry is the earlier of both, the
    /// epoch stays (so a revoked one stays revoked).
    ///
    /// # Errors
    ///
    /// When `secret` is not the key that signed this one, or `rights` has some that this one lacks.
    pub fn narrow(
        &self,
        secret: &SecretKey,
        rights: Rights,
        expiry: Option<NonZeroU64>,
        serial: [u8; SERIAL_LEN],
    ) -> Result<Self, NarrowError> {
        if !self.is_signed_by(&secret.public()) {
            return Err(NarrowError::NotOurs);
        }
        if let Some(excess) = rights.minus(self.rights) {
            return Err(NarrowError::Wider { excess });
        }
        let expiry = match (self.expiry, expiry) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Ok(Self::issue(secret, rights, self.epoch, expiry, serial))
    }

    fn head(&self) -> [u8; SIGNED_LEN] {
        let mut head = [0; SIGNED_LEN];
        head[0] = FORMAT;
        head[1] = self.rights.bits();
        head[2..6].copy_from_slice(&self.epoch.to_be_bytes());
        head[6..14].copy_from_slice(&self.expiry.map_or(0, NonZeroU64::get).to_be_bytes());
        head[14..].copy_from_slice(&self.serial);
        head
    }

    fn message(&self, camera: &PublicKey) -> Vec<u8> {
        [CONTEXT, camera.as_bytes(), &self.head()].concat()
    }
}

impl fmt::Debug for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the signature, so that nobody can use a capability out of a log.
        f.debug_struct("Capability")
            .field("rights", &self.rights)
            .field("epoch", &self.epoch)
            .field("expiry", &self.expiry)
            .field("serial", &u64::from_be_bytes(self.serial))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn key(n: u8) -> SecretKey {
        SecretKey::from_bytes([n; 32])
    }

    fn at(seconds: u64) -> Option<NonZeroU64> {
        NonZeroU64::new(seconds)
    }

    fn live(expiry: Option<NonZeroU64>) -> Capability {
        Capability::issue(&key(1), Right::Live.into(), 7, expiry, *b"serial!!")
    }

    #[test]
    fn a_capability_has_its_documented_bytes_and_round_trips() {
        let capability = live(at(0x0102_0304_0506_0708));
        let bytes = capability.to_bytes();
        assert_eq!(&bytes[..22], b"\x01\x01\0\0\0\x07\x01\x02\x03\x04\x05\x06\x07\x08serial!!");
        assert_eq!(bytes.len(), 86);
        assert_eq!(Capability::parse(&bytes), Ok(capability.clone()));
        let text = capability.to_base64();
        assert_eq!(text.len(), CAPABILITY_TEXT_LEN);
        assert_eq!(Capability::from_base64(&text), Ok(capability));
        let message = [b"xp2p capability v1\0".as_slice(), key(1).public().as_bytes(), &bytes[..22]].concat();
        assert!(key(1).public().verify(&message, &bytes[22..].try_into().unwrap()));
    }

    #[test]
    fn what_is_no_capability_is_refused() {
        let mut bytes = live(None).to_bytes();
        for len in 0..86 {
            let error = Capability::parse(&bytes[..len]).unwrap_err();
            assert_eq!(error, CapabilityFormatError::Length { found: len });
            assert_eq!(error.offset(), len);
        }
        bytes[1] = 0;
        assert_eq!(Capability::parse(&bytes), Err(CapabilityFormatError::Rights(RightsError::Empty)));
        bytes[1] = 0x21;
        assert_eq!(Capability::parse(&bytes).unwrap_err().offset(), 1);
        bytes[0] = 2;
        assert_eq!(Capability::parse(&bytes), Err(CapabilityFormatError::Format { found: 2 }));
        let mut text = live(None).to_base64();
        text.replace_range(5..6, "=");
        assert_eq!(Capability::from_base64(&text), Err(CapabilityFormatError::Base64 { position: 5 }));
        assert!(matches!(Capability::from_base64("AAAA"), Err(CapabilityFormatError::Length { found: 3 })));
    }

    #[test]
    fn base64_with_other_trailing_bits_is_refused() {
        let text = live(None).to_base64();
        let forms = (b'0'..=b'z')
            .filter(|b| b.is_ascii_alphanumeric())
            .filter(|b| {
                let text = format!("{}{}", &text[..CAPABILITY_TEXT_LEN - 1], char::from(*b));
                Capability::from_base64(&text).is_ok_and(|c| c.is_signed_by(&key(1).public()))
            })
            .count();
        assert_eq!(forms, 1);
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let bytes = live(at(NOW + 1)).to_bytes();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes;
            changed[bit / 8] ^= 1 << (bit % 8);
            if let Ok(capability) = Capability::parse(&changed) {
                let result = capability.verify(&key(1).public(), 7, Some(NOW), Right::Live);
                assert_eq!(result, Err(CapabilityError::BadSignature), "bit {bit}");
            }
        }
        let result = live(None).verify(&key(2).public(), 7, Some(NOW), Right::Live);
        assert_eq!(result, Err(CapabilityError::BadSignature), "of another camera");
    }

    #[test]
    fn it_holds_until_the_second_before_its_expiry() {
        let verify = |c: &Capability, now| c.verify(&key(1).public(), 7, now, Right::Live);
        let capability = live(at(NOW));
        assert_eq!(verify(&capability, Some(NOW - 1)), Ok(()));
        assert_eq!(verify(&capability, Some(NOW)), Err(CapabilityError::Expired { expiry: NOW, now: NOW }));
        assert_eq!(verify(&capability, None), Err(CapabilityError::ClockUnknown));
        assert_eq!(verify(&live(None), None), Ok(()), "without expiry nobody needs a clock");
        assert_eq!(verify(&live(None), Some(u64::MAX)), Ok(()));
        assert_eq!(verify(&live(at(u64::MAX)), Some(u64::MAX - 1)), Ok(()));
    }

    #[test]
    fn it_holds_in_its_epoch_and_for_its_rights_only() {
        let verify = |epoch, right| live(None).verify(&key(1).public(), epoch, None, right);
        assert_eq!(verify(7, Right::Live), Ok(()));
        assert_eq!(verify(8, Right::Live), Err(CapabilityError::Revoked { found: 7, current: 8 }));
        assert_eq!(verify(6, Right::Live), Err(CapabilityError::FutureEpoch { found: 7, current: 6 }));
        for right in [Right::Playback, Right::Command, Right::Voice, Right::Download] {
            let granted = Rights::from(Right::Live);
            assert_eq!(verify(7, right), Err(CapabilityError::RightMissing { right, granted }));
        }
    }

    #[test]
    fn narrowing_never_widens() {
        let wide = Rights::from(Right::Live).with(Right::Voice);
        let first = Capability::issue(&key(1), wide, 7, at(NOW), [1; 8]);
        let narrow = |rights, expiry| first.narrow(&key(1), rights, expiry, [2; 8]);

        let less = narrow(Right::Live.into(), at(NOW - 10)).unwrap();
        assert_eq!((less.rights(), less.expiry(), less.epoch()), (Right::Live.into(), at(NOW - 10), 7));
        assert_eq!(less.serial(), &[2; 8]);
        assert!(less.is_signed_by(&key(1).public()));

        assert_eq!(narrow(wide, at(NOW + 10)).unwrap().expiry(), at(NOW));
        assert_eq!(narrow(wide, None).unwrap().expiry(), at(NOW));
        assert_eq!(live(None).narrow(&key(1), Right::Live.into(), at(5), [0; 8]).unwrap().expiry(), at(5));

        let excess = Rights::from(Right::Command);
        assert_eq!(narrow(wide.with(Right::Command), None), Err(NarrowError::Wider { excess }));
        assert_eq!(narrow(Rights::from(Right::Command), None), Err(NarrowError::Wider { excess }));
        assert_eq!(first.narrow(&key(2), wide, None, [2; 8]), Err(NarrowError::NotOurs));
    }

    #[test]
    fn logs_hold_no_capability_that_could_be_used() {
        let shown = format!("{:?}", live(None));
        assert!(shown.contains("live") && !shown.contains("signature"), "{shown}");
    }
}

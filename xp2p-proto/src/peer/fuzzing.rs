//! What fuzzing has to reach of codecs that are nobody else's business.

use bytes::Bytes;

use super::contact::Contact;
use super::wire::{FrameReader, Hello, MAX_CONTROL, Said};
use crate::keys::{KEY_LEN, PublicKey};
use crate::swarm::PeerId;

/// Cuts what comes in pieces into frames, as between members, and tells whether a frame was too long.
pub fn read_frames<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Bytes>, bool) {
    let mut reader = FrameReader::new(MAX_CONTROL);
    let mut frames = Vec::new();
    for piece in pieces {
        reader.push(piece);
        loop {
            match reader.next() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(_) => return (frames, true),
            }
        }
    }
    (frames, false)
}

/// Reads `body` as each of what a member and the tracker say besides their messages. What is understood is printed again. It
/// is also read as the contact of whoever has the key in it.
pub fn reprint_handshake(body: &Bytes) -> Vec<Bytes> {
    if let Some(key) = body.get(1..1 + KEY_LEN).and_then(|k| PublicKey::from_bytes(k.try_into().ok()?).ok()) {
        let _ = Contact::parse(body, PeerId::of(&key));
    }
    let framed = [Hello::parse(body).ok().map(|h| h.encode()), Said::parse(body).ok().map(|s| s.encode())];
    framed.into_iter().flatten().map(|frame| frame.slice(2..)).collect()
}

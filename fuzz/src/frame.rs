//! Frames around QUIC.

use xp2p_proto::wire::{Frame, Kind};

/// One input.
pub fn run(data: &[u8]) {
    let Ok(frame) = Frame::parse(data) else { return };
    let mut out = Vec::new();
    frame.encode(&mut out);
    assert_eq!(out, data, "there is one form");
    assert_eq!(Kind::of(data[0]), Kind::Frame, "a frame is told by its first byte");
}

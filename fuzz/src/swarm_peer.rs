//! What members of a swarm say to each other.

use bytes::Bytes;
use xp2p_proto::peer::read_frames;
use xp2p_proto::swarm::codec::{Parsed, piece_head};

use crate::cut::alike;

/// One input.
pub fn run(data: &[u8]) {
    let input = Bytes::copy_from_slice(data);
    match Parsed::parse(&input) {
        Ok(Parsed::Message(message)) => {
            let mut out = Vec::new();
            message.encode(&mut out);
            assert_eq!(out, data, "there is one form");
        }
        Ok(Parsed::Batch(raw)) => assert!(raw.len() < data.len()),
        Err(error) => assert!(error.offset <= data.len()),
    }
    if let Ok((head, content)) = piece_head(&input) {
        let mut out = Vec::new();
        head.encode(&mut out);
        assert_eq!([&out[..], &content].concat(), data, "there is one form");
    }
    alike(data, |pieces| read_frames(pieces.iter().map(|p| &p[..])));
}

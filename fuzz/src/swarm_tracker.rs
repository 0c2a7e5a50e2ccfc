//! What members of a swarm and the tracker say.

use bytes::Bytes;
use xp2p_proto::peer::reprint_handshake;
use xp2p_proto::swarm::ToTracker;
use xp2p_proto::swarm::codec::ParsedFromTracker;

/// One input.
pub fn run(data: &[u8]) {
    let input = Bytes::copy_from_slice(data);
    match ToTracker::parse(&input) {
        Ok(message) => {
            let mut out = Vec::new();
            message.encode(&mut out);
            assert_eq!(out, data, "there is one form");
        }
        Err(error) => assert!(error.offset <= data.len()),
    }
    match ParsedFromTracker::parse(&input) {
        Ok(ParsedFromTracker::Message(message)) => {
            let mut out = Vec::new();
            message.encode(&mut out);
            assert_eq!(out, data, "there is one form");
        }
        Ok(ParsedFromTracker::Batch(raw)) => assert!(raw.len() < data.len()),
        Err(error) => assert!(error.offset <= data.len()),
    }
    for print in reprint_handshake(&input) {
        // A reason that is unknown here is printed as the one that it is taken for.
        assert!(print.len() <= data.len().max(2));
        assert!(reprint_handshake(&print).contains(&print), "what is printed is read");
    }
}

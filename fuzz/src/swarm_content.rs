//! Content of a shared stream: batches of digests, pieces, what comes out of them, and names of streams.

use bytes::Bytes;
use xp2p_proto::keys::SecretKey;
use xp2p_proto::swarm::content::{BatchError, Content, Reader, Verifier};
use xp2p_proto::swarm::{PieceInfo, StreamId, piece_hash};

/// Key and name under which seeds are signed.
pub(crate) fn signer() -> (SecretKey, StreamId) {
    (SecretKey::from_bytes([3; 32]), StreamId::from_bytes([7; StreamId::LEN]))
}

/// One input.
pub fn run(data: &[u8]) {
    names(data);
    let input = Bytes::copy_from_slice(data);
    let (key, stream) = signer();
    let mut verifier = Verifier::new(stream, vec![key.public()]);
    match verifier.verify(&input) {
        Ok(batch) => {
            assert_eq!(batch.raw, input);
            assert!(matches!(verifier.verify(&input), Err(BatchError::Known { no }) if no == batch.no));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    pieces(&input);
}

fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = StreamId::of_name(text);
    if let Ok(id) = StreamId::of_url(text) {
        // What is behind the number sign is never sent to an origin, so it names nothing else.
        assert_eq!(StreamId::of_url(&format!("{}#x", text.split('#').next().unwrap_or_default())), Ok(id));
    }
}

/// The input as the content of one segment, cut in pieces of any lengths.
fn pieces(input: &Bytes) {
    let read = |step: usize| {
        let mut reader = Reader::new();
        let mut out = Vec::new();
        for (no, at) in (0..input.len()).step_by(step).enumerate() {
            let content = input.slice(at..input.len().min(at + step));
            let info = PieceInfo {
                no: no as u64,
                segment: 0,
                index: no as u16,
                time: 0,
                end: 0,
                len: content.len() as u16,
                hash: piece_hash(&content),
            };
            let end = reader.push(&info, &content);
            out.extend(std::iter::from_fn(|| reader.poll()));
            if end.is_err() {
                return out;
            }
        }
        out
    };
    let whole = read(input.len().max(1));
    let bytes: usize =
        whole.iter().map(|c| if let Content::Frame(frame) = c { frame.body.len() } else { 0 }).sum();
    assert!(bytes <= input.len(), "no more comes out than went in");
    for step in [1, 7, 100] {
        assert_eq!(read(step), whole, "the cut shows");
    }
}

//! What cameras and servers say when a camera registers.

use xp2p_proto::register::{Message, MessageReader, RegisterError};

use crate::cut::alike;

/// One input: a stream of messages.
pub fn run(data: &[u8]) {
    let read = |pieces: &[bytes::Bytes]| -> (Vec<Message>, Option<RegisterError>) {
        let mut reader = MessageReader::default();
        let mut messages = Vec::new();
        for piece in pieces {
            match reader.push(piece) {
                Ok(more) => messages.extend(more),
                Err(error) => return (messages, Some(error)),
            }
        }
        (messages, None)
    };
    // A wrong message takes those with it that came in the same piece, so only sound streams are alike.
    let whole = read(&[bytes::Bytes::copy_from_slice(data)]);
    if whole.1.is_none() {
        alike(data, read);
    } else {
        alike(data, |pieces| read(pieces).1);
    }
    let printed: Vec<u8> = whole.0.iter().flat_map(Message::encode).collect();
    assert!(whole.1.is_some() || data.starts_with(&printed), "there is one form");
}

//! Heads of requests and answers, and what requests mean.

use bytes::Bytes;
use xp2p_proto::request::{
    Head, HeadError, HeadReader, MAX_HEAD, Parsed, Request, RequestHead, ResponseHead, message_head,
    message_text,
};

use crate::cut::alike;

/// A head and the bytes that it has, or what is wrong.
fn read<T: Head>(pieces: &[Bytes]) -> Result<Option<(T, usize)>, HeadError> {
    let mut reader = HeadReader::<T>::new();
    let mut before = 0;
    for piece in pieces {
        if let Some((head, taken)) = reader.push(piece)? {
            assert!(taken <= piece.len());
            return Ok(Some((head, before + taken)));
        }
        before += piece.len();
    }
    Ok(None)
}

fn printed<T: Head + PartialEq + std::fmt::Debug + Clone>(
    data: &[u8],
    print: impl Fn(&T) -> Vec<u8>,
) -> Option<T> {
    // Errors may come later when little comes at a time, but a head is a head.
    let whole = T::parse(data);
    if let Ok(Parsed::Complete { head, len }) = &whole {
        assert!(*len <= data.len());
        let bytes = print(head);
        assert!(bytes.len() <= MAX_HEAD, "{} bytes", bytes.len());
        assert_eq!(T::parse(&bytes), Ok(Parsed::Complete { head: head.clone(), len: bytes.len() }));
        assert_eq!(alike(data, read::<T>), Ok(Some((head.clone(), *len))));
        return Some(head.clone());
    }
    alike(data, |pieces| matches!(read::<T>(pieces), Ok(Some(_))));
    None
}

/// What a head asks for survives being printed.
fn meaning(head: &RequestHead) {
    if let Ok(request) = Request::from_head(head) {
        let again = request.to_head().expect("what came in may go out");
        assert_eq!(Request::from_head(&again).as_ref(), Ok(&request));
        assert_eq!(Request::parse(&again.target()).as_ref(), Ok(&request));
        let _ = (request.right(), request.channel());
    }
    if let Ok(text) = message_text(head) {
        let again = message_head(&text).expect("what came in may go out");
        assert_eq!(message_text(&again).as_deref(), Ok(text.as_str()));
    }
}

/// One input.
pub fn run(data: &[u8]) {
    if let Some(head) = printed::<RequestHead>(data, RequestHead::to_bytes) {
        meaning(&head);
    }
    printed::<ResponseHead>(data, ResponseHead::to_bytes);
    if let Ok(head) =
        std::str::from_utf8(data).map_err(drop).and_then(|t| RequestHead::from_target(t).map_err(drop))
    {
        assert_eq!(RequestHead::from_target(&head.target()).as_ref(), Ok(&head));
        meaning(&head);
    }
}

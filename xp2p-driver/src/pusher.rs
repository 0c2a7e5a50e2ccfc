//! FLV in pieces, as programs that push have it: header and tags in calls of their own, or one stream of bytes.

use bytes::Bytes;
use thiserror::Error;
use xp2p_proto::flv::{Demuxer, FileHeader, FlvError, Item, Limits, Tag, TagKind};

/// News of a pusher, with the names of the plug-in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PusherEvent {
    /// `pusherStartPush`, `pusherFlvHeader`: the stream begins.
    FlvHeader(FileHeader),
    /// `pusherFlvAudioTag`.
    FlvAudioTag(Tag),
    /// `pusherFlvVideoTag`.
    FlvVideoTag(Tag),
    /// `pusherFlvDataTag`.
    FlvDataTag(Tag),
}

/// Why a push was refused (`pusherError`).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PusherError {
    /// The bytes are no FLV.
    #[error(transparent)]
    Flv(#[from] FlvError),
    /// It was closed (`pusherClose`).
    #[error("the pusher was closed; make a new one")]
    Closed,
}

/// Takes FLV in whatever pieces it comes, and gives tags to push to a camera or to say to one.
///
/// ```
/// use xp2p_driver::pusher::{Pusher, PusherEvent};
/// use xp2p_proto::flv::{FileHeader, Muxer, Tag, TagKind};
///
/// let tag = Tag { kind: TagKind::Audio, timestamp: 5, body: vec![0x72, 1].into() };
/// let mut muxer = Muxer::new();
/// let mut bytes = muxer.header(FileHeader::default()).to_vec();
/// muxer.tag(&tag).iter().for_each(|piece| bytes.extend_from_slice(piece));
///
/// let mut pusher = Pusher::new();
/// let events = pusher.push_bytes(bytes.into())?;
/// assert_eq!(events[1], PusherEvent::FlvAudioTag(tag.clone()));
/// // The same, tag by tag.
/// assert_eq!(pusher.push_tag(tag.clone())?, PusherEvent::FlvAudioTag(tag));
/// # Ok::<(), xp2p_driver::pusher::PusherError>(())
/// ```
#[derive(Debug)]
pub struct Pusher {
    demuxer: Option<Demuxer>,
}

impl Default for Pusher {
    fn default() -> Self {
        Self::new()
    }
}

impl Pusher {
    /// `pusherReady`: a pusher at the start of a stream.
    pub fn new() -> Self {
        Self { demuxer: Some(Demuxer::new(Limits::default())) }
    }

    /// `pusherFlvHeader`: a header in a call of its own.
    ///
    /// # Errors
    ///
    /// [`PusherError::Closed`].
    pub fn push_header(&mut self, header: FileHeader) -> Result<PusherEvent, PusherError> {
        self.demuxer.as_ref().map(|_| PusherEvent::FlvHeader(header)).ok_or(PusherError::Closed)
    }

    /// `pusherFlvAudioTag`, `pusherFlvVideoTag`, `pusherFlvDataTag`: a tag in a call of its own.
    ///
    /// # Errors
    ///
    /// [`PusherError::Closed`].
    pub fn push_tag(&mut self, tag: Tag) -> Result<PusherEvent, PusherError> {
        self.demuxer.as_ref().map(|_| event(tag)).ok_or(PusherError::Closed)
    }

    /// Bytes of one FLV stream, cut anywhere. Gives what has become whole.
    ///
    /// # Errors
    ///
    /// [`PusherError`].
    pub fn push_bytes(&mut self, bytes: Bytes) -> Result<Vec<PusherEvent>, PusherError> {
        let demuxer = self.demuxer.as_mut().ok_or(PusherError::Closed)?;
        demuxer.push(bytes)?;
        let mut events = Vec::new();
        while let Some(item) = demuxer.poll()? {
            match item {
                Item::Header(header) => events.push(PusherEvent::FlvHeader(header)),
                Item::Tag(tag) => events.push(event(tag)),
            }
        }
        Ok(events)
    }

    /// `pusherClose`: nothing more is taken.
    pub fn close(&mut self) {
        self.demuxer = None;
    }
}

fn event(tag: Tag) -> PusherEvent {
    match tag.kind {
        TagKind::Audio => PusherEvent::FlvAudioTag(tag),
        TagKind::Video => PusherEvent::FlvVideoTag(tag),
        TagKind::Script => PusherEvent::FlvDataTag(tag),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_cut_anywhere_give_the_same_as_tags_one_by_one() {
        let clip = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/clip.flv")).unwrap();
        let whole = Pusher::new().push_bytes(clip.clone().into()).unwrap();
        assert!(matches!(whole[0], PusherEvent::FlvHeader(_)));
        assert!(whole.iter().any(|e| matches!(e, PusherEvent::FlvDataTag(_))));
        let mut pusher = Pusher::new();
        let mut pieces = Vec::new();
        for piece in clip.chunks(777) {
            pieces.extend(pusher.push_bytes(Bytes::copy_from_slice(piece)).unwrap());
        }
        assert_eq!(pieces, whole);
        let mut by_tags = Pusher::new();
        let one_by_one = whole.iter().cloned().map(|e| match e {
            PusherEvent::FlvHeader(header) => by_tags.push_header(header).unwrap(),
            PusherEvent::FlvAudioTag(tag) | PusherEvent::FlvVideoTag(tag) | PusherEvent::FlvDataTag(tag) => {
                by_tags.push_tag(tag).unwrap()
            }
        });
        assert_eq!(one_by_one.collect::<Vec<_>>(), whole);
        pusher.close();
        assert_eq!(pusher.push_bytes(Bytes::new()), Err(PusherError::Closed));
    }

    #[test]
    fn what_is_no_flv_is_refused() {
        assert!(matches!(
            Pusher::new().push_bytes(Bytes::from_static(b"GET / HTTP/1.1\r\n")),
            Err(PusherError::Flv(_))
        ));
    }
}

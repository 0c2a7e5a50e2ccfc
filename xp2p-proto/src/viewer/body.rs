//! Where a request stands whose answer has a body on the same stream.

use bytes::Bytes;
use noq_proto::{Connection, Dir, StreamId};

use crate::camera::CLOSE_OK;
use crate::exchange::Outbox;
use crate::link::stream::{end, stop};
use crate::request::{HeadReader, RequestHead, ResponseHead};

/// State of such a request on the present connection.
#[derive(Debug, Default)]
pub(super) enum State {
    /// It waits for a connection, or for a stream on it.
    #[default]
    Waiting,
    /// It is out; what has come of the answer's head.
    Asked(StreamId, HeadReader<ResponseHead>),
    /// The answer's body comes.
    Open(StreamId),
}

impl State {
    pub(super) fn stream(&self) -> Option<StreamId> {
        match self {
            Self::Waiting => None,
            Self::Asked(id, _) | Self::Open(id) => Some(*id),
        }
    }

    pub(super) fn is_waiting(&self) -> bool {
        matches!(self, Self::Waiting)
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Open(_))
    }

    /// Opens a stream and puts the head in line. Returns whether there was a stream to open.
    pub(super) fn ask(&mut self, conn: &mut Connection, head: &RequestHead, outbox: &mut Outbox) -> bool {
        let Some(id) = conn.streams().open(Dir::Bi) else { return false };
        outbox.push(Bytes::from(head.to_bytes()));
        *self = Self::Asked(id, HeadReader::new());
        true
    }

    /// Takes in a piece of the answer. Returns the head when it is whole, and the body's part of the piece.
    ///
    /// # Errors
    ///
    /// A text about what the camera did wrong.
    pub(super) fn push(&mut self, mut piece: Bytes) -> Result<(Option<ResponseHead>, Bytes), String> {
        match self {
            Self::Waiting => Ok((None, Bytes::new())),
            Self::Open(_) => Ok((None, piece)),
            Self::Asked(id, reader) => {
                let Some((head, used)) = reader.push(&piece).map_err(|e| e.to_string())? else {
                    return Ok((None, Bytes::new()));
                };
                if head.is_success() {
                    *self = Self::Open(*id);
                }
                Ok((Some(head), piece.split_off(used.min(piece.len()))))
            }
        }
    }

    /// Gives the stream up.
    pub(super) fn abandon(&mut self, conn: Option<&mut Connection>) {
        if let (Some(id), Some(conn)) = (self.stream(), conn) {
            stop(conn, id, CLOSE_OK);
            end(conn, id, Some(CLOSE_OK));
        }
        *self = Self::Waiting;
    }
}

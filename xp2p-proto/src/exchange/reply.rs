//! A whole answer: head and a body of bounded length.

use bytes::{Bytes, BytesMut};

use crate::command::{CommandOutcome, MAX_REPLY};
use crate::request::{HeadReader, ResponseHead};

/// Gathers an answer.
#[derive(Debug, Default)]
pub(crate) struct ReplyReader {
    head: Option<ResponseHead>,
    reader: HeadReader<ResponseHead>,
    body: BytesMut,
}

impl ReplyReader {
    /// Takes the next piece.
    ///
    /// # Errors
    ///
    /// A text about what is wrong; the answer is of no use then.
    pub(crate) fn push(&mut self, mut piece: Bytes) -> Result<(), String> {
        if self.head.is_none() {
            let Some((head, used)) = self.reader.push(&piece).map_err(|e| e.to_string())? else {
                return Ok(());
            };
            self.head = Some(head);
            piece = piece.split_off(used.min(piece.len()));
        }
        if self.body.len() + piece.len() > MAX_REPLY {
            return Err(format!("the answer is longer than {MAX_REPLY} bytes"));
        }
        self.body.extend_from_slice(&piece);
        Ok(())
    }

    /// What the answer is, now that the stream has ended.
    pub(crate) fn finish(self) -> CommandOutcome {
        let Some(head) = self.head else {
            return CommandOutcome::Error { errmsg: "the stream ended without an answer".to_owned() };
        };
        if head.headers.content_length.is_some_and(|length| length != self.body.len() as u64) {
            return CommandOutcome::Error { errmsg: "the answer is cut short".to_owned() };
        }
        if head.is_success() {
            return CommandOutcome::Success { data: self.body.freeze() };
        }
        let reason = head.headers.reason.as_ref().map_or_else(|| head.phrase(), |r| r.as_str());
        CommandOutcome::Failure { status: head.status(), errmsg: reason.to_owned() }
    }
}

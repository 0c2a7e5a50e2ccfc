//! What both ends of a bidirectional stream need: sending whatever QUIC does not take at once, and asking with an
//! answer or a deadline.

mod asker;
mod outbox;
mod reply;

pub(crate) use self::asker::{Asker, Done};
pub(crate) use self::outbox::{Flow, Outbox};
pub(crate) use self::reply::ReplyReader;

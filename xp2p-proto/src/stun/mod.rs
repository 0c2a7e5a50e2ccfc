//! STUN: where a host is seen from outside (RFC 8489), and what a NAT lets in (RFC 5780).
//!
//! Only binding requests, without authentication: nothing of ours depends on the answers but diagnosis.

mod message;

pub use self::message::{
    Attribute, CHANGE_IP, CHANGE_PORT, Class, MAX_ATTRIBUTES, MAX_MESSAGE, Message, StunError, TransactionId,
};

//! JSON as real firmware writes it.

use serde_json::{Map, Value};
use thiserror::Error;

use super::MAX_REPLY;

/// Why a reply could not be understood.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// Too long.
    #[error("the reply is longer than {MAX_REPLY} bytes")]
    TooLong,
    /// Not JSON.
    #[error("the reply is no JSON: line {line}, column {column}")]
    Json {
        /// Line of the first bad byte, from 1.
        line: usize,
        /// Its column, from 1.
        column: usize,
    },
    /// JSON of another shape.
    #[error("the reply has no `{field}` that is {wanted}")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
}

/// Reads JSON the way real firmware writes it: NUL bytes and space at the end (C strings), an object where a list of
/// one is documented or the other way round, numbers as text or text as numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Lenient(Value);

impl Lenient {
    /// Reads a reply.
    ///
    /// # Errors
    ///
    /// Too long, or no JSON after all allowances; the position is that of the first bad byte.
    pub fn parse(reply: &[u8]) -> Result<Self, ReplyError> {
        if reply.len() > MAX_REPLY {
            return Err(ReplyError::TooLong);
        }
        let end = reply.iter().rposition(|b| *b != 0 && !b.is_ascii_whitespace()).map_or(0, |at| at + 1);
        // `end` is at most the length.
        serde_json::from_slice(&reply[..end])
            .map(Self)
            .map_err(|e| ReplyError::Json { line: e.line(), column: e.column() })
    }

    /// The JSON itself.
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// The object, or the first one of a list.
    ///
    /// # Errors
    ///
    /// Neither.
    pub(super) fn object(&self) -> Result<&Map<String, Value>, ReplyError> {
        let first = match &self.0 {
            Value::Array(list) => list.first(),
            other => Some(other),
        };
        first.and_then(Value::as_object).ok_or(ReplyError::Field { field: "{}", wanted: "an object" })
    }

    /// The objects of a list at the top or in `field`; a single object counts as a list of one.
    pub(super) fn objects(&self, field: &'static str) -> Result<Vec<&Map<String, Value>>, ReplyError> {
        let list = match &self.0 {
            Value::Object(map) if map.contains_key(field) => map.get(field).unwrap_or(&Value::Null),
            other => other,
        };
        match list {
            Value::Array(list) => list
                .iter()
                .map(|v| v.as_object().ok_or(ReplyError::Field { field, wanted: "a list of objects" }))
                .collect(),
            Value::Object(map) if map.is_empty() => Ok(Vec::new()),
            Value::Object(map) => Ok(vec![map]),
            Value::Null => Ok(Vec::new()),
            _ => Err(ReplyError::Field { field, wanted: "a list of objects" }),
        }
    }
}

/// A whole number, or text that is one.
pub(super) fn number(map: &Map<String, Value>, field: &'static str) -> Result<i64, ReplyError> {
    let found = match map.get(field) {
        Some(Value::Number(n)) => n.as_i64(),
        Some(Value::String(text)) => text.trim_matches(|c: char| c == '\0' || c.is_whitespace()).parse().ok(),
        Some(Value::Bool(b)) => Some(i64::from(*b)),
        _ => None,
    };
    found.ok_or(ReplyError::Field { field, wanted: "a whole number" })
}

/// The same, not negative.
pub(super) fn count(map: &Map<String, Value>, field: &'static str) -> Result<u64, ReplyError> {
    u64::try_from(number(map, field)?).map_err(|_| ReplyError::Field { field, wanted: "a number from 0 up" })
}

/// Text, or a number as text.
pub(super) fn text(map: &Map<String, Value>, field: &'static str) -> Result<String, ReplyError> {
    match map.get(field) {
        Some(Value::String(text)) => Ok(text.trim_end_matches('\0').to_owned()),
        Some(Value::Number(n)) => Ok(n.to_string()),
        _ => Err(ReplyError::Field { field, wanted: "a text" }),
    }
}

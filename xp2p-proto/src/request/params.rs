//! The parameters of a request: its query string.

use std::fmt;

use thiserror::Error;

use super::text::{decode, encode, encoded_len};
use super::{MAX_PARAMS, MAX_QUERY, Status};
use crate::error::ErrorCode;

/// Longest name of a parameter in bytes.
pub const MAX_PARAM_NAME: usize = 64;

/// `name=value` pairs in their order, each name once. At most [`MAX_PARAMS`], and [`MAX_QUERY`] bytes when printed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Params {
    pairs: Vec<(String, String)>,
    printed: usize,
}

/// Why parameters are refused. Texts never repeat what is not printable.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ParamsError {
    /// Too long.
    #[error("the parameters are too long: more than {MAX_QUERY} bytes")]
    TooLong,
    /// Too many.
    #[error("more than {MAX_PARAMS} parameters")]
    TooMany,
    /// No `=`.
    #[error("the parameter at byte {offset} has no `=`; write name=value")]
    NoValue {
        /// Offset in the query, from 0.
        offset: usize,
    },
    /// A bad name.
    #[error(
        "the parameter at byte {offset} has a bad name; it has 1 to {MAX_PARAM_NAME} of A-Z a-z 0-9 _ - ."
    )]
    Name {
        /// Offset in the query, from 0.
        offset: usize,
    },
    /// A bad percent escape, or bytes that are not UTF-8.
    #[error("byte {offset} of the parameters: not a percent escape (%20) of UTF-8 text")]
    Escape {
        /// Offset in the query, from 0.
        offset: usize,
    },
    /// A bare control character.
    #[error("byte {offset} of the parameters: a control character; write it as a percent escape (%0A)")]
    Control {
        /// Offset in the query, from 0.
        offset: usize,
    },
    /// The same name again.
    #[error("the parameter `{name}` is there twice")]
    Twice {
        /// The name.
        name: String,
    },
    /// A name that is kept for the protocol.
    #[error("the parameter `{name}` is reserved: names that begin with `_` are internal; leave it out")]
    Reserved {
        /// The name.
        name: String,
    },
}

impl ParamsError {
    /// What a caller gets: -2000.
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::Parameter
    }

    /// What a device answers: 404.
    pub const fn status(&self) -> Status {
        Status::NotFound
    }
}

impl Params {
    /// No parameters.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a query string without its `?`. Values may hold any character but control characters and `&` as it is,
    /// because apps write JSON there; a `+` is a plus. `_crypto=off` is dropped: the link is always encrypted.
    ///
    /// # Errors
    ///
    /// What is wrong and at which byte; code -2000.
    pub fn parse(query: &str) -> Result<Self, ParamsError> {
        if query.len() > MAX_QUERY {
            return Err(ParamsError::TooLong);
        }
        if let Some(offset) = query.find(char::is_control) {
            return Err(ParamsError::Control { offset });
        }
        let mut params = Self::new();
        let mut offset = 0;
        for pair in query.split('&') {
            if !pair.is_empty() {
                let (name, value) = pair.split_once('=').ok_or(ParamsError::NoValue { offset })?;
                let start = offset + name.len() + 1;
                let value = decode(value).map_err(|at| ParamsError::Escape { offset: start + at })?;
                if !(name == "_crypto" && value == "off") {
                    params.add(name, value, offset)?;
                }
            }
            offset += pair.len() + 1;
        }
        Ok(params)
    }

    /// Adds a parameter at the end.
    ///
    /// # Errors
    ///
    /// When the name is bad, reserved or there already, or it does not fit any more.
    pub fn push(&mut self, name: &str, value: impl Into<String>) -> Result<(), ParamsError> {
        self.add(name, value.into(), 0)
    }

    fn add(&mut self, name: &str, value: String, offset: usize) -> Result<(), ParamsError> {
        let known = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
        if name.is_empty() || name.len() > MAX_PARAM_NAME || !name.bytes().all(known) {
            return Err(ParamsError::Name { offset });
        }
        if name.starts_with('_') {
            return Err(ParamsError::Reserved { name: name.into() });
        }
        if self.get(name).is_some() {
            return Err(ParamsError::Twice { name: name.into() });
        }
        if self.pairs.len() >= MAX_PARAMS {
            return Err(ParamsError::TooMany);
        }
        // One more for `=` and one for `&`.
        let printed = self.printed.saturating_add(name.len() + encoded_len(&value) + 2);
        if printed > MAX_QUERY {
            return Err(ParamsError::TooLong);
        }
        self.printed = printed;
        self.pairs.push((name.into(), value));
        Ok(())
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    /// Names and values in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }
}

/// The query string without its `?`, at most [`MAX_QUERY`] visible ASCII characters.
impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::with_capacity(self.printed);
        for (name, value) in self.iter() {
            if !out.is_empty() {
                out.push('&');
            }
            out.push_str(name);
            out.push('=');
            encode(&mut out, value);
        }
        f.write_str(&out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn json_in_a_value_is_read_as_it_is_and_printed_escaped() {
        let params = Params::parse(r#"action=user_define&cmd={"topic":"ptz", "x":"a+b=c"}&"#).unwrap();
        assert_eq!(params.get("cmd"), Some(r#"{"topic":"ptz", "x":"a+b=c"}"#));
        let printed = params.to_string();
        assert_eq!(printed, "action=user_define&cmd=%7B%22topic%22:%22ptz%22,%20%22x%22:%22a%2Bb%3Dc%22%7D");
        assert_eq!(Params::parse(&printed), Ok(params));
    }

    #[test]
    fn internal_names_are_refused_but_crypto_off_is_dropped() {
        let parse = |text: &str| Params::parse(text).map_err(|e| (e.code().number(), e.status().number(), e));
        assert_eq!(parse("_crypto=off&a=1"), parse("a=1"));
        for name in ["_crypto", "_token", "_peername", "_"] {
            let error = ParamsError::Reserved { name: name.into() };
            assert_eq!(parse(&format!("a=1&{name}=on")), Err((-2000, 404, error)));
        }
        let error = ParamsError::Reserved { name: "_token".into() };
        assert_eq!(Params::new().push("_token", "x"), Err(error));
    }

    #[test]
    fn bad_queries_are_refused_where_they_are_wrong() {
        let wrong = |text: &str| Params::parse(text).unwrap_err();
        assert_eq!(wrong("a=1&b"), ParamsError::NoValue { offset: 4 });
        assert_eq!(wrong("a=1&=b"), ParamsError::Name { offset: 4 });
        assert_eq!(wrong("a=1&b%20=b"), ParamsError::Name { offset: 4 });
        assert_eq!(wrong("a=1&b=x%zz"), ParamsError::Escape { offset: 7 });
        assert_eq!(wrong("a=%ff"), ParamsError::Escape { offset: 2 });
        assert_eq!(wrong("a=1&b=\u{1b}[2J"), ParamsError::Control { offset: 6 });
        assert_eq!(wrong("a=1&a=1"), ParamsError::Twice { name: "a".into() });
        assert_eq!(wrong(&"x".repeat(MAX_QUERY + 1)), ParamsError::TooLong);
        assert_eq!(wrong(&format!("a={}", "\"".repeat(MAX_QUERY / 2))), ParamsError::TooLong);
        assert_eq!(wrong(&format!("{}=1", "a".repeat(65))), ParamsError::Name { offset: 0 });
        let many = |n: usize| (0..n).map(|i| format!("p{i}=1&")).collect::<String>();
        assert_eq!(Params::parse(&many(MAX_PARAMS)).map(|p| p.len()), Ok(MAX_PARAMS));
        assert_eq!(wrong(&many(MAX_PARAMS + 1)), ParamsError::TooMany);
    }

    #[test]
    fn what_fits_never_prints_longer_than_the_limit() {
        let mut params = Params::new();
        params.push("a", "x".repeat(MAX_QUERY - 40)).unwrap();
        let error = (0..).find_map(|i| params.push(&format!("p{i}"), "").err());
        assert_eq!(error, Some(ParamsError::TooLong));
        let printed = params.to_string();
        assert!((MAX_QUERY - 6..=MAX_QUERY).contains(&printed.len()), "{}", printed.len());
        assert_eq!(Params::parse(&printed), Ok(params));
    }

    proptest! {
        #[test]
        fn params_round_trip(pairs in proptest::collection::btree_map("[a-zA-Z0-9.-]{1,9}", any::<String>(), 0..20)) {
            let mut params = Params::new();
            for (name, value) in pairs {
                params.push(&name, value).unwrap();
            }
            let printed = params.to_string();
            prop_assert!(printed.len() <= MAX_QUERY);
            prop_assert_eq!(Params::parse(&printed), Ok(params));
        }

        #[test]
        fn any_query_never_panics_and_prints_what_reads_the_same(text in "[a-c=&%2_é\"]{0,40}") {
            if let Ok(params) = Params::parse(&text) {
                prop_assert_eq!(Params::parse(&params.to_string()), Ok(params));
            }
        }
    }
}

//! How operations are read out of an input: one behind the other until it ends, so that a long input is a long story.

use std::fmt::Debug;
use std::ops::Deref;

use arbitrary::{Arbitrary, Result, Unstructured};

/// All operations that the rest of the input holds, at most `most`. With `XP2P_SHOW` set they are printed.
pub(crate) fn rest<'a, T: Arbitrary<'a> + Debug>(u: &mut Unstructured<'a>, most: usize) -> Vec<T> {
    let mut ops = Vec::new();
    while !u.is_empty() && ops.len() < most {
        let Ok(op) = T::arbitrary(u) else { break };
        ops.push(op);
    }
    if std::env::var_os("XP2P_SHOW").is_some() {
        ops.iter().for_each(|op| eprintln!("{op:?}"));
    }
    ops
}

/// Some bytes of the input: mostly few, at most what a datagram has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Blob<'a>(&'a [u8]);

impl<'a> Arbitrary<'a> for Blob<'a> {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let len = usize::from(u.arbitrary::<u8>()?);
        let len = if len < 192 { len / 2 } else { (len - 192) * 20 };
        u.bytes(len.min(u.len())).map(Self)
    }
}

impl Deref for Blob<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0
    }
}

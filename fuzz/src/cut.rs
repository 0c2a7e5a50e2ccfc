//! Cuts of an input that comes in pieces.

use bytes::Bytes;

/// Ways in which the same bytes may arrive: whole, byte by byte, and in pieces whose lengths the bytes themselves decide.
pub(crate) fn ways(input: &[u8]) -> Vec<Vec<Bytes>> {
    let input = Bytes::copy_from_slice(input);
    let by = |len: usize| {
        (0..input.len()).step_by(len).map(|at| input.slice(at..input.len().min(at + len))).collect()
    };
    let mut ways: Vec<Vec<Bytes>> = vec![vec![input.clone()]];
    // Large inputs byte by byte would only be slow.
    if input.len() <= 2048 {
        ways.push(by(1));
    }
    let lengths = blake3::hash(&input);
    let mut lengths =
        lengths.as_bytes().iter().cycle().map(|b| 1 + usize::from(*b) * if b & 1 == 0 { 1 } else { 9 });
    let (mut at, mut pieces) = (0, Vec::new());
    while at < input.len() {
        let end = input.len().min(at + lengths.next().unwrap_or(1));
        pieces.push(input.slice(at..end));
        at = end;
    }
    ways.push(pieces);
    ways
}

/// Checks that `read` gives the same for all ways, and returns it.
pub(crate) fn alike<R: PartialEq + std::fmt::Debug>(input: &[u8], read: impl Fn(&[Bytes]) -> R) -> R {
    let mut results = ways(input).into_iter().map(|pieces| read(&pieces));
    let first = results.next().expect("there is at least the whole");
    for other in results {
        assert_eq!(first, other, "the cut of the input shows in what is read");
    }
    first
}

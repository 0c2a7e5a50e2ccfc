//! Relay headers in front of batched datagrams.

/// Puts `header` in front of each `segment`-sized piece of the first `size` bytes of `buf`, in place.
pub(super) fn insert_headers(buf: &mut Vec<u8>, size: usize, segment: usize, header: &[u8]) {
    buf.truncate(size);
    let count = size.div_ceil(segment.max(1));
    buf.resize(size + count * header.len(), 0);
    // From the back, so that nothing is overwritten before it has moved.
    for i in (0..count).rev() {
        let from = i * segment;
        let len = segment.min(size - from);
        let to = from + i * header.len();
        buf.copy_within(from..from + len, to + header.len());
        buf[to..to + header.len()].copy_from_slice(header);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_go_in_front_of_every_segment() {
        let mut buf = b"aaaabbbbcc".to_vec();
        insert_headers(&mut buf, 10, 4, b"<>");
        assert_eq!(buf, b"<>aaaa<>bbbb<>cc");
        let mut buf = b"aaa".to_vec();
        insert_headers(&mut buf, 3, 3, b"#");
        assert_eq!(buf, b"#aaa");
    }
}

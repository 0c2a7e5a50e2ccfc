//! Origins that send anything but a stream.

use std::io::Write;

use xp2p_smol::Smol;
use xp2p_smol::driver::origin::client::{MAX_HEAD, OriginClient, OriginConfig, OriginError};
use xp2p_smol::proto::flv::{FlvError, Limits};

use crate::support::{open, run, sample, serve, serve_bytes};

/// What opening and reading comes to.
fn error_of(response: impl Into<bytes::Bytes>) -> OriginError {
    let addr = serve_bytes(response);
    run(async {
        let mut stream = match open(&format!("http://{addr}/a.flv")).await {
            Ok(stream) => stream,
            Err(e) => return e,
        };
        loop {
            if let Err(e) = stream.next_tag().await {
                return e;
            }
        }
    })
}

#[test]
fn a_page_is_no_stream_and_says_what_it_is() {
    let error = error_of("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>Please log in</html>");
    assert!(matches!(error, OriginError::NotFlv { error: FlvError::NotFlv { .. }, .. }), "{error}");
    assert!(error.to_string().contains("text/html"), "{error}");
    let short = error_of("HTTP/1.1 200 OK\r\n\r\nFLV");
    assert!(matches!(short, OriginError::NotFlv { error: FlvError::Truncated { .. }, .. }), "{short}");
    let empty = error_of("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert!(matches!(empty, OriginError::Ended { bytes: 0 }), "{empty}");
    let zipped = error_of("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x08");
    assert!(matches!(zipped, OriginError::Encoded(_)), "{zipped}");
}

#[test]
fn what_is_no_http_is_told() {
    for response in ["SSH-2.0-OpenSSH_9.9\r\n\r\n", "HTTP/2 200\r\n\r\n", "\0\0\0\0\0\0", "", "HTTP/1.1 200"]
    {
        let error = error_of(response);
        assert!(matches!(error, OriginError::Http(_)), "{response:?}: {error}");
    }
    let bad_chunk = error_of("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\nFLV");
    assert!(matches!(bad_chunk, OriginError::Lost { bytes: 0, .. }), "{bad_chunk}");
}

#[test]
fn a_giant_head_is_not_read_to_its_end() {
    let one_line = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(2 * MAX_HEAD));
    let error = error_of(one_line);
    assert!(matches!(error, OriginError::HeadTooLarge), "{error}");
    let many_lines = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(5000));
    let error = error_of(many_lines);
    assert!(matches!(error, OriginError::HeadTooLarge), "{error}");
    // One that never ends.
    let addr = serve(|_, tcp| {
        tcp.write_all(b"HTTP/1.1 200 OK\r\nX: ")?;
        loop {
            tcp.write_all(&[b'x'; 4096])?;
        }
    });
    let error = run(open(&format!("http://{addr}/a.flv"))).unwrap_err();
    assert!(matches!(error, OriginError::HeadTooLarge), "{error}");
}

#[test]
fn a_stream_that_breaks_off_is_told_apart_from_one_that_ends() {
    let (_, file) = sample();
    let half = &file[..file.len() / 2];
    let cut =
        [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", file.len()).as_bytes(), half].concat();
    let error = error_of(cut);
    assert!(matches!(error, OriginError::Lost { bytes, .. } if bytes == half.len() as u64), "{error}");
    let ended = error_of([b"HTTP/1.1 200 OK\r\n\r\n", half].concat());
    assert!(matches!(ended, OriginError::Ended { bytes } if bytes == half.len() as u64), "{ended}");
}

#[test]
fn damage_is_skipped_or_told_as_configured_and_a_huge_tag_is_not_kept() {
    let (_, mut file) = sample();
    // The second tag header, after the file header and the first tag of 16 bytes.
    let at = 13 + 11 + 16 + 4;
    file[at] = 0x77;
    let response = [b"HTTP/1.1 200 OK\r\n\r\n", &file[..]].concat();
    let lenient = error_of(response.clone());
    assert!(matches!(lenient, OriginError::Ended { .. }), "{lenient}");
    let strict = OriginConfig {
        limits: Limits { strict: true, max_tag_size: 1000, ..Limits::default() },
        ..OriginConfig::default()
    };
    let client = OriginClient::new(&Smol, strict);
    let addr = serve_bytes(response);
    run(async {
        let mut stream = client.open(&format!("http://{addr}/a.flv")).await.expect("it answers");
        stream.next_tag().await.expect("the first is whole");
        let error = stream.next_tag().await.unwrap_err();
        assert!(matches!(error, OriginError::NotFlv { error: FlvError::TagType { .. }, .. }), "{error}");
    });
    let huge = b"HTTP/1.1 200 OK\r\n\r\nFLV\x01\x05\0\0\0\x09\0\0\0\0\x09\xff\xff\xff\0\0\0\0\0\0\0";
    let addr = serve_bytes(&huge[..]);
    run(async {
        let mut stream = client.open(&format!("http://{addr}/a.flv")).await.expect("it answers");
        let error = stream.next_tag().await.unwrap_err();
        assert!(matches!(error, OriginError::NotFlv { error: FlvError::TagTooLarge { .. }, .. }), "{error}");
    });
}

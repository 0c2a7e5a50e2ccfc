//! Redirects.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use xp2p_smol::driver::origin::client::{MAX_REDIRECTS, OriginError};

use crate::support::{all, open, run, sample, serve, serve_bytes};

fn path(request: &str) -> &str {
    request.split(' ').nth(1).unwrap_or_default()
}

#[test]
fn redirects_of_all_kinds_lead_to_the_stream() {
    let (tags, file) = sample();
    let edge = serve_bytes([b"HTTP/1.1 200 OK\r\n\r\n", &file[..]].concat());
    let center = serve(move |request, tcp| {
        let (status, location) = match path(request) {
            "/live/a.flv" => (301, "b.flv?k=1".to_owned()),
            "/live/b.flv?k=1" => (302, "/c.flv".to_owned()),
            "/c.flv" => (303, "?d".to_owned()),
            "/c.flv?d" => (307, "../e/../f.flv".to_owned()),
            "/f.flv" => (308, format!("http://{edge}/live/a.flv")),
            other => panic!("{other}"),
        };
        write!(tcp, "HTTP/1.1 {status} Elsewhere\r\nLocation: {location}\r\nContent-Length: 3\r\n\r\nno\n")
    });
    run(async {
        let mut stream =
            open(&format!("http://{center}/live/a.flv")).await.expect("five redirects are followed");
        assert_eq!(all(&mut stream).await, tags);
        assert_eq!(stream.received().body, file.len() as u64, "redirects are no part of the stream");
        assert!(stream.received().wire > file.len() as u64 + 5 * 40, "but of what was sent");
    });
}

#[test]
fn a_circle_is_left_after_five_rounds() {
    let count = Arc::new(AtomicUsize::new(0));
    let requests = count.clone();
    let addr = serve(move |_, tcp| {
        requests.fetch_add(1, Ordering::Relaxed);
        tcp.write_all(b"HTTP/1.1 302 Found\r\nLocation: /a.flv\r\n\r\n")
    });
    let error = run(open(&format!("http://{addr}/a.flv"))).unwrap_err();
    assert!(matches!(error, OriginError::RedirectLoop) && error.is_lasting(), "{error}");
    assert_eq!(count.load(Ordering::Relaxed), MAX_REDIRECTS + 1);
}

#[test]
fn a_redirect_to_nowhere_is_not_followed() {
    for location in ["", "Location: ftp://a/b\r\n", "Location: http://u:p@a/\r\n", "Location: http://\r\n"] {
        let addr = serve_bytes(format!("HTTP/1.1 302 Found\r\n{location}Content-Length: 0\r\n\r\n"));
        let error = run(open(&format!("http://{addr}/a.flv"))).unwrap_err();
        assert!(matches!(error, OriginError::Redirect(_)), "{location}: {error}");
    }
}

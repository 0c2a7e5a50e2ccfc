//! Ordinary origins, and those that refuse.

use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;

use xp2p_smol::Smol;
use xp2p_smol::driver::origin::client::{OriginClient, OriginConfig, OriginError};
use xp2p_smol::driver::runtime::Runtime as _;

use crate::support::{all, impatient, open, run, sample, serve, serve_bytes};

#[test]
fn bodies_of_all_three_forms_give_the_same_tags_and_exact_counts() {
    let (tags, file) = sample();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: video/x-flv\r\n";
    let counted = [format!("{head}Content-Length: {}\r\n\r\n", file.len()).as_bytes(), &file].concat();
    let closed = [format!("{head}\r\n").as_bytes(), &file].concat();
    let old = [b"HTTP/1.0 200 OK\r\n\r\n", &file[..]].concat();
    let mut chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for (i, chunk) in file.chunks(997).enumerate() {
        let extension = if i % 3 == 0 { ";x=y" } else { "" };
        chunked.extend(format!("{:x}{extension}\r\n", chunk.len()).into_bytes());
        chunked.extend([chunk, b"\r\n"].concat());
    }
    chunked.extend(b"0\r\nTrailer: 1\r\n\r\n");
    for (form, response) in [("length", counted), ("close", closed), ("1.0", old), ("chunked", chunked)] {
        let wire = response.len() as u64;
        let addr = serve_bytes(response);
        run(async {
            let mut stream = open(&format!("http://{addr}/live/a.flv")).await.expect(form);
            assert_eq!(all(&mut stream).await, tags, "{form}");
            assert_eq!(stream.received().body, file.len() as u64, "{form}");
            assert_eq!(stream.received().wire, wire, "{form}");
            assert!(stream.header().is_some_and(|h| h.has_audio && h.has_video));
            assert!(matches!(stream.next_tag().await, Err(OriginError::Ended { .. })), "again");
        });
    }
}

#[test]
fn the_request_is_one_that_any_server_understands() {
    let (sender, requests) = std::sync::mpsc::channel();
    let addr = serve(move |request, tcp| {
        sender.send(request.to_owned()).expect("the test waits");
        tcp.write_all(b"HTTP/1.1 404 Not Found\r\n\r\n")
    });
    let error = run(open(&format!("http://{addr}/live/a%20b.flv?sign=x%2Fy&t=1#part"))).unwrap_err();
    assert!(matches!(error, OriginError::Status { code: 404, .. }), "{error}");
    let request = requests.recv().expect("a request");
    assert!(request.starts_with("GET /live/a%20b.flv?sign=x%2Fy&t=1 HTTP/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("host: {addr}\r\n")), "{request}");
    assert!(request.contains("user-agent: xp2p/"), "{request}");
}

#[test]
fn a_stream_can_be_read_by_a_task_of_the_runtime() {
    let (tags, file) = sample();
    let addr = serve_bytes([b"HTTP/1.1 200 OK\r\n\r\n", &file[..]].concat());
    let (sender, result) = async_channel::bounded(1);
    Smol.spawn(Box::pin(async move {
        let client = OriginClient::new(&Smol, OriginConfig::default());
        let mut stream = client.open(&format!("http://{addr}/a.flv")).await.expect("it answers");
        sender.send(all(&mut stream).await).await.expect("the test waits");
    }));
    assert_eq!(run(result.recv()).expect("the task ends well"), tags);
}

#[test]
fn a_refusal_is_told_with_its_status_and_when_to_come_back() {
    for (line, code, lasting) in [
        ("404 Not Found", 404, false),
        ("403 Forbidden", 403, true),
        ("429 Too Many Requests\r\nRetry-After: 7", 429, false),
        ("500 Oops", 500, false),
        ("204 Nothing", 204, false),
    ] {
        let addr = serve_bytes(format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n"));
        let error = run(open(&format!("http://{addr}/a.flv?secret"))).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&code.to_string()) && !text.contains("secret"), "{text}");
        assert_eq!(error.is_lasting(), lasting, "{line}");
        let OriginError::Status { code: told, retry_after } = error else { panic!("{error}") };
        assert_eq!(told, code);
        assert_eq!(retry_after, (code == 429).then_some(Duration::from_secs(7)));
    }
}

#[test]
fn nobody_there_is_told_apart_from_no_such_host() {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
    let error = run(open(&format!("http://{free}/a.flv"))).unwrap_err();
    assert!(matches!(error, OriginError::Connect { .. }), "{error}");
    let error = run(open("http://no-such-host.invalid/a.flv")).unwrap_err();
    assert!(matches!(error, OriginError::Dns { .. }), "{error}");
    for bad in ["rtmp://a/b", "http://user:pass@127.0.0.1/", "a.flv", ""] {
        let error = run(open(bad)).unwrap_err();
        assert!(matches!(error, OriginError::Url(_)) && error.is_lasting(), "{bad}: {error}");
        assert!(!error.to_string().contains("pass@"), "{error}");
    }
}

#[test]
fn an_origin_on_ipv6_is_reached_by_its_literal() {
    let Ok(listener) = TcpListener::bind("[::1]:0") else {
        eprintln!("this machine has no IPv6: nothing to test");
        return;
    };
    let addr = listener.local_addr().expect("it is bound");
    let (tags, file) = sample();
    std::thread::spawn(move || {
        let (mut tcp, _) = listener.accept().expect("a client");
        crate::support::read_head(&mut tcp).expect("a request");
        let _ = tcp.write_all(&[b"HTTP/1.1 200 OK\r\n\r\n", &file[..]].concat());
    });
    run(async {
        let mut stream = open(&format!("http://{addr}/a.flv")).await.expect("it answers");
        assert_eq!(all(&mut stream).await, tags);
    });
}

#[test]
fn a_stream_that_falls_silent_is_given_up() {
    let (tags, file) = sample();
    let client = OriginClient::new(&Smol, impatient());
    let addr = serve(move |_, tcp| {
        tcp.write_all(&[b"HTTP/1.1 200 OK\r\n\r\n", &file[..file.len() - 100]].concat())?;
        std::thread::sleep(Duration::from_secs(60));
        Ok(())
    });
    run(async {
        let mut stream = client.open(&format!("http://{addr}/a.flv")).await.expect("it answers");
        let mut got = Vec::new();
        let error = loop {
            match stream.next_tag().await {
                Ok(tag) => got.push(tag),
                Err(e) => break e,
            }
        };
        assert!(matches!(error, OriginError::Stalled(_)), "{error}");
        assert!(!got.is_empty() && tags.starts_with(&got));
    });
    let addr = serve(|_, _| {
        std::thread::sleep(Duration::from_secs(60));
        Ok(())
    });
    let error = run(client.open(&format!("http://{addr}/a.flv"))).unwrap_err();
    assert!(matches!(error, OriginError::HeadTimeout(_)), "{error}");
}

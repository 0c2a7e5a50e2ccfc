//! A small HTTP client that says exactly what a test wants said.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(20);

/// An answer.
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its head, in small letters.
    pub head: String,
    /// Its body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether the head has this line, given in small letters.
    pub fn has(&self, line: &str) -> bool {
        self.head.lines().any(|l| l == line)
    }
}

/// A local server and the token in its URLs, as `http://HOST/TOKEN/`.
#[derive(Debug, Clone)]
pub struct Place {
    /// Host and port.
    pub host: String,
    /// `/TOKEN/`.
    pub root: String,
}

impl Place {
    /// Reads a page's URL.
    pub fn new(url: &str) -> Self {
        let (host, token) = url.trim_start_matches("http://").split_once('/').expect("a URL with a path");
        Self { host: host.to_owned(), root: format!("/{token}") }
    }

    /// Sends a request for a whole path, with its own Host unless the headers name one, and begins to read.
    pub fn send(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> TcpStream {
        let mut tcp = TcpStream::connect(&self.host).expect("it listens");
        tcp.set_read_timeout(Some(ANSWER)).expect("a time limit");
        let host = if headers.to_ascii_lowercase().contains("host:") {
            String::new()
        } else {
            format!("host: {}\r\n", self.host)
        };
        let length =
            if method == "POST" { format!("content-length: {}\r\n", body.len()) } else { String::new() };
        // 1.0: the end of the connection is the end of the body.
        write!(tcp, "{method} {path} HTTP/1.0\r\n{host}{headers}{length}\r\n").expect("it reads");
        // Whoever is refused by its head need not be read to the end.
        let _ = tcp.write_all(body);
        tcp
    }

    /// Sends a request and reads its answer to the end.
    pub fn ask(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        let mut tcp = self.send(method, path, headers, body);
        let mut bytes = Vec::new();
        // A server that refuses a body may reset the connection behind its answer.
        let _ = tcp.read_to_end(&mut bytes);
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
        Answer { status, head, body: bytes[end + 4..].to_vec() }
    }

    /// Asks for something below the token.
    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", &format!("{}{path}", self.root), "", b"")
    }

    /// Posts JSON to something below the token.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        let headers = "content-type: application/json\r\n";
        self.ask("POST", &format!("{}{path}", self.root), headers, body.to_string().as_bytes())
    }

    /// Posts bytes to something below the token.
    pub fn post_bytes(&self, path: &str, body: &[u8]) -> Answer {
        let headers = "content-type: application/octet-stream\r\n";
        self.ask("POST", &format!("{}{path}", self.root), headers, body)
    }
}

//! https, with an authority made for the test.

use std::io::Write;
use std::net::TcpStream;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use xp2p_smol::Smol;
use xp2p_smol::driver::origin::client::{OriginClient, OriginConfig, OriginError, Roots};
use xp2p_smol::driver::origin::server::{Feed, OriginServer, OriginServerConfig, TlsIdentity};

use crate::support::{ANY_PORT, all, run, sample, serve, until};

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    fn identity(&self, names: &[&str]) -> TlsIdentity {
        let key = KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let params = CertificateParams::new(names).expect("parameters");
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate");
        TlsIdentity::from_pem(cert.pem().as_bytes(), key.serialize_pem().as_bytes())
            .expect("they belong together")
    }

    fn client(&self) -> OriginClient<Smol> {
        let mut roots = Roots::none();
        roots.add_pem(self.pem.as_bytes()).expect("a certificate");
        OriginClient::new(&Smol, OriginConfig { roots, ..OriginConfig::default() })
    }
}

fn server(identity: TlsIdentity) -> OriginServer {
    let mut config = OriginServerConfig::new(ANY_PORT);
    config.tls = Some(identity);
    OriginServer::bind(&Smol, config).expect("it listens")
}

#[test]
fn a_stream_comes_over_https_from_a_host_that_proves_its_name() {
    let authority = Authority::new();
    let server = server(authority.identity(&["127.0.0.1", "localhost"]));
    let (tags, _) = sample();
    let (feed, source) = async_channel::bounded(tags.len());
    let publication = server.publish("door", Feed::Tags(source), None).expect("it is published");
    assert!(server.url("door").starts_with("https://127.0.0.1:"));
    run(async {
        let mut stream = authority.client().open(&server.url("door")).await.expect("its name is right");
        until(|| publication.stats().clients == 1).await;
        for tag in &tags {
            feed.send(tag.clone()).await.expect("it is taken");
        }
        feed.close();
        assert_eq!(all(&mut stream).await, tags);
        let received = stream.received();
        assert_eq!(received.body, publication.stats().sent);
        assert!(received.wire > received.body);
    });
}

#[test]
fn a_host_that_proves_nothing_gets_no_request() {
    let authority = Authority::new();
    let url = |server: &OriginServer| server.url("door");
    let server1 = server(authority.identity(&["other.example"]));
    let error = run(authority.client().open(&url(&server1))).unwrap_err();
    assert!(matches!(error, OriginError::Tls { .. }), "wrong name: {error}");
    let server2 = server(Authority::new().identity(&["127.0.0.1"]));
    let error = run(authority.client().open(&url(&server2))).unwrap_err();
    assert!(matches!(error, OriginError::Tls { .. }), "unknown authority: {error}");
    let plain = serve(|_, tcp| tcp.write_all(b"HTTP/1.1 200 OK\r\n\r\n"));
    let error = run(authority.client().open(&format!("https://{plain}/"))).unwrap_err();
    assert!(matches!(error, OriginError::Tls { .. }), "no TLS: {error}");
}

#[test]
fn certificates_that_are_none_are_refused_at_once() {
    assert!(matches!(Roots::default().add_pem(b"hello"), Err(OriginError::Roots(_))));
    let broken = b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
    assert!(matches!(Roots::default().add_pem(broken), Err(OriginError::Roots(_))));
    assert!(TlsIdentity::from_pem(b"", b"").is_err());
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(vec!["a".to_owned()]).unwrap().self_signed(&key).unwrap();
    let other = KeyPair::generate().unwrap().serialize_pem();
    assert!(TlsIdentity::from_pem(cert.pem().as_bytes(), other.as_bytes()).is_err(), "another's key");
}

#[test]
fn a_client_without_tls_holds_no_place() {
    let authority = Authority::new();
    let mut config = OriginServerConfig::new(ANY_PORT);
    config.tls = Some(authority.identity(&["127.0.0.1"]));
    config.head_timeout = std::time::Duration::from_millis(200);
    let server = OriginServer::bind(&Smol, config).expect("it listens");
    let silent = TcpStream::connect(server.local_addr()).expect("it listens");
    let mut plain = TcpStream::connect(server.local_addr()).expect("it listens");
    plain.write_all(b"GET /live/door.flv HTTP/1.1\r\nHost: a\r\n\r\n").expect("it is taken");
    run(async {
        until(|| server.connections() > 0).await;
        until(|| server.connections() == 0).await;
    });
    drop(silent);
}

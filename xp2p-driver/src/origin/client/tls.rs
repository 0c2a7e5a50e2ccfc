//! TLS to origins, and the certificates that they are checked against.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use futures_io::{AsyncRead, AsyncWrite};
use futures_rustls::TlsConnector;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use url::Host;

use super::error::OriginError;
use crate::origin::stream::Stream;
use crate::runtime::Runtime;

/// Most certificates of one PEM file.
const MAX_ROOTS: usize = 1000;

/// Reads the certificates of a PEM file.
pub(super) fn read_roots(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, OriginError> {
    let roots: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .take(MAX_ROOTS)
        .collect::<Result<_, _>>()
        .map_err(|e| OriginError::Roots(format!("this is no PEM file of certificates: {e}")))?;
    if roots.is_empty() {
        return Err(OriginError::Roots("there is no certificate in the PEM file".to_owned()));
    }
    Ok(roots)
}

/// The configuration, made at the first https URL: reading the certificates of a system takes a while.
#[derive(Debug, Clone, Default)]
pub(super) struct Tls(Arc<OnceLock<Arc<ClientConfig>>>);

impl Tls {
    /// Secures a connection, and checks that it leads to `host`.
    pub(super) async fn secure<R: Runtime>(
        &self,
        runtime: &R,
        roots: (&[CertificateDer<'static>], bool),
        host: &Host<String>,
        io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Result<Box<dyn Stream>, OriginError> {
        let config = self.config(runtime, roots).await?;
        let failed = |error| OriginError::Tls { host: host.to_string(), error };
        let name = match host {
            Host::Domain(name) => ServerName::try_from(name.clone())
                .map_err(|e| failed(io::Error::new(io::ErrorKind::InvalidInput, e)))?,
            Host::Ipv4(ip) => ServerName::IpAddress(IpAddr::V4(*ip).into()),
            Host::Ipv6(ip) => ServerName::IpAddress(IpAddr::V6(*ip).into()),
        };
        let stream = TlsConnector::from(config).connect(name, io).await.map_err(failed)?;
        Ok(Box::new(stream))
    }

    async fn config<R: Runtime>(
        &self,
        runtime: &R,
        (extra, system): (&[CertificateDer<'static>], bool),
    ) -> Result<Arc<ClientConfig>, OriginError> {
        if let Some(config) = self.0.get() {
            return Ok(config.clone());
        }
        let extra = extra.to_vec();
        let config = runtime.unblock(move || make(extra, system)).await?;
        // Two that began at once have made the same.
        Ok(self.0.get_or_init(|| config).clone())
    }
}

fn make(extra: Vec<CertificateDer<'static>>, system: bool) -> Result<Arc<ClientConfig>, OriginError> {
    let mut store = RootCertStore::empty();
    for root in extra {
        store.add(root).map_err(|e| OriginError::Roots(e.to_string()))?;
    }
    let mut problem = None;
    if system {
        let found = rustls_native_certs::load_native_certs();
        problem = found.errors.first().map(ToString::to_string);
        // Systems carry some that are too old to be read; the others are enough.
        store.add_parsable_certificates(found.certs);
    }
    if store.is_empty() {
        return Err(OriginError::Roots(problem.unwrap_or_else(|| "the system has none".to_owned())));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| OriginError::Roots(e.to_string()))?
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

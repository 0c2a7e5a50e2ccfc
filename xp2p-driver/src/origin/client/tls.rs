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

/// Which certificates vouch for https origins. Default: those of the system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    system: bool,
    extra: Vec<CertificateDer<'static>>,
}

impl Default for Roots {
    fn default() -> Self {
        Self { system: true, extra: Vec::new() }
    }
}

impl Roots {
    /// Not even those of the system.
    pub fn none() -> Self {
        Self { system: false, extra: Vec::new() }
    }

    /// Lets the certificates of a PEM file vouch too: those of a private authority.
    ///
    /// # Errors
    ///
    /// [`OriginError::Roots`] if there is no certificate in it.
    pub fn add_pem(&mut self, pem: &[u8]) -> Result<(), OriginError> {
        let before = self.extra.len();
        for root in CertificateDer::pem_slice_iter(pem).take(MAX_ROOTS) {
            let root =
                root.map_err(|e| OriginError::Roots(format!("this is no PEM file of certificates: {e}")))?;
            self.extra.push(root);
        }
        if self.extra.len() == before {
            return Err(OriginError::Roots("there is no certificate in the PEM file".to_owned()));
        }
        Ok(())
    }
}

/// The configuration, made at the first https URL: reading the certificates of a system takes a while.
#[derive(Debug, Clone, Default)]
pub(super) struct Tls(Arc<OnceLock<Arc<ClientConfig>>>);

impl Tls {
    /// Secures a connection, and checks that it leads to `host`.
    pub(super) async fn secure<R: Runtime>(
        &self,
        runtime: &R,
        roots: &Roots,
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

    async fn config<R: Runtime>(&self, runtime: &R, roots: &Roots) -> Result<Arc<ClientConfig>, OriginError> {
        if let Some(config) = self.0.get() {
            return Ok(config.clone());
        }
        let roots = roots.clone();
        let config = runtime.unblock(move || make(roots)).await?;
        // Two that began at once have made the same.
        Ok(self.0.get_or_init(|| config).clone())
    }
}

fn make(roots: Roots) -> Result<Arc<ClientConfig>, OriginError> {
    let mut store = RootCertStore::empty();
    for root in roots.extra {
        store.add(root).map_err(|e| OriginError::Roots(e.to_string()))?;
    }
    let mut problem = None;
    if roots.system {
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

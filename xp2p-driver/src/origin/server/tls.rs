//! The certificate of a server.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::OriginServerError;

/// Most certificates of a chain.
const MAX_CHAIN: usize = 16;

/// A certificate with its key.
#[derive(Clone)]
pub struct TlsIdentity(pub(super) Arc<ServerConfig>);

impl std::fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsIdentity(..)")
    }
}

impl TlsIdentity {
    /// Reads PEM files: a chain that begins with the server's own certificate, and its key (PKCS#8, PKCS#1 or SEC1).
    ///
    /// # Errors
    ///
    /// [`OriginServerError::Identity`] if they cannot be read or do not belong together.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, OriginServerError> {
        let bad = |what: &str, e: String| OriginServerError::Identity(format!("{what}: {e}"));
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
            .take(MAX_CHAIN)
            .collect::<Result<_, _>>()
            .map_err(|e| bad("the certificate is no PEM file", e.to_string()))?;
        if chain.is_empty() {
            return Err(OriginServerError::Identity("there is no certificate in the PEM file".to_owned()));
        }
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|e| bad("the key is no PEM file of a private key", e.to_string()))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| bad("TLS", e.to_string()))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|e| bad("certificate and key", e.to_string()))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }
}

//! TLS: the certificate that the server shows.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, crypto::ring};

use crate::Error;

/// Where the server's certificate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// The certificate and those between it and its authority, in PEM.
    pub cert: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
}

/// Reads the certificate and its key.
pub(super) fn load(config: &TlsConfig) -> Result<Arc<rustls::ServerConfig>, Error> {
    let failed = |path: &Path, detail: String| Error::Certificate {
        path: path.to_owned(),
        detail,
    };
    let of_cert = |error: &dyn std::fmt::Display| failed(&config.cert, error.to_string());
    let of_key = |error: &dyn std::fmt::Display| failed(&config.key, error.to_string());
    let certs = CertificateDer::pem_file_iter(&config.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| of_cert(&error))?;
    if certs.is_empty() {
        return Err(of_cert(&"no certificate in it"));
    }
    let key = PrivateKeyDer::from_pem_file(&config.key).map_err(|error| of_key(&error))?;
    let builder = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| of_cert(&error))?;
    let server = builder
        .with_no_client_auth()
        .with_single_cert(certs, key)
        .map_err(|error| of_key(&error))?;
    Ok(Arc::new(server))
}

//! TLS as libpq's `sslmode` defines it, on rustls.

mod verify;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use self::verify::{Names, Verifier};
use crate::{ConnectOptions, Error, SslMode};

/// Where distributions keep the certificates that the system trusts.
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Makes the TLS connector that these options ask for.
pub(crate) fn connector(options: &ConnectOptions) -> Result<MakeRustlsConnect, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match (options.sslmode, &options.sslrootcert) {
        (SslMode::VerifyCa | SslMode::VerifyFull, None) => {
            return Err(Error::Options(
                "sslmode verify-ca and verify-full need sslrootcert (a file of certificates, or `system`) or \
                 ~/.postgresql/root.crt",
            ));
        }
        (SslMode::VerifyFull, Some(path)) => Arc::new(verifier(path, &provider, Names::Verified)?),
        // libpq: `require` with a root certificate verifies as `verify-ca` does.
        (SslMode::VerifyCa | SslMode::Require, Some(path)) => {
            Arc::new(verifier(path, &provider, Names::Any)?)
        }
        _ => Arc::new(Unverified(Arc::clone(&provider))),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| Error::Options("no TLS version in common with the cryptography provider"))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let config = match client_certificate(options)? {
        Some((path, chain, key)) => {
            config
                .with_client_auth_cert(chain, key)
                .map_err(|error| Error::Certificates {
                    path,
                    detail: error.to_string(),
                })?
        }
        None => config.with_no_client_auth(),
    };
    Ok(MakeRustlsConnect::new(config))
}

type ClientCertificate = (
    PathBuf,
    Vec<CertificateDer<'static>>,
    PrivateKeyDer<'static>,
);

/// The certificate that identifies this client, and its key. As with libpq, none is sent if the file does not
/// exist.
fn client_certificate(options: &ConnectOptions) -> Result<Option<ClientCertificate>, Error> {
    let Some(path) = options.sslcert.as_ref().filter(|path| path.exists()) else {
        return Ok(None);
    };
    let failed = |path: &Path, detail: String| Error::Certificates {
        path: path.to_owned(),
        detail,
    };
    let key_path = options
        .sslkey
        .as_ref()
        .ok_or(Error::Options("sslcert needs sslkey, its private key"))?;
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| failed(path, error.to_string()))?;
    let metadata =
        std::fs::metadata(key_path).map_err(|error| failed(key_path, error.to_string()))?;
    // As libpq: a key of root's may be readable by a group.
    let forbidden = if metadata.uid() == 0 { 0o027 } else { 0o077 };
    if metadata.mode() & forbidden != 0 {
        return Err(failed(
            key_path,
            "other users may read it; run chmod 600 on it".to_owned(),
        ));
    }
    let key = PrivateKeyDer::from_pem_file(key_path)
        .map_err(|error| failed(key_path, error.to_string()))?;
    Ok(Some((path.clone(), chain, key)))
}

fn verifier(path: &Path, provider: &Arc<CryptoProvider>, names: Names) -> Result<Verifier, Error> {
    let path = if path == Path::new("system") {
        SYSTEM_BUNDLES
            .iter()
            .map(Path::new)
            .find(|bundle| bundle.exists())
            .unwrap_or(path)
    } else {
        path
    };
    let failed = |detail: String| Error::Certificates {
        path: path.to_owned(),
        detail,
    };
    let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    let mut trusted = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        trusted.push(certificate.clone());
        // A system's bundle may hold certificates that webpki does not take; the others serve.
        if let Err(error) = roots.add(certificate) {
            tracing::debug!(path = %path.display(), %error, "certificate passed over");
        }
    }
    if roots.is_empty() {
        return Err(failed("no certificate in it".to_owned()));
    }
    let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| failed(error.to_string()))?;
    Ok(Verifier {
        chains,
        trusted,
        names,
    })
}

/// `allow`, `prefer` and `require` without a root certificate: encrypted, the server not verified.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

//! Verification of a server's certificate as libpq does it, where webpki is stricter.
//!
//! Two forms that PostgreSQL's own documentation produces are refused by webpki: a self-signed certificate that
//! is its own root, and a certificate that names its host as common name only.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use x509_cert::der::Decode;
use x509_cert::der::asn1::{ObjectIdentifier, PrintableStringRef, TeletexStringRef, Utf8StringRef};
use x509_cert::{Certificate, Version};

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");

/// Whether the certificate must be for the host that was connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// It must (`verify-full`).
    Verified,
    /// Any name will do (`verify-ca`).
    Any,
}

/// Verifies a server's certificate against trusted ones.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) chains: Arc<WebPkiServerVerifier>,
    /// The certificates of `sslrootcert`, one of which may be the server's own.
    pub(super) trusted: Vec<CertificateDer<'static>>,
    pub(super) names: Names,
}

impl Verifier {
    /// Verifies that the certificate is trusted, and its name; a wrong name is the last thing to be found.
    fn verify_chain_and_name(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<(), Error> {
        if self.trusted.iter().any(|trusted| trusted == end_entity) {
            verify_dates(&parse(end_entity)?, now)?;
            return verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name);
        }
        let verified = self.chains.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match verified {
            Ok(_) => Ok(()),
            Err(Error::InvalidCertificate(CertificateError::Other(_)))
                if parse(end_entity)?.tbs_certificate.version == Version::V1 =>
            {
                Err(Error::General(
                    "the server's certificate has X.509 version 1, which cannot be verified; sign it again with \
                     extensions (openssl x509 -req -extfile, with a line subjectAltName=DNS:<host>)"
                        .to_owned(),
                ))
            }
            Err(error) => Err(error),
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified =
            self.verify_chain_and_name(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.names == Names::Any || has_common_name(&parse(end_entity)?, server_name) => {
            }
            verified => verified?,
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

fn parse(certificate: &CertificateDer<'_>) -> Result<Certificate, Error> {
    Certificate::from_der(certificate)
        .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))
}

fn verify_dates(certificate: &Certificate, now: UnixTime) -> Result<(), Error> {
    let validity = &certificate.tbs_certificate.validity;
    let now = now.as_secs();
    if now < validity.not_before.to_unix_duration().as_secs() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > validity.not_after.to_unix_duration().as_secs() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

/// Whether the certificate has no alternative names and its common name is the host's, as libpq accepts it
/// (RFC 6125, section 6.4.4). `*` represents one label, the first.
fn has_common_name(certificate: &Certificate, server_name: &ServerName<'_>) -> bool {
    let certificate = &certificate.tbs_certificate;
    let mut extensions = certificate.extensions.iter().flatten();
    if extensions.any(|extension| extension.extn_id == SUBJECT_ALT_NAME) {
        return false;
    }
    let mut attributes = certificate
        .subject
        .0
        .iter()
        .flat_map(|names| names.0.iter());
    let Some(attribute) = attributes.rfind(|name| name.oid == COMMON_NAME) else {
        return false;
    };
    let value = &attribute.value;
    let name = Utf8StringRef::try_from(value)
        .map(|text| text.as_str().to_owned())
        .or_else(|_| PrintableStringRef::try_from(value).map(|text| text.as_str().to_owned()))
        .or_else(|_| TeletexStringRef::try_from(value).map(|text| text.as_str().to_owned()));
    let Ok(name) = name.map(|name| name.to_ascii_lowercase()) else {
        return false;
    };
    let host = server_name.to_str().to_ascii_lowercase();
    match name.strip_prefix("*.") {
        Some(domain) => host.split_once('.').is_some_and(|(_, rest)| rest == domain),
        None => name == host,
    }
}

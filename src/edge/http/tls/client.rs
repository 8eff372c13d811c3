//! What a client's certificate says.
//!
//! Made on the I/O threads, once for each connection; the certificate has been verified by then.

use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

/// A client's certificate, as plugins see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Its subject, such as `CN=reader, O=Example`.
    pub subject: String,
    /// SHA-256 of the certificate, as 64 hexadecimal digits.
    pub fingerprint: String,
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

impl ClientCertificate {
    /// What the verified certificate `der` says.
    pub(crate) fn of(der: &CertificateDer<'_>) -> Self {
        let subject = X509Certificate::from_der(der).map_or_else(
            |_| String::new(), // one without fields that rustls needs no parser for
            |(_, certificate)| certificate.subject().to_string(),
        );
        let digits = Sha256::digest(der).into_iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let fingerprint = digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect();
        Self { subject, fingerprint }
    }
}

//! Reads certificates and keys of PEM files.
//!
//! Called on the Python thread and on blocking threads. Keys may be PKCS#8, PKCS#1 or SEC1.

use std::path::Path;

use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::error::TlsFault;

/// The certificates of `certfile`, at least one.
pub(super) fn read_chain(base: &Path, file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
    let option = "certfile";
    let pem = read_pem(option, base, file)?;
    let chain = certificates(option, file, &pem)?;
    if !chain.is_empty() {
        Ok(chain)
    } else if is_encrypted(&pem) || PrivateKeyDer::from_pem_slice(&pem).is_ok() {
        Err(TlsFault::Swapped { option, file: file.to_owned(), found: "a private key and no certificate" })
    } else {
        Err(TlsFault::NoCertificate(file.to_owned()))
    }
}

/// The key of `keyfile`.
pub(super) fn read_key(base: &Path, file: &Path) -> Result<PrivateKeyDer<'static>, TlsFault> {
    let option = "keyfile";
    let pem = read_pem(option, base, file)?;
    if is_encrypted(&pem) {
        return Err(TlsFault::EncryptedKey(file.to_owned()));
    }
    let mut has_certificate = false;
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(&pem) {
        let (kind, der) = section.map_err(|_| TlsFault::DamagedPem { option, file: file.to_owned() })?;
        has_certificate |= kind == SectionKind::Certificate;
        if let Some(key) = PrivateKeyDer::from_pem(kind, der) {
            return Ok(key);
        }
    }
    Err(if has_certificate {
        TlsFault::Swapped { option, file: file.to_owned(), found: "a certificate and no private key" }
    } else {
        TlsFault::NoKey(file.to_owned())
    })
}

/// The certificates of `client_ca`.
pub(super) fn read_authorities(base: &Path, file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
    let option = "client_ca";
    certificates(option, file, &read_pem(option, base, file)?)
}

fn certificates(option: &'static str, file: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| TlsFault::DamagedPem { option, file: file.to_owned() })
}

fn read_pem(option: &'static str, base: &Path, file: &Path) -> Result<Vec<u8>, TlsFault> {
    /// First byte of an ASN.1 SEQUENCE, which certificates and keys are.
    const DER_SEQUENCE: u8 = 0x30;
    let read = std::fs::read(base.join(file));
    let bytes = read.map_err(|reason| TlsFault::Unreadable { option, file: file.to_owned(), reason })?;
    if contains(&bytes, b"-----BEGIN ") {
        Ok(bytes)
    } else {
        let der = bytes.first() == Some(&DER_SEQUENCE);
        Err(TlsFault::NotPem { option, file: file.to_owned(), der })
    }
}

/// Whether a passphrase is needed: the PKCS#8 section of that name, or the older header inside a PKCS#1 or SEC1 one.
fn is_encrypted(pem: &[u8]) -> bool {
    contains(pem, b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || contains(pem, b"Proc-Type: 4,ENCRYPTED")
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

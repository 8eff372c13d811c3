//! TLS: makes a rustls configuration of PEM files, or an error that says which file is wrong and how to fix it.
//!
//! Called on the Python thread, at the start and at a reload. Keys may be PKCS#8, PKCS#1 or SEC1; HTTP/2 is
//! offered before HTTP/1.1, unless it is switched off. Caveat: dates and names of a certificate are not checked, so an expired one is served; clients
//! will refuse it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::edge::config::settings::TlsFiles;

/// HTTP/2 as clients and servers name it in a handshake.
pub(super) const HTTP2: &[u8] = b"h2";

/// The same for HTTP/1.1.
const HTTP1: &[u8] = b"http/1.1";

/// A certificate or key file that cannot be used; the text names the file and the remedy, never its contents.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// The file is missing, not readable or not a file.
    #[error("[SSL] {option}: cannot read {}: {reason}; check the path and that the server's user may read it",
        file.display())]
    Unreadable {
        /// `certfile` or `keyfile`.
        option: &'static str,
        /// The file.
        file: PathBuf,
        /// The system's error.
        #[source]
        reason: io::Error,
    },
    /// The file holds no PEM section at all.
    #[error("[SSL] {option}: {} is not a PEM file; {}", file.display(), if *.der {
        "it looks like DER: convert it with `openssl x509 -inform der` or `openssl pkey -inform der`"
    } else {
        "it must hold a section that begins with -----BEGIN"
    })]
    NotPem {
        /// `certfile` or `keyfile`.
        option: &'static str,
        /// The file.
        file: PathBuf,
        /// Whether it looks like the binary form of the same thing.
        der: bool,
    },
    /// A PEM section is cut short or damaged.
    #[error("[SSL] {option}: the PEM text of {} is damaged; copy or issue the file again", file.display())]
    DamagedPem {
        /// `certfile` or `keyfile`.
        option: &'static str,
        /// The file.
        file: PathBuf,
    },
    /// The certificate file holds a key and no certificate, or the key file a certificate and no key.
    #[error("[SSL] {option}: {} holds {found}; are certfile and keyfile swapped?", file.display())]
    Swapped {
        /// `certfile` or `keyfile`.
        option: &'static str,
        /// The file.
        file: PathBuf,
        /// What was found instead.
        found: &'static str,
    },
    /// The certificate file is PEM without a certificate.
    #[error("[SSL] certfile: no certificate in {}; it must hold the chain, the server's own certificate first",
        .0.display())]
    NoCertificate(PathBuf),
    /// The key file is PEM without a private key.
    #[error("[SSL] keyfile: no private key in {}; it must hold a PKCS#8, PKCS#1 or SEC1 key", .0.display())]
    NoKey(PathBuf),
    /// The key is protected by a passphrase, which cannot be typed in when a server starts.
    #[error("[SSL] keyfile: the key in {} is encrypted; write it without its passphrase with `openssl pkey -in … \
        -out …` and let only the server's user read it", .0.display())]
    EncryptedKey(PathBuf),
    /// The certificate cannot be parsed.
    #[error("[SSL] certfile: the first certificate in {} cannot be used: {reason}; issue it again", file.display())]
    UnusableCertificate {
        /// The file.
        file: PathBuf,
        /// The error of rustls.
        #[source]
        reason: rustls::Error,
    },
    /// The key cannot be parsed or is of a kind that is not supported.
    #[error("[SSL] keyfile: the key in {} cannot be used; it must be RSA of 2048 bits or more, ECDSA P-256 or P-384, \
        or Ed25519", .0.display())]
    UnusableKey(PathBuf),
    /// Both files are fine, but they belong to different pairs.
    #[error("[SSL] the key in {} does not belong to the first certificate in {}; the chain must begin with the \
        server's own certificate", keyfile.display(), certfile.display())]
    Mismatch {
        /// The certificate chain.
        certfile: PathBuf,
        /// The key.
        keyfile: PathBuf,
    },
}

/// Reads a certificate chain and its key, found from `base`, and makes the configuration that new connections are to
/// use.
///
/// # Errors
///
/// A [`TlsError`] for whatever is wrong with one of the files or with the two together.
pub(crate) fn load(base: &Path, files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let (chain, key) = (read_chain(base, &files.certfile)?, read_key(base, &files.keyfile)?);
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the ring provider has cipher suites for the default protocol versions");
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key).map_err(|reason| match reason {
        rustls::Error::InconsistentKeys(_) => {
            TlsError::Mismatch { certfile: files.certfile.clone(), keyfile: files.keyfile.clone() }
        }
        rustls::Error::InvalidCertificate(_) => TlsError::UnusableCertificate { file: files.certfile.clone(), reason },
        _ => TlsError::UnusableKey(files.keyfile.clone()),
    })?;
    config.alpn_protocols = vec![HTTP1.to_vec()];
    if files.http2 {
        config.alpn_protocols.insert(0, HTTP2.to_vec());
    }
    Ok(Arc::new(config))
}

fn read_chain(base: &Path, file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let option = "certfile";
    let pem = read_pem(option, base, file)?;
    let chain = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| TlsError::DamagedPem { option, file: file.to_owned() })?;
    if !chain.is_empty() {
        Ok(chain)
    } else if is_encrypted(&pem) || PrivateKeyDer::from_pem_slice(&pem).is_ok() {
        Err(TlsError::Swapped { option, file: file.to_owned(), found: "a private key and no certificate" })
    } else {
        Err(TlsError::NoCertificate(file.to_owned()))
    }
}

fn read_key(base: &Path, file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let option = "keyfile";
    let pem = read_pem(option, base, file)?;
    if is_encrypted(&pem) {
        return Err(TlsError::EncryptedKey(file.to_owned()));
    }
    let mut has_certificate = false;
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(&pem) {
        let (kind, der) = section.map_err(|_| TlsError::DamagedPem { option, file: file.to_owned() })?;
        has_certificate |= kind == SectionKind::Certificate;
        if let Some(key) = PrivateKeyDer::from_pem(kind, der) {
            return Ok(key);
        }
    }
    Err(if has_certificate {
        TlsError::Swapped { option, file: file.to_owned(), found: "a certificate and no private key" }
    } else {
        TlsError::NoKey(file.to_owned())
    })
}

fn read_pem(option: &'static str, base: &Path, file: &Path) -> Result<Vec<u8>, TlsError> {
    /// First byte of an ASN.1 SEQUENCE, which certificates and keys are.
    const DER_SEQUENCE: u8 = 0x30;
    let read = std::fs::read(base.join(file));
    let bytes = read.map_err(|reason| TlsError::Unreadable { option, file: file.to_owned(), reason })?;
    if contains(&bytes, b"-----BEGIN ") {
        Ok(bytes)
    } else {
        let der = bytes.first() == Some(&DER_SEQUENCE);
        Err(TlsError::NotPem { option, file: file.to_owned(), der })
    }
}

/// Whether a passphrase is needed: the PKCS#8 section of that name, or the older header inside a PKCS#1 or SEC1 one.
fn is_encrypted(pem: &[u8]) -> bool {
    contains(pem, b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || contains(pem, b"Proc-Type: 4,ENCRYPTED")
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

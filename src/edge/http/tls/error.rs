//! What is wrong with files for TLS, and what to do about it.
//!
//! Plain data. Promise: a text names place, section, option, file and remedy, never the contents of a file.

use std::io;
use std::path::PathBuf;

use crate::edge::config::diagnostic::SourceLocation;
use crate::edge::config::settings::tls::{ClientAuthority, TlsFiles};

/// A certificate or key file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{location}: [{section}] {}: {reason}", reason.option())]
pub(crate) struct TlsError {
    /// Where the file is named.
    pub location: SourceLocation,
    /// The section that names the file.
    pub section: String,
    /// What is wrong.
    #[source]
    pub reason: Box<TlsFault>,
}

impl TlsError {
    /// An error of one of the `files` of a section.
    pub(super) fn new(files: &TlsFiles, reason: TlsFault) -> Self {
        let file = if reason.option() == "certfile" { &files.certfile } else { &files.keyfile };
        Self { location: file.location.clone(), section: files.section.clone(), reason: Box::new(reason) }
    }

    /// An error of the file of the authorities for clients, which `[SSL]` names.
    pub(super) fn of_authority(clients: &ClientAuthority, reason: TlsFault) -> Self {
        Self { location: clients.file.location.clone(), section: "SSL".to_owned(), reason: Box::new(reason) }
    }
}

impl TlsFault {
    /// The key that names the file in question.
    pub(crate) fn option(&self) -> &'static str {
        match self {
            Self::Unreadable { option, .. }
            | Self::NotPem { option, .. }
            | Self::DamagedPem { option, .. }
            | Self::Swapped { option, .. } => option,
            Self::NoCertificate(_) | Self::UnusableCertificate { .. } | Self::NoName(_) => "certfile",
            Self::NoKey(_) | Self::EncryptedKey(_) | Self::UnusableKey(_) | Self::Mismatch { .. } => "keyfile",
            Self::NoAuthority(_) => "client_ca",
        }
    }
}

/// What is wrong with the files of one section.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsFault {
    /// The file is missing, not readable or not a file.
    #[error("cannot read {}: {reason}; check the path and that the server's user may read it",
        file.display())]
    Unreadable {
        /// `certfile`, `keyfile` or `client_ca`.
        option: &'static str,
        /// The file.
        file: PathBuf,
        /// The system's error.
        #[source]
        reason: io::Error,
    },
    /// The file holds no PEM section at all.
    #[error("{} is not a PEM file; {}", file.display(), if *.der {
        "it looks like DER: convert it with `openssl x509 -inform der` or `openssl pkey -inform der`"
    } else {
        "it must hold a section that begins with -----BEGIN"
    })]
    NotPem {
        /// The option.
        option: &'static str,
        /// The file.
        file: PathBuf,
        /// Whether it looks like the binary form of the same thing.
        der: bool,
    },
    /// A PEM section is cut short or damaged.
    #[error("the PEM text of {} is damaged; copy or issue the file again", file.display())]
    DamagedPem {
        /// The option.
        option: &'static str,
        /// The file.
        file: PathBuf,
    },
    /// The certificate file holds a key and no certificate, or the key file a certificate and no key.
    #[error("{} holds {found}; are certfile and keyfile swapped?", file.display())]
    Swapped {
        /// `certfile` or `keyfile`.
        option: &'static str,
        /// The file.
        file: PathBuf,
        /// What was found instead.
        found: &'static str,
    },
    /// The certificate file is PEM without a certificate.
    #[error("no certificate in {}; it must hold the chain, the server's own certificate first", .0.display())]
    NoCertificate(PathBuf),
    /// The key file is PEM without a private key.
    #[error("no private key in {}; it must hold a PKCS#8, PKCS#1 or SEC1 key", .0.display())]
    NoKey(PathBuf),
    /// The key is protected by a passphrase, which cannot be typed in when a server starts.
    #[error("the key in {} is encrypted; write it without its passphrase with `openssl pkey -in … \
        -out …` and let only the server's user read it", .0.display())]
    EncryptedKey(PathBuf),
    /// The certificate cannot be parsed.
    #[error("the first certificate in {} cannot be used: {reason}; issue it again", file.display())]
    UnusableCertificate {
        /// The file.
        file: PathBuf,
        /// The error of rustls.
        #[source]
        reason: rustls::Error,
    },
    /// The key cannot be parsed or is of a kind that is not supported.
    #[error("the key in {} cannot be used; it must be RSA of 2048 bits or more, ECDSA P-256 or P-384, \
        or Ed25519", .0.display())]
    UnusableKey(PathBuf),
    /// Both files are fine, but they belong to different pairs.
    #[error("the key in {} does not belong to the first certificate in {}; the chain must begin with the \
        server's own certificate", keyfile.display(), certfile.display())]
    Mismatch {
        /// The certificate chain.
        certfile: PathBuf,
        /// The key.
        keyfile: PathBuf,
    },
    /// A certificate that is to be chosen by the name that clients ask for has none.
    #[error("the first certificate in {} is for no host name, so that no client would get it; issue it for \
        the names that it is to serve", .0.display())]
    NoName(PathBuf),
    /// No client certificate could be checked.
    #[error("no certificate of an authority that can be used in {}; it must hold those that issue the \
        certificates of clients", .0.display())]
    NoAuthority(PathBuf),
}

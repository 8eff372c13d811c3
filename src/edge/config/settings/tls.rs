//! `[SSL]` and `[SSL name]`: certificates, and whom the server speaks TLS with.
//!
//! Plain data, made on the Python thread. Caveat: what the files hold is not known here.

use std::path::PathBuf;
use std::time::Duration;

/// What TLS is spoken with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsSettings {
    /// The pair of `[SSL]`, which clients get that ask for no other.
    pub general: TlsFiles,
    /// The pairs of `[SSL name]`, in file order.
    pub named: Vec<TlsFiles>,
    /// `min_version`: the oldest version that is spoken (default 1.2).
    pub min_version: TlsVersion,
    /// `client_ca` and `client_certificate`, if clients are asked for certificates.
    pub clients: Option<ClientAuthority>,
    /// `check_interval`: how often the files are looked at for changes (default 60 s); `None` if only by a reload.
    pub check_interval: Option<Duration>,
    /// `[network] http2`: whether clients are offered HTTP/2.
    pub http2: bool,
}

impl TlsSettings {
    /// All pairs.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = &TlsFiles> {
        std::iter::once(&self.general).chain(&self.named)
    }
}

/// A certificate and its key, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    /// The section that names them.
    pub section: String,
    /// Certificate chain, leaf first.
    pub certfile: PathBuf,
    /// Private key: PKCS#1, SEC1 or PKCS#8.
    pub keyfile: PathBuf,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsVersion {
    /// 1.2.
    Tls12,
    /// 1.3.
    Tls13,
}

/// Which certificates of clients are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientAuthority {
    /// `client_ca`: the certificates that have to have issued them.
    pub file: PathBuf,
    /// `client_certificate`: whether a client without a certificate is refused (default), or served like before.
    pub is_required: bool,
}

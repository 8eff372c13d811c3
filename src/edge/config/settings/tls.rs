//! `[SSL]` and `[SSL name]`: certificates, and whom the server speaks TLS with.
//!
//! Plain data, made on the Python thread. Caveat: what the files hold is not known here.

use std::path::PathBuf;
use std::time::Duration;

use crate::edge::config::diagnostic::SourceLocation;

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
    pub certfile: PemFile,
    /// Private key: PKCS#1, SEC1 or PKCS#8.
    pub keyfile: PemFile,
}

/// A file, and the place that names it, for errors about what is in the file.
#[derive(Clone, Debug)]
pub(crate) struct PemFile {
    /// Relative to the server's folder, unless it is absolute.
    pub path: PathBuf,
    /// Where it is named.
    pub location: SourceLocation,
}

/// The place makes no difference: a line above that is added or removed changes nothing for TLS.
impl PartialEq for PemFile {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for PemFile {}

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
    pub file: PemFile,
    /// `client_certificate`: whether a client without a certificate is refused (default), or served like before.
    pub is_required: bool,
}

//! TLS: makes a rustls configuration of PEM files, or an error that says which file is wrong and how to fix it.
//!
//! [`Tls::load`] is called on the Python thread, at the start and at a reload, [`Tls::refresh`] on a blocking thread
//! from time to time. HTTP/2 is offered before HTTP/1.1, unless it is switched off. Promise: files that change while
//! the server runs are used by new connections, unless they cannot be used; then those that were read before stay.
//! Caveat: dates of a certificate are not checked, so an expired one is served; clients will refuse it.

mod client;
mod error;
mod names;
mod pem;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};

use self::names::Certificates;
use self::pem::{read_authorities, read_chain, read_key};
use crate::edge::config::settings::tls::{ClientAuthority, TlsFiles, TlsSettings, TlsVersion};

pub(crate) use self::client::ClientCertificate;
pub(crate) use self::error::{TlsError, TlsFault};

/// HTTP/2 as clients and servers name it in a handshake.
pub(super) const HTTP2: &[u8] = b"h2";

/// The same for HTTP/1.1.
const HTTP1: &[u8] = b"http/1.1";

/// What the server speaks TLS with.
#[derive(Debug)]
pub(crate) struct Tls {
    config: ArcSwap<ServerConfig>,
    base: PathBuf,
    settings: TlsSettings,
    /// What the files were like when they were read last.
    read: Mutex<Vec<Option<Stamp>>>,
}

/// By which it is noticed that a file has changed: when, its size, and its number.
type Stamp = (SystemTime, u64, u64);

impl Tls {
    /// Reads the files of `settings`, found from `base`.
    ///
    /// # Errors
    /// A [`TlsError`] for whatever is wrong with one of the files, or with two of them together.
    pub(crate) fn load(base: &Path, settings: &TlsSettings) -> Result<Arc<Self>, TlsError> {
        // The stamps first: what changes from now on is read again.
        let read = Mutex::new(stamps(base, settings));
        let config = ArcSwap::new(server_config(base, settings)?);
        Ok(Arc::new(Self { config, base: base.to_owned(), settings: settings.clone(), read }))
    }

    /// What a new connection is to use.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }

    /// How often [`Self::refresh`] is to be called; `None` if never.
    pub(crate) fn check_interval(&self) -> Option<Duration> {
        self.settings.check_interval
    }

    /// Reads the files again if one of them has changed.
    pub(crate) fn refresh(&self) {
        let now = stamps(&self.base, &self.settings);
        {
            let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            if *read == now {
                return;
            }
            *read = now;
        }
        match server_config(&self.base, &self.settings) {
            Ok(config) => {
                self.config.store(config);
                tracing::info!("the certificate files have changed; new connections use them");
            }
            Err(error) => tracing::warn!("{error}; the certificates that were read before stay in use"),
        }
    }
}

fn stamps(base: &Path, settings: &TlsSettings) -> Vec<Option<Stamp>> {
    use std::os::unix::fs::MetadataExt;
    let stamp = |file: &Path| {
        let metadata = base.join(file).metadata().ok()?;
        Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
    };
    let pairs = settings.pairs().flat_map(|pair| [&pair.certfile, &pair.keyfile]);
    pairs.chain(settings.clients.as_ref().map(|clients| &clients.file)).map(|file| stamp(&file.path)).collect()
}

fn server_config(base: &Path, settings: &TlsSettings) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let versions = match settings.min_version {
        TlsVersion::Tls12 => &[&TLS13, &TLS12][..],
        TlsVersion::Tls13 => &[&TLS13],
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .expect("the ring provider has cipher suites for both versions");
    let builder = match &settings.clients {
        None => builder.with_no_client_auth(),
        Some(clients) => builder.with_client_cert_verifier(verifier(base, clients, &provider)?),
    };
    let mut config = builder.with_cert_resolver(Arc::new(certificates(base, settings, &provider)?));
    config.alpn_protocols = vec![HTTP1.to_vec()];
    if settings.http2 {
        config.alpn_protocols.insert(0, HTTP2.to_vec());
    }
    Ok(Arc::new(config))
}

fn certificates(base: &Path, settings: &TlsSettings, provider: &CryptoProvider) -> Result<Certificates, TlsError> {
    let read = |files: &TlsFiles| {
        certified_key(base, files, provider).map(Arc::new).map_err(|reason| TlsError::new(files, reason))
    };
    let mut certificates = Certificates::new(read(&settings.general)?);
    for files in &settings.named {
        if !certificates.add(&read(files)?) {
            return Err(TlsError::new(files, TlsFault::NoName(files.certfile.path.clone())));
        }
    }
    Ok(certificates)
}

fn certified_key(base: &Path, files: &TlsFiles, provider: &CryptoProvider) -> Result<CertifiedKey, TlsFault> {
    let (chain, key) = (read_chain(base, &files.certfile.path)?, read_key(base, &files.keyfile.path)?);
    CertifiedKey::from_der(chain, key, provider).map_err(|reason| match reason {
        rustls::Error::InconsistentKeys(_) => {
            TlsFault::Mismatch { certfile: files.certfile.path.clone(), keyfile: files.keyfile.path.clone() }
        }
        rustls::Error::InvalidCertificate(_) => {
            TlsFault::UnusableCertificate { file: files.certfile.path.clone(), reason }
        }
        _ => TlsFault::UnusableKey(files.keyfile.path.clone()),
    })
}

fn verifier(
    base: &Path,
    clients: &ClientAuthority,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let fault = |reason| TlsError::of_authority(clients, reason);
    let unusable = || fault(TlsFault::NoAuthority(clients.file.path.clone()));
    let mut roots = RootCertStore::empty();
    for certificate in read_authorities(base, &clients.file.path).map_err(fault)? {
        roots.add(certificate).map_err(|_| unusable())?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = if clients.is_required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|_| unusable())
}

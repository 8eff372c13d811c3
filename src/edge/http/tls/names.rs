//! Which of several certificates a client gets: the one for the name that it asks for.
//!
//! Runs on the I/O threads, once for each handshake. Promise: exact names come before wildcards, and the certificate of
//! `[SSL]` is for all names that no other has, and for clients that ask for none. Caveat: of two certificates for one
//! name, the first in the ini file counts.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The certificates of a server.
#[derive(Debug)]
pub(super) struct Certificates {
    general: Arc<CertifiedKey>,
    /// By lower-case names; a wildcard is in it as what follows its asterisk.
    named: HashMap<String, Arc<CertifiedKey>>,
}

impl Certificates {
    /// Those of a server whose clients get `general` unless they ask for another's name.
    pub(super) fn new(general: Arc<CertifiedKey>) -> Self {
        let mut certificates = Self { named: HashMap::new(), general: Arc::clone(&general) };
        certificates.add(&general);
        certificates
    }

    /// Adds one for its names; false if it has none.
    pub(super) fn add(&mut self, certificate: &Arc<CertifiedKey>) -> bool {
        let names = certificate.end_entity_cert().map(|der| names(der)).unwrap_or_default();
        for name in &names {
            let name = name.strip_prefix('*').unwrap_or(name).to_owned();
            self.named.entry(name).or_insert_with(|| Arc::clone(certificate));
        }
        !names.is_empty()
    }

    fn find(&self, name: &str) -> &Arc<CertifiedKey> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let by_wildcard = || self.named.get(&name[name.find('.')?..]);
        self.named.get(&name).or_else(by_wildcard).unwrap_or(&self.general)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(hello.server_name().map_or(&self.general, |name| self.find(name))))
    }
}

/// The host names that a certificate is for, in lower case.
fn names(der: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return Vec::new() };
    let Ok(Some(alternatives)) = certificate.subject_alternative_name() else { return Vec::new() };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    };
    alternatives.value.general_names.iter().filter_map(name).collect()
}

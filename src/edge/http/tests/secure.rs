//! TLS on the wire, and what is said about files that cannot be used.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};

use super::super::drain::DrainKind;
use super::super::tls::{Tls, TlsError};
use super::{Options, Server, ask, assert_closed};
use crate::edge::config::diagnostic::SourceLocation;
use crate::edge::config::settings::tls::{PemFile, TlsFiles, TlsSettings, TlsVersion};

fn pair() -> CertifiedKey<KeyPair> {
    generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap()
}

fn load(base: &Path, settings: &TlsSettings) -> Result<Arc<ServerConfig>, TlsError> {
    Tls::load(base, settings).map(|tls| tls.config())
}

/// A folder of its own for each test, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("plugincore-tls-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn files(&self, certificate: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> TlsSettings {
        let pem = |name: &str, line| {
            let location = SourceLocation::File { path: "t.ini".into(), line: Some(line) };
            PemFile { path: self.0.join(name), location }
        };
        let (certfile, keyfile) = (pem("cert.pem", 1), pem("key.pem", 2));
        fs::write(&certfile.path, certificate).unwrap();
        fs::write(&keyfile.path, key).unwrap();
        TlsSettings {
            general: TlsFiles { section: "SSL".to_owned(), certfile, keyfile },
            named: Vec::new(),
            min_version: TlsVersion::Tls12,
            clients: None,
            check_interval: None,
            http2: true,
        }
    }

    fn error(&self, certificate: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> TlsError {
        load(Path::new(""), &self.files(certificate, key)).unwrap_err()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn connect(server: &Server, trusted: &CertifiedKey<KeyPair>) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"odd".to_vec(), b"http/1.1".to_vec()];
    let client = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
    StreamOwned::new(client, server.connect())
}

fn serve(folder: &Folder, pair: &CertifiedKey<KeyPair>, read_timeout: Duration) -> Server {
    let tls = load(Path::new(""), &folder.files(pair.cert.pem(), pair.signing_key.serialize_pem())).unwrap();
    Server::start(Options { tls: Some(tls), read_timeout, ..Options::default() })
}

#[test]
fn requests_travel_over_tls_as_http_1_1() {
    let (folder, pair) = (Folder::new("happy"), pair());
    let server = serve(&folder, &pair, super::TIMEOUT);
    let mut stream = connect(&server, &pair);
    for _ in 0..2 {
        assert!(ask(&mut stream, "GET /peer HTTP/1.1\r\nHost: x\r\n\r\n").text().contains("secure: true"));
    }
    assert_eq!(Some(b"http/1.1".as_slice()), stream.conn.alpn_protocol());
    let refusal = ask(&mut stream, "nonsense\r\n\r\n");
    assert_eq!(400, refusal.status);
    refusal.last_error();
    assert_closed(&mut stream);
}

#[test]
fn a_new_certificate_is_used_by_new_connections() {
    let (folder, old, new) = (Folder::new("swap"), pair(), pair());
    let server = serve(&folder, &old, super::TIMEOUT);
    let mut kept = connect(&server, &old);
    ask(&mut kept, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    server
        .tls
        .store(Some(load(Path::new(""), &folder.files(new.cert.pem(), new.signing_key.serialize_pem())).unwrap()));
    assert_eq!(200, ask(&mut connect(&server, &new), "GET / HTTP/1.1\r\nHost: x\r\n\r\n").status);
    assert_eq!(200, ask(&mut kept, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").status);
}

#[test]
fn plain_http_on_a_tls_port_is_told_to_use_https() {
    let (folder, pair) = (Folder::new("plain"), pair());
    let server = serve(&folder, &pair, super::TIMEOUT);
    let mut stream = server.connect();
    let answer = ask(&mut stream, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!((400, "this port speaks HTTPS: use https://"), (answer.status, &*answer.last_error()));
    assert_closed(&mut stream);
}

#[test]
fn a_handshake_that_does_not_come_is_closed() {
    let (folder, pair) = (Folder::new("silent"), pair());
    let server = serve(&folder, &pair, Duration::from_millis(50));
    assert_closed(&mut server.connect());
    let mut stream = server.connect();
    stream.write_all(b"\x16\x03\x01").unwrap();
    // Closed in whatever way: bytes that were never read may turn the end into a reset.
    assert!(!std::io::Read::read(&mut stream, &mut [0]).is_ok_and(|read| read > 0));
}

#[test]
fn a_handshake_under_way_does_not_hold_up_the_end() {
    let (folder, pair) = (Folder::new("drain"), pair());
    let server = serve(&folder, &pair, Duration::from_secs(3600));
    let mut silent = server.connect();
    // Accepted in order, so the silent one has been attended to as well.
    ask(&mut connect(&server, &pair), "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    server.stop();
    assert_closed(&mut silent);
}

#[test]
fn a_handshake_and_a_request_that_come_at_the_start_of_a_drain_are_answered() {
    let (folder, pair) = (Folder::new("late"), pair());
    let server = serve(&folder, &pair, super::TIMEOUT);
    let mut late = connect(&server, &pair); // nothing of the handshake is sent yet
    ask(&mut connect(&server, &pair), "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    server.trigger.start(DrainKind::STOP);
    assert_eq!(200, ask(&mut late, "GET /peer HTTP/1.1\r\nHost: x\r\n\r\n").status);
    assert_closed(&mut late);
    server.stop();
}

#[test]
fn tls_on_a_plain_port_ends_the_handshake() {
    let (server, pair) = (Server::start(Options::default()), pair());
    let mut stream = connect(&server, &pair);
    assert!(stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").and_then(|()| stream.flush()).is_err());
    assert_eq!(200, ask(&mut server.connect(), "GET / HTTP/1.1\r\nHost: x\r\n\r\n").status);
}

#[test]
fn a_sec1_key_is_accepted_and_so_is_one_file_for_both() {
    let (folder, pair) = (Folder::new("sec1"), pair());
    let text = pair.signing_key.serialize_pem();
    let both = pair.cert.pem() + &text;
    load(Path::new(""), &folder.files(&both, &both)).unwrap();
    // The PKCS#8 wrapping of a P-256 key is a fixed prefix around the SEC1 structure.
    let sec1 = pem("EC PRIVATE KEY", &pair.signing_key.serialize_der()[29..]);
    load(Path::new(""), &folder.files(pair.cert.pem(), sec1)).unwrap();
}

fn pem(label: &str, der: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let encode = |three: &[u8]| {
        let bits = three.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        let digit = |place: usize| {
            if place <= three.len() { char::from(ALPHABET[(bits >> (18 - 6 * place)) as usize & 63]) } else { '=' }
        };
        (0..4).map(digit).collect::<String>()
    };
    let text: String = der.chunks(3).map(encode).collect();
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

#[test]
fn each_bad_file_is_named_with_its_remedy() {
    let (folder, pair, other) = (Folder::new("bad"), pair(), pair());
    let (cert, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    let cases: Vec<(TlsError, &str, &str)> = vec![
        (folder.error("", &key), "cert.pem", "is not a PEM file"),
        (folder.error(&cert, "hello"), "key.pem", "is not a PEM file"),
        (folder.error(pair.cert.der(), &key), "cert.pem", "openssl x509 -inform der"),
        (folder.error(&key, &cert), "cert.pem", "swapped"),
        (folder.error(&cert, &cert), "key.pem", "swapped"),
        (folder.error(pem("X509 CRL", b"x"), &key), "cert.pem", "no certificate in"),
        (folder.error(&cert, pem("PUBLIC KEY", b"x")), "key.pem", "no private key in"),
        (folder.error(&cert[..cert.len() / 2], &key), "cert.pem", "damaged"),
        (folder.error(&cert, &key[..key.len() / 2]), "key.pem", "damaged"),
        (folder.error(&cert, pem("ENCRYPTED PRIVATE KEY", b"x")), "key.pem", "is encrypted"),
        (folder.error(&cert, key.replace('\n', "\nProc-Type: 4,ENCRYPTED\n")), "key.pem", "is encrypted"),
        (folder.error(pem("CERTIFICATE", b"x"), &key), "cert.pem", "cannot be used"),
        (folder.error(&cert, pem("PRIVATE KEY", b"x")), "key.pem", "cannot be used"),
        (folder.error(&cert, other.signing_key.serialize_pem()), "key.pem", "does not belong to"),
    ];
    for (error, file, remedy) in cases {
        let text = error.to_string();
        let place = if file == "cert.pem" { "t.ini:1: [SSL] " } else { "t.ini:2: [SSL] " };
        assert!(text.starts_with(place) && text.contains(file) && text.contains(remedy), "{text}");
    }
    let mut files = folder.files(&cert, &key);
    files.general.keyfile.path = folder.0.join("absent.pem");
    let text = load(Path::new(""), &files).unwrap_err().to_string();
    assert!(text.contains("keyfile: cannot read") && text.contains("absent.pem"), "{text}");
}

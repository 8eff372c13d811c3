//! `[SSL]` and `[SSL name]`.
//!
//! Called on the Python thread; opens the files that are named, but does not look into them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::SectionReader;
use crate::edge::config::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::edge::config::fields::{self, InvalidValue, ParseResult};
use crate::edge::config::relative_paths::absolute;
use crate::edge::config::resolved::{ResolvedConfig, Section};
use crate::edge::config::schema::{CERTIFICATE_KEYS, KEY_TOLERANCE, is_of_certificate, nearest};
use crate::edge::config::settings::tls::{ClientAuthority, PemFile, TlsFiles, TlsSettings, TlsVersion};
use crate::edge::config::value::Value;

/// How often certificate files are looked at.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// TLS, if it is enabled; `http2` if HTTP/2 is.
pub(super) fn tls(config: &ResolvedConfig, http2: bool, found: &mut Diagnostics) -> Option<TlsSettings> {
    let named: Vec<_> = config.sections.iter().filter(|section| is_of_certificate(&section.name)).collect();
    for section in &named {
        unknown_keys(section, config, found);
    }
    let mut ssl = SectionReader::new(config, "SSL", found);
    if !ssl.switch("enabled", false) {
        if let Some(key) = ["certfile", "keyfile", "client_ca"].into_iter().find(|key| ssl.item(key).is_some())
            && ssl.item("enabled").is_none()
        {
            ssl.warn(key, "is not used, since SSL is not enabled: this is plain HTTP", "add enabled=bool:true");
        }
        return None;
    }
    let general = pair(&mut ssl);
    let min_version = ssl.read("min_version", TlsVersion::Tls12, version);
    let clients = clients(&mut ssl);
    let check_interval = ssl.read("check_interval", Some(CHECK_INTERVAL), |value| {
        fields::or_none(value, None, |value| fields::duration(value).map(Some))
    });
    let named = named.into_iter().map(|section| pair(&mut SectionReader::of(config, section, ssl.found)));
    let named: Option<Vec<_>> = named.collect::<Vec<_>>().into_iter().collect();
    Some(TlsSettings { general: general?, named: named?, min_version, clients, check_interval, http2 })
}

fn pair(ssl: &mut SectionReader<'_>) -> Option<TlsFiles> {
    let (certfile, keyfile) = (pem(ssl, "certfile"), pem(ssl, "keyfile"));
    let section = ssl.section.map_or(ssl.name, |section| section.name.as_str()).to_owned();
    certfile.zip(keyfile).map(|(certfile, keyfile)| TlsFiles { section, certfile, keyfile })
}

fn pem(ssl: &mut SectionReader<'_>, key: &str) -> Option<PemFile> {
    if ssl.item(key).is_none() {
        ssl.invalid(
            key,
            InvalidValue::new("is missing while SSL is enabled", "name the PEM file, or set enabled=bool:false"),
        );
    }
    existing(ssl, key)
}

fn existing(ssl: &mut SectionReader<'_>, key: &str) -> Option<PemFile> {
    let (base, location) = (&ssl.config.base, ssl.location(key));
    ssl.read(key, None, |value| fields::path(value).and_then(|path| readable(base, path)).map(Some))
        .map(|path| PemFile { path, location })
}

fn clients(ssl: &mut SectionReader<'_>) -> Option<ClientAuthority> {
    let file = existing(ssl, "client_ca");
    let is_required = ssl.read("client_certificate", true, |value| match word(value).as_str() {
        "required" => Ok(true),
        "optional" => Ok(false),
        _ => Err(InvalidValue::new("must be required or optional", "write one of both")),
    });
    if ssl.item("client_ca").is_none() && ssl.item("client_certificate").is_some() {
        let missing = InvalidValue::new(
            "has no effect without client_ca: any client would be served",
            "name the file of the authority whose certificates clients must have",
        );
        ssl.invalid("client_certificate", missing);
    }
    file.map(|file| ClientAuthority { file, is_required })
}

fn version(value: &Value) -> ParseResult<TlsVersion> {
    match word(value).as_str() {
        "1.2" => Ok(TlsVersion::Tls12),
        "1.3" => Ok(TlsVersion::Tls13),
        _ => Err(InvalidValue::new("must be 1.2 or 1.3", "write for example min_version=1.2")),
    }
}

fn word(value: &Value) -> String {
    match value {
        Value::Text(text) => text.trim().to_lowercase(),
        Value::Float(number) => number.to_string(),
        Value::Int(_) | Value::Bool(_) | Value::List(_) => String::new(),
    }
}

fn readable(base: &Path, path: PathBuf) -> ParseResult<PathBuf> {
    let remedy = "name a PEM file that this user may read";
    let file = absolute(&base.join(&path));
    let complain = |why: &str| InvalidValue::new(format!("{} cannot be read: {why}", file.display()), remedy);
    match File::open(&file).and_then(|file| file.metadata()) {
        Ok(metadata) if metadata.is_dir() => Err(complain("it is a folder")),
        Ok(_) => Ok(path),
        Err(error) => Err(complain(&error.to_string())),
    }
}

/// As in `[SSL]`, a misspelling is an error.
fn unknown_keys(section: &Section, config: &ResolvedConfig, found: &mut Diagnostics) {
    let reader = SectionReader::of(config, section, found);
    for item in section.items.iter().filter(|item| !item.inherited && !CERTIFICATE_KEYS.contains(&item.key.as_str())) {
        let near = nearest(&item.key, CERTIFICATE_KEYS.iter().copied(), KEY_TOLERANCE);
        let remedy = near.map_or_else(
            || format!("known are {}; all others belong into [SSL]", CERTIFICATE_KEYS.join(", ")),
            |near| format!("is {near} meant?"),
        );
        let mut diagnostic = Diagnostic::warning(item.location.clone(), "is not known to the server");
        if near.is_some_and(|near| section.item(near).is_none()) {
            diagnostic.severity = Severity::Error;
        }
        reader.found.push(diagnostic.in_section(&section.name).at_key(&item.key).remedy(remedy));
    }
}

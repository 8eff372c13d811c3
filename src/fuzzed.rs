//! What the fuzz targets in `fuzz/` call: one function for each parser that reads bytes of a stranger.
//!
//! Promise: each takes any bytes, and panics if the parser breaks a promise of its module; the same functions read the
//! corpora in `fuzz/corpus` in the unit tests, so that what once was found stays mended. Compiled for fuzzing and tests
//! alone. Caveat: the targets of JSON and of ini files start an interpreter, so their runs are slower.

use std::fmt::Write as _;
use std::path::Path;

use bytes::Bytes;
use headers::ETag;
use http::header::{CONTENT_ENCODING, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::edge::config::interpolation;
use crate::edge::config::proxies::TrustedProxies;
use crate::edge::config::settings::Settings;
use crate::edge::files::conditions::{Selection, Validators, select};
use crate::edge::http::content_coding::{BodyDecoder, ContentCoding};
use crate::edge::http::framing::{Fault, Framing};
use crate::edge::http::proxy_header::{self, ProxyHeader};
use crate::edge::http::request::{BodyData, Variables, classify, decode_path};
use crate::edge::http::service::Peer;
use crate::edge::policy::address::{Client, Origin, is_trusted};
use crate::host::python::config::parser;
use crate::json::{decode_into, encode};

/// A parser to fuzz, by the name of its target.
pub struct Target {
    /// The name of the file in `fuzz/fuzz_targets` and of the folder in `fuzz/corpus`.
    pub name: &'static str,
    /// Reads the bytes.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "framing", run: framing },
    Target { name: "target", run: target },
    Target { name: "body", run: body },
    Target { name: "coding", run: coding },
    Target { name: "multipart", run: multipart },
    Target { name: "forwarded", run: forwarded },
    Target { name: "range", run: range },
    Target { name: "proxy", run: proxy },
    Target { name: "ini", run: ini },
    Target { name: "json", run: json },
];

/// Runs the target of that name.
///
/// # Panics
/// If there is none, or when a parser breaks a promise.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("the file is named like a target");
    (target.run)(data);
}

/// Bytes of a connection: how they are cut into pieces makes no difference. The first eight bytes are the cuts.
fn framing(data: &[u8]) {
    let Some((sizes, bytes)) = data.split_at_checked(8) else { return };
    let (mut whole, mut cut) = (followed(bytes, &[]), followed(bytes, sizes));
    for (seen, _) in [&mut whole, &mut cut] {
        // A version in the midst of a line, which hyper refuses whatever it is, may look like the end of the line.
        for at in memchr::memmem::find_iter(&seen.clone(), b" HTTP/1.") {
            if let Some(minor @ b'2'..=b'9') = seen.get_mut(at + 8) {
                *minor = b'1';
            }
        }
    }
    if whole.1.is_some() && cut.1.is_some() {
        // How much of the last line passes may differ.
        whole.0.truncate(cut.0.len());
        cut.0.truncate(whole.0.len());
    }
    assert_eq!(whole, cut);
}

/// What hyper sees of `bytes` in pieces of these `sizes`, and the fault.
fn followed(bytes: &[u8], sizes: &[u8]) -> (Vec<u8>, Option<Fault>) {
    let (mut framing, mut seen, mut rest) = (Framing::default(), Vec::new(), bytes);
    let mut sizes = sizes.iter().map(|size| usize::from(*size) + 1);
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(sizes.next().unwrap_or(rest.len()).min(rest.len()));
        let mut piece = piece.to_vec();
        if let Some(end) = framing.follow(&mut piece) {
            seen.extend_from_slice(&piece[..end]);
            break;
        }
        seen.append(&mut piece);
        rest = behind;
    }
    (seen, framing.fault())
}

/// A request's target: no path leads upwards, and a query says the same when it is written again.
fn target(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    if let Ok(path) = decode_path(path) {
        assert!(!path.as_str().contains('\0') && path.as_str().split('/').all(|segment| segment != ".."));
    }
    let variables = Variables::from_query(query);
    let written = form_urlencoded::Serializer::new(String::new()).extend_pairs(variables.iter()).finish();
    assert_eq!(variables, Variables::from_query(&written));
}

/// A body behind a line with its content type.
fn body(data: &[u8]) {
    let end = data.iter().position(|&byte| byte == b'\n').unwrap_or(data.len());
    let (content_type, body) = (&data[..end], data.get(end + 1..).unwrap_or_default());
    read(HeaderValue::from_bytes(content_type).ok().as_ref(), body);
}

/// A compressed body behind a line with its codings: how it is cut into pieces makes no difference, and no more comes
/// of it than was asked for.
fn coding(data: &[u8]) {
    const LIMIT: usize = 1 << 16;
    let end = data.iter().position(|&byte| byte == b'\n').unwrap_or(data.len());
    let (names, body) = (&data[..end], data.get(end + 1..).unwrap_or_default());
    let Ok(names) = HeaderValue::from_bytes(names) else { return };
    let Ok(codings) = ContentCoding::from_headers(&HeaderMap::from_iter([(CONTENT_ENCODING, names)])) else { return };
    let decoded = |size: usize| {
        let mut decoder = BodyDecoder::new(&codings, LIMIT)?;
        let (mut text, mut output) = (Vec::new(), [0; 1000]);
        for mut piece in body.chunks(size) {
            while let Some(written) = decoder.decode(&mut piece, &mut output).ok()? {
                text.extend_from_slice(&output[..written]);
                if text.len() > LIMIT {
                    return None;
                }
            }
            assert!(piece.is_empty());
        }
        decoder.finish().ok().map(|()| text)
    };
    assert_eq!(decoded(body.len().max(1)), decoded(7));
}

/// A form whose boundary is `x`.
fn multipart(data: &[u8]) {
    read(Some(&HeaderValue::from_static("multipart/form-data; boundary=x")), data);
}

/// Looks at all that a body is found to be, which is never more than was sent.
fn read(content_type: Option<&HeaderValue>, body: &[u8]) {
    match classify(content_type, Bytes::copy_from_slice(body)) {
        Ok(BodyData::Form(variables)) => assert!(variables.iter().all(|(name, _)| variables.get(name).is_some())),
        Ok(BodyData::Multipart(form)) => {
            let parts = form.parts();
            assert!(parts.iter().map(|part| part.content.len()).sum::<usize>() <= body.len());
            for part in parts {
                let _ = (part.content_type().map(str::len), part.is_text(), part.text());
            }
            assert!(form.fields().count() <= parts.len());
        }
        Ok(BodyData::Json(text)) => assert!(!text.is_empty()),
        Ok(BodyData::None) | Err(_) => {}
    }
}

/// Lines of `X-Forwarded-For`: what stands in front of an address that is not trusted changes nothing.
fn forwarded(data: &[u8]) {
    let networks = ["127.0.0.0/8", "10.0.0.0/8", "::1/128"].iter().filter_map(|net| net.parse().ok()).collect();
    let trusted = TrustedProxies { networks, unix: false };
    let proxy = Peer::Ip(([127, 0, 0, 1], 80).into());
    let with = |lines: &mut dyn Iterator<Item = &[u8]>| {
        let mut headers = HeaderMap::new();
        for value in lines.filter_map(|line| HeaderValue::from_bytes(line).ok()) {
            headers.append("x-forwarded-for", value);
        }
        Origin::of(proxy, &headers, &trusted).client
    };
    let client = with(&mut data.split(|&byte| byte == b'\n'));
    if client != Client::Unknown && !is_trusted(client, &trusted) {
        let forged = [&b"192.0.2.66, junk"[..]];
        assert_eq!(client, with(&mut forged.into_iter().chain(data.split(|&byte| byte == b'\n'))));
    }
}

/// The bytes that a proxy begins with: each part of a header is no header yet, and what follows it changes nothing.
fn proxy(data: &[u8]) {
    let whole = proxy_header::parse(data);
    // Long ones differ in nothing but what is skipped.
    for end in (0..data.len()).take(600) {
        let part = proxy_header::parse(&data[..end]);
        match whole {
            Ok(Some(header)) if end < header.length => assert_eq!(Ok(None), part),
            Ok(Some(_)) => assert_eq!(whole, part),
            Ok(None) => assert_eq!(Ok(None), part),
            // It is refused as soon as that can be known, and never again taken for one.
            Err(_) => assert!(part == Ok(None) || part == whole),
        }
    }
    if let Ok(Some(ProxyHeader { length, .. })) = whole {
        assert!(length <= data.len());
        assert_eq!(whole, proxy_header::parse(&data[..length]));
    }
}

/// Lines of `Name: value` that ask for a part of a file of 1,000 bytes: only bytes that it has are sent.
fn range(data: &[u8]) {
    const SIZE: u64 = 1000;
    let mut headers = HeaderMap::new();
    for line in data.split(|&byte| byte == b'\n') {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let name = match line[..colon].to_ascii_lowercase().as_slice() {
            b"r" => Ok(RANGE),
            b"i" => Ok(IF_RANGE),
            other => HeaderName::from_bytes(other),
        };
        // The parser of tags asserts in debug builds that they have no blanks; in others it takes them as any byte.
        let mut is_quoted = false;
        let value = line[colon + 1..].trim_ascii().iter().map(|&byte| {
            is_quoted ^= byte == b'"';
            if is_quoted && matches!(byte, b' ' | b'\t') { b'_' } else { byte }
        });
        let mut value: Vec<u8> = value.collect();
        if is_quoted {
            // Lines of one name are joined by a comma and a blank.
            value.push(b'"');
        }
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(&value)) {
            headers.append(name, value);
        }
    }
    let etag: ETag = "\"tag\"".parse().expect("it has its quotes");
    let modified = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    let validators = Validators { etag: &etag, modified: Some(modified.into()), size: SIZE };
    for method in [Method::GET, Method::HEAD] {
        if let Ok(Selection::Bytes(range)) = select(&method, &headers, validators) {
            assert!(range.start < range.end && range.end <= SIZE);
        }
    }
}

/// An ini file, from its text to the settings; every error says where it is.
fn ini(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // Names would be looked up, files opened.
    if ["bindto", "listen", "file", "documents"].iter().any(|key| text.to_ascii_lowercase().contains(key)) {
        return;
    }
    Python::initialize();
    let path = Path::new("fuzz.ini");
    let Ok(ini) = Python::attach(|py| parser::parse(py, path, text)) else { return };
    let config = interpolation::resolve(&ini, |name| (name == "SET").then(|| "value".to_owned()));
    let (settings, warnings) = Settings::from_config(&config);
    let mut shown = String::new();
    for warning in &warnings {
        let _ = writeln!(shown, "{warning}");
    }
    if let Err(errors) = settings {
        let errors = errors.to_string();
        assert!(!errors.is_empty());
    }
}

/// A JSON body: what Python's own `json` reads is read alike, and written alike again; what it refuses is refused.
fn json(data: &[u8]) {
    if data.first() != Some(&b'{') {
        return;
    }
    Python::initialize();
    Python::attach(|py| {
        let theirs = py
            .import("json")
            .and_then(|json| json.call_method1("loads", (PyBytes::new(py, data).call_method1("decode", ("utf-8",))?,)));
        let ours = PyDict::new(py);
        let read = decode_into(data, &ours, |_| false);
        let Ok(theirs) = theirs else {
            assert!(!matches!(read, Ok(true)), "json refuses what was read as {ours:?}");
            return;
        };
        if read.is_err() {
            return; // the limits of depth differ
        }
        let texts = |value: &Bound<'_, PyAny>| value.repr().map(|text| text.to_string()).ok();
        assert_eq!(texts(&theirs), texts(ours.as_any()));
        let mut written = Vec::new();
        if encode(&theirs, &mut written).is_ok() {
            let dumped = py.import("json").and_then(|json| json.call_method1("dumps", (&theirs,)));
            let dumped = dumped.and_then(|text| text.extract::<String>()).ok();
            assert_eq!(dumped.as_deref().map(str::as_bytes), Some(written.as_slice()));
        }
    });
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn every_parser_keeps_its_promises_for_the_corpora() {
        let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        for target in TARGETS {
            let folder = corpora.join(target.name);
            let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
            assert!(!files.is_empty(), "{}", folder.display());
            for file in files {
                (target.run)(&fs::read(&file).unwrap());
            }
            (target.run)(b"");
        }
    }
}

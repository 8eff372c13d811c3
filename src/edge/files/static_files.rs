//! The folder of static files: finds the file that a path names.
//!
//! Runs on blocking threads. Promise: nothing outside of the folder is ever opened, whatever the name or link; names
//! that begin with a dot do not exist; a folder is answered with its index file and never with a listing. The folder
//! is looked up anew for each request, so it may be replaced as a whole, or by changing a link that leads to it.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use http::header::{ACCEPT_ENCODING, LOCATION, VARY};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use jiff::Zoned;

use super::open::{Found, Opened, flags, refusal};
use super::response::{FileRequest, respond};
use crate::edge::http::accept_encoding::{Coding, accepted};
use crate::edge::http::rescue::Rejection;
use crate::edge::http::response::Body;
use crate::edge::observe::common_log::CommonLogEntry;
use crate::edge::observe::log_file::LogFile;
use crate::edge::policy::address::Client;

/// The one name with a leading dot that exists, at the top of the folder: RFC 8615 gives it to the public.
const WELL_KNOWN: &str = ".well-known";

/// The compressed forms that a file may have beside it. Where a client does not care, the first is taken.
const SIBLINGS: [Coding; 3] = [Coding::Brotli, Coding::Zstandard, Coding::Gzip];

/// Where a request for a document comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientInfo {
    /// The client's address.
    pub client: Client,
    /// The protocol it speaks.
    pub version: Version,
}

/// A folder of documents that is served.
#[derive(Debug)]
pub(crate) struct StaticFiles {
    folder: PathBuf,
    index: String,
    log: Option<Arc<LogFile>>,
}

impl StaticFiles {
    /// Serves the files of `folder`, which need not be there yet: see [`Self::check`].
    pub(crate) fn new(folder: PathBuf, index: &str, log: Option<Arc<LogFile>>) -> Self {
        Self { folder, index: index.to_owned(), log }
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether the folder is there and can be read.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn check(&self) -> io::Result<()> {
        std::fs::read_dir(&self.folder).map(drop)
    }

    /// Answers a request for `tail`, which is what follows the route and a slash in the decoded path of `uri`; `None`
    /// is the route alone. It may wait for the disk.
    ///
    /// # Errors
    /// [`Rejection`] when there is no such file, or no such part of it.
    pub(crate) fn answer(
        &self,
        tail: Option<&str>,
        uri: &Uri,
        request: &FileRequest,
    ) -> Result<Response<Body>, Rejection> {
        let Some(tail) = tail else { return redirect(uri) };
        match self.find(tail, &request.headers)? {
            Found::File(opened) => {
                let mut response = respond(*opened, request, StatusCode::OK, HeaderMap::new())?;
                response.headers_mut().append(VARY, HeaderValue::from_static("Accept-Encoding"));
                Ok(response)
            }
            Found::Folder => redirect(uri),
        }
    }

    /// Notes a request in the access log, if one is kept. It may wait for the disk.
    pub(crate) fn note(
        &self,
        request: &FileRequest,
        uri: &Uri,
        from: &ClientInfo,
        answered: &Result<Response<Body>, Rejection>,
    ) {
        let Some(log) = &self.log else { return };
        let (status, size) = match answered {
            Ok(response) if request.method == Method::HEAD => (response.status(), 0),
            Ok(response) => (response.status(), response.body().size_hint().exact().unwrap_or(0)),
            // The size of an error's body is not recorded.
            Err(rejection) => (rejection.status(false), 0),
        };
        let entry = CommonLogEntry {
            ip: &from.client.to_string(),
            ident: "-",
            user: "-",
            time: Zoned::now(),
            method: request.method.as_str(),
            path: uri.path(),
            protocol: &format!("{:?}", from.version),
            status: status.as_str(),
            size: &size.to_string(),
        };
        log.append(format!("{entry}\n"));
    }

    fn find(&self, tail: &str, headers: &HeaderMap) -> Result<Found, Rejection> {
        let wants_folder = tail.is_empty() || tail.ends_with('/');
        let name = tail.strip_suffix('/').unwrap_or(tail);
        if !(is_visible(name) || tail.is_empty()) {
            return Err(Rejection::NotFound);
        }
        let top =
            Dir::open_ambient_dir(&self.folder, ambient_authority()).map_err(|error| refusal(&self.folder, &error))?;
        let place = if wants_folder { Path::new(name).join(&self.index) } else { PathBuf::from(name) };
        match self.open(&top, &place, &place, None)? {
            Found::Folder if wants_folder => Err(Rejection::NotFound),
            Found::Folder => Ok(Found::Folder),
            Found::File(plain) => {
                let codings = accepted(headers.get_all(ACCEPT_ENCODING), SIBLINGS);
                let siblings = codings.into_iter().filter_map(|coding| self.sibling(&top, &place, coding, &plain));
                Ok(Found::File(siblings.into_iter().next().unwrap_or(plain)))
            }
        }
    }

    /// The compressed form of `plain`, unless it is older: then it is of an earlier version.
    fn sibling(&self, top: &Dir, place: &Path, coding: Coding, plain: &Opened) -> Option<Box<Opened>> {
        let mut name = OsString::from(place);
        name.push(suffix(coding));
        let Ok(Found::File(sibling)) = self.open(top, Path::new(&name), place, Some(coding)) else { return None };
        let changed = |opened: &Opened| opened.file.metadata().map(|metadata| metadata.mtime());
        // In whole seconds, since some compressors copy no more of the time than that.
        (changed(&sibling).ok()? >= changed(plain).ok()?).then_some(sibling)
    }

    /// Opens `place` below `top`; its media type is that of `named`.
    fn open(&self, top: &Dir, place: &Path, named: &Path, coding: Option<Coding>) -> Result<Found, Rejection> {
        let opened = match open_below(top, place) {
            Err(error) if is_way_out(&error) => self.open_absolute_link(top, place).unwrap_or(Err(error)),
            opened => opened,
        };
        Found::new(opened.map_err(|error| refusal(place, &error))?, named, coding)
    }

    /// A link that names its target by an absolute path leads out of the folder for now, but perhaps in again.
    fn open_absolute_link(&self, top: &Dir, place: &Path) -> Option<io::Result<File>> {
        let target = self.folder.join(place).canonicalize().ok()?;
        let inside = target.strip_prefix(self.folder.canonicalize().ok()?).ok()?.to_owned();
        Some(open_below(top, &inside))
    }
}

/// What follows the file's name in that of a compressed sibling.
fn suffix(coding: Coding) -> &'static str {
    match coding {
        Coding::Brotli => ".br",
        Coding::Zstandard => ".zst",
        Coding::Gzip => ".gz",
    }
}

/// Opens a file or folder, following links only as long as they stay below `top`.
fn open_below(top: &Dir, place: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags());
    top.open_with(place, &options).map(cap_std::fs::File::into_std)
}

/// True for the error by which cap-std reports a link that leads out; it has no number.
fn is_way_out(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_none()
}

/// Whether each segment of `name` is a name that may be served.
fn is_visible(name: &str) -> bool {
    name.split('/').enumerate().all(|(at, segment)| {
        let hidden = segment.starts_with('.') && !(at == 0 && segment == WELL_KNOWN);
        !segment.is_empty() && !hidden && !segment.contains('\0')
    })
}

/// To the same address with a slash behind its path, so that relative links on the page lead where they should.
fn redirect(uri: &Uri) -> Result<Response<Body>, Rejection> {
    let query = uri.query().map_or_else(String::new, |query| format!("?{query}"));
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::FOUND;
    let location = HeaderValue::try_from(format!("{}/{query}", uri.path()));
    // A URI may hold a character that a header may not.
    response.headers_mut().insert(LOCATION, location.map_err(|_| Rejection::NotFound)?);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_and_empty_segments_name_nothing() {
        for name in ["a", "a/b c", "a..b", "é/%2e", ".well-known/x", "a\\..\\b", "..."] {
            assert_eq!(is_visible(name), name != "...", "{name}");
        }
        for name in ["", ".", "..", ".git", "a/.env", "a//b", "/a", "a/", "a/.well-known", ".well-known/.x", "a\0b"] {
            assert!(!is_visible(name), "{name:?}");
        }
    }

    #[test]
    fn a_redirect_keeps_the_query_and_the_spelling() {
        for (from, to) in [("/html", "/html/"), ("/h%20x/%61?a=1&b=%2F", "/h%20x/%61/?a=1&b=%2F"), ("/a?", "/a/?")] {
            let response = redirect(&from.parse().unwrap()).unwrap();
            assert_eq!((response.status().as_u16(), response.headers()[LOCATION].to_str().unwrap()), (302, to));
        }
    }
}

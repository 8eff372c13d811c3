//! Opens a file so that nothing can block, and collects its properties.
//!
//! Runs on blocking threads. Promise: only regular files are opened, a FIFO or device blocks nothing, and each error
//! of the system has its status. Caveat: the entity tag is made of inode, size and times, so two changes within one
//! tick of the file system's clock that keep the size have the same tag.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use headers::{ETag, LastModified};
use http::HeaderValue;
use rustix::fs::OFlags;
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::edge::http::accept_encoding::Coding;
use crate::edge::http::rescue::Rejection;
use crate::edge::observe::line::Level;
use crate::edge::observe::repeats::LineKind;

/// A regular file that is open, at its beginning.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The file.
    pub file: File,
    /// Its bytes.
    pub size: u64,
    /// The type that its name stands for.
    pub media_type: HeaderValue,
    /// How its bytes are compressed, if they are.
    pub coding: Option<Coding>,
    /// Names this version of it and no other.
    pub etag: ETag,
    /// When it was changed last, if that can be sent to clients: not before 1970 and not in the future.
    pub modified: Option<LastModified>,
}

/// What there is in the place of a file.
#[derive(Debug)]
pub(crate) enum Found {
    /// A regular file.
    File(Box<Opened>),
    /// A folder.
    Folder,
}

impl Found {
    /// What the open `file` is; its media type is that of `name`, whose bytes are compressed by `coding`.
    ///
    /// # Errors
    /// [`Rejection::NotFound`] for what is neither a file nor a folder.
    pub(crate) fn new(file: File, name: &Path, coding: Option<Coding>) -> Result<Self, Rejection> {
        let metadata = file.metadata().map_err(|error| refusal(name, &error))?;
        if metadata.is_dir() {
            return Ok(Self::Folder);
        }
        if !metadata.is_file() {
            return Err(Rejection::NotFound);
        }
        Ok(Self::File(Box::new(Opened {
            file,
            size: metadata.len(),
            media_type: media_type(name),
            coding,
            etag: etag(&metadata, coding),
            modified: modified(&metadata),
        })))
    }
}

/// Opens the file that a plugin names by its path; the plugin may name any.
///
/// # Errors
/// [`Rejection`] when there is no regular file there that can be read.
pub(crate) fn open(path: &Path) -> Result<Opened, Rejection> {
    let opened = OpenOptions::new().read(true).custom_flags(flags()).open(path);
    match Found::new(opened.map_err(|error| refusal(path, &error))?, path, None)? {
        Found::File(opened) => Ok(*opened),
        Found::Folder => Err(Rejection::NotFound),
    }
}

/// Flags for opening: a FIFO without a writer does not wait, a terminal does not become ours.
#[expect(clippy::cast_possible_wrap, reason = "the flags are small; both sides only see the bits")]
pub(super) fn flags() -> i32 {
    (OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32
}

/// Reports the failure to open `path`: to the client by a status, to the log in full if the operator has to act.
pub(super) fn refusal(path: &Path, error: &io::Error) -> Rejection {
    match Errno::from_io_error(error) {
        Some(Errno::ACCESS | Errno::PERM) => Rejection::Unreadable,
        // No such name; one that cannot be; a socket or a device without a driver; a path that leads out of its folder,
        // which has an error without a number.
        Some(
            Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::LOOP | Errno::INVAL | Errno::NXIO | Errno::NODEV,
        )
        | None => Rejection::NotFound,
        Some(_) => {
            static UNREADABLE: LineKind = LineKind::new(Level::Error, "files cannot be read");
            if UNREADABLE.admits_any() {
                tracing::error!("{} cannot be read: {error}", path.display());
            }
            Rejection::FileUnavailable
        }
    }
}

/// The type of a file by the end of its name; text is UTF-8.
fn media_type(name: &Path) -> HeaderValue {
    let guess = mime_guess::from_path(name).first_raw().unwrap_or("application/octet-stream");
    let text = if guess.starts_with("text/") { format!("{guess}; charset=utf-8") } else { guess.to_owned() };
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("application/octet-stream"))
}

/// A strong tag. It is a digest so that clients do not learn the number of the inode.
fn etag(metadata: &Metadata, coding: Option<Coding>) -> ETag {
    let mut digest = Sha256::new();
    let times = [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()];
    for number in [metadata.dev(), metadata.ino(), metadata.size()] {
        digest.update(number.to_le_bytes());
    }
    for number in times {
        digest.update(number.to_le_bytes());
    }
    let number = digest.finalize().iter().take(16).fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    let suffix = coding.map_or_else(String::new, |coding| format!("-{}", coding.name()));
    format!("\"{number:032x}{suffix}\"").parse().expect("hexadecimal digits and a name in quotes are a tag")
}

fn modified(metadata: &Metadata) -> Option<LastModified> {
    let since_1970 = Duration::from_secs(u64::try_from(metadata.mtime()).ok()?);
    let time = UNIX_EPOCH.checked_add(since_1970)?;
    (time <= SystemTime::now()).then(|| time.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_declared_as_utf8_and_the_unknown_as_bytes() {
        for (name, expected) in [
            ("a.html", "text/html; charset=utf-8"),
            ("a.TXT", "text/plain; charset=utf-8"),
            ("a.js", "text/javascript; charset=utf-8"),
            ("a.json", "application/json"),
            ("a.wasm", "application/wasm"),
            ("a.png", "image/png"),
            ("a.tar.gz", "application/gzip"),
            ("a", "application/octet-stream"),
            ("a.unheard-of", "application/octet-stream"),
        ] {
            assert_eq!(media_type(Path::new(name)), expected, "{name}");
        }
    }

    #[test]
    fn each_refusal_of_the_system_has_its_status() {
        for (number, status) in [
            (Errno::NOENT, 404),
            (Errno::NOTDIR, 404),
            (Errno::NAMETOOLONG, 404),
            (Errno::LOOP, 404),
            (Errno::NXIO, 404),
            (Errno::ACCESS, 403),
            (Errno::MFILE, 503),
            (Errno::NFILE, 503),
            (Errno::IO, 503),
        ] {
            let error = io::Error::from_raw_os_error(number.raw_os_error());
            assert_eq!(refusal(Path::new("x"), &error).status(false), status, "{number:?}");
        }
        let escape = io::Error::new(io::ErrorKind::PermissionDenied, "led outside");
        assert_eq!(refusal(Path::new("x"), &escape), Rejection::NotFound);
    }
}

//! What relative paths of the ini file are relative to: one rule for the start, a reload and a restart.
//!
//! Called on the Python thread; looks at the file system. A path is relative to the ini file's folder if the file or
//! folder that it names exists there, else to the folder in which the server was started, as in pluginserver. Promise:
//! paths that are relative to the ini file's folder are rewritten in the configuration, so that the server and plugins
//! use the same file; if both folders have one, a warning is logged. Caveat: paths from environment variables, paths
//! with `~` and paths in plugins' sections are left as they are.

use std::path::{Path, PathBuf};

use super::diagnostic::{Diagnostic, SourceLocation};
use super::resolved::ResolvedConfig;
use super::value::Value;

/// What a path is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Something that is read.
    Read,
    /// A file that is made if it is not there; its folder has to be.
    Write,
    /// A folder that is read, perhaps with a request path before a colon.
    Serve,
}

/// Every key of the server's own sections that holds a path.
const PATHS: &[(&str, &str, Purpose)] = &[
    ("paths", "plugins", Purpose::Read),
    ("paths", "pidfile", Purpose::Write),
    ("paths", "documents", Purpose::Serve),
    ("server", "control_socket", Purpose::Write),
    ("server", "state_dir", Purpose::Write),
    ("file_server", "documents", Purpose::Serve),
    ("file_server", "common_log", Purpose::Write),
    ("access_log", "file", Purpose::Write),
    ("SSL", "certfile", Purpose::Read),
    ("SSL", "keyfile", Purpose::Read),
];

/// Rewrites the paths that begin at the folder of the ini file; the others begin at [`ResolvedConfig::base`].
pub(crate) fn resolve(config: &mut ResolvedConfig) {
    let Some(home) = home(config) else { return };
    let base = config.base.clone();
    for (section, key, purpose) in PATHS {
        let Some(item) = config.host_section_mut(section).and_then(|section| section.item_mut(key)) else { continue };
        let (Some(Value::Text(text)), SourceLocation::File { .. }) = (&item.value, &item.location) else { continue };
        let (route, path) = match text.split_once(':').filter(|_| *purpose == Purpose::Serve) {
            Some((route, path)) => (format!("{route}:"), path.trim()),
            None => (String::new(), text.trim()),
        };
        if path.is_empty() || path.starts_with('~') || Path::new(path).is_absolute() {
            continue;
        }
        let near = home.join(path);
        let (there, here) = (base.join(&near), base.join(path));
        if !is_found(&there, path, *purpose) {
            continue;
        }
        let warning = (is_found(&here, path, *purpose) && !is_same(&there, &here)).then(|| {
            let [there, here] = [&there, &here].map(|path| path.canonicalize().unwrap_or_else(|_| absolute(path)));
            let message = format!("{} is used, not {}", there.display(), here.display());
            Diagnostic::warning(item.location.clone(), message)
                .in_section(*section)
                .at_key(*key)
                .remedy("paths begin at the ini file's folder if what they name is there; write the whole path")
        });
        let text = format!("{route}{}", near.display());
        item.value = Some(Value::Text(text.clone()));
        item.text = text;
        config.warnings.extend(warning);
    }
}

/// Where a path of this place is: in the folder of the ini file if it is there, else where relative paths begin.
pub(crate) fn near_or_at(config: &ResolvedConfig, location: &SourceLocation, path: &Path) -> PathBuf {
    let home = home(config).filter(|_| matches!(location, SourceLocation::File { .. }));
    let near = home.map(|home| config.base.join(home).join(path)).filter(|near| near.exists());
    near.unwrap_or_else(|| config.base.join(path))
}

/// Where a file of this place is that the server writes, by the rule for all such files.
pub(crate) fn to_write(config: &ResolvedConfig, location: &SourceLocation, path: &Path) -> PathBuf {
    let home = home(config).filter(|_| matches!(location, SourceLocation::File { .. }));
    let near = home.map(|home| config.base.join(home).join(path));
    let near = near.filter(|near| path.to_str().is_some_and(|path| is_found(near, path, Purpose::Write)));
    near.unwrap_or_else(|| config.base.join(path))
}

/// The folder of the ini file, unless relative paths begin there anyway.
fn home(config: &ResolvedConfig) -> Option<PathBuf> {
    let home = config.path.parent().filter(|folder| !folder.as_os_str().is_empty())?;
    // A name that is no text could not be put into the document.
    home.to_str()?;
    (!is_same(&config.base.join(home), &config.base.join("."))).then(|| home.to_path_buf())
}

/// Whether what `path`, as written, means is there, at `place`.
fn is_found(target: &Path, path: &str, purpose: Purpose) -> bool {
    let names_folder = Path::new(path).parent().is_some_and(|folder| !folder.as_os_str().is_empty());
    target.exists() || (purpose == Purpose::Write && names_folder && target.parent().is_some_and(Path::is_dir))
}

fn is_same(one: &Path, other: &Path) -> bool {
    one == other || one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

/// The whole path, for people to read.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

//! Which files are plugins.
//!
//! Runs on the Python thread. Promise: every `*.py` of the folder, as with pluginserver, and the `__init__.py` of every
//! package whose `__init__.py` speaks of `BasePlugin`, in sorted order, so that the result does not depend on the file
//! system. Caveat: only the folder itself, and nothing hidden; other packages are only run if a plugin imports them.

use std::io;
use std::path::{Path, PathBuf};

/// The plugin files of `folder`, which is found on disk from `base`.
///
/// # Errors
/// When the folder cannot be read.
pub(crate) fn discover(base: &Path, folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(base.join(folder))? {
        let entry = entry?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        let path = entry.path();
        if hidden {
            continue;
        }
        if path.extension().is_some_and(|extension| extension == "py") && path.is_file() {
            files.push(folder.join(entry.file_name()));
        } else if is_plugin_package(&path) {
            files.push(folder.join(entry.file_name()).join(INIT));
        }
    }
    files.sort();
    Ok(files)
}

/// The file of a package that is run when it is imported.
const INIT: &str = "__init__.py";

/// Whether the folder is a package that defines or imports plugin classes, which its text tells without running it.
fn is_plugin_package(folder: &Path) -> bool {
    let source = std::fs::read(folder.join(INIT)).unwrap_or_default();
    memchr::memmem::find(&source, b"BasePlugin").is_some()
}

/// The name by which a plugin file is known: its file name without `.py`, or the name of the package.
pub(crate) fn stem(file: &Path) -> String {
    let is_package = file.file_name().is_some_and(|name| name == INIT);
    let named = if is_package { file.parent().and_then(Path::file_name) } else { file.file_stem() };
    named.map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
}

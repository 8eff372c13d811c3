//! Which files are plugins.
//!
//! Runs on the Python thread. Promise: every `*.py` of the folder, in sorted order, so that the result does not depend
//! on the file system. Caveat: only the folder itself, and no hidden files, as with pluginserver's `glob`.

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
        if !hidden && path.extension().is_some_and(|extension| extension == "py") && path.is_file() {
            files.push(folder.join(entry.file_name()));
        }
    }
    files.sort();
    Ok(files)
}

/// The name by which a plugin file is known: its file name without `.py`.
pub(crate) fn stem(file: &Path) -> String {
    file.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
}

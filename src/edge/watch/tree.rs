//! The folders below the plugin folder whose files plugins can import, and these files.
//!
//! Runs on the watcher's thread. Promise: nothing hidden, no cache, no virtual environment and no installed package is
//! looked into; links are followed, each folder once, so that a link to a folder above is no endless way. Caveat: of a
//! tree with more than [`MOST_FOLDERS`] folders only those are watched that are nearest to the plugins.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// More folders belong to no plugins, but to something that lies beside them.
pub(super) const MOST_FOLDERS: usize = 2_000;

/// Names of folders that hold no code of plugins' own.
const OTHERS: &[&str] = &["__pycache__", "node_modules", "site-packages", "dist-packages"];

/// Which folder it is, whatever it is called: device and number.
pub(super) type Identity = (u64, u64);

/// What one look found.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// Folders by their paths without links.
    pub folders: BTreeMap<PathBuf, Identity>,
    /// Python files, relative to the plugin folder.
    pub files: Vec<PathBuf>,
    /// Links to files and folders, relative to the plugin folder.
    pub links: Vec<PathBuf>,
    /// Folders that cannot be read, relative to the plugin folder, and why; the plugin folder itself is the empty path.
    pub unreadable: Vec<(PathBuf, String)>,
    /// Whether there are more folders than are watched.
    pub is_too_large: bool,
}

impl Tree {
    /// Looks at `root`. Each folder is passed to `enter` before it is read, so that it can be watched from before on.
    pub(super) fn read(root: &Path, mut enter: impl FnMut(&Path, Identity)) -> Self {
        let mut tree = Self::default();
        let mut ways = VecDeque::from([PathBuf::new()]);
        let mut seen = HashSet::new();
        while let Some(way) = ways.pop_front() {
            let found = real_folder(&root.join(&way));
            let (real, identity) = match found {
                Ok(found) => found,
                Err(error) => {
                    tree.unreadable.push((way, error.to_string()));
                    continue;
                }
            };
            if !seen.insert(identity) || (!way.as_os_str().is_empty() && real.join("pyvenv.cfg").exists()) {
                continue;
            }
            if tree.folders.len() >= MOST_FOLDERS {
                tree.is_too_large = true;
                break;
            }
            enter(&real, identity);
            tree.folders.insert(real.clone(), identity);
            if let Err(error) = tree.read_folder(&real, &way, &mut ways) {
                tree.unreadable.push((way, error.to_string()));
            }
        }
        tree.files.sort();
        tree
    }

    fn read_folder(&mut self, real: &Path, way: &Path, ways: &mut VecDeque<PathBuf>) -> io::Result<()> {
        let mut folders = Vec::new();
        for entry in std::fs::read_dir(real)? {
            let entry = entry?;
            let name = entry.file_name();
            let (is_python, may_be_entered) = (is_python(&name), may_be_entered(&name));
            // What vanishes while it is looked at is not there.
            let Ok(kind) = entry.file_type() else { continue };
            if !is_python && !may_be_entered {
                continue;
            }
            let inside = way.join(&name);
            let kind = if kind.is_symlink() {
                let target = std::fs::metadata(entry.path());
                if is_python || target.as_ref().is_ok_and(std::fs::Metadata::is_dir) {
                    self.links.push(inside.clone());
                }
                match target {
                    Ok(target) => target.file_type(),
                    Err(_) => continue,
                }
            } else {
                kind
            };
            if kind.is_dir() && may_be_entered {
                folders.push(inside);
            } else if kind.is_file() && is_python {
                self.files.push(inside);
            }
        }
        folders.sort();
        ways.extend(folders);
        Ok(())
    }
}

fn real_folder(path: &Path) -> io::Result<(PathBuf, Identity)> {
    let real = path.canonicalize()?;
    if !real.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    let identity = identity_of(&real)?;
    Ok((real, identity))
}

/// Which folder or file `path` is.
pub(super) fn identity_of(path: &Path) -> io::Result<Identity> {
    path.metadata().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Whether a file of this name can be imported, or be a plugin. Temporary files of editors are called otherwise.
pub(super) fn is_python(name: &OsStr) -> bool {
    !is_hidden(name) && Path::new(name).extension().is_some_and(|extension| extension == "py")
}

/// Whether a folder of this name may hold code of plugins.
pub(super) fn may_be_entered(name: &OsStr) -> bool {
    !is_hidden(name) && !OTHERS.iter().any(|other| name == *other)
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::edge::observe::log_file::tests::Folder;

    fn write(base: &Path, files: &[&str]) {
        for file in files {
            fs::create_dir_all(base.join(file).parent().unwrap()).unwrap();
            fs::write(base.join(file), "").unwrap();
        }
    }

    fn files(base: &Path) -> Vec<String> {
        Tree::read(base, |_, _| {}).files.iter().map(|file| file.display().to_string()).collect()
    }

    #[test]
    fn helpers_and_packages_are_found_and_nothing_else() {
        let folder = Folder::new();
        let base = folder.file("");
        write(&base, &["a.py", "b.json", ".#a.py", "a.py~", "4913", "pkg/__init__.py", "pkg/deep/x.py", "plain/y.py"]);
        write(&base, &["__pycache__/a.py", ".git/hook.py", "node_modules/x/gyp.py", "vendor/site-packages/z.py"]);
        write(&base, &["env/pyvenv.cfg", "env/lib/z.py", "d.py/inside.py"]);
        assert_eq!(files(&base), ["a.py", "d.py/inside.py", "pkg/__init__.py", "pkg/deep/x.py", "plain/y.py"]);
    }

    #[test]
    fn links_are_followed_and_a_loop_of_them_ends() {
        let folder = Folder::new();
        let base = folder.file("plugins");
        write(&folder.file(""), &["shared/h.py", "plugins/a.py"]);
        symlink("../shared", base.join("shared")).unwrap();
        symlink("..", base.join("shared/up")).unwrap();
        symlink("../shared/h.py", base.join("h.py")).unwrap();
        symlink("nowhere", base.join("gone.py")).unwrap();
        let tree = Tree::read(&base, |_, _| {});
        let shown: Vec<_> = tree.files.iter().map(|file| file.display().to_string()).collect();
        assert_eq!(shown, ["a.py", "h.py", "shared/h.py"]);
        assert_eq!(tree.links.len(), 4, "{tree:?}");
        assert!(tree.unreadable.is_empty() && !tree.is_too_large);
    }

    #[test]
    fn of_too_many_folders_the_nearest_are_watched() {
        let folder = Folder::new();
        let base = folder.file("");
        write(&base, &["z/near.py", "a/deep/far.py"]);
        for number in 0..MOST_FOLDERS - 4 {
            fs::create_dir(base.join(format!("data{number}"))).unwrap();
        }
        let tree = Tree::read(&base, |_, _| {});
        assert!(!tree.is_too_large && tree.files.len() == 2);
        fs::create_dir(base.join("data")).unwrap();
        let tree = Tree::read(&base, |_, _| {});
        assert!(tree.is_too_large);
        assert_eq!(tree.files, [PathBuf::from("z/near.py")]);
    }

    #[test]
    fn a_missing_folder_is_told() {
        let folder = Folder::new();
        let tree = Tree::read(&folder.file("plugins"), |_, _| {});
        assert_eq!(tree.unreadable.len(), 1);
        assert!(tree.unreadable[0].0.as_os_str().is_empty());
    }
}

//! Where a path can be redirected: the folders that hold its symbolic links, and the file or folder itself.
//!
//! Runs on the watcher's thread. Promise: if what a path leads to becomes another file, by a link that is replaced, a
//! file that is renamed, or a folder that is made, then an entry of one of these folders changes. Caveat: that a real
//! folder on the way is renamed is noticed only for the last ones of the path.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// As many links as the system follows.
const MOST_LINKS: usize = 40;

/// A folder, by its path without links, and the entry of it that counts.
pub(super) type Anchor = (PathBuf, OsString);

/// The places on the way of `path`, which is absolute. The last one is where the way ends, whether there is something
/// or not.
pub(super) fn anchors(path: &Path) -> Vec<Anchor> {
    let mut anchors = Vec::new();
    let mut links = 0;
    let mut real = PathBuf::from("/");
    let mut left: VecDeque<OsString> = parts(path);
    while let Some(name) = left.pop_front() {
        if name == ".." {
            real.pop();
            continue;
        }
        let next = real.join(&name);
        match next.symlink_metadata() {
            Ok(metadata) if metadata.is_symlink() => {
                links += 1;
                if links > MOST_LINKS {
                    break;
                }
                anchors.push((real.clone(), name));
                let Ok(target) = next.read_link() else { break };
                if target.is_absolute() {
                    real = PathBuf::from("/");
                }
                for part in parts(&target).into_iter().rev() {
                    left.push_front(part);
                }
            }
            Ok(_) if !left.is_empty() => real = next,
            // The end, or nothing goes on from here.
            _ => {
                anchors.push((real, name));
                break;
            }
        }
    }
    anchors
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let named = |part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(named).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::edge::observe::log_file::tests::Folder;

    fn shown(path: &Path, base: &Path) -> Vec<String> {
        let base = base.canonicalize().unwrap();
        let inside = anchors(path)
            .into_iter()
            .filter_map(|(folder, name)| Some(folder.strip_prefix(&base).ok()?.join(name).display().to_string()));
        inside.collect()
    }

    #[test]
    fn every_link_on_the_way_counts() {
        let folder = Folder::new();
        let base = folder.file("");
        fs::create_dir_all(base.join(".worktrees/abc/app")).unwrap();
        symlink(".worktrees/abc", base.join("current")).unwrap();
        symlink("current/app", base.join("plugins")).unwrap();
        assert_eq!(shown(&base.join("plugins"), &base), ["plugins", "current", ".worktrees/abc/app"]);
        assert_eq!(shown(&base.join("plugins/../x"), &base), ["plugins", "current", ".worktrees/abc/x"]);
    }

    #[test]
    fn the_way_ends_where_nothing_is() {
        let folder = Folder::new();
        let base = folder.file("");
        assert_eq!(shown(&base.join("a/b/c"), &base), ["a"]);
        symlink("loop", base.join("loop")).unwrap();
        assert!(shown(&base.join("loop/x"), &base).iter().all(|name| name == "loop"));
    }
}

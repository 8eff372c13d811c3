//! Whether git is changing the files of a folder.
//!
//! Runs on the watcher's thread. git holds a lock on its index from before the first file that a checkout, merge or
//! pull changes to after the last. Caveat: a git that was killed leaves its lock behind, so nobody should wait for the
//! end of it for ever.

use std::path::{Path, PathBuf};

/// The lock that git holds on the working tree that `folder` is in, if it does.
pub(super) fn lock_of(folder: &Path) -> Option<PathBuf> {
    let folder = folder.canonicalize().ok()?;
    let lock = folder.ancestors().find_map(repository)?.join("index.lock");
    lock.exists().then_some(lock)
}

/// The folder of git's own files for the working tree at `top`.
fn repository(top: &Path) -> Option<PathBuf> {
    let git = top.join(".git");
    if git.is_dir() {
        return Some(git);
    }
    // One of several working trees has a file that names it.
    let text = std::fs::read_to_string(&git).ok()?;
    Some(top.join(text.strip_prefix("gitdir:")?.trim()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::edge::observe::log_file::tests::Folder;

    #[test]
    fn the_lock_of_a_working_tree_is_found_from_inside_of_it() {
        let folder = Folder::new();
        for inside in ["tree/.git/worktrees/other", "tree/app/plugins", "other/plugins"] {
            fs::create_dir_all(folder.file(inside)).unwrap();
        }
        fs::write(folder.file("other/.git"), "gitdir: ../tree/.git/worktrees/other\n").unwrap();
        let locked = |plugins: &str| lock_of(&folder.file(plugins)).is_some();
        assert!(!locked("tree/app/plugins") && !locked("other/plugins") && !locked("nowhere"));
        fs::write(folder.file("tree/.git/index.lock"), "").unwrap();
        assert!(locked("tree/app/plugins") && !locked("other/plugins"));
        fs::write(folder.file("tree/.git/worktrees/other/index.lock"), "").unwrap();
        assert!(locked("other/plugins"));
    }
}

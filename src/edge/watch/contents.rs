//! What is in the watched files: digests, so that content decides what a change is.
//!
//! Runs on the watcher's thread. Promise: a file is read again whenever it may have changed; a file that cannot be read
//! counts as one with another content. Caveat: unless every file is asked to be read, one whose size, number and times
//! are as before counts as unchanged, except for times so recent that another change could have the same.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use super::list::Place;

/// Coarser than the clock of any file system.
const CLOCK: Duration = Duration::from_secs(3);

/// The files of one look, by what messages call them.
#[derive(Clone, Debug, Default)]
pub(super) struct Contents(BTreeMap<PathBuf, Seen>);

/// One file.
#[derive(Clone, Debug)]
struct Seen {
    stamp: Option<Stamp>,
    /// Whether the stamp is old enough to tell the next change from this state.
    is_settled: bool,
    content: Content,
}

/// What the system says of a file without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    identity: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Digest([u8; 32]),
    Unreadable(io::ErrorKind),
}

impl Contents {
    /// Reads `files`; those whose stamp is the same as in `before` are not read again unless `all` are to be.
    pub(super) fn read(files: impl Iterator<Item = Place>, before: &Self, all: bool) -> Self {
        let look = |Place { on_disk, shown }: Place| {
            let earlier = before.0.get(&shown).filter(|_| !all);
            let seen = look_at(&on_disk, earlier);
            (shown, seen)
        };
        Self(files.map(look).collect())
    }

    /// What has changed, come or gone since `before`.
    pub(super) fn changes(&self, before: &Self) -> Vec<PathBuf> {
        let content = |contents: &Self, file| contents.0.get(file).map(|seen| seen.content);
        let gone = before.0.keys().filter(|file| !self.0.contains_key(*file));
        let mut changed: Vec<_> =
            self.0.keys().chain(gone).filter(|file| content(self, *file) != content(before, *file)).cloned().collect();
        changed.sort();
        changed
    }

    /// Whether one of `files` has been written to within the last `time`.
    pub(super) fn is_recent(&self, files: &[PathBuf], time: Duration) -> bool {
        let now = SystemTime::now();
        files.iter().filter_map(|file| self.0.get(file)?.stamp.as_ref()).any(|stamp| stamp.is_within(time, now))
    }

    /// Whether the file is there.
    pub(super) fn has(&self, file: &Path) -> bool {
        self.0.get(file).is_some_and(|seen| seen.content != Content::Unreadable(io::ErrorKind::NotFound))
    }

    /// Has the files that are in `before` and that `keep` names be as they are there.
    pub(super) fn keep(&mut self, before: &Self, keep: impl Fn(&Path) -> bool) {
        let kept = before.0.iter().filter(|(file, _)| keep(file));
        self.0.extend(kept.map(|(file, seen)| (file.clone(), seen.clone())));
    }

    /// Has `file` be as in `before`.
    pub(super) fn put_back(&mut self, before: &Self, file: &Path) {
        match before.0.get(file) {
            Some(seen) => self.0.insert(file.to_path_buf(), seen.clone()),
            None => self.0.remove(file),
        };
    }

    /// Has every file that is in `before`, too, be as it is there.
    pub(super) fn put_all_back(&mut self, before: &Self) {
        for (file, seen) in &mut self.0 {
            if let Some(earlier) = before.0.get(file) {
                seen.clone_from(earlier);
            }
        }
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            identity: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    fn is_within(&self, time: Duration, now: SystemTime) -> bool {
        [self.modified, self.changed].into_iter().any(|(seconds, nanos)| {
            let (Ok(seconds), Ok(nanos)) = (u64::try_from(seconds), u32::try_from(nanos)) else { return false };
            let at = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
            // A time to come is that of another machine, and says nothing.
            now.duration_since(at).is_ok_and(|age| age < time)
        })
    }
}

fn look_at(file: &Path, earlier: Option<&Seen>) -> Seen {
    let stamp = match file.metadata() {
        Ok(metadata) => Stamp::of(&metadata),
        Err(error) => return Seen { stamp: None, is_settled: false, content: Content::Unreadable(error.kind()) },
    };
    if let Some(earlier) = earlier
        && earlier.is_settled
        && earlier.stamp.as_ref() == Some(&stamp)
    {
        return earlier.clone();
    }
    let is_settled = !stamp.is_within(CLOCK, SystemTime::now());
    let content = digest(file).map_or_else(|error| Content::Unreadable(error.kind()), Content::Digest);
    Seen { stamp: Some(stamp), is_settled, content }
}

fn digest(file: &Path) -> io::Result<[u8; 32]> {
    let mut file = File::open(file)?;
    let mut digest = Sha256::new();
    let mut block = vec![0; 64 * 1024];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(digest.finalize().into()),
            read => digest.update(&block[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::edge::observe::log_file::tests::Folder;

    fn look(folder: &Folder, names: &[&str], before: &Contents) -> Contents {
        let places = names.iter().map(|name| Place { on_disk: folder.file(name), shown: PathBuf::from(name) });
        Contents::read(places, before, false)
    }

    #[test]
    fn content_decides_what_a_change_is() {
        let folder = Folder::new();
        for (name, text) in [("same", "1"), ("edited", "1"), ("replaced", "1"), ("gone", "1")] {
            fs::write(folder.file(name), text).unwrap();
        }
        let names = ["same", "edited", "replaced", "gone", "new"];
        let before = look(&folder, &names, &Contents::default());
        fs::write(folder.file("same"), "1").unwrap();
        fs::write(folder.file("edited"), "2").unwrap();
        fs::write(folder.file("other"), "3").unwrap();
        fs::rename(folder.file("other"), folder.file("replaced")).unwrap();
        fs::remove_file(folder.file("gone")).unwrap();
        fs::write(folder.file("new"), "1").unwrap();
        let after = look(&folder, &names, &before);
        let changes = after.changes(&before);
        assert_eq!(changes, ["edited", "gone", "new", "replaced"].map(PathBuf::from));
        assert!(after.is_recent(&changes, Duration::from_secs(60)));
        assert!(!after.has(Path::new("gone")) && after.has(Path::new("new")));
        assert!(look(&folder, &names, &after).changes(&after).is_empty());
    }

    #[test]
    fn files_that_are_no_longer_listed_are_gone() {
        let folder = Folder::new();
        fs::write(folder.file("a"), "1").unwrap();
        let before = look(&folder, &["a"], &Contents::default());
        let mut after = look(&folder, &[], &before);
        assert_eq!(after.changes(&before), ["a"].map(PathBuf::from));
        after.keep(&before, |_| true);
        assert!(after.changes(&before).is_empty());
    }
}

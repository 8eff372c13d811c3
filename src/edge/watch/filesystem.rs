//! Whether a file system tells of every change of its files.
//!
//! Runs on the watcher's thread. Network file systems tell only of changes made on this machine, those of virtual
//! machines and containers only of changes made inside. Caveat: a file system that is not known to be silent is
//! trusted; `watch = poll` is for the exceptions.

use std::collections::HashMap;

/// Types of file systems whose files change without a notification; `fuse` and all that begins with it as well.
const SILENT: &[&str] = &[
    "9p",
    "afs",
    "aufs",
    "beegfs",
    "ceph",
    "cifs",
    "coda",
    "drvfs",
    "fakeowner",
    "gfs2",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "ocfs2",
    "overlay",
    "prl_fs",
    "smb3",
    "smbfs",
    "vboxsf",
    "virtiofs",
    "vmhgfs",
];

/// The file systems met so far, by the number of their device: the type of those that are silent.
#[derive(Debug, Default)]
pub(super) struct FileSystems {
    known: HashMap<u64, Option<String>>,
}

impl FileSystems {
    /// The type of the file system on `device`, if it is a silent one.
    pub(super) fn silent(&mut self, device: u64) -> Option<&str> {
        let found = self.known.entry(device).or_insert_with(|| type_of(device).filter(|kind| is_silent(kind)));
        found.as_deref()
    }
}

fn is_silent(kind: &str) -> bool {
    SILENT.contains(&kind) || kind.starts_with("fuse")
}

#[cfg(target_os = "linux")]
fn type_of(device: u64) -> Option<String> {
    let number = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let mounts = procfs::process::Process::myself().and_then(|process| process.mountinfo()).ok()?;
    mounts.into_iter().find(|mount| mount.majmin == number).map(|mount| mount.fs_type)
}

#[cfg(not(target_os = "linux"))]
fn type_of(_: u64) -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_that_others_write_to_are_silent() {
        for kind in ["nfs4", "cifs", "overlay", "9p", "virtiofs", "fuse", "fuse.sshfs", "fuseblk"] {
            assert!(is_silent(kind), "{kind}");
        }
        for kind in ["ext4", "btrfs", "xfs", "tmpfs", "zfs", "f2fs"] {
            assert!(!is_silent(kind), "{kind}");
        }
    }
}

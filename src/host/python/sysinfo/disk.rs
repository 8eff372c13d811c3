//! File systems and block devices: space, mounts, traffic.
//!
//! Runs on any Python thread. Caveat: `statvfs` on a network mount whose server is gone blocks; it does so without the
//! interpreter lock, but the plugin that called it waits.

use std::path::PathBuf;

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

/// Bytes of the file system that holds `path`: total, used, and free for users other than root.
///
/// # Errors
/// The `OSError` of `statvfs`, with the path; `FileNotFoundError` when there is none.
#[pyfunction]
pub(crate) fn disk_usage(py: Python<'_>, path: PathBuf) -> PyResult<(u64, u64, u64)> {
    match py.detach(|| rustix::fs::statvfs(&path)) {
        Ok(fs) => Ok((
            fs.f_blocks * fs.f_frsize,
            fs.f_blocks.saturating_sub(fs.f_bfree) * fs.f_frsize,
            fs.f_bavail * fs.f_frsize,
        )),
        Err(errno) => {
            let code = errno.raw_os_error();
            let text: String = py.import("os")?.call_method1("strerror", (code,))?.extract()?;
            Err(PyOSError::new_err((code, text, path.into_os_string())))
        }
    }
}

/// A mounted file system: device, mount point, type, options.
type Mount = (String, String, String, String);

/// What is mounted; without `all` only what a block device or ZFS holds.
///
/// # Errors
/// `OSError` when `/proc/self/mounts` or `/proc/filesystems` cannot be read.
#[pyfunction]
pub(crate) fn disk_partitions(all: bool) -> PyResult<Vec<Mount>> {
    #[cfg(target_os = "linux")]
    {
        let filesystems = std::fs::read_to_string("/proc/filesystems")?;
        let mounts = linux::parse_mounts(&std::fs::read_to_string("/proc/self/mounts")?);
        let physical = |fstype: &str| linux::holds_a_device(&filesystems, fstype);
        let mounts = mounts.into_iter().map(linux::name_root_device);
        Ok(mounts.filter(|(device, _, fstype, _)| all || (!device.is_empty() && physical(fstype))).collect())
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = all;
        let text = |os: &std::ffi::OsStr| os.to_string_lossy().into_owned();
        let disks = sysinfo::Disks::new_with_refreshed_list_specifics(sysinfo::DiskRefreshKind::nothing());
        let mounts = disks.iter().map(|disk| {
            let options = if disk.is_read_only() { "ro" } else { "rw" };
            let mountpoint = text(disk.mount_point().as_os_str());
            (text(disk.name()), mountpoint, text(disk.file_system()), options.to_owned())
        });
        Ok(mounts.collect())
    }
}

/// Read count, write count, read bytes, write bytes, read ms, write ms, merged reads, merged writes, busy ms.
type Traffic = [u64; 9];

/// Traffic since boot by device; without `perdisk` only whole devices, so that a sum counts nothing twice.
///
/// # Errors
/// `OSError` when `/proc/diskstats` cannot be read; `NotImplementedError` off Linux.
#[pyfunction]
pub(crate) fn disk_io_counters(perdisk: bool) -> PyResult<Vec<(String, Traffic)>> {
    #[cfg(target_os = "linux")]
    {
        use procfs::Current;

        let procfs::DiskStats(devices) = procfs::DiskStats::current().map_err(super::unreadable)?;
        let devices = devices.into_iter().filter(|device| perdisk || linux::is_whole_device(&device.name));
        Ok(devices.map(linux::traffic).collect())
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = perdisk;
        super::unavailable("disk_io_counters")
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    use super::{Mount, Traffic};

    pub(super) fn traffic(device: procfs::DiskStat) -> (String, Traffic) {
        // The kernel counts in sectors of 512 bytes, whatever the device's own are.
        const SECTOR: u64 = 512;
        let row = [
            device.reads,
            device.writes,
            device.sectors_read * SECTOR,
            device.sectors_written * SECTOR,
            device.time_reading,
            device.time_writing,
            device.merged,
            device.writes_merged,
            device.time_in_progress,
        ];
        (device.name, row)
    }

    /// Partitions have no folder of their own in `/sys/block`, where `/` in a name is written `!`.
    pub(super) fn is_whole_device(name: &str) -> bool {
        Path::new("/sys/block").join(name.replace('/', "!")).exists()
    }

    pub(super) fn parse_mounts(text: &str) -> Vec<Mount> {
        let mounts = text.lines().filter_map(|line| {
            let mut fields = line.split(' ').map(unescape);
            let device = fields.next()?;
            let device = if device == "none" { String::new() } else { device };
            Some((device, fields.next()?, fields.next()?, fields.next()?))
        });
        mounts.collect()
    }

    /// Undoes the octal escapes with which the kernel writes blanks and backslashes (`\040`).
    fn unescape(field: &str) -> String {
        let mut out = String::with_capacity(field.len());
        let mut rest = field;
        while let Some((before, after)) = rest.split_once('\\') {
            out.push_str(before);
            let escape = after.get(..3).and_then(|octal| u8::from_str_radix(octal, 8).ok()).filter(u8::is_ascii);
            if let Some(byte) = escape {
                out.push(char::from(byte));
                rest = &after[3..];
            } else {
                out.push('\\');
                rest = after;
            }
        }
        out.push_str(rest);
        out
    }

    pub(super) fn holds_a_device(filesystems: &str, fstype: &str) -> bool {
        // ZFS brings its own devices, so the kernel lists it with `nodev`.
        filesystems
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .any(|(flag, name)| name == fstype && (flag != "nodev" || name == "zfs"))
    }

    /// An early boot leaves `/dev/root` or `rootfs` in the mount table; this puts the device's real name there.
    pub(super) fn name_root_device(mount: Mount) -> Mount {
        if !matches!(mount.0.as_str(), "/dev/root" | "rootfs") {
            return mount;
        }
        let real = || {
            let device = std::fs::metadata("/").ok()?.dev();
            let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
            let uevent = super::super::read_attribute(format!("/sys/dev/block/{major}:{minor}/uevent"))?;
            let name = uevent.lines().find_map(|line| line.strip_prefix("DEVNAME="))?;
            Some(format!("/dev/{name}")).filter(|path| Path::new(path).exists())
        };
        (real().unwrap_or(mount.0), mount.1, mount.2, mount.3)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_mount_point_with_a_blank_and_a_backslash_is_read_back() {
            let mounts = parse_mounts("/dev/sda1 /mnt/a\\040b\\134c ext4 rw,relatime 0 0\nnone /x tmpfs rw 0 0\n");
            let expected = [
                ("/dev/sda1".into(), "/mnt/a b\\c".into(), "ext4".into(), "rw,relatime".into()),
                (String::new(), "/x".into(), "tmpfs".into(), "rw".into()),
            ];
            assert_eq!(mounts, expected);
        }

        #[test]
        fn a_backslash_that_escapes_nothing_stays() {
            assert_eq!(unescape("a\\9z\\"), "a\\9z\\");
            assert_eq!(unescape("\\04ä"), "\\04ä");
        }

        #[test]
        fn only_file_systems_on_devices_and_zfs_are_physical() {
            let filesystems = "nodev\ttmpfs\n\text4\nnodev\tzfs\n";
            let physical = ["tmpfs", "ext4", "zfs", "xfs"].map(|fstype| holds_a_device(filesystems, fstype));
            assert_eq!(physical, [false, true, true, false]);
        }
    }
}

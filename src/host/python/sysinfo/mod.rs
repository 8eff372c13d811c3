//! Figures of the machine, in psutil's units, for `plugincore.sysinfo`.
//!
//! Everything here returns plain numbers, texts, tuples, lists and dicts; names, rounding and defaults are the
//! Python module's. Where a figure comes from:
//!
//! | figure | source |
//! |---|---|
//! | CPU counts, load, boot time, process ids | `sysinfo` |
//! | memory: total, available, used, free; swap: total, used, free | `sysinfo` |
//! | memory: active, inactive, buffers, cached, shared, slab; swap: in, out | `procfs` |
//! | CPU times, context switches, disk I/O, dropped packets | `procfs` |
//! | network bytes, packets, errors, MTU | `sysinfo` |
//! | interface addresses and flags | `nix` (`getifaddrs`) |
//! | disk usage | `rustix` (`statvfs`) |
//! | interrupts, frequencies, mounts, link speed, temperatures | files below `/proc` and `/sys` |
//! | logins | the records of `/var/run/utmp` |
//!
//! `sysinfo` has CPU usage, mounts and temperatures too, but not with psutil's meaning: its usage stands still for
//! 200 ms, its mounts lack the options, its sensors lack the chip. Caveat: off Linux only what `sysinfo`, `nix` and
//! `rustix` give is there; the rest raises `NotImplementedError`.

mod cpu;
mod disk;
mod host;
mod memory;
mod network;
mod sensors;
mod users;

use pyo3::prelude::*;

/// `plugincore._core.sysinfo`: the figures as Python calls them.
#[pymodule(submodule, name = "sysinfo")]
pub mod native {
    #[cfg(not(target_os = "linux"))]
    #[pymodule_export]
    use super::cpu::cpu_usage;
    #[pymodule_export]
    use super::cpu::{cpu_count, cpu_freq, cpu_stats, cpu_times};
    #[pymodule_export]
    use super::disk::{disk_io_counters, disk_partitions, disk_usage};
    #[pymodule_export]
    use super::host::{boot_time, getloadavg, pids};
    #[pymodule_export]
    use super::memory::{swap_memory, virtual_memory};
    #[pymodule_export]
    use super::network::{net_if_addrs, net_if_stats, net_io_counters};
    #[pymodule_export]
    use super::sensors::sensors_temperatures;
    #[pymodule_export]
    use super::users::users;
}

/// What a function answers on a platform that has no source for its figure.
#[cfg(not(target_os = "linux"))]
fn unavailable<T>(function: &str) -> PyResult<T> {
    let text = format!("{function} has no native source on {}; install psutil for it", std::env::consts::OS);
    Err(pyo3::exceptions::PyNotImplementedError::new_err(text))
}

/// A `/proc` file that cannot be read or understood, as `OSError` with the file's name in its text.
#[cfg(target_os = "linux")]
#[expect(clippy::needless_pass_by_value, reason = "map_err hands the error over")]
fn unreadable(error: procfs::ProcError) -> PyErr {
    pyo3::exceptions::PyOSError::new_err(error.to_string())
}

/// Reads a small text file of `/proc` or `/sys`, without the line end; `None` when it is not there or has no value,
/// which the kernel says with an error on read.
#[cfg(target_os = "linux")]
fn read_attribute(path: impl AsRef<std::path::Path>) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim_end().to_owned())
}

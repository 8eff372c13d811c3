//! Memory and swap, in bytes.
//!
//! Runs on any Python thread. Caveat: the two rows are read from more than one file; on a busy machine fields of one
//! row may be moments apart.

use pyo3::prelude::*;
use sysinfo::{MemoryRefreshKind, System};

/// Total, available, used, free, active, inactive, buffers, cached, shared, slab. Used is total less available, and
/// cached includes the reclaimable part of slab, as `free(1)` and psutil have it. Off Linux the last six are 0.
///
/// # Errors
/// `OSError` when `/proc/meminfo` cannot be read.
#[pyfunction]
pub(crate) fn virtual_memory() -> PyResult<[u64; 10]> {
    let mut system = System::new();
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    let [active, inactive, buffers, cached, shared, slab] = kernel_view()?;
    let (total, available) = (system.total_memory(), system.available_memory());
    let (used, free) = (system.used_memory(), system.free_memory());
    Ok([total, available, used, free, active, inactive, buffers, cached, shared, slab])
}

#[cfg(target_os = "linux")]
fn kernel_view() -> PyResult<[u64; 6]> {
    use procfs::Current;

    let mem = procfs::Meminfo::current().map_err(super::unreadable)?;
    let cached = mem.cached + mem.s_reclaimable.unwrap_or(0);
    Ok([mem.active, mem.inactive, mem.buffers, cached, mem.shmem.unwrap_or(0), mem.slab])
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "one signature on all platforms")]
fn kernel_view() -> PyResult<[u64; 6]> {
    Ok([0; 6])
}

/// Total, used, free, and bytes swapped in and out since boot (0 off Linux).
///
/// # Errors
/// `OSError` when `/proc/vmstat` cannot be read.
#[pyfunction]
pub(crate) fn swap_memory() -> PyResult<[u64; 5]> {
    let mut system = System::new();
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_swap());
    let (swapped_in, swapped_out) = swap_traffic()?;
    Ok([system.total_swap(), system.used_swap(), system.free_swap(), swapped_in, swapped_out])
}

#[cfg(target_os = "linux")]
fn swap_traffic() -> PyResult<(u64, u64)> {
    use procfs::Current;

    // psutil's unit, whatever the page size is.
    const PAGE: u64 = 4096;
    let procfs::VmStat(counters) = procfs::VmStat::current().map_err(super::unreadable)?;
    let bytes = |name| counters.get(name).copied().and_then(|pages| u64::try_from(pages).ok()).unwrap_or(0) * PAGE;
    Ok((bytes("pswpin"), bytes("pswpout")))
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "one signature on all platforms")]
fn swap_traffic() -> PyResult<(u64, u64)> {
    Ok((0, 0))
}

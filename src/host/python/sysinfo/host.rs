//! The machine as a whole: its boot time, load and processes.
//!
//! Runs on any Python thread. Caveat: a process list is old when it is returned; an id in it may be gone or taken by
//! another process.

use pyo3::prelude::*;
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};

/// Seconds since the epoch at which the kernel started.
#[pyfunction]
pub(crate) fn boot_time() -> u64 {
    System::boot_time()
}

/// Processes that run or wait to run, on average over 1, 5 and 15 minutes.
#[pyfunction]
pub(crate) fn getloadavg() -> (f64, f64, f64) {
    let load = System::load_average();
    (load.one, load.five, load.fifteen)
}

/// The ids of all processes, ascending, without their threads.
#[pyfunction]
pub(crate) fn pids(py: Python<'_>) -> Vec<u32> {
    // Thousands of files on a busy machine: other Python threads go on meanwhile.
    py.detach(|| {
        let mut system = System::new();
        let nothing = ProcessRefreshKind::nothing().without_tasks();
        system.refresh_processes_specifics(ProcessesToUpdate::All, true, nothing);
        let mut pids: Vec<u32> = system.processes().keys().map(|pid| pid.as_u32()).collect();
        pids.sort_unstable();
        pids
    })
}

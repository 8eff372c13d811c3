//! Figures of the process, under the names that Prometheus's own clients give them.
//!
//! Reads `/proc`, which does not wait for a disk. Promise: what cannot be read is left out. Caveat: Linux only; elsewhere
//! there is nothing but the time of the start, which the caller has.

/// The process at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ProcessFigures {
    /// Processor time, in seconds.
    pub cpu_seconds: f64,
    /// Bytes in memory.
    pub resident_bytes: u64,
    /// Bytes of address space.
    pub virtual_bytes: u64,
    /// Threads.
    pub threads: i64,
    /// Descriptors that are open.
    pub open_descriptors: Option<usize>,
    /// Descriptors that may be.
    pub max_descriptors: Option<u64>,
}

#[cfg(target_os = "linux")]
impl ProcessFigures {
    /// Those of this process.
    pub(crate) fn read() -> Option<Self> {
        use procfs::process::{LimitValue, Process};
        let process = Process::myself().ok()?;
        let stat = process.stat().ok()?;
        let limit = process.limits().ok().map(|limits| limits.max_open_files.soft_limit);
        #[expect(clippy::cast_precision_loss, reason = "that of a float of clock ticks is enough")]
        let cpu_seconds = (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64;
        Some(Self {
            cpu_seconds,
            resident_bytes: stat.rss * procfs::page_size(),
            virtual_bytes: stat.vsize,
            threads: stat.num_threads,
            open_descriptors: process.fd_count().ok(),
            max_descriptors: limit.and_then(|limit| match limit {
                LimitValue::Value(limit) => Some(limit),
                LimitValue::Unlimited => None,
            }),
        })
    }
}

#[cfg(not(target_os = "linux"))]
impl ProcessFigures {
    /// Nothing.
    pub(crate) fn read() -> Option<Self> {
        None
    }
}

//! Processors: how many, how fast, and how they spent their time.
//!
//! Runs on any Python thread. Times and counters are cumulative since boot; percentages are made of two readings in
//! Python. Caveat: a frequency whose governor publishes no limits has 0 for both, as in psutil.

#[cfg(target_os = "linux")]
use std::path::Path;

use pyo3::prelude::*;
use sysinfo::{CpuRefreshKind, System};

/// Logical processors that are online, or physical cores; `None` when the platform does not say.
#[pyfunction]
pub(crate) fn cpu_count(logical: bool) -> Option<usize> {
    if !logical {
        return System::physical_core_count().filter(|&cores| cores > 0);
    }
    let mut system = System::new();
    system.refresh_cpu_list(CpuRefreshKind::nothing());
    Some(system.cpus().len()).filter(|&cpus| cpus > 0)
}

/// Seconds since boot as user, nice, system, idle, iowait, irq, softirq, steal, guest and nice guest: one row for the
/// machine, or one for each processor.
///
/// # Errors
/// `OSError` when `/proc/stat` cannot be read; `NotImplementedError` off Linux.
#[pyfunction]
pub(crate) fn cpu_times(percpu: bool) -> PyResult<Vec<[f64; 10]>> {
    #[cfg(target_os = "linux")]
    {
        use procfs::CurrentSI;

        let stat = procfs::KernelStats::current().map_err(super::unreadable)?;
        let ticks_per_second = procfs::ticks_per_second();
        let rows = if percpu { stat.cpu_time } else { vec![stat.total] };
        Ok(rows.iter().map(|row| seconds(row, ticks_per_second)).collect())
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = percpu;
        super::unavailable("cpu_times")
    }
}

#[cfg(target_os = "linux")]
#[expect(clippy::cast_precision_loss, reason = "2^53 ticks are three million years")]
fn seconds(row: &procfs::CpuTime, ticks_per_second: u64) -> [f64; 10] {
    let ticks = [
        row.user,
        row.nice,
        row.system,
        row.idle,
        row.iowait.unwrap_or(0),
        row.irq.unwrap_or(0),
        row.softirq.unwrap_or(0),
        row.steal.unwrap_or(0),
        row.guest.unwrap_or(0),
        row.guest_nice.unwrap_or(0),
    ];
    ticks.map(|ticks| ticks as f64 / ticks_per_second as f64)
}

/// Context switches, interrupts, soft interrupts since boot, and 0 for system calls, which Linux does not count.
///
/// # Errors
/// `OSError` when `/proc/stat` cannot be read; `NotImplementedError` off Linux.
#[pyfunction]
pub(crate) fn cpu_stats() -> PyResult<(u64, u64, u64, u64)> {
    #[cfg(target_os = "linux")]
    {
        let stat = std::fs::read_to_string("/proc/stat")?;
        Ok((counter(&stat, "ctxt"), counter(&stat, "intr"), counter(&stat, "softirq"), 0))
    }
    #[cfg(not(target_os = "linux"))]
    super::unavailable("cpu_stats")
}

/// The first number of the line that begins with `name`: of `intr` and `softirq` the sum of all that follow.
#[cfg(target_os = "linux")]
fn counter(stat: &str, name: &str) -> u64 {
    stat.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(key, _)| *key == name)
        .and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// Current, lowest and highest MHz of each frequency domain, or of each processor where there are no domains.
#[pyfunction]
pub(crate) fn cpu_freq() -> Vec<(f64, f64, f64)> {
    #[cfg(target_os = "linux")]
    {
        let cpuinfo = super::read_attribute("/proc/cpuinfo").unwrap_or_default();
        frequencies(Path::new("/sys/devices/system/cpu"), &cpuinfo)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let mut system = System::new();
        system.refresh_cpu_list(CpuRefreshKind::nothing().with_frequency());
        system.cpus().iter().map(|cpu| (cpu.frequency() as f64, 0.0, 0.0)).collect()
    }
}

#[cfg(target_os = "linux")]
fn frequencies(cpu_root: &Path, cpuinfo: &str) -> Vec<(f64, f64, f64)> {
    let measured: Vec<f64> = cpuinfo
        .lines()
        .filter(|line| line.to_ascii_lowercase().starts_with("cpu mhz"))
        .filter_map(|line| line.split_once(':')?.1.trim().parse().ok())
        .collect();
    let domains = frequency_domains(cpu_root);
    if domains.is_empty() {
        return measured.into_iter().map(|mhz| (mhz, 0.0, 0.0)).collect();
    }
    // What the kernel measured beats what the governor asked for, where domains can be told apart.
    let measured = if measured.len() == domains.len() { measured } else { Vec::new() };
    let mhz = |domain: &Path, name: &str| {
        super::read_attribute(domain.join(name)).and_then(|khz| khz.parse::<f64>().ok()).map(|khz| khz / 1000.0)
    };
    let rows = domains.iter().enumerate().map(|(index, domain)| {
        let current = measured.get(index).copied();
        let current = current.or_else(|| mhz(domain, "scaling_cur_freq")).or_else(|| mhz(domain, "cpuinfo_cur_freq"));
        let limit = |name| mhz(domain, name).unwrap_or(0.0);
        // A processor that is offline has a domain without a current frequency.
        current.map_or((0.0, 0.0, 0.0), |current| (current, limit("scaling_min_freq"), limit("scaling_max_freq")))
    });
    rows.collect()
}

/// The folders that describe a frequency domain, in the order of their numbers.
#[cfg(target_os = "linux")]
fn frequency_domains(cpu_root: &Path) -> Vec<std::path::PathBuf> {
    let numbered = |folder: &Path, prefix: &str| {
        let mut found: Vec<_> = std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let number: u32 = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
                Some((number, entry.path()))
            })
            .collect();
        found.sort();
        found.into_iter().map(|(_, path)| path)
    };
    let policies: Vec<_> = numbered(&cpu_root.join("cpufreq"), "policy").collect();
    if policies.is_empty() {
        numbered(cpu_root, "cpu").map(|cpu| cpu.join("cpufreq")).filter(|folder| folder.is_dir()).collect()
    } else {
        policies
    }
}

/// Percent of each processor's time, or of all together, spent busy since the call before; 0 at first.
#[cfg(not(target_os = "linux"))]
#[pyfunction]
pub fn cpu_usage(percpu: bool) -> Vec<f32> {
    use std::sync::{LazyLock, Mutex, PoisonError};

    static SYSTEM: LazyLock<Mutex<System>> = LazyLock::new(|| Mutex::new(System::new()));
    let mut system = SYSTEM.lock().unwrap_or_else(PoisonError::into_inner);
    system.refresh_cpu_usage();
    if percpu { system.cpus().iter().map(sysinfo::Cpu::cpu_usage).collect() } else { vec![system.global_cpu_usage()] }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs;

    use super::*;

    /// A folder of its own for a test, removed with the value.
    struct Folder(std::path::PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("plugincore-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).expect("a folder for the test");
            Self(path)
        }

        fn write(&self, file: &str, text: &str) {
            let path = self.0.join(file);
            fs::create_dir_all(path.parent().expect("a folder for the test")).expect("a folder for the test");
            fs::write(path, text).expect("a folder for the test");
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const CPUINFO: &str = "processor\t: 0\ncpu MHz\t\t: 2599.998\n\nprocessor\t: 1\ncpu MHz\t\t: 1200.5\n";

    #[test]
    fn without_domains_the_measured_frequency_stands_alone() {
        let folder = Folder::new("freq-none");
        assert_eq!(frequencies(&folder.0, CPUINFO), [(2599.998, 0.0, 0.0), (1200.5, 0.0, 0.0)]);
    }

    #[test]
    fn domains_are_in_numeric_order_with_their_limits_in_mhz() {
        let folder = Folder::new("freq-policies");
        for (policy, khz) in [(0, "800000\n"), (2, "900000\n"), (10, "1000000\n")] {
            folder.write(&format!("cpufreq/policy{policy}/scaling_cur_freq"), khz);
            folder.write(&format!("cpufreq/policy{policy}/scaling_min_freq"), "400000\n");
            folder.write(&format!("cpufreq/policy{policy}/scaling_max_freq"), "3000000\n");
        }
        let expected = [(800.0, 400.0, 3000.0), (900.0, 400.0, 3000.0), (1000.0, 400.0, 3000.0)];
        assert_eq!(frequencies(&folder.0, CPUINFO), expected);
    }

    #[test]
    fn an_offline_processor_is_all_zero() {
        let folder = Folder::new("freq-offline");
        folder.write("cpu0/cpufreq/scaling_max_freq", "3000000\n");
        assert_eq!(frequencies(&folder.0, ""), [(0.0, 0.0, 0.0)]);
    }

    #[test]
    fn a_counter_is_found_by_its_whole_name() {
        let stat = "cpu  1 2 3\nintr 4711 1 2 3\nctxt 42\nsoftirq 99 5 6\n";
        assert_eq!((counter(stat, "intr"), counter(stat, "ctxt"), counter(stat, "softirq")), (4711, 42, 99));
        assert_eq!(counter(stat, "ct"), 0);
    }
}

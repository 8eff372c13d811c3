//! Temperatures, in degrees Celsius, by the chip that measures them.
//!
//! Runs on any Python thread. Caveat: virtual machines and containers usually have none; the result is then empty, not
//! an error.

use std::collections::BTreeMap;

use pyo3::prelude::*;

/// A reading: label (may be empty), current, high and critical temperature.
type Reading = (String, f64, Option<f64>, Option<f64>);

/// Readings by chip, from the kernel's hardware monitors, else from its thermal zones.
#[pyfunction]
pub(crate) fn sensors_temperatures() -> BTreeMap<String, Vec<Reading>> {
    #[cfg(target_os = "linux")]
    {
        linux::temperatures(std::path::Path::new("/sys/class"))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let components = sysinfo::Components::new_with_refreshed_list();
        let readings = components.iter().filter_map(|component| {
            let (current, critical) = (component.temperature()?, component.critical().map(f64::from));
            Some((component.label().to_owned(), f64::from(current), None, critical))
        });
        // Without chips there is one group, under the name of the crate's own word for it.
        BTreeMap::from([("components".to_owned(), readings.collect::<Vec<_>>())])
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::{Path, PathBuf};

    use super::Reading;
    use crate::host::python::sysinfo::read_attribute;

    pub(super) fn temperatures(class: &Path) -> BTreeMap<String, Vec<Reading>> {
        let mut chips: BTreeMap<String, Vec<Reading>> = BTreeMap::new();
        let sensors = monitor_sensors(&class.join("hwmon"));
        let found = if sensors.is_empty() {
            entries(&class.join("thermal"), "thermal_zone").iter().filter_map(|zone| zone_reading(zone)).collect()
        } else {
            sensors.iter().filter_map(|(chip, sensor)| monitor_reading(chip, sensor)).collect::<Vec<_>>()
        };
        for (chip, reading) in found {
            chips.entry(chip).or_default().push(reading);
        }
        chips
    }

    /// Chip folder and sensor prefix (`temp1`) of every temperature; old drivers have them a folder deeper.
    fn monitor_sensors(root: &Path) -> BTreeSet<(PathBuf, String)> {
        let monitors = entries(root, "hwmon");
        let folders = monitors.iter().flat_map(|monitor| [monitor.clone(), monitor.join("device")]);
        let sensors = folders.flat_map(|folder| {
            entries(&folder, "temp").into_iter().filter_map(move |file| {
                let (sensor, _) = file.file_name()?.to_str()?.split_once('_')?;
                Some((folder.clone(), sensor.to_owned()))
            })
        });
        sensors.collect()
    }

    fn monitor_reading(chip: &Path, sensor: &str) -> Option<(String, Reading)> {
        let degrees = |what: &str| millidegrees(&chip.join(format!("{sensor}_{what}")));
        let label = read_attribute(chip.join(format!("{sensor}_label"))).unwrap_or_default();
        let name = read_attribute(chip.join("name"))?;
        Some((name, (label, degrees("input")?, degrees("max"), degrees("crit"))))
    }

    fn zone_reading(zone: &Path) -> Option<(String, Reading)> {
        let critical = entries(zone, "trip_point").into_iter().find_map(|file| {
            let point = file.to_str()?.strip_suffix("_type")?;
            let is_critical = read_attribute(&file).is_some_and(|kind| kind == "critical");
            is_critical.then(|| millidegrees(Path::new(&format!("{point}_temp"))))?
        });
        Some((read_attribute(zone.join("type"))?, (String::new(), millidegrees(&zone.join("temp"))?, None, critical)))
    }

    fn millidegrees(path: &Path) -> Option<f64> {
        Some(read_attribute(path)?.trim().parse::<f64>().ok()? / 1000.0)
    }

    /// What a folder holds whose name begins with `prefix`, by name; nothing when there is no folder.
    fn entries(folder: &Path, prefix: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut paths: Vec<_> = entries
            .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with(prefix)))
            .map(|entry| entry.path())
            .collect();
        paths.sort();
        paths
    }

    #[cfg(test)]
    mod tests {
        use std::fs;

        use super::*;

        fn class_with(name: &str, files: &[(&str, &str)]) -> PathBuf {
            let root = std::env::temp_dir().join(format!("plugincore-{name}-{}", std::process::id()));
            for (file, text) in files {
                let path = root.join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            root
        }

        #[test]
        fn a_monitor_is_grouped_by_chip_and_missing_limits_are_none() {
            let class = class_with(
                "hwmon",
                &[
                    ("hwmon/hwmon0/name", "coretemp\n"),
                    ("hwmon/hwmon0/temp1_input", "45000\n"),
                    ("hwmon/hwmon0/temp1_label", "Package id 0\n"),
                    ("hwmon/hwmon0/temp1_max", "80000\n"),
                    ("hwmon/hwmon0/temp1_crit", "100000\n"),
                    ("hwmon/hwmon0/temp2_input", "41500\n"),
                    ("hwmon/hwmon1/name", "broken\n"),
                    ("hwmon/hwmon1/temp1_input", "\n"),
                    ("thermal/thermal_zone0/type", "ignored\n"),
                    ("thermal/thermal_zone0/temp", "1000\n"),
                ],
            );
            let readings =
                vec![("Package id 0".into(), 45.0, Some(80.0), Some(100.0)), (String::new(), 41.5, None, None)];
            assert_eq!(temperatures(&class), BTreeMap::from([("coretemp".into(), readings)]));
            fs::remove_dir_all(class).unwrap();
        }

        #[test]
        fn without_monitors_the_thermal_zones_are_read() {
            let class = class_with(
                "thermal",
                &[
                    ("thermal/thermal_zone0/type", "cpu-thermal\n"),
                    ("thermal/thermal_zone0/temp", "51540\n"),
                    ("thermal/thermal_zone0/trip_point_0_type", "passive\n"),
                    ("thermal/thermal_zone0/trip_point_0_temp", "70000\n"),
                    ("thermal/thermal_zone0/trip_point_1_type", "critical\n"),
                    ("thermal/thermal_zone0/trip_point_1_temp", "110000\n"),
                ],
            );
            let readings = vec![(String::new(), 51.54, None, Some(110.0))];
            assert_eq!(temperatures(&class), BTreeMap::from([("cpu-thermal".into(), readings)]));
            fs::remove_dir_all(class).unwrap();
        }
    }
}

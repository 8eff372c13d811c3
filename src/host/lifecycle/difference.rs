//! What a reload of everything would change, by the ini file as it is now.
//!
//! Runs on the Python thread, since Python reads the file. Promise: nothing changes by it. Caveat: whether plugins can
//! be loaded with it is not tried.

use pyo3::prelude::*;

use super::environment::environment;
use super::host::Host;
use crate::edge::config::difference::{Change, Effect};
use crate::edge::control::{DifferenceReport, ReloadTarget};
use crate::edge::http::tls::Tls;
use crate::host::plugins::discover::stem;
use crate::host::python::config;

impl Host {
    /// Compares the ini file with what the server goes by.
    pub(super) fn difference(&self, py: Python<'_>) -> DifferenceReport {
        let launch = &self.launch;
        let (reading, _) = config::load(py, &launch.folder, launch.ini.as_deref(), &launch.level, &launch.replaced);
        let reading = reading.map_err(|errors| errors.0.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let reason = |error: &dyn std::fmt::Display| vec![error.to_string()];
        if let Some(tls) = &reading.settings.tls {
            Tls::load(&launch.folder, tls).map_err(|error| reason(&error))?;
        }
        let serving = self.generation();
        let (settings, digests) = &self.started;
        let restart = reading.settings.needing_restart(settings);
        let of_start = digests.changes(&reading.digests, &restart).into_iter();
        let changes = of_start.filter(|change| change.effect == Effect::Restart);
        let since = serving.digests.changes(&reading.digests, &restart).into_iter();
        let changes = since.filter(|change| change.effect != Effect::Restart).chain(changes);
        let environment = environment(py, launch, &reading).map_err(|error| reason(&error))?;
        let registry = self.registry.serving();
        let mut effects = Vec::new();
        for Change { section, key, effect } in changes {
            let effect = match effect {
                Effect::Live => "live".to_owned(),
                Effect::Restart => "restart".to_owned(),
                Effect::AllFiles => "new generation of all plugins".to_owned(),
                Effect::File(name) => {
                    let of_file = registry.plugins().iter().filter(|one| stem(&one.file).eq_ignore_ascii_case(&name));
                    let of_file: Vec<_> = of_file.collect();
                    // It may have been reloaded alone, with these very parameters.
                    let is_current = of_file
                        .first()
                        .is_some_and(|one| self.is_current(py, &environment, &one.file, &ReloadTarget::All));
                    if is_current {
                        continue;
                    }
                    let ids = of_file.iter().map(|plugin| &*plugin.id).collect::<Vec<_>>().join(", ");
                    format!("new generation of {}", if ids.is_empty() { &name } else { &ids })
                }
            };
            effects.push((section, key, effect));
        }
        Ok(effects)
    }
}

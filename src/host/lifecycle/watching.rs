//! Has the files that serve be watched, if the command line or the ini file says so.
//!
//! Runs on the Python thread; the watcher itself runs on its own. Promise: what is watched is what the last reload went
//! by. Caveat: without a thread for it the server serves on, with a line in the log.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pyo3::prelude::*;
use tokio::sync::oneshot;

use super::host::Host;
use super::mailbox::{Command, CommandSender};
use crate::edge::config::fields::WatchMode;
use crate::edge::control::events::{Event, Events};
use crate::edge::control::{ReloadReport, ReloadTarget};
use crate::edge::watch::Watch;
use crate::edge::watch::list::{Place, Reloads, WatchList};
use crate::host::plugins::parameters::parameter_file;

/// The way of the watcher's reloads to the Python thread.
struct WatcherReloads {
    commands: CommandSender,
    events: Arc<Events>,
}

impl Reloads for WatcherReloads {
    fn reload(&self, target: ReloadTarget, files: &[PathBuf]) -> oneshot::Receiver<ReloadReport> {
        if !files.is_empty() {
            self.events.publish(Event::FilesChanged(files));
        }
        let (reply, report) = oneshot::channel();
        self.commands.send(Command::Reload(target, reply));
        report
    }
}

impl Host {
    /// Watches what serves now, or stops to watch.
    pub(super) fn keep_watch(&self) {
        if self.is_stopping() {
            return;
        }
        let Some(list) = self.watch_list() else {
            if self.watch.take().is_some() {
                tracing::info!("Files are not watched any longer");
            }
            return;
        };
        let reloads =
            || WatcherReloads { commands: self.handle.commands.clone(), events: Arc::clone(&self.handle.state.events) };
        let watch = match self.watch.take() {
            Some(mut watch) => {
                watch.change(list);
                watch
            }
            None => match Watch::start(list, reloads()) {
                Ok(watch) => watch,
                Err(error) => return tracing::error!("the plugin files are not watched: {error}"),
            },
        };
        drop(self.watch.replace(Some(watch)));
    }

    fn watch_list(&self) -> Option<WatchList> {
        let generation = self.generation();
        let mode = self.launch.watch.unwrap_or(generation.settings.server.watch);
        if mode == WatchMode::Off {
            return None;
        }
        let environment = &generation.environment;
        let place = |shown: &Path| Place { on_disk: environment.locate(shown), shown: shown.to_path_buf() };
        let stems = environment.parameter_lines.iter().map(|line| &line.stem);
        // What cannot be read has been reported by the load.
        let files = Python::attach(|py| {
            stems.filter_map(|stem| parameter_file(py, environment, stem).ok()?).collect::<Vec<_>>()
        });
        Some(WatchList {
            folder: place(&environment.folder),
            ini: self.launch.ini.as_deref().map(place),
            parameters: files.iter().map(|file| place(file)).collect(),
            mode,
        })
    }
}

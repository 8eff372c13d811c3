//! Leaves a plugin out that has ended the process again and again.
//!
//! Runs on the Python thread. Promise: what is counted are ends of the process in which it was in a plugin's code that
//! it had just entered (see [`running`]), without a stop or a restart having begun; three of them in a row, with the
//! file unchanged, and the file is not loaded until it changes or is enabled. Caveat: the end of a process is noticed
//! by the next one, which has to be started with the same ini file.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::edge::config::launch::LaunchOptions;
use crate::edge::config::places::{self, MarkerPlace};
use crate::edge::config::settings::ServerSettings;
use crate::edge::control::kept::{self, KeptState, MOST_CRASHES};
use crate::host::bridge::running::{self, Entered, Remains};
use crate::host::plugins::loaded_plugin::LoadedPlugin;

/// What is noted of plugin files, by their names in the folder of the plugins.
#[derive(Default)]
pub(super) struct CrashGuard {
    files: Mutex<HashMap<String, Noted>>,
}

/// What is noted of a file.
struct Noted {
    number: u32,
    /// A digest of what was in it when it was loaded last.
    content: String,
}

/// A file whose code was running, as it was noted.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    key: String,
    content: String,
    ids: Vec<String>,
}

impl CrashGuard {
    /// Looks at how earlier processes have ended, and begins to note what runs in this one.
    pub(super) fn begin(launch: &LaunchOptions, server: &ServerSettings, kept: &KeptState) -> Self {
        let places = places::markers(&server.state_dir, launch.ini.as_deref(), &launch.folder);
        match places.first().filter(|_| server.crash_loop_guard) {
            None => kept.forget_crashes(),
            Some(place) => {
                take_stock(&places, kept);
                if let Err(error) = running::open(&place.of_process(std::process::id())) {
                    tracing::debug!("{}: what runs cannot be noted: {error}", place.folder.display());
                }
            }
        }
        Self::default()
    }

    /// Notes that `file`, which is found in `folder`, is being loaded, until the result is dropped.
    pub(super) fn loading(&self, folder: &Path, file: &Path) -> Entered {
        let key = kept::key(file);
        let content = if running::is_open() { content(&folder.join(&key)) } else { String::new() };
        running::enter(self.note(key, Some(content), &[]))
    }

    /// Has the calls of these plugins noted from now on.
    pub(super) fn note_loaded(&self, plugins: &[Arc<LoadedPlugin>]) {
        for plugin in plugins {
            let ids: Vec<_> = plugins.iter().filter(|one| one.file == plugin.file).map(|one| &*one.id).collect();
            plugin.source.number.store(self.note(kept::key(&plugin.file), None, &ids), Ordering::Relaxed);
        }
    }

    /// Writes down what is known of a file now; returns its number.
    fn note(&self, key: String, content: Option<String>, ids: &[&str]) -> u32 {
        // Values are only added under the lock, so a panic elsewhere leaves them whole.
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let next = u32::try_from(files.len()).unwrap_or(u32::MAX).saturating_add(1);
        let file = files.entry(key.clone()).or_insert_with(|| Noted { number: next, content: String::new() });
        if let Some(content) = content {
            file.content = content;
        }
        let line = json!({ "number": file.number, "file": key, "content": file.content, "ids": ids });
        running::append(&line.to_string());
        file.number
    }
}

/// Counts what earlier processes have left behind.
fn take_stock(places: &[MarkerPlace], kept: &KeptState) {
    let files: Vec<_> = places.iter().flat_map(MarkerPlace::all).collect();
    if files.is_empty() {
        // The last process has ended in order, so the row is broken.
        kept.forget_lone_crashes();
    }
    let remains: Vec<_> = files.iter().filter_map(|path| running::take_remains(path)).collect();
    for Named { key, content, ids } in remains.iter().filter_map(named) {
        let count = kept.note_crash(&key, ids, &content);
        tracing::warn!("The server's last run ended while code of {key} was running ({count} in a row)");
    }
}

/// The file whose code was running.
fn named(remains: &Remains) -> Option<Named> {
    let mut lines = remains.lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let line = lines.rfind(|line| line["number"] == remains.number && remains.number != 0)?;
    let ids = line["ids"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
    let text = |key: &str| line[key].as_str().map(str::to_owned);
    Some(Named { key: text("file")?, content: text("content").unwrap_or_default(), ids: ids.collect() })
}

/// A digest of a file's content; empty if it cannot be read.
pub(super) fn content(file: &Path) -> String {
    let Ok(bytes) = std::fs::read(file) else { return String::new() };
    Sha256::digest(bytes).iter().fold(String::new(), |digits, byte| format!("{digits}{byte:02x}"))
}

/// What is said of a file that is left out.
pub(super) fn reason() -> String {
    format!(
        "the last {MOST_CRASHES} runs of the server ended while its code was running; change the file, or enable it by \
         `plugincore ctl enable`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_a_number_names_the_file_and_its_ids() {
        let line = |number: u32, file: &str, content: &str, ids: &[&str]| {
            json!({ "number": number, "file": file, "content": content, "ids": ids }).to_string()
        };
        let lines = [
            line(1, "a.py", "x", &[]),
            line(2, "b.py", "y", &[]),
            line(2, "b.py", "z", &["b", "c"]),
            "{broken".to_owned(),
        ];
        let lines = lines.to_vec();
        let of = |number| named(&Remains { number, lines: lines.clone() });
        assert_eq!(Some(Named { key: "b.py".into(), content: "z".into(), ids: vec!["b".into(), "c".into()] }), of(2));
        assert_eq!(Some(Named { key: "a.py".into(), content: "x".into(), ids: Vec::new() }), of(1));
        assert_eq!((None, None), (of(0), of(3)));
    }
}

//! The folder of static files that one reading of the ini file names, and warnings about it.
//!
//! Made on the Python thread, at the start and at a reload. Promise: an unusable folder never stops the server; it is
//! logged with its place in the file. Caveat: it is checked once for each reading; when the folder vanishes later, its
//! requests are answered with 404 and no warning.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use crate::edge::config::launch::LaunchOptions;
use crate::edge::config::settings::tls::TlsSettings;
use crate::edge::config::settings::{Settings, StaticFilesSettings};
use crate::edge::files::static_files::StaticFiles;
use crate::edge::observe::log_file::LogFile;
use crate::edge::routing::RouteTable;

/// The folder of static files, and where it is served.
#[derive(Clone)]
pub(crate) struct StaticMount {
    settings: StaticFilesSettings,
    /// The folder.
    pub files: Arc<StaticFiles>,
}

impl StaticMount {
    /// The folder that `all` settings name, with paths relative to the start of `launch`; `None` without one.
    pub(crate) fn new(all: &Settings, launch: &LaunchOptions) -> Option<Self> {
        let settings = all.static_files.clone()?;
        let start = &launch.folder;
        if RouteTable::default().serve_static_files(&settings.route).is_err() {
            let message = format!("is not served, since requests for /{} are not for files", settings.route);
            tracing::warn!("{}", settings.warning(message, "write another request path before the colon"));
            return None;
        }
        let log = settings.common_log.as_ref().and_then(|file| {
            let opened = LogFile::open(&start.join(file));
            opened.inspect_err(|error| tracing::error!("[file_server] common_log: {error}")).ok()
        });
        let documents = StaticFiles::new(start.join(&settings.folder), &settings.index, log);
        if let Err(error) = documents.check() {
            let message = format!("{} cannot be read: {error}", documents.folder().display());
            tracing::warn!("{}", settings.warning(message, "create the folder; requests are 404 until it is there"));
        }
        for (what, secret) in exposed_secrets(all, launch, documents.folder()) {
            let message = format!("everybody can read {what} there, which is {}", secret.display());
            tracing::warn!("{}", settings.warning(message, "name a folder that holds nothing but documents"));
        }
        Some(Self { settings, files: Arc::new(documents) })
    }

    /// The request path, without slashes at its ends.
    pub(crate) fn route(&self) -> &str {
        &self.settings.route
    }

    /// Warns if the plugin `id` of `file` answers in place of the static files.
    pub(crate) fn warn_shadowed(&self, id: &str, file: &Path) {
        if id == self.route() {
            let message =
                format!("the plugin in {} has the id {id:?} and answers instead of the server", file.display());
            tracing::warn!("{}", self.settings.warning(message, "remove the plugin to have the server do it"));
        }
    }
}

/// Files and folders inside of `documents` that are hardly meant to be public.
fn exposed_secrets<'a>(
    settings: &'a Settings,
    launch: &'a LaunchOptions,
    documents: &Path,
) -> Vec<(&'static str, &'a Path)> {
    let Ok(documents) = documents.canonicalize() else { return Vec::new() };
    let keys = settings.tls.iter().flat_map(TlsSettings::pairs).map(|pair| ("the private key", &*pair.keyfile.path));
    let ini = launch.ini.as_deref().map(|ini| ("the ini file", ini));
    let plugins = ("the plugins' folder", settings.paths.plugins.as_path());
    let is_inside = |path: &Path| {
        launch.folder.join(path).canonicalize().is_ok_and(|path| {
            path.strip_prefix(&documents)
                .is_ok_and(|inside| !inside.iter().any(|part| part.as_bytes().starts_with(b".")))
        })
    };
    ini.into_iter().chain([plugins]).chain(keys).filter(|(_, path)| is_inside(path)).collect()
}

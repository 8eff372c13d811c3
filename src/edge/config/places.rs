//! Where the server listens for `plugincore ctl`, which has to find it by the same ini file, and where it keeps state.
//!
//! Called at the start and by the command line; looks at the file system. Promise: a folder that the server chooses by
//! itself belongs to its user alone or was made for it by the service manager. Caveat: the name of the socket is made
//! from the path of the ini file as it is written, symbolic links included, so that a deployment which flips a link
//! keeps it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};

/// A path of the ini file which the server chooses by itself if it is not set, and which can be switched off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum PlaceSetting {
    /// Not set.
    #[default]
    Default,
    /// `none`.
    Off,
    /// The path.
    At(PathBuf),
}

/// What decides where the server puts its socket.
#[derive(Debug)]
pub(crate) struct Places<'a> {
    /// The setting.
    pub setting: &'a PlaceSetting,
    /// `[paths] pidfile`.
    pub pidfile: Option<&'a Path>,
    /// The ini file, if there is one.
    pub ini: Option<&'a Path>,
    /// The folder in which the server is started, where relative paths begin.
    pub folder: &'a Path,
}

/// What the ini file says about the place.
enum Fixed {
    /// There is to be no socket.
    None,
    /// It is there.
    At(PathBuf),
    /// Nothing.
    Free,
}

/// A variable of the environment, unless it is empty.
pub(crate) fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

impl Places<'_> {
    /// Where the server listens, and whether the ini file has chosen the place itself. `None` if that is switched off,
    /// or if there is no safe place for it.
    ///
    /// Without the setting it is beside the pid file, else in the folder that the service manager made for the service,
    /// else in that of the user's session, else in a folder of this user in `/tmp`.
    pub(crate) fn control_socket(&self) -> Option<(PathBuf, bool)> {
        match self.fixed() {
            Fixed::None => return None,
            Fixed::At(path) => return Some((path, *self.setting != PlaceSetting::Default)),
            Fixed::Free => {}
        }
        let folder = service_folder().or_else(session_folder).or_else(|| temporary_folder(true))?;
        Some((folder.join(self.name()), false))
    }

    /// Where a server that was started elsewhere may listen, the likeliest place first.
    pub(crate) fn candidates(&self) -> Vec<PathBuf> {
        match self.fixed() {
            Fixed::None => return Vec::new(),
            Fixed::At(path) => return vec![path],
            Fixed::Free => {}
        }
        let name = self.name();
        let folders = service_folder().into_iter().chain(session_folder()).chain(temporary_folder(false));
        folders.chain(folders_of_services()).map(|folder| folder.join(&name)).collect()
    }

    /// The place that the ini file determines.
    fn fixed(&self) -> Fixed {
        match (self.setting, self.pidfile) {
            (PlaceSetting::Off, _) => Fixed::None,
            (PlaceSetting::At(path), _) => Fixed::At(self.folder.join(path)),
            (PlaceSetting::Default, Some(pidfile)) => Fixed::At(self.folder.join(pidfile).with_extension("sock")),
            (PlaceSetting::Default, None) => Fixed::Free,
        }
    }

    /// The name of the socket, which no other ini file gives.
    fn name(&self) -> String {
        let path = self.folder.join(self.ini.unwrap_or(Path::new("")));
        let has_parents = path.components().any(|component| component == Component::ParentDir);
        let path = if has_parents { path.canonicalize().unwrap_or(path) } else { path };
        // Without `.` and repeated slashes.
        let path: PathBuf = path.components().collect();
        let hash = Sha256::digest(path.as_os_str().as_bytes());
        let digits = hash.iter().take(6).fold(String::new(), |digits, byte| format!("{digits}{byte:02x}"));
        format!("plugincore-{digits}.sock")
    }
}

/// The file in which the server keeps what it has to know after a restart; `None` if `setting` says so.
///
/// Without the setting it is in the folder that the service manager made for that, else in `.plugincore` beside the ini
/// file, or in the folder of the server without one. Each ini file has a file of its own.
pub(crate) fn state_file(setting: &PlaceSetting, ini: Option<&Path>, folder: &Path) -> Option<PathBuf> {
    let home = folder.join(ini.and_then(Path::parent).unwrap_or(Path::new("")));
    let kept_in = match setting {
        PlaceSetting::Off => return None,
        PlaceSetting::At(path) => folder.join(path),
        PlaceSetting::Default => folder_of_service("STATE_DIRECTORY").unwrap_or_else(|| home.join(".plugincore")),
    };
    let stem = ini.and_then(Path::file_stem).map_or("plugins".into(), OsStr::to_string_lossy);
    Some(kept_in.join(format!("{stem}.state.json")))
}

/// Where each process notes what it is running; see [`markers`].
#[derive(Debug)]
pub(crate) struct MarkerPlace {
    /// The folder.
    pub folder: PathBuf,
    /// How the names of the files begin.
    prefix: String,
}

impl MarkerPlace {
    /// The file of the process of this number.
    pub(crate) fn of_process(&self, number: u32) -> PathBuf {
        self.folder.join(format!("{}{number}.{RUNNING}", self.prefix))
    }

    /// The files of all processes.
    pub(crate) fn all(&self) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return Vec::new() };
        let is_one = |path: &PathBuf| {
            let name = path.file_name().map_or_else(Default::default, OsStr::to_string_lossy);
            let number = name.strip_prefix(&self.prefix).and_then(|rest| rest.strip_suffix(RUNNING));
            number.and_then(|number| number.strip_suffix('.')).is_some_and(|number| number.parse::<u32>().is_ok())
        };
        let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(is_one).collect();
        files.sort();
        files
    }
}

/// The ending of these files.
const RUNNING: &str = "running";

/// Where the processes of this ini file note what they are running: the first is the place for a new one, the others
/// are those where earlier ones may have done it. None if no state is kept.
///
/// It is beside the state if that has a folder already, else in the folder of the user's session: most servers never
/// need a folder for their state.
pub(crate) fn markers(setting: &PlaceSetting, ini: Option<&Path>, folder: &Path) -> Vec<MarkerPlace> {
    let Some(state) = state_file(setting, ini, folder) else { return Vec::new() };
    let kept_in = state.parent().filter(|folder| folder.is_dir());
    let beside_state = kept_in.zip(state.file_name()).map(|(folder, name)| MarkerPlace {
        folder: folder.to_path_buf(),
        prefix: name.to_string_lossy().replace("state.json", ""),
    });
    let places = Places { setting: &PlaceSetting::Default, pidfile: None, ini, folder };
    let of_user = session_folder().or_else(|| temporary_folder(true));
    let of_user = of_user.map(|folder| MarkerPlace { folder, prefix: places.name().replace("sock", "") });
    beside_state.into_iter().chain(of_user).collect()
}

/// The folder that the service manager made for this service (`RuntimeDirectory=`).
fn service_folder() -> Option<PathBuf> {
    folder_of_service("RUNTIME_DIRECTORY")
}

/// The first of the folders that the service manager names in a variable.
fn folder_of_service(name: &str) -> Option<PathBuf> {
    let folders = variable(name)?;
    std::env::split_paths(&folders).next().filter(|folder| folder.is_absolute() && folder.is_dir())
}

/// The folder of the user's session.
fn session_folder() -> Option<PathBuf> {
    variable("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|folder| folder.is_absolute() && folder.is_dir())
}

/// The folder of this user in `/tmp`, which is made if `create`. If it is there, nobody else may have made it, or be
/// able to write there.
fn temporary_folder(create: bool) -> Option<PathBuf> {
    let user = rustix::process::geteuid().as_raw();
    let folder = PathBuf::from(format!("/tmp/plugincore-{user}"));
    if create {
        // It may be there already.
        let _ = std::fs::DirBuilder::new().mode(0o700).create(&folder);
    }
    let Ok(metadata) = folder.symlink_metadata() else { return (!create).then_some(folder) };
    let is_private = metadata.permissions().mode().trailing_zeros() >= 6;
    let is_own = metadata.is_dir() && metadata.uid() == user && is_private;
    is_own.then_some(folder)
}

/// The folders that service managers make for the units that come with plugincore.
fn folders_of_services() -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir("/run") else { return Vec::new() };
    let is_ours = |name: &OsString| name.as_bytes().starts_with(b"plugincore");
    let mut folders: Vec<_> =
        entries.flatten().filter(|entry| is_ours(&entry.file_name())).map(|entry| entry.path()).collect();
    folders.sort();
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places<'a>(setting: &'a PlaceSetting, pidfile: Option<&'a str>, ini: Option<&'a str>) -> Places<'a> {
        Places { setting, pidfile: pidfile.map(Path::new), ini: ini.map(Path::new), folder: Path::new("/srv/app") }
    }

    #[test]
    fn the_socket_is_where_it_is_set_else_beside_the_pid_file() {
        let (default, off) = (PlaceSetting::Default, PlaceSetting::Off);
        let at = PlaceSetting::At("run/x".into());
        assert_eq!(Some(("/srv/app/run/x".into(), true)), places(&at, Some("a.pid"), None).control_socket());
        assert_eq!(None, places(&off, Some("a.pid"), None).control_socket());
        assert_eq!(Some(("/srv/app/a.sock".into(), false)), places(&default, Some("a.pid"), None).control_socket());
        assert_eq!(Some(("/run/a.sock".into(), false)), places(&default, Some("/run/a"), None).control_socket());
        assert!(places(&off, None, None).candidates().is_empty());
    }

    #[test]
    fn state_is_kept_beside_the_ini_file_unless_it_is_set() {
        let file = |setting, ini: Option<&str>| state_file(&setting, ini.map(Path::new), Path::new("/srv/app"));
        assert_eq!(Some("/srv/app/.plugincore/x.state.json".into()), file(PlaceSetting::Default, Some("x.ini")));
        assert_eq!(Some("/etc/.plugincore/x.state.json".into()), file(PlaceSetting::Default, Some("/etc/x.ini")));
        assert_eq!(Some("/srv/app/.plugincore/plugins.state.json".into()), file(PlaceSetting::Default, None));
        assert_eq!(Some("/srv/app/kept/x.state.json".into()), file(PlaceSetting::At("kept".into()), Some("x.ini")));
        assert_eq!(None, file(PlaceSetting::Off, Some("x.ini")));
    }

    #[test]
    fn each_ini_file_has_a_name_of_its_own_however_it_is_written() {
        let setting = PlaceSetting::Default;
        let name = |ini| places(&setting, None, ini).name();
        assert_eq!(name(Some("x.ini")), name(Some("/srv/app/x.ini")));
        assert_eq!(name(Some("x.ini")), name(Some(".//x.ini")));
        assert_ne!(name(Some("x.ini")), name(Some("y.ini")));
        assert_ne!(name(Some("x.ini")), name(None));
    }
}

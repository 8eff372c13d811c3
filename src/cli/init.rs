//! `plugincore init`: a project with everything that it takes to serve a first plugin, to test it and to run it as a
//! service.
//!
//! Runs on the main thread of a process of its own. Promise: `plugincore serve` in the folder serves at once; nothing that
//! exists is overwritten. Exit code 1 if it cannot be written. Caveat: the unit names the program that has written it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;
use nix::unistd::{Group, User, getegid, geteuid};

use super::project::{Features, INI, NewFiles, parameters, plugin, with_line};
use super::terminal::{FAILED, print, report};

/// The options of `init`.
#[derive(Debug, Args)]
pub(super) struct InitArguments {
    /// The folder of the project, which is created if it is not there
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// The unit that comes with the package.
const UNIT: &str = include_str!("../../packaging/systemd/plugincore.service");

/// The name of the first plugin.
const FIRST: &str = "hello";

/// What is not to be versioned.
const IGNORED: &str = "__pycache__/\n.plugincore/\n.venv/\n";

/// Does what `arguments` say in `folder`; `program` starts plugincore. Returns the exit code.
pub(super) fn run(arguments: &InitArguments, folder: &Path, program: &[OsString]) -> u8 {
    let home = folder.join(&arguments.folder);
    let home = std::path::absolute(&home).unwrap_or(home);
    let named = home.file_name().map_or_else(|| "plugincore".to_owned(), |name| name.to_string_lossy().into_owned());
    let features = Features::default();
    let [source, test] = plugin(FIRST, features, &Path::new("plugins").join(format!("{FIRST}.py")));
    let ini = with_line(INI, "plugin_parms", FIRST, &parameters(FIRST, features)).unwrap_or_else(|| INI.to_owned());
    let mut files = NewFiles::default();
    for (file, text) in [
        ("plugincore.ini".to_owned(), ini),
        (format!("plugins/{FIRST}.py"), source),
        (format!("tests/test_{FIRST}.py"), test),
        (format!("{}.service", service_name(&named)), unit(&home, &service_name(&named), program)),
        (".gitignore".to_owned(), IGNORED.to_owned()),
    ] {
        files.add(arguments.folder.join(file), text);
    }
    match files.write(folder) {
        Ok(written) => {
            for file in written {
                print(&format!("created {}", file.display()));
            }
            let there = arguments.folder.as_path();
            let first = if there == Path::new(".") { String::new() } else { format!("cd {} && ", there.display()) };
            print(&format!("start it: {first}plugincore serve --watch"));
            print(&format!("then ask it: curl 'http://127.0.0.1:9192/{FIRST}?name=Ada'"));
            0
        }
        Err(problem) => report(&problem, FAILED),
    }
}

/// The name of the service: that of the folder, as far as a name of a unit may have it.
fn service_name(folder: &str) -> String {
    let name: String = folder.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    match name.trim_matches('-') {
        "" => "plugincore-project".to_owned(),
        name => format!("plugincore-{name}"),
    }
}

/// The unit for the project in `home`.
fn unit(home: &Path, name: &str, program: &[OsString]) -> String {
    let word = |word: &OsString| {
        let text = word.to_string_lossy().replace('%', "%%").replace('$', "$$");
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+%$".contains(c);
        if text.chars().all(is_plain) { text } else { format!("{text:?}") }
    };
    // By its whole path, also if it was called by a relative one.
    let executable = program.first().map(|program| std::path::absolute(program).unwrap_or(program.into()));
    let rest = program.iter().skip(1).cloned();
    let command: Vec<_> =
        executable.into_iter().map(PathBuf::into_os_string).chain(rest).map(|one| word(&one)).collect();
    let home = home.display().to_string().replace('%', "%%");
    let user = User::from_uid(geteuid()).ok().flatten().filter(|user| !user.uid.is_root());
    let group = Group::from_gid(getegid()).ok().flatten();
    let account = user.zip(group).map(|(user, group)| (user.name, group.name));
    let (user, group) = account.unwrap_or_else(|| ("plugincore".to_owned(), "plugincore".to_owned()));
    let lines = UNIT.lines().skip_while(|line| !line.starts_with('[')).map(|line| {
        match line.split_once('=').map(|(key, _)| key) {
            Some("Description") => format!("Description=plugincore in {home}"),
            Some("User") => format!("User={user}"),
            Some("Group") => format!("Group={group}"),
            Some("WorkingDirectory") => format!("WorkingDirectory={home}"),
            Some("ExecStart") => format!("ExecStart={} serve -i plugincore.ini", command.join(" ")),
            Some(key @ ("StateDirectory" | "RuntimeDirectory" | "LogsDirectory")) => format!("{key}={name}"),
            // The project may be in a home directory.
            Some("ProtectHome") => "ProtectHome=read-only".to_owned(),
            _ => line.replace("/var/lib/plugincore", &format!("/var/lib/{name}")),
        }
    });
    let head = format!(
        "# The project in {home} as a service of systemd. To install it:\n\
         # cp {name}.service /etc/systemd/system && systemctl daemon-reload && systemctl enable --now {name}\n"
    );
    lines.fold(head, |unit, line| unit + &line + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_names_the_project_and_the_program_and_keeps_the_rest() {
        let unit = unit(Path::new("/srv/my shop"), "plugincore-my-shop", &["/a b/plugincore".into(), "x".into()]);
        assert!(unit.contains("\nWorkingDirectory=/srv/my shop\n"));
        assert!(unit.contains("\nExecStart=\"/a b/plugincore\" x serve -i plugincore.ini\n"));
        assert!(unit.contains("\nStateDirectory=plugincore-my-shop\n"));
        assert!(!unit.contains("/srv/plugincore") && !unit.contains("/var/lib/plugincore,"));
        assert_eq!(
            UNIT.lines().filter(|line| line.contains('=')).count(),
            unit.lines().filter(|line| line.contains('=')).count()
        );
    }

    #[test]
    fn a_service_has_a_name_that_systemd_takes() {
        assert_eq!("plugincore-my-shop", service_name("my shop"));
        assert_eq!("plugincore-project", service_name("ä"));
    }
}

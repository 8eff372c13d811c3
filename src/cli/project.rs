//! The files that `plugincore new` and `plugincore init` write.
//!
//! Promise: a file that exists is never overwritten: if one does, nothing is written. The templates are plugins and tests
//! in which blocks between `#: word` and `#: end` are left out unless that word was asked for. Caveat: a line is added
//! to an ini file as text, so that its comments stay as they are.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

/// What a plugin is to have.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option that is given or not")]
pub(super) struct Features {
    /// It asks for a key.
    pub auth: bool,
    /// A task runs beside its requests.
    pub background: bool,
    /// It answers with a WebSocket.
    pub websocket: bool,
    /// It has hints for what it takes and returns.
    pub typed: bool,
}

const PLAIN: [&str; 2] = [include_str!("templates/plain.py"), include_str!("templates/test_plain.py")];
const TYPED: [&str; 2] = [include_str!("templates/typed.py"), include_str!("templates/test_typed.py")];
const WEBSOCKET: [&str; 2] = [include_str!("templates/websocket.py"), include_str!("templates/test_websocket.py")];

/// The ini file of a new project.
pub(super) const INI: &str = include_str!("templates/plugincore.ini");

/// Where the test of a template finds its plugin.
const FILE: &str = "Path(__file__).parent.parent / \"plugins\" / \"template.py\"";

/// A name that a plugin's file, class and path can have.
///
/// # Errors
/// Why it cannot, with the remedy.
pub(super) fn plugin_name(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let is_name = text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(is_plain);
    if !is_name {
        return Err("a name is of a-z, 0-9 and _, and begins with a letter".to_owned());
    }
    if ["plugins", "reload", "all"].contains(&text) {
        return Err("this path belongs to the server; choose another name".to_owned());
    }
    if ["none", "true", "false", "baseplugin"].contains(&text) || class_name(text).is_empty() {
        return Err("no class of a plugin can be called so; choose another name".to_owned());
    }
    Ok(text.to_owned())
}

/// `MyLamp` for `my_lamp`.
fn class_name(name: &str) -> String {
    let words = name.split('_').filter(|word| !word.is_empty());
    words.map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}

/// The parameters of a new plugin, as they stand in the ini file.
pub(super) fn parameters(name: &str, features: Features) -> String {
    // The path is the name of the class in lower case unless the parameters name it.
    let path = if name.contains('_') { format!("&route_path={name}") } else { String::new() };
    let auth = if features.auth { "&auth_type=key" } else { "" };
    format!("greeting=Hello{path}{auth}")
}

/// The source of a plugin and of its test, which finds the plugin at `file`, relative to the folder that the folder of
/// the test is in.
pub(super) fn plugin(name: &str, features: Features, file: &Path) -> [String; 2] {
    let templates = match features {
        Features { websocket: true, .. } => WEBSOCKET,
        Features { typed: true, .. } => TYPED,
        _ => PLAIN,
    };
    templates.map(|template| {
        let text = chosen(template, features);
        let parts = file.iter().map(|part| format!("{:?}", part.to_string_lossy()));
        let place = std::iter::once("Path(__file__).parent.parent".to_owned()).chain(parts).collect::<Vec<_>>();
        let place =
            if file.is_absolute() { format!("Path({:?})", file.display().to_string()) } else { place.join(" / ") };
        text.replace(FILE, &place).replace("Template", &class_name(name)).replace("template", name)
    })
}

/// A template without the blocks that are not asked for, and without the lines that mark them.
fn chosen(template: &str, features: Features) -> String {
    // Whether the blocks that a line is in are wanted.
    let mut blocks = Vec::new();
    let mut text = String::new();
    for line in template.split_inclusive('\n') {
        match line.trim().strip_prefix("#: ") {
            Some("auth") => blocks.push(features.auth),
            Some("open") => blocks.push(!features.auth),
            Some("background") => blocks.push(features.background),
            Some(_) => drop(blocks.pop()),
            None if blocks.iter().all(|is_wanted| *is_wanted) => text.push_str(line),
            None => {}
        }
    }
    // What was left out at the end leaves its blank lines behind.
    text.trim_end().to_owned() + "\n"
}

/// The text of an ini file with the line `key = value` in `section`; `None` if the section has that key already.
pub(super) fn with_line(ini: &str, section: &str, key: &str, value: &str) -> Option<String> {
    let end = if ini.contains("\r\n") { "\r\n" } else { "\n" };
    let mut lines: Vec<&str> = ini.split_inclusive('\n').collect();
    let line = format!("{key} = {value}{end}");
    let header = |line: &str| {
        line.trim_end().strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(name, _)| name.to_owned())
    };
    let Some(at) = lines.iter().position(|line| header(line).is_some_and(|name| name.eq_ignore_ascii_case(section)))
    else {
        let gap = match lines.last() {
            None => "",
            Some(last) if last.ends_with('\n') => end,
            Some(_) => &end.repeat(2),
        };
        return Some(format!("{ini}{gap}[{section}]{end}{line}"));
    };
    let length = lines[at + 1..].iter().position(|line| header(line).is_some()).unwrap_or(lines.len() - at - 1);
    let own = &lines[at + 1..at + 1 + length];
    let is_key = |line: &str| {
        let name = line.split(['=', ':']).next().unwrap_or_default();
        !line.starts_with(char::is_whitespace) && name.trim().eq_ignore_ascii_case(key)
    };
    if own.iter().any(|line| is_key(line)) {
        return None;
    }
    // Behind what stands directly below the header, and behind the last line that is no comment.
    let block = own.iter().position(|line| line.trim().is_empty()).unwrap_or(length);
    let is_content = |line: &&str| !line.trim().is_empty() && !line.starts_with(['#', ';']);
    let content = own.iter().rposition(is_content).map_or(0, |last| last + 1);
    let behind = at + 1 + block.max(content);
    let line = if lines[behind - 1].ends_with('\n') { line } else { format!("{end}{line}") };
    lines.insert(behind, &line);
    Some(lines.concat())
}

/// Files to be written; each has its text.
#[derive(Default)]
pub(super) struct NewFiles(Vec<(PathBuf, String)>);

impl NewFiles {
    /// Adds one.
    pub(super) fn add(&mut self, file: PathBuf, text: impl Into<String>) {
        // Without the dot of this folder, which says nothing.
        let file = file.components().filter(|part| *part != Component::CurDir).collect();
        self.0.push((file, text.into()));
    }

    /// Writes all of them, with the folders that they need; returns their names.
    ///
    /// # Errors
    /// When one exists, or cannot be written; none has been written then.
    pub(super) fn write(self, folder: &Path) -> Result<Vec<PathBuf>, String> {
        if let Some((file, _)) = self.0.iter().find(|(file, _)| folder.join(file).symlink_metadata().is_ok()) {
            return Err(format!("{} exists; nothing was written", file.display()));
        }
        let mut written: Vec<PathBuf> = Vec::new();
        for (file, text) in self.0 {
            if let Err(error) = create(&folder.join(&file), &text) {
                for file in &written {
                    // The first error is the one to report.
                    let _ = std::fs::remove_file(folder.join(file));
                }
                return Err(format!("{}: the file cannot be written: {error}", file.display()));
            }
            written.push(file);
        }
        Ok(written)
    }
}

fn create(file: &Path, text: &str) -> io::Result<()> {
    file.parent().map_or(Ok(()), std::fs::create_dir_all)?;
    File::create_new(file)?.write_all(text.as_bytes())
}

/// Replaces the text of a file that exists, in one step; links and permissions stay.
///
/// # Errors
/// When it cannot be written; it is as it was then.
pub(super) fn replace(file: &Path, text: &str) -> io::Result<()> {
    let file = file.canonicalize()?;
    let mut name = file.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    let beside = file.with_file_name(name);
    File::create_new(&beside)?.write_all(text.as_bytes())?;
    let moved = std::fs::set_permissions(&beside, file.metadata()?.permissions())
        .and_then(|()| std::fs::rename(&beside, &file));
    moved.inspect_err(|_| drop(std::fs::remove_file(&beside)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_added_to_its_section_and_comments_stay() {
        for (ini, expected) in [
            ("", "[s]\nk = v\n"),
            ("[a]\nb = c", "[a]\nb = c\n\n[s]\nk = v\n"),
            ("[a]\r\nb = c\r\n", "[a]\r\nb = c\r\n\r\n[s]\r\nk = v\r\n"),
            ("[S]\n# first\na = b\n  more\n\n# next\n[t]\n", "[S]\n# first\na = b\n  more\nk = v\n\n# next\n[t]\n"),
            ("[s]\n# name = value\n\n[t]\n", "[s]\n# name = value\nk = v\n\n[t]\n"),
            ("[s]\n[t]\n", "[s]\nk = v\n[t]\n"),
            ("[s]\n\n# next\n[t]\n", "[s]\nk = v\n\n# next\n[t]\n"),
            ("[s]\n# only", "[s]\n# only\nk = v\n"),
            ("[s]", "[s]\nk = v\n"),
        ] {
            assert_eq!(Some(expected.to_owned()), with_line(ini, "s", "k", "v"), "{ini:?}");
        }
        for ini in ["[s]\nK: x\n", "[s]\na = b\nk\n[t]\n"] {
            assert_eq!(None, with_line(ini, "s", "k", "v"), "{ini:?}");
        }
        assert!(with_line("[t]\nk = 1\n[s]\na =\n  k = 2\n", "s", "k", "v").is_some());
    }

    #[test]
    fn a_name_is_one_of_a_file_a_class_and_a_path() {
        for name in ["lamp", "my_lamp", "a1"] {
            assert_eq!(Ok(name.to_owned()), plugin_name(name));
        }
        for name in ["", "Lamp", "1a", "_a", "my-lamp", "lämp", "plugins", "none", "a/b", "../a"] {
            assert!(plugin_name(name).is_err(), "{name}");
        }
        assert_eq!("MyLamp2", class_name("my_lamp2"));
    }

    #[test]
    fn a_template_keeps_what_is_asked_for() {
        let template = "a\n#: auth\nb\n#: open\nx\n#: end\n#: end\n    #: open\n    c\n    #: end\nd\n\n\n#: background\ne\n#: end\n";
        assert_eq!("a\n    c\nd\n", chosen(template, Features::default()));
        let all = Features { auth: true, background: true, ..Features::default() };
        assert_eq!("a\nb\nd\n\n\ne\n", chosen(template, all));
    }
}

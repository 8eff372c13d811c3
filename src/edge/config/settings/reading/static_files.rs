//! `documents`, `indexfile` and `common_log` of `[file_server]` and `[paths]`.
//!
//! Pure functions, called on the Python thread. Each section keeps the meaning that its plugin gave it in
//! pluginserver: without a request path before a colon, the files are served under `docs` for `[paths]` and under the
//! folder's own name for `[file_server]`. The folder need not exist yet.

use std::path::{Path, PathBuf};

use super::SectionReader;
use crate::edge::config::diagnostic::Diagnostics;
use crate::edge::config::fields::{self, InvalidValue, ParseResult};
use crate::edge::config::resolved::ResolvedConfig;
use crate::edge::config::settings::StaticFilesSettings;
use crate::edge::config::value::Value;

/// `indexfile` when the file does not say.
const INDEX: &str = "index.html";

/// The request path of `[paths] documents` when the file does not say.
const ROUTE: &str = "docs";

pub(super) fn static_files(config: &ResolvedConfig, found: &mut Diagnostics) -> Option<StaticFilesSettings> {
    let common_log =
        SectionReader::new(config, "file_server", found).read("common_log", None, |value| path(value).map(Some));
    let file_server = section("file_server", &mut SectionReader::new(config, "file_server", found), |folder| {
        folder.file_name().map(|name| name.to_string_lossy().into_owned())
    });
    let mut reader = SectionReader::new(config, "paths", found);
    let paths = section("paths", &mut reader, |_| Some(ROUTE.to_owned()));
    if file_server.is_some() && paths.is_some() {
        reader.warn("documents", "is not served, since [file_server] names documents, too", "remove one of them");
    }
    file_server.or(paths).map(|static_files| StaticFilesSettings { common_log, ..static_files })
}

/// The settings of one section; `route_of` names the request path of a folder without one.
fn section(
    name: &'static str,
    reader: &mut SectionReader<'_>,
    route_of: impl Fn(&Path) -> Option<String>,
) -> Option<StaticFilesSettings> {
    let index = reader.read("indexfile", INDEX.to_owned(), |value| match value {
        Value::Text(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
        _ => Err(InvalidValue::new("must be the name of a file", "write for example indexfile=index.html")),
    });
    let (route, folder) = reader.read("documents", None, |value| routed(value, &route_of).map(Some))?;
    let location = reader.location("documents");
    Some(StaticFilesSettings { section: name, location, route, folder, index, common_log: None })
}

/// `request path:folder`, or a folder alone.
fn routed(value: &Value, route_of: impl Fn(&Path) -> Option<String>) -> ParseResult<(String, PathBuf)> {
    let remedy = "write documents=<request path>:<folder>, for example documents=html:/srv/html";
    let Value::Text(text) = value else {
        return Err(InvalidValue::new("must be a folder, with or without a request path", remedy));
    };
    let (route, folder) = match text.split_once(':') {
        Some((route, folder)) => (Some(route.trim().trim_matches('/').to_owned()), folder),
        None => (None, text.as_str()),
    };
    if folder.trim().is_empty() {
        return Err(InvalidValue::new("names no folder", remedy));
    }
    let folder = at_home(folder.trim());
    match route.or_else(|| route_of(&folder)) {
        Some(route) if !route.is_empty() => Ok((route, folder)),
        _ => Err(InvalidValue::new("names no request path to serve the folder under", remedy)),
    }
}

fn path(value: &Value) -> ParseResult<PathBuf> {
    fields::path(value).map(|path| at_home(&path.to_string_lossy()))
}

/// The path with a leading `~` replaced by the user's own folder.
fn at_home(path: &str) -> PathBuf {
    let rest = path.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/'));
    match rest.zip(std::env::home_dir()) {
        Some((rest, home)) => home.join(rest.trim_start_matches('/')),
        None => PathBuf::from(path),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{errors, good};
    use super::*;

    fn served(text: &str) -> String {
        let static_files = good(text).0.static_files.expect("documents are named");
        format!("{}:{} {}", static_files.route, static_files.folder.display(), static_files.index)
    }

    #[test]
    fn each_section_has_its_own_request_path() {
        for (text, expected) in [
            ("documents=html:/srv/x", "html:/srv/x index.html"),
            ("documents=/srv/x", "docs:/srv/x index.html"),
            ("documents=x\nindexfile=start.htm", "docs:x start.htm"),
            ("documents=/a/b/:/srv/x", "a/b:/srv/x index.html"),
            ("documents=html:/srv/a:b", "html:/srv/a:b index.html"),
            ("[file_server]\ndocuments=/usr/share/apidocs", "apidocs:/usr/share/apidocs index.html"),
            ("[file_server]\ndocuments=/usr/share/apidocs/", "apidocs:/usr/share/apidocs/ index.html"),
            ("[file_server]\ndocuments=apidocs", "apidocs:apidocs index.html"),
            ("[file_server]\ndocuments=html:x\nindexfile=i", "html:x i"),
        ] {
            assert_eq!(served(text), expected, "{text}");
        }
    }

    #[test]
    fn of_two_sections_file_server_counts_with_a_warning() {
        let (settings, warnings) = good("documents=a\n[file_server]\ndocuments=b\ncommon_log=access.log");
        let static_files = settings.static_files.unwrap();
        assert_eq!((static_files.route.as_str(), static_files.common_log), ("b", Some("access.log".into())));
        assert!(warnings[0].starts_with("t.ini:3: [paths] documents: is not served"), "{warnings:?}");
    }

    #[test]
    fn a_tilde_is_the_users_folder() {
        let home = std::env::home_dir().unwrap();
        assert_eq!((at_home("~/x"), at_home("~"), at_home("~x")), (home.join("x"), home, PathBuf::from("~x")));
    }

    #[test]
    fn documents_without_a_folder_or_a_request_path_are_refused() {
        for (text, why) in [
            ("documents=html:", "names no folder"),
            ("documents=:/srv/x", "names no request path"),
            ("documents=int:4", "must be a folder"),
            ("documents=", "names no folder"),
            ("[file_server]\ndocuments=/", "names no request path"),
        ] {
            let seen = errors(text);
            assert!(seen[0].contains(&format!("documents: {why}")), "{text}: {seen:?}");
        }
        assert!(errors("indexfile=int:4")[0].contains("indexfile: must be the name of a file"));
    }
}

//! `documents`, `indexfile` and `common_log` of `[file_server]` and `[paths]`.
//!
//! Each section keeps the meaning that its plugin gave it in pluginserver: without a part before a colon, `[paths]`
//! serves under `docs` and `[file_server]` under the folder's own name. Caveat: whether the folder is there is not looked
//! at, since it may come later.

use std::path::{Path, PathBuf};

use super::Reader;
use crate::edge::config::diagnostic::Diagnostics;
use crate::edge::config::document::Document;
use crate::edge::config::fields::{self, Fit, Misfit};
use crate::edge::config::settings::DocumentSettings;
use crate::edge::config::value::Value;

/// `indexfile` when the file does not say.
const INDEX: &str = "index.html";

/// The request path of `[paths] documents` when the file does not say.
const ROUTE: &str = "docs";

pub(super) fn documents(document: &Document, found: &mut Diagnostics) -> Option<DocumentSettings> {
    let common_log =
        Reader::new(document, "file_server", found).read("common_log", None, |value| path(value).map(Some));
    let file_server = section(&mut Reader::new(document, "file_server", found), |folder| {
        folder.file_name().map(|name| name.to_string_lossy().into_owned())
    });
    let mut reader = Reader::new(document, "paths", found);
    let paths = section(&mut reader, |_| Some(ROUTE.to_owned()));
    if file_server.is_some() && paths.is_some() {
        reader.warn("documents", "is not served, since [file_server] names documents, too", "remove one of them");
    }
    file_server.or(paths).map(|documents| DocumentSettings { common_log, ..documents })
}

/// What one section says; `route_of` names the request path of a folder without one.
fn section(reader: &mut Reader<'_>, route_of: impl Fn(&Path) -> Option<String>) -> Option<DocumentSettings> {
    let index = reader.read("indexfile", INDEX.to_owned(), |value| match value {
        Value::Text(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
        _ => Err(Misfit::new("must be the name of a file", "write for example indexfile=index.html")),
    });
    let (route, folder) = reader.read("documents", None, |value| routed(value, &route_of).map(Some))?;
    let place = reader.place("documents");
    Some(DocumentSettings { section: reader.name, place, route, folder, index, common_log: None })
}

/// `request path:folder`, or a folder alone.
fn routed(value: &Value, route_of: impl Fn(&Path) -> Option<String>) -> Fit<(String, PathBuf)> {
    let remedy = "write documents=<request path>:<folder>, for example documents=html:/srv/html";
    let Value::Text(text) = value else {
        return Err(Misfit::new("must be a folder, with or without a request path", remedy));
    };
    let (route, folder) = match text.split_once(':') {
        Some((route, folder)) => (Some(route.trim().trim_matches('/').to_owned()), folder),
        None => (None, text.as_str()),
    };
    if folder.trim().is_empty() {
        return Err(Misfit::new("names no folder", remedy));
    }
    let folder = at_home(folder.trim());
    match route.or_else(|| route_of(&folder)) {
        Some(route) if !route.is_empty() => Ok((route, folder)),
        _ => Err(Misfit::new("names no request path to serve the folder under", remedy)),
    }
}

fn path(value: &Value) -> Fit<PathBuf> {
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
        let documents = good(text).0.documents.expect("documents are named");
        format!("{}:{} {}", documents.route, documents.folder.display(), documents.index)
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
        let documents = settings.documents.unwrap();
        assert_eq!((documents.route.as_str(), documents.common_log), ("b", Some("access.log".into())));
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
            let told = errors(text);
            assert!(told[0].contains(&format!("documents: {why}")), "{text}: {told:?}");
        }
        assert!(errors("indexfile=int:4")[0].contains("indexfile: must be the name of a file"));
    }
}

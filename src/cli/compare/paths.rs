//! What is asked of both servers: paths from a list, from an access log, or from the routes of the running server.
//!
//! Pure functions. Promise: each path is asked for once, in the order in which it was found first; what would change a
//! server is left out. Caveat: of an access log only GET counts, and only lines in the common or combined format.

use std::collections::HashSet;

use serde_json::Value;

/// Paths, and how many were left out since they belong to the server itself and may change it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Paths {
    /// With their queries.
    pub paths: Vec<String>,
    /// The number of those left out.
    pub left_out: usize,
}

impl Paths {
    fn of<'a>(found: impl Iterator<Item = &'a str>) -> Self {
        let mut seen = HashSet::new();
        let mut all = Self::default();
        for path in found.filter(|path| path.starts_with('/')) {
            if !seen.insert(path) {
                continue;
            }
            // A reload by GET is one.
            let first = path.split(['/', '?']).nth(1);
            if matches!(first, Some("reload" | "-")) {
                all.left_out += 1;
            } else {
                all.paths.push(path.to_owned());
            }
        }
        all
    }

    /// Those of a list: one in each line, `#` begins a comment.
    pub(super) fn of_list(text: &str) -> Self {
        Self::of(text.lines().map(str::trim).filter(|line| !line.starts_with('#')))
    }

    /// Those of an access log in the common or combined format.
    pub(super) fn of_log(text: &str) -> Self {
        Self::of(text.lines().filter_map(|line| {
            let request = line.split('"').nth(1)?;
            let mut words = request.split(' ');
            (words.next() == Some("GET")).then(|| words.next()).flatten()
        }))
    }

    /// Those of the plugins and static files that answer GET, of a server's `routes`.
    pub(super) fn of_routes(routes: &[Value]) -> Self {
        let answers_get = |route: &&Value| route["methods"].as_array().is_some_and(|all| all.contains(&"GET".into()));
        Self::of(routes.iter().filter(answers_get).filter_map(|route| route["path"].as_str()))
    }
}

/// A path as it may be shown: without the key that it may hold.
pub(super) fn redacted(path: &str) -> String {
    // Nothing in a file may move the cursor of a terminal.
    let path: String = path.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    let Some((path, query)) = path.split_once('?') else { return path };
    let shown = query.split('&').map(|part| match part.split_once('=') {
        Some((name, _)) if name.eq_ignore_ascii_case("apikey") => format!("{name}=…"),
        _ => part.to_owned(),
    });
    format!("{path}?{}", shown.collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_a_log_each_get_counts_once() {
        let log = "\
1.2.3.4 - - [06/May/2025:07:08:09 +0200] \"GET /greet?name=Ada HTTP/1.1\" 200 12
1.2.3.4 - ada [06/May/2025:07:08:09 +0200] \"POST /greet HTTP/1.1\" 200 12 \"-\" \"curl\"
1.2.3.4 - - [06/May/2025:07:08:09 +0200] \"GET /docs/ HTTP/2.0\" 200 12 \"http://x/ \\\"y\\\"\" \"GET /no HTTP/1.1\"
1.2.3.4 - - [06/May/2025:07:08:09 +0200] \"GET /greet?name=Ada HTTP/1.1\" 200 12
1.2.3.4 - - [06/May/2025:07:08:09 +0200] \"GET /reload/all HTTP/1.1\" 200 12
1.2.3.4 - - [06/May/2025:07:08:09 +0200] \"\\x16\\x03\" 400 0
nonsense";
        let expected = Paths { paths: vec!["/greet?name=Ada".into(), "/docs/".into()], left_out: 1 };
        assert_eq!(expected, Paths::of_log(log));
    }

    #[test]
    fn a_list_has_comments_and_what_changes_a_server_is_left_out() {
        let list = "# all\n/a\n\n /b?c=d \nhttp://x/\n/-/api/status\n/reload\n/reloaded\n/reload?x\n";
        let expected = Paths { paths: vec!["/a".into(), "/b?c=d".into(), "/reloaded".into()], left_out: 3 };
        assert_eq!(expected, Paths::of_list(list));
    }

    #[test]
    fn of_the_routes_those_count_that_answer_get() {
        let routes = [json!({"path": "/a", "methods": ["GET", "HEAD"]}), json!({"path": "/b", "methods": ["PUT"]})];
        assert_eq!(vec!["/a".to_owned()], Paths::of_routes(&routes).paths);
    }

    #[test]
    fn a_key_is_not_shown() {
        assert_eq!("/a?b=c&APIKEY=…&d", redacted("/a?b=c&APIKEY=secret&d"));
        assert_eq!("/apikey=x", redacted("/apikey=x"));
    }
}

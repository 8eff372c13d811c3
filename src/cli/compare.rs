//! `plugincore compare`: asks an old server and the new one for the same, and shows how the responses differ.
//!
//! Runs on the main thread of a process of its own. Promise: only GET is sent, and nothing that reloads; exit code 0 if
//! all responses are the same, 1 if one differs or there is none, 2 for a wrong command line. Caveat: a plugin whose
//! responses differ from request to request differs here, too.

mod answer;
mod paths;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use http::{HeaderName, HeaderValue, Uri};
use pyo3::prelude::*;
use serde_json::{Value, json};
use ureq::tls::{Certificate, PemItem, parse_pem};

use self::answer::{Client, Difference, Trust, differences};
use self::paths::{Paths, redacted};
use super::ctl::{self, PROMPT};
use super::serve::find_ini;
use super::terminal::{FAILED, Progress, USAGE, print, report, seconds};
use crate::edge::config::settings::Settings;
use crate::edge::config::socket_address::SocketAddress;
use crate::edge::gateway::state::url;
use crate::host::python::config;

/// The options of `compare`.
#[derive(Debug, Args)]
pub(super) struct CompareArguments {
    /// The old server, such as <http://127.0.0.1:8080>
    #[arg(value_name = "URL", value_parser = base)]
    url: String,
    /// Ask for the paths of this file, one in each line
    #[arg(long, value_name = "FILE", conflicts_with = "access_log")]
    list: Option<PathBuf>,
    /// Ask for the paths of GET requests in this access log, in the common or combined format
    #[arg(long, value_name = "FILE")]
    access_log: Option<PathBuf>,
    /// Send this header with each request, for example a key; may be repeated
    #[arg(short = 'H', long, value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(HeaderName, HeaderValue)>,
    /// Do not compare this header of the responses; may be repeated
    #[arg(long, value_name = "NAME")]
    ignore: Vec<HeaderName>,
    /// Seconds that a response may take
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    timeout: Duration,
    /// Do not verify the certificate of the old server
    #[arg(long)]
    insecure: bool,
    /// The ini file of the new server, which has to run [default: as for serving, in this folder]
    #[arg(short, long, value_name = "INI")]
    ini_file: Option<PathBuf>,
    /// Write the result as JSON
    #[arg(long)]
    json: bool,
}

fn base(text: &str) -> Result<String, String> {
    let wrong = || "write a URL without a query, such as http://127.0.0.1:8080".to_owned();
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    let is_usable = matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some() && uri.query().is_none();
    if is_usable { Ok(text.to_owned()) } else { Err(wrong()) }
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let wrong = "write NAME: VALUE, such as 'Authorization: Bearer KEY'";
    let (name, value) = text.split_once(':').ok_or(wrong)?;
    Ok((name.trim().parse().map_err(|_| wrong)?, value.trim().parse().map_err(|_| wrong)?))
}

/// Does what `arguments` say, called as `name` in `folder`, with `ini` named before the command. Returns the exit code.
pub(super) fn run(py: Python<'_>, arguments: &CompareArguments, ini: Option<PathBuf>, name: &str, folder: &Path) -> u8 {
    let ini = match find_ini(arguments.ini_file.clone().or(ini), name, true) {
        Ok(ini) => ini,
        Err(problem) => return report(&problem, USAGE),
    };
    match compare(py, arguments, ini.as_deref(), folder) {
        Ok(compared) if arguments.json => compared.write(),
        Ok(compared) => compared.show(),
        Err(problem) if arguments.json => {
            print(&json!({ "error": problem }).to_string());
            FAILED
        }
        Err(problem) => report(&problem, FAILED),
    }
}

/// What came of all requests.
struct Compared {
    old: String,
    new: String,
    left_out: usize,
    same: usize,
    /// Paths whose responses differ.
    different: Vec<(String, Vec<Difference>)>,
    /// Paths for which a server has no whole response, with the reason.
    failed: Vec<(String, String)>,
}

fn compare(
    py: Python<'_>,
    arguments: &CompareArguments,
    ini: Option<&Path>,
    folder: &Path,
) -> Result<Compared, String> {
    let (reading, _) = config::load(py, folder, ini, "INFO", &[]);
    let settings = reading.map_err(|errors| errors.to_string())?.settings;
    let new = own_url(py, ini, folder, &settings)?;
    let Paths { paths, left_out } = all_paths(py, arguments, ini, folder)?;
    if paths.is_empty() {
        return Err("there is nothing to ask for; name paths by --list or --access-log".to_owned());
    }
    let (timeout, headers) = (arguments.timeout, &arguments.header);
    let trust = if arguments.insecure { Trust::Blind } else { Trust::Authorities(authorities(py)) };
    let old_client = Client::new(&arguments.url, trust, timeout, headers.clone());
    // It is on this machine, and its certificate is for another name than that of the loopback.
    let new_client = Client::new(&new, Trust::Blind, timeout, headers.clone());
    let (different, failed) = Default::default();
    let mut compared = Compared { old: arguments.url.clone(), new, left_out, same: 0, different, failed };
    let progress = Progress::new("compared", paths.len());
    for (done, path) in paths.iter().enumerate() {
        progress.show(done);
        py.check_signals().map_err(|_| "interrupted".to_owned())?;
        let of_old = old_client.get(path).map_err(|error| format!("the old server: {error}"));
        let of_new = new_client.get(path).map_err(|error| format!("the new server: {error}"));
        match (of_old, of_new) {
            (Ok(old), Ok(new)) => match differences(&old, &new, &arguments.ignore) {
                found if found.is_empty() => compared.same += 1,
                found => compared.different.push((redacted(path), found)),
            },
            (Err(error), _) | (_, Err(error)) => compared.failed.push((redacted(path), error)),
        }
    }
    Ok(compared)
}

/// Where the server of the ini file listens, by its own word if it runs.
fn own_url(py: Python<'_>, ini: Option<&Path>, folder: &Path, settings: &Settings) -> Result<String, String> {
    let answer = ctl::ask(py, ini, folder, "/-/api/status", Some(PROMPT)).ok();
    let status = answer.and_then(|answer| serde_json::from_str::<Value>(&answer.body).ok()).unwrap_or_default();
    let reported = status["listening"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut addresses = reported.filter_map(|address| address.parse().ok()).map(SocketAddress::Ip);
    let address = addresses.next().or_else(|| settings.listen.iter().find(|address| address.ip().is_some()).cloned());
    let address = address.ok_or("the server of the ini file listens at no address that can be asked over TCP")?;
    Ok(url(&address, settings.tls.is_some()))
}

fn all_paths(py: Python<'_>, arguments: &CompareArguments, ini: Option<&Path>, folder: &Path) -> Result<Paths, String> {
    let read = |file: &Path| {
        let bytes = std::fs::read(folder.join(file)).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok::<_, String>(String::from_utf8_lossy(&bytes).into_owned())
    };
    if let Some(file) = &arguments.list {
        return Ok(Paths::of_list(&read(file)?));
    }
    if let Some(file) = &arguments.access_log {
        return Ok(Paths::of_log(&read(file)?));
    }
    let answer = ctl::ask(py, ini, folder, "/-/api/routes", Some(PROMPT))?;
    let body = serde_json::from_str::<Value>(&answer.body).unwrap_or_default();
    let routes = body["routes"].as_array().ok_or_else(|| ctl::refusal(&body, answer.status))?;
    Ok(Paths::of_routes(routes))
}

/// The certificate authorities that Python's `ssl` trusts; none if they are not in one file.
fn authorities(py: Python<'_>) -> Vec<Certificate<'static>> {
    let file = py.import("ssl").and_then(|ssl| {
        let paths = ssl.call_method0("get_default_verify_paths")?;
        let file: Option<PathBuf> = paths.getattr("cafile")?.extract()?;
        Ok(file)
    });
    let usual = || PathBuf::from("/etc/ssl/certs/ca-certificates.crt");
    let pem = std::fs::read(file.ok().flatten().unwrap_or_else(usual)).unwrap_or_default();
    let certificates = parse_pem(&pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    certificates.collect()
}

impl Compared {
    fn code(&self) -> u8 {
        if self.different.is_empty() && self.failed.is_empty() { 0 } else { FAILED }
    }

    /// Shows it to a person; the summary comes last.
    fn show(&self) -> u8 {
        for (path, found) in &self.different {
            print(path);
            for Difference { what, old, new } in found {
                print(&format!("  {what}: {old} | {new}"));
            }
        }
        for (path, error) in &self.failed {
            print(&format!("{path}\n  {error}"));
        }
        let (same, different, failed) = (self.same, self.different.len(), self.failed.len());
        let total = same + different + failed;
        print(&format!("{total} compared: {same} the same, {different} different, {failed} failed"));
        if self.left_out > 0 {
            print(&format!("{} left out: below /reload and /-/ are the server's own", self.left_out));
        }
        self.code()
    }

    /// Writes it for a program.
    fn write(&self) -> u8 {
        let different = self.different.iter().map(|(path, found)| {
            let found =
                found.iter().map(|Difference { what, old, new }| json!({ "what": what, "old": old, "new": new }));
            json!({ "path": path, "differences": found.collect::<Vec<_>>() })
        });
        let failed = self.failed.iter().map(|(path, error)| json!({ "path": path, "error": error }));
        let result = json!({
            "old": self.old,
            "new": self.new,
            "same": self.same,
            "different": different.collect::<Vec<_>>(),
            "failed": failed.collect::<Vec<_>>(),
            "left_out": self.left_out,
        });
        print(&result.to_string());
        self.code()
    }
}

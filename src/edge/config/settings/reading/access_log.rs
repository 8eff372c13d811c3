//! `[access_log]` and `[log]`.
//!
//! Called on the Python thread. Promise: what cannot be written to is an error here, before anything is started; the
//! file is not created yet.

use std::fs::OpenOptions;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, OFlags, access};

use super::SectionReader;
use crate::edge::config::diagnostic::Diagnostics;
use crate::edge::config::fields::{self, InvalidValue, ParseResult};
use crate::edge::config::resolved::ResolvedConfig;
use crate::edge::config::settings::access_log::{AccessFormat, AccessLogSettings, Destination};
use crate::edge::config::value::Value;

/// Where the journal of the system receives messages.
const JOURNAL: &str = "/run/systemd/journal/socket";

/// From when on a request is slow, when the file does not say.
const SLOW: Duration = Duration::from_secs(1);

/// Largest number of requests of which one is logged.
const MAX_SAMPLE: u32 = 1_000_000;

/// Whether the log is written as JSON.
pub(super) fn log_format(config: &ResolvedConfig, found: &mut Diagnostics) -> bool {
    SectionReader::new(config, "log", found).read("format", false, |value| match value {
        Value::Text(text) if text.trim() == "json" => Ok(true),
        Value::Text(text) if text.trim() == "text" => Ok(false),
        _ => Err(InvalidValue::new("must be text or json", "leave the key out for text")),
    })
}

/// The access log, if it has a destination.
pub(super) fn access_log(config: &ResolvedConfig, found: &mut Diagnostics) -> Option<AccessLogSettings> {
    let mut section = SectionReader::new(config, "access_log", found);
    let base = &config.base;
    let file = section.read("file", None, |value| writable(base, value).map(Some)).map(Destination::File);
    let stdout = section.switch("stdout", false).then_some(Destination::StandardOutput);
    let journal = section.word("journald", None, journal).map(Destination::Journal);
    let format = section.read("format", None, |value| format(value).map(Some));
    let sample = section.read("sample", 1, sample);
    let slow = section.read("slow", SLOW, fields::duration);
    let mut destinations = [file, stdout, journal].into_iter().flatten();
    let destination = destinations.next();
    if let Some(second) = destinations.next() {
        let invalid = InvalidValue::new("is a second destination", "keep one of file, stdout and journald");
        section.invalid(second.key(), invalid);
    }
    if destination.is_none()
        && let Some(key) = ["format", "sample", "slow"].into_iter().find(|key| section.item(key).is_some())
        && ["file", "stdout", "journald"].iter().all(|key| section.item(key).is_none())
    {
        section.warn(key, "is not used, since the access log has no destination", "add file=access.log");
    }
    let destination = destination?;
    let location = section.location(destination.key());
    let format = format.or_else(|| AccessFormat::named("common").ok())?;
    Some(AccessLogSettings { destination, format, sample, slow, location })
}

/// The path of a file that can be appended to, or made.
fn writable(base: &Path, value: &Value) -> ParseResult<PathBuf> {
    let path = fields::path(value)?;
    let full = base.join(&path);
    let checked = match std::fs::metadata(&full) {
        Ok(metadata) if metadata.file_type().is_fifo() => access(&full, Access::WRITE_OK).map_err(Into::into),
        Ok(_) => {
            let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
            OpenOptions::new().append(true).custom_flags(flags).open(&full).map(drop)
        }
        Err(_) => {
            let folder = full.parent().unwrap_or(base);
            access(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(Into::into)
        }
    };
    match checked {
        Ok(()) => Ok(path),
        Err(error) => Err(InvalidValue::new(
            format!("{} cannot be written: {error}", full.display()),
            "name a file that this user may write, in a folder that there is",
        )),
    }
}

/// The socket of the journal: the usual one for a switch that is on, or that of a namespace by its path.
fn journal(value: &Value, text: &str) -> ParseResult<Option<PathBuf>> {
    let path = match fields::switch(value, text) {
        Ok(false) => return Ok(None),
        Ok(true) => PathBuf::from(JOURNAL),
        Err(_) if text.trim().starts_with('/') => PathBuf::from(text.trim()),
        Err(invalid) => return Err(invalid),
    };
    match UnixDatagram::unbound().and_then(|socket| socket.connect(&path)) {
        Ok(()) => Ok(Some(path)),
        Err(error) => Err(InvalidValue::new(
            format!("the journal does not receive at {}: {error}", path.display()),
            "use file or stdout where there is no systemd",
        )),
    }
}

fn format(value: &Value) -> ParseResult<AccessFormat> {
    let Value::Text(text) = value else {
        return Err(InvalidValue::new("must be text", "write for example format=json"));
    };
    AccessFormat::named(text).map_err(|(message, remedy)| InvalidValue { message, remedy })
}

/// `1/100`, or 1 for all.
pub(super) fn sample(value: &Value) -> ParseResult<u32> {
    let number = match value {
        Value::Int(1) => Some(1),
        Value::Text(text) => match text.split_once('/') {
            Some((one, number)) if one.trim() == "1" => number.trim().parse().ok(),
            Some(_) => None,
            None => Some(1).filter(|_| text.trim() == "1"),
        },
        _ => None,
    };
    number.filter(|number| (1..=MAX_SAMPLE).contains(number)).ok_or_else(|| {
        let message = format!("must be 1 of a number of requests up to {MAX_SAMPLE}");
        InvalidValue::new(message, "write for example sample=1/100")
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{errors, good};
    use super::*;

    #[test]
    fn there_is_no_access_log_without_a_destination() {
        let (settings, warnings) = good("");
        assert!(settings.access_log.is_none() && warnings.is_empty());
        let (settings, warnings) = good("[access_log]\nsample=1/10");
        assert!(settings.access_log.is_none());
        assert!(warnings[0].contains("is not used, since the access log has no destination"), "{warnings:?}");
        assert!(good("[access_log]\nstdout=off").0.access_log.is_none());
    }

    #[test]
    fn the_defaults_are_the_common_format_and_all_requests() {
        let log = good("[access_log]\nstdout=on").0.access_log.unwrap();
        assert_eq!((Destination::StandardOutput, 1, SLOW), (log.destination, log.sample, log.slow));
        assert_eq!(AccessFormat::named("common"), Ok(log.format));
        let log = good("[access_log]\nstdout=on\nsample=1/100\nslow=250ms\nformat=json").0.access_log.unwrap();
        assert_eq!((100, Duration::from_millis(250), AccessFormat::Json), (log.sample, log.slow, log.format));
    }

    #[test]
    fn what_cannot_be_used_is_an_error_with_its_line() {
        for (text, expected) in [
            ("file=/nowhere/a.log", "/nowhere/a.log cannot be written: No such file"),
            ("file=/", "/ cannot be written: Is a directory"),
            ("journald=/nowhere/socket", "the journal does not receive at /nowhere/socket"),
            ("journald=perhaps", "must be on or off"),
            ("stdout=on\nformat=jsonn", "must be common, combined, json or a template"),
            ("stdout=on\nsample=2/3", "must be 1 of a number"),
            ("stdout=on\nsample=1/0", "must be 1 of a number"),
            ("stdout=on\nslow=never", "must be a time above 0"),
            ("stdout=on\nfile=/dev/null", "is a second destination"),
        ] {
            let errors = errors(&format!("[access_log]\n{text}"));
            assert!(errors[0].contains(expected), "{errors:?}");
        }
        assert!(errors("[log]\nformat=xml")[0].contains("must be text or json"));
    }
}

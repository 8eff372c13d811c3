//! Writes the server's own `tracing` events to the log stream, under the server's name.
//!
//! Used on all threads. Events of this crate are written from DEBUG up, those of its dependencies from WARN up, since
//! the debugging output of a library may show headers. Caveat: spans are not shown, and TRACE has no level here and is
//! dropped.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::borrow::Cow;
use std::fmt::{Debug, Write};
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use super::line::{FieldValue, Level, Record};
use super::log_file::LogFileError;
use super::sink::Sink;

/// The server's own log.
#[derive(Debug)]
pub(crate) struct ServerLog {
    /// The name in its lines: `plugincore`, or `pserve` under that command name.
    pub name: String,
    /// Its threshold and outputs, which the plugins' logs begin with as well.
    pub sink: Arc<Sink>,
}

static SERVER: ArcSwapOption<ServerLog> = ArcSwapOption::const_empty();

/// Opens the server's log and sends the host's events to it. A second call replaces the first log.
///
/// # Errors
/// [`LogFileError`] when `file` cannot be opened for appending; the log is as it was before then.
pub(crate) fn install(name: &str, level: Level, file: Option<&Path>) -> Result<Arc<Sink>, LogFileError> {
    let sink = Arc::new(Sink::open(level, file, true)?);
    SERVER.store(Some(Arc::new(ServerLog { name: name.to_owned(), sink: Arc::clone(&sink) })));
    // Refused when a subscriber is set already: on a second call that is ours, which looks the log up for each event.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(ServerLogLayer));
    Ok(sink)
}

/// Has panics written to the log, a line each, in place of standard error, which may hang.
pub(crate) fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            tracing::error!("{panic}\n{backtrace}");
        } else {
            tracing::error!("{panic}");
        }
    }));
}

/// The server's log, once [`install`] has opened it.
#[must_use]
pub(crate) fn server() -> Option<Arc<ServerLog>> {
    SERVER.load_full()
}

/// Whether the server's log has lines of `level`.
pub(crate) fn admits(level: Level) -> bool {
    SERVER.load().as_ref().is_some_and(|log| log.sink.admits(level))
}

/// The level from which on the server's log is written, once [`install`] has opened it.
#[must_use]
pub(crate) fn level() -> Option<Level> {
    let severity = server()?.sink.threshold();
    Level::ALL.into_iter().find(|level| level.severity() >= severity)
}

/// Writes events to the server's log, whichever is installed at the time.
struct ServerLogLayer;

impl<S: Subscriber> Layer<S> for ServerLogLayer {
    /// Asked again for each event, because the threshold may change while the server runs.
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if level_of(metadata).is_some() { Interest::sometimes() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _context: Context<'_, S>) -> bool {
        level_of(metadata).is_some_and(admits)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::DEBUG)
    }

    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        if let (Some(level), Some(log)) = (level_of(event.metadata()), &*SERVER.load()) {
            let mut event_text = EventText::default();
            event.record(&mut event_text);
            let EventText { message, fields, details, exception } = &event_text;
            let exception = exception.as_deref();
            log.sink.write_record(&Record { level, name: &log.name, message, fields, details, exception });
        }
    }
}

/// The level an event is written with; `None` when it never is.
fn level_of(metadata: &Metadata<'_>) -> Option<Level> {
    let level = match *metadata.level() {
        tracing::Level::ERROR => Level::Error,
        tracing::Level::WARN => Level::Warn,
        tracing::Level::INFO => Level::Info,
        tracing::Level::DEBUG => Level::Debug,
        tracing::Level::TRACE => return None,
    };
    let is_ours = || metadata.target().split("::").next() == Some(env!("CARGO_CRATE_NAME"));
    (level.severity() >= Level::Warn.severity() || is_ours()).then_some(level)
}

/// An event as a record: its message, and its other fields. Those called `record.<name>` are [details](Record::details)
/// of that name, and `record.exception` is a traceback.
#[derive(Default)]
struct EventText {
    message: String,
    fields: Vec<(Cow<'static, str>, FieldValue)>,
    details: Vec<(&'static str, Cow<'static, str>)>,
    exception: Option<String>,
}

impl EventText {
    fn add(&mut self, field: &Field, value: FieldValue) {
        let text = |value| match value {
            FieldValue::Text(text) | FieldValue::Json(text) => text,
        };
        match field.name() {
            "message" => self.message = text(value),
            "record.exception" => self.exception = Some(text(value)),
            name => match name.strip_prefix("record.") {
                Some(name) => self.details.push((name, text(value).into())),
                None => self.fields.push((name.into(), value)),
            },
        }
    }
}

impl Visit for EventText {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        // A value whose own formatting fails is cut short; the event is still written.
        let _ = write!(text, "{value:?}");
        self.add(field, FieldValue::Text(text));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, FieldValue::Text(value.to_owned()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, FieldValue::Json(value.to_string()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, FieldValue::Json(value.to_string()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, FieldValue::Json(value.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::observe::log_file::tests::Folder;

    #[test]
    fn events_reach_the_installed_log_under_its_name() {
        let folder = Folder::new();
        let file = folder.file("server.log");
        let sink = install("pserve", Level::Info, Some(&file)).unwrap();
        tracing::info!(plugin = "shop", answered = 200, "reload\ndone");
        tracing::debug!("below the threshold");
        sink.set_threshold(Level::Debug.severity());
        tracing::debug!("now above it");
        tracing::debug!(target: "hyper::proto", "a dependency's detail");
        tracing::warn!(target: "hyper::proto", "a dependency's warning");
        assert!(install("pserve", Level::Info, Some(&folder.file("missing/x"))).is_err());
        tracing::info!("the old log is still installed");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(" - pserve - INFO - reload\\ndone plugin=shop answered=200\n"), "{text}");
        assert!(text.contains(" - pserve - DEBUG - now above it\n"), "{text}");
        assert!(text.contains(" - pserve - WARN - a dependency's warning\n"), "{text}");
        assert!(text.contains("the old log is still installed\n"), "{text}");
        assert!(!text.contains("below the threshold") && !text.contains("detail"), "{text}");
        assert_eq!("pserve", server().unwrap().name);
    }
}

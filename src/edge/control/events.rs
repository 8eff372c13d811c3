//! What happens to the server and its plugins, as a stream of server-sent events.
//!
//! Published on the Python thread and the threads of signals and files, read on the I/O threads. Promise: publishing
//! never waits: a reader that is too slow is dropped. The last events are kept, so that a reader who comes back goes on
//! where it stopped. Caveat: long texts are cut, and what is kept has a bound; a reader who was away for too long is
//! notified, and has to ask for the state.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::future::poll_fn;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::interval;

use super::{ReloadReport, ReloadTarget};
use crate::edge::http::pipe::{Gone, Reader, Writer, pipe};
use crate::edge::http::response::{Body, to_json};

/// Events that are kept for readers who come back.
const KEPT: usize = 256;

/// Bytes that the kept events have together.
const KEPT_BYTES: usize = 128 * 1024;

/// Bytes that may wait for a reader: more than are kept, so that one who comes back can get them all, and enough for
/// what a reload of many plugins tells at once.
const BACKLOG: usize = 4 * KEPT_BYTES;

/// Characters of a text in an event.
const LONGEST_TEXT: usize = 1_000;

/// Reasons, or files, that an event names.
const MOST_TEXTS: usize = 20;

/// Readers at one time.
const MOST_READERS: usize = 64;

/// A sign of life is sent this often.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long a client waits before it comes back, in milliseconds.
const RETRY: &str = "retry: 1000\n\n";

/// Something that has happened.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event<'a> {
    /// Watched files have changed; a reload follows.
    FilesChanged(&'a [std::path::PathBuf]),
    /// A reload has begun.
    ReloadBegun(&'a ReloadTarget),
    /// A reload has ended.
    ReloadEnded(&'a ReloadTarget, &'a ReloadReport),
    /// A plugin has come into service, in place of an earlier version if it is `again`.
    PluginLoaded {
        /// Its id.
        id: &'a str,
        /// Its file.
        file: &'a Path,
        /// How often it has been loaded.
        generation: u64,
        /// Whether it has replaced another version.
        again: bool,
    },
    /// A file, or a class of it, could not be loaded.
    PluginFailed {
        /// The file.
        file: &'a str,
        /// The line.
        line: Option<usize>,
        /// What went wrong.
        reason: &'a str,
    },
    /// A plugin serves no more.
    PluginGone {
        /// Its id.
        id: &'a str,
        /// The file that it was loaded from.
        file: &'a Path,
    },
    /// A plugin has been disabled.
    PluginDisabled {
        /// Its id.
        id: &'a str,
    },
    /// A plugin has been enabled.
    PluginEnabled {
        /// Its id.
        id: &'a str,
    },
    /// Readiness fails from now on.
    Draining,
    /// The server stops, or starts again.
    Stopping {
        /// Whether it starts again.
        restart: bool,
    },
}

/// Why there is no stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoStream {
    /// The server stops.
    Stopping,
    /// There are as many readers as there may be.
    TooMany,
}

/// All events of this process, and who reads them.
#[derive(Debug)]
pub(crate) struct Events {
    /// Tells the ids of this process from those of an earlier one.
    origin: String,
    state: Mutex<State>,
}

/// One who reads the stream.
#[derive(Debug)]
struct EventReader {
    writer: Arc<Writer>,
    /// Whether it wants figures as well.
    figures: bool,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the last event.
    last: u64,
    /// The last events, each with its number.
    kept: VecDeque<(u64, Bytes)>,
    kept_bytes: usize,
    readers: Vec<EventReader>,
    is_closed: bool,
}

impl Default for Events {
    fn default() -> Self {
        let origin = format!("{:x}", Timestamp::now().as_microsecond());
        Self { origin, state: Mutex::default() }
    }
}

impl Events {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing can panic half-way through a change of the state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells all readers.
    pub(crate) fn publish(&self, event: Event<'_>) {
        self.publish_to(&mut self.lock(), event);
    }

    /// Tells all readers that the server stops, and ends their streams; nothing is sent any more then.
    pub(crate) fn close(&self, restart: bool) {
        let mut state = self.lock();
        if !state.is_closed {
            self.publish_to(&mut state, Event::Stopping { restart });
            state.is_closed = true;
            for reader in state.readers.drain(..) {
                reader.writer.finish();
            }
        }
    }

    fn publish_to(&self, state: &mut State, event: Event<'_>) {
        if state.is_closed {
            return;
        }
        let (name, mut data) = describe(event);
        data["time"] = json!(Timestamp::now().to_string());
        state.last += 1;
        let number = state.last;
        let frame = self.frame(number, name, &data);
        state.kept_bytes += frame.len();
        state.kept.push_back((number, frame.clone()));
        while state.kept.len() > KEPT || state.kept_bytes > KEPT_BYTES {
            state.kept_bytes -= state.kept.pop_front().map_or(0, |(_, frame)| frame.len());
        }
        write_to(&mut state.readers, |_| true, &frame);
    }

    /// Sends figures to the readers who want them. They are not kept, since there is more in the next ones.
    pub(crate) fn show_figures(&self, figures: &Value) {
        let mut state = self.lock();
        if state.readers.iter().any(|reader| reader.figures) {
            let mut frame = b"event: figures\ndata: ".to_vec();
            frame.extend_from_slice(&to_json(figures).expect("the keys are texts"));
            frame.extend_from_slice(b"\n\n");
            write_to(&mut state.readers, |reader| reader.figures, &Bytes::from(frame));
        }
    }

    fn frame(&self, number: u64, name: &str, data: &Value) -> Bytes {
        // A text has no raw line break in JSON, so each event has one line of data.
        let data = to_json(data).expect("the keys are texts");
        let mut frame = format!("id: {}-{number}\nevent: {name}\ndata: ", self.origin).into_bytes();
        frame.extend_from_slice(&data);
        frame.extend_from_slice(b"\n\n");
        Bytes::from(frame)
    }

    /// The number in an id of this process.
    fn number(&self, id: &str) -> Option<u64> {
        let (origin, number) = id.trim().split_once('-')?;
        if origin == self.origin { number.parse().ok() } else { None }
    }

    /// A stream of all events behind the one with the id `after`. Without it, or if that is not known any more, the
    /// stream begins with what `serving` returns. To be called where local tasks can be spawned.
    pub(crate) fn stream(
        self: &Arc<Self>,
        after: Option<&str>,
        figures: bool,
        serving: impl FnOnce() -> Vec<String>,
    ) -> Result<Response<Body>, NoStream> {
        let (reader, writer) = self.subscribe(after, figures, serving)?;
        let events = Arc::clone(self);
        tokio::task::spawn_local(async move { events.keep_alive(&writer).await });
        Ok(response(Body::streamed(reader, None)))
    }

    fn subscribe(
        &self,
        after: Option<&str>,
        figures: bool,
        serving: impl FnOnce() -> Vec<String>,
    ) -> Result<(Reader, Arc<Writer>), NoStream> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(NoStream::Stopping);
        }
        if state.readers.len() >= MOST_READERS {
            return Err(NoStream::TooMany);
        }
        let (writer, reader) = pipe(BACKLOG);
        let put = |frame: Bytes| writer.write(frame).expect("the reader is there");
        put(Bytes::from_static(RETRY.as_bytes()));
        let oldest = state.kept.front().map_or(state.last + 1, |(number, _)| *number);
        let known = after.and_then(|id| self.number(id)).filter(|number| (oldest - 1..=state.last).contains(number));
        if let Some(after) = known {
            state.kept.iter().filter(|(number, _)| *number > after).for_each(|(_, frame)| put(frame.clone()));
        } else {
            let data = json!({ "loaded_plugins": serving(), "missed": after.is_some() });
            put(self.frame(state.last, "connected", &data));
        }
        let writer = Arc::new(writer);
        state.readers.push(EventReader { writer: Arc::clone(&writer), figures });
        Ok((reader, writer))
    }

    /// Sends signs of life as long as the reader is there.
    async fn keep_alive(&self, writer: &Arc<Writer>) {
        let mut beats = interval(HEARTBEAT);
        beats.tick().await; // the first one comes at once
        loop {
            tokio::select! {
                () = poll_fn(|context| writer.poll_gone(context)) => break,
                _ = beats.tick() => {
                    if writer.has_ended() {
                        break;
                    }
                    // Else there is enough to read.
                    if has_room(writer) && writer.write(Bytes::from_static(b": \n\n")) == Err(Gone) {
                        break;
                    }
                }
            }
        }
        self.lock().readers.retain(|reader| !Arc::ptr_eq(&reader.writer, writer));
    }
}

/// Writes to the readers who want it. One who has not read so far what may wait for it is dropped, and can come back.
fn write_to(readers: &mut Vec<EventReader>, wants: impl Fn(&EventReader) -> bool, frame: &Bytes) {
    readers.retain(|reader| {
        let writer = &reader.writer;
        let keeps = !wants(reader) || (has_room(writer) && writer.write(frame.clone()).is_ok());
        if !keeps {
            writer.abort();
        }
        keeps
    });
}

fn has_room(reader: &Writer) -> bool {
    reader.poll_room(&Context::from_waker(Waker::noop())).is_ready()
}

/// A response of this type that is not stored anywhere.
pub(crate) fn response(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // A proxy that collects what it passes on would keep it back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// The name of an event, and its data.
fn describe(event: Event<'_>) -> (&'static str, Value) {
    match event {
        Event::FilesChanged(files) => ("files_changed", json!({ "files": cut(files.iter().map(|file| shown(file))) })),
        Event::ReloadBegun(target) => ("reload_begun", json!({ "target": named(target) })),
        Event::ReloadEnded(target, report) => {
            let (success, reasons): (bool, &[String]) = match report {
                ReloadReport::One { failed, .. }
                | ReloadReport::All { failed, .. }
                | ReloadReport::Enabled { failed, .. } => (true, failed),
                ReloadReport::Disabled { .. } => (true, &[]),
                ReloadReport::Failed { reasons, .. } => (false, reasons),
                ReloadReport::Unknown { .. }
                | ReloadReport::NoPrevious { .. }
                | ReloadReport::Withheld { .. }
                | ReloadReport::Stopping
                | ReloadReport::Upgrading => (false, &[]),
            };
            let reasons = cut(reasons.iter().cloned());
            ("reload_ended", json!({ "target": named(target), "success": success, "reasons": reasons }))
        }
        Event::PluginLoaded { id, file, generation, again } => {
            let name = if again { "plugin_reloaded" } else { "plugin_loaded" };
            (name, json!({ "id": id, "file": shown(file), "generation": generation }))
        }
        Event::PluginFailed { file, line, reason } => {
            ("plugin_failed", json!({ "file": file, "line": line, "reason": cut_text(reason.to_owned()) }))
        }
        Event::PluginGone { id, file } => ("plugin_gone", json!({ "id": id, "file": shown(file) })),
        Event::PluginDisabled { id } => ("plugin_disabled", json!({ "id": id })),
        Event::PluginEnabled { id } => ("plugin_enabled", json!({ "id": id })),
        Event::Draining => ("draining", json!({})),
        Event::Stopping { restart } => ("stopping", json!({ "restart": restart })),
    }
}

fn named(target: &ReloadTarget) -> &str {
    match target {
        ReloadTarget::All => "all",
        ReloadTarget::Changed => "changed",
        ReloadTarget::One(plugin) | ReloadTarget::OneOrFailed(plugin) | ReloadTarget::Previous(plugin) => plugin,
    }
}

fn shown(file: &Path) -> String {
    file.display().to_string()
}

fn cut(texts: impl ExactSizeIterator<Item = String>) -> Vec<String> {
    let left_out = texts.len().saturating_sub(MOST_TEXTS);
    let mut cut: Vec<_> = texts.take(MOST_TEXTS).map(cut_text).collect();
    if left_out > 0 {
        cut.push(format!("… and {left_out} more"));
    }
    cut
}

fn cut_text(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(LONGEST_TEXT) {
        let left_out = text[end..].chars().count();
        text.truncate(end);
        let _ = write!(text, "… ({left_out} more characters)");
    }
    text
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tokio::time::timeout;

    use super::*;

    fn gone(id: &str) -> Event<'_> {
        Event::PluginGone { id, file: Path::new("plugins/a.py") }
    }

    /// What can be read at once.
    fn read(reader: &mut Reader) -> String {
        let mut text = String::new();
        while let std::task::Poll::Ready(Some(Ok(piece))) = reader.poll_next(&Context::from_waker(Waker::noop())) {
            text.push_str(std::str::from_utf8(&piece).unwrap());
        }
        text
    }

    fn ids(text: &str) -> Vec<&str> {
        text.lines().filter_map(|line| line.strip_prefix("id: ")).collect()
    }

    fn subscribe(events: &Events, after: Option<&str>) -> Reader {
        events.subscribe(after, false, || vec!["a".into()]).unwrap().0
    }

    #[test]
    fn a_reader_who_comes_back_goes_on_where_it_stopped() {
        let events = Events::default();
        events.publish(gone("x"));
        let mut reader = subscribe(&events, None);
        events.publish(gone("y"));
        let text = read(&mut reader);
        assert!(text.starts_with("retry: 1000\n\nid: "), "{text}");
        assert!(
            text.contains("event: connected\ndata: {\"loaded_plugins\": [\"a\"], \"missed\": false}\n\n"),
            "{text}"
        );
        assert!(text.contains("event: plugin_gone\ndata: {\"id\": \"y\", \"file\": \"plugins/a.py\", \"time\": "));
        let last = (*ids(&text).last().unwrap()).to_owned();
        events.publish(gone("z"));
        let text = read(&mut subscribe(&events, Some(&last)));
        assert!(text.contains("\"z\"") && !text.contains("connected") && !text.contains("\"y\""), "{text}");
        let text = read(&mut subscribe(&events, Some(ids(&text)[0])));
        assert_eq!(text, "retry: 1000\n\n");
    }

    #[test]
    fn who_was_away_for_too_long_is_told_so() {
        let events = Events::default();
        let mut reader = subscribe(&events, None);
        events.publish(gone("x"));
        let text = read(&mut reader);
        for _ in 0..=KEPT {
            events.publish(gone("x"));
        }
        for after in [ids(&text)[0], "other-1", "", "x", &format!("{}-999999", events.origin)] {
            assert!(read(&mut subscribe(&events, Some(after))).contains("\"missed\": true"), "{after}");
        }
    }

    #[test]
    fn what_is_kept_has_a_bound_and_so_has_each_text() {
        let events = Events::default();
        let reason = "ä".repeat(10 * LONGEST_TEXT);
        for _ in 0..KEPT {
            events.publish(Event::PluginFailed { file: "a", line: Some(1), reason: &reason });
        }
        let state = events.lock();
        assert!(state.kept_bytes <= KEPT_BYTES && !state.kept.is_empty());
        assert_eq!(state.kept_bytes, state.kept.iter().map(|(_, frame)| frame.len()).sum::<usize>());
    }

    #[test]
    fn a_reader_who_does_not_read_is_dropped_and_holds_nobody_up() {
        let events = Events::default();
        let (mut slow, mut fast) = (subscribe(&events, None), subscribe(&events, None));
        let reason = "x".repeat(LONGEST_TEXT);
        for _ in 0..2 * BACKLOG / LONGEST_TEXT {
            events.publish(Event::PluginFailed { file: "a", line: None, reason: &reason });
            assert!(!read(&mut fast).is_empty());
        }
        assert_eq!(events.lock().readers.len(), 1);
        let text = read(&mut slow);
        assert!(text.len() >= BACKLOG && text.len() < 2 * BACKLOG, "{}", text.len());
    }

    #[test]
    fn a_stop_is_the_last_event_and_there_are_no_streams_any_more() {
        let events = Events::default();
        let mut reader = subscribe(&events, None);
        events.close(true);
        events.close(false);
        events.publish(gone("x"));
        let text = read(&mut reader);
        assert!(text.contains("event: stopping\ndata: {\"restart\": true, ") && !text.contains("gone"), "{text}");
        assert_eq!(events.subscribe(None, false, Vec::new).unwrap_err(), NoStream::Stopping);
    }

    #[test]
    fn figures_go_to_those_who_want_them_and_are_not_kept() {
        let events = Events::default();
        let mut plain = subscribe(&events, None);
        let mut with_figures = events.subscribe(None, true, Vec::new).unwrap().0;
        events.show_figures(&json!({ "time": 1 }));
        assert!(read(&mut with_figures).ends_with("event: figures\ndata: {\"time\": 1}\n\n"));
        assert!(!read(&mut plain).contains("figures"));
        assert!(!read(&mut events.subscribe(Some("x"), true, Vec::new).unwrap().0).contains("event: figures"));
    }

    #[test]
    fn there_is_a_limit_of_readers() {
        let events = Events::default();
        let readers: Vec<_> = (0..MOST_READERS).map(|_| subscribe(&events, None)).collect();
        assert_eq!(events.subscribe(None, false, Vec::new).unwrap_err(), NoStream::TooMany);
        drop(readers);
        events.publish(gone("x"));
        assert!(events.subscribe(None, false, Vec::new).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn signs_of_life_come_until_the_reader_is_gone() {
        let events = Arc::new(Events::default());
        let local = tokio::task::LocalSet::new();
        let seen = local.run_until(async {
            let response = events.stream(None, false, Vec::new).unwrap();
            let mut body = response.into_body();
            let mut seen = String::new();
            while !seen.contains(": \n\n") {
                let frame = timeout(2 * HEARTBEAT, body.frame()).await.unwrap().unwrap().unwrap();
                seen.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
            }
            drop(body);
            while !events.lock().readers.is_empty() {
                tokio::task::yield_now().await;
            }
            seen
        });
        let seen = seen.await;
        assert!(seen.contains("connected"), "{seen}");
    }
}

//! How often and how long plugins have held up the Python thread; plain data.
//!
//! Written by the watchdog's thread, read on the I/O threads. Promise: what is shown of a plugin goes on over its
//! reloads, and a stall that lasts is shown while it lasts. Caveat: what is watched is set here, but watched elsewhere,
//! where the Python thread is known.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::edge::config::settings::ServerSettings;

/// From when on a stall has consequences; nothing for never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StallLimits {
    /// It is reported.
    pub warn: Option<Duration>,
    /// `/-/ready` answers 503.
    pub unready: Option<Duration>,
}

impl StallLimits {
    /// Those of the ini file.
    pub(crate) fn new(server: &ServerSettings) -> Self {
        Self { warn: server.stall_warn, unready: server.stall_unready }
    }
}

/// The stalls of the server.
#[derive(Debug, Default)]
pub(crate) struct Stalls {
    watch: Mutex<Watch>,
    /// Notified when what is watched has changed.
    changed: Condvar,
    is_unready: AtomicBool,
    plugins: Mutex<HashMap<Arc<str>, Arc<PluginStalls>>>,
}

#[derive(Debug, Default)]
struct Watch {
    limits: StallLimits,
    has_ended: bool,
}

/// The stalls of one plugin.
#[derive(Debug, Default)]
pub(crate) struct PluginStalls(Mutex<Record>);

#[derive(Debug, Default)]
struct Record {
    count: u64,
    /// Of those that have ended.
    lasted: Duration,
    last: Option<Stall>,
    /// Whether the last one goes on.
    goes_on: bool,
}

impl Record {
    /// How long the one that goes on has lasted.
    fn current(&self) -> Duration {
        self.last.as_ref().filter(|_| self.goes_on).map_or(Duration::ZERO, |stall| stall.lasted)
    }
}

/// One stall.
#[derive(Clone, Debug)]
pub(crate) struct Stall {
    /// When it began.
    pub begun: Timestamp,
    /// How long it lasts or has lasted.
    pub lasted: Duration,
    /// The request in which it is.
    pub request: Option<String>,
    /// The place in the code, innermost last: `file:line in function`; nothing if it is not known.
    pub stack: Vec<String>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Values are only replaced under these locks, so a panic elsewhere leaves them whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stalls {
    /// Has these limits count from now on.
    pub(crate) fn set_limits(&self, limits: StallLimits) {
        lock(&self.watch).limits = limits;
        self.changed.notify_all();
    }

    /// Has nothing watched any more.
    pub(crate) fn end(&self) {
        lock(&self.watch).has_ended = true;
        self.changed.notify_all();
    }

    /// Waits for so long, or until something is watched; returns the limits, and nothing once the watch has ended.
    pub(crate) fn wait(&self, timeout: Duration) -> Option<StallLimits> {
        let watch = lock(&self.watch);
        let waited = self.changed.wait_timeout_while(watch, timeout, |watch| !watch.has_ended);
        let mut watch = waited.unwrap_or_else(PoisonError::into_inner).0;
        while !watch.has_ended && watch.limits == StallLimits::default() {
            watch = self.changed.wait(watch).unwrap_or_else(PoisonError::into_inner);
        }
        (!watch.has_ended).then_some(watch.limits)
    }

    /// Whether a stall lasts for so long that `/-/ready` answers 503.
    pub(crate) fn is_unready(&self) -> bool {
        self.is_unready.load(Ordering::Relaxed)
    }

    /// Sets what [`Self::is_unready`] returns; returns what it was.
    pub(crate) fn set_unready(&self, is_unready: bool) -> bool {
        self.is_unready.swap(is_unready, Ordering::Relaxed)
    }

    /// The stalls of the plugin with this id.
    pub(crate) fn of(&self, id: &Arc<str>) -> Arc<PluginStalls> {
        Arc::clone(lock(&self.plugins).entry(Arc::clone(id)).or_default())
    }
}

impl PluginStalls {
    /// Counts a stall that goes on.
    pub(crate) fn begin(&self, stall: Stall) {
        let mut record = lock(&self.0);
        record.count += 1;
        (record.last, record.goes_on) = (Some(stall), true);
    }

    /// Notes how long the one that goes on has lasted so far, and where it is, if that is known better now.
    pub(crate) fn go_on(&self, lasted: Duration, stack: Option<Vec<String>>) {
        if let Some(last) = &mut lock(&self.0).last {
            last.lasted = lasted;
            last.stack = stack.unwrap_or_else(|| std::mem::take(&mut last.stack));
        }
    }

    /// Notes the end of the one that goes on.
    pub(crate) fn end(&self, lasted: Duration) {
        let mut record = lock(&self.0);
        record.lasted += lasted;
        record.goes_on = false;
        if let Some(last) = &mut record.last {
            last.lasted = lasted;
        }
    }

    /// How many there have been and how long they have lasted, with the one that goes on.
    pub(crate) fn totals(&self) -> (u64, Duration) {
        let record = lock(&self.0);
        (record.count, record.lasted + record.current())
    }

    /// What is shown of them, at this moment.
    pub(crate) fn to_json(&self) -> Value {
        let record = lock(&self.0);
        let last = record.last.as_ref();
        json!({
            "count": record.count,
            "seconds": rounded(record.lasted + record.current()),
            "last": last.map(|Stall { begun, lasted, request, stack }| json!({
                "begun_at": format!("{begun:.3}"),
                "seconds": rounded(*lasted),
                "goes_on": record.goes_on,
                "request_id": request,
                "stack": stack,
            })),
        })
    }
}

/// Seconds with three decimals.
fn rounded(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_that_goes_on_counts_with_those_that_have_ended() {
        let stalls = Stalls::default();
        let id = Arc::from("shop");
        let second = Duration::from_secs(1);
        let stall = Stall { begun: Timestamp::UNIX_EPOCH, lasted: second, request: None, stack: Vec::new() };
        stalls.of(&id).begin(stall.clone());
        stalls.of(&id).end(second * 2);
        stalls.of(&id).begin(stall);
        stalls.of(&id).go_on(second * 3, Some(vec!["shop.py:1 in f".to_owned()]));
        assert_eq!((2, second * 5), stalls.of(&id).totals());
        let shown = stalls.of(&id).to_json();
        assert_eq!((json!(2), json!(5.0)), (shown["count"].clone(), shown["seconds"].clone()));
        assert_eq!((json!(3.0), json!(true)), (shown["last"]["seconds"].clone(), shown["last"]["goes_on"].clone()));
        assert_eq!(json!(["shop.py:1 in f"]), shown["last"]["stack"]);
    }

    #[test]
    fn nothing_is_waited_for_once_the_watch_has_ended() {
        let stalls = Arc::new(Stalls::default());
        let waiting = std::thread::spawn({
            let stalls = Arc::clone(&stalls);
            move || stalls.wait(Duration::ZERO)
        });
        stalls.end();
        assert_eq!(None, waiting.join().unwrap());
    }
}

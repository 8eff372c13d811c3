//! Spans of what has ended, on their way to a collector.
//!
//! Used on all threads. Promise: to record is to put spans into a bounded queue; a thread of its own sends them, so no
//! request waits for a collector. Spans for which there is no room, and those that the collector does not take, are
//! counted. The thread is there while there is something to send. Caveat: what waits at the end of the process has
//! [`FINISH_TIMEOUT`] to be sent.

#[cfg(feature = "otel")]
mod collector;
#[cfg(not(feature = "otel"))]
#[path = "no_collector.rs"]
mod collector;
mod delivery;
mod params;
mod span;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use nix::sys::signal::SigSet;

use self::collector::Collector;
use self::delivery::{Delivery, State};
pub(crate) use self::params::ExporterParams;
pub(crate) use self::span::{Parent, Span, SpanKind, Value};
use super::output::{in_forked_child, lock};

/// How long what waits at the end of the process may take.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a request to the collector may take.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// How long spans collect, so that many are sent by one request.
const COLLECT_TIME: Duration = Duration::from_secs(1);

/// How long the thread stays without work.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a line says that the collector still does not take spans.
const REMINDER: Duration = Duration::from_secs(60);

static SENT: AtomicU64 = AtomicU64::new(0);
static LOST: AtomicU64 = AtomicU64::new(0);

/// All that may have something to send.
static EXPORTERS: Mutex<Vec<Weak<Exporter>>> = Mutex::new(Vec::new());

/// How many spans collectors have taken.
pub(crate) fn sent() -> u64 {
    SENT.load(Ordering::Relaxed)
}

/// How many spans no collector got.
pub(crate) fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// Sends what waits, for the end of the process or its replacement; does not wait for long.
pub(crate) fn finish() {
    if in_forked_child() {
        return;
    }
    let deadline = Instant::now() + FINISH_TIMEOUT;
    let exporters: Vec<_> = lock(&EXPORTERS).iter().filter_map(Weak::upgrade).collect();
    let before = lost();
    for exporter in &exporters {
        exporter.begin_to_finish(deadline);
    }
    for exporter in &exporters {
        exporter.await_end(deadline);
    }
    if lost() > before {
        tracing::warn!("{} spans were lost at the end, since no collector took them in time", lost() - before);
    }
}

/// Sends spans to one collector.
#[derive(Debug)]
pub(crate) struct Exporter {
    params: ExporterParams,
    state: Mutex<State>,
    changed: Condvar,
    /// Whether the line that there is no room has been written since the collector has taken something.
    is_overrun: AtomicBool,
}

impl Exporter {
    /// The one with these `params`: the same as before if they are.
    pub(crate) fn of(params: ExporterParams) -> Arc<Self> {
        let mut exporters = lock(&EXPORTERS);
        exporters.retain(|exporter| exporter.strong_count() > 0);
        let known = exporters.iter().filter_map(Weak::upgrade).find(|exporter| exporter.params == params);
        known.unwrap_or_else(|| {
            let (state, changed, is_overrun) = Default::default();
            let exporter = Arc::new(Self { params, state, changed, is_overrun });
            exporters.push(Arc::downgrade(&exporter));
            exporter
        })
    }

    /// Whether a trace that begins here is recorded. It depends on its id alone, as other services decide it, too.
    pub(crate) fn samples(&self, trace_id: u128) -> bool {
        #[expect(clippy::cast_possible_truncation, reason = "half of the bits is enough")]
        let random = trace_id as u64 >> 1;
        let sample = u64::from(self.params.sample);
        sample == 1 || random < (1 << 63) / sample
    }

    /// Records `spans`, all of them or none.
    pub(crate) fn record(self: &Arc<Self>, spans: Vec<Span>) {
        if in_forked_child() {
            return;
        }
        let number = spans.len();
        let admitted = lock(&self.state).put(spans);
        let Ok(next) = admitted else {
            lose(number);
            if !self.is_overrun.swap(true, Ordering::Relaxed) {
                tracing::warn!("spans are lost, since {} does not take them fast enough", self.params.endpoint);
            }
            return;
        };
        if next.starts_thread {
            self.start();
        }
        if next.wakes_thread {
            self.changed.notify_all();
        }
    }

    fn start(self: &Arc<Self>) {
        let exporter = Arc::clone(self);
        let started = std::thread::Builder::new().name("plugincore-spans".to_owned()).spawn(move || {
            // Signals are for the thread that acts on them.
            let _ = SigSet::all().thread_block();
            exporter.run();
        });
        if started.is_err() {
            // The next span tries again.
            lock(&self.state).has_thread = false;
        }
    }

    /// Sends what there is until there is nothing for a while, or nothing more may come.
    fn run(&self) {
        let collector = Collector::new(&self.params);
        let mut failing = None;
        while let Some(batch) = self.next_batch() {
            self.deliver(&collector, &batch, &mut failing);
        }
    }

    /// Waits for spans that are worth a request; none if the thread is not needed any more.
    fn next_batch(&self) -> Option<Vec<Span>> {
        let state = lock(&self.state);
        let state = self.wait(state, IDLE_TIMEOUT, State::is_empty);
        let mut state = self.wait(state, COLLECT_TIME, |state| !state.is_empty() && !state.has_batch());
        let batch = state.take_batch();
        if batch.is_none() {
            state.has_thread = false;
            self.changed.notify_all();
        }
        batch
    }

    /// Waits while `holds`, for `timeout` at most, and not at all once it is to finish.
    fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        timeout: Duration,
        holds: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        let waits = |state: &mut State| state.deadline.is_none() && holds(state);
        let waited = self.changed.wait_timeout_while(state, timeout, waits);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Sends a batch, several times if need be. `failing` has the last line that said that it does not succeed.
    fn deliver(&self, collector: &Collector, batch: &[Span], failing: &mut Option<Instant>) {
        let endpoint = &self.params.endpoint;
        let mut delivery = Delivery::default();
        loop {
            let deadline = lock(&self.state).deadline;
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let failure = match collector.send(batch, left.map_or(SEND_TIMEOUT, |left| left.min(SEND_TIMEOUT))) {
                Ok(rejected) => {
                    let rejected = batch.len().min(rejected);
                    SENT.fetch_add((batch.len() - rejected) as u64, Ordering::Relaxed);
                    lose(rejected);
                    self.is_overrun.store(false, Ordering::Relaxed);
                    if failing.take().is_some() {
                        tracing::info!("{endpoint} takes spans again; {} were lost so far", lost());
                    }
                    return;
                }
                Err(failure) => failure,
            };
            if failing.is_none_or(|last| last.elapsed() > REMINDER) {
                *failing = Some(Instant::now());
                tracing::warn!("{endpoint} does not take spans: {}; {} were lost so far", failure.reason, lost());
            }
            let pause = delivery.pause_after(&failure);
            let mut state = lock(&self.state);
            if let (Some(pause), None) = (pause, state.deadline) {
                drop(self.wait(state, pause, |_| true));
                continue;
            }
            lose(batch.len());
            if state.deadline.is_some() {
                // It would have no more success with the others.
                lose(state.clear());
            }
            return;
        }
    }

    fn begin_to_finish(&self, deadline: Instant) {
        lock(&self.state).deadline = Some(deadline);
        self.changed.notify_all();
    }

    /// Waits until the thread has ended; what is left then is lost.
    fn await_end(&self, deadline: Instant) {
        let timeout = deadline.saturating_duration_since(Instant::now());
        let waited = self.changed.wait_timeout_while(lock(&self.state), timeout, |state| state.has_thread);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        let sending = if state.has_thread { state.sending } else { 0 };
        lose(state.clear() + sending);
    }
}

fn lose(number: usize) {
    LOST.fetch_add(number as u64, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exporter(sample: u32) -> Arc<Exporter> {
        let endpoint = http::Uri::from_static("http://192.0.2.1:4318/v1/traces");
        Exporter::of(ExporterParams { endpoint, service: "s".to_owned(), sample, headers: Vec::new() })
    }

    #[test]
    fn one_of_so_many_traces_is_recorded_whichever_server_decides() {
        let (all, tenth) = (exporter(1), exporter(10));
        assert!(all.samples(u128::MAX) && tenth.samples(1 << 64) && !tenth.samples(u128::MAX));
        let step = u64::MAX / 10_000;
        let recorded = (0..10_000_u64).filter(|number| tenth.samples(u128::from(number * step))).count();
        assert!((999..=1001).contains(&recorded), "{recorded}");
    }

    #[test]
    fn the_same_params_have_the_same_exporter() {
        let one = exporter(3);
        assert!(Arc::ptr_eq(&one, &exporter(3)) && !Arc::ptr_eq(&one, &exporter(4)));
    }
}

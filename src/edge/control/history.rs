//! The last hour in figures: a ring for the server and one for each plugin that had requests in it.
//!
//! Written by one I/O thread every [`INTERVAL`], read on all of them. Promise: a ring has [`SAMPLES`] places and takes
//! its memory when its plugin first has a request, so what is kept has a bound whatever happens. Caveat: percentiles
//! are estimates within the ranges that durations are counted in, as those of Prometheus are.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::status::PluginStatus;
use crate::edge::observe::metrics::counter::HistogramSum;
use crate::edge::observe::metrics::slots::{NO_PLUGIN, Slot};
use crate::edge::observe::metrics::thread::{self, RefusalReason};

/// From one sample to the next.
pub(crate) const INTERVAL: Duration = Duration::from_secs(5);

/// Samples of an hour.
const SAMPLES: usize = 720;

/// What happened between two samples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sample {
    requests: u32,
    errors: u32,
    in_flight: u32,
    /// Seconds; nothing if there was no request.
    p50: Option<f64>,
    p99: Option<f64>,
}

impl Sample {
    fn to_json(self) -> Value {
        json!([self.requests, self.errors, self.in_flight, self.p50.map(rounded), self.p99.map(rounded)])
    }
}

/// Seconds in microseconds, so that the texts are short.
fn rounded(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e6
}

/// What has been counted until now.
#[derive(Clone, Debug, Default)]
struct Totals {
    requests: u64,
    errors: u64,
    durations: HistogramSum,
    refusals: [u64; RefusalReason::ALL.len()],
}

impl Totals {
    /// Of one plugin, or of what no plugin answered.
    fn of(id: &str) -> Self {
        let mut totals = Self::default();
        let Some(slot) = Slot::known(id) else { return totals };
        for counts in thread::all().iter().filter_map(|counts| counts.plugin(slot)) {
            counts.requests(|_, code, count| {
                totals.requests += count;
                totals.errors += if code >= 500 { count } else { 0 };
            });
            totals.durations.add(&counts.duration);
            for (sum, (_, count)) in totals.refusals.iter_mut().zip(counts.refusals()) {
                *sum += count;
            }
        }
        totals
    }

    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.durations.merge(&other.durations);
        for (sum, count) in self.refusals.iter_mut().zip(other.refusals) {
            *sum += count;
        }
    }

    /// What has happened since `before`.
    fn since(&self, before: &Self, in_flight: usize) -> Sample {
        let durations = self.durations.since(&before.durations);
        let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        Sample {
            requests: number(self.requests.saturating_sub(before.requests)),
            errors: number(self.errors.saturating_sub(before.errors)),
            in_flight: u32::try_from(in_flight).unwrap_or(u32::MAX),
            p50: durations.quantile(0.5),
            p99: durations.quantile(0.99),
        }
    }
}

/// The samples of one plugin, the newest last.
#[derive(Debug, Default)]
struct Series {
    totals: Totals,
    samples: VecDeque<Sample>,
}

impl Series {
    fn take(&mut self, totals: Totals, in_flight: usize) -> Sample {
        let sample = totals.since(&self.totals, in_flight);
        self.totals = totals;
        // What never had a request takes no memory.
        if !self.samples.is_empty() || sample.requests > 0 || sample.in_flight > 0 {
            if self.samples.len() == SAMPLES {
                self.samples.pop_front();
            }
            self.samples.push_back(sample);
        }
        sample
    }
}

#[derive(Debug, Default)]
struct State {
    server: Series,
    plugins: BTreeMap<Arc<str>, Series>,
    /// When the newest sample was taken.
    taken_at: Option<Timestamp>,
}

/// The rings.
#[derive(Debug, Default)]
pub(crate) struct History(Mutex<State>);

impl History {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A sample that is missing in one ring after a panic elsewhere is a dent in a chart.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a sample of all `plugins`; returns it as the page gets it.
    pub(crate) fn sample(&self, plugins: &[PluginStatus], in_flight: usize) -> Value {
        let now = Timestamp::now();
        let mut state = self.lock();
        state.taken_at = Some(now);
        state.plugins.retain(|id, _| plugins.iter().any(|plugin| plugin.id == *id));
        let (mut shown, mut all) = (serde_json::Map::new(), Totals::of(NO_PLUGIN));
        for plugin in plugins.iter().filter(|plugin| !plugin.is_gone()) {
            let totals = Totals::of(&plugin.id);
            all.add(&totals);
            let taken = plugin.limit.as_ref().map_or(0, |limit| limit.taken());
            let series = state.plugins.entry(Arc::clone(&plugin.id)).or_default();
            let sample = series.take(totals, taken);
            if !series.samples.is_empty() {
                shown.insert(plugin.id.to_string(), sample.to_json());
            }
        }
        let refusals = refusals(&all);
        // Plugins that are gone took their counts along.
        let server = state.server.take(all, in_flight);
        json!({ "time": now.as_second(), "server": server.to_json(), "plugins": shown, "refusals": refusals })
    }

    /// All samples.
    pub(crate) fn to_json(&self) -> Value {
        let state = self.lock();
        let list = |series: &Series| series.samples.iter().map(|sample| sample.to_json()).collect::<Vec<_>>();
        let plugins = state.plugins.iter().filter(|(_, series)| !series.samples.is_empty());
        let plugins: serde_json::Map<_, _> =
            plugins.map(|(id, series)| (id.to_string(), Value::from(list(series)))).collect();
        json!({
            "interval": INTERVAL.as_secs(),
            "time": state.taken_at.map(Timestamp::as_second),
            "columns": ["requests", "errors", "in_flight", "p50", "p99"],
            "server": list(&state.server),
            "plugins": plugins,
            "refusals": refusals(&state.server.totals),
        })
    }
}

fn refusals(totals: &Totals) -> Value {
    RefusalReason::ALL
        .iter()
        .zip(totals.refusals)
        .map(|(reason, count)| (reason.name().to_owned(), count.into()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_keeps_an_hour_and_no_more() {
        let mut series = Series::default();
        series.take(Totals::default(), 0);
        assert!(series.samples.is_empty());
        for number in 1..=2 * SAMPLES as u64 {
            series.take(Totals { requests: number, ..Totals::default() }, 0);
        }
        assert_eq!(SAMPLES, series.samples.len());
        assert!(series.samples.iter().all(|sample| sample.requests == 1));
    }

    #[test]
    fn counts_that_have_gone_back_are_no_requests() {
        let many = Totals { requests: 5, errors: 2, ..Totals::default() };
        assert_eq!(Sample::default(), Totals::default().since(&many, 0));
    }
}

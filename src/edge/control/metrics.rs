//! `/-/metrics`: what all threads have counted, added up, and the figures of the moment.
//!
//! Runs on a blocking thread of the I/O side. Promise: the figures come while a plugin blocks, since Python has a part in
//! none of them but those of `prometheus_client`; those of a plugin go on over its reloads. Caveat: a plugin that is gone is not shown, whatever was counted.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};
use jiff::Timestamp;

use super::status::{PluginState, PluginStatus};
use crate::edge::http::response::Body;
use crate::edge::observe::metrics::counter::{Histogram, HistogramSum};
use crate::edge::observe::metrics::exposition::{Exposition, Format, seconds};
use crate::edge::observe::metrics::family::{self, Family};
use crate::edge::observe::metrics::incidents::{self, Incident};
use crate::edge::observe::metrics::own;
use crate::edge::observe::metrics::process::ProcessFigures;
use crate::edge::observe::metrics::server::{RESULTS, ServerCounts, TLS_VERSIONS};
use crate::edge::observe::metrics::slots::{NO_PLUGIN, Slot};
use crate::edge::observe::metrics::thread::{self, PluginCounts, RefusalReason, ThreadCounts, VERSIONS};
use crate::edge::observe::{output, spans};

/// What is asked for, and what is known of the plugins.
pub(crate) struct Figures {
    /// How it is written.
    pub format: Format,
    /// What plugins keep with the package `prometheus_client`, in this format.
    pub registry: Arc<str>,
    /// The plugins of the moment.
    pub plugins: Arc<Vec<PluginStatus>>,
    /// Whether `/-/ready` succeeds.
    pub is_ready: bool,
    /// Connections of clients.
    pub connections: usize,
    /// When the server was started.
    pub started_at: Timestamp,
    /// The version of Python.
    pub python: String,
}

impl Figures {
    /// The answer.
    pub(crate) fn respond(&self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.text()));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.format.content_type()));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    fn text(&self) -> String {
        let mut out = Exposition::new(self.format);
        let threads = thread::all();
        let plugins = self.counts(&threads);
        requests(&mut out, &plugins);
        durations(&mut out, &family::REQUEST_DURATION, &plugins, |counts| &counts.duration);
        durations(&mut out, &family::QUEUE_WAIT, &plugins, |counts| &counts.queue);
        durations(&mut out, &family::HANDLER_DURATION, &plugins, |counts| &counts.handler);
        out.family(&family::BODY_BYTES);
        for (id, counts) in &plugins {
            let bytes: u64 = counts.iter().map(|counts| counts.body_bytes.get()).sum();
            out.sample(&family::BODY_BYTES, &[id], bytes);
        }
        refusals(&mut out, &plugins);
        exceptions(&mut out, &plugins);
        for (family, incident) in [(&family::UNCAUGHT, Incident::Exception), (&family::WARNINGS, Incident::Warning)] {
            out.family(family);
            for (plugin, number) in incidents::counted(incident) {
                out.sample(family, &[&plugin], number);
            }
        }
        self.statuses(&mut out);
        self.server(&mut out, &threads);
        python(&mut out, &threads);
        out.family(&family::CALLS_DROPPED);
        for (id, _) in &plugins {
            if let Some(dropped) = own::dropped(id) {
                out.sample(&family::CALLS_DROPPED, &[id], dropped);
            }
        }
        out.family(&family::LOG_LINES_LOST);
        out.sample(&family::LOG_LINES_LOST, &[], output::lost_lines());
        out.family(&family::ACCESS_LINES_LOST);
        out.sample(&family::ACCESS_LINES_LOST, &[], output::lost_deferred_lines());
        for (family, count) in [(&family::SPANS_SENT, spans::sent()), (&family::SPANS_LOST, spans::lost())] {
            out.family(family);
            out.sample(family, &[], count);
        }
        self.process(&mut out);
        own::show(&mut out, plugins.iter().map(|(id, _)| *id));
        out.append(&self.registry);
        out.finish()
    }

    /// What the plugins are doing.
    fn statuses(&self, out: &mut Exposition) {
        let shown = || self.plugins.iter().filter(|plugin| !plugin.is_gone());
        out.family(&family::IN_FLIGHT);
        for (plugin, limit) in shown().filter_map(|plugin| plugin.limit.as_ref().map(|limit| (plugin, limit))) {
            out.sample(&family::IN_FLIGHT, &[&plugin.id], limit.taken());
        }
        let stalls: Vec<_> =
            shown().filter_map(|plugin| plugin.stalls.as_ref().map(|stalls| (&plugin.id, stalls.totals()))).collect();
        out.family(&family::STALLS);
        for (id, (count, _)) in &stalls {
            out.sample(&family::STALLS, &[id], count);
        }
        out.family(&family::STALL_SECONDS);
        for (id, (_, lasted)) in &stalls {
            out.sample(&family::STALL_SECONDS, &[id], seconds(*lasted));
        }
        out.family(&family::TASKS);
        for plugin in shown() {
            out.sample(&family::TASKS, &[&plugin.id], plugin.tasks());
        }
        out.family(&family::GENERATION);
        for plugin in shown() {
            out.sample(&family::GENERATION, &[&plugin.id], plugin.version.map_or(0, |version| version.generation));
        }
        out.family(&family::PLUGINS);
        for state in PluginState::ALL {
            let count = shown().filter(|plugin| plugin.current_state() == state).count();
            out.sample(&family::PLUGINS, &[state.name()], count);
        }
    }

    /// The server as a whole.
    fn server(&self, out: &mut Exposition, threads: &[&'static ThreadCounts]) {
        let sum = |of: &dyn Fn(&ServerCounts) -> u64| threads.iter().map(|counts| of(&counts.server)).sum::<u64>();
        out.family(&family::RELOADS);
        for (index, result) in RESULTS.iter().enumerate() {
            out.sample(&family::RELOADS, &[result], sum(&|counts| counts.reloads[index].get()));
        }
        out.family(&family::READY);
        out.sample(&family::READY, &[], u8::from(self.is_ready));
        out.family(&family::CONNECTIONS_OPEN);
        out.sample(&family::CONNECTIONS_OPEN, &[], self.connections);
        out.family(&family::CONNECTIONS);
        out.sample(&family::CONNECTIONS, &[], sum(&|counts| counts.connections.get()));
        out.family(&family::TLS_HANDSHAKES);
        for (index, version) in TLS_VERSIONS.iter().enumerate() {
            out.sample(&family::TLS_HANDSHAKES, &[version], sum(&|counts| counts.handshakes[index].get()));
        }
        out.family(&family::TLS_FAILURES);
        out.sample(&family::TLS_FAILURES, &[], sum(&|counts| counts.failed_handshakes.get()));
        out.family(&family::RECEIVED);
        out.sample(&family::RECEIVED, &[], sum(&|counts| counts.received.get()));
        out.family(&family::SENT);
        out.sample(&family::SENT, &[], sum(&|counts| counts.sent.get()));
        out.family(&family::BUILD_INFO);
        out.sample(&family::BUILD_INFO, &[env!("CARGO_PKG_VERSION"), &self.python], 1);
        out.family(&family::HTTP_VERSIONS);
        for (index, version) in VERSIONS.iter().enumerate() {
            let count: u64 = threads.iter().filter_map(|counts| counts.versions().nth(index)).sum();
            out.sample(&family::HTTP_VERSIONS, &[version], count);
        }
    }

    /// The process.
    fn process(&self, out: &mut Exposition) {
        let figures = ProcessFigures::read();
        let mut show = |family: &Family, value: Option<&dyn Display>| {
            out.family(family);
            if let Some(value) = value {
                out.sample(family, &[], value);
            }
        };
        let descriptors = figures.and_then(|figures| figures.open_descriptors);
        let most = figures.and_then(|figures| figures.max_descriptors);
        show(&family::PROCESS_CPU, figures.as_ref().map(|figures| &figures.cpu_seconds as _));
        show(&family::PROCESS_RESIDENT, figures.as_ref().map(|figures| &figures.resident_bytes as _));
        show(&family::PROCESS_VIRTUAL, figures.as_ref().map(|figures| &figures.virtual_bytes as _));
        show(&family::PROCESS_THREADS, figures.as_ref().map(|figures| &figures.threads as _));
        show(&family::PROCESS_FDS, descriptors.as_ref().map(|number| number as _));
        show(&family::PROCESS_MAX_FDS, most.as_ref().map(|number| number as _));
        let started = self.started_at.as_duration().as_secs_f64();
        show(&family::PROCESS_START, Some(&started));
    }

    /// What each thread has counted of each plugin that is there, in the order of ids.
    fn counts<'a>(&'a self, threads: &[&'static ThreadCounts]) -> Vec<(&'a str, Vec<&'static PluginCounts>)> {
        let mut ids: Vec<&str> = self.plugins.iter().map(|plugin| &*plugin.id).collect();
        ids.push(NO_PLUGIN);
        ids.sort_unstable();
        ids.dedup();
        let counts = |id| {
            let slot = Slot::known(id)?;
            Some((id, threads.iter().filter_map(|counts| counts.plugin(slot)).collect()))
        };
        ids.into_iter().filter_map(counts).collect()
    }
}

type OfPlugins<'a> = [(&'a str, Vec<&'static PluginCounts>)];

/// How prompt Python is.
fn python(out: &mut Exposition, threads: &[&'static ThreadCounts]) {
    let [mut lag, mut wait] = [HistogramSum::default(), HistogramSum::default()];
    for ThreadCounts { server, .. } in threads {
        lag.add(&server.loop_lag);
        wait.add(&server.gil_wait);
    }
    for (family, sum) in [(&family::LOOP_LAG, lag), (&family::GIL_WAIT, wait)] {
        out.family(family);
        out.histogram(family, &[], &sum);
    }
}

fn requests(out: &mut Exposition, plugins: &OfPlugins<'_>) {
    out.family(&family::REQUESTS);
    for (id, counts) in plugins {
        let mut sums = BTreeMap::new();
        for counts in counts {
            counts.requests(|method, code, count| *sums.entry((method, code)).or_insert(0) += count);
        }
        for ((method, code), count) in sums {
            out.sample(&family::REQUESTS, &[id, method, &code.to_string()], count);
        }
    }
}

fn durations(
    out: &mut Exposition,
    family: &Family,
    plugins: &OfPlugins<'_>,
    of: impl Fn(&'static PluginCounts) -> &'static Histogram,
) {
    out.family(family);
    for (id, counts) in plugins {
        let mut sum = HistogramSum::default();
        for counts in counts {
            sum.add(of(counts));
        }
        if sum.count() > 0 {
            out.histogram(family, &[id], &sum);
        }
    }
}

fn refusals(out: &mut Exposition, plugins: &OfPlugins<'_>) {
    out.family(&family::REFUSALS);
    for (id, counts) in plugins {
        for reason in RefusalReason::ALL {
            let of_thread = |counts: &&PluginCounts| counts.refusals().find(|(known, _)| *known == reason);
            let count: u64 = counts.iter().filter_map(of_thread).map(|(_, count)| count).sum();
            // Of a plugin that refuses nothing for such a reason, the series would only take room.
            if count > 0 || *id == NO_PLUGIN {
                out.sample(&family::REFUSALS, &[id, reason.name()], count);
            }
        }
    }
}

fn exceptions(out: &mut Exposition, plugins: &OfPlugins<'_>) {
    out.family(&family::EXCEPTIONS);
    for (id, counts) in plugins {
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        for (name, count) in counts.iter().flat_map(|counts| counts.exceptions()) {
            *sums.entry(name).or_default() += count;
        }
        for (name, count) in sums {
            out.sample(&family::EXCEPTIONS, &[id, &name], count);
        }
    }
}

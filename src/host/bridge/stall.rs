//! The watchdog: reports plugin code that keeps the Python thread from taking turns.
//!
//! A thread of its own, which never attaches to the interpreter. It wakes the event loop and looks whether the loop has
//! taken a turn for it; a loop that waits for events does so at once. Promise: what it does on the Python thread, to
//! wake it twice in the time limit and, in a stall, to interrupt it for a sample of its stack, changes nothing that
//! plugin code sees. Caveat: C code that takes a system call's EINTR for an error may notice the sample; that of Python
//! does not.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::sys::signal::SigSet;

use super::stack_sample::{self, Sample};
use super::submission_queue::SubmissionQueue;
use super::{inside, lag, time_limit};
use crate::edge::control::stalls::{PluginStalls, Stall, StallLimits, Stalls};
use crate::edge::observe::line::Level;
use crate::edge::observe::repeats::LineKind;

/// When a stall is reported again.
const AGAIN: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30)];

/// How long the Python thread may take to say where it is; if it takes longer, it is in C code.
const SAMPLE_TIMEOUT: Duration = Duration::from_millis(100);

/// How often a stall that lasts is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// If this thread itself is late by so much, the process or the machine was stopped, and not the Python thread alone.
const SUSPENDED: Duration = Duration::from_millis(200);

/// Called with the id of a plugin that has stalled, on the thread of the watchdog.
pub(crate) type Blamed = Box<dyn Fn(&str) + Send>;

/// Watches the thread that empties `submissions`, until `stalls` ends the watch.
///
/// # Errors
/// When no thread can be started.
pub(crate) fn start(submissions: Arc<SubmissionQueue>, stalls: Arc<Stalls>, blamed: Blamed) -> io::Result<()> {
    inside::watch();
    std::thread::Builder::new().name("plugincore-stall".to_owned()).spawn(move || {
        // Signals are for the thread that acts on them.
        let _ = SigSet::all().thread_block();
        Watchdog { turns: submissions.turns(), since: Instant::now(), submissions, stalls, blamed, current: None }
            .run();
    })?;
    Ok(())
}

struct Watchdog {
    submissions: Arc<SubmissionQueue>,
    stalls: Arc<Stalls>,
    blamed: Blamed,
    /// The turns that had been taken when the loop was woken.
    turns: u64,
    /// When that was.
    since: Instant,
    current: Option<Current>,
}

/// A stall that goes on.
struct Current {
    reports: usize,
    plugin: Option<Arc<PluginStalls>>,
    has_stack: bool,
}

impl Watchdog {
    fn run(mut self) {
        let mut interval = LOOK_AGAIN;
        loop {
            let asleep = Instant::now();
            let Some(limits) = self.stalls.wait(interval) else { return };
            let now = Instant::now();
            if self.submissions.turns() != self.turns || now - asleep > interval + SUSPENDED {
                self.note_turn(now);
            } else {
                self.look(limits, now);
            }
            let shortest = limits.warn.into_iter().chain(limits.unready).min().unwrap_or(LOOK_AGAIN);
            let longest = if self.current.is_some() { LOOK_AGAIN } else { Duration::from_secs(1) };
            interval = (shortest / 2).clamp(Duration::from_millis(5), longest);
        }
    }

    /// The loop turns: a stall is over, and the loop is asked for the next turn.
    fn note_turn(&mut self, now: Instant) {
        if let Some(Current { plugin: Some(plugin), .. }) = self.current.take() {
            plugin.end(now - self.since);
        }
        if self.stalls.set_unready(false) {
            tracing::info!("Python goes on: /-/ready succeeds again");
        }
        (self.turns, self.since) = (self.submissions.turns(), now);
        lag::call();
        self.submissions.wake();
    }

    /// The loop has not turned since it was woken.
    fn look(&mut self, limits: StallLimits, now: Instant) {
        let lasted = now - self.since;
        if let Some(warn) = limits.warn {
            let mut times = std::iter::once(warn).chain(AGAIN.into_iter().filter(|again| *again > warn));
            let reports = self.current.as_ref().map_or(0, |current| current.reports);
            if times.nth(reports).is_some_and(|time| lasted >= time) {
                self.report(lasted);
            }
        }
        if let Some(Current { plugin: Some(plugin), has_stack, .. }) = &mut self.current {
            let late = if *has_stack { None } else { stack_sample::late() };
            *has_stack |= late.is_some();
            plugin.go_on(lasted, late.map(|sample| stack(&sample)));
        }
        if limits.unready.is_some_and(|limit| lasted >= limit) && !self.stalls.set_unready(true) {
            tracing::warn!("Python is blocked for {:.2} s: /-/ready fails until it goes on", lasted.as_secs_f64());
        }
    }

    fn report(&mut self, lasted: Duration) {
        let request = inside::current();
        let sample = stack_sample::request(time_limit::interrupt, SAMPLE_TIMEOUT);
        // A loop that only had to wait for a processor is not one that hangs.
        if self.submissions.turns() != self.turns || sample.as_ref().is_some_and(waits_for_events) {
            return self.note_turn(Instant::now());
        }
        let found = sample.as_ref().and_then(|sample| sample.iter().find_map(|frame| frame.plugins.clone()));
        let (plugin, id) = match (request, found) {
            (Some((plugin, id)), _) => (Some(plugin), Some(id)),
            (None, found) => (found.and_then(|ids| ids.first().cloned()), None),
        };
        let place = sample.as_ref().map_or_else(|| "in native code".to_owned(), place);
        let is_first = self.current.is_none();
        if !is_first || STALLED.admits_fault(number_of(&(&plugin, &place)), || name(plugin.as_deref(), &place)) {
            let plugin = plugin.as_deref().map_or_else(String::new, |plugin| format!("plugin {plugin}: "));
            let id = id.as_deref().map_or_else(String::new, |id| format!("request {id}: "));
            tracing::warn!("{plugin}{id}Python is blocked for {:.2} s {place}", lasted.as_secs_f64());
        }
        let stack = sample.as_ref().map(stack);
        let current = self.current.get_or_insert_with(|| {
            plugin.as_deref().inspect(|plugin| (self.blamed)(plugin));
            let plugin = plugin.map(|plugin| self.stalls.of(&plugin));
            if let Some(plugin) = &plugin {
                let begun = Timestamp::now() - jiff::SignedDuration::try_from(lasted).unwrap_or_default();
                plugin.begin(Stall { begun, lasted, request: id, stack: Vec::new() });
            }
            Current { reports: 0, plugin, has_stack: false }
        });
        current.reports += 1;
        current.has_stack = stack.is_some();
        if let Some(plugin) = &current.plugin {
            plugin.go_on(lasted, stack);
        }
    }
}

static STALLED: LineKind = LineKind::new(Level::Warn, "Python is blocked");

fn name(plugin: Option<&str>, place: &str) -> String {
    let plugin = plugin.map_or_else(String::new, |plugin| format!("plugin {plugin}: "));
    format!("{plugin}Python is blocked {place}")
}

/// Whether no plugin runs and the loop has nothing to do.
fn waits_for_events(sample: &Sample) -> bool {
    sample.first().is_some_and(|frame| frame.is_select) && sample.iter().all(|frame| frame.plugins.is_none())
}

/// The innermost line of a plugin, and the one that it has led to.
fn place(sample: &Sample) -> String {
    let plugin = sample.iter().position(|frame| frame.plugins.is_some());
    match (sample.first(), plugin) {
        (None, _) => "in native code".to_owned(),
        (Some(innermost), None | Some(0)) => format!("at {}", innermost.text),
        (Some(innermost), Some(index)) => format!("at {} (at {})", sample[index].text, innermost.text),
    }
}

/// The lines as texts, innermost last.
fn stack(sample: &Sample) -> Vec<String> {
    sample.iter().rev().map(|frame| frame.text.clone()).collect()
}

/// A number that stands for `value`.
fn number_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

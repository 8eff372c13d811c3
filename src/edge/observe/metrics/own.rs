//! Figures that plugins keep themselves.
//!
//! Written on any thread, read where figures are shown. Promise: a plugin's series go on over its reloads, and there are
//! at most [`MOST_SERIES`] of each plugin: what would make another is left out and counted. Caveat: a declaration with
//! another kind, labels or bounds than before begins anew.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::exposition::{Exposition, Label};
use super::family::Kind;

/// Series that a plugin may have; those of a histogram count as one.
pub(crate) const MOST_SERIES: usize = 1000;

/// The bounds of a histogram that names none: those that Prometheus's own clients have.
pub(crate) const DEFAULT_BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

static PLUGINS: Mutex<BTreeMap<String, Arc<OwnMetrics>>> = Mutex::new(BTreeMap::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Values are only added or replaced under these locks, so a panic elsewhere leaves them whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The figures of one plugin.
#[derive(Debug, Default)]
pub(crate) struct OwnMetrics {
    families: Mutex<BTreeMap<String, Arc<OwnFamily>>>,
    budget: Arc<Budget>,
}

#[derive(Debug, Default)]
struct Budget {
    series: AtomicUsize,
    dropped: AtomicU64,
}

/// All series of one name.
#[derive(Debug)]
pub(crate) struct OwnFamily {
    kind: Kind,
    help: String,
    labels: Vec<String>,
    bounds: Vec<f64>,
    series: Mutex<BTreeMap<Vec<String>, Series>>,
    budget: Arc<Budget>,
}

/// The figure of one set of labels.
#[derive(Debug)]
struct Series {
    /// The number; of a histogram, the sum.
    value: f64,
    /// How many values were in each range of a histogram.
    ranges: Vec<u64>,
}

/// Why a declaration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidMetric {
    /// The name cannot be one.
    #[error("{0:?} cannot be the name of a metric or label; use letters, digits and _, and no digit first")]
    Name(String),
    /// The name of a label is taken.
    #[error("{0:?} cannot be the name of a label here; choose another one")]
    Label(String),
    /// The bounds of a histogram do not rise.
    #[error("buckets must be numbers that rise, such as [0.1, 1, 10]")]
    Bounds,
}

/// The figures of the plugin with this id.
pub(crate) fn of(plugin: &str) -> Arc<OwnMetrics> {
    Arc::clone(lock(&PLUGINS).entry(plugin.to_owned()).or_default())
}

impl OwnMetrics {
    /// The family of a name, with the series that it had if it is declared as before.
    ///
    /// # Errors
    /// When a name or the bounds cannot be used.
    pub(crate) fn declare(
        &self,
        kind: Kind,
        (name, help): (&str, &str),
        labels: Vec<String>,
        bounds: Vec<f64>,
    ) -> Result<Arc<OwnFamily>, InvalidMetric> {
        if let Some(wrong) = [name].into_iter().chain(labels.iter().map(String::as_str)).find(|name| !is_name(name)) {
            return Err(InvalidMetric::Name(wrong.to_owned()));
        }
        let is_twice = |label: &String| labels.iter().filter(|other| *other == label).count() > 1;
        // What the methods call their own argument, and what the formats have for themselves.
        let taken = [if kind == Kind::Counter { "n" } else { "value" }, "le"];
        let is_taken = |label: &String| taken.contains(&&**label) || label.starts_with("__") || is_twice(label);
        if let Some(wrong) = labels.iter().find(|label| is_taken(label)) {
            return Err(InvalidMetric::Label(wrong.clone()));
        }
        if !bounds.is_sorted_by(|one, next| one < next) || bounds.iter().any(|bound| !bound.is_finite()) {
            return Err(InvalidMetric::Bounds);
        }
        let mut families = lock(&self.families);
        let key = name.strip_suffix("_total").unwrap_or(name);
        let is_same = |known: &&Arc<OwnFamily>| known.kind == kind && known.labels == labels && known.bounds == bounds;
        if let Some(known) = families.get(key).filter(is_same) {
            return Ok(Arc::clone(known));
        }
        let (budget, help) = (Arc::clone(&self.budget), help.to_owned());
        let family = Arc::new(OwnFamily { kind, help, labels, bounds, series: Mutex::default(), budget });
        families.insert(key.to_owned(), Arc::clone(&family));
        Ok(family)
    }

    /// How many calls would have made too many series.
    pub(crate) fn dropped(&self) -> u64 {
        self.budget.dropped.load(Ordering::Relaxed)
    }
}

fn is_name(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(is_part) && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

impl OwnFamily {
    /// The names of its labels.
    pub(crate) fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Adds to the number with these values of labels.
    pub(crate) fn add(&self, labels: Vec<String>, more: f64) {
        self.change(labels, |series| series.value += more);
    }

    /// Sets the number.
    pub(crate) fn set(&self, labels: Vec<String>, value: f64) {
        self.change(labels, |series| series.value = value);
    }

    /// Counts a value in its range.
    pub(crate) fn observe(&self, labels: Vec<String>, value: f64) {
        let range = self.bounds.iter().position(|bound| value <= *bound).unwrap_or(self.bounds.len());
        self.change(labels, |series| {
            series.value += value;
            series.ranges[range] += 1;
        });
    }

    fn change(&self, labels: Vec<String>, change: impl FnOnce(&mut Series)) {
        let mut all = lock(&self.series);
        if let Some(series) = all.get_mut(&labels) {
            return change(series);
        }
        if self.budget.series.fetch_add(1, Ordering::Relaxed) >= MOST_SERIES {
            self.budget.series.fetch_sub(1, Ordering::Relaxed);
            self.budget.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let ranges = if self.kind == Kind::Histogram { self.bounds.len() + 1 } else { 0 };
        change(all.entry(labels).or_insert(Series { value: 0.0, ranges: vec![0; ranges] }));
    }

    fn show(&self, out: &mut Exposition, name: &str) {
        out.head(name, self.kind, &self.help);
        for (values, series) in &*lock(&self.series) {
            let labels: Vec<Label<'_>> =
                self.labels.iter().map(String::as_str).zip(values.iter().map(String::as_str)).collect();
            if self.kind != Kind::Histogram {
                out.value(name, "", &labels, number(series.value));
                continue;
            }
            let mut so_far = 0;
            let bounds = self.bounds.iter().map(|bound| format!("{bound:?}")).chain(["+Inf".to_owned()]);
            for (bound, count) in bounds.zip(&series.ranges) {
                so_far += count;
                let labels: Vec<_> = labels.iter().copied().chain([("le", &*bound)]).collect();
                out.value(name, "_bucket", &labels, so_far);
            }
            out.value(name, "_count", &labels, so_far);
            out.value(name, "_sum", &labels, number(series.value));
        }
    }
}

impl Drop for OwnFamily {
    fn drop(&mut self) {
        let series = self.series.get_mut().unwrap_or_else(PoisonError::into_inner).len();
        self.budget.series.fetch_sub(series, Ordering::Relaxed);
    }
}

/// A number as the formats have it.
fn number(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        value => value.to_string(),
    }
}

/// What the names of a plugin's figures begin with.
fn prefix(plugin: &str) -> String {
    let replaced = |character: char| if character.is_ascii_alphanumeric() { character } else { '_' };
    let prefix: String = plugin.chars().map(replaced).collect();
    if prefix.starts_with(|first: char| first.is_ascii_digit()) { format!("_{prefix}") } else { prefix }
}

/// Shows what `plugins` keep. Where two of them would have the same names, the first has them.
pub(crate) fn show<'a>(out: &mut Exposition, plugins: impl Iterator<Item = &'a str>) {
    let mut shown = HashSet::new();
    for plugin in plugins {
        let Some(own) = lock(&PLUGINS).get(plugin).cloned() else { continue };
        let prefix = prefix(plugin);
        for (name, family) in &*lock(&own.families) {
            let total = if family.kind == Kind::Counter { "_total" } else { "" };
            let name = format!("{prefix}_{name}{total}");
            // The server's own names are its own.
            let is_ours = name.starts_with("plugincore_") || name.starts_with("process_");
            if !is_ours && shown.insert(name.clone()) {
                family.show(out, &name);
            }
        }
    }
}

/// How many calls of `plugin` were left out; nothing if it keeps no figures.
pub(crate) fn dropped(plugin: &str) -> Option<u64> {
    lock(&PLUGINS).get(plugin).map(|own| own.dropped())
}

#[cfg(test)]
mod tests {
    use super::super::exposition::Format;
    use super::*;

    fn text(plugin: &str) -> String {
        let mut out = Exposition::new(Format::Prometheus);
        show(&mut out, [plugin].into_iter());
        out.finish()
    }

    #[test]
    fn a_family_goes_on_when_it_is_declared_again_and_begins_anew_with_other_labels() {
        let own = of("own/shop-1");
        let declare = |labels: &[&str]| {
            let labels = labels.iter().map(ToString::to_string).collect();
            own.declare(Kind::Counter, ("orders_total", "Orders"), labels, Vec::new()).unwrap()
        };
        declare(&["kind"]).add(vec!["a".into()], 1.0);
        declare(&["kind"]).add(vec!["a".into()], 1.5);
        let shown = text("own/shop-1");
        assert!(shown.contains("own_shop_1_orders_total{kind=\"a\"} 2.5\n"), "{shown}");
        declare(&[]).add(Vec::new(), 1.0);
        assert!(text("own/shop-1").ends_with("\nown_shop_1_orders_total 1\n"));
        assert_eq!(1, own.budget.series.load(Ordering::Relaxed));
    }

    #[test]
    fn series_beyond_the_limit_are_left_out_and_counted() {
        let own = of("own/many");
        let gauge = own.declare(Kind::Gauge, ("g", "G"), vec!["n".into()], Vec::new()).unwrap();
        for number in 0..MOST_SERIES + 3 {
            gauge.set(vec![number.to_string()], 1.0);
        }
        gauge.set(vec!["0".into()], 2.0);
        assert_eq!((3, MOST_SERIES), (own.dropped(), lock(&gauge.series).len()));
    }

    #[test]
    fn ranges_of_a_histogram_add_up() {
        let own = of("own/h");
        let histogram = own.declare(Kind::Histogram, ("size", "S"), Vec::new(), vec![1.0, 10.0]).unwrap();
        for value in [0.5, 1.0, 5.0, 50.0] {
            histogram.observe(Vec::new(), value);
        }
        let text = text("own/h");
        for line in ["{le=\"1.0\"} 2", "{le=\"10.0\"} 3", "{le=\"+Inf\"} 4"] {
            assert!(text.contains(&format!("own_h_size_bucket{line}\n")), "{text}");
        }
        assert!(text.contains("own_h_size_count 4\nown_h_size_sum 56.5\n"), "{text}");
    }

    #[test]
    fn names_and_bounds_that_cannot_be_used_are_refused() {
        let own = of("own/wrong");
        let declare = |name, labels: &[&str], bounds: &[f64]| {
            let labels = labels.iter().map(ToString::to_string).collect();
            own.declare(Kind::Histogram, (name, "x"), labels, bounds.to_vec()).map(drop)
        };
        assert!(matches!(declare("1x", &[], &[]), Err(InvalidMetric::Name(_))));
        assert!(matches!(declare("x", &["a-b"], &[]), Err(InvalidMetric::Name(_))));
        assert!(matches!(declare("x", &["le"], &[]), Err(InvalidMetric::Label(_))));
        assert!(matches!(declare("x", &["a", "a"], &[]), Err(InvalidMetric::Label(_))));
        assert!(matches!(declare("x", &["value"], &[]), Err(InvalidMetric::Label(_))));
        let counter =
            |label: &str| own.declare(Kind::Counter, ("c", "x"), vec![label.to_owned()], Vec::new()).map(drop);
        assert_eq!((Err(InvalidMetric::Label("n".to_owned())), Ok(())), (counter("n"), counter("value")));
        assert_eq!(Err(InvalidMetric::Bounds), declare("x", &[], &[1.0, 1.0]));
        assert_eq!(Err(InvalidMetric::Bounds), declare("x", &[], &[f64::NAN]));
        assert_eq!(Ok(()), declare("x", &["a"], &[1.0]));
    }
}

//! Writes figures as text, in either of the two formats that Prometheus reads.
//!
//! Pure functions. Promise: the formats are `OpenMetrics` 1.0.0 and the text format 0.0.4; they differ in the names of
//! counters at their heads, in units and at the end. Caveat: the caller writes each family once, with its samples
//! behind it.

use std::collections::HashSet;
use std::fmt::{Display, Write};
use std::time::Duration;

use super::counter::HistogramSum;
use super::family::{Family, Kind, unit};

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// What Prometheus reads if nothing else is asked for.
    Prometheus,
    /// What has become of it.
    OpenMetrics,
}

impl Format {
    /// The one that a client prefers, by its `Accept`.
    pub(crate) fn accepted(accept: Option<&str>) -> Self {
        let names_it = |range: &str| {
            let mut parts = range.split(';').map(str::trim);
            let is_type = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/openmetrics-text"));
            is_type && !parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
        };
        if accept.unwrap_or_default().split(',').any(names_it) { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// Its media type.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A text that grows.
#[derive(Debug)]
pub(crate) struct Exposition {
    format: Format,
    text: String,
    /// The families that it has.
    families: HashSet<String>,
}

/// A label and its value.
pub(crate) type Label<'a> = (&'a str, &'a str);

impl Exposition {
    /// One without figures.
    pub(crate) fn new(format: Format) -> Self {
        Self { format, text: String::with_capacity(16 * 1024), families: HashSet::new() }
    }

    /// The head of a family; its samples follow.
    pub(crate) fn family(&mut self, family: &Family) {
        self.head(family.name, family.kind, family.help);
    }

    /// The head of a family that is not in the list.
    pub(crate) fn head(&mut self, name: &str, kind: Kind, help: &str) {
        let is_counter = kind == Kind::Counter;
        let name = match self.format {
            Format::OpenMetrics if is_counter => name.strip_suffix("_total").unwrap_or(name),
            _ => name,
        };
        self.families.insert(base(name).to_owned());
        self.line(format_args!("# HELP {name} {}", Escaped(help, self.format == Format::OpenMetrics)));
        self.line(format_args!("# TYPE {name} {}", kind.name()));
        if self.format == Format::OpenMetrics
            && let Some(unit) = unit(name)
        {
            self.line(format_args!("# UNIT {name} {unit}"));
        }
    }

    /// A figure of `family`, with a value for each of its labels.
    pub(crate) fn sample(&mut self, family: &Family, labels: &[&str], value: impl Display) {
        let labels: Vec<_> = family.labels.iter().copied().zip(labels.iter().copied()).collect();
        self.value(family.name, "", &labels, value);
    }

    /// A figure of the name that is joined from two parts.
    pub(crate) fn value(&mut self, name: &str, suffix: &str, labels: &[Label<'_>], value: impl Display) {
        // Writing to a String does not fail.
        let _ = write!(self.text, "{name}{suffix}");
        for (index, (label, text)) in labels.iter().enumerate() {
            let opening = if index == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{opening}{label}=\"{}\"", Escaped(text, true));
        }
        self.line(format_args!("{} {value}", if labels.is_empty() { "" } else { "}" }));
    }

    /// The families of a text in the same format, without those of names that are there already.
    pub(crate) fn append(&mut self, text: &str) {
        let mut is_shown = true;
        for line in text.lines().filter(|line| *line != "# EOF") {
            if let Some(head) = line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE ")) {
                let name = head.split(' ').next().unwrap_or_default();
                is_shown = !self.families.contains(base(name));
            }
            if is_shown {
                self.line(line);
            }
        }
    }

    /// The figures of a histogram of `family`.
    pub(crate) fn histogram(&mut self, family: &Family, labels: &[&str], sum: &HistogramSum) {
        let labels: Vec<_> = family.labels.iter().copied().zip(labels.iter().copied()).collect();
        let (count, total) = (sum.count(), seconds(sum.total()));
        let bounds = sum.cumulative().map(|(bound, count)| (format!("{:?}", seconds(bound)), count));
        for (bound, count) in bounds.chain([("+Inf".to_owned(), count)]) {
            let labels: Vec<_> = labels.iter().copied().chain([("le", &*bound)]).collect();
            self.value(family.name, "_bucket", &labels, count);
        }
        self.value(family.name, "_count", &labels, count);
        self.value(family.name, "_sum", &labels, total);
    }

    fn line(&mut self, text: impl Display) {
        // As above.
        let _ = writeln!(self.text, "{text}");
    }

    /// The whole text.
    pub(crate) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.line("# EOF");
        }
        self.text
    }
}

/// The name of a family, however the formats write it.
fn base(name: &str) -> &str {
    name.strip_suffix("_total").unwrap_or(name)
}

/// Seconds as a figure.
pub(crate) fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

/// A text without the characters that would end it; quotation marks end values of labels, and help in `OpenMetrics` may
/// have them escaped.
struct Escaped<'a>(&'a str, bool);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for character in self.0.chars() {
            match character {
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '"' if self.1 => f.write_str("\\\"")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::counter::Histogram;
    use super::*;

    const SEEN: Family =
        Family { name: "seen_total", kind: Kind::Counter, labels: &["who"], help: "What was \"seen\"" };
    const TOOK: Family = Family { name: "took_seconds", kind: Kind::Histogram, labels: &[], help: "How long" };

    fn text(format: Format) -> String {
        let mut exposition = Exposition::new(format);
        exposition.family(&SEEN);
        exposition.sample(&SEEN, &["a\"\\\nb"], 3);
        exposition.family(&TOOK);
        let histogram = Histogram::default();
        histogram.observe(Duration::from_millis(1500));
        let mut sum = HistogramSum::default();
        sum.add(&histogram);
        exposition.histogram(&TOOK, &[], &sum);
        exposition.finish()
    }

    #[test]
    fn values_of_labels_are_escaped_and_ranges_add_up() {
        let text = text(Format::Prometheus);
        let heads = "# HELP seen_total What was \"seen\"\n# TYPE seen_total counter\n";
        assert!(text.starts_with(heads), "{text}");
        for line in [
            r#"seen_total{who="a\"\\\nb"} 3"#,
            r#"took_seconds_bucket{le="0.0001"} 0"#,
            r#"took_seconds_bucket{le="1.0"} 0"#,
            r#"took_seconds_bucket{le="3.0"} 1"#,
            r#"took_seconds_bucket{le="+Inf"} 1"#,
            "took_seconds_count 1",
            "took_seconds_sum 1.5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn openmetrics_names_families_without_total_states_units_and_has_an_end() {
        let text = text(Format::OpenMetrics);
        for line in [
            r#"# HELP seen What was \"seen\""#,
            "# TYPE seen counter",
            "# TYPE took_seconds histogram",
            "# UNIT took_seconds seconds",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(text.ends_with("\n# EOF\n"), "{text}");
    }

    #[test]
    fn families_of_another_text_follow_unless_they_are_there() {
        let mut exposition = Exposition::new(Format::OpenMetrics);
        exposition.family(&SEEN);
        let other = "# HELP other Other\n# TYPE other gauge\nother 1\n";
        exposition.append(&format!("# HELP seen S\n# TYPE seen counter\nseen_total 1\n{other}# EOF\n"));
        let text = exposition.finish();
        assert!(text.ends_with(&format!("# TYPE seen counter\n{other}# EOF\n")), "{text}");
    }

    #[test]
    fn openmetrics_is_sent_to_clients_that_accept_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1";
        for (accept, format) in [
            (None, Format::Prometheus),
            (Some("*/*"), Format::Prometheus),
            (Some("text/plain"), Format::Prometheus),
            (Some(prometheus), Format::OpenMetrics),
            (Some("Application/OpenMetrics-Text"), Format::OpenMetrics),
            (Some("application/openmetrics-text; q=0"), Format::Prometheus),
        ] {
            assert_eq!(format, Format::accepted(accept), "{accept:?}");
        }
    }
}

//! A rate such as `10/s`: how many requests, or other events, in which time.
//!
//! Pure functions. Promise: each of the units `s`, `m` and `h` may be written out after the slash only as that letter,
//! so that a misprint is an error and not another rate. Caveat: the largest number is a million.

use std::fmt;
use std::time::Duration;

use super::fields::{InvalidValue, ParseResult};
use super::value::Value;

/// Largest number of events in one unit.
const MAX: u32 = 1_000_000;

/// A number of events in one unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// How many.
    pub count: u32,
    /// In how many seconds: 1, 60 or 3600.
    pub seconds: u32,
}

impl Rate {
    /// The time in which one event is allowed again.
    pub(crate) fn interval(self) -> Duration {
        Duration::from_secs(self.seconds.into()) / self.count
    }

    fn parse(text: &str) -> Option<Self> {
        let (count, unit) = text.split_once('/')?;
        let seconds = match unit.trim() {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return None,
        };
        let count = count.trim().parse().ok().filter(|count| (1..=MAX).contains(count))?;
        Some(Self { count, seconds })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.seconds {
            1 => "s",
            60 => "m",
            _ => "h",
        };
        write!(f, "{}/{unit}", self.count)
    }
}

/// A rate with what of it may come at once, as limiters count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RateLimit {
    /// The rate as it was written.
    pub rate: Rate,
    /// How many may come at once, if that was written.
    pub burst: Option<u32>,
    /// Nanoseconds until one more is allowed.
    pub interval: u64,
    /// Nanoseconds until all that may come at once is allowed again.
    pub capacity: u64,
}

impl RateLimit {
    /// `rate`, of which `burst` may come at once; as many as in one unit of the rate if that is not set.
    pub(crate) fn new(rate: Rate, burst: Option<u32>) -> Self {
        let interval = nanoseconds(rate.interval());
        let capacity = interval.saturating_mul(burst.unwrap_or(rate.count).into());
        Self { rate, burst, interval, capacity }
    }
}

/// A time as a number; the largest number stands for all that are longer.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The rates of one plugin, or of the server in general.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RateSettings {
    /// `rate` and `rate_burst`: requests of each client address; more is 429.
    pub per_client: Option<RateLimit>,
    /// `rate_per_key` and `rate_per_key_burst`: requests with each API key; more is 429.
    pub per_key: Option<RateLimit>,
    /// Whether the plugin's own section has `rate` or `rate_burst`: its requests are then counted apart.
    pub client_apart: bool,
    /// The same for `rate_per_key` and `rate_per_key_burst`.
    pub key_apart: bool,
}

/// How many events may come at once.
pub(crate) fn burst(value: &Value) -> ParseResult<u32> {
    super::fields::count(value)
        .ok()
        .and_then(|count| u32::try_from(count).ok())
        .filter(|count| *count <= MAX)
        .ok_or_else(|| {
            InvalidValue::new(
                "must be a whole number from 1 to 1000000",
                "leave it out for what the rate allows in one unit",
            )
        })
}

/// A rate, or nothing for `none`.
pub(crate) fn rate(value: &Value) -> ParseResult<Option<Rate>> {
    let text = if let Value::Text(text) = value { text.trim() } else { "" };
    if text.eq_ignore_ascii_case("none") {
        return Ok(None);
    }
    Rate::parse(text).map(Some).ok_or_else(|| {
        InvalidValue::new(
            "must be a rate",
            "write a number of at most a million and a unit: 10/s, 600/m, 5000/h; or none",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_and_a_unit() {
        let read = |text: &str| rate(&Value::Text(text.to_owned()));
        for (text, count, seconds) in [("10/s", 10, 1), (" 600 / m ", 600, 60), ("5000/h", 5000, 3600)] {
            let expected = Rate { count, seconds };
            assert_eq!(Ok(Some(expected)), read(text));
            assert_eq!(text.replace(' ', ""), expected.to_string());
        }
        assert_eq!((Ok(None), Ok(None)), (read("none"), read("None")));
        for text in ["", "10", "0/s", "-1/s", "10/d", "10/sec", "1.5/s", "/s", "2000000/s", "10/s/s"] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(rate(&Value::Int(10)).is_err());
    }

    #[test]
    fn events_are_allowed_evenly() {
        assert_eq!(Duration::from_millis(100), Rate { count: 10, seconds: 1 }.interval());
        assert_eq!(Duration::from_millis(720), Rate { count: 5000, seconds: 3600 }.interval());
    }
}

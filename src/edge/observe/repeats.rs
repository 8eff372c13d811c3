//! Sums up repeated lines that clients can cause, so that a flood of requests does not become a flood of lines.
//!
//! Used on all threads. Of each kind of line 10 a minute are written for each client; the others are counted, and their
//! number is written every 10 s. It is decided before a line is formatted, by one look into a table. Promise: the table
//! has a fixed size, whatever the number of clients is, and its lock is held for no more than that look. Caveat: when
//! the table is full, all further clients count as one.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Condvar, LazyLock, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::SigSet;

use super::line::Level;
use super::output::{in_forked_child, lock};
use super::{sink, subscriber};

/// Lines of a kind that are written for a client within [`WINDOW`].
const WRITTEN: u32 = 10;
/// How long they count.
const WINDOW: Duration = Duration::from_secs(60);
/// How often the number of the others is written.
const INTERVAL: Duration = Duration::from_secs(10);
/// Most entries of the table.
const MAX_ENTRIES: usize = 1024;
/// Most clients whose numbers are written one by one.
const MAX_SUMS: usize = 20;

/// A kind of line.
#[derive(Debug)]
pub(crate) struct LineKind {
    level: Level,
    text: &'static str,
}

impl LineKind {
    /// A kind of `level` that sums call `text`; to be kept in a static, since its place is its identity.
    pub(crate) const fn new(level: Level, text: &'static str) -> Self {
        Self { level, text }
    }

    /// Whether to write a line because of a request of `client`.
    pub(crate) fn admits(&'static self, client: Requester) -> bool {
        let source = match client {
            Requester::Address(address) => Source::Client(network(address)),
            Requester::Unix => Source::Unix,
            Requester::Unknown => Source::Unknown,
        };
        self.decide(source, 0, || self.text.into())
    }

    /// Whether to write a line because of a request, of whichever client.
    pub(crate) fn admits_any(&'static self) -> bool {
        self.decide(Source::Any, 0, || self.text.into())
    }

    /// Whether to write a line about what `number` identifies, which sums call `name`.
    pub(crate) fn admits_fault(&'static self, number: u64, name: impl FnOnce() -> String) -> bool {
        self.decide(Source::Any, number, || name().into())
    }

    fn decide(&'static self, source: Source, number: u64, name: impl FnOnce() -> Box<str>) -> bool {
        if !subscriber::admits(self.level) {
            return false;
        }
        // Its parent may have held the lock when it was forked.
        if in_forked_child() {
            return true;
        }
        let key = Key { kind: std::ptr::from_ref(self).addr(), source, number };
        let now = Instant::now();
        let mut repeats = lock(&REPEATS.repeats);
        let is_written = repeats.note(key, self, now, name);
        let is_first = !is_written && !repeats.has_thread;
        repeats.has_thread |= is_first;
        drop(repeats);
        if is_first {
            start_thread();
        }
        is_written
    }
}

/// A client, as far as lines are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Requester {
    /// With this address.
    Address(IpAddr),
    /// By a Unix socket.
    Unix,
    /// Whose address is not known.
    Unknown,
}

/// Whose requests cause a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Source {
    Client(IpAddr),
    /// All clients of Unix sockets.
    Unix,
    /// A client whose address is not known.
    Unknown,
    /// All clients together.
    Any,
    /// Those for which the table has no room.
    Others,
}

impl Source {
    fn text(self) -> String {
        match self {
            Self::Client(IpAddr::V6(network)) => format!("{network}/64 - "),
            Self::Client(address) => format!("{address} - "),
            Self::Unix => "unix - ".to_owned(),
            Self::Unknown => "unknown - ".to_owned(),
            Self::Any => String::new(),
            Self::Others => "other clients - ".to_owned(),
        }
    }
}

/// What a client has addresses of: all of a /64 belong to one.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        IpAddr::V4(address) => IpAddr::V4(address),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    kind: usize,
    source: Source,
    number: u64,
}

#[derive(Debug)]
struct Entry {
    kind: &'static LineKind,
    name: Box<str>,
    /// When the lines began to count.
    begun: Instant,
    written: u32,
    /// How many were not written since the last sum.
    more: u64,
}

#[derive(Default)]
struct Repeats {
    entries: HashMap<Key, Entry>,
    /// Since when lines are not written that no sum contains.
    since: Option<Instant>,
    /// When there was last no entry to remove.
    full_at: Option<Instant>,
    has_thread: bool,
}

impl Repeats {
    /// Counts a line; returns whether it is to be written.
    fn note(&mut self, mut key: Key, kind: &'static LineKind, now: Instant, name: impl FnOnce() -> Box<str>) -> bool {
        if self.entries.len() >= MAX_ENTRIES && !self.entries.contains_key(&key) {
            // Not more often than once a second, because it looks at all of them.
            if self.full_at.is_none_or(|at| now - at >= Duration::from_secs(1)) {
                self.forget_old(now);
                self.full_at = Some(now);
            }
            if self.entries.len() >= MAX_ENTRIES {
                key = Key { source: Source::Others, number: 0, ..key };
            }
        }
        let entry = self.entries.entry(key).or_insert_with(|| {
            let name = if key.source == Source::Others { kind.text.into() } else { name() };
            Entry { kind, name, begun: now, written: 0, more: 0 }
        });
        if now - entry.begun >= WINDOW {
            (entry.begun, entry.written) = (now, 0);
        }
        if entry.written < WRITTEN {
            entry.written += 1;
            return true;
        }
        entry.more += 1;
        self.since.get_or_insert(now);
        false
    }

    fn forget_old(&mut self, now: Instant) {
        self.entries.retain(|_, entry| entry.more > 0 || now - entry.begun < WINDOW);
    }

    /// What was not written since the last sum, as lines.
    fn sum_up(&mut self, now: Instant) -> Vec<(Level, String)> {
        let Some(since) = self.since.take() else { return Vec::new() };
        let seconds = (now - since).as_secs_f64().round().max(1.0);
        let mut sums: Vec<_> = self.entries.iter_mut().filter(|(_, entry)| entry.more > 0).collect();
        sums.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.more));
        let mut lines = Vec::new();
        let mut rest: Vec<(&'static LineKind, u64, usize)> = Vec::new();
        for (key, entry) in sums {
            let (kind, more) = (entry.kind, std::mem::take(&mut entry.more));
            if lines.len() < MAX_SUMS {
                let source = key.source.text();
                lines.push((kind.level, format!("{source}{}: {more} more in the last {seconds} s", entry.name)));
            } else if let Some((_, sum, count)) = rest.iter_mut().find(|(known, ..)| std::ptr::eq(*known, kind)) {
                (*sum, *count) = (*sum + more, *count + 1);
            } else {
                rest.push((kind, more, 1));
            }
        }
        let rest = rest.into_iter().map(|(kind, more, count)| {
            let from = if count == 1 { "one more" } else { "others" };
            (kind.level, format!("{count} {from} - {}: {more} more in the last {seconds} s", kind.text))
        });
        lines.extend(rest);
        self.forget_old(now);
        lines
    }
}

#[derive(Default)]
struct Shared {
    repeats: Mutex<Repeats>,
    /// Notified when nothing may wait for the next sum any more.
    finishing: Condvar,
}

static REPEATS: LazyLock<Shared> = LazyLock::new(Shared::default);

/// Starts the thread that writes sums; it ends when there was nothing to sum up.
fn start_thread() {
    let started = std::thread::Builder::new().name("plugincore-sums".to_owned()).spawn(|| {
        // Signals are for the thread that acts on them.
        let _ = SigSet::all().thread_block();
        loop {
            let waited = REPEATS.finishing.wait_timeout(lock(&REPEATS.repeats), INTERVAL);
            drop(waited);
            if !write_sums() {
                return;
            }
        }
    });
    if started.is_err() {
        // The next line that is not written tries again.
        lock(&REPEATS.repeats).has_thread = false;
    }
}

/// Writes what there is to sum up; if that is nothing, the thread is not needed any more, and false is returned.
fn write_sums() -> bool {
    let mut repeats = lock(&REPEATS.repeats);
    let lines = repeats.sum_up(Instant::now());
    if lines.is_empty() {
        repeats.has_thread = false;
    }
    drop(repeats);
    if let Some(log) = subscriber::server() {
        for (level, text) in &lines {
            log.sink.write(*level, &log.name, text);
        }
    }
    !lines.is_empty()
}

/// Writes all that waits, sums as well, for the end of the process or its replacement; does not wait for long.
pub(crate) fn finish() {
    if !in_forked_child() {
        write_sums();
    }
    sink::finish();
}

#[cfg(test)]
mod tests {
    use super::*;

    static REFUSED: LineKind = LineKind::new(Level::Warn, "Not authorized");

    fn note(repeats: &mut Repeats, source: Source, now: Instant) -> bool {
        let key = Key { kind: std::ptr::from_ref(&REFUSED).addr(), source, number: 0 };
        repeats.note(key, &REFUSED, now, || REFUSED.text.into())
    }

    fn client(last: u32) -> Source {
        Source::Client(IpAddr::V4((0x0a00_0000 + last).into()))
    }

    #[test]
    fn ten_lines_a_minute_are_written_for_each_client() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        let written = |repeats: &mut Repeats, source, now| (0..100).filter(|_| note(repeats, source, now)).count();
        assert_eq!(10, written(&mut repeats, client(1), start));
        assert_eq!(10, written(&mut repeats, client(2), start));
        assert_eq!(0, written(&mut repeats, client(1), start + Duration::from_secs(59)));
        assert_eq!(10, written(&mut repeats, client(1), start + WINDOW));
    }

    #[test]
    fn the_others_are_summed_up_once() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        for _ in 0..322 {
            note(&mut repeats, client(1), start);
        }
        let lines = repeats.sum_up(start + INTERVAL);
        assert_eq!(vec![(Level::Warn, "10.0.0.1 - Not authorized: 312 more in the last 10 s".to_owned())], lines);
        assert!(repeats.sum_up(start + 2 * INTERVAL).is_empty());
    }

    #[test]
    fn a_million_clients_need_no_more_room_than_a_thousand() {
        let (mut repeats, now) = (Repeats::default(), Instant::now());
        let written = (0..1_000_000).filter(|number| note(&mut repeats, client(*number), now)).count();
        assert_eq!(MAX_ENTRIES + 1, repeats.entries.len());
        assert_eq!(MAX_ENTRIES + 10, written);
        let lines = repeats.sum_up(now + INTERVAL);
        let expected = format!("other clients - Not authorized: {} more in the last 10 s", 1_000_000 - written);
        assert_eq!(vec![(Level::Warn, expected)], lines);
        note(&mut repeats, client(0), now + 2 * WINDOW);
        repeats.since = Some(now + 2 * WINDOW);
        repeats.sum_up(now + 2 * WINDOW);
        assert_eq!(1, repeats.entries.len());
    }

    #[test]
    fn many_clients_are_summed_up_in_few_lines() {
        let (mut repeats, now) = (Repeats::default(), Instant::now());
        for number in 0..500 {
            for _ in 0..11 {
                note(&mut repeats, client(number), now);
            }
        }
        let lines = repeats.sum_up(now + INTERVAL);
        assert_eq!(MAX_SUMS + 1, lines.len());
        assert_eq!("480 others - Not authorized: 480 more in the last 10 s", lines[MAX_SUMS].1);
    }

    #[test]
    fn a_client_cannot_count_anew_with_another_address_of_its_network() {
        let addresses = ["2001:db8::1", "2001:db8::2:3", "::ffff:192.0.2.1"].map(|text| text.parse().unwrap());
        assert_eq!(network(addresses[0]), network(addresses[1]));
        assert_eq!("192.0.2.1".parse::<IpAddr>().unwrap(), network(addresses[2]));
        assert_eq!("2001:db8::/64 - ", Source::Client(network(addresses[0])).text());
    }
}

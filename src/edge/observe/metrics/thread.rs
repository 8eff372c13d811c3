//! What one thread counts.
//!
//! Promise: a thread counts in its own block alone, which it finds without a lock; who shows figures adds up the
//! blocks of all threads. Memory is taken for what has been counted at least once. Caveat: a block outlives its thread,
//! since its counts do, so only threads that serve for the process's life may count here.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode, Version};

use super::counter::{Count, Histogram};
use super::server::ServerCounts;
use super::slots::{SLOTS, Slot};

/// The methods that are counted by name, in the order of how often they come.
const METHODS: [(Method, &str); 9] = [
    (Method::GET, "GET"),
    (Method::POST, "POST"),
    (Method::HEAD, "HEAD"),
    (Method::PUT, "PUT"),
    (Method::DELETE, "DELETE"),
    (Method::PATCH, "PATCH"),
    (Method::OPTIONS, "OPTIONS"),
    (Method::TRACE, "TRACE"),
    (Method::CONNECT, "CONNECT"),
];

/// What all other methods are counted as, and requests of which the method is not known.
const OTHER_METHODS: &str = "other";

/// A method, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CountedMethod(u8);

impl CountedMethod {
    /// That of a request of which none is known: the one behind [`METHODS`].
    pub(crate) const UNKNOWN: Self = Self(9);

    /// As what `method` is counted.
    #[inline]
    pub(crate) fn of(method: &Method) -> Self {
        let index = METHODS.iter().position(|(known, _)| known == method);
        index.and_then(|index| u8::try_from(index).ok()).map_or(Self::UNKNOWN, Self)
    }
}

/// The versions of HTTP, as they are shown.
pub(crate) const VERSIONS: [&str; 3] = ["1.0", "1.1", "2"];

/// Types of exceptions that are counted by name, for each plugin; all others are one.
const EXCEPTION_TYPES: usize = 50;

/// What further types of exceptions are counted as.
const OTHER_EXCEPTIONS: &str = "other";

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefusalReason {
    /// A key is missing or wrong, or not for this.
    WrongKey,
    /// The key's time is over.
    Expired,
    /// It was one too many in a time.
    Rate,
    /// It was too large, or took too long to arrive.
    Limit,
    /// There was no place for it, or its plugin takes no requests at the moment.
    Overload,
    /// There is no such address, or it does not have this method.
    NotFound,
    /// It violates the protocol.
    Malformed,
}

impl RefusalReason {
    /// All of them.
    pub(crate) const ALL: [Self; 7] =
        [Self::WrongKey, Self::Expired, Self::Rate, Self::Limit, Self::Overload, Self::NotFound, Self::Malformed];

    /// The word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::WrongKey => "wrong_key",
            Self::Expired => "expired",
            Self::Rate => "rate",
            Self::Limit => "limit",
            Self::Overload => "overload",
            Self::NotFound => "not_found",
            Self::Malformed => "malformed",
        }
    }
}

/// How long a request was with its plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PluginTimes {
    /// In the queue, until the handler was called.
    pub queue: Duration,
    /// In the handler, until it answered or began to.
    pub handler: Duration,
}

/// A request that is answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnsweredRequest {
    /// Whose figures it belongs to.
    pub slot: Slot,
    /// Its method.
    pub method: CountedMethod,
    /// The version of HTTP that it came by, if that is known.
    pub version: Option<Version>,
    /// What it was answered with.
    pub status: StatusCode,
    /// How long that took, if its beginning is known.
    pub duration: Option<Duration>,
    /// Of that, what it spent with a plugin.
    pub plugin_times: Option<PluginTimes>,
    /// Bytes of the response's body, as far as they are known beforehand.
    pub body_bytes: u64,
    /// Why it was refused, if it was.
    pub refusal: Option<RefusalReason>,
}

impl AnsweredRequest {
    /// One that never reached a plugin or an address of the server.
    pub(crate) fn malformed(method: CountedMethod, status: StatusCode, reason: RefusalReason) -> Self {
        Self {
            slot: Slot::NO_PLUGIN,
            method,
            version: None,
            status,
            duration: None,
            plugin_times: None,
            body_bytes: 0,
            refusal: Some(reason),
        }
    }
}

/// The statuses of one class, such as 200 to 299.
type Statuses = OnceLock<Box<[Count; 100]>>;

/// What is counted of the requests to one plugin.
#[derive(Debug, Default)]
pub(crate) struct PluginCounts {
    /// By method, class of status, and status.
    requests: [[Statuses; 5]; METHODS.len() + 1],
    /// From the head of a request to that of its response.
    pub duration: Histogram,
    /// In the queue.
    pub queue: Histogram,
    /// In the handler.
    pub handler: Histogram,
    /// Bytes of responses' bodies.
    pub body_bytes: Count,
    refusals: [Count; RefusalReason::ALL.len()],
    exceptions: Mutex<BTreeMap<String, u64>>,
}

impl PluginCounts {
    /// Calls `see` with each method and status that there have been requests of, and their number.
    pub(crate) fn requests(&self, mut see: impl FnMut(&'static str, u16, u64)) {
        for (index, classes) in self.requests.iter().enumerate() {
            let method = METHODS.get(index).map_or(OTHER_METHODS, |(_, name)| name);
            for (class, statuses) in (1..).zip(classes) {
                let statuses = statuses.get().into_iter().flat_map(|statuses| statuses.iter());
                for (code, count) in (class * 100..).zip(statuses).filter(|(_, count)| count.get() > 0) {
                    see(method, code, count.get());
                }
            }
        }
    }

    /// How many requests were refused, by reason.
    pub(crate) fn refusals(&self) -> impl Iterator<Item = (RefusalReason, u64)> {
        RefusalReason::ALL.into_iter().zip(self.refusals.iter().map(Count::get))
    }

    /// How many exceptions handlers have raised, by type.
    pub(crate) fn exceptions(&self) -> BTreeMap<String, u64> {
        // Numbers are only added under this lock, so a panic elsewhere leaves them whole.
        self.exceptions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, answered: &AnsweredRequest) {
        let method = usize::from(answered.method.0);
        let (class, number) = (answered.status.as_u16() / 100, usize::from(answered.status.as_u16() % 100));
        if let Some(statuses) = self.requests[method].get(usize::from(class).wrapping_sub(1)) {
            statuses.get_or_init(|| Box::new(std::array::from_fn(|_| Count::default())))[number].add(1);
        }
        if let Some(duration) = answered.duration {
            self.duration.observe(duration);
        }
        if let Some(PluginTimes { queue, handler }) = answered.plugin_times {
            self.queue.observe(queue);
            self.handler.observe(handler);
        }
        self.body_bytes.add(answered.body_bytes);
        if let Some(reason) = answered.refusal {
            self.refusals[reason as usize].add(1);
        }
    }
}

/// Slots that are made at a time.
const CHUNK: usize = 64;

type Chunk = OnceLock<Box<[OnceLock<Box<PluginCounts>>]>>;

/// All that one thread counts.
#[derive(Debug)]
pub(crate) struct ThreadCounts {
    plugins: Box<[Chunk]>,
    /// What concerns the server as a whole.
    pub server: ServerCounts,
    versions: [Count; VERSIONS.len()],
}

impl Default for ThreadCounts {
    fn default() -> Self {
        let plugins = (0..SLOTS / CHUNK).map(|_| OnceLock::new()).collect();
        Self { plugins, server: ServerCounts::default(), versions: Default::default() }
    }
}

thread_local! {
    static CURRENT: Cell<Option<&'static ThreadCounts>> = const { Cell::new(None) };
}

static THREADS: Mutex<Vec<&'static ThreadCounts>> = Mutex::new(Vec::new());

/// The block of the current thread.
#[inline]
pub(crate) fn current() -> &'static ThreadCounts {
    CURRENT.get().unwrap_or_else(register)
}

#[cold]
fn register() -> &'static ThreadCounts {
    let counts: &'static ThreadCounts = Box::leak(Box::default());
    CURRENT.set(Some(counts));
    THREADS.lock().unwrap_or_else(PoisonError::into_inner).push(counts);
    counts
}

/// The blocks of all threads.
pub(crate) fn all() -> Vec<&'static ThreadCounts> {
    THREADS.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

impl ThreadCounts {
    /// What has been counted for `slot`, if anything was.
    pub(crate) fn plugin(&self, slot: Slot) -> Option<&PluginCounts> {
        let chunk = self.plugins.get(slot.index() / CHUNK)?.get()?;
        chunk.get(slot.index() % CHUNK)?.get().map(|counts| &**counts)
    }

    /// How many requests came by each of [`VERSIONS`].
    pub(crate) fn versions(&self) -> impl Iterator<Item = u64> {
        self.versions.iter().map(Count::get)
    }

    #[inline]
    fn plugin_or_new(&self, slot: Slot) -> &PluginCounts {
        let chunk = self.plugins[slot.index() / CHUNK].get_or_init(|| (0..CHUNK).map(|_| OnceLock::new()).collect());
        chunk[slot.index() % CHUNK].get_or_init(Box::default)
    }

    /// Counts a request that is answered; only for the thread whose block it is.
    #[inline]
    pub(crate) fn note(&self, answered: &AnsweredRequest) {
        self.plugin_or_new(answered.slot).note(answered);
        let version = match answered.version {
            Some(Version::HTTP_11) => 1,
            Some(Version::HTTP_2) => 2,
            Some(_) => 0,
            None => return,
        };
        self.versions[version].add(1);
    }

    /// Counts bytes of a body that were not known beforehand.
    pub(crate) fn note_body(&self, slot: Slot, bytes: usize) {
        self.plugin_or_new(slot).body_bytes.add(bytes as u64);
    }

    /// Counts an exception that a handler has raised.
    #[cold]
    pub(crate) fn note_exception(&self, slot: Slot, type_name: &str) {
        let counts = &self.plugin_or_new(slot).exceptions;
        let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = counts.len() < EXCEPTION_TYPES || counts.contains_key(type_name);
        *counts.entry(if has_room { type_name } else { OTHER_EXCEPTIONS }.to_owned()).or_insert(0) += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn answered(slot: Slot, method: &Method, status: u16) -> AnsweredRequest {
        AnsweredRequest {
            slot,
            method: CountedMethod::of(method),
            version: Some(Version::HTTP_11),
            status: StatusCode::from_u16(status).unwrap(),
            duration: Some(Duration::from_millis(2)),
            plugin_times: None,
            body_bytes: 10,
            refusal: None,
        }
    }

    #[test]
    fn requests_are_counted_by_method_and_status() {
        let (counts, slot) = (ThreadCounts::default(), Slot::of(&Arc::from("thread/requests")));
        assert!(counts.plugin(slot).is_none());
        let odd = Method::from_bytes(b"BREW").unwrap();
        for (method, status) in [(&Method::GET, 200), (&Method::GET, 200), (&Method::PUT, 599), (&odd, 100)] {
            counts.note(&answered(slot, method, status));
        }
        assert_eq!(METHODS.len(), usize::from(CountedMethod::UNKNOWN.0));
        counts.note(&answered(slot, &Method::GET, 999));
        let mut seen = Vec::new();
        let plugin = counts.plugin(slot).unwrap();
        plugin.requests(|method, code, count| seen.push((method, code, count)));
        assert_eq!([("GET", 200, 2), ("PUT", 599, 1), ("other", 100, 1)], *seen);
        assert_eq!([0, 5, 0], *counts.versions().collect::<Vec<_>>());
        let mut durations = super::super::counter::HistogramSum::default();
        durations.add(&plugin.duration);
        assert_eq!((5, 50), (durations.count(), plugin.body_bytes.get()));
    }

    #[test]
    fn refusals_are_counted_by_their_reason() {
        let counts = ThreadCounts::default();
        let status = StatusCode::BAD_REQUEST;
        counts.note(&AnsweredRequest::malformed(CountedMethod::UNKNOWN, status, RefusalReason::Malformed));
        counts.note(&AnsweredRequest::malformed(CountedMethod::UNKNOWN, status, RefusalReason::WrongKey));
        let refusals: Vec<_> =
            counts.plugin(Slot::NO_PLUGIN).unwrap().refusals().map(|(reason, count)| (reason.name(), count)).collect();
        assert_eq!((("wrong_key", 1), ("malformed", 1)), (refusals[0], refusals[6]));
        assert_eq!(2, refusals.iter().map(|(_, count)| count).sum::<u64>());
    }

    #[test]
    fn types_of_exceptions_beyond_a_number_are_one() {
        let (counts, slot) = (ThreadCounts::default(), Slot::of(&Arc::from("thread/exceptions")));
        for number in 0..EXCEPTION_TYPES + 2 {
            counts.note_exception(slot, &format!("Error{number}"));
        }
        counts.note_exception(slot, "Error0");
        let exceptions = counts.plugin(slot).unwrap().exceptions();
        assert_eq!((Some(&2), Some(&2)), (exceptions.get("Error0"), exceptions.get(OTHER_EXCEPTIONS)));
        assert_eq!(EXCEPTION_TYPES + 1, exceptions.len());
    }

    #[test]
    fn each_thread_has_a_block_of_its_own_which_stays() {
        let slot = Slot::of(&Arc::from("thread/blocks"));
        let threads = [1, 2].map(|number| {
            std::thread::spawn(move || {
                (0..number).for_each(|_| current().note(&answered(slot, &Method::GET, 200)));
            })
        });
        for thread in threads {
            thread.join().unwrap();
        }
        let mut seen: Vec<_> = Vec::new();
        for plugin in all().iter().filter_map(|counts| counts.plugin(slot)) {
            plugin.requests(|_, _, count| seen.push(count));
        }
        seen.sort_unstable();
        assert_eq!([1, 2], *seen);
    }
}

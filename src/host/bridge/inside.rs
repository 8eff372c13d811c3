//! Which request the Python thread is inside of, for a thread that must not wait for it.
//!
//! Written on the Python thread whenever it enters or leaves a handler, read by the watchdog. Promise: both cost a few
//! stores to memory, and what is read is of one request. Caveat: ids that clients have chosen are kept behind a lock,
//! and nothing is noted before [`watch`] is called, in a server.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::edge::http::request_id::RequestId;

/// The request that a handler is called for.
#[derive(Clone)]
pub struct Mark {
    /// The number of the plugin, counted from 1.
    plugin: u32,
    bits: u128,
    /// An id that the client has chosen.
    chosen: Option<Arc<str>>,
}

/// What is noted; even while [`Noted::version`] is.
struct Noted {
    version: AtomicU32,
    plugin: AtomicU32,
    bits: [AtomicU64; 2],
}

static NOTED: Noted =
    Noted { version: AtomicU32::new(0), plugin: AtomicU32::new(0), bits: [AtomicU64::new(0), AtomicU64::new(0)] };
static CHOSEN: Mutex<Option<Arc<str>>> = Mutex::new(None);
static PLUGINS: Mutex<Vec<Arc<str>>> = Mutex::new(Vec::new());
static IS_WATCHED: AtomicBool = AtomicBool::new(false);

fn lock<T>(mutex: &'static Mutex<T>) -> MutexGuard<'static, T> {
    // Values are only replaced or added under these locks, so a panic elsewhere leaves them whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has requests noted from now on, on the one thread that handlers run on.
pub(crate) fn watch() {
    IS_WATCHED.store(true, Ordering::Relaxed);
}

/// The number that stands for the plugin with this id.
pub(crate) fn number_of(id: &Arc<str>) -> u32 {
    let mut plugins = lock(&PLUGINS);
    let index = plugins.iter().position(|known| known == id).unwrap_or_else(|| {
        plugins.push(Arc::clone(id));
        plugins.len() - 1
    });
    u32::try_from(index + 1).unwrap_or(0)
}

impl Mark {
    /// The request with this id, to the plugin of this number.
    pub(crate) fn new(plugin: u32, id: &RequestId) -> Self {
        Self { plugin, bits: id.bits(), chosen: id.chosen().map(Arc::from) }
    }
}

/// The thread is inside of a request; as before when this is dropped.
#[must_use]
pub(crate) struct Entered(Before);

/// Where the thread was before.
enum Before {
    /// That is not to be noted, or has not changed.
    Same,
    Outside,
    /// Inside of another request, as when a handler calls another plugin.
    Request(Box<Mark>),
}

impl Drop for Entered {
    #[inline]
    fn drop(&mut self) {
        match &self.0 {
            Before::Same => {}
            Before::Outside => NOTED.plugin.store(0, Ordering::Relaxed),
            Before::Request(mark) => note(mark),
        }
    }
}

/// Notes that the Python thread is inside of this request until the result is dropped.
#[inline]
pub(crate) fn enter(mark: &Mark) -> Entered {
    if !IS_WATCHED.load(Ordering::Relaxed) {
        return Entered(Before::Same);
    }
    let before = match NOTED.plugin.load(Ordering::Relaxed) {
        0 => Before::Outside,
        plugin => outer(plugin, mark),
    };
    note(mark);
    Entered(before)
}

/// What the thread is inside of, which is a request to `plugin`, before it enters the request `mark`.
#[cold]
fn outer(plugin: u32, mark: &Mark) -> Before {
    let bits = NOTED.bits();
    if (plugin, bits) == (mark.plugin, mark.bits) && mark.chosen.is_none() {
        return Before::Same;
    }
    let chosen = if bits == 0 { lock(&CHOSEN).clone() } else { None };
    Before::Request(Box::new(Mark { plugin, bits, chosen }))
}

/// Notes that the thread is inside of this request.
fn note(mark: &Mark) {
    if let Some(chosen) = &mark.chosen {
        *lock(&CHOSEN) = Some(Arc::clone(chosen));
    }
    NOTED.store(mark.plugin, mark.bits);
}

impl Noted {
    fn bits(&self) -> u128 {
        let [high, low] = &self.bits;
        u128::from(high.load(Ordering::Relaxed)) << 64 | u128::from(low.load(Ordering::Relaxed))
    }

    /// Only one thread calls this.
    #[inline]
    fn store(&self, plugin: u32, bits: u128) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        self.plugin.store(plugin, Ordering::Relaxed);
        #[expect(clippy::cast_possible_truncation, reason = "the halves of the number")]
        let halves = [(bits >> 64) as u64, bits as u64];
        for (place, half) in self.bits.iter().zip(halves) {
            place.store(half, Ordering::Relaxed);
        }
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }
}

/// The plugin and the id of the request that the Python thread is inside of; for any thread.
pub(crate) fn current() -> Option<(Arc<str>, String)> {
    // A thread that changes it all the time is not one that hangs.
    for _ in 0..100 {
        let version = NOTED.version.load(Ordering::Acquire);
        let (plugin, bits) = (NOTED.plugin.load(Ordering::Relaxed), NOTED.bits());
        fence(Ordering::Acquire);
        if version.is_multiple_of(2) && version == NOTED.version.load(Ordering::Relaxed) {
            let index = usize::try_from(plugin).ok()?.checked_sub(1)?;
            let id = Arc::clone(lock(&PLUGINS).get(index)?);
            let chosen = if bits == 0 { lock(&CHOSEN).as_deref().map(str::to_owned) } else { None };
            return Some((id, chosen.unwrap_or_else(|| format!("{bits:032x}"))));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    #[test]
    fn the_innermost_request_is_noted_and_the_outer_one_again_after_it() {
        watch();
        let [shop, stock] = ["shop", "stock"].map(|id| number_of(&Arc::from(id)));
        assert_eq!(shop, number_of(&Arc::from("shop")));
        let chosen = HeaderMap::from_iter([("x-request-id".parse().unwrap(), HeaderValue::from_static("mine"))]);
        let [outer, inner] = [RequestId::fresh(), RequestId::from_headers(&chosen)];
        let (outer_mark, inner_mark) = (Mark::new(shop, &outer), Mark::new(stock, &inner));
        assert_eq!(None, current());
        let entered = enter(&outer_mark);
        let again = enter(&outer_mark);
        drop(again);
        let nested = enter(&inner_mark);
        assert_eq!(Some((Arc::from("stock"), "mine".to_owned())), current());
        drop(nested);
        assert_eq!(Some((Arc::from("shop"), outer.to_string())), current());
        drop(entered);
        assert_eq!(None, current());
    }
}

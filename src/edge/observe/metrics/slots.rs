//! The places in which the figures of plugins stand.
//!
//! Given out on the Python thread, read where figures are shown. Promise: an id has the same place for as long as the
//! process lives, so that its figures go on over reloads, and finding them takes no search. Caveat: places are never
//! given back; an id beyond the last one shares that of the server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What stands for requests that no plugin is behind: those to the server's own addresses, to static files and to
/// nothing at all. No plugin can have this id.
pub(crate) const NO_PLUGIN: &str = "-";

/// Places that there are.
pub(super) const SLOTS: usize = 1 << 16;

/// The place of a plugin's figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Slot(u32);

#[derive(Default)]
struct Slots {
    by_id: HashMap<Arc<str>, Slot>,
}

static GIVEN: Mutex<Option<Slots>> = Mutex::new(None);

fn lock() -> MutexGuard<'static, Option<Slots>> {
    // Places are only added under the lock, so a panic elsewhere leaves them whole.
    GIVEN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Slot {
    /// That of requests without a plugin.
    pub(crate) const NO_PLUGIN: Self = Self(0);

    /// That of the plugin with this id.
    pub(crate) fn of(id: &Arc<str>) -> Self {
        let mut given = lock();
        let Slots { by_id } = given.get_or_insert_default();
        if let Some(slot) = by_id.get(id) {
            return *slot;
        }
        let next = by_id.len() + 1;
        let slot = if next < SLOTS { u32::try_from(next).map_or(Self::NO_PLUGIN, Self) } else { Self::NO_PLUGIN };
        by_id.insert(Arc::clone(id), slot);
        slot
    }

    /// That of the plugin with this id, if it has one.
    pub(crate) fn known(id: &str) -> Option<Self> {
        if id == NO_PLUGIN {
            return Some(Self::NO_PLUGIN);
        }
        lock().as_ref()?.by_id.get(id).copied().filter(|slot| *slot != Self::NO_PLUGIN)
    }

    /// Its number, below [`SLOTS`].
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_keeps_its_place() {
        let [one, other] = ["slots/one", "slots/other"].map(|id| Slot::of(&Arc::from(id)));
        assert_ne!(one, other);
        assert_eq!((one, Some(one)), (Slot::of(&Arc::from("slots/one")), Slot::known("slots/one")));
        assert_eq!((None, Some(Slot::NO_PLUGIN)), (Slot::known("slots/none"), Slot::known("-")));
    }
}

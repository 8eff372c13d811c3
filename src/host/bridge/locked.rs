//! Values that the Python thread changes, behind locks under which no Python code runs.
//!
//! Runs on any thread. Python may run code at any time: allocating one of its objects may start the garbage collector,
//! dropping one may run its finaliser, and either may want the very lock that is held. Promise: what is done to a
//! locked value is a closure that can hold neither `Python` nor `Bound`, so that it only moves and compares; what was
//! in its place comes out and is dropped by the caller. Builds with debug assertions panic when a second value is
//! locked, or the garbage collector looks at one, inside such a closure. Caveat: `Python::attach` and the drop of a
//! `Py` are still possible there; they must not be written.

#[cfg(debug_assertions)]
use std::cell::Cell;
use std::sync::{Mutex, PoisonError};

use pyo3::gc::PyTraverseError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

#[cfg(debug_assertions)]
thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// A value behind a lock.
#[derive(Debug, Default)]
pub(crate) struct Locked<T>(Mutex<T>);

impl<T> Locked<T> {
    /// Puts `value` behind a lock.
    pub(crate) const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    /// Does `work` to the value; what it takes out is dropped by the caller.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut T) -> R + Send) -> R {
        let _inside = Inside::enter();
        // Values are only moved and compared under the lock, so a panic leaves them whole.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Does `work` to the value like [`Locked::with`]; it may make further references to objects, which runs nothing.
    pub(crate) fn with_references<R>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut T, &References<'_>) -> R + Send,
    ) -> R {
        let _inside = Inside::enter();
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner), &References(py))
    }

    /// Puts `value` there and returns what was there.
    #[must_use = "it is dropped outside of the lock"]
    pub(crate) fn replace(&self, value: T) -> T
    where
        T: Send,
    {
        self.with(|held| std::mem::replace(held, value))
    }

    /// Takes the value out.
    pub(crate) fn take(&self) -> T
    where
        T: Default + Send,
    {
        self.replace(T::default())
    }

    /// Shows the value to the garbage collector.
    ///
    /// # Errors
    /// What the collector's visitor says.
    pub(crate) fn traverse(&self, show: impl FnOnce(&T) -> Result<(), PyTraverseError>) -> Result<(), PyTraverseError> {
        #[cfg(debug_assertions)]
        assert!(!INSIDE.get(), "the garbage collector runs while a value is locked");
        // Held by another thread, which has lent the interpreter to this one: the value is seen the next time.
        self.0.try_lock().map_or(Ok(()), |value| show(&value))
    }
}

/// Notes that this thread has locked a value.
struct Inside;

impl Inside {
    fn enter() -> Self {
        #[cfg(debug_assertions)]
        assert!(!INSIDE.replace(true), "a value is locked while another one is: Python code ran under a lock");
        Self
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        #[cfg(debug_assertions)]
        INSIDE.set(false);
    }
}

/// Makes references where there may be no `Python`.
pub(crate) struct References<'py>(Python<'py>);

impl References<'_> {
    /// Another reference to `object`.
    pub(crate) fn again<T>(&self, object: &Py<T>) -> Py<T> {
        object.clone_ref(self.0)
    }
}

/// What is in `cell`; made if it is empty. Unlike [`PyOnceLock::get_or_try_init`] it may be asked for while it is being
/// made, by Python code that runs meanwhile: then it is made twice, and the first one stays.
///
/// # Errors
/// What `make` says.
pub(crate) fn made_once<'a, T>(
    py: Python<'_>,
    cell: &'a PyOnceLock<T>,
    make: impl FnOnce() -> PyResult<T>,
) -> PyResult<&'a T> {
    if let Some(value) = cell.get(py) {
        return Ok(value);
    }
    let value = make()?;
    Ok(cell.get_or_init(py, || value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_comes_out() {
        let locked = Locked::new(Some(1));
        assert_eq!(Some(1), locked.replace(Some(2)));
        assert_eq!(Some(2), locked.take());
        assert_eq!(None, locked.with(|held| *held));
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "Python code ran under a lock")]
    fn two_values_are_not_locked_at_once() {
        let (one, other) = (Locked::new(1), Locked::new(2));
        one.with(|_| other.with(|_| ()));
    }

    #[test]
    #[cfg(debug_assertions)]
    fn a_panic_under_a_lock_leaves_the_thread_free_to_lock() {
        let locked = Locked::new(1);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| locked.with(|_| panic!("on purpose"))));
        assert!(panicked.is_err());
        assert_eq!(1, locked.take());
    }

    #[test]
    fn what_is_asked_for_while_it_is_made_is_made_twice() {
        Python::initialize();
        Python::attach(|py| {
            let cell = PyOnceLock::new();
            let outer = made_once(py, &cell, || {
                assert_eq!(&1, made_once(py, &cell, || Ok(1))?);
                Ok(2)
            });
            assert_eq!(&1, outer.unwrap());
        });
    }
}

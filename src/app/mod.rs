//! The composition root: the one place that knows every part and puts them together.
//!
//! [`shared`] is what the I/O threads and the Python thread have in common, [`service`] the way of a request through
//! the native stages, [`documents`] what it serves from the disk, [`io`] the threads that serve it, [`host`] the life of
//! the server on the Python thread with [`reload`] and [`stop`], [`supervisor`] the thread that hears signals, [`run`]
//! the order of it all; [`rehearsal`] serves one plugin to its own tests. Caveat: nothing imports this module but the
//! command line and the crate's root.

pub(crate) mod inherited;
pub(crate) mod pidfile;
pub(crate) mod run;
pub(crate) mod supervisor;

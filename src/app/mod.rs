//! Wiring: starts the parts of the server in order, and ends them.
//!
//! [`run`] has the order, on the Python thread (main). [`supervisor`] is the thread that waits for signals.
//! [`inherited`] keeps sockets through a restart, [`pidfile`] writes the process id. Nothing imports this module but
//! the command line and the crate's root.

pub(crate) mod inherited;
pub(crate) mod pidfile;
pub(crate) mod run;
pub(crate) mod supervisor;

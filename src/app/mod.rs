//! Wiring: starts the parts of the server in order, and ends them.
//!
//! [`run`] has the order, on the Python thread (main). [`supervisor`] is the thread that waits for signals.
//! [`inherited`] keeps sockets through a restart, [`pidfile`] writes the process id. In an upgrade, [`successor`] is
//! what the old process does, [`predecessor`] what the new one does, and [`handover`] what they tell each other.
//! [`trial`] imports plugin files without serving them. Nothing imports this module but the command line and the crate's root.

pub(crate) mod handover;
pub(crate) mod inherited;
pub(crate) mod pidfile;
pub(crate) mod predecessor;
pub(crate) mod run;
pub(crate) mod successor;
pub(crate) mod supervisor;
pub(crate) mod trial;

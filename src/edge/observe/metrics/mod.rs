//! Figures of what the server does, for `/-/metrics`.
//!
//! Each thread counts for itself ([`thread`]); a request for the figures adds them up and writes them as text
//! ([`exposition`]). Promise: the names of all figures stand in [`family`] and nowhere else. Caveat: figures are of the
//! process, so those of one that took over in an upgrade begin at 0.

pub(crate) mod counter;
pub(crate) mod exposition;
pub(crate) mod family;
pub(crate) mod incidents;
pub(crate) mod own;
pub(crate) mod process;
pub(crate) mod server;
pub(crate) mod slots;
pub(crate) mod thread;

//! The one log stream of the process.


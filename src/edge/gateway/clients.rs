//! What clients have done so far: requests for which there is a rate, wrong keys, log-ins.
//!
//! Written on the I/O threads. Promise: a reload keeps it. Caveat: a new process begins with nothing.

use crate::edge::policy::rate::RateTable;
use crate::edge::policy::session::Sessions;
use crate::edge::policy::wrong_keys::WrongKeys;

/// One for the server.
#[derive(Debug, Default)]
pub(crate) struct ClientRecords {
    /// Requests of clients and with keys, for what has a rate.
    pub rates: RateTable,
    /// Wrong keys.
    pub wrong_keys: WrongKeys,
    /// Browsers that have logged in.
    pub sessions: Sessions,
}

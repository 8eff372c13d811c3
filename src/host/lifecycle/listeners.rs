//! What of the sockets and limits changes with a reload.
//!
//! Runs on the Python thread. Promise: a new address is bound, and copied for the I/O threads, before anything else of
//! the reload has an effect, so that the change itself cannot fail. Caveat: connections of an address that is not
//! served any more go on to their end.

use std::io::ErrorKind;

use super::generation::Draft;
use super::handle::{NewListener, Timings};
use super::host::Host;
use crate::edge::config::diagnostic::Diagnostic;
use crate::edge::config::settings::Settings;
use crate::edge::config::socket_address::SocketAddress;
use crate::edge::control::stalls::StallLimits;
use crate::edge::http::listener;
use crate::edge::observe::service_manager;

/// What is to be done about the addresses.
#[derive(Default)]
pub(super) struct Changes {
    /// What `[network]` says then, and where the server really listens; nothing if that stays as it is.
    addresses: Option<Vec<(SocketAddress, SocketAddress)>>,
    /// Sockets that are served in addition.
    new: Vec<NewListener>,
    /// Addresses that are not served any more.
    gone: Vec<SocketAddress>,
}

impl Host {
    /// Binds the addresses that the draft's settings name and that are not served yet.
    ///
    /// # Errors
    /// Why one cannot be had, with the line that names it.
    pub(super) fn bind_new(&self, draft: &Draft) -> Result<Changes, String> {
        let settings = &draft.generation().settings;
        if settings.listen == self.generation().settings.listen || self.handle.has_given_sockets() {
            return Ok(Changes::default());
        }
        let mut served = self.addresses.with(|addresses| addresses.clone());
        let (mut addresses, mut new) = (Vec::new(), Vec::new());
        for address in &settings.listen {
            // Port 0 stays on the port that clients know.
            if let Some(index) = served.iter().position(|(configured, _)| configured == address) {
                addresses.push(served.swap_remove(index));
                continue;
            }
            // The very address may be served for port 0 already.
            if let Some(index) = served.iter().position(|(_, local)| local == address) {
                addresses.push((address.clone(), served.swap_remove(index).1));
                continue;
            }
            let bound = listener::bind(std::slice::from_ref(address), settings.network.unix).map_err(|error| {
                let in_the_way = |all: &Vec<(_, SocketAddress)>| {
                    all.iter().map(|(_, old)| old).find(|old| old.overlaps(address)).cloned()
                };
                let in_the_way = self.addresses.with(|all| in_the_way(all));
                let reason = match in_the_way.filter(|_| error.reason.kind() == ErrorKind::AddrInUse) {
                    Some(old) => {
                        format!("{address} cannot be had while {old} is served; restart the server by SIGUSR1")
                    }
                    None => error.to_string(),
                };
                at_its_line(settings, &reason)
            })?;
            for listener in bound {
                let local = listener.address().clone();
                let prepared = self.handle.prepare_listener(listener);
                new.push(prepared.map_err(|error| at_its_line(settings, &format!("{address}: {error}")))?);
                addresses.push((address.clone(), local));
            }
        }
        let gone = served.into_iter().map(|(_, local)| local).collect();
        Ok(Changes { addresses: Some(addresses), new, gone })
    }

    /// Serves the addresses of the new settings, and no others any more.
    pub(super) fn change_listeners(&self, changes: Changes) {
        let Changes { addresses: Some(addresses), new, gone } = changes else { return };
        let is_old = |local: &SocketAddress| self.addresses.with(|before| before.iter().any(|(_, old)| old == local));
        for (_, local) in addresses.iter().filter(|(_, local)| !is_old(local)) {
            tracing::info!("Listening on {local} as well");
        }
        for local in &gone {
            tracing::info!("Listening on {local} no more; its open connections go on");
        }
        if !gone.is_empty() {
            // What is left comes with the report at the end of the reload.
            service_manager::forget_sockets();
        }
        self.handle.replace_listeners(&gone, new);
        self.set_addresses(addresses);
    }

    /// Goes by the new limits and timings.
    pub(super) fn change_limits(&self, settings: &Settings) {
        self.handle.set_timings(Timings::new(&settings.server));
        let state = &self.handle.state;
        state.total.set_max(settings.limits.in_flight);
        state.client_places.set_max(settings.limits.in_flight_per_client);
        state.connections.set_limits(&settings.limits);
        state.stalls.set_limits(StallLimits::new(&settings.server));
    }
}

fn at_its_line(settings: &Settings, reason: &str) -> String {
    let line = &settings.listen_line;
    Diagnostic::error(line.location.clone(), reason).in_section("network").at_key(line.key).to_string()
}

//! The ini file as typed settings: parsed once and checked once, with all errors reported together.
//!
//! Runs on the Python thread, at the start and at a reload; the settings are then read by all threads. The steps of a
//! value: [`ini`] holds the raw file (sections, keys, line numbers), [`overrides`] replaces texts by environment
//! variables, [`interpolation`] resolves `${…}` with the types of [`value`] and makes a [`resolved`] configuration,
//! [`relative_paths`] decides what relative paths are relative to, [`settings`] picks out what the server itself uses.
//! [`schema`] lists the names that the server uses, [`fields`] parses their kinds of value, [`diagnostic`] describes a
//! problem. Nothing here calls the interpreter: `host::python::config` has CPython's own `configparser` read the file
//! and passes the raw result on.

pub(crate) mod diagnostic;
pub(crate) mod difference;
pub(crate) mod fields;
pub(crate) mod ini;
pub(crate) mod interpolation;
pub(crate) mod keys;
pub(crate) mod launch;
pub(crate) mod overrides;
pub(crate) mod places;
pub(crate) mod proxies;
pub(crate) mod rate;
pub(crate) mod relative_paths;
pub(crate) mod resolved;
pub(crate) mod schema;
pub(crate) mod settings;
pub(crate) mod shown;
pub(crate) mod socket_address;
pub(crate) mod value;

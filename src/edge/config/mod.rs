//! The ini file as typed settings: parsed once, checked once, every error reported together.
//!
//! The way of a value: [`ini`] holds the raw file (sections, keys, line numbers), [`overrides`] lets environment
//! variables replace texts, [`interpolation`] resolves `${…}` with the types of [`value`] and gives a [`resolved`],
//! [`relative_paths`] says where its relative paths begin, [`settings`] picks out what the host itself uses. [`schema`] lists the names the host knows, [`fields`] reads the
//! kinds of value it expects, [`diagnostic`] is how a problem is told. Caveat: this module never touches the
//! interpreter; `python::config` has CPython's own `configparser` read the file and hands the raw result over.

pub(crate) mod diagnostic;
pub(crate) mod fields;
pub(crate) mod ini;
pub(crate) mod interpolation;
pub(crate) mod launch;
pub(crate) mod overrides;
pub(crate) mod relative_paths;
pub(crate) mod resolved;
pub(crate) mod schema;
pub(crate) mod settings;
pub(crate) mod value;

//! The ini file as typed settings: parsed once, checked once, every error reported together.
//!
//! [`ini`] holds the raw file (sections, keys, line numbers), [`value`] turns texts into typed values and resolves
//! `${…}`, [`settings`] picks out what the host itself uses, [`diagnostic`] is how a problem is told. Caveat: this
//! module never touches the interpreter; `python::config` has CPython's own `configparser` read the file and hands
//! the raw result over.

pub mod diagnostic;
pub mod ini;
pub mod settings;
pub mod value;

//! sysinfo

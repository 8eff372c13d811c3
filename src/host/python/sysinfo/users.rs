//! Who is logged in, from the login records.
//!
//! Runs on any Python thread. `sysinfo` knows accounts, not logins. Caveat: systems that replaced utmp by logind, and
//! most containers, keep no records; the result is then empty, as with psutil.

use pyo3::prelude::*;

/// A login: name, terminal, remote host, seconds since the epoch, process id of the session's leader.
type Login = (String, String, String, i64, i32);

/// The current logins.
///
/// # Errors
/// `OSError` when the records are there and cannot be read; `NotImplementedError` off Linux.
#[pyfunction]
pub(crate) fn users() -> PyResult<Vec<Login>> {
    #[cfg(target_os = "linux")]
    {
        match std::fs::read("/var/run/utmp") {
            Ok(records) => Ok(linux::logins(&records)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }
    #[cfg(not(target_os = "linux"))]
    super::unavailable("users")
}

#[cfg(target_os = "linux")]
mod linux {
    use std::mem::{offset_of, size_of};

    use nix::libc::{USER_PROCESS, utmpx};

    use super::Login;

    // The layout is the C library's: 64-bit time on aarch64, 32-bit on x86-64, where old programs share the file.
    const RECORD: usize = size_of::<utmpx>();
    const HAS_WIDE_TIME: bool = offset_of!(utmpx, ut_addr_v6) - offset_of!(utmpx, ut_tv) == 16;

    /// The user sessions among the records; a record cut short at the end is left out.
    pub(super) fn logins(records: &[u8]) -> Vec<Login> {
        records.chunks_exact(RECORD).filter_map(login).collect()
    }

    fn login(record: &[u8]) -> Option<Login> {
        if i16::from_ne_bytes(bytes(record, offset_of!(utmpx, ut_type))?) != USER_PROCESS {
            return None;
        }
        let seconds = offset_of!(utmpx, ut_tv);
        let started = if HAS_WIDE_TIME {
            i64::from_ne_bytes(bytes(record, seconds)?)
        } else {
            i64::from(i32::from_ne_bytes(bytes(record, seconds)?))
        };
        Some((
            text(record, offset_of!(utmpx, ut_user), 32)?,
            text(record, offset_of!(utmpx, ut_line), 32)?,
            text(record, offset_of!(utmpx, ut_host), 256)?,
            started,
            i32::from_ne_bytes(bytes(record, offset_of!(utmpx, ut_pid))?),
        ))
    }

    fn bytes<const N: usize>(record: &[u8], at: usize) -> Option<[u8; N]> {
        record.get(at..at + N)?.try_into().ok()
    }

    /// A field that ends at its first NUL, or fills its width without one.
    fn text(record: &[u8], at: usize, width: usize) -> Option<String> {
        let field = record.get(at..at + width)?;
        let end = field.iter().position(|&byte| byte == 0).unwrap_or(width);
        Some(String::from_utf8_lossy(&field[..end]).into_owned())
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn record(kind: i16, user: &str, host: &str) -> Vec<u8> {
            let mut record = vec![0; RECORD];
            let mut put = |at: usize, bytes: &[u8]| record[at..at + bytes.len()].copy_from_slice(bytes);
            put(offset_of!(utmpx, ut_type), &kind.to_ne_bytes());
            put(offset_of!(utmpx, ut_pid), &4711_i32.to_ne_bytes());
            put(offset_of!(utmpx, ut_line), b"pts/0");
            put(offset_of!(utmpx, ut_user), user.as_bytes());
            put(offset_of!(utmpx, ut_host), host.as_bytes());
            put(offset_of!(utmpx, ut_tv), &1_700_000_000_i32.to_ne_bytes());
            record
        }

        #[test]
        fn only_user_sessions_are_logins() {
            let boot = nix::libc::BOOT_TIME;
            let records = [record(boot, "reboot", "6.1"), record(USER_PROCESS, "ada", "192.0.2.7")].concat();
            let ada = ("ada".into(), "pts/0".into(), "192.0.2.7".into(), 1_700_000_000, 4711);
            assert_eq!(logins(&records), [ada]);
        }

        #[test]
        fn a_name_may_fill_its_field_and_a_torn_record_is_left_out() {
            let long = "a".repeat(32);
            let whole = record(USER_PROCESS, &long, "");
            assert_eq!(logins(&[&whole[..], &whole[..100]].concat())[0].0, long);
            assert_eq!(logins(&whole[..RECORD - 1]), []);
        }
    }
}

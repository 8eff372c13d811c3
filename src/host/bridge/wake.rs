//! A file descriptor that asyncio can watch and any thread can make readable.
//!
//! Promise: after [`Wake::set`] the descriptor stays readable until [`Wake::clear`], however often it was set; neither
//! ever blocks. Caveat: a `set` is a system call, so [`super::submission_queue`] makes one only when the reader is asleep.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// The readable end is watched by the event loop; on Linux both ends are one eventfd.
pub(crate) struct Wake {
    read: OwnedFd,
    #[cfg(not(target_os = "linux"))]
    write: OwnedFd,
}

impl Wake {
    /// Opens a descriptor that is not readable yet.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    #[cfg(target_os = "linux")]
    pub(crate) fn new() -> io::Result<Self> {
        use rustix::event::{EventfdFlags, eventfd};
        Ok(Self { read: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? })
    }

    /// Opens a descriptor that is not readable yet.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn new() -> io::Result<Self> {
        let (read, write) = rustix::pipe::pipe()?;
        for end in [&read, &write] {
            rustix::io::fcntl_setfd(end, rustix::io::FdFlags::CLOEXEC)?;
            rustix::io::ioctl_fionbio(end, true)?;
        }
        Ok(Self { read, write })
    }

    /// The descriptor to watch for reading.
    pub(crate) fn raw_fd(&self) -> RawFd {
        self.read.as_raw_fd()
    }

    /// Makes the descriptor readable.
    pub(crate) fn set(&self) {
        #[cfg(target_os = "linux")]
        let (end, token) = (&self.read, 1u64.to_ne_bytes());
        #[cfg(not(target_os = "linux"))]
        let (end, token) = (&self.write, [1u8]);
        // The only failure left is "would block": the counter or the pipe is full, so it is readable already.
        let _ = rustix::io::write(end, &token);
    }

    /// Makes the descriptor unreadable again.
    pub(crate) fn clear(&self) {
        let mut sink = [0u8; 8];
        while matches!(rustix::io::read(&self.read, &mut sink), Ok(n) if n == sink.len() && cfg!(not(target_os = "linux")))
        {
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn readable(wake: &Wake) -> bool {
        let mut fds = [PollFd::new(&wake.read, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).expect("polling one descriptor") == 1
    }

    #[test]
    fn stays_readable_from_the_first_set_until_cleared() {
        let wake = Wake::new().expect("a descriptor");
        assert!(!readable(&wake));
        wake.set();
        wake.set();
        assert!(readable(&wake));
        wake.clear();
        assert!(!readable(&wake));
    }
}

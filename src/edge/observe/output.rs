//! Writes lines to a descriptor, whether or not anything reads them.
//!
//! Used on all threads. Lines are written in the order in which they were put in. What the output accepts at once is
//! written by the calling thread; the rest waits in a bounded queue for a thread that belongs to the output, the only
//! one that may block. Lines for which there is no room, or that cannot be written, are counted, and their number is
//! reported as soon as the output accepts lines again. In a forked child, which has none of the threads and may have
//! inherited a lock that is never released, lines are written directly. Caveat: a regular file is assumed to accept
//! everything at once, so a disk that hangs blocks the threads that log.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use nix::sys::signal::SigSet;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FileType;
use rustix::io::Errno;

use super::line::{self, Level};

/// Bytes that may wait for an output; one line that is longer waits alone.
const CAPACITY: usize = 1024 * 1024;

/// Bytes of it that are for lines of WARN and above alone, so that others cannot take their room.
const RESERVED: usize = CAPACITY / 4;

/// Longest wait of a line of WARN or above for room, on a thread that [`may_wait`].
const ROOM_TIMEOUT: Duration = Duration::from_millis(100);

/// Longest wait for lines that are on their way, after which the output counts as one that hangs.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(100);

/// How long an output's thread stays without work.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the thread waits for room before it looks at the descriptor again, which may be another one by then.
const ROOM: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

thread_local! {
    static MAY_WAIT: Cell<bool> = const { Cell::new(false) };
}

/// Has lines of WARN and above on this thread wait a moment for room in the queue. Not for threads that others depend
/// on: those of the I/O and of the signals never wait.
pub(crate) fn may_wait() {
    MAY_WAIT.set(true);
}

/// The process that has the threads; its forked children have another id.
static PROCESS: LazyLock<u32> = LazyLock::new(std::process::id);

/// Whether this is a forked child of the process that opened the outputs.
pub(crate) fn in_forked_child() -> bool {
    *PROCESS != std::process::id()
}

/// Something that lines are written to.
#[derive(Debug)]
pub(crate) struct Output {
    descriptor: Descriptor,
    dated: bool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
enum Descriptor {
    Standard(Standard, Kind),
    /// Opened by us, for no other process, and never blocking.
    Own(ArcSwap<File>),
}

/// One of the descriptors that the process was started with, which it shares with other processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standard {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

impl Standard {
    /// Its descriptor, as it is now.
    pub(crate) fn descriptor(self) -> BorrowedFd<'static> {
        match self {
            Self::Output => rustix::stdio::stdout(),
            Self::Error => rustix::stdio::stderr(),
        }
    }
}

/// Opens `/dev/null` in the place of standard descriptors that are closed, or the next file or socket would take it and
/// be written to. To be called first of all.
pub(crate) fn open_standard_descriptors() {
    while let Ok(nothing) = File::options().read(true).write(true).open("/dev/null") {
        if nothing.as_raw_fd() > 2 {
            return;
        }
        // Programs that plugins start find it as well. It stays open for the process's life.
        let _ = rustix::io::fcntl_setfd(&nothing, rustix::io::FdFlags::empty());
        let _ = nothing.into_raw_fd();
    }
}

/// When a shared descriptor takes a write without blocking.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Always.
    File,
    /// A short one, when it is writable.
    Pipe,
    /// Unknown: it is writable when there is room for one character.
    Terminal,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Piece>,
    bytes: usize,
    lost: u64,
    writer: Writer,
    has_thread: bool,
    hangs: bool,
}

#[derive(Debug)]
struct Piece {
    bytes: Vec<u8>,
    written: usize,
    /// How many lines are lost when it cannot be written.
    lines: u64,
    /// Whether it says how many were lost before.
    is_report: bool,
}

impl Piece {
    /// How many lines are lost with it that were not lost before.
    fn new_losses(&self) -> u64 {
        if self.is_report { 0 } else { self.lines }
    }
}

/// Lines that outputs did not take.
static LOST: AtomicU64 = AtomicU64::new(0);

/// How many lines outputs did not take.
pub(crate) fn lost_lines() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// Who writes what waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Writer {
    /// Nothing waits.
    #[default]
    Idle,
    /// The thread that holds the [`Turn`].
    Caller,
    /// The output's own.
    Thread,
}

static STANDARD_OUTPUT: LazyLock<Arc<Output>> = LazyLock::new(|| Output::standard(Standard::Output));
static STANDARD_ERROR: LazyLock<Arc<Output>> = LazyLock::new(|| {
    // Lines of both stay in order where both lead to the same place.
    if same_file(Standard::Output, Standard::Error) {
        Arc::clone(&STANDARD_OUTPUT)
    } else {
        Output::standard(Standard::Error)
    }
});

/// Standard output or standard error.
pub(crate) fn standard(which: Standard) -> &'static Arc<Output> {
    match which {
        Standard::Output => &STANDARD_OUTPUT,
        Standard::Error => &STANDARD_ERROR,
    }
}

fn same_file(one: Standard, other: Standard) -> bool {
    let [one, other] = [one, other].map(|which| rustix::fs::fstat(which.descriptor()));
    matches!((one, other), (Ok(one), Ok(other)) if (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

/// The right and duty to write what waits, which is done when it is dropped.
#[must_use]
pub(crate) struct Turn<'a>(&'a Arc<Output>);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.write_out(false);
    }
}

impl Output {
    /// An output to `file`, which must have been opened without blocking and for appending.
    pub(crate) fn own(file: File) -> Arc<Self> {
        Self::new(Descriptor::Own(ArcSwap::from_pointee(file)), true)
    }

    fn standard(which: Standard) -> Arc<Self> {
        let descriptor = which.descriptor();
        let kind = match rustix::fs::fstat(descriptor).map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            Ok(FileType::RegularFile) => Kind::File,
            _ if descriptor.is_terminal() => Kind::Terminal,
            _ => Kind::Pipe,
        };
        Self::new(Descriptor::Standard(which, kind), matches!(kind, Kind::Terminal))
    }

    fn new(descriptor: Descriptor, dated: bool) -> Arc<Self> {
        LazyLock::force(&PROCESS);
        Arc::new(Self { descriptor, dated, state: Mutex::default(), changed: Condvar::new() })
    }

    /// Writes to `file` from now on, also what waits already; only for outputs that are files.
    pub(crate) fn replace(&self, file: File) {
        if let Descriptor::Own(current) = &self.descriptor {
            current.store(Arc::new(file));
        }
    }

    /// Waits a moment for room for a line of WARN or above, if this thread [`may_wait`] and the output does not hang.
    pub(crate) fn wait_for_room(&self, length: usize) {
        if !MAY_WAIT.get() {
            return;
        }
        let state = lock(&self.state);
        if !state.hangs && !state.has_room(length, CAPACITY) {
            let has_none = |state: &mut State| !state.has_room(length, CAPACITY);
            let waited = self.changed.wait_timeout_while(state, ROOM_TIMEOUT, has_none);
            let (mut state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            state.hangs |= waited.timed_out();
        }
    }

    /// Puts bytes in, a whole line as a rule, and never waits. `is_grave` lines have more room. When it returns a turn,
    /// no other thread writes what waits.
    pub(crate) fn put(self: &Arc<Self>, bytes: Vec<u8>, is_grave: bool) -> Option<Turn<'_>> {
        if bytes.is_empty() {
            return None;
        }
        let mut state = lock(&self.state);
        if !state.has_room(bytes.len(), if is_grave { CAPACITY } else { CAPACITY - RESERVED }) {
            state.lost += 1;
            LOST.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        self.put_report(&mut state);
        state.push(bytes, 1, false);
        if state.writer != Writer::Idle {
            return None;
        }
        state.writer = Writer::Caller;
        Some(Turn(self))
    }

    /// Writes bytes, or has them written as soon as the output takes them.
    pub(crate) fn write(self: &Arc<Self>, bytes: Vec<u8>) {
        if in_forked_child() {
            return self.write_directly(&bytes);
        }
        drop(self.put(bytes, false));
    }

    /// Writes bytes now, past the queue, and swallows every failure: for forked children.
    pub(crate) fn write_directly(&self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.descriptor.send(rest, true) {
                Ok(written) if written > 0 => rest = rest.get(written..).unwrap_or_default(),
                _ => return,
            }
        }
    }

    /// Waits for a moment until everything that was put in is out, so that it is there whatever becomes of the process.
    /// Returns at once while the output hangs.
    pub(crate) fn flush(&self) {
        if in_forked_child() {
            return;
        }
        let state = lock(&self.state);
        if state.writer != Writer::Idle && !state.hangs && !self.wait_until_idle(state, FLUSH_TIMEOUT) {
            lock(&self.state).hangs = true;
        }
    }

    /// Waits until everything that was put in is out, at most until `deadline`.
    pub(crate) fn finish(&self, deadline: Instant) {
        if !in_forked_child() {
            self.wait_until_idle(lock(&self.state), deadline.saturating_duration_since(Instant::now()));
        }
    }

    fn wait_until_idle(&self, state: MutexGuard<'_, State>, timeout: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(state, timeout, |state| state.writer != Writer::Idle);
        // The state is never left half changed, so a panic elsewhere is no reason to give up.
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Writes what waits, from its front; what would block is left to the output's thread, which `may_wait`.
    fn write_out(self: &Arc<Self>, may_wait: bool) {
        let mut state = lock(&self.state);
        let mut took = true;
        loop {
            let Some(mut piece) = state.waiting.pop_front() else {
                if took && self.put_report(&mut state) {
                    continue;
                }
                state.writer = Writer::Idle;
                state.hangs = false;
                self.changed.notify_all();
                return;
            };
            drop(state);
            let sent = self.descriptor.send(piece.bytes.get(piece.written..).unwrap_or_default(), may_wait);
            state = lock(&self.state);
            took = sent.is_ok();
            match sent {
                Ok(written) if piece.written + written < piece.bytes.len() => {
                    piece.written += written;
                    state.waiting.push_front(piece);
                    if !may_wait {
                        return self.hand_over(&mut state);
                    }
                }
                Ok(_) => state.bytes -= piece.bytes.len(),
                Err(_) => {
                    state.bytes -= piece.bytes.len();
                    state.lost += piece.lines;
                    LOST.fetch_add(piece.new_losses(), Ordering::Relaxed);
                }
            }
            if may_wait {
                // Other threads may wait for room.
                self.changed.notify_all();
            }
        }
    }

    /// Leaves what waits to the output's thread, which is started if need be.
    fn hand_over(self: &Arc<Self>, state: &mut State) {
        state.writer = Writer::Thread;
        if state.has_thread {
            self.changed.notify_all();
            return;
        }
        let output = Arc::clone(self);
        let started = std::thread::Builder::new().name("plugincore-log".to_owned()).spawn(move || {
            // Signals are for the thread that acts on them; one that came here during a restart would be lost.
            let _ = SigSet::all().thread_block();
            output.serve();
        });
        state.has_thread = started.is_ok();
        if started.is_err() {
            for piece in std::mem::take(&mut state.waiting) {
                state.lost += piece.lines;
                LOST.fetch_add(piece.new_losses(), Ordering::Relaxed);
            }
            state.bytes = 0;
            state.writer = Writer::Idle;
            self.changed.notify_all();
        }
    }

    /// The output's thread: writes what is left to it, until there has been nothing for a while.
    fn serve(self: Arc<Self>) {
        loop {
            let state = lock(&self.state);
            let waited = self.changed.wait_timeout_while(state, IDLE_TIMEOUT, |state| state.writer != Writer::Thread);
            let (mut state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            if waited.timed_out() {
                state.has_thread = false;
                return;
            }
            drop(state);
            self.write_out(true);
        }
    }

    /// Puts in how many lines were lost, if any were; returns whether it did.
    fn put_report(&self, state: &mut State) -> bool {
        let lost = std::mem::take(&mut state.lost);
        if lost == 0 {
            return false;
        }
        let text = match lost {
            1 => "1 log line was lost because the output did not take it".to_owned(),
            _ => format!("{lost} log lines were lost because the output did not take them"),
        };
        let name = env!("CARGO_PKG_NAME");
        let line = if self.dated {
            line::dated(Timestamp::now(), Level::Warn, name, &text)
        } else {
            line::prioritised(Level::Warn, name, &text)
        };
        state.push(line.into_bytes(), lost, true);
        true
    }
}

impl State {
    /// Whether so many more bytes fit into `capacity`, or nothing waits.
    fn has_room(&self, length: usize, capacity: usize) -> bool {
        self.bytes == 0 || self.bytes + length <= capacity
    }

    fn push(&mut self, bytes: Vec<u8>, lines: u64, is_report: bool) {
        self.bytes += bytes.len();
        self.waiting.push_back(Piece { bytes, written: 0, lines, is_report });
    }
}

impl Descriptor {
    /// Writes what the descriptor takes of `bytes`, none if it takes nothing; only with `may_wait` this can block.
    fn send(&self, bytes: &[u8], may_wait: bool) -> Result<usize, Errno> {
        match self {
            Self::Standard(which, kind) => {
                let descriptor = which.descriptor();
                let ready = match kind {
                    Kind::File => true,
                    _ if may_wait => has_room(descriptor, &ROOM)?,
                    Kind::Pipe => {
                        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
                        bytes.len() <= rustix::pipe::PIPE_BUF && has_room(descriptor, &now)?
                    }
                    Kind::Terminal => false,
                };
                if ready { write(descriptor, bytes) } else { Ok(0) }
            }
            Self::Own(file) => {
                let file = file.load_full();
                match write(file.as_fd(), bytes) {
                    Ok(0) if may_wait && has_room(file.as_fd(), &ROOM)? => write(file.as_fd(), bytes),
                    written => written,
                }
            }
        }
    }
}

/// Writes what the descriptor takes at once; a signal is no reason to stop, and "would block" is nothing written.
fn write(descriptor: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
    match rustix::io::retry_on_intr(|| rustix::io::write(descriptor, bytes)) {
        Err(Errno::AGAIN) => Ok(0),
        // A device that takes nothing and reports no error would be tried for ever.
        Ok(0) => Err(Errno::IO),
        written => written,
    }
}

/// Waits until the descriptor takes something or fails.
fn has_room(descriptor: BorrowedFd<'_>, timeout: &Timespec) -> Result<bool, Errno> {
    let mut waiting = [PollFd::new(&descriptor, PollFlags::OUT)];
    match poll(&mut waiting, Some(timeout)) {
        Err(Errno::INTR) => Ok(false),
        ready => ready.map(|ready| ready > 0),
    }
}

/// Locks even after a panic elsewhere: what is behind these locks is never left half changed.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{PipeReader, Read};

    /// An output to a pipe that takes nothing more, and the pipe's other end.
    fn full_pipe() -> (Arc<Output>, PipeReader) {
        full_pipe_with(CAPACITY)
    }

    /// The same with so many bytes that were put in.
    fn full_pipe_with(bytes: usize) -> (Arc<Output>, PipeReader) {
        let (reader, writer) = std::io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let output = Output::own(File::from(std::os::fd::OwnedFd::from(writer)));
        output.write(vec![b'-'; bytes]);
        (output, reader)
    }

    fn text(output: Arc<Output>, mut reader: PipeReader) -> String {
        let reading = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        });
        output.finish(Instant::now() + Duration::from_secs(10));
        output.replace(File::open("/dev/null").unwrap());
        drop(output);
        reading.join().unwrap()
    }

    #[test]
    fn a_pipe_without_reader_blocks_no_thread_and_what_it_lost_is_reported() {
        let (output, reader) = full_pipe();
        for number in 0..3 {
            output.write(format!("lost {number}\n").into_bytes());
        }
        output.flush();
        let text = text(output, reader);
        assert_eq!(CAPACITY, text.find(|character| character != '-').unwrap());
        let report = &text[CAPACITY..];
        assert!(report.ends_with(" - WARN - 3 log lines were lost because the output did not take them\n"), "{report}");
    }

    #[test]
    fn grave_lines_find_room_that_others_cannot_take() {
        let (output, _reader) = full_pipe_with(CAPACITY - RESERVED);
        drop(output.put(b"info\n".to_vec(), false));
        assert_eq!(1, lock(&output.state).lost);
        drop(output.put(b"warning\n".to_vec(), true));
        let state = lock(&output.state);
        assert_eq!(0, state.lost);
        assert!(state.waiting.iter().any(|piece| piece.bytes == b"warning\n"));
    }

    #[test]
    fn only_a_thread_that_may_wait_waits_for_room_and_only_once_for_an_output_that_hangs() {
        let (output, _reader) = full_pipe();
        let wait = |output: &Arc<Output>| {
            let begun = Instant::now();
            output.wait_for_room(5);
            begun.elapsed()
        };
        assert!(wait(&output) < ROOM_TIMEOUT);
        let (first, second) = std::thread::spawn(move || {
            may_wait();
            (wait(&output), wait(&output))
        })
        .join()
        .unwrap();
        assert!(first >= ROOM_TIMEOUT, "{first:?}");
        assert!(second < ROOM_TIMEOUT, "{second:?}");
    }

    #[test]
    fn what_waits_leaves_in_order_as_soon_as_it_is_read() {
        let (reader, writer) = std::io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let output = Output::own(File::from(std::os::fd::OwnedFd::from(writer)));
        let lines: Vec<_> = (0..20_000).map(|number| format!("line {number}\n")).collect();
        for line in &lines {
            output.write(line.clone().into_bytes());
        }
        assert_eq!(lines.concat(), text(output, reader));
    }

    #[test]
    fn a_device_that_is_full_loses_lines_and_says_so_when_it_has_room() {
        let full = File::options().append(true).open("/dev/full").unwrap();
        let output = Output::own(full);
        output.write(b"lost\n".to_vec());
        output.write(b"lost, too\n".to_vec());
        let (reader, writer) = std::io::pipe().unwrap();
        output.replace(File::from(std::os::fd::OwnedFd::from(writer)));
        output.write(b"here\n".to_vec());
        let text = text(output, reader);
        let (report, rest) = text.split_once('\n').unwrap();
        assert!(report.ends_with("2 log lines were lost because the output did not take them"), "{report}");
        assert_eq!("here\n", rest);
    }

    #[test]
    fn a_reader_that_has_gone_is_no_error() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Output::own(File::from(std::os::fd::OwnedFd::from(writer)));
        output.write(b"line\n".to_vec());
        assert_eq!(1, lock(&output.state).lost);
    }
}

//! Writes lines to a descriptor, whether or not anything reads them.
//!
//! Used on all threads. Lines are written in the order in which they were put in. What the output accepts at once is
//! written by the calling thread; the rest waits in a bounded queue for a thread that belongs to the output, the only
//! one that may block. Lines for which there is no room, or that cannot be written, are counted, and their number is
//! reported as soon as the output accepts lines again. In a forked child, which has none of the threads and may have
//! inherited a lock that is never released, lines are written directly. Caveat: a regular file is assumed to accept
//! everything at once, so a disk that hangs blocks the threads that log; only what is [deferred](Output::defer), as the
//! access log is, leaves all writing to the output's thread.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use nix::sys::signal::SigSet;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FileType;
use rustix::io::Errno;

use super::line::{Level, Record};

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

/// How long lines that are deferred collect, so that many leave by one call.
const COLLECT_TIME: Duration = Duration::from_millis(10);

/// Bytes of them that do not wait for that.
const COLLECT_BYTES: usize = 128 * 1024;

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
    losses: Losses,
    state: Mutex<State>,
    changed: Condvar,
}

/// What becomes of the number of lines that were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Losses {
    /// A dated line has it.
    Dated,
    /// A line with a priority has it.
    Prioritised,
    /// [`Output::defer`] returns it, since the lines have a format of their own.
    Returned,
}

#[derive(Debug)]
enum Descriptor {
    Standard(Standard, Kind),
    /// Opened by us, for no other process, and never blocking.
    Own(ArcSwap<File>),
    /// A socket to which each line is a message, and its address; what is sent waits for room for a second at most.
    Messages(UnixDatagram, PathBuf),
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
    /// Whether the output's thread waits for more lines before it writes.
    collects: bool,
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

/// Lines that were deferred and lost.
static DEFERRED_LOST: AtomicU64 = AtomicU64::new(0);

/// How many lines of the access log were lost.
pub(crate) fn lost_deferred_lines() -> u64 {
    DEFERRED_LOST.load(Ordering::Relaxed)
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
        Self::new(Descriptor::Own(ArcSwap::from_pointee(file)), Losses::Dated)
    }

    /// The same for lines that are all deferred.
    pub(crate) fn deferred(file: File) -> Arc<Self> {
        Self::new(Descriptor::Own(ArcSwap::from_pointee(file)), Losses::Returned)
    }

    /// An output that sends each line, all of which are deferred, as one message to the socket at `address`.
    ///
    /// # Errors
    /// When nothing receives there, or the system has no socket left.
    pub(crate) fn messages(address: PathBuf) -> io::Result<Arc<Self>> {
        UnixDatagram::unbound()?.connect(&address)?;
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(Duration::from_secs(1)))?;
        Ok(Self::new(Descriptor::Messages(socket, address), Losses::Returned))
    }

    fn standard(which: Standard) -> Arc<Self> {
        let descriptor = which.descriptor();
        let kind = match rustix::fs::fstat(descriptor).map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            Ok(FileType::RegularFile) => Kind::File,
            _ if descriptor.is_terminal() => Kind::Terminal,
            _ => Kind::Pipe,
        };
        let losses = if matches!(kind, Kind::Terminal) { Losses::Dated } else { Losses::Prioritised };
        Self::new(Descriptor::Standard(which, kind), losses)
    }

    fn new(descriptor: Descriptor, losses: Losses) -> Arc<Self> {
        LazyLock::force(&PROCESS);
        Arc::new(Self { descriptor, losses, state: Mutex::default(), changed: Condvar::new() })
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
            self.hurry(&mut state);
            return None;
        }
        state.writer = Writer::Caller;
        Some(Turn(self))
    }

    /// Leaves a line to the output's thread, without waiting and without a call to the system, as a rule. Returns how
    /// many lines were lost since it did so last, if the output does not report that by itself.
    pub(crate) fn defer(self: &Arc<Self>, line: &[u8]) -> u64 {
        if in_forked_child() {
            self.write_directly(line);
            return 0;
        }
        let mut state = lock(&self.state);
        if state.has_room(line.len(), CAPACITY - RESERVED) {
            self.put_report(&mut state);
            let joins = !matches!(self.descriptor, Descriptor::Messages(..));
            state.append(line, joins);
            if state.writer == Writer::Idle {
                state.collects = true;
                self.hand_over(&mut state);
            } else if state.bytes >= COLLECT_BYTES {
                self.hurry(&mut state);
            }
        } else {
            state.lost += 1;
            DEFERRED_LOST.fetch_add(1, Ordering::Relaxed);
        }
        if self.losses == Losses::Returned { std::mem::take(&mut state.lost) } else { 0 }
    }

    /// Has the output's thread write without waiting for more.
    fn hurry(&self, state: &mut State) {
        if std::mem::take(&mut state.collects) {
            self.changed.notify_all();
        }
    }

    /// Where lines are counted that could not be written.
    fn counter(&self) -> &'static AtomicU64 {
        if self.losses == Losses::Returned { &DEFERRED_LOST } else { &LOST }
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

    fn wait_until_idle(&self, mut state: MutexGuard<'_, State>, timeout: Duration) -> bool {
        self.hurry(&mut state);
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
                    self.counter().fetch_add(piece.new_losses(), Ordering::Relaxed);
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
                self.counter().fetch_add(piece.new_losses(), Ordering::Relaxed);
            }
            state.collects = false;
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
            let waited = self.changed.wait_timeout_while(state, COLLECT_TIME, |state| state.collects);
            let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            state.collects = false;
            drop(state);
            self.write_out(true);
        }
    }

    /// Puts in how many lines were lost, if any were; returns whether it did.
    fn put_report(&self, state: &mut State) -> bool {
        if self.losses == Losses::Returned || state.lost == 0 {
            return false;
        }
        let lost = std::mem::take(&mut state.lost);
        let text = match lost {
            1 => "1 log line was lost because the output did not take it".to_owned(),
            _ => format!("{lost} log lines were lost because the output did not take them"),
        };
        let name = env!("CARGO_PKG_NAME");
        let record = Record::new(Level::Warn, name, &text);
        let now = Timestamp::now();
        let line = if self.losses == Losses::Dated { record.dated(now) } else { record.prioritised(now) };
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

    /// Puts in one more line, as a part of the last piece if it `joins`.
    fn append(&mut self, line: &[u8], joins: bool) {
        match self.waiting.back_mut().filter(|last| joins && !last.is_report && last.bytes.len() < COLLECT_BYTES) {
            Some(last) => {
                last.bytes.extend_from_slice(line);
                last.lines += 1;
                self.bytes += line.len();
            }
            None => self.push(line.to_vec(), 1, false),
        }
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
            Self::Messages(socket, address) => match socket.send_to(bytes, address) {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(0),
                // A datagram goes whole or not at all.
                sent => sent.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO)),
            },
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
mod tests;

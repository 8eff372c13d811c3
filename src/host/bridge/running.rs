//! Which plugin's code runs at this moment, in a file that is still there when the process has died of it.
//!
//! Written on the Python thread, once when it enters a plugin's code and once when it leaves it; read by the signal
//! thread, and by the next process. Promise: both cost a store to memory, since the file is mapped; without an open
//! file they cost a look. Caveat: it is the plugin whose handler, or load, the Python thread is in: what background
//! tasks and threads of plugins do is not seen.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::mm::{MapFlags, ProtFlags, mmap};

/// Bytes at the beginning of the file that are mapped; behind them are lines of text.
const MAPPED: usize = 4096;

/// What is mapped.
#[repr(C)]
struct Memory {
    /// The number of the plugin whose code runs; 0 for none.
    current: AtomicU32,
    /// How often the code of a plugin has been entered.
    entries: AtomicU32,
    /// The entry, plus one, that has lasted so long that its beginning is not to blame for an end.
    long: AtomicU32,
}

/// The open file; it stays locked as long as the process lives.
struct Marker {
    memory: &'static Memory,
    file: File,
    path: PathBuf,
}

static MARKER: OnceLock<Marker> = OnceLock::new();

/// The code of a plugin is running; as before when this is dropped.
#[must_use]
pub(crate) struct Entered(u32);

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some(marker) = MARKER.get() {
            marker.memory.current.store(self.0, Ordering::Relaxed);
        }
    }
}

/// Notes that the code of the plugin of this number runs, until the result is dropped; on the Python thread.
#[inline]
pub(crate) fn enter(number: u32) -> Entered {
    let Some(Marker { memory, .. }) = MARKER.get() else { return Entered(0) };
    let before = memory.current.load(Ordering::Relaxed);
    memory.current.store(number, Ordering::Relaxed);
    // Only this thread writes.
    memory.entries.store(memory.entries.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    Entered(before)
}

/// Notes that the code that was entered last has done its work, before the client learns of it: whoever ends the
/// process then does not find the plugin at work.
pub(crate) fn leave() {
    if let Some(marker) = MARKER.get() {
        marker.memory.current.store(0, Ordering::Relaxed);
    }
}

/// The entry that is under way, if code of a plugin runs; for any thread.
pub(crate) fn entry() -> Option<u32> {
    let memory = MARKER.get()?.memory;
    (memory.current.load(Ordering::Relaxed) != 0).then(|| memory.entries.load(Ordering::Relaxed))
}

/// Notes that this entry has lasted for long.
pub(crate) fn note_long(entry: u32) {
    if let Some(marker) = MARKER.get() {
        marker.memory.long.store(entry.wrapping_add(1), Ordering::Relaxed);
    }
}

/// Whether what runs is noted.
pub(crate) fn is_open() -> bool {
    MARKER.get().is_some()
}

/// Removes the file, since the process is about to end in order.
pub(crate) fn forget() {
    if let Some(marker) = MARKER.get() {
        // Somebody else may have removed it, which is all that is wanted.
        let _ = fs::remove_file(&marker.path);
    }
}

/// Adds a line behind what is mapped.
pub(crate) fn append(line: &str) {
    if let Some(marker) = MARKER.get()
        && let Err(error) = (&marker.file).write_all(format!("{line}\n").as_bytes())
    {
        tracing::debug!("{}: cannot be written: {error}", marker.path.display());
    }
}

/// Opens the file at `path`; a second call has no effect.
///
/// # Errors
/// When the system refuses it.
pub(crate) fn open(path: &Path) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    // The bytes are there before they are mapped, so that no store can find the disk full.
    file.write_all(&[0; MAPPED])?;
    fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive)?;
    fs::rename(&beside, path)?;
    let memory = map(&file)?;
    let _ = MARKER.set(Marker { memory, file, path: path.to_path_buf() });
    Ok(())
}

fn map(file: &File) -> io::Result<&'static Memory> {
    // SAFETY: it is a new mapping at an address that the system chooses, of bytes that the file has, and is never taken
    // away. A page is aligned for the type, of which any bytes are a valid value, and which is accessed by atomic
    // operations alone, so that it does not matter who else maps the file.
    unsafe {
        let address =
            mmap(std::ptr::null_mut(), MAPPED, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, file, 0)?;
        Ok(&*address.cast::<Memory>())
    }
}

/// What a process that has died has left.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Remains {
    /// The number of the plugin whose code had just begun to run; 0 for none.
    pub number: u32,
    /// The lines behind it.
    pub lines: Vec<String>,
}

/// Takes what the process has left that had the file at `path` open; `None` if it lives, or if somebody else has been
/// quicker.
pub(crate) fn take_remains(path: &Path) -> Option<Remains> {
    let file = OpenOptions::new().read(true).write(true).open(path).ok()?;
    fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
    let bytes = fs::read(path).ok()?;
    fs::remove_file(path).ok()?;
    Some(parse(&bytes))
}

fn parse(bytes: &[u8]) -> Remains {
    let mapped = bytes.get(..MAPPED).unwrap_or_default();
    let word = |at: usize| mapped.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_ne_bytes);
    let [current, entries, long] = [word(0), word(4), word(8)];
    let is_long = long == entries.wrapping_add(1);
    let text = String::from_utf8_lossy(bytes.get(MAPPED..).unwrap_or_default()).into_owned();
    Remains { number: if is_long { 0 } else { current }, lines: text.lines().map(str::to_owned).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remains(current: u32, entries: u32, long: u32, text: &str) -> Remains {
        let mut bytes = [current, entries, long].map(u32::to_ne_bytes).concat();
        bytes.resize(MAPPED, 0);
        bytes.extend_from_slice(text.as_bytes());
        parse(&bytes)
    }

    #[test]
    fn only_a_plugin_that_had_just_begun_is_named() {
        assert_eq!(Remains { number: 3, lines: vec!["a".into(), "b".into()] }, remains(3, 7, 0, "a\nb\n"));
        assert_eq!(3, remains(3, 7, 7, "").number);
        assert_eq!(0, remains(3, 7, 8, "").number);
        assert_eq!(0, remains(0, 7, 0, "").number);
        assert_eq!(Remains { number: 0, lines: Vec::new() }, parse(b"short"));
    }
}

//! Watches the files that the server was loaded from, and asks for the reload that a change makes necessary.
//!
//! Runs on a thread of its own, which may wait for a slow disk and never attaches to Python. Promise: one change of the
//! disk, however many files and steps it has, is one reload; content decides, so a file that was only touched reloads
//! nothing; and whatever happens to the files, the watcher goes on. Caveat: what the system tells of changes is only a
//! reason to look: what counts is what a look finds, so two changes that cancel each other are none.

mod activity;
mod anchors;
mod checkout;
mod contents;
mod filesystem;
pub(crate) mod list;
mod tree;
mod watcher;

use nix::sys::signal::SigSet;
use tokio::sync::mpsc;

use self::list::{Reloads, WatchList};
use self::watcher::Watcher;

/// A watcher that runs; it ends soon after this has been dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    lists: mpsc::UnboundedSender<WatchList>,
    list: WatchList,
}

impl Watch {
    /// Starts to watch. What differs from now on from what is on the disk at this moment is a change.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub(crate) fn start(list: WatchList, reloads: impl Reloads) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let (lists, more) = mpsc::unbounded_channel();
        let (looked, has_looked) = std::sync::mpsc::channel();
        let first = list.clone();
        let work = move || {
            // Signals are for the thread that acts on them; the threads that this one starts inherit that.
            let _ = SigSet::all().thread_block();
            let watcher = Watcher::new(first, reloads);
            // Nobody waits any longer if the look took too long.
            let _ = looked.send(());
            runtime.block_on(watcher.run(more));
            runtime.shutdown_background();
        };
        std::thread::Builder::new().name("plugincore-files".to_owned()).spawn(work)?;
        // So that an edit while the plugins are loaded is a change; not for ever, since the disk may hang.
        let _ = has_looked.recv_timeout(FIRST_LOOK);
        Ok(Self { lists, list })
    }

    /// Watches this from now on.
    pub(crate) fn change(&mut self, list: WatchList) {
        if list != self.list {
            self.list = list.clone();
            // A thread that has ended has said why.
            let _ = self.lists.send(list);
        }
    }
}

/// How long a start waits for the first look at the disk.
const FIRST_LOOK: std::time::Duration = std::time::Duration::from_secs(5);

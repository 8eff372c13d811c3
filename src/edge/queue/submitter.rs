//! The I/O thread's end of the queue.
//!
//! Promise: jobs of one turn of the I/O thread go over together, with one lock and at most one wake-up. Caveat: local
//! to its thread; [`Submitter::run`] must be spawned there, or nothing goes over.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;

use super::responder::QueuedRequest;
use super::submission_queue::SubmissionQueue;

/// Gathers the jobs of one turn.
pub(crate) struct Submitter {
    submissions: Arc<SubmissionQueue>,
    gathered: RefCell<Vec<QueuedRequest>>,
    notify: Notify,
}

impl Submitter {
    /// A submitter for the current thread.
    pub(crate) fn new(submissions: Arc<SubmissionQueue>) -> Rc<Self> {
        Rc::new(Self { submissions, gathered: RefCell::default(), notify: Notify::new() })
    }

    /// Puts a job in; it goes over when the connections that are ready now have had their turn.
    pub(crate) fn submit(&self, job: QueuedRequest) {
        let mut gathered = self.gathered.borrow_mut();
        gathered.push(job);
        if gathered.len() == 1 {
            self.notify.notify_one();
        }
    }

    /// Hands jobs over for as long as the thread serves.
    pub(crate) async fn run(&self) {
        // Swapped rather than lent: a job that the closed submissions drops may end in `submit` again.
        let mut batch = Vec::new();
        loop {
            self.notify.notified().await;
            std::mem::swap(&mut batch, &mut *self.gathered.borrow_mut());
            self.submissions.submit(&mut batch);
        }
    }
}

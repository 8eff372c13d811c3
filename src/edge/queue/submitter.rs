//! The I/O thread's end of the queue to the backend.
//!
//! Local to its I/O thread. Promise: the requests of one turn of the thread go over together, by one call of the
//! backend. Caveat: [`Submitter::run`] must be spawned on the thread, or nothing goes over.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;

use super::backend::Backend;
use super::responder::QueuedRequest;

/// Gathers the requests of one turn.
pub(crate) struct Submitter<B> {
    backend: Arc<B>,
    gathered: RefCell<Vec<QueuedRequest>>,
    notify: Notify,
}

impl<B: Backend> Submitter<B> {
    /// A submitter for the current thread.
    pub(crate) fn new(backend: Arc<B>) -> Rc<Self> {
        Rc::new(Self { backend, gathered: RefCell::default(), notify: Notify::new() })
    }

    /// Puts a request in; it goes over when the connections that are ready now have had their turn.
    pub(crate) fn submit(&self, request: QueuedRequest) {
        let mut gathered = self.gathered.borrow_mut();
        gathered.push(request);
        if gathered.len() == 1 {
            self.notify.notify_one();
        }
    }

    /// Hands requests over for as long as the thread serves.
    pub(crate) async fn run(&self) {
        // Swapped rather than lent: a request that the backend drops may end in `submit` again.
        let mut batch = Vec::new();
        loop {
            self.notify.notified().await;
            std::mem::swap(&mut batch, &mut *self.gathered.borrow_mut());
            self.backend.submit(&mut batch);
        }
    }
}

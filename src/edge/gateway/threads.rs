//! The I/O threads: each a current-thread runtime that serves its share of the listening sockets.
//!
//! [`IoThreads`] is used on the Python thread and the signal thread. Promise: nothing here attaches to the interpreter,
//! so the I/O threads answer while a plugin blocks it, and can be joined at any time. Caveat: a thread ends when its
//! last connection has ended; [`IoThreads::join`] cuts that short.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::runtime::LocalOptions;
use tokio::sync::watch;

use super::service::AppService;
use super::state::ServerState;
use crate::edge::http::connection::{ConnectionParams, serve, serve_control};
use crate::edge::http::control_socket::ControlAcceptor;
use crate::edge::http::drain::{self, Drain, DrainKind};
use crate::edge::http::forked::Listening;
use crate::edge::queue::backend::Backend;
use crate::edge::queue::responder::CompletionQueue;

/// Threads that open and read files for an I/O thread. They come and go with the demand; a disk that hangs blocks them
/// and no others.
const FILE_THREADS: usize = 16;

/// How long a halted thread keeps its connections, unless they end before: time for the responses that have just been
/// handed over to be written.
const HALT_GRACE: Duration = Duration::from_millis(50);

/// Starts and stops the I/O threads.
pub(crate) struct IoThreads {
    threads: Vec<JoinHandle<()>>,
    /// Never receives anything: each thread has a sender, so this is disconnected once the last thread has ended.
    all_ended: mpsc::Receiver<Infallible>,
    drain: drain::Trigger,
    halt: watch::Sender<bool>,
}

impl IoThreads {
    /// Starts a thread for each of the `completion_queues`; all of them accept from all `listeners`, the first one from
    /// `control` as well. `ended` is called on each thread when its last connection has ended.
    ///
    /// # Errors
    /// When the system refuses a thread or a copy of a listener.
    pub(crate) fn start<B: Backend>(
        listeners: &[Listening],
        mut control: Option<UnixListener>,
        completion_queues: &[Arc<CompletionQueue>],
        state: &Arc<ServerState<B>>,
        params: &ConnectionParams,
        ended: &Arc<dyn Fn() + Send + Sync>,
    ) -> io::Result<Self> {
        let (trigger, draining) = drain::channel();
        let (halt, halted) = watch::channel(false);
        let (alive, all_ended) = mpsc::channel();
        let mut threads = Vec::new();
        for (number, completions) in completion_queues.iter().enumerate() {
            let share = listeners.iter().map(|listener| (**listener).try_clone()).collect::<io::Result<Vec<_>>>()?;
            let thread = Thread {
                share,
                control: control.take(),
                completions: Arc::clone(completions),
                state: Arc::clone(state),
                params: params.clone(),
                draining: draining.clone(),
                halted: halted.clone(),
            };
            let (ended, alive) = (Arc::clone(ended), alive.clone());
            let handle = std::thread::Builder::new().name(format!("plugincore-io-{number}")).spawn(move || {
                if let Err(error) = thread.run() {
                    tracing::error!("an I/O thread cannot serve: {error}");
                }
                ended();
                drop(alive);
            })?;
            threads.push(handle);
        }
        Ok(Self { threads, all_ended, drain: trigger, halt })
    }

    /// Accepts no more; each connection ends after the request that it is in, or after its next one.
    pub(crate) fn drain(&self, kind: DrainKind) {
        self.drain.start(kind);
    }

    /// Ends what is left, and waits for the threads, at most for `timeout`: connections are closed as soon as the
    /// responses that are ready have been written. False if a thread is still there.
    pub(crate) fn join(self, timeout: Duration) -> bool {
        self.drain(DrainKind::STOP);
        self.halt.send_replace(true);
        if self.all_ended.recv_timeout(timeout) == Err(mpsc::RecvTimeoutError::Timeout) {
            return false;
        }
        for thread in self.threads {
            // Nothing is left for it to do. A panic in it has been reported by the panic hook; here it is only an end.
            let _ = thread.join();
        }
        true
    }
}

struct Thread<B> {
    share: Vec<TcpListener>,
    control: Option<UnixListener>,
    completions: Arc<CompletionQueue>,
    state: Arc<ServerState<B>>,
    params: ConnectionParams,
    draining: Drain,
    halted: watch::Receiver<bool>,
}

impl<B: Backend> Thread<B> {
    fn run(self) -> io::Result<()> {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let (sleeping, waking) = (Arc::clone(&self.completions), Arc::clone(&self.completions));
        runtime.on_thread_park(move || sleeping.fall_asleep()).on_thread_unpark(move || waking.wake_up());
        let runtime = runtime.enable_all().max_blocking_threads(FILE_THREADS).build_local(LocalOptions::default())?;
        let served = runtime.block_on(self.serve());
        // A read that hangs in the system must not keep the server from ending.
        runtime.shutdown_background();
        served
    }

    async fn serve(mut self) -> io::Result<()> {
        let service = AppService::start(Arc::clone(&self.state), self.completions);
        let listeners =
            self.share.into_iter().map(tokio::net::TcpListener::from_std).collect::<io::Result<Vec<_>>>()?;
        let control = self.control.map(ControlAcceptor::new).transpose()?;
        let control = control
            .map(|acceptor| serve_control(acceptor, self.params.clone(), Rc::clone(&service), self.draining.clone()));
        let control = futures_util::future::OptionFuture::from(control);
        // A task of its own: this future is polled at each turn of the thread, whatever the turn is about.
        let mut served = tokio::task::spawn_local(futures_util::future::join(
            control,
            join_all(listeners.into_iter().map(|listener| {
                let state = Arc::clone(&self.state);
                let certificate = Box::new(move || state.snapshot.load().certificate.clone());
                serve(listener, certificate, self.params.clone(), Rc::clone(&service), self.draining.clone())
            })),
        ));
        tokio::select! {
            served = &mut served => served.map(drop).map_err(io::Error::other),
            _ = self.halted.wait_for(|halted| *halted) => match tokio::time::timeout(HALT_GRACE, served).await {
                Ok(served) => served.map(drop).map_err(io::Error::other),
                Err(_) => Ok(()), // what is left is closed with the runtime
            },
        }
    }
}

//! The I/O threads: each a current-thread runtime that serves its share of the listening sockets.
//!
//! [`IoThreads`] is used on the Python thread and the signal thread. Promise: nothing here attaches to the interpreter,
//! so the I/O threads answer while a plugin blocks it, and can be joined at any time. Caveat: a thread ends when its
//! last connection has ended; [`IoThreads::join`] cuts that short.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::os::unix::net::UnixListener;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::net;
use tokio::runtime::LocalOptions;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::service::AppService;
use super::state::ServerState;
use crate::edge::config::socket_address::SocketAddress;
use crate::edge::control::history;
use crate::edge::http::connection::{CertificateSource, ParamsSource, serve, serve_control};
use crate::edge::http::connection_count::Gate;
use crate::edge::http::control_socket::ControlAcceptor;
use crate::edge::http::drain::{self, Drain, DrainKind};
use crate::edge::http::forked::{Listening, Share};
use crate::edge::http::transport::Listener;
use crate::edge::observe::recent;
use crate::edge::policy::address::{Client, is_trusted};
use crate::edge::policy::keys;
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
    all_ended: std::sync::mpsc::Receiver<Infallible>,
    drain: drain::Trigger,
    halt: watch::Sender<bool>,
    /// To each of the threads.
    changes: Vec<mpsc::UnboundedSender<Change>>,
}

/// What a thread is to do with a listening socket while it serves.
enum Change {
    /// Accept from it.
    Open(Share),
    /// Accept no more from the one with this address; its connections go on.
    Close(SocketAddress),
}

/// Copies of a listening socket, one for each thread.
pub(crate) struct Shares(Vec<Share>);

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
        ended: &Arc<dyn Fn() + Send + Sync>,
    ) -> io::Result<Self> {
        let (trigger, draining) = drain::channel();
        let (halt, halted) = watch::channel(false);
        let (alive, all_ended) = std::sync::mpsc::channel();
        let (mut threads, mut changes) = (Vec::new(), Vec::new());
        for (number, completions) in completion_queues.iter().enumerate() {
            let share = listeners.iter().map(Listening::share).collect::<io::Result<Vec<_>>>()?;
            let (sender, receiver) = mpsc::unbounded_channel();
            changes.push(sender);
            let thread = Thread {
                is_first: number == 0,
                share,
                changes: receiver,
                control: control.take(),
                completions: Arc::clone(completions),
                state: Arc::clone(state),
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
        Ok(Self { threads, all_ended, drain: trigger, halt, changes })
    }

    /// Copies a listening socket for the threads.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub(crate) fn share(&self, listener: &Listening) -> io::Result<Shares> {
        self.changes.iter().map(|_| listener.share()).collect::<io::Result<_>>().map(Shares)
    }

    /// Accepts from a further socket.
    pub(crate) fn open(&self, shares: Shares) {
        for (thread, share) in self.changes.iter().zip(shares.0) {
            // A thread that has ended serves nothing.
            let _ = thread.send(Change::Open(share));
        }
    }

    /// Accepts no more from the socket with this address; its connections go on.
    pub(crate) fn close(&self, address: &SocketAddress) {
        for thread in &self.changes {
            // As above.
            let _ = thread.send(Change::Close(address.clone()));
        }
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
        if self.all_ended.recv_timeout(timeout) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
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
    is_first: bool,
    share: Vec<Share>,
    control: Option<UnixListener>,
    changes: mpsc::UnboundedReceiver<Change>,
    completions: Arc<CompletionQueue>,
    state: Arc<ServerState<B>>,
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
        let listeners = Listeners {
            is_first: self.is_first,
            tasks: JoinSet::new(),
            open: HashMap::new(),
            service,
            state: self.state,
            draining: self.draining,
        };
        // A task of its own: this future is polled at each turn of the thread, whatever the turn is about.
        let mut served = tokio::task::spawn_local(listeners.serve(self.share, self.control, self.changes));
        tokio::select! {
            served = &mut served => served.map_err(io::Error::other)?,
            _ = self.halted.wait_for(|halted| *halted) => match tokio::time::timeout(HALT_GRACE, served).await {
                Ok(served) => served.map_err(io::Error::other)?,
                Err(_) => Ok(()), // what is left is closed with the runtime
            },
        }
    }
}

/// Has certificate files that have changed read again, until the drain starts.
async fn refresh<B: Backend>(state: Arc<ServerState<B>>, mut draining: Drain) {
    /// How often it is looked whether there is anything to look after by now.
    const IDLE: Duration = Duration::from_secs(60);
    loop {
        let tls = state.snapshot.load().tls.clone();
        let interval = tls.as_ref().and_then(|tls| tls.check_interval());
        tokio::select! {
            () = draining.started() => return,
            () = tokio::time::sleep(interval.unwrap_or(IDLE)) => {}
        }
        if let Some(tls) = tls.filter(|_| interval.is_some()) {
            // A panic in it has been reported by the panic hook.
            let _ = tokio::task::spawn_blocking(move || tls.refresh()).await;
        }
    }
}

/// Takes the figures that the page shows, until the drain starts; of a server without the page, nothing is kept.
async fn sample<B: Backend>(state: Arc<ServerState<B>>, mut draining: Drain) {
    let mut ticks = tokio::time::interval(history::INTERVAL);
    loop {
        tokio::select! {
            () = draining.started() => return,
            _ = ticks.tick() => {}
        }
        let has_page = state.snapshot.load().page;
        recent::keep(has_page);
        keys::note_time();
        if has_page {
            let figures = state.history.sample(&state.statuses.load(), state.in_flight());
            state.events.show_figures(&figures);
        }
    }
}

/// The sockets that a thread accepts from.
struct Listeners<B: Backend> {
    is_first: bool,
    tasks: JoinSet<()>,
    /// Dropping a sender closes the socket.
    open: HashMap<SocketAddress, oneshot::Sender<Infallible>>,
    service: Rc<AppService<B>>,
    state: Arc<ServerState<B>>,
    draining: Drain,
}

impl<B: Backend> Listeners<B> {
    /// Serves until the drain starts and the last connection has ended.
    async fn serve(
        mut self,
        share: Vec<Share>,
        control: Option<UnixListener>,
        mut changes: mpsc::UnboundedReceiver<Change>,
    ) -> io::Result<()> {
        if self.is_first {
            let _ = self.tasks.spawn_local(refresh(Arc::clone(&self.state), self.draining.clone()));
            let _ = self.tasks.spawn_local(sample(Arc::clone(&self.state), self.draining.clone()));
        }
        if let Some(control) = control {
            let (acceptor, service) = (ControlAcceptor::new(control)?, Rc::clone(&self.service));
            self.tasks.spawn_local(serve_control(acceptor, self.params(), service, self.draining.clone()));
        }
        for one in share {
            self.open(one)?;
        }
        let mut draining = self.draining.clone();
        loop {
            tokio::select! {
                () = draining.started() => break,
                Some(_) = self.tasks.join_next() => {}
                Some(change) = changes.recv() => match change {
                    Change::Open(share) => {
                        if let Err(error) = self.open(share) {
                            tracing::error!("a new address is not served: {error}");
                        }
                    }
                    Change::Close(address) => drop(self.open.remove(&address)),
                },
            }
        }
        while self.tasks.join_next().await.is_some() {}
        Ok(())
    }

    fn open(&mut self, share: Share) -> io::Result<()> {
        let Share { socket, address } = share;
        match address {
            SocketAddress::Ip(_) => {
                let state = Arc::clone(&self.state);
                let certificate = move || state.snapshot.load().tls.as_ref().map(|tls| tls.config());
                self.accept_from(net::TcpListener::from_std(socket.into())?, address, Box::new(certificate));
            }
            // Who encrypts what does not leave the machine only doubles the work of the proxy in front.
            SocketAddress::Unix(_) => {
                self.accept_from(net::UnixListener::from_std(socket.into())?, address, Box::new(|| None));
            }
        }
        Ok(())
    }

    fn accept_from(
        &mut self,
        listener: impl Listener + 'static,
        address: SocketAddress,
        certificate: CertificateSource,
    ) {
        let (open, closed) = oneshot::channel::<Infallible>();
        let (service, draining) = (Rc::clone(&self.service), self.draining.clone());
        let served = serve(listener, certificate, self.params(), self.gate(), service, draining, closed.map(drop));
        self.tasks.spawn_local(served);
        self.open.insert(address, open);
    }

    fn gate(&self) -> Gate {
        let state = Arc::clone(&self.state);
        let is_proxy = move |peer| is_trusted(Client::peer(peer), &state.snapshot.load().trusted_proxies);
        Gate { count: Arc::clone(&self.state.connections), is_trusted: Box::new(is_proxy) }
    }

    fn params(&self) -> ParamsSource {
        let state = Arc::clone(&self.state);
        Box::new(move || state.snapshot.load().connection.clone())
    }
}
